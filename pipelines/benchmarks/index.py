"""How fast `medssl index` reads headers, and what a large cohort takes the first and second time.

    python pipelines/benchmarks/index.py headers                   # about a minute
    python pipelines/benchmarks/index.py headers --like FILE.dcm   # headers like a real file's
    python pipelines/benchmarks/index.py cohort --files 100000     # some minutes and 1 GB of disk

`headers` compares with a plain loop of pydicom over the same files, turn by turn. `cohort` makes
series of 100 small slices, indexes them, and indexes them again with --resume.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medssl.cohort.crew import open_crew
from medssl.cohort.scan import scan_sources

SLICES = 100
SIDE = 16
UID = "1.2.826.0.1.3680043.10.1357.{:010d}.{:06d}"
PLAIN_TAGS = {
    "PatientName": "Doe^Jane", "PatientBirthDate": "19500301", "PatientSex": "F",
    "PatientAge": "070Y", "PatientWeight": "71.5", "StudyDate": "20200202",
    "SeriesDate": "20200202", "AcquisitionDate": "20200202", "ContentDate": "20200202",
    "StudyTime": "101112.5", "SeriesTime": "101113.5", "AcquisitionTime": "101114.5",
    "ContentTime": "101115.5", "AccessionNumber": "4711", "Manufacturer": "Maker",
    "ManufacturerModelName": "Model", "InstitutionName": "Hospital", "StationName": "CT1",
    "StudyDescription": "Chest and abdomen", "SeriesDescription": "Body 5.0 soft",
    "BodyPartExamined": "CHEST", "KVP": "120", "SliceThickness": "2.5",
    "SpacingBetweenSlices": "2.5",
    "DataCollectionDiameter": "500", "DeviceSerialNumber": "12345", "SoftwareVersions": "A 1.2",
    "ProtocolName": "Chest routine", "ReconstructionDiameter": "380", "PatientPosition": "HFS",
    "DistanceSourceToDetector": "1085.6", "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0", "TableHeight": "150", "RotationDirection": "CW",
    "ExposureTime": "500", "XRayTubeCurrent": "210", "Exposure": "105", "FilterType": "WEDGE",
    "GeneratorPower": "25", "FocalSpots": "1.2", "ConvolutionKernel": "B30f", "StudyID": "1",
    "SeriesNumber": "3", "AcquisitionNumber": "1", "PositionReferenceIndicator": "SN",
    "RescaleSlope": "1", "RescaleIntercept": "-1024", "RescaleType": "HU",
    "WindowCenter": "40", "WindowWidth": "400", "Modality": "CT", "ImageComments": "x" * 40,
    "RequestingPhysician": "Roe", "ReferringPhysicianName": "Roe", "OperatorsName": "Poe",
    "RequestedProcedureDescription": "CT chest", "PerformedProcedureStepDescription": "CT",
}  # fmt: skip

SEQUENCES = (
    *("ReferencedStudySequence", "ProcedureCodeSequence", "RequestAttributesSequence"),
    *("ReferencedImageSequence", "SourceImageSequence"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=("headers", "cohort"))
    parser.add_argument(
        "--files", type=int, default=None, help="10000 headers, or 5000 of a cohort"
    )
    parser.add_argument("--like", type=Path, help="a DICOM file whose header is repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the files are made; removed afterwards")
    options = parser.parse_args()
    count = options.files or {"headers": 10000, "cohort": 5000}[options.what]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ["MEDSSL_HOME"] = f"{folder}/home"
        scans = Path(folder) / "scans"
        write_files(scans, count, template(options.like))
        if options.what == "headers":
            compare(scans, Path(folder), options.rounds, options.workers)
        else:
            index_twice(scans, Path(folder) / "cohort", count, options.workers)


def template(like: Path | None) -> FileDataset:
    """Return a slice with about 120 elements, some private, some in sequences; or a real one."""
    if like is not None:
        dataset = pydicom.dcmread(like)
    else:
        dataset = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        for keyword, value in PLAIN_TAGS.items():
            setattr(dataset, keyword, value)
        for name in SEQUENCES:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, "1.2.3.4"
            item.CodeMeaning, item.CodeValue = "a code", "C1"
            setattr(dataset, name, Sequence([item]))
        block = dataset.private_block(0x0029, "MAKER HEADER", create=True)
        for number in range(30):
            block.add_new(number, "LO", f"private value {number}")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelSpacing, dataset.ImageOrientationPatient = [0.7, 0.7], [1, 0, 0, 0, 1, 0]
    return dataset


def write_files(folder: Path, count: int, dataset: FileDataset) -> None:
    """Write series of slices that differ in what slices and series differ in."""
    start = time.perf_counter()
    # Encoded once; the places of what differs are found by marks of fixed length.
    marks = {
        "SOPInstanceUID": UID.format(9999999999, 999999), "PatientID": "PATIENT-99999999",
        "StudyInstanceUID": UID.format(8888888888, 888888),
        "SeriesInstanceUID": UID.format(7777777777, 777777), "InstanceNumber": "666666",
    }  # fmt: skip
    for keyword, mark in marks.items():
        setattr(dataset, keyword, mark)
    dataset.file_meta.MediaStorageSOPInstanceUID = marks["SOPInstanceUID"]
    dataset.ImagePositionPatient = "-190\\-190\\+5555.50"
    dataset.PixelData = b"\x55\xaa" * (SIDE * SIDE)
    folder.mkdir(parents=True)
    dataset.save_as(folder / "template")
    mould = (folder / "template").read_bytes()
    (folder / "template").unlink()
    values = np.random.default_rng(0)
    for number in range(count):
        series, place = divmod(number, SLICES)
        parent = folder / f"{series // 10:04d}" / f"{series:05d}"
        if place == 0:
            parent.mkdir(parents=True, exist_ok=True)
        filled = {
            marks["SOPInstanceUID"]: UID.format(series, place),
            marks["InstanceNumber"]: f"{place:06d}",
            marks["PatientID"]: f"PATIENT-{series // 3:08d}",
            marks["StudyInstanceUID"]: UID.format(series // 2, 888888),
            marks["SeriesInstanceUID"]: UID.format(series, 777777),
            "+5555.50": f"{2.5 * place:+08.2f}",
        }
        content = mould
        for mark, value in filled.items():
            content = content.replace(mark.encode(), value.encode())
        pixels = values.integers(0, 2500, SIDE * SIDE, dtype=np.uint16).tobytes()
        content = content.replace(b"\x55\xaa" * (SIDE * SIDE), pixels)
        (parent / f"slice{place:03d}.dcm").write_bytes(content)
    elements = len(dataset) + len(dataset.file_meta)
    print(
        f"{count} files of {elements} elements and {len(mould) / 1e3:.1f} kB made in "
        f"{time.perf_counter() - start:.0f} s"
    )


class ScannedError(Exception):
    """The headers are read; what comes after is not measured."""


def stop_after_headers(items: Iterator, *, doing: str, **_: object) -> Iterator:
    if doing != "scanning":
        raise ScannedError
    yield from items


def busy_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def compare(scans: Path, folder: Path, rounds: int, workers: int) -> None:
    """Read all headers, turn by turn: the walk, the children's start and the journal count too."""
    paths = sorted(path for path in scans.rglob("*") if path.is_file())
    ratios, busy_ratios = [], []
    for number in range(rounds):
        start, busy = time.perf_counter(), busy_seconds()
        for path in paths:
            pydicom.dcmread(path, stop_before_pixels=True)
        plain, plain_busy = time.perf_counter() - start, busy_seconds() - busy
        out = folder / f"cohort{number}"
        out.mkdir()
        start, busy = time.perf_counter(), busy_seconds()
        with contextlib.suppress(ScannedError), open_crew(workers) as crew:
            scan_sources([scans], out, crew=crew, progress=stop_after_headers)
        ours, ours_busy = time.perf_counter() - start, busy_seconds() - busy
        ratios.append(plain / ours)
        busy_ratios.append(plain_busy / ours_busy)
        print(
            f"pydicom {len(paths) / plain:.0f} files/s, medssl index {len(paths) / ours:.0f} "
            f"files/s: {ratios[-1]:.2f} times; processor {plain_busy:.1f} and {ours_busy:.1f} s"
        )
    print(
        f"median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); by "
        f"processor time, all processes together, {statistics.median(busy_ratios):.2f}"
    )


def index_twice(scans: Path, out: Path, count: int, workers: int) -> None:
    """Index, and index again, and tell time and memory of both."""
    seconds, busy = [], []
    for extra in ((), ("--resume",)):
        start, before = time.perf_counter(), busy_seconds()
        command = [sys.executable, "-m", "medssl", "index", scans, "--out", out]
        running = subprocess.Popen([*command, "--workers", str(workers), *extra])
        watch = MemoryWatch(running.pid)
        status = running.wait()
        seconds.append(time.perf_counter() - start)
        busy.append(busy_seconds() - before - watch.end())
        if status:
            raise SystemExit(status)
        print(
            f"{count} files in {seconds[-1]:.1f} s ({count / seconds[-1]:.0f} files/s), "
            f"{busy[-1]:.1f} s of processor time; at most {watch.main / 1e6:.0f} MB in the "
            f"command, {watch.all / 1e6:.0f} MB with its children"
        )
    print(
        f"the second run is {seconds[0] / seconds[1]:.1f} times faster, by processor time "
        f"{busy[0] / busy[1]:.1f} times"
    )


class MemoryWatch:
    """Most memory of a process, and of it and its children together (shared pages once)."""

    def __init__(self, process: int) -> None:
        self.main = self.all = 0
        self._busy = 0.0
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> float:
        """Stop, and return the processor time that watching took."""
        self._ended.set()
        self._thread.join()
        return self._busy

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self._look()
            self._busy = time.thread_time()

    def _look(self) -> None:
        family = [self._process]
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(status.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == self._process:
                family.append(int(status.parent.name))
        sizes = [proportional_bytes(process) for process in family]
        self.main, self.all = max(self.main, sizes[0]), max(self.all, sum(sizes))


def proportional_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
