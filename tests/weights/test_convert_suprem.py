"""Twins of Models Genesis, of SuPreM's U-Net and SegResNet, and of PCRLv2."""

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets.segresnet import SegResNet

from medssl.encoders import build_encoder
from medssl.errors import WeightsMismatchError
from medssl.weights.convert.engine import convert


def genesis_reference(weights, x, *, running=False):
    maps = []
    for stage in ("down_tr64", "down_tr128", "down_tr256", "down_tr512"):
        x = F.max_pool3d(x, 2) if maps else x
        for place in (0, 1):
            name = f"{stage}.ops.{place}"
            x = F.conv3d(
                x, weights[f"{name}.conv1.weight"], weights[f"{name}.conv1.bias"], padding=1
            )
            scale, shift = weights[f"{name}.bn1.weight"], weights[f"{name}.bn1.bias"]
            kept = [
                weights[f"{name}.bn1.running_{n}"] if running else None for n in ("mean", "var")
            ]
            x = F.relu(F.batch_norm(x, *kept, scale, shift, training=not running))
        maps.append(x)
    return maps


@torch.no_grad()
@pytest.mark.parametrize(
    ("container", "prefix", "family"),
    [
        ("state_dict", "module.", "models_genesis"),
        ("net", "module.backbone.", "suprem_unet"),
    ],
)
def test_the_u_net_of_models_genesis_norms_by_its_batch(container, prefix, family):
    torch.manual_seed(0)
    weights = build_encoder("unet_genesis", width=4).state_dict()
    state = {prefix + n: t for n, t in weights.items()}
    state[prefix + "up_tr256.up_conv.weight"] = torch.ones(3)
    state[prefix + "out_tr.final_conv.bias"] = torch.ones(3)
    converted = convert({container: state, "epoch": 1})
    assert converted.report.family == family
    assert converted.report.share == 1.0
    assert len(converted.report.dropped) == 2
    x = torch.randn(2, 1, 16, 16, 16)
    for ours, theirs in zip(converted.encoder(x), genesis_reference(weights, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_u_net_of_pcrlv2_norms_by_its_running_statistics():
    torch.manual_seed(0)
    weights = build_encoder("unet_genesis", width=4).state_dict()
    for name, tensor in weights.items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.3)
    state = {f"module.{n}": t for n, t in weights.items()}
    state["module.up_tr256.predictor_head.0.weight"] = torch.ones(3)
    state["module.up_tr256.deep_supervision_head.bn1.running_mean"] = torch.ones(1)
    converted = convert({"state_dict": state, "epoch": 1, "opt": {}})
    assert converted.report.family == "pcrlv2"
    assert converted.report.share == 1.0
    assert "check orientation" in converted.report.lines()[-1]
    x = torch.randn(2, 1, 16, 16, 16)
    expected = genesis_reference(weights, x, running=True)
    for ours, theirs in zip(converted.encoder(x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    # a variant with group norms keeps no statistics, and is no batch norm
    grouped = {n: t for n, t in state.items() if "running_" not in n}
    with pytest.raises(WeightsMismatchError, match="running_mean"):
        convert({"state_dict": grouped})


@torch.no_grad()
def test_suprems_segresnet_gives_the_features_of_monai():
    torch.manual_seed(0)
    twin = SegResNet(
        init_filters=8, in_channels=1, out_channels=5, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)
    ).eval()
    state = {"module." + n: t for n, t in twin.state_dict().items()}
    converted = convert({"net": state, "epoch": 3})
    assert converted.report.family == "suprem_segresnet"
    assert converted.report.share == 1.0
    x = torch.randn(1, 1, 32, 16, 16)
    deepest, maps = twin.encode(x)
    for ours, theirs in zip(converted.encoder(x), maps, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(converted.encoder(x)[-1], deepest, rtol=1e-5, atol=1e-5)
