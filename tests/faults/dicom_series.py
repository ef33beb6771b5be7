"""Small DICOM series of the phantom, sound until a case spoils them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fake_dicom as fake
import numpy as np
import pydicom
import SimpleITK
from faults.phantom import AFFINE, SHAPE, centred, paint, value_at
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEGLosslessSV1

from medssl.io.dicom_series import write_dicom_series

Change = Callable[[Dataset, int], None]
Write = Callable[[Path], None]

STEP = float(AFFINE[2, 2])
BOTTOM = float(AFFINE[2, 3])


def series(
    folder: Path,
    change: Change | None = None,
    *,
    data: np.ndarray | None = None,
    affine: np.ndarray = AFFINE,
    modality: Any = "ct",
    **options: Any,
) -> list[Path]:
    """Write the phantom as one file a slice; ``change`` gets each header and its number."""
    values = paint() if data is None else data
    files = write_dicom_series(folder, values, affine, modality, **options)
    if change is not None:
        fake.edit_all(files, change)
    return files


def spoilt(change: Change | None = None, **options: Any) -> Write:
    """Return a writer of one series with every header changed."""
    return lambda folder: series(folder, change, **options) and None


def tags(**values: Any) -> Change:
    """Return a change that sets the same tags in every file; None takes one away."""
    return lambda dataset, _: fake.put(**values)(dataset)


def only(number: int, change: Callable[[Dataset], None]) -> Change:
    """Return a change of one file."""
    return lambda dataset, at: change(dataset) if at == number else None


def phases(first: dict[str, Any], second: dict[str, Any], **options: Any) -> Write:
    """Return a writer of two volumes at one place under one UID; the second is 1 brighter."""

    def write(folder: Path) -> None:
        series(folder / "one", attributes=first, **options)
        series(folder / "two", attributes=second, data=paint() + np.int16(1), **options)

    return write


def phases_by(change: Callable[[Dataset, int, int], None], **options: Any) -> Write:
    """Return a writer of two volumes at one place; ``change`` gets header, slice and phase."""

    def write(folder: Path) -> None:
        for phase in (0, 1):
            data = paint() + np.int16(phase)
            series(
                folder / str(phase),
                lambda dataset, at, phase=phase: change(dataset, at, phase),
                data=data,
                **options,
            )

    return write


def painted(heights: Sequence[float], shape: Sequence[int] = SHAPE) -> np.ndarray:
    """Return the phantom on slices across the body at any heights."""
    planes = []
    for height in heights:
        index = np.stack(np.meshgrid(*map(np.arange, shape[:2]), indexing="ij"), axis=-1)
        places = index * np.diag(AFFINE)[:2] + AFFINE[:2, 3]
        at = np.full((*shape[:2], 1), height)
        planes.append(value_at(np.concatenate([places, at], axis=-1)))
    return np.rint(np.stack(planes, axis=-1)).astype(np.int16)


def at_heights(heights: Sequence[float], change: Change | None = None, **options: Any) -> Write:
    """Return a writer of slices that lie at these heights."""

    def move(dataset: Dataset, number: int) -> None:
        fake.move_to(dataset, heights[number])
        if change is not None:
            change(dataset, number)

    return lambda folder: series(folder, move, data=painted(heights), **options) and None


def stray(
    folder: Path, height: float, change: Callable[[Dataset], None] | None = None, **options: Any
) -> Path:
    """Write one more slice of the series at a height."""
    data = options.pop("data", None)
    (path,) = series(folder / "stray", data=painted([height]) if data is None else data, **options)
    fake.edit(path, lambda dataset: fake.move_to(dataset, height))
    fake.edit(path, change or (lambda _: None))
    return path


def enhanced(
    folder: Path,
    frames: Sequence[tuple[int, dict[str, Any]]],
    *,
    per_frame: Callable[[Dataset, int], None] | None = None,
    change: Callable[[Dataset], None] | None = None,
    data: np.ndarray | None = None,
) -> None:
    """Write an enhanced MR object.

    Args:
        folder: Where to.
        frames: Number of the slice, and what FrameContentSequence says, for each frame in order.
        per_frame: Changes a frame's functional groups.
        change: Changes the whole object last.
        data: What is in the slices.
    """
    values = paint() if data is None else data
    (path, *rest) = series(folder, data=values, modality="mr")
    for other in rest:
        other.unlink()
    intercept = float(values.min())

    def change_all(dataset: Dataset) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
        dataset.SharedFunctionalGroupsSequence = Items([_shared(dataset, intercept)])
        groups = []
        for number, (at, content) in enumerate(frames):
            group = _group(at, content, dataset)
            if per_frame is not None:
                per_frame(group, number)
            groups.append(group)
        dataset.PerFrameFunctionalGroupsSequence = Items(groups)
        dataset.NumberOfFrames = len(frames)
        stored = (values - values.min()).astype(np.uint16)
        dataset.PixelData = b"".join(stored[:, :, at].T.tobytes() for at, _ in frames)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            del dataset[keyword]
        del dataset.RescaleSlope, dataset.RescaleIntercept
        if change is not None:
            change(dataset)

    fake.edit(path, change_all)


def item(**values: Any) -> Items:
    """Return a sequence of one item."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return Items([dataset])


def _shared(dataset: Dataset, intercept: float) -> Dataset:
    shared = Dataset()
    shared.PixelMeasuresSequence = item(
        PixelSpacing=dataset.PixelSpacing, SliceThickness=dataset.SliceThickness
    )
    orientation = dataset.ImageOrientationPatient
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=orientation)
    shared.PixelValueTransformationSequence = item(
        RescaleSlope="1", RescaleIntercept=str(intercept), RescaleType="US"
    )
    return shared


def _group(at: int, content: dict[str, Any], dataset: Dataset) -> Dataset:
    group = Dataset()
    x, y, _ = (float(number) for number in dataset.ImagePositionPatient)
    group.PlanePositionSequence = item(ImagePositionPatient=[x, y, BOTTOM + at * STEP])
    group.FrameContentSequence = item(**content)
    return group


def transcode(path: Path, syntax: str) -> None:
    """Pack one file in another transfer syntax."""

    def change(dataset: Dataset) -> None:
        if syntax == JPEGLosslessSV1:
            dataset.PixelData = _jpeg_lossless(path, dataset)
            dataset.file_meta.TransferSyntaxUID = syntax
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.compress(syntax, generate_instance_uid=False)

    fake.edit(path, change)


def _jpeg_lossless(path: Path, dataset: Dataset) -> bytes:
    """Return the pixels as GDCM packs them, which pydicom can't."""
    stored = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)
    writer, packed = SimpleITK.ImageFileWriter(), path.with_suffix(".packed.dcm")
    writer.SetFileName(str(packed))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(SimpleITK.GetImageFromArray(stored))
    pixels: bytes = pydicom.dcmread(packed).PixelData
    packed.unlink()
    return pixels


def in_syntax(syntax: str) -> Write:
    """Return a writer of a series packed in a transfer syntax, large enough for wavelets."""

    def write(folder: Path) -> None:
        affine = centred(np.diag([0.4, 0.45, 2.0]), (36, 34, 8))
        for path in series(folder, data=paint((36, 34, 8), affine), affine=affine):
            transcode(path, syntax)

    return write
