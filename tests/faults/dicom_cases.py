"""DICOM series whose slices do not make one sound stack: rows D01 to D08, D14 and D18."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fake_dicom as fake
import numpy as np
from faults.case import FaultCase
from faults.dicom_series import (
    BOTTOM,
    STEP,
    at_heights,
    enhanced,
    item,
    only,
    phases,
    phases_by,
    series,
    spoilt,
    stray,
    tags,
)
from faults.phantom import AFFINE, SHAPE, centred, paint
from pydicom.dataset import Dataset

from medssl.cohort.admit import Policy
from medssl.io.contract import ReadRules

COUNT = SHAPE[2]
TOP = BOTTOM + COUNT * STEP
MIDDLE = BOTTOM + 4.5 * STEP
EVEN = [BOTTOM + STEP * number for number in range(COUNT)]
SIDEWAYS = fake.put(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
SPLIT, FIRST = (Policy(rules=ReadRules(time_series=choice)) for choice in ("split", "first"))
FILL = Policy(rules=ReadRules(fill_missing=2))
ROOMY = (18, 17, 16)


def tilted(lean: float) -> np.ndarray:
    """Return an affine whose slices move by ``lean`` mm to the front from one to the next."""
    axes = np.diag([1.5, 1.75, 2.0])
    axes[1, 2] = lean
    return centred(axes, ROOMY)


def two_series(folder: Path, **options: Any) -> None:
    series(folder, series="1")
    for path in series(folder / "b", series="2", data=paint() + np.int16(1), **options):
        path.rename(folder / f"b_{path.name}")


def one_uid_for_two_patients(folder: Path) -> None:
    series(folder / "a", tags(SeriesInstanceUID="1.2.3"), patient_id="one")
    data = paint() + np.int16(1)
    series(folder / "b", tags(SeriesInstanceUID="1.2.3"), patient_id="two", data=data)


def without(*numbers: int):
    def write(folder: Path) -> None:
        for number, path in enumerate(series(folder)):
            if number in numbers:
                path.unlink()

    return write


def with_copy(folder: Path, *, change: bool = False) -> None:
    path = series(folder)[3]
    copy = folder / "copy.dcm"
    shutil.copy(path, copy)
    if change:
        fake.edit(copy, lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[::-1]))


def with_stray(height: float, change: Any = None, **options: Any):
    def write(folder: Path) -> None:
        series(folder)
        stray(folder, height, change, **options)

    return write


def odd_size_within(folder: Path) -> None:
    without(4)(folder)
    stray(folder, EVEN[4], data=paint((9, 11, 1)))


def three_planes(folder: Path) -> None:
    """Write a survey that does not call itself one."""
    x, y, z = np.eye(3)
    for number, axes in enumerate(([x, y, z], [y, z, x], [x, z, y])):
        affine = centred(np.stack(axes, axis=1) * 1.5, (8, 8, 1))
        series(folder / str(number), data=paint((8, 8, 1), affine), affine=affine, modality="mr")


def two_fields_of_view(folder: Path) -> None:
    series(folder / "a")
    wide = centred(np.diag([2.5, 2.75, 2.0]))
    series(folder / "b", data=paint(SHAPE, wide), affine=wide)


def side_by_side(folder: Path) -> None:
    """Write the left and the right knee as two stacks at the same heights."""
    for number, shift in enumerate((0.0, 30.0)):
        affine = AFFINE.copy()
        affine[0, 3] += shift
        series(folder / str(number), data=paint(SHAPE, affine), affine=affine, modality="mr")


def siemens_b(dataset: Dataset, _: int, phase: int) -> None:
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", str(1000 * phase))


def ge_b(dataset: Dataset, _: int, phase: int) -> None:
    block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x39, "IS", [str(10**9 + 800 * phase), "8", "0", "0"])


def heartbeat(dataset: Dataset, at: int, phase: int) -> None:
    """Give each slice delays of its own, as a heart is scanned slice by slice."""
    dataset.TriggerTime = f"{40 * phase + at * 0.7:.2f}"
    dataset.AcquisitionTime = f"1010{2 * at + phase:02}"


def over_time(count: int):
    """Return a writer of an enhanced object of some moments, each a bit brighter."""

    def write(folder: Path) -> None:
        frames = [
            (at, {"TemporalPositionIndex": moment}) for moment in range(count) for at in range(4)
        ]

        def change(dataset: Dataset) -> None:
            stored = np.frombuffer(dataset.PixelData, np.uint16).reshape(count, -1)
            brighter = stored + np.arange(count, dtype=np.uint16)[:, None]
            dataset.PixelData = brighter.tobytes()

        enhanced(folder, frames, change=change)

    return write


def two_stacks(folder: Path) -> None:
    frames = [(at, {"StackID": "1" if at < 5 else "2"}) for at in range(COUNT)]
    enhanced(folder, frames)


def shuffled(folder: Path) -> None:
    order = np.random.default_rng(0).permutation(COUNT)
    enhanced(folder, [(int(at), {"InStackPositionNumber": int(at) + 1}) for at in order])


def scaled_by_frame(folder: Path) -> None:
    """Give each frame its own slope, as Philips does; the phantom comes out all the same."""
    lowest = float(paint().min())

    def scale(group: Dataset, number: int) -> None:
        group.PixelValueTransformationSequence = item(
            RescaleSlope=f"{1 / (number + 1):.12g}", RescaleIntercept=str(lowest), RescaleType="US"
        )

    def multiply(dataset: Dataset) -> None:
        stored = np.frombuffer(dataset.PixelData, np.uint16).reshape(COUNT, -1)
        factors = np.arange(1, COUNT + 1, dtype=np.uint16)[:, None]
        dataset.PixelData = (stored * factors).tobytes()

    frames = [(at, {"InStackPositionNumber": at + 1}) for at in range(COUNT)]
    enhanced(folder, frames, per_frame=scale, change=multiply)


def lying_frames(folder: Path) -> None:
    frames = [(at, {}) for at in range(COUNT)]
    enhanced(folder, frames, change=lambda dataset: setattr(dataset, "NumberOfFrames", 99))


def counts(folder: Path) -> None:
    """Write PET: whole numbers times a slope that differs from slice to slice."""
    lowest = float(paint().min())
    files = series(folder, modality="pt")
    for number, path in enumerate(files):
        slope = 0.25 * (number + 1)
        stored = np.rint((paint()[:, :, number] - lowest) / slope).astype(np.uint16)
        change = fake.put(RescaleSlope=str(slope), PixelData=stored.T.tobytes())
        fake.edit(path, change)


def phase(name: str, write: Any) -> FaultCase:
    return FaultCase(name, "D02", write, fixes=("frames_split",), volumes=2, phantom=True)


SPLIT_FIX, UNEVEN, TILT = ("frames_split",), ("uneven_resampled",), ("tilt_resampled",)
MR = {"modality": "mr"}
W, F = ({"ImageType": ["DERIVED", "PRIMARY", "DIXON", kind]} for kind in ("WATER", "FAT"))

CASES = [
    FaultCase("two_series_in_one_folder", "D01", two_series, volumes=2, phantom=True),
    FaultCase("one_uid_for_two_patients", "D01", one_uid_for_two_patients, volumes=2, phantom=True),
    FaultCase("no_series_uid", "D01", spoilt(tags(SeriesInstanceUID=None)), phantom=True),
    FaultCase("two_fields_of_view", "D01", two_fields_of_view, volumes=2, phantom=True),
    phase("phases_by_acquisition", phases({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2})),
    phase("phases_by_echo", phases({"EchoTime": "2.4"}, {"EchoTime": "9"}, **MR)),
    phase("phases_by_inversion", phases({"InversionTime": "90"}, {"InversionTime": "900"}, **MR)),
    phase("phases_by_time", phases({"ContentTime": "101010"}, {"ContentTime": "101159"})),
    phase("dixon_by_image_type", phases(W, F, **MR)),
    phase("kernels", phases({"ConvolutionKernel": "B31f"}, {"ConvolutionKernel": "B70f"})),
    phase("b_values_of_siemens", phases_by(siemens_b, **MR)),
    phase("b_values_of_ge", phases_by(ge_b, **MR)),
    phase("heart_slice_by_slice", phases_by(heartbeat, **MR)),
    FaultCase("phases_that_nothing_tells_apart", "D02", phases({}, {}), "ambiguous_stack"),
    FaultCase("stacks_side_by_side", "D02", side_by_side, fixes=SPLIT_FIX, volumes=2),
    FaultCase("moments_held", "D02", over_time(11), "time_series"),
    FaultCase("moments_split", "D02", over_time(11), fixes=SPLIT_FIX, volumes=11, options=SPLIT),
    FaultCase("moments_first", "D02", over_time(11), fixes=SPLIT_FIX, options=FIRST),
    FaultCase("a_slice_missing", "D03", without(4), "missing_slices", detail="1 of 10"),
    FaultCase("slices_missing_apart", "D03", without(2, 6), "missing_slices", detail="2 of 10"),
    FaultCase("slices_filled", "D03", without(2, 6), fixes=UNEVEN, phantom=True, options=FILL),
    FaultCase("too_many_to_fill", "D03", without(3, 4, 6), "missing_slices", options=FILL),
    FaultCase(
        "a_hole", "D03", at_heights([*EVEN[:5], *(h + 8.6 for h in EVEN[5:])]), "missing_slices"
    ),
    FaultCase("a_slice_twice", "D04", with_copy, fixes=("duplicate_slice_dropped",), phantom=True),
    FaultCase(
        "a_slice_twice_but_other",
        "D04",
        lambda folder: with_copy(folder, change=True),
        "duplicate_slices",
    ),
    FaultCase(
        "slices_get_farther_apart",
        "D05",
        at_heights([BOTTOM + h for h in (0, 2, 4, 6, 9, 12, 15, 18, 21, 24)]),
        fixes=UNEVEN,
        phantom=True,
    ),
    FaultCase(
        "half_the_slices_at_double_steps",
        "D05",
        at_heights([BOTTOM + h for h in (0, 2, 4, 6, 8, 10, 14, 18, 22, 26)]),
        fixes=UNEVEN,
        phantom=True,
    ),
    FaultCase(
        "gantry_tilt",
        "D06",
        spoilt(affine=tilted(0.8), data=paint(ROOMY, tilted(0.8))),
        fixes=TILT,
        phantom=True,
    ),
    FaultCase(
        "gantry_tilt_backwards",
        "D06",
        spoilt(affine=tilted(-0.66), data=paint(ROOMY, tilted(-0.66))),
        fixes=TILT,
        phantom=True,
    ),
    FaultCase(
        "odd_direction_beyond_the_end",
        "D07",
        with_stray(TOP, SIDEWAYS),
        fixes=("odd_slice_dropped",),
        phantom=True,
    ),
    FaultCase("odd_direction_within", "D07", spoilt(only(4, SIDEWAYS)), "mixed_orientation"),
    FaultCase("three_planes_without_a_word", "D07", three_planes, "localizer"),
    FaultCase(
        "odd_size_beyond_the_end",
        "D08",
        with_stray(TOP, data=paint((9, 11, 1))),
        fixes=("odd_slice_dropped",),
        phantom=True,
    ),
    FaultCase(
        "odd_size_within",
        "D08",
        odd_size_within,
        "missing_slices",
    ),
    FaultCase("slope_of_each_slice", "D14", counts, phantom=True),
    FaultCase("enhanced_shuffled", "D18", shuffled, phantom=True),
    FaultCase("enhanced_two_stacks", "D18", two_stacks, volumes=2, phantom=False),
    FaultCase("enhanced_scaled_by_frame", "D18", scaled_by_frame, phantom=True),
    FaultCase("enhanced_lying_frames", "D18", lying_frames, "corrupt"),
]
