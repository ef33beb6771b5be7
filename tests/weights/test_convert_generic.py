"""Files of no known family: a mapping is proposed, shown, and used only once it was accepted."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medssl.cli import main
from medssl.encoders import build_encoder
from medssl.errors import UnknownNameError, WeightsMismatchError
from medssl.weights.convert.engine import convert
from medssl.weights.foreign import read_foreign
from medssl.weights.load import load_encoder, verify_export

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights"
KERAS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
KERAS["running_var"] = "moving_variance"


def foreign_name(name):
    """Return how another code base might call a tensor of a ResNet."""
    name = re.sub(r"^layer(\d)\.(\d)", r"net.stages.\1.units.\2", name)
    name = re.sub(r"^(conv1|bn1)", r"net.stem.\1", name)
    name = name.replace("downsample.0", "shortcut.projection")
    place, _, kind = name.replace("downsample.1", "shortcut.bn").rpartition(".")
    kind = KERAS.get(kind, kind) if "bn" in place else "kernel"
    return re.sub(r"(conv|bn)([12])", r"\1_\2", place) + "." + kind


def published():
    torch.manual_seed(0)
    encoder = build_encoder("resnet10", spatial_dims=2, in_channels=3).eval()
    for name, tensor in encoder.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.3)
    return encoder


def foreign(encoder):
    kept = {n: t for n, t in encoder.state_dict().items() if "num_batches" not in n}
    state = {foreign_name(n): t for n, t in kept.items()}
    return state | {"net.head.kernel": torch.ones(5, 512), "net.head.beta": torch.ones(5)}


def same_features(ours, theirs):
    x = torch.randn(1, 3, 48, 64)
    return all(torch.equal(a, b) for a, b in zip(ours(x), theirs(x), strict=True))


@torch.no_grad()
@pytest.mark.parametrize("order", ["as written", "sorted"])
def test_a_foreign_naming_is_mapped_tensor_by_tensor(tmp_path, order):
    encoder = published()
    state = foreign(encoder)
    if order == "sorted":
        save_file(state, tmp_path / "w.safetensors")
        state = read_foreign(tmp_path / "w.safetensors")
    with pytest.raises(WeightsMismatchError, match="name that with --encoder"):
        convert(state)
    converted = convert(state, encoder="resnet10")
    truth = {n: foreign_name(n) for n in encoder.state_dict() if "num_batches" not in n}
    pairs = dict(line.split(" ")[2::-2] for line in converted.report.mapping)
    assert pairs == truth
    assert same_features(converted.encoder, encoder)
    assert converted.report.share == 1.0
    assert converted.report.dropped == ("net.head.beta", "net.head.kernel")
    assert "check orientation" in converted.report.lines()[-1]


@torch.no_grad()
def test_names_that_say_nothing_are_mapped_by_order_and_marked():
    encoder = published()
    kinds = ("weight", "bias", "running_mean", "running_var")
    kept = {n: t for n, t in encoder.state_dict().items() if n.endswith(kinds)}
    state = {f"{i}.{n.rpartition('.')[2]}": t for i, (n, t) in enumerate(kept.items())}
    converted = convert(state, encoder="resnet10")
    assert same_features(converted.encoder, encoder)
    marked = [line for line in converted.report.mapping if line.endswith(" ?")]
    assert len(marked) > 0.9 * len(converted.report.mapping)
    assert f"{len(marked)} hardly agree" in " ".join(converted.report.notes)
    tied = convert({**state, "again.weight": state["0.weight"]}, encoder="resnet10")
    assert same_features(tied.encoder, encoder)


def test_the_names_of_the_encoder_itself_are_found_behind_any_prefix():
    encoder = published()
    state = {f"a.b.{n}": t for n, t in encoder.state_dict().items()}
    state |= {f"copy.{n}": torch.zeros_like(t) for n, t in list(encoder.state_dict().items())[5:]}
    converted = convert({"model": state}, encoder="resnet10")
    assert all(line.startswith("a.b.") for line in converted.report.mapping)
    assert not any(line.endswith("?") for line in converted.report.mapping)


def test_what_does_not_fill_the_encoder_is_refused():
    state = foreign(published())
    with pytest.raises(WeightsMismatchError, match=r"fills \d+\.\d % .* another --encoder"):
        convert(state, encoder="resnet18")
    half = {n: t for n, t in state.items() if "stages.3" not in n}
    with pytest.raises(WeightsMismatchError, match=r"missing: layer3"):
        convert(half, encoder="resnet10")
    with pytest.raises(WeightsMismatchError, match="0 convolutions"):
        convert({"a.weight": torch.ones(2, 2)}, encoder="resnet10")
    with pytest.raises(UnknownNameError):
        convert(state, encoder="resnet11")


class Terminal:
    """Standard input of somebody who types one line."""

    def __init__(self, line):
        self.line = line

    def isatty(self):
        return True

    def readline(self):
        return f"{self.line}\n"


@torch.no_grad()
@pytest.mark.parametrize("answer", ["--accept", "yes", "no", None])
def test_a_mapping_is_used_once_it_was_accepted(tmp_path, capsys, monkeypatch, answer):
    encoder = published()
    save_file(foreign(encoder), tmp_path / "w.safetensors")
    out = tmp_path / "out"
    if answer in ("yes", "no"):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
    words = ["weights", "convert", str(tmp_path / "w.safetensors"), "--out", str(out)]
    words += ["--encoder", "resnet10", *(["--accept"] if answer == "--accept" else [])]
    code = main(words)
    said = capsys.readouterr()
    assert "net.stem.conv_1.kernel -> conv1.weight 64x3x7x7" in said.err
    assert "100.0 % of the encoder" in said.err
    if answer in ("--accept", "yes"):
        assert code == 0
        verify_export(out)
        assert same_features(load_encoder(out)[0], encoder)
    else:
        assert code == 2
        assert ("not accepted" if answer else "--accept") in said.err
        assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_mapping_that_fills_too_little_leaves_nothing(tmp_path, capsys):
    save_file(foreign(published()), tmp_path / "w.safetensors")
    words = ["weights", "convert", str(tmp_path / "w.safetensors"), "--out", str(tmp_path / "out")]
    assert main([*words, "--encoder", "resnet18", "--accept"]) == 3
    assert "another --encoder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


REAL = {
    "obelisk/models/allconvunet_tcia_fold1.pth": "all-convolution U-Net",
    "obelisk/models/obeliskhybrid_tcia_fold2.pth": "OBELISK-Net",
    "brainchop/py2tfjs/conversion_example/model.pth": "MeshNet",
    "brainchop/py2tfjs/conversion_example/model.bin": "TensorFlow.js",
    "brainchop/public/models/mindgrab/model.json": "TensorFlow.js",
    "torchio/models/whole_images_epoch_5.pth": "package unet",
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared weights are not here")
@pytest.mark.parametrize("name", REAL)
def test_real_files_of_other_networks_are_refused_with_the_reason(tmp_path, capsys, name):
    assert main(["weights", "convert", str(SHARED / name), "--out", str(tmp_path / "out")]) == 3
    assert REAL[name] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_nnformer_is_refused_by_its_name():
    names = ("patch_embed.proj1.conv1.weight", "layers.0.blocks.0.attn.qkv.weight")
    state = {f"module.backbone.encoder.{n}": torch.ones(2) for n in names}
    with pytest.raises(WeightsMismatchError, match=r"nnFormer, as of Alice.*authors' code"):
        convert({"student": state})
