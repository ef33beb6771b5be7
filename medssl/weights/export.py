"""Writes weights that explain themselves, and proves that they load."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.errors import WeightsMismatchError
from medssl.weights.card import model_card
from medssl.weights.golden import GOLDEN_INPUT, golden_features
from medssl.weights.load import Preprocess, encoder_from
from medssl.weights.manifest import (
    EncoderRecord,
    FileRecord,
    GoldenRecord,
    InputContract,
    Manifest,
    OriginRecord,
    TaskRecord,
    TrainingRecord,
)
from medssl.weights.records import to_json
from medssl.weights.state import sha256_of

__all__ = ["try_export", "write_export"]


def write_export(
    folder: Path,
    network: nn.Module,
    *,
    encoder: Encoder,
    contract: InputContract,
    training: TrainingRecord,
    title: str,
    task: TaskRecord | None = None,
    origin: OriginRecord | None = None,
) -> Manifest:
    """Write an export folder, then load it again and compare every feature bit for bit.

    Args:
        folder: Where ``manifest.json``, the weights and ``README.md`` go; replaced as a whole.
        network: What is exported: the encoder itself, or a network with an ``encoder``.
        encoder: The encoder in ``network``.
        contract: What its input must look like.
        training: How it was trained.
        title: One line for people.
        task: What a fine-tuned network answers.
        origin: Where converted weights come from.

    Raises:
        WeightsMismatchError: If what was written does not give the same features.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        manifest = _write(temporary, network, encoder, contract, training, title, task, origin)
        _compare(temporary, manifest, encoder)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def try_export(
    run: Path,
    network: nn.Module,
    *,
    encoder: Encoder,
    contract: InputContract,
    training: TrainingRecord,
    task: TaskRecord | None = None,
) -> None:
    """Export and reload before the first step, so that a run of days can't end in a useless file.

    Raises:
        WeightsMismatchError: If the network could not be exported.
    """
    with tempfile.TemporaryDirectory(prefix=".export-", dir=run) as trial:
        write_export(
            Path(trial) / "export",
            network,
            encoder=encoder,
            contract=contract,
            training=training,
            title="trial",
            task=task,
        )


def _write(
    folder: Path,
    network: nn.Module,
    encoder: Encoder,
    contract: InputContract,
    training: TrainingRecord,
    title: str,
    task: TaskRecord | None,
    origin: OriginRecord | None,
) -> Manifest:
    # a safetensors file gives each tensor exactly one owner, so views and ties are copied apart
    state = {
        name: t.detach().cpu().contiguous().clone() for name, t in network.state_dict().items()
    }
    path = folder / ("encoder.safetensors" if task is None else "model.safetensors")
    # the header tells a reader without the manifest what the network is
    save_file(
        state, path, metadata={"encoder": json.dumps({"name": encoder.name, **encoder.config})}
    )
    manifest = Manifest(
        id=f"local/{training.method}-{encoder.name}".replace("_", "-"),
        title=title,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        medssl_version=importlib.metadata.version("medssl"),
        file=FileRecord(path.name, sha256_of(path), path.stat().st_size, len(state)),
        encoder=EncoderRecord(encoder.name, to_json(encoder.config), encoder.channels),
        input=contract,
        training=training,
        golden=GoldenRecord(GOLDEN_INPUT, golden_features(encoder, Preprocess(contract))),
        task=task,
        origin=origin or OriginRecord(),
    )
    (folder / "manifest.json").write_text(manifest.to_text(), encoding="utf-8")
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
    return manifest


@torch.no_grad()
def _compare(folder: Path, manifest: Manifest, encoder: Encoder) -> None:
    reloaded = encoder_from(folder, manifest)
    device = next(encoder.parameters()).device
    shape = (1, encoder.in_channels, *manifest.input.patch)
    probe = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    was_training = encoder.training
    encoder.eval()
    expected = _maps(encoder, probe.to(device))
    encoder.train(was_training)
    given = _maps(reloaded.to(device), probe.to(device))
    if not all(torch.equal(a, b) for a, b in zip(expected, given, strict=True)):
        raise WeightsMismatchError(
            f'encoder "{encoder.name}" gives other features after export and reload; its state is '
            "not all in its parameters and buffers"
        )


def _maps(encoder: Encoder, probe: Tensor) -> list[Tensor]:
    maps: list[Tensor] = encoder(probe)
    return maps
