"""Small exports to hand over, and a process that cannot import medssl."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from medssl.encoders import ENCODERS, build_encoder
from medssl.store.recipe import Recipe
from medssl.tasks.model import load_model
from medssl.tasks.networks import SegmentationNetwork
from medssl.weights.export import write_export
from medssl.weights.formats.source import Source
from medssl.weights.load import encoder_from
from medssl.weights.manifest import InputContract, TaskRecord, TrainingRecord, read_manifest

WINDOW = {2: (32, 16), 3: (16, 8, 24)}

ALONE = """
import sys

class NoMedssl:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "medssl":
            raise ModuleNotFoundError("medssl is not here")

sys.meta_path.insert(0, NoMedssl())
import warnings
warnings.filterwarnings("ignore")
import torch
torch.set_num_threads(1)
"""


def run_alone(script: str, *arguments: Path | str) -> str:
    """Run a script where medssl can't be imported, and nothing on the path but libraries."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def contract(dims: int, *, modality: str = "ct", **recipe: object) -> InputContract:
    made = Recipe(**{"spacing_mm": (2.0, 2.0, 3.0), **recipe})
    return InputContract(modality, made.to_dict(), made.hash, WINDOW[dims])


def small_encoder(name: str, dims: int, channels: int = 1, **options: object):
    torch.manual_seed(1)
    tiny = {**ENCODERS[name].family.tiny(), **options}
    encoder = build_encoder(
        name, spatial_dims=dims, in_channels=channels, patch=WINDOW[dims], **tiny
    )
    # norms that do something, so that a mixed-up one is noticed
    for parameter in encoder.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.2)
    return encoder.eval().requires_grad_(False)


def encoder_export(tmp_path: Path, name: str, *, dims: int = 3, channels: int = 1, **options):
    recipe = options.pop("recipe", {})
    encoder = small_encoder(name, dims, channels, **options)
    write_export(
        tmp_path / "export",
        encoder,
        encoder=encoder,
        contract=contract(dims, **recipe),
        training=TrainingRecord("mae", 10, 0, 5, 4, "ab"),
        title="A test",
    )
    return tmp_path / "export", encoder


def segmentation_export(tmp_path: Path, name: str = "resenc_s", *, dims: int = 3, **options):
    recipe = options.pop("recipe", {})
    deep = options.pop("deep_supervision", True)
    encoder = small_encoder(name, dims, **options)
    network = SegmentationNetwork(encoder, classes=3, deep_supervision=deep)
    network = network.eval().requires_grad_(False)
    write_export(
        tmp_path / "export",
        network,
        encoder=encoder,
        contract=contract(dims, **recipe),
        training=TrainingRecord("mae", 10, 0, 5, 4, "ab"),
        title="A test",
        task=TaskRecord(
            "segmentation", labels={"liver": 1, "spleen": 5}, options={"deep_supervision": deep}
        ),
    )
    return tmp_path / "export", network


def load_source(folder: Path) -> Source:
    manifest = read_manifest(folder / "manifest.json")
    if manifest.task is None:
        encoder = encoder_from(folder, manifest)
        return Source(folder, manifest, encoder, encoder)
    network = load_model(folder).network
    return Source(folder, manifest, network.encoder, network)
