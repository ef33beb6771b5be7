"""The cohort as a journal has it: copies settled, everything counted, tables written in order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from medssl.cohort.admit import Admitted, Quarantined
from medssl.cohort.cohort import Cohort, write_cohort
from medssl.cohort.duplicates import settle_duplicates
from medssl.cohort.journal import Journal
from medssl.cohort.journal_files import FileLog
from medssl.cohort.journal_verdicts import Refusal, VerdictLog
from medssl.cohort.judging import read_rows
from medssl.cohort.sources import FileSource
from medssl.errors import InputError
from medssl.io.atomic import write_json

__all__ = ["publish"]


def publish(
    journal: Journal, sources: Sequence[FileSource], out: Path, passed: Counter[str]
) -> Cohort:
    """Write the cohort of what a journal holds.

    Rows go through one at a time: what is held of all of them is a hash or two.

    Args:
        journal: Every series of it is judged.
        sources: By their numbers.
        out: The cohort folder.
        passed: How many files were passed over by rule, by kind.

    Raises:
        InputError: If nothing was admitted; nothing is written then.
        OutputError: If the folder can't be written.
    """
    log = VerdictLog(journal)
    tally = _Tally(ignored=passed + Counter(dict(FileLog(journal).ignored())))
    rows = _settled(log, tally)
    first = next(rows, None)
    if first is None:
        codes = Counter(refusal.code for refusal in log.refusals())
        journal.discard()
        raise InputError(_nothing_found(sources, tally.ignored, codes))
    cohort = write_cohort(out, sources, chain([first], rows), _refused(log, tally))
    write_json(out / "summary.json", tally.summary())
    return cohort


@dataclass
class _Tally:
    """Counts that name no one and no file."""

    ignored: Counter[str]
    modality: Counter[str] = field(default_factory=Counter)
    format: Counter[str] = field(default_factory=Counter)
    fixes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    patients: set[str] = field(default_factory=set)
    duplicates: int = 0

    def count(self, row: Admitted) -> None:
        """Count a volume that stays."""
        self.modality[row.modality] += 1
        self.format[row.format] += 1
        self.fixes.update(row.fixes)
        self.patients.add(row.patient)
        self.duplicates += row.duplicate_of is not None

    def summary(self) -> dict[str, Any]:
        """Return all counts, the most frequent first."""
        return {
            "volumes": self.modality.total(),
            "patients": len(self.patients),
            "duplicates": self.duplicates,
            "quarantined": self.codes.total(),
            "modality": _ranked(self.modality),
            "format": _ranked(self.format),
            "fixes": _ranked(self.fixes),
            "codes": _ranked(self.codes),
            "ignored": _ranked(self.ignored),
        }


def _ranked(counts: Counter[str]) -> dict[str, int]:
    """Return counts in an order that does not hang on which came first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _settled(log: VerdictLog, tally: _Tally) -> Iterator[Admitted]:
    """Yield the volumes that stay; the rest is noted among the refusals."""
    for row in settle_duplicates(_admitted(log)):
        if isinstance(row, Admitted):
            tally.count(row)
            yield row
        else:
            log.refuse(_refusal(row))


def _admitted(log: VerdictLog) -> Iterator[Admitted]:
    for number, text in log.verdicts():
        for row in read_rows(text, number):
            if isinstance(row, Admitted):
                yield row
            else:
                log.refuse(_refusal(row))


def _refusal(row: Quarantined) -> Refusal:
    return Refusal(row.source, os.fsencode(row.path), row.code, row.detail)


def _refused(log: VerdictLog, tally: _Tally) -> Iterator[Quarantined]:
    for refusal in log.refusals():
        tally.codes[refusal.code] += 1
        path = PurePosixPath(os.fsdecode(refusal.path))
        yield Quarantined(refusal.number, path, refusal.code, refusal.detail)


def _nothing_found(
    sources: Sequence[FileSource], ignored: Counter[str], codes: Counter[str]
) -> str:
    refused = ", ".join(f"{number} {code}" for code, number in codes.most_common())
    names = ", ".join(f'"{source.root.name}"' for source in sources if not source.depth)
    looked = f"{ignored.total()} other files" if ignored else "no other files"
    return (
        f"no usable image in {names}: {looked}"
        + (f"; refused: {refused}" if refused else "")
        + "; expected NIfTI, Analyze, NRRD, MHA, DICOM, PNG, JPEG or TIFF"
    )
