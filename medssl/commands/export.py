"""``medssl export``: hand weights over, whole and proven."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from medssl.commands.session import CommandSession
from medssl.errors import InputError

__all__ = ["export"]


def export(
    weights: Path, *, out: Path, to: Literal["medssl"] = "medssl", overwrite: bool = False
) -> Path:
    """Hand the weights of a run over in a folder of their own.

    The folder holds tensors, manifest and model card, no pickle and nothing of the run. It is
    checked before it is copied and again afterwards: schema, hash, strict loading, features.

    Args:
        weights: A run folder, or its export.
        out: The new folder.
        to: The format; ``medssl`` is what ``load_encoder`` and ``load_model`` read.
        overwrite: Replace an export that is there.

    Returns:
        The new folder.

    Raises:
        InputError: If there are no weights, or their manifest is not valid.
        WeightsMismatchError: If the weights are damaged.

    Example:
        medssl export runs/voco --to medssl --out handover/voco
    """
    out = Path(out)
    options = {"weights": weights, "to": to}
    with CommandSession("export", out=out, overwrite=overwrite, options=options) as session:
        from medssl.io.atomic import atomic_path
        from medssl.weights.load import find_export, verify_export
        from medssl.weights.manifest import read_manifest

        source = find_export(weights)
        if out.resolve() == source.resolve():
            raise InputError(f'--out "{out.name}" is the export itself; choose another folder')
        verify_export(source)
        tensors = read_manifest(source / "manifest.json").file.name
        for name in (tensors, "README.md", "manifest.json"):
            with atomic_path(out / name) as temporary:
                shutil.copyfile(source / name, temporary)
        session.hash_output(out / tensors, out / "manifest.json")
        session.summary(verify_export(out), next_step=f"medssl verify {out}")
    return out
