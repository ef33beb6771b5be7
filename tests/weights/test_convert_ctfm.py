"""Twins of CT-FM's two files, against MONAI's own classes."""

import pytest
import torch
from monai.networks.nets.segresnet_ds import SegResEncoder, SegResNetDS
from safetensors.torch import save_file

from medssl.errors import WeightsMismatchError
from medssl.weights.convert.engine import convert
from medssl.weights.foreign import read_foreign

BLOCKS = (1, 2, 2, 4, 4)


def vary(network):
    """Give norms values that matter, for they start as constants."""
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "norm1.bias", "norm2.bias")):
            tensor.normal_(0, 0.3)
        elif name.endswith(("running_var", "norm1.weight", "norm2.weight")):
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def turn(x):
    """Turn a volume from (R, A, S) to (S, P, L)."""
    return torch.flip(x.permute(0, 1, 4, 3, 2), (3, 4))


def turn_back(x):
    return torch.flip(x, (3, 4)).permute(0, 1, 4, 3, 2)


@torch.no_grad()
@pytest.mark.parametrize("whole", [False, True], ids=["encoder", "whole"])
@pytest.mark.parametrize("shape", [(32, 48, 16), (33, 20, 17)])
def test_a_published_file_gives_the_features_of_the_turned_volume(tmp_path, whole, shape):
    if whole:
        network = vary(SegResNetDS(init_filters=8, blocks_down=BLOCKS, out_channels=3))
        encoder = network.encoder
    else:
        network = encoder = vary(SegResEncoder(init_filters=8, blocks_down=BLOCKS))
    save_file(network.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    converted = convert(read_foreign(tmp_path / "model.safetensors"))
    assert converted.report.family == "ct_fm"
    assert converted.report.share == 1.0
    assert not whole or converted.report.dropped
    assert "superior, posterior, left" in " ".join(converted.report.lines())
    assert converted.contract.window == (-1024, 2048)
    x = torch.randn(1, 1, *shape)
    for ours, theirs in zip(converted.encoder(x), encoder(turn(x)), strict=True):
        torch.testing.assert_close(ours, turn_back(theirs), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_run_of_ones_own_is_read_as_it_is():
    network = vary(SegResNetDS(init_filters=8, blocks_down=(1, 2), out_channels=3, in_channels=2))
    state = {f"module.{n}": t for n, t in network.state_dict().items()}
    converted = convert({"state_dict": state, "epoch": 3})
    assert converted.report.family == "segresnet_ds"
    assert "check orientation" in converted.report.lines()[-1]
    x = torch.randn(1, 2, 16, 16, 8)
    for ours, theirs in zip(converted.encoder(x), network.encoder(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_half_file_is_refused():
    state = SegResEncoder(init_filters=8, blocks_down=BLOCKS).state_dict()
    half = {n: t for n, t in state.items() if not n.startswith("layers.3.blocks.2")}
    with pytest.raises(WeightsMismatchError, match=r"layers\.3\.blocks\.2"):
        convert(half)
    with pytest.raises(WeightsMismatchError, match="running_var"):
        convert({n: t for n, t in state.items() if not n.endswith("running_var")})
