"""A folder of normalised volumes, read crop by crop."""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from medssl.errors import StoreError
from medssl.sampling.facts import VolumeFacts
from medssl.store.coding import Coding
from medssl.store.note import facts_from_note
from medssl.store.recipe import Recipe
from medssl.store.volume_file import VolumeFile, file_checksum
from medssl.types import Shape

__all__ = ["FORMAT", "Store", "read_about", "volume_path"]

FORMAT = 1
"""Raised whenever older code could not read what newer code writes."""

T = TypeVar("T")

_MOST_OPEN = 128
"""Files that one process keeps open; opening one again takes about a millisecond."""

_RESUME = "run the same medssl prepare again with --resume"


def volume_path(root: Path, volume: str, *, label: bool = False) -> Path:
    """Return where a volume of a store lies, or its mask.

    Example:
        >>> volume_path(Path("store"), "3fa9").as_posix()
        'store/data/3f/3fa9.b2nd'
    """
    shelf = volume[:2] if volume[:2].isalnum() else "_"
    return root / "data" / shelf / (quote(volume, safe="") + (".label.b2nd" if label else ".b2nd"))


def read_about(root: Path) -> dict[str, Any]:
    """Return what ``store.json`` says.

    Raises:
        StoreError: If there is no store, or another version of medssl wrote it.
    """
    try:
        about: dict[str, Any] = json.loads((root / "store.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(
            f'"{root.name}" is not a store (no store.json); give a folder that medssl prepare wrote'
        ) from error
    except ValueError as error:
        raise StoreError(f'the store.json of "{root.name}" is damaged; {_RESUME}') from error
    if about.get("format") != FORMAT:
        raise StoreError(
            f'the store "{root.name}" has format {about.get("format")}, and this medssl reads '
            f"{FORMAT}; "
            "prepare it again with --overwrite"
        )
    return about


class _Volume:
    """An open volume with what its note says, in the form that reading needs."""

    def __init__(self, file: VolumeFile, recipe_hash: str) -> None:
        if file.note["recipe_hash"] != recipe_hash:
            raise StoreError(
                f'volume "{file.name}" was written by another recipe than its store\'s; {_RESUME}'
            )
        self.file = file
        self.coding = Coding(**file.note["coding"])
        self.padding = self.coding.decode_one(file.note["minimum"])
        self.facts = facts_from_note(file.note["facts"])


class Store:
    """Volumes that went through one recipe. It never needs the files that they came from.

    A store can be copied or moved, pickled, and read by any number of processes at once. Files are
    opened when first asked for, a bounded number at a time.

    Attributes:
        path: The folder.
        recipe: What was done to every volume.
        table: One row a volume, as in ``volumes.parquet``.
        labels: Names of the labels and their values in the masks; empty for volumes without masks.

    Example:
        >>> store = Store.open("store")  # doctest: +SKIP
        >>> store.read(store.ids[0], start=(40, 60, 20), size=(96, 96, 96)).shape  # doctest: +SKIP
        (1, 96, 96, 96)
    """

    def __init__(self, path: Path, recipe: Recipe, table: pa.Table, labels: dict[str, int]) -> None:
        self.path = path
        self.recipe = recipe
        self.table = table
        self.labels = labels
        self._volumes: OrderedDict[str, _Volume] = OrderedDict()
        self._masks: OrderedDict[str, VolumeFile] = OrderedDict()

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a finished store.

        Raises:
            StoreError: If there is none, it was not finished, or another version wrote it.
        """
        root = Path(path)
        about = read_about(root)
        recipe = Recipe.from_dict(about["recipe"])
        if recipe.hash != about["recipe_hash"]:
            raise StoreError(
                f'the store "{root.name}" was written by a medssl that computed other numbers from '
                "the same recipe; prepare it again with --overwrite"
            )
        if about["state"] != "finished":
            raise StoreError(f'the store "{root.name}" was not finished; {_RESUME}')
        try:
            table = pq.read_table(root / "volumes.parquet")
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f'the store "{root.name}" has no readable volumes.parquet; {_RESUME}'
            ) from error
        return cls(root, recipe, table, dict(about["labels"]))

    @functools.cached_property
    def ids(self) -> list[str]:
        """The names of the volumes, in the order of the table."""
        return [str(value) for value in self.table["id"].to_pylist()]

    def __len__(self) -> int:
        """Return the number of volumes."""
        return int(self.table.num_rows)

    def row(self, volume: str) -> dict[str, Any]:
        """Return what ``volumes.parquet`` holds of a volume.

        Returns:
            Its columns; ``shape`` and ``spacing_mm`` as tuples and ``affine`` as ``(4, 4)`` array,
            all of the stored volume; ``minimum`` is its smallest normalised intensity.

        Raises:
            StoreError: If the store has no volume of that name.
        """
        row: dict[str, Any] = self.table.slice(self._number(volume), 1).to_pylist()[0]
        row["shape"] = tuple(row["shape"])
        row["spacing_mm"] = tuple(row["spacing_mm"])
        row["affine"] = np.array(row["affine"], np.float64).reshape(4, 4)
        return row

    def read(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.float32]:
        """Return a box of normalised intensities.

        Args:
            volume: Name of the volume.
            start: First voxel along each axis; may lie outside the volume.
            size: Voxels along each axis.

        Returns:
            ``(1, *size)`` float32; what lies outside the volume has the volume's minimum.

        Raises:
            StoreError: If the volume is missing or damaged.
        """
        opened = self._volume(volume)
        low, high, inner = _inside(start, size, opened.file.shape)
        if high == tuple(a + edge for a, edge in zip(low, size, strict=True)):
            return opened.coding.decode(opened.file.read(low, high))[None]
        result = np.full(size, opened.padding, np.float32)
        if result[inner].size:
            result[inner] = opened.coding.decode(opened.file.read(low, high))
        return result[None]

    def read_label(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.int16]:
        """Return a box of the mask, ``size`` int16; 0 outside the volume.

        Raises:
            StoreError: If there is no mask, or it is missing or damaged.
        """
        mask = self._mask(volume)
        low, high, inner = _inside(start, size, mask.shape)
        result = np.zeros(size, np.int16)
        if result[inner].size:
            result[inner] = mask.read(low, high)
        return result

    def facts(self, volume: str) -> VolumeFacts:
        """Return what samplers may know of a volume.

        Raises:
            StoreError: If the volume is missing or damaged.
        """
        return self._volume(volume).facts

    def verify(self) -> list[str]:
        """Read every byte of the store and compare it with the table.

        Returns:
            What was checked, one sentence each.

        Raises:
            StoreError: If a volume is missing or damaged; names up to ten.
        """
        bad = [volume for volume in self.ids if not self._is_whole(volume)]
        if bad:
            more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
            raise StoreError(
                f"{len(bad)} of {len(self)} volumes are missing or damaged: "
                f"{', '.join(bad[:10])}{more}; {_RESUME}"
            )
        return [f"{len(self)} volumes, every byte as it was written"]

    def _is_whole(self, volume: str) -> bool:
        row = self.row(volume)
        for column in ("checksum", "label_checksum"):
            path = volume_path(self.path, volume, label=column == "label_checksum")
            if row.get(column) and not (path.is_file() and file_checksum(path) == row[column]):
                return False
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: another process opens its own."""
        return {**self.__dict__, "_volumes": OrderedDict(), "_masks": OrderedDict()}

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {volume: number for number, volume in enumerate(self.ids)}

    def _number(self, volume: str) -> int:
        if volume not in self._numbers:
            raise StoreError(f'the store "{self.path.name}" has no volume "{volume}"')
        return self._numbers[volume]

    def _volume(self, volume: str) -> _Volume:
        """Return an open volume, opening its file if need be."""
        if volume not in self._volumes:
            self._number(volume)
            file = VolumeFile(volume_path(self.path, volume), volume)
            _keep(self._volumes, volume, _Volume(file, self.recipe.hash))
        self._volumes.move_to_end(volume)
        return self._volumes[volume]

    def _mask(self, volume: str) -> VolumeFile:
        """Return the open mask of a volume."""
        if volume not in self._masks:
            self._number(volume)
            if not self.labels:
                raise StoreError(f'the store "{self.path.name}" holds no masks')
            path = volume_path(self.path, volume, label=True)
            _keep(self._masks, volume, VolumeFile(path, volume))
        self._masks.move_to_end(volume)
        return self._masks[volume]


def _keep(files: OrderedDict[str, T], volume: str, opened: T) -> None:
    """Add an open file, and let go of the one that was asked for longest ago."""
    files[volume] = opened
    if len(files) > _MOST_OPEN:
        files.popitem(last=False)


def _inside(start: Shape, size: Shape, shape: Shape) -> tuple[Shape, Shape, tuple[slice, ...]]:
    """Return the part of a box inside the volume: first voxel, end, and where it lies in the box.

    Raises:
        ValueError: If the box has not as many axes as the volume, or a size is not positive.
    """
    if not len(start) == len(size) == len(shape) or min(size) < 1:
        raise ValueError(
            f"a box at {tuple(start)} of size {tuple(size)} does not suit {shape} voxels"
        )
    low = tuple(min(max(int(a), 0), count) for a, count in zip(start, shape, strict=True))
    stop = [a + edge for a, edge in zip(start, size, strict=True)]
    high = tuple(max(min(int(b), count), a) for b, count, a in zip(stop, shape, low, strict=True))
    inner = tuple(slice(a - first, b - first) for a, b, first in zip(low, high, start, strict=True))
    return low, high, inner
