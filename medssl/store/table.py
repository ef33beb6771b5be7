"""The tables of a store, written from results that come in any order, without holding them all."""

from __future__ import annotations

import csv
import json
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.io.atomic import atomic_path

__all__ = ["Rows"]

_IN_GROUP = 1000


class Rows:
    """Rows of a table that wait on the disk, in a file that vanishes with the process.

    Args:
        folder: Where there is room for them.
        count: How many there will be at most.

    Example:
        >>> with Rows(Path(tempfile.gettempdir()), 2) as rows:
        ...     rows.put(1, {"id": "b"})
        ...     rows.put(0, {"id": "a"})
        ...     [row["id"] for row in rows]
        ['a', 'b']
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is closed on exit
        self._places = array("q", [-1]) * count
        self._end = 0

    def __enter__(self) -> Rows:
        """Lend the rows for a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of them."""
        self._file.close()

    def __len__(self) -> int:
        """Return how many rows there are."""
        return sum(place >= 0 for place in self._places)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows in the order of their numbers."""
        for place in self._places:
            if place >= 0:
                self._file.seek(place)
                row: dict[str, Any] = json.loads(self._file.readline())
                yield row

    def put(self, number: int, row: Mapping[str, Any]) -> None:
        """Add a row, primitives only.

        Args:
            number: Its place in the table.
            row: Its columns.
        """
        self._file.seek(self._end)
        self._places[number] = self._end
        self._end += self._file.write(json.dumps(dict(row)).encode() + b"\n")

    def write_parquet(self, path: Path) -> None:
        """Write the table; only the user may read it, because paths may name patients.

        Raises:
            OutputError: If it can't be written.
        """
        # A column may be empty in the first group and not in the next.
        schema = pa.unify_schemas(
            [group.schema for group in self._groups()], promote_options="permissive"
        )
        with (
            atomic_path(path, mode=0o600) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
        ):
            for group in self._groups():
                missing = [name for name in schema.names if name not in group.column_names]
                for name in missing:
                    group = group.append_column(name, pa.nulls(len(group)))
                writer.write_table(group.select(schema.names).cast(schema))

    def write_csv(self, path: Path, columns: tuple[str, ...]) -> None:
        """Write some columns; the table has a head even if there is no row.

        Raises:
            OutputError: If it can't be written.
        """
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as stream,
        ):
            lines = csv.writer(stream, lineterminator="\n")
            lines.writerow(columns)
            lines.writerows([row[name] for name in columns] for row in self)

    def _groups(self) -> Iterator[pa.Table]:
        group: list[dict[str, Any]] = []
        for row in self:
            group.append(row)
            if len(group) == _IN_GROUP:
                yield _table(group)
                group = []
        if group:
            yield _table(group)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a table; columns that a row lacks are empty there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
