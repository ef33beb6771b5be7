"""Weights as programs that torch alone, or ONNX Runtime, runs."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from handed_over import WINDOW, encoder_export, load_source, run_alone, segmentation_export
from safetensors.torch import load_file, save_file

from medssl.cli import main
from medssl.errors import InputError, WeightsMismatchError
from medssl.weights.formats import torch_export
from medssl.weights.formats.source import compare
from medssl.weights.formats.table import FORMATS, writer

CASES = [
    ("resenc_s", 2),
    ("resenc_s", 3),
    ("vit_tiny", 3),
    pytest.param("resnet18", 3, marks=pytest.mark.slow),
    pytest.param("segresnet", 3, marks=pytest.mark.slow),
    pytest.param("unet_genesis", 3, marks=pytest.mark.slow),
    pytest.param("primus_s", 3, marks=pytest.mark.slow),
    pytest.param("swin_tiny", 2, marks=pytest.mark.slow),
    pytest.param("swin_tiny", 3, marks=pytest.mark.slow),
]

RUN_PROGRAM = """
from safetensors.torch import load_file, save_file
run = torch.export.load(sys.argv[1]).module()
found = run(load_file(sys.argv[2])["image"])
found = (found,) if isinstance(found, torch.Tensor) else found
save_file({str(i): t.contiguous() for i, t in enumerate(found)}, sys.argv[3])
"""


@torch.no_grad()
@pytest.mark.parametrize(("name", "dims"), [("resenc_s", 3), ("vit_tiny", 2)])
def test_a_program_runs_in_a_process_without_medssl(tmp_path, name, dims):
    folder, encoder = encoder_export(tmp_path, name, dims=dims)
    out = tmp_path / "out"
    assert main(["export", str(folder), "--to", "torch-export", "--out", str(out)]) == 0
    image = torch.randn(3, 1, *WINDOW[dims])
    save_file({"image": image}, tmp_path / "image.safetensors")
    files = [out / "model.pt2", tmp_path / "image.safetensors", tmp_path / "maps.safetensors"]
    run_alone(RUN_PROGRAM, *files)
    given = load_file(files[2])
    for index, expected in enumerate(encoder(image)):
        torch.testing.assert_close(given[str(index)], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_segmentation_model_answers_with_logits(tmp_path):
    folder, network = segmentation_export(tmp_path, dims=3)
    out = tmp_path / "out"
    assert main(["export", str(folder), "--to", "torch-export", "--out", str(out)]) == 0
    image = torch.randn(1, 1, *WINDOW[3])
    run = torch.export.load(out / "model.pt2").module()
    torch.testing.assert_close(run(image), network(image), rtol=1e-5, atol=1e-5)


def test_the_error_is_measured_and_lies_beside(tmp_path, capsys):
    folder, _ = encoder_export(tmp_path, "resenc_s", dims=2)
    out = tmp_path / "out"
    assert main(["export", str(folder), "--to", "torch-export", "--out", str(out)]) == 0
    record = json.loads((out / "handover.json").read_text())
    assert record["format"] == "torch-export"
    assert record["agreement"]["images"] == 4
    assert 0 <= record["agreement"]["largest_relative_error"] < 1e-4
    assert record["manifest"]["encoder"]["name"] == "resenc_s"
    card = (out / "README.md").read_text()
    assert "largest absolute error" in card
    assert "torch.export.load" in card
    assert "medssl.load_encoder" not in card
    assert main(["verify", str(out)]) == 0
    assert "any batch size" in capsys.readouterr().out


def test_a_program_that_differs_is_refused(tmp_path):
    folder, _ = encoder_export(tmp_path, "resenc_s", dims=2)
    source = load_source(folder)
    expected = source.outputs()

    def slightly_wrong(images):
        return [features + 3e-4 * features.abs().max() for features in expected(images)]

    with pytest.raises(WeightsMismatchError, match="was not handed over"):
        compare(source, slightly_wrong, "model.pt2", batches=(1,))
    with pytest.raises(WeightsMismatchError, match="other shapes"):
        compare(source, lambda images: expected(images)[:1], "model.pt2", batches=(1,))


def test_what_torch_cannot_capture_is_refused(tmp_path):
    folder, _ = encoder_export(tmp_path, "resenc_s", dims=2)
    source = load_source(folder)
    forward = type(source.encoder).forward

    class Undecided(type(source.encoder)):
        def forward(self, x):
            return forward(self, -x if float(x.sum()) > 0 else x)

    source.encoder.__class__ = Undecided
    with pytest.raises(InputError, match="can't be turned into a program"):
        torch_export.write(source, tmp_path)


@torch.no_grad()
@pytest.mark.parametrize(("name", "dims"), CASES)
def test_onnx_runtime_gives_the_features(tmp_path, name, dims):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    folder, encoder = encoder_export(tmp_path, name, dims=dims)
    out = tmp_path / "out"
    assert main(["export", str(folder), "--to", "onnx", "--out", str(out)]) == 0
    session = runtime.InferenceSession(str(out / "model.onnx"))
    image = torch.randn(3, 1, *WINDOW[dims])
    given = session.run(None, {"image": image.numpy()})
    for found, expected in zip(given, encoder(image), strict=True):
        scale = float(expected.abs().max())
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4 * scale)
    assert [output.name for output in session.get_outputs()] == [
        f"features_{level}" for level in range(len(encoder.channels))
    ]
    assert json.loads((out / "handover.json").read_text())["dynamic_batch"]


@torch.no_grad()
def test_a_whole_segmentation_network_becomes_onnx(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    folder, network = segmentation_export(tmp_path, dims=2)
    out = tmp_path / "out"
    assert main(["export", str(folder), "--to", "onnx", "--out", str(out)]) == 0
    image = torch.randn(2, 1, *WINDOW[2])
    (given,) = runtime.InferenceSession(str(out / "model.onnx")).run(
        ["logits"], {"image": image.numpy()}
    )
    np.testing.assert_allclose(given, network(image).numpy(), rtol=0, atol=1e-4)


def test_onnx_without_its_libraries_is_refused(tmp_path, monkeypatch, capsys):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnx" else find(name, *a)
    )
    folder, _ = encoder_export(tmp_path, "resenc_s", dims=2)
    assert main(["export", str(folder), "--to", "onnx", "--out", str(tmp_path / "out")]) == 2
    assert 'pip install "medssl[export]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_of_the_table_has_a_writer(name):
    assert callable(writer(name))


def test_logging_is_left_as_it_was(tmp_path):
    pytest.importorskip("onnxscript")
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    folder, _ = encoder_export(tmp_path, "resenc_s", dims=2)
    assert main(["export", str(folder), "--to", "onnx", "--out", str(tmp_path / "out")]) == 0
    assert logger.level == before


def test_the_command_offers_the_formats_of_the_table():
    from typing import get_args

    from medssl.commands.export import Target

    assert get_args(Target) == tuple(FORMATS)
