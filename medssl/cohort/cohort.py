"""The table of admitted volumes, and the way back from an id to voxels."""

from __future__ import annotations

import csv
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.cohort.admit import Admitted, Quarantined, voxel_hash
from medssl.cohort.sources import FileSource, from_text, to_text
from medssl.errors import InputError, VolumeReadError
from medssl.io.atomic import atomic_path, write_json
from medssl.io.dicom_series import DicomSeriesReader
from medssl.io.read import read_volume
from medssl.types import Volume

__all__ = ["SCHEMA", "Cohort", "write_cohort"]

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("patient", pa.string()),
        ("study", pa.string()),
        ("series", pa.string()),
        ("source", pa.int32()),
        ("path", pa.string()),
        ("files", pa.list_(pa.string())),
        ("part", pa.int32()),
        ("format", pa.string()),
        ("modality", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("spacing_mm", pa.list_(pa.float64())),
        ("orientation", pa.string()),
        ("affine", pa.list_(pa.float64())),
        ("dtype", pa.string()),
        ("fixes", pa.list_(pa.string())),
        ("manufacturer", pa.string()),
        ("intensity", pa.list_(pa.float64())),
        ("voxel_hash", pa.string()),
        ("perceptual_hash", pa.string()),
        ("duplicate_of", pa.string()),
    ]
)
"""Columns of ``volumes.parquet``. ``files`` are the slices of a series, below ``path``; ``part`` is
which of several volumes in the same files a row stands for; ``intensity`` is least, 0.5, 50 and
99.5 percent, and greatest value."""

_PRIVATE = 0o600
_ROWS_IN_GROUP = 1000
_TABLE, _QUARANTINE, _SOURCES = "volumes.parquet", "quarantine.csv", "sources.json"


class Cohort:
    """The admitted volumes of some sources.

    Args:
        path: The cohort folder.
        table: Its ``volumes.parquet``, columns as in :data:`SCHEMA`.
        roots: Folder of each source.

    Attributes:
        path: The cohort folder.
        table: One row a volume.
    """

    def __init__(self, path: Path, table: pa.Table, roots: Sequence[Path]) -> None:
        self.path = path
        self.table = table
        self._roots = list(roots)

    @classmethod
    def open(cls, path: Path | str) -> Cohort:
        """Open what ``medssl index`` wrote.

        Raises:
            InputError: If the folder is no cohort, or its table is damaged.
        """
        folder = Path(path)
        if not (folder / _TABLE).is_file() or not (folder / _SOURCES).is_file():
            raise InputError(
                f'"{folder.name}" is no cohort: it has no {_TABLE} or no {_SOURCES}; '
                "make one with medssl index"
            )
        try:
            table = pq.read_table(folder / _TABLE, schema=SCHEMA)
            sources = json.loads((folder / _SOURCES).read_text(encoding="utf-8"))["sources"]
            roots = [folder / source["root"] for source in sources]
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f'the cohort "{folder.name}" is damaged; index again') from error
        return cls(folder, table, roots)

    @functools.cached_property
    def ids(self) -> list[str]:
        """Names of the volumes, in the order of the table."""
        ids: list[str] = self.table["id"].to_pylist()
        return ids

    def __len__(self) -> int:
        """Return the number of volumes."""
        return len(self.ids)

    @functools.cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.ids)}

    def row(self, volume: str) -> dict[str, Any]:
        """Return what the table says of a volume.

        Raises:
            InputError: If there is none of that id.
        """
        if volume not in self._place:
            raise InputError(f'the cohort "{self.path.name}" holds no volume "{volume}"')
        row: dict[str, Any] = self.table.slice(self._place[volume], 1).to_pylist()[0]
        return row

    def only(self, number: int) -> Cohort:
        """Return a cohort of one volume alone, as small as what a worker needs to read it.

        Args:
            number: Its row of the table.
        """
        return Cohort(self.path, self.table.take([number]), self._roots)

    def read(self, volume: str) -> Volume:
        """Read a volume from its source, as it was admitted.

        Raises:
            InputError: If the source is gone, or the file is no longer what it was.
        """
        row = self.row(volume)
        files = self.files(volume)
        try:
            if row["format"] == "dicom":
                read = DicomSeriesReader().read_part(files, row["part"])
            else:
                read = read_volume(files[0], row["part"])
        except (VolumeReadError, OSError) as error:
            # The cause would name the file; an id says as much to whoever has the cohort.
            reason = error.detail if isinstance(error, VolumeReadError) else "its file is gone"
            code = error.code if isinstance(error, VolumeReadError) else "unreadable"
            raise VolumeReadError(
                f'volume "{volume}" can\'t be read any more: {reason}; mount its source again, '
                "or index again",
                code=code,
            ) from None
        return replace(read, modality=row["modality"], fixes=tuple(row["fixes"]))

    def files(self, volume: str) -> list[Path]:
        """Return where a volume comes from: one file, or those of a DICOM series.

        Raises:
            InputError: If there is none of that id.
        """
        row = self.row(volume)
        path = self._roots[row["source"]] / from_text(row["path"])
        names = [from_text(name) for name in row["files"]] if row["format"] == "dicom" else []
        return [path / name for name in names] or [path]

    def verify(self) -> list[str]:
        """Read every volume again and compare it with the table.

        Returns:
            What was checked, one sentence each.

        Raises:
            InputError: If a volume is gone or changed; names up to ten ids.
        """
        bad = [name for name in self.ids if not self._is_unchanged(name)]
        if bad:
            more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
            raise InputError(
                f"{len(bad)} of {len(self)} volumes are gone or changed: "
                f"{', '.join(bad[:10])}{more}; mount the source again, or index again"
            )
        return [f"{len(self)} volumes are where and what they were"]

    def _is_unchanged(self, volume: str) -> bool:
        try:
            read = self.read(volume)
        except InputError:
            return False
        wanted: str = self.row(volume)["voxel_hash"]
        return voxel_hash(read) == wanted


def write_cohort(
    out: Path,
    sources: Sequence[FileSource],
    rows: Iterable[Admitted],
    quarantine: Iterable[Quarantined],
) -> Cohort:
    """Write table, quarantine and sources; files that hold paths are readable by the user alone.

    Neither rows nor quarantine are held in memory.

    Args:
        out: The cohort folder.
        sources: What was indexed.
        rows: Admitted volumes.
        quarantine: What was refused; asked for only when all rows are written.

    Raises:
        OutputError: If the folder can't be written.
    """
    with (
        atomic_path(out / _TABLE, mode=_PRIVATE) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
    ):
        for group in _in_groups(map(_as_row, rows)):
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
    with (
        atomic_path(out / _QUARANTINE, mode=_PRIVATE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["path", "code", "detail"])
        for entry in quarantine:
            lines.writerow([_shown(sources, entry), entry.code, entry.detail])
    roots = [{"root": source.recorded} for source in sources]
    write_json(out / _SOURCES, {"sources": roots}, mode=_PRIVATE)
    return Cohort.open(out)


def _in_groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows as many at a time as a row group of the table holds."""
    left = iter(rows)
    while group := list(itertools.islice(left, _ROWS_IN_GROUP)):
        yield group


def _as_row(admitted: Admitted) -> dict[str, Any]:
    files = [to_text(name) for name in admitted.files]
    return {**vars(admitted), "path": to_text(admitted.path), "files": files}


def _shown(sources: Sequence[FileSource], entry: Quarantined) -> str:
    """Return the path of a refusal; where several sources were given, the source's name first."""
    source = sources[entry.source]
    given = sum(len(other.shown.parts) <= 1 for other in sources)
    above = source.shown if given > 1 else PurePosixPath(*source.shown.parts[1:])
    return to_text(above / entry.path)
