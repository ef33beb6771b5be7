"""``medssl export``: hand weights over, whole and proven."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medssl.commands.session import CommandSession
from medssl.errors import InputError

if TYPE_CHECKING:
    from medssl.weights.formats.source import Source

__all__ = ["Target", "export"]

Target = Literal["medssl", "monai-bundle", "nnunet", "torch-export", "onnx", "hub"]


def export(weights: Path, *, out: Path, to: Target = "medssl", overwrite: bool = False) -> Path:
    """Hand the weights of a run over in a folder of their own, also to tools without medssl.

    medssl: tensors, manifest and model card, no pickle and nothing of the run; what load_encoder
    and load_model read.
    monai-bundle: runs with MONAI and torch alone, from a scan to features or masks.
    nnunet: a checkpoint for nnU-Net's pretrained trainer (resenc_*, primus_*); of a segmentation
    model also plans.json and dataset.json, for nnUNetv2_predict.
    torch-export, onnx: a program for windows of the size of the training crops, run beside the
    network before it is handed over; onnx needs the extra export.
    hub: config.json, model.safetensors and a card as the Hugging Face Hub shows it.

    The weights are checked first: schema, hash, strict loading, features. What was written is run
    and compared with them; it is refused where it differs.

    Args:
        weights: A run folder or its export, an id of the zoo, or a file that others published.
        out: The new folder.
        to: The format.
        overwrite: Replace an export that is there.

    Returns:
        The new folder.

    Raises:
        InputError: If there are no weights, their manifest is not valid, or the format has no place
            for this network.
        UsageError: If the format needs libraries that are not installed.
        WeightsMismatchError: If the weights are damaged, or what was written gives other numbers.

    Example:
        medssl export runs/voco --to monai-bundle --out handover/voco
    """
    out = Path(out)
    options = {"weights": weights, "to": to}
    with CommandSession("export", out=out, overwrite=overwrite, options=options) as session:
        from medssl.weights.formats.table import writer

        source = _source(Path(weights), out)
        write = writer(to)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as trial:
            told = write(source, Path(trial))
            for path in sorted(Path(trial).iterdir()):
                path.replace(out / path.name)
                inside = [path.name] if (out / path.name).is_file() else _files(out / path.name)
                session.hash_output(*(out / name for name in inside if name != "README.md"))
        session.summary(told, next_step=f"medssl verify {out}")
    return out


def _files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder.parent).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _source(weights: Path, out: Path) -> Source:
    """Load and check what is to be handed over."""
    from medssl.tasks.model import load_model
    from medssl.weights.formats.source import Source
    from medssl.weights.load import encoder_from, find_export, verify_export
    from medssl.weights.manifest import read_manifest

    folder = find_export(weights)
    if out.resolve() == folder.resolve():
        raise InputError(f'--out "{out.name}" is the export itself; choose another folder')
    verify_export(folder)
    manifest = read_manifest(folder / "manifest.json")
    if manifest.task is None:
        encoder = encoder_from(folder, manifest)
        return Source(folder, manifest, encoder, encoder)
    network = load_model(folder).network
    return Source(folder, manifest, network.encoder, network)
