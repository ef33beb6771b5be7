"""What a scan has found out so far, in one file: a later run reads only what is new or changed.

``index.db`` lies in the cohort, holds paths and is therefore readable by its owner alone. Names,
UIDs and times are salted hashes in it. One process writes at a time, and a kill at any moment loses
the work of the last second.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from medssl.cohort.header_text import LAYOUT
from medssl.errors import OutputError, UsageError

__all__ = ["JOURNAL", "READER_VERSION", "Journal"]

JOURNAL = "index.db"
READER_VERSION = 1
"""Raised when a reader comes to other verdicts: what older readers found is then forgotten."""

_PRIVATE = 0o600
_COMMIT_SECONDS = 1.0
_BUSY_SECONDS = 2.0
_ROWS_IN_BATCH = 4096
_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE sources (source INTEGER PRIMARY KEY, root BLOB UNIQUE);
CREATE TABLE files (
    source INTEGER, path BLOB, size INTEGER, mtime_ns INTEGER,
    kind TEXT, code TEXT, detail TEXT, series TEXT, header TEXT, again TEXT,
    PRIMARY KEY (source, path)
);
CREATE INDEX series ON files (source, series, path, kind, size, mtime_ns);
CREATE INDEX refused ON files (source, path) WHERE kind = 'refused';
CREATE INDEX ignored ON files (detail) WHERE kind = 'ignored';
CREATE INDEX again ON files (again) WHERE again <> '';
CREATE TABLE verdicts (
    source INTEGER, signature TEXT, rows TEXT, again TEXT, PRIMARY KEY (source, signature)
);
"""
_SCRATCH = """
CREATE TEMP TABLE numbers (source INTEGER PRIMARY KEY, number INTEGER);
CREATE TEMP TABLE seen (
    source INTEGER, path BLOB, size INTEGER, mtime_ns INTEGER, PRIMARY KEY (source, path)
) WITHOUT ROWID;
CREATE TEMP TABLE todo (
    place INTEGER PRIMARY KEY, source INTEGER, path BLOB, size INTEGER, mtime_ns INTEGER
);
CREATE TEMP TABLE groups (
    place INTEGER PRIMARY KEY, source INTEGER, series TEXT, kind TEXT, signature TEXT
);
CREATE TEMP TABLE refused (number INTEGER, path BLOB, code TEXT, detail TEXT);
"""


class Journal:
    """The journal of one cohort, open for one run.

    Args:
        folder: Of the cohort; it exists.
        salt_check: Tells one salt from another, as the hashes of two can't be compared.
        resume: Use what an earlier run wrote; otherwise it is removed.

    Attributes:
        database: The tables, for the modules that fill and ask them.
        was_damaged: Whether an earlier journal could not be read and was thrown away.

    Raises:
        UsageError: If another process is at work on the cohort.
        OutputError: If the folder can't be written.

    Example:
        >>> import tempfile
        >>> with Journal(Path(tempfile.mkdtemp()), "salt") as journal:
        ...     journal.name_source(0, "/scans")
        ...     journal.count("sources")
        1
    """

    def __init__(self, folder: Path, salt_check: str, *, resume: bool = False) -> None:
        self.path = folder / JOURNAL
        self.was_damaged = False
        self.is_new = not self.path.exists()
        self._about = {
            "reader": f"{READER_VERSION} of {version('medssl')}",
            "layout": LAYOUT,
            "salt": salt_check,
        }
        self._keys: dict[int, int] = {}
        self._committed = time.monotonic()
        self.database = self._open()
        try:
            if not (resume and self._is_ours()):
                self.database.close()
                self._remove()
                self.database = self._open()
                self.database.executescript(_TABLES)
                self.put("about", self._about.items())
            self.database.executescript(_SCRATCH)
        except sqlite3.Error as error:
            self.database.close()
            raise _refusal(error) from error

    def __enter__(self) -> Journal:
        """Lend the journal for a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what is known and close.

        Raises:
            OutputError: If the disk is full, or refuses.
        """
        try:
            if isinstance(error, sqlite3.Error):
                raise _refusal(error) from error
            self.database.commit()
        finally:
            self.database.close()

    def discard(self) -> None:
        """Remove a journal that this run began and that holds nothing of use."""
        self.database.commit()
        if self.is_new:
            self._remove()

    def name_source(self, number: int, root: str) -> None:
        """Say which source has a number in this run; in the next it may have another.

        Args:
            number: Of the source in this run.
            root: Where the source is, as the cohort records it.
        """
        if number not in self._keys:
            where = os.fsencode(root)
            self.database.execute("INSERT OR IGNORE INTO sources (root) VALUES (?)", (where,))
            found = self.database.execute("SELECT source FROM sources WHERE root = ?", (where,))
            self._keys[number] = int(found.fetchone()[0])
            self.put("numbers", [(self._keys[number], number)])

    def key_of(self, number: int) -> int:
        """Return the key by which the tables know a source, in this run and the next."""
        return self._keys[number]

    def put(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows, and now and then bring them to the disk."""
        left = iter(rows)
        while batch := list(islice(left, _ROWS_IN_BATCH)):
            marks = ",".join("?" * len(batch[0]))
            statement = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608
            self.database.executemany(statement, batch)
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            self.database.commit()
            self._committed = time.monotonic()

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        return int(self.database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])  # noqa: S608

    def attach(self, other: Path) -> bool:
        """Open the journal of a part beside this one, as the schema ``part``, if it is of use.

        Raises:
            UsageError: If a process is still at work on the part.
        """
        self.database.commit()
        try:
            self.database.execute("ATTACH ? AS part", (str(other),))
            if self._is_ours("part"):
                return True
            self.detach()
        except sqlite3.OperationalError as error:
            raise _refusal(error) from error
        except sqlite3.DatabaseError:
            self.was_damaged = True
        return False

    def detach(self) -> None:
        """Close the journal of a part."""
        self.database.commit()
        self.database.execute("DETACH part")

    def _open(self) -> sqlite3.Connection:
        try:
            # Made here, because sqlite would let the group read it.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, _PRIVATE))
            database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise _refusal(error) from error
        try:
            # No write-ahead log: it needs shared memory, which network file systems lack.
            database.executescript(
                "PRAGMA main.locking_mode = EXCLUSIVE; PRAGMA main.synchronous = NORMAL; "
                "PRAGMA cache_size = -65536; BEGIN EXCLUSIVE; COMMIT;"
            )
        except sqlite3.OperationalError as error:
            database.close()
            raise _refusal(error) from error
        except sqlite3.DatabaseError:
            self.was_damaged = True
        return database

    def _is_ours(self, schema: str = "main") -> bool:
        """Say whether a journal is whole and was written by this code with this salt."""
        try:
            rows = self.database.execute(f"SELECT name, value FROM {schema}.about").fetchall()  # noqa: S608
            whole = self.database.execute(f"PRAGMA {schema}.quick_check").fetchone() == ("ok",)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise
            return False  # a run that was killed before it made its tables
        except sqlite3.DatabaseError:
            self.was_damaged = True
            return False
        self.was_damaged |= not whole
        return whole and dict(rows) == self._about

    def _remove(self) -> None:
        for path in (self.path, self.path.with_name(f"{JOURNAL}-journal")):
            path.unlink(missing_ok=True)


def _refusal(error: Exception) -> OutputError | UsageError:
    """Return the error that a user can act on."""
    if "locked" in str(error):
        return UsageError("another medssl index is at work on this cohort; wait for it to end")
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(
        f'can\'t write "{JOURNAL}": {reason}; free some space, or give another --out'
    )
