"""Where everything lies in the folder of a store, and what describes the whole of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from medssl.errors import StoreError

__all__ = ["FORMAT", "RESUME", "read_about", "read_table", "volume_path"]

FORMAT = 2
"""Raised whenever older code could not read what newer code writes."""

RESUME = "run the same medssl prepare again with --resume"


def volume_path(root: Path, volume: str, *, label: bool = False) -> Path:
    """Return where a volume of a store lies, or its mask.

    Example:
        >>> volume_path(Path("store"), "3fa9").as_posix()
        'store/data/3f/3fa9.b2nd'
    """
    shelf = volume[:2] if volume[:2].isalnum() else "_"
    return root / "data" / shelf / (quote(volume, safe="") + (".label.b2nd" if label else ".b2nd"))


def read_about(root: Path, name: str = "") -> dict[str, Any]:
    """Return what ``store.json`` says.

    Args:
        root: The folder of the store.
        name: What to call the store in messages; the name of the folder if empty.

    Raises:
        StoreError: If there is no store, or another version of medssl wrote it.
    """
    name = name or root.name
    try:
        about: dict[str, Any] = json.loads((root / "store.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(
            f'"{name}" is not a store (no store.json); give a folder that medssl prepare wrote'
        ) from error
    except ValueError as error:
        raise StoreError(f'the store.json of "{name}" is damaged; {RESUME}') from error
    if about.get("format") != FORMAT:
        raise StoreError(
            f'the store "{name}" has format {about.get("format")}, and this medssl reads '
            f"{FORMAT}; prepare it again with --overwrite"
        )
    return about


def read_table(root: Path, name: str) -> pa.Table:
    """Return ``volumes.parquet``.

    Raises:
        StoreError: If it is missing or damaged.
    """
    try:
        return pq.read_table(root / "volumes.parquet")
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f'the store "{name}" has no readable volumes.parquet; {RESUME}') from error
