"""Which files are judged together, what the verdicts were, and the order in which they count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from medssl.cohort.journal import Journal
from medssl.cohort.journal_files import FileKey

__all__ = ["FileGroup", "Refusal", "VerdictLog"]


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files that are judged together: a DICOM series, or one image.

    Attributes:
        place: Its place in the order of the cohort.
        number: Of its source.
        series: What its files have in common.
        kind: ``dicom`` or ``image``.
    """

    place: int
    number: int
    series: str
    kind: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line of the quarantine.

    Attributes:
        number: Of the source.
        path: Relative to the source.
        code: Reason code.
        detail: What is wrong.
    """

    number: int
    path: bytes
    code: str
    detail: str


class VerdictLog:
    """The verdicts of a journal.

    Args:
        journal: Where they are kept.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._database = journal.database

    def form_groups(self, sign: Callable[[FileGroup, list[FileKey]], str]) -> tuple[int, int]:
        """Put the files that were read into groups, in order of source and first path.

        Args:
            sign: Returns what a verdict on a group depends on, as a hash.

        Returns:
            How many groups there are, and how many have no verdict yet.
        """
        self._database.execute("DELETE FROM groups")
        self._database.execute(
            "INSERT INTO groups (source, series, kind) SELECT source, series, kind FROM files "
            "JOIN numbers USING (source) WHERE kind IN ('dicom', 'image') "
            "GROUP BY source, series ORDER BY number, MIN(path)"
        )
        for group in self._groups("1"):
            signature = sign(group, self.files(group))
            self._database.execute(
                "UPDATE groups SET signature = ? WHERE place = ?", (signature, group.place)
            )
        self._database.execute(
            "DELETE FROM verdicts WHERE NOT EXISTS (SELECT 1 FROM groups AS g "
            "WHERE g.source = verdicts.source AND g.signature = verdicts.signature)"
        )
        self._database.commit()
        known = self._journal.count("groups JOIN verdicts USING (source, signature)")
        number = self._journal.count("groups")
        return number, number - known

    def unjudged(self) -> Iterator[FileGroup]:
        """Yield the groups that have no verdict, in order."""
        yield from self._groups(
            "NOT EXISTS (SELECT 1 FROM verdicts AS v "
            "WHERE v.source = g.source AND v.signature = g.signature)"
        )

    def files(self, group: FileGroup) -> list[FileKey]:
        """Return the files of a group, in order of path."""
        rows = self._database.execute(
            "SELECT path, size, mtime_ns FROM files WHERE source = ? AND series = ? ORDER BY path",
            (self._journal.key_of(group.number), group.series),
        )
        return [FileKey(group.number, *row) for row in rows]

    def headers(self, group: FileGroup) -> list[str]:
        """Return the headers of a group, in order of path."""
        rows = self._database.execute(
            "SELECT header FROM files WHERE source = ? AND series = ? ORDER BY path",
            (self._journal.key_of(group.number), group.series),
        )
        return [row[0] for row in rows]

    def note(self, group: FileGroup, rows: str, again: str) -> None:
        """Keep the verdicts on a group.

        Args:
            group: The group.
            rows: The verdicts as text.
            again: As for a file's first look.
        """
        found = self._database.execute(
            "SELECT source, signature FROM groups WHERE place = ?", (group.place,)
        )
        self._journal.put("verdicts", [(*found.fetchone(), rows, again)])

    def verdicts(self) -> Iterator[tuple[int, str]]:
        """Yield number of source and verdicts of every group, in order."""
        yield from self._database.execute(
            "SELECT number, rows FROM groups JOIN verdicts USING (source, signature) "
            "JOIN numbers USING (source) ORDER BY place"
        )

    def refuse(self, refusal: Refusal) -> None:
        """Note for this run what is turned away."""
        row = (refusal.number, refusal.path, refusal.code, refusal.detail)
        self._journal.put("refused", [row])

    def refusals(self) -> Iterator[Refusal]:
        """Yield everything that was turned away, in order of source and path."""
        rows = self._database.execute(
            "SELECT number, path, code, detail FROM refused UNION ALL "
            "SELECT number, path, code, detail FROM files JOIN numbers USING (source) "
            "WHERE kind = 'refused' ORDER BY 1, 2, 3, 4"
        )
        for row in rows:
            yield Refusal(*row)

    def _groups(self, condition: str) -> Iterator[FileGroup]:
        """Yield groups, a few at a time, so that the tables may change meanwhile."""
        last = 0
        while True:
            rows = self._database.execute(
                "SELECT place, number, series, kind FROM groups AS g "  # noqa: S608
                f"JOIN numbers USING (source) WHERE place > ? AND {condition} "
                "ORDER BY place LIMIT 256",
                (last,),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for row in rows:
                yield FileGroup(*row)
