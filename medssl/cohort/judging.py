"""Verdicts on series and images, in child processes and on clusters.

Nothing that names a patient leaves these functions. What they return is the same wherever they run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from medssl.cohort import header_text
from medssl.cohort.admit import Admission, Admitted, Candidate, Policy, Quarantined, admit
from medssl.cohort.crew import Run
from medssl.cohort.identity import dicom_patient, patient_name, pseudonym, session_name
from medssl.cohort.looking import ALWAYS, FAULTS, PASSING, unforeseen
from medssl.cohort.sources import FileSource, from_text, to_text
from medssl.io.dicom_series import FoundVolume, RefusedFiles, sort_into_volumes
from medssl.io.sandbox import SandboxFault
from medssl.types import Modality

__all__ = ["Series", "Verdicts", "judge", "read_rows"]


@dataclass(frozen=True)
class Series:
    """Files to judge: one image, or what says that it is one DICOM series.

    Attributes:
        source: Where they are.
        paths: Relative to the source, in order.
        headers: Of DICOM files, as text; empty for an image.
        modality: What the surroundings of an image say.
        policy: What the user wants admitted.
        salt: For hashes of names that paths tell.
        limits: In words, as above.
    """

    source: FileSource
    paths: tuple[bytes, ...]
    headers: tuple[str, ...]
    modality: Modality
    policy: Policy
    salt: bytes
    limits: str


@dataclass(frozen=True)
class Verdicts:
    """What became of a series.

    Attributes:
        rows: The verdicts as text, see :func:`read_rows`.
        again: Why a later run should judge again; empty where the verdicts stand.
    """

    rows: str
    again: str


def judge(run: Run, series: Series) -> Verdicts:
    """Sort the files of a series into volumes and give the verdict on each."""
    rows: list[Admission] = []
    again = ""
    candidates: list[Candidate] = []
    for found in _found(run, series):
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            rows.append(found)
    outcomes = run(_admit, [(candidate, series.policy) for candidate in candidates])
    for candidate, outcome in zip(candidates, outcomes, strict=True):
        if isinstance(outcome, SandboxFault):
            again = series.limits
            rows.append(Quarantined(0, candidate.path, *FAULTS[outcome.kind]))
        else:
            rows += outcome
    codes = {row.code for row in rows if isinstance(row, Quarantined)}
    if "too_large" in codes:
        again = series.limits
    if codes & PASSING:
        again = ALWAYS
    return Verdicts(_as_text(rows), again)


def read_rows(text: str, number: int) -> list[Admission]:
    """Return the verdicts on a series.

    Args:
        text: From :attr:`Verdicts.rows`.
        number: Of its source.
    """
    rows: list[Admission] = []
    for values in json.loads(text):
        path = from_text(values.pop("path"))
        kind = Quarantined if "code" in values else Admitted
        frozen = {name: _frozen(value) for name, value in values.items()}
        rows.append(kind(**{**frozen, "source": number, "path": path}))
    return rows


def _as_text(rows: Sequence[Admission]) -> str:
    return json.dumps(
        [{**asdict(row), "path": to_text(row.path)} for row in rows], separators=(",", ":")
    )


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _found(run: Run, series: Series) -> list[Candidate | Quarantined]:
    """Return what may be volumes, and what is refused on the way."""
    if not series.headers:
        return [_image(series)]
    (outcome,) = run(_sort, [series])
    if isinstance(outcome, SandboxFault):
        code, detail = FAULTS[outcome.kind]
        return [_turned_away(_files(series), series.source.root, code, detail)]
    return list(outcome)


def _sort(series: Series) -> list[Candidate | Quarantined]:
    """Sort the files of one DICOM series into volumes."""
    root, files = series.source.root, _files(series)
    headers = [
        header_text.from_text(text, path) for text, path in zip(series.headers, files, strict=True)
    ]
    try:
        sorted_files = sort_into_volumes(headers, series.policy.rules)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one series' fault must not end the run
        return [_turned_away(files, root, "corrupt", unforeseen(error))]
    return [
        _turned_away(found.files, root, found.code, found.detail)
        if isinstance(found, RefusedFiles)
        else _series(series, found)
        for found in sorted_files
    ]


def _admit(item: tuple[Candidate, Policy]) -> tuple[Admission, ...]:
    candidate, policy = item
    try:
        return admit(candidate, policy)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one volume's fault must not end the run
        return (Quarantined(0, candidate.path, "corrupt", unforeseen(error)),)


def _files(series: Series) -> list[Path]:
    return [series.source.root / os.fsdecode(name) for name in series.paths]


def _image(series: Series) -> Candidate:
    path = PurePosixPath(os.fsdecode(series.paths[0]))
    place = series.source.place(path)
    return Candidate(
        source=0,
        root=series.source.root,
        path=path,
        series=None,
        patient=pseudonym(series.salt, patient_name(place)),
        study=pseudonym(series.salt, session_name(place)),
        modality=series.modality,
    )


def _series(series: Series, found: FoundVolume) -> Candidate:
    path = _common_path(series.source.root, found.files)
    header = found.header
    place = series.source.place(path if len(found.files) > 1 else path.parent)
    patient = dicom_patient(header.patient, place, header.study)
    if patient not in (header.patient, header.study):  # which are hashes already
        patient = pseudonym(series.salt, patient)
    return Candidate(
        source=0,
        root=series.source.root,
        path=path,
        series=found,
        patient=patient,
        study=header.study,
        series_name=header.series,
        modality=found.modality,
    )


def _turned_away(files: Sequence[Path], root: Path, code: str, detail: str) -> Quarantined:
    count = f" ({len(files)} files)" if len(files) > 1 else ""
    return Quarantined(0, _common_path(root, files), code, detail + count)


def _common_path(root: Path, files: Sequence[Path]) -> PurePosixPath:
    """Return a file, or the nearest folder that holds all files, relative to the root."""
    paths = [PurePosixPath(file.relative_to(root)) for file in files]
    if len(paths) == 1:
        return paths[0]
    common = paths[0].parent
    while not all(path.is_relative_to(common) for path in paths):
        common = common.parent
    return common
