"""One candidate, one verdict: a row of the cohort's table, or a reason to keep it out.

A candidate is read whole here, once: what is admitted has been seen to the last byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medssl.cohort.likeness import perceptual_hash
from medssl.cohort.modality import is_mask, is_suspect_ct, modality_from_values
from medssl.errors import VolumeReadError
from medssl.io.contract import ReadRules
from medssl.io.dicom_series import FoundVolume, read_found
from medssl.io.geometry import to_ras
from medssl.io.read import find_file_reader
from medssl.types import Modality, Volume

__all__ = ["Admission", "Admitted", "Candidate", "Policy", "Quarantined", "admit", "voxel_hash"]

_SAMPLED_VOXELS = 2**20
_DENSER_THAN_AIR_HU = -500
_LEAST_BODY = 1e-4
"""Less than this share of a CT that is denser than air is noise, not a patient."""


@dataclass(frozen=True)
class Candidate:
    """Something that may be a volume.

    Attributes:
        source: Number of the source it was found in.
        root: That source's folder.
        path: Its file, or the folder of its series, relative to the root.
        series: Its frames, where it is DICOM.
        patient: Whose it is, as a salted hash.
        study: Which study, as a salted hash; empty where unknown.
        series_name: Which series, as a salted hash; empty where unknown.
        modality: What its surroundings say.
    """

    source: int
    root: Path
    path: PurePosixPath
    series: FoundVolume | None
    patient: str
    study: str = ""
    series_name: str = ""
    modality: Modality = "unknown"


@dataclass(frozen=True)
class Policy:
    """What the user wants admitted.

    Attributes:
        modality: What an image is where nothing tells.
        min_slices: Fewest voxels along each axis of a volume.
        rules: What is done where a file leaves a choice.
    """

    modality: Modality = "unknown"
    min_slices: int = 4
    rules: ReadRules = field(default_factory=ReadRules)


@dataclass(frozen=True)
class Admitted:
    """One row of ``volumes.parquet``; names as there."""

    id: str
    patient: str
    study: str
    series: str
    source: int
    path: PurePosixPath
    files: tuple[str, ...]
    part: int
    format: str
    modality: Modality
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    orientation: str
    affine: tuple[float, ...]
    dtype: str
    fixes: tuple[str, ...]
    manufacturer: str
    intensity: tuple[float, ...]
    voxel_hash: str
    perceptual_hash: str
    duplicate_of: str | None = None


@dataclass(frozen=True)
class Quarantined:
    """One row of ``quarantine.csv``.

    Attributes:
        source: Number of the source.
        path: The file, or the folder of a series, relative to the source.
        code: Reason code.
        detail: What is wrong, without patient data.
    """

    source: int
    path: PurePosixPath
    code: str
    detail: str


Admission = Admitted | Quarantined


def admit(candidate: Candidate, policy: Policy) -> tuple[Admission, ...]:
    """Read a candidate and give the verdicts on it: one, or one for each volume of a time series.

    Where one volume of a series can't be read, the file is damaged and none is admitted.
    """
    try:
        return tuple(
            _verdict(candidate, volume, kind, part, policy)
            for volume, kind, part in _read(candidate, policy.rules)
        )
    except VolumeReadError as error:
        return (_quarantined(candidate, error.code, error.detail),)
    except MemoryError:
        return (_quarantined(candidate, "too_large", "it does not fit into memory"),)


def _verdict(
    candidate: Candidate, volume: Volume, kind: str, part: int, policy: Policy
) -> Admission:
    volume = _with_modality(candidate, volume, policy)
    fault = _fault(candidate, volume, kind, policy)
    if fault is not None:
        return _quarantined(candidate, *fault)
    return _row(candidate, volume, kind, part)


def _quarantined(candidate: Candidate, code: str, detail: str) -> Quarantined:
    return Quarantined(candidate.source, candidate.path, code, detail)


def _read(candidate: Candidate, rules: ReadRules) -> Iterator[tuple[Volume, str, int]]:
    """Yield voxels, the name of the format and the number of the volume in its files."""
    if candidate.series is not None:
        yield read_found(candidate.series), "dicom", candidate.series.part
        return
    path = candidate.root / candidate.path
    reader = find_file_reader(path)
    if reader is None:
        raise VolumeReadError("no reader", code="not_an_image", detail="no known format")
    volumes: Iterable[Volume]
    if rules.time_series == "split":
        volumes = reader.read_each(path)
    elif rules.time_series == "first":
        volumes = (reader.read(path, 0),)
    else:
        volumes = (reader.read(path),)
    for part, volume in enumerate(volumes):
        yield volume, reader.format, part


def _fault(
    candidate: Candidate, volume: Volume, kind: str, policy: Policy
) -> tuple[str, str] | None:
    """Return code and detail where sound voxels are still no volume to learn from."""
    data = volume.data
    is_planar = kind == "image2d" or volume.modality in ("xr", "us")
    is_planar = is_planar or (data.ndim == 2 and policy.modality in ("xr", "us"))
    fewest = min(data.shape) if data.ndim == 3 else 1
    if not is_planar and fewest < policy.min_slices:
        return "too_few_slices", f"{fewest} along one axis; at least {policy.min_slices} expected"
    if data.min() == data.max():
        return "no_content", "all its values are the same"
    if volume.modality == "ct" and np.mean(data > _DENSER_THAN_AIR_HU) < _LEAST_BODY:
        return "no_content", "it shows nothing but air"
    if candidate.series is None and is_mask(data, candidate.path):
        return "not_image_object", "a label mask: a few whole numbers from zero on"
    return None


def _with_modality(candidate: Candidate, volume: Volume, policy: Policy) -> Volume:
    modality = volume.modality
    for known in (candidate.modality, policy.modality):
        if modality == "unknown":
            modality = known
    if modality == "unknown":
        modality = modality_from_values(volume.data)
    fixes = volume.fixes
    if modality == "ct" and is_suspect_ct(volume.data):
        fixes = (*fixes, "intensity_suspect")
    return replace(volume, modality=modality, fixes=fixes)


def _row(candidate: Candidate, volume: Volume, kind: str, part: int) -> Admitted:
    series = candidate.series
    folder = candidate.root / candidate.path
    files = () if series is None else tuple(_below(file, folder) for file in series.files)
    voxels = voxel_hash(volume)
    codes: Any = nib.orientations.aff2axcodes(volume.affine)  # type: ignore[no-untyped-call]
    place = np.round(volume.affine, 3) + 0.0
    return Admitted(
        id=hashlib.sha256(voxels.encode() + place.tobytes()).hexdigest()[:16],
        patient=candidate.patient,
        study=candidate.study,
        series=candidate.series_name,
        source=candidate.source,
        path=candidate.path,
        files=files,
        part=part,
        format=kind,
        modality=volume.modality,
        shape=tuple(int(size) for size in volume.data.shape),
        spacing_mm=tuple(round(length, 6) for length in volume.spacing_mm),
        orientation="".join(codes[: volume.data.ndim]),
        affine=tuple(float(number) for number in volume.affine.ravel()),
        dtype=str(volume.data.dtype),
        fixes=tuple(dict.fromkeys(volume.fixes)),
        manufacturer="" if series is None else series.header.manufacturer,
        intensity=_intensity(volume.data),
        voxel_hash=voxels,
        perceptual_hash=perceptual_hash(volume),
    )


def _intensity(data: npt.NDArray[Any]) -> tuple[float, ...]:
    """Return what the report shows of the values: least, 0.5, 50 and 99.5 percent, and greatest."""
    sample = data.ravel()[:: max(data.size // _SAMPLED_VOXELS, 1)]
    inner = np.percentile(sample, (0.5, 50.0, 99.5))
    return tuple(float(value) for value in (data.min(), *inner, data.max()))


def _below(file: Path, folder: Path) -> str:
    return str(PurePosixPath(file.relative_to(folder))) if file != folder else ""


def voxel_hash(volume: Volume) -> str:
    """Return a hash of the values in RAS+ order, the same whatever the format and type of file."""
    values: npt.NDArray[Any] = to_ras(volume).data.astype(np.float32)
    digest = hashlib.sha256(str(values.shape).encode())
    for plane in values + np.float32(0):  # minus zero is zero
        digest.update(plane.tobytes())
    return digest.hexdigest()
