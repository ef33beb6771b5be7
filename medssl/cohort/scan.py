"""From sources to a cohort: walk once, look at each file, judge each series, settle the rest.

What is found out goes into a journal at once, and the cohort is made from the journal alone, in
the order of paths: it is the same however many processes read, in whatever order they answer, and
however often the run was interrupted.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from medssl.cohort.admit import Policy
from medssl.cohort.cohort import Cohort
from medssl.cohort.crew import Crew, Limits
from medssl.cohort.identity import pseudonym, read_salt
from medssl.cohort.journal import JOURNAL, Journal
from medssl.cohort.journal_files import FileKey, FileLog
from medssl.cohort.journal_verdicts import FileGroup, Refusal, VerdictLog
from medssl.cohort.judging import Series, judge
from medssl.cohort.looking import Batch, look
from medssl.cohort.modality import Surroundings
from medssl.cohort.publish import publish
from medssl.cohort.sources import (
    FileSource,
    FoundFile,
    PassedOver,
    open_sources,
    walk_all,
)
from medssl.types import Modality

__all__ = ["PARTS", "Part", "Progress", "Scan", "index_sources", "scan_sources"]

T = TypeVar("T")

PARTS = "parts"
"""Folder of a cohort in which the runs on its parts leave their journals."""

_FILES_IN_BATCH = 256


class Progress(Protocol):
    """Shows how far an iteration is."""

    def __call__(self, items: Iterable[T], /, *, total: int, unit: str, doing: str) -> Iterator[T]:
        """Yield the items."""


def _silently(items: Iterable[T], *, total: int, unit: str, doing: str) -> Iterator[T]:  # noqa: ARG001
    yield from items


@dataclass(frozen=True)
class Part:
    """One of several shares of the folders of some sources.

    Attributes:
        number: Which, from 0 on.
        of: How many there are.
    """

    number: int
    of: int

    def folder(self, cohort: Path) -> Path:
        """Return where this part's journal lies."""
        return cohort / PARTS / f"{self.number}-of-{self.of}"

    def holds(self, path: PurePosixPath) -> bool:
        """Say whether a file is in this part: all files of a folder are in the same one."""
        digest = sha256(os.fsencode(path.parent)).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number


@dataclass(frozen=True)
class Scan:
    """What a run did.

    Attributes:
        cohort: What it wrote; none where it read a part.
        files: How many files there are.
        read: How many of them it looked at, the rest being known from an earlier run.
        series: How many series and images there are.
        judged: How many of them it read whole.
        was_damaged: Whether an earlier journal was of no use because it was damaged.
    """

    cohort: Cohort | None
    files: int
    read: int
    series: int
    judged: int
    was_damaged: bool = False


def index_sources(
    sources: Sequence[Path | str],
    out: Path,
    *,
    policy: Policy | None = None,
    crew: Crew | None = None,
    resume: bool = False,
    progress: Progress = _silently,
) -> Cohort:
    """Give every file of the sources a verdict and write the cohort.

    Args:
        sources: Files, folders, patterns and archives; never written to.
        out: The cohort folder; it exists.
        policy: What to admit.
        crew: Who reads; none reads in this process, which a broken file can end.
        resume: Use what an earlier run in this folder found out.
        progress: Shows how far it is.

    Raises:
        InputError: If a source does not exist, or none holds an image; nothing is written then.
        UsageError: If another run is at work in this folder.
        OutputError: If the folder can't be written.
    """
    done = scan_sources(sources, out, policy=policy, crew=crew, resume=resume, progress=progress)
    return done.cohort or Cohort.open(out)


def scan_sources(
    sources: Sequence[Path | str],
    out: Path,
    *,
    policy: Policy | None = None,
    crew: Crew | None = None,
    part: Part | None = None,
    resume: bool = False,
    progress: Progress = _silently,
) -> Scan:
    """Do what :func:`index_sources` does, or one part of it, and tell how much had to be read.

    Args and errors are those of :func:`index_sources`, and ``part`` is the share of the folders to
    be read: its journal goes where :meth:`Part.folder` says, nothing else is written, and a run
    without it and with ``resume`` makes the cohort of all parts.
    """
    salt = read_salt()
    folder = out if part is None else part.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder.resolve()  # other machines know no working folder of ours
    opened = open_sources(sources, whole)
    crew = crew or Crew()
    crew.check_sources([source.root for source in opened])
    with Journal(folder, pseudonym(salt, "the salt of a journal"), resume=resume) as journal:
        work = _Work(
            sources=opened,
            out=whole,
            policy=policy or Policy(),
            crew=crew,
            salt=salt,
            journal=journal,
            progress=progress,
        )
        _sweep(folder)
        parts = sorted(out.glob(f"{PARTS}/*/{JOURNAL}")) if part is None and resume else []
        passed = work.meet(part)
        files, read = work.look(parts)
        series, judged = work.judge()
        cohort = publish(journal, work.sources, folder, passed) if part is None else None
        return Scan(cohort, files, read, series, judged, journal.was_damaged)


def _sweep(folder: Path) -> None:
    """Remove what a run that was killed had half written."""
    for path in folder.glob(".????????.part.*"):
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Work:
    """The stages of one run."""

    sources: list[FileSource]
    out: Path
    policy: Policy
    crew: Crew
    salt: bytes
    journal: Journal
    progress: Progress

    @property
    def limits(self) -> str:
        """The limits in words, for verdicts that hang on them."""
        limits = self.crew.limits or Limits()
        return f"{limits.seconds:g} s, {limits.memory_bytes} bytes"

    def meet(self, part: Part | None) -> Counter[str]:
        """Walk through the sources; return what was passed over by rule, by kind."""
        passed: Counter[str] = Counter()
        FileLog(self.journal).meet(self._met(part, passed))
        return passed

    def _met(self, part: Part | None, passed: Counter[str]) -> Iterator[FileKey]:
        """Yield the files to be judged; what is passed over is counted, what is refused noted."""
        verdicts = VerdictLog(self.journal)
        for number, entry in walk_all(self.sources, self.out):
            self.journal.name_source(number, self.sources[number].recorded)
            if isinstance(entry, PassedOver):
                passed[entry.kind] += 1
            elif not isinstance(entry, FoundFile):
                path = os.fsencode(entry.path)
                verdicts.refuse(Refusal(number, path, entry.code, entry.detail))
            elif part is None or part.holds(entry.path):
                yield FileKey(number, os.fsencode(entry.name), entry.size, entry.mtime_ns)

    def look(self, parts: Iterable[Path]) -> tuple[int, int]:
        """Look at the files that are new or changed; return how many there are and were read."""
        log = FileLog(self.journal)
        files, unread = log.compare(self.limits, parts)

        def noted() -> Iterator[FileKey]:
            for keys, looks in self.crew.each(look, self._batches(log)):
                log.note(keys, looks)
                yield from keys

        for _ in self.progress(noted(), total=unread, unit="file", doing="scanning"):
            pass
        return files, unread

    def judge(self) -> tuple[int, int]:
        """Judge the series that are new or changed; return how many there are and were judged."""
        log = VerdictLog(self.journal)
        series, unjudged = log.form_groups(self._signer(log))
        answers = self.crew.each(judge, self._series(log))
        watched = self.progress(answers, total=unjudged, unit="scan", doing="reading")
        for group, verdicts in watched:
            log.note(group, verdicts.rows, verdicts.again)
        return series, unjudged

    def _signer(self, log: VerdictLog) -> Callable[[FileGroup, list[FileKey]], str]:
        """Return what says, as a hash, on what the verdicts on a group depend."""
        files, modalities = FileLog(self.journal), _Modalities(self.sources)
        policy = json.dumps(asdict(self.policy), sort_keys=True)

        def sign(group: FileGroup, keys: list[FileKey]) -> str:
            parts: list[object] = [policy, group.kind, str(self.sources[group.number].within)]
            if group.kind == "image":
                (voxels,) = log.headers(group)
                parts += [keys[0].path, modalities.of(keys[0])]
                keys = files.beside(keys[0], voxels)
            parts += [(key.path, key.size, key.mtime_ns) for key in keys]
            return sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]

        return sign

    def _batches(self, log: FileLog) -> Iterator[tuple[list[FileKey], Batch]]:
        for keys in log.unread(_FILES_IN_BATCH):
            root = self.sources[keys[0].number].root
            yield keys, Batch(root, tuple(key.path for key in keys), self.salt, self.limits)

    def _series(self, log: VerdictLog) -> Iterator[tuple[FileGroup, Series]]:
        modalities = _Modalities(self.sources)
        for group in log.unjudged():
            keys = log.files(group)
            is_image = group.kind == "image"
            yield (
                group,
                Series(
                    source=self.sources[group.number],
                    paths=tuple(key.path for key in keys),
                    headers=() if is_image else tuple(log.headers(group)),
                    modality=modalities.of(keys[0]) if is_image else "unknown",
                    policy=self.policy,
                    salt=self.salt,
                    limits=self.limits,
                ),
            )


class _Modalities:
    """What the surroundings of images say, asked in order of path; remembers one folder."""

    def __init__(self, sources: Sequence[FileSource]) -> None:
        self._sources = sources
        self._folder: tuple[int, PurePosixPath] | None = None
        self._surroundings: Surroundings | None = None

    def of(self, key: FileKey) -> Modality:
        """Return the modality of an image."""
        path = PurePosixPath(os.fsdecode(key.path))
        folder = (key.number, path.parent)
        if folder != self._folder or self._surroundings is None:
            self._folder = folder
            self._surroundings = Surroundings(self._sources[key.number].root)
        return self._surroundings.modality(path)
