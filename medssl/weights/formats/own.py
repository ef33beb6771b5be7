"""``medssl``: the export itself, copied and proven again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from medssl.weights.formats.source import Source
from medssl.weights.load import verify_export

__all__ = ["write"]


def write(source: Source, folder: Path) -> Sequence[str]:
    """Copy tensors, manifest and card, and check the copy.

    Raises:
        WeightsMismatchError: If the copy does not give the features of the manifest.
    """
    for name in (source.manifest.file.name, "README.md", "manifest.json"):
        shutil.copyfile(source.folder / name, folder / name)
    return verify_export(folder)
