"""Twins of VoComni for nnU-Net and of nnU-Net's own runs, against the published definition."""

import pytest
import torch
import torch.nn.functional as F

from medssl.encoders import build_encoder
from medssl.errors import WeightsMismatchError
from medssl.weights.convert.engine import convert

FEATURES = (4, 6, 8)


def published(dims=3):
    """Return the state dict of a PlainConvUNet: every tensor under several names."""
    torch.manual_seed(0)
    encoder = build_encoder(
        "plainconv", spatial_dims=dims, features=FEATURES, convolutions=(2, 1, 2)
    )
    state = {}
    for name, tensor in encoder.state_dict().items():
        varied = tensor + 0.2 * torch.randn_like(tensor)
        other = name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        for root in ("encoder.", "decoder.encoder."):
            state[root + name] = state[root + other] = varied
    state |= {
        "decoder.stages.0.convs.0.conv.weight": torch.ones(2, 2, 3, 3, 3),
        "decoder.transpconvs.0.weight": torch.ones(2, 2, 2, 2, 2),
        "decoder.seg_layers.0.weight": torch.ones(21, 4, 1, 1, 1),
    }
    return state


def reference(state, x, strides):
    convolve, norm = (F.conv3d, F.instance_norm) if x.ndim == 5 else (F.conv2d, F.instance_norm)
    maps = []
    for stage, count in enumerate((2, 1, 2)):
        for place in range(count):
            name = f"encoder.stages.{stage}.0.convs.{place}.all_modules"
            weight, bias = state[f"{name}.0.weight"], state[f"{name}.0.bias"]
            x = convolve(x, weight, bias, stride=1 if place else strides[stage], padding=1)
            x = norm(x, weight=state[f"{name}.1.weight"], bias=state[f"{name}.1.bias"])
            x = F.leaky_relu(x, 0.01)
        maps.append(x)
    return maps


def turn(x):
    return x.permute(0, 1, *reversed(range(2, x.ndim)))


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_a_file_gives_the_features_of_the_turned_array(dims):
    state = published(dims)
    converted = convert(state)
    assert converted.report.family == ("vocomni_nnunet" if dims == 3 else "nnunet_plain")
    assert converted.report.share == 1.0
    assert "no plan with strides" in " ".join(converted.report.lines())
    x = torch.randn(1, 1, *(16, 24, 20)[:dims])
    expected = reference(state, x, (1, 2, 2))
    for ours, theirs in zip(converted.encoder(turn(x)), expected, strict=True):
        torch.testing.assert_close(turn(ours), theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_run_brings_its_strides():
    state = published()
    kwargs = {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}
    plans = {"configurations": {"3d_fullres": {"architecture": {"arch_kwargs": kwargs}}}}
    run = {
        "network_weights": state,
        "trainer_name": "nnUNetTrainer",
        "init_args": {"plans": plans, "configuration": "3d_fullres"},
    }
    converted = convert(run)
    assert converted.report.family == "nnunet_plain"
    assert converted.encoder.strides == ((1, 1, 1), (2, 2, 1), (4, 4, 2))
    x = torch.randn(1, 1, 8, 16, 16)
    expected = reference(state, x, (1, (1, 2, 2), 2))
    for ours, theirs in zip(converted.encoder(turn(x)), expected, strict=True):
        torch.testing.assert_close(turn(ours), theirs, rtol=1e-5, atol=1e-5)


def test_half_files_and_other_kernels_are_refused():
    state = published()
    with pytest.raises(WeightsMismatchError, match="whole stages"):
        convert({n: t for n, t in state.items() if ".stages.1." not in n})
    name = "encoder.stages.2.0.convs.1.conv.bias"
    with pytest.raises(WeightsMismatchError, match=r"stages\.2\.0\.convs\.1\.conv\.bias"):
        convert({n: t for n, t in state.items() if n != name})
    flat = {n: t[:, :, :1] if t.ndim == 5 else t for n, t in state.items()}
    with pytest.raises(WeightsMismatchError, match=r"expected \(4, 1, 3, 3, 3\)"):
        convert(flat)
