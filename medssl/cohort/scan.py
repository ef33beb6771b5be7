"""From sources to a cohort: walk once, read headers, sort into volumes, admit each."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from medssl.cohort.admit import Admission, Admitted, Candidate, Policy, Quarantined, admit
from medssl.cohort.cohort import Cohort, write_cohort
from medssl.cohort.duplicates import settle_duplicates
from medssl.cohort.identity import patient_name, pseudonym, read_salt, session_name
from medssl.cohort.modality import Surroundings
from medssl.cohort.sources import FileSource, open_sources, walk
from medssl.errors import InputError, VolumeReadError
from medssl.io.atomic import write_json
from medssl.io.dicom_headers import DicomHeader, is_dicom, read_dicom_header
from medssl.io.dicom_series import FoundVolume, RefusedFiles, sort_into_volumes
from medssl.io.read import READERS
from medssl.types import Modality

__all__ = ["Findings", "Progress", "index_sources", "summarise"]

T = TypeVar("T")
R = TypeVar("R")

_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
_PAIRS = {".hdr", ".img"}


class Progress(Protocol):
    """Shows how far an iteration is."""

    def __call__(self, items: Iterable[T], /, *, total: int, unit: str, doing: str) -> Iterator[T]:
        """Yield the items."""


def _silently(items: Iterable[T], *, total: int, unit: str, doing: str) -> Iterator[T]:  # noqa: ARG001
    yield from items


@dataclass
class Findings:
    """What a scan found out, before anything is written.

    Attributes:
        sources: What was scanned.
        admitted: Rows of the table.
        quarantine: What was refused.
        ignored: How many files were passed over, by kind.
    """

    sources: list[FileSource]
    admitted: list[Admitted] = field(default_factory=list)
    quarantine: list[Quarantined] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def index_sources(
    sources: Sequence[Path | str],
    out: Path,
    *,
    policy: Policy | None = None,
    executor: Executor | None = None,
    progress: Progress = _silently,
) -> Cohort:
    """Give every file of the sources a verdict and write the cohort.

    Args:
        sources: Files, folders, patterns and zip archives; never written to.
        out: The cohort folder; it exists.
        policy: What to admit.
        executor: Reads in other processes, or on other machines that see the same files; none reads
            here.
        progress: Shows how far it is.

    Raises:
        InputError: If a source does not exist, or none holds an image; nothing is written then.
        OutputError: If the folder can't be written.
    """
    spread = map if executor is None else functools.partial(executor.map, chunksize=4)
    findings = Findings(open_sources(sources, out))
    candidates = list(_candidates(findings, spread, progress))
    judge = functools.partial(admit, policy=policy or Policy())
    admissions = spread(judge, candidates)
    for admission in progress(admissions, total=len(candidates), unit="volume", doing="reading"):
        _file(findings, admission)
    findings.admitted, copies = settle_duplicates(findings.admitted)
    findings.quarantine += copies
    if not findings.admitted:
        raise InputError(_nothing_found(findings))
    cohort = write_cohort(out, findings.sources, findings.admitted, findings.quarantine)
    write_json(out / "summary.json", summarise(findings))
    return cohort


def summarise(findings: Findings) -> dict[str, Any]:
    """Return counts that name no one and no file."""
    rows = findings.admitted
    return {
        "volumes": len(rows),
        "patients": len({row.patient for row in rows}),
        "duplicates": sum(row.duplicate_of is not None for row in rows),
        "quarantined": len(findings.quarantine),
        "modality": dict(Counter(row.modality for row in rows).most_common()),
        "format": dict(Counter(row.format for row in rows).most_common()),
        "fixes": dict(Counter(code for row in rows for code in row.fixes).most_common()),
        "codes": dict(Counter(entry.code for entry in findings.quarantine).most_common()),
        "ignored": dict(findings.ignored.most_common()),
    }


def _candidates(
    findings: Findings, spread: Callable[..., Iterable[Any]], progress: Progress
) -> Iterator[Candidate]:
    """Yield what may be a volume; everything else is refused or counted on the way."""
    salt = read_salt()
    for number, source in enumerate(findings.sources):
        found = walk(source)
        findings.ignored.update(found.ignored)
        for path, reason in found.refused:
            findings.quarantine.append(Quarantined(number, path, "unreadable", reason))
        looks = spread(_look, [source.root / path for path in found.files])
        watched = progress(looks, total=len(found.files), unit="file", doing="scanning")
        yield from _Sorting(number, source, salt, findings).sort(found.files, watched)


@dataclass(frozen=True)
class _Sorting:
    """Sorts the files of one source."""

    number: int
    source: FileSource
    salt: bytes
    findings: Findings

    def sort(
        self, files: Iterable[PurePosixPath], looks: Iterable[DicomHeader | VolumeReadError | str]
    ) -> Iterator[Candidate]:
        surroundings = Surroundings(self.source.root)
        headers: list[DicomHeader] = []
        for path, look in zip(files, looks, strict=True):
            if isinstance(look, DicomHeader):
                headers.append(look)
            elif isinstance(look, VolumeReadError):
                self._refuse(path, look.code, look.detail)
            elif look == "image":
                yield self._image(path, surroundings.modality(path))
            else:
                self.findings.ignored[look] += 1
        for verdict in sort_into_volumes(headers):
            if isinstance(verdict, RefusedFiles):
                count = len(verdict.files)
                detail = verdict.detail if count == 1 else f"{verdict.detail} ({count} files)"
                self._refuse(_common_path(self.source.root, verdict.files), verdict.code, detail)
            else:
                yield self._series(verdict)

    def _refuse(self, path: PurePosixPath, code: str, detail: str) -> None:
        self.findings.quarantine.append(Quarantined(self.number, path, code, detail))

    def _image(self, path: PurePosixPath, modality: Modality) -> Candidate:
        return Candidate(
            source=self.number,
            root=self.source.root,
            path=path,
            series=None,
            patient=pseudonym(self.salt, patient_name(path)),
            study=pseudonym(self.salt, session_name(path)),
            modality=modality,
        )

    def _series(self, found: FoundVolume) -> Candidate:
        path = _common_path(self.source.root, found.files)
        return Candidate(
            source=self.number,
            root=self.source.root,
            path=path,
            series=found,
            patient=pseudonym(self.salt, found.header.patient.strip() or patient_name(path)),
            study=pseudonym(self.salt, found.header.study),
            series_name=pseudonym(self.salt, found.header.series),
            modality=found.modality,
        )


def _look(path: Path) -> DicomHeader | VolumeReadError | str:
    """Say what a file is: a DICOM header, ``image``, a fault, or a kind of thing to pass over."""
    suffix = path.suffix.lower()
    try:
        if any(reader.can_read(path) for reader in READERS[:-1]):
            return "image"
        if is_dicom(path):
            return read_dicom_header(path)
    except VolumeReadError as error:
        return error
    except OSError as error:
        detail = f"it can't be opened ({error.strerror})"
        return VolumeReadError(detail, code="unreadable", detail=detail)
    if suffix in _DICOM_SUFFIXES:
        detail = "it does not start like DICOM"
        return VolumeReadError(detail, code="not_an_image", detail=detail)
    if suffix in _PAIRS:
        detail = "a header and image in two files; convert them to .nii.gz"
        return VolumeReadError(detail, code="unreadable", detail=detail)
    return "other kind of file"


def _common_path(root: Path, files: Sequence[Path]) -> PurePosixPath:
    """Return a file, or the nearest folder that holds all files, relative to the root."""
    paths = [PurePosixPath(file.relative_to(root)) for file in files]
    if len(paths) == 1:
        return paths[0]
    common = paths[0].parent
    while not all(path.is_relative_to(common) for path in paths):
        common = common.parent
    return common


def _file(findings: Findings, admissions: Iterable[Admission]) -> None:
    for admission in admissions:
        if isinstance(admission, Admitted):
            findings.admitted.append(admission)
        else:
            findings.quarantine.append(admission)


def _nothing_found(findings: Findings) -> str:
    codes = Counter(entry.code for entry in findings.quarantine)
    refused = ", ".join(f"{number} {code}" for code, number in codes.most_common())
    passed = findings.ignored.total()
    names = ", ".join(f'"{source.root.name}"' for source in findings.sources)
    looked = f"{passed} other files" if passed else "no other files"
    return (
        f"no usable image in {names}: {looked}"
        + (f"; refused: {refused}" if refused else "")
        + "; expected NIfTI, NRRD, MHA, DICOM, PNG, JPEG or TIFF"
    )
