"""A folder of normalised volumes, read crop by crop."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.errors import StoreError
from medssl.sampling.facts import VolumeFacts
from medssl.store.boxes import Scratch, inside
from medssl.store.coding import Coding
from medssl.store.files import OpenVolume, StoreFiles
from medssl.store.layout import FORMAT, RESUME, read_about, read_table, volume_path
from medssl.store.recipe import Recipe, Window
from medssl.store.remote import RemoteFolder
from medssl.types import Shape

__all__ = ["FORMAT", "Store", "read_about", "volume_path"]


class Store:
    """Volumes that went through one recipe. It never needs the files that they came from.

    A store can be copied or moved, pickled, and read by any number of processes at once. Files are
    opened when first asked for, a bounded number at a time.

    Attributes:
        path: The folder; of a remote store, where its table was copied to.
        name: What the store is called in messages.
        recipe: What was done to every volume, with the window that CT is read with.
        table: One row a volume, as in ``volumes.parquet``.
        labels: Names of the labels and their values in the masks; empty for volumes without masks.

    Example:
        >>> store = Store.open("store")  # doctest: +SKIP
        >>> store.read(store.ids[0], start=(40, 60, 20), size=(96, 96, 96)).shape  # doctest: +SKIP
        (1, 96, 96, 96)
        >>> soft_tissue = Store.open("store", ct_window=(-160, 240))  # doctest: +SKIP
    """

    def __init__(self, path: Path, *, window: Window | None, remote: RemoteFolder | None) -> None:
        self.path = path
        self.name = path.name if remote is None else remote.url
        about = read_about(path, self.name)
        written = Recipe.from_dict(about["recipe"])
        if written.hash != about["recipe_hash"]:
            raise StoreError(
                f'the store "{self.name}" was written by a medssl that computed other numbers from '
                "the same recipe; prepare it again with --overwrite"
            )
        if about["state"] != "finished":
            raise StoreError(f'the store "{self.name}" was not finished; {RESUME}')
        self.recipe = written if window is None else replace(written, ct=window)
        self.labels: dict[str, int] = dict(about["labels"])
        self.table = read_table(path, self.name)
        self._files = StoreFiles(path, written.hash, remote)
        self._window = window
        self._scratch = Scratch()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        ct_window: tuple[int, int] | None = None,
        cache: Path | None = None,
        cache_bytes: int = 100 * 10**9,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Store:
        """Open a finished store.

        Args:
            path: Its folder, or the address of one on a server (``https://…``, ``s3://…``), whose
                volumes are copied as they are asked for and proved by their checksums.
            ct_window: Hounsfield units that become -1 and 1, if others than the recipe says.
            cache: Where copies of remote volumes are kept; none takes the user's cache folder.
            cache_bytes: About how much of them is kept; those used longest ago go first.
            storage_options: What the server wants to know, such as credentials; see fsspec.

        Raises:
            StoreError: If there is none, it was not finished, or another version wrote it.
            ConfigError: If the window is empty.
        """
        window = None if ct_window is None else Window(*ct_window)
        if "://" not in str(path):
            return cls(Path(path), window=window, remote=None)
        remote = RemoteFolder(str(path), cache, cache_bytes, dict(storage_options or {}))
        return cls(remote.copy_of("store.json", "volumes.parquet"), window=window, remote=remote)

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
        if self._window_of(volume) is not None:
            row["minimum"] = self._open(volume).padding
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
        opened = self._open(volume)
        low, high, inner = inside(start, size, opened.file.shape)
        result = np.empty(size, np.float32)
        part = result[inner]
        if part.size != result.size:
            result.fill(opened.padding)
        if part.size:
            stored = self._stored(opened, low, high, self._scratch.of(part.shape))
            opened.coding.decode(stored, part, spoil=True)
        return result[None]

    def read_stored(
        self, volume: str, start: Shape, size: Shape
    ) -> tuple[npt.NDArray[np.int16], Coding]:
        """Return a box as it is stored, and how it becomes intensities, to be decoded elsewhere.

        Half the bytes of :meth:`read` and none of its arithmetic, for loaders that leave both to
        the device.

        Returns:
            ``(1, *size)`` int16 and what makes intensities of it. What lies outside the volume has
            the volume's minimum.

        Raises:
            StoreError: If the volume is missing or damaged.
        """
        stored, opened = self._integers(volume, start, size)
        return stored[None], opened.coding

    def read_label(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.int16]:
        """Return a box of the mask, ``size`` int16; 0 outside the volume.

        Raises:
            StoreError: If there is no mask, or it is missing or damaged.
        """
        return self._integers(volume, start, size, label=True)[0]

    def facts(self, volume: str) -> VolumeFacts:
        """Return what samplers may know of a volume.

        Raises:
            StoreError: If the volume is missing or damaged.
        """
        return self._open(volume).facts

    def prove(self, volume: str, start: Shape, size: Shape) -> None:
        """Do no more than the first part of :meth:`read`: check the bytes that a box needs.

        Raises:
            StoreError: If the volume is missing or damaged.
        """
        opened = self._open(volume)
        low, high, _ = inside(start, size, opened.file.shape)
        opened.file.prove(low, high)

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
                f"{', '.join(bad[:10])}{more}; {RESUME}"
            )
        return [f"{len(self)} volumes, every byte as it was written"]

    def _is_whole(self, volume: str) -> bool:
        checksums = {label: self._checksum(volume, label=label) for label in (False, True)}
        return all(
            self._files.is_whole(volume, checksum, label=label)
            for label, checksum in checksums.items()
            if checksum
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what another process finds again quickly."""
        return {k: v for k, v in self.__dict__.items() if k not in ("ids", "_numbers")}

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {volume: number for number, volume in enumerate(self.ids)}

    def _number(self, volume: str) -> int:
        if volume not in self._numbers:
            raise StoreError(f'the store "{self.name}" has no volume "{volume}"')
        return self._numbers[volume]

    def _checksum(self, volume: str, *, label: bool) -> str:
        """Return the SHA-256 of a file, empty if there is none."""
        column = "label_checksum" if label else "checksum"
        if column not in self.table.column_names:
            return ""
        return str(self.table[column][self._number(volume)].as_py() or "")

    def _window_of(self, volume: str) -> Window | None:
        """Return the window that the caller wants of a volume, if it is CT."""
        if self._window is None or self.table["modality"][self._number(volume)].as_py() != "ct":
            return None
        return self._window

    def _open(self, volume: str, *, label: bool = False) -> OpenVolume:
        """Return an open volume or its mask, opening its file if need be."""
        opened = self._files.opened(volume, label=label)
        if opened is None:
            checksum = self._checksum(volume, label=label)
            if label and not self.labels:
                raise StoreError(f'the store "{self.name}" holds no masks')
            window = None if label else self._window_of(volume)
            opened = self._files.open(volume, checksum, label=label, window=window)
        return opened

    def _integers(
        self, volume: str, start: Shape, size: Shape, *, label: bool = False
    ) -> tuple[npt.NDArray[np.int16], OpenVolume]:
        """Return a box as it is stored, filled up where it leaves the volume."""
        opened = self._open(volume, label=label)
        low, high, inner = inside(start, size, opened.file.shape)
        result = np.empty(size, np.int16)
        part = result[inner]
        if part.size == result.size:
            self._stored(opened, low, high, result, label=label)
        else:
            result.fill(opened.minimum)
            part[...] = self._stored(opened, low, high, np.empty(part.shape, np.int16), label=label)
        return result, opened

    def _stored(
        self,
        opened: OpenVolume,
        low: Shape,
        high: Shape,
        out: npt.NDArray[np.int16],
        *,
        label: bool = False,
    ) -> npt.NDArray[np.int16]:
        """Read a box that lies inside a volume; a damaged copy of a remote one is copied anew."""
        try:
            return opened.file.read(low, high, out)
        except StoreError:
            volume = opened.file.name
            if not self._files.forget(volume, self._checksum(volume, label=label), label=label):
                raise
            return self._open(volume, label=label).file.read(low, high, out)
