"""Which files a run meets, which of them it must read, and what a first look at each said."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from medssl.cohort.journal import Journal

__all__ = ["FileKey", "FileLog", "Look"]

_SAME = "k.source = s.source AND k.path = s.path AND k.size = s.size AND k.mtime_ns = s.mtime_ns"
_THEIR_SOURCES = "JOIN part.sources AS p USING (source) JOIN main.sources AS m ON m.root = p.root"


class FileKey(NamedTuple):
    """One file as the walk met it.

    Attributes:
        number: Of its source.
        path: Relative to the source, as the file system spells it.
        size: Bytes.
        mtime_ns: When it was last changed.
    """

    number: int
    path: bytes
    size: int
    mtime_ns: int


class Look(NamedTuple):
    """What a first look at a file says.

    Attributes:
        kind: ``dicom``, ``image``, ``refused`` or ``ignored``.
        code: Reason code of what is refused.
        detail: Why it is refused, or what kind of thing is ignored.
        series: Which files are judged together.
        header: A DICOM header as text.
        again: Why a later run should look again: ``always`` where the verdict may change without
            the file, or the limits that it broke; empty where the verdict stands.
    """

    kind: str
    code: str = ""
    detail: str = ""
    series: str = ""
    header: str = ""
    again: str = ""


class FileLog:
    """The files of a journal.

    Args:
        journal: Where they are kept.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._database = journal.database

    def meet(self, files: Iterable[FileKey]) -> None:
        """Note the files that are there."""
        key_of = self._journal.key_of
        self._journal.put("seen", ((key_of(file.number), *file[1:]) for file in files))

    def compare(self, limits: str, parts: Iterable[Path] = ()) -> tuple[int, int]:
        """Forget what is gone, changed or worth another look, and take over what parts found.

        Args:
            limits: Those of this run; what broke others is looked at again.
            parts: Journals of runs on parts of the same sources.

        Returns:
            How many files there are, and how many must be read.
        """
        execute = self._database.execute
        execute("DELETE FROM files WHERE again <> '' AND again <> ?", (limits,))
        execute("DELETE FROM verdicts WHERE again <> '' AND again <> ?", (limits,))
        execute(
            "DELETE FROM files AS k WHERE NOT EXISTS "  # noqa: S608 - our own words alone
            f"(SELECT 1 FROM seen AS s WHERE {_SAME})"
        )
        for part in parts:
            if self._journal.attach(part):
                self._take_over(limits)
                self._journal.detach()
        execute(
            "INSERT INTO todo (source, path, size, mtime_ns) "  # noqa: S608
            "SELECT s.source, s.path, s.size, s.mtime_ns FROM seen AS s JOIN numbers USING (source)"
            f" WHERE NOT EXISTS (SELECT 1 FROM files AS k WHERE {_SAME}) ORDER BY number, path"
        )
        self._database.commit()
        return self._journal.count("seen"), self._journal.count("todo")

    def unread(self, batch: int) -> Iterator[list[FileKey]]:
        """Yield the files to be read, in order, in batches of one source each."""
        last = 0
        while True:
            rows = self._database.execute(
                "SELECT place, number, path, size, mtime_ns FROM todo JOIN numbers USING (source) "
                "WHERE place > ? ORDER BY place LIMIT ?",
                (last, batch),
            ).fetchall()
            if not rows:
                return
            rows = [row for row in rows if row[1] == rows[0][1]]
            last = rows[-1][0]
            yield [FileKey(*row[1:]) for row in rows]

    def note(self, files: Sequence[FileKey], looks: Sequence[Look]) -> None:
        """Keep what a first look at each of some files said."""
        key_of = self._journal.key_of
        rows = (
            (key_of(file.number), *file[1:], *said) for file, said in zip(files, looks, strict=True)
        )
        self._journal.put("files", rows)

    def beside(self, file: FileKey, voxels: str) -> list[FileKey]:
        """Return the files on which an image depends: those of its name, and what it names.

        Args:
            file: The image.
            voxels: The files that its header names, as JSON; empty where there are none.
        """
        stem = os.path.splitext(file.path.removesuffix(b".gz"))[0]  # noqa: PTH122 - bytes
        rows = self._seen(
            file.number, "path = ? OR path > ? AND path < ?", file.path, stem + b".", stem + b"/"
        )
        folder = os.path.dirname(file.path)  # noqa: PTH120
        for name in json.loads(voxels or "[]"):
            place = folder + b"/" + os.fsencode(name) if folder else os.fsencode(name)
            rows += self._seen(file.number, "path = ?", place)
        return rows

    def _seen(self, number: int, condition: str, *values: bytes) -> list[FileKey]:
        rows = self._database.execute(
            f"SELECT path, size, mtime_ns FROM seen WHERE source = ? AND ({condition}) "  # noqa: S608
            "ORDER BY path",
            (self._journal.key_of(number), *values),
        )
        return [FileKey(number, *row) for row in rows]

    def ignored(self) -> Iterator[tuple[str, int]]:
        """Yield what was passed over at a first look: its kind, and how often."""
        yield from self._database.execute(
            "SELECT detail, COUNT(*) FROM files WHERE kind = 'ignored' GROUP BY detail"
        )

    def _take_over(self, limits: str) -> None:
        """Copy what a part found out about files that are as they were then."""
        self._database.execute(
            "INSERT OR IGNORE INTO main.files "  # noqa: S608
            "SELECT m.source, k.path, k.size, k.mtime_ns, kind, code, detail, series, header, "
            f"again FROM part.files AS k {_THEIR_SOURCES} "
            "JOIN seen AS s ON s.source = m.source AND s.path = k.path AND s.size = k.size "
            "AND s.mtime_ns = k.mtime_ns WHERE again IN ('', ?)",
            (limits,),
        )
        self._database.execute(
            "INSERT OR IGNORE INTO main.verdicts "  # noqa: S608
            f"SELECT m.source, signature, rows, again FROM part.verdicts {_THEIR_SOURCES} "
            "WHERE again IN ('', ?)",
            (limits,),
        )
