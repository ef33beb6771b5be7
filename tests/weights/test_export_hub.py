"""Weights in the layout of the Hugging Face Hub."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
import yaml
from handed_over import WINDOW, encoder_export, segmentation_export

import medssl
from medssl.cli import main


def hub_folder(tmp_path, folder, licence=None):
    if licence is not None:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["licence"]["weights"] = licence
        (folder / "manifest.json").write_text(json.dumps(manifest))
    out = tmp_path / "out"
    assert main(["export", str(folder), "--to", "hub", "--out", str(out)]) == 0
    return out


@torch.no_grad()
def test_the_folder_has_what_the_hub_looks_for_and_still_loads(tmp_path):
    folder, encoder = encoder_export(tmp_path, "resenc_s", dims=2)
    out = hub_folder(tmp_path, folder)
    assert {"config.json", "model.safetensors", "manifest.json", "README.md"} <= {
        path.name for path in out.iterdir()
    }
    loaded, _ = medssl.load_encoder(out)
    image = torch.randn(1, 1, *WINDOW[2])
    assert all(torch.equal(a, b) for a, b in zip(loaded(image), encoder(image), strict=True))
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["resenc_s"]
    assert config["input"]["patch"] == list(WINDOW[2])


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        (None, {"license": "other", "license_name": "not-stated"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("Our own, ask us", {"license": "other", "license_name": "our-own-ask-us"}),
    ],
)
def test_the_card_begins_with_yaml(tmp_path, licence, expected):
    folder, _ = segmentation_export(tmp_path, dims=2)
    out = hub_folder(tmp_path, folder, licence)
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert {key: told.get(key) for key in expected} == expected
    assert told["pipeline_tag"] == "image-segmentation"
    assert told["library_name"] == "medssl"
    assert text.lstrip().startswith("# A test")


@pytest.mark.parametrize(
    ("licence", "repository", "code", "said"),
    [
        ("CC-BY-4.0", "nobody", 2, "owner/name"),
        (None, "someone/encoder", 3, "not stated"),
        ("CC-BY-4.0", "someone/encoder", 2, 'pip install "medssl[hub]"'),
    ],
)
def test_what_must_not_or_cannot_be_published_is_refused(
    tmp_path, capsys, monkeypatch, licence, repository, code, said
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "huggingface_hub" else find(n, *a)
    )
    folder, _ = encoder_export(tmp_path, "resenc_s", dims=2)
    out = hub_folder(tmp_path, folder, licence)
    assert main(["weights", "push", str(out), repository]) == code
    assert said in capsys.readouterr().err


def test_another_folder_is_no_hub_folder(tmp_path, capsys):
    folder, _ = encoder_export(tmp_path, "resenc_s", dims=2)
    assert main(["weights", "push", str(folder), "someone/encoder"]) == 3
    assert "--to hub" in capsys.readouterr().err
