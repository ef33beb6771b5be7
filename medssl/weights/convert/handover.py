"""Writes a converted encoder as an export like any other, with its origin and what it saw."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from medssl.io.atomic import atomic_path
from medssl.weights.convert.engine import Conversion
from medssl.weights.export import write_export
from medssl.weights.manifest import OriginRecord, TrainingRecord
from medssl.weights.state import sha256_of

__all__ = ["write_converted"]

_FILES = ("encoder.safetensors", "README.md", "manifest.json")


def write_converted(converted: Conversion, source: Path, folder: Path) -> tuple[str, ...]:
    """Write manifest, weights and card of a converted encoder into a folder.

    Args:
        converted: The encoder and the account of it.
        source: The file it comes from; its name and hash go into the manifest.
        folder: Exists; what else lies in it stays.

    Returns:
        The names of the files.

    Raises:
        WeightsMismatchError: If what was written gives other features than the encoder.
    """
    report = converted.report
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=folder) as trial:
        written = Path(trial) / "export"
        write_export(
            written,
            converted.encoder,
            encoder=converted.encoder,
            contract=converted.contract.to_input(),
            training=TrainingRecord(
                method=report.family,
                steps=0,
                seed=0,
                volumes=0,
                patients=0,
                config_sha256="",
                data="as published by its authors",
                initial_weights=source.name,
            ),
            title=f"{converted.encoder.name} of {source.name}",
            origin=OriginRecord(
                sha256=sha256_of(source), converter=report.family, dropped=report.dropped
            ),
        )
        for name in _FILES:
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(written / name, temporary)
    return _FILES
