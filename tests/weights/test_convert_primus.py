"""Twins of OpenMind's Primus files against the published definition, written out here."""

import math

import pytest
import torch
import torch.nn.functional as F

from medssl.encoders import build_encoder
from medssl.errors import WeightsMismatchError
from medssl.weights.convert.checkpoint import Checkpoint
from medssl.weights.convert.engine import convert
from medssl.weights.convert.primus import propose_primus
from medssl.weights.formats.nnunet_names import primus_weights

WIDTH, HEADS, DEPTH, TOKEN = 24, 2, 4, 4


def published(grid=(4, 4, 4)):
    """Return weights under their published names; ``grid`` is that of the array (z, y, x)."""
    torch.manual_seed(0)
    encoder = build_encoder(
        "primus_m",
        patch=tuple(4 * n for n in grid),
        token=TOKEN,
        width=WIDTH,
        depth=DEPTH,
        heads=HEADS,
        mlp_ratio=2.0,
    )
    return {
        n if n.startswith("down_projection.") else f"eva.{n}": 0.3 * torch.randn_like(t)
        for n, t in encoder.state_dict().items()
    }


def turned(x, grid):
    """Turn pairs of features ``(heads, tokens, head)`` by the places of tokens on ``grid``."""
    count = x.shape[-1] // 6
    bands = 10000.0 ** -(torch.arange(count, dtype=torch.float64) / count)
    places = torch.cartesian_prod(*(torch.arange(n) for n in grid)).double()
    angles = (places[:, :, None] * bands).flatten(1)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def reference(weights, x, order=(1, 0, 2)):
    """Return what nnssl's network gives for an array (z, y, x), in the array's own order.

    ``order`` is that of its tokens: nnssl's begins with the second axis.
    """
    w = {n: t.double() for n, t in weights.items()}
    x = F.conv3d(x.double(), w["down_projection.proj.weight"], w["down_projection.proj.bias"], 4)
    x = x.permute(0, *(2 + axis for axis in order), 1)
    grid = x.shape[1:4]
    x = x.flatten(1, 3)[0] + w["eva.pos_embed"][0]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    for i in range(DEPTH):
        at = f"eva.blocks.{i}"
        y = norm(x, f"{at}.norm1")
        q, k, v = (
            linear(y, f"{at}.attn.{n}_proj").view(len(x), HEADS, -1).transpose(0, 1) for n in "qkv"
        )
        scores = turned(q, grid) @ turned(k, grid).mT / math.sqrt(WIDTH // HEADS)
        y = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        y = linear(norm(y, f"{at}.attn.norm"), f"{at}.attn.proj")
        x = x + w[f"{at}.gamma_1"] * y
        y = norm(x, f"{at}.norm2")
        y = F.silu(linear(y, f"{at}.mlp.fc1_g")) * linear(y, f"{at}.mlp.fc1_x")
        x = x + w[f"{at}.gamma_2"] * linear(norm(y, f"{at}.mlp.norm"), f"{at}.mlp.fc2")
    tokens = norm(x, "eva.norm").float()
    return tokens.view(*grid, -1).permute(3, *order)[None]


def mae(weights, patch=(16, 16, 16)):
    decoder = {"decoder.blocks.0.norm1.weight": torch.ones(3), "mask_token": torch.ones(1, 1, 3)}
    plan = {
        "architecture_plans": {"arch_class_name": "PrimusM", "arch_kwargs": {"eva_numheads": 2}},
        "pretrain_plan": {"configurations": {"onemmiso": {"patch_size": list(patch)}}},
        "key_to_lpe": "eva.pos_embed",
    }
    return {"network_weights": {**weights, **decoder}, "nnssl_adaptation_plan": plan}


def voco(weights):
    content = mae(weights, (160, 160, 160))
    state = {f"encoder.{n}": t for n, t in weights.items()}
    state |= {"projector.layer1.0.weight": torch.ones(2, 2), "encoder.eva.cls_token": torch.ones(1)}
    content["nnssl_adaptation_plan"]["pretrain_patch_size"] = [16, 16, 16]
    return {**content, "network_weights": state}


def close(found, expected):
    assert (found - expected).norm() < 1e-5 * expected.norm()


@torch.no_grad()
@pytest.mark.parametrize("layout", [mae, voco])
def test_a_published_file_gives_the_features_of_the_turned_array(layout):
    weights = published()
    converted = convert(layout(weights))
    assert converted.report.family == "openmind_primus"
    assert converted.report.share == 1.0
    assert len(converted.report.dropped) == 2
    assert converted.contract.patch == (16, 16, 16)
    told = " ".join(converted.report.lines())
    assert "second axis first" in told
    assert "(z, y, x)" in told
    x = torch.randn(1, 1, 16, 16, 16)
    expected = reference(weights, x)
    found = converted.encoder(x.permute(0, 1, 4, 3, 2))[-1].permute(0, 1, 4, 3, 2)
    close(found, expected)
    assert (converted.encoder(x)[-1] - expected).norm() > 0.05 * expected.norm()


@torch.no_grad()
def test_a_crop_that_is_no_cube_comes_from_the_plan():
    weights = published((2, 3, 4))
    converted = convert(mae(weights, (8, 12, 16)))
    assert converted.encoder.config["patch"] == [16, 12, 8]
    x = torch.randn(1, 1, 8, 12, 16)
    close(
        converted.encoder(x.permute(0, 1, 4, 3, 2))[-1].permute(0, 1, 4, 3, 2),
        reference(weights, x),
    )
    content = mae(weights, (160, 160, 160))
    with pytest.raises(WeightsMismatchError, match=r"24 positions .* pretrain_patch_size"):
        convert(content)


@torch.no_grad()
def test_another_crop_gets_the_positions_trilinearly():
    weights = published()
    converted = convert(mae(weights))
    stored = weights["eva.pos_embed"].transpose(1, 2).view(1, WIDTH, 4, 4, 4)
    larger = F.interpolate(stored, size=(6, 6, 6), mode="trilinear")
    resized = {**weights, "eva.pos_embed": larger.flatten(2).transpose(1, 2)}
    x = torch.randn(1, 1, 24, 24, 24)
    moved = convert(mae(weights), patch=(24, 24, 24))
    assert moved.encoder.grid == (6, 6, 6)
    assert "from 16 x 16 x 16 to 24 x 24 x 24" in " ".join(moved.report.adapted)
    for one in (converted, moved):  # when it runs, or when it is converted
        found = one.encoder(x.permute(0, 1, 4, 3, 2))[-1].permute(0, 1, 4, 3, 2)
        close(found, reference(resized, x))
    thin = convert(mae(weights), patch=(8, 16, 24)).encoder
    stored = converted.encoder._positions((2, 4, 6))
    torch.testing.assert_close(thin._positions((2, 4, 6)), stored)


@torch.no_grad()
def test_a_run_of_nnu_net_has_the_first_axis_first():
    weights = published((2, 3, 4))
    content = mae(weights, (8, 12, 16)) | {"trainer_name": "nnUNetTrainer"}
    converted = convert(content)
    assert converted.report.family == "nnunet_primus"
    assert "first axis first" in " ".join(converted.report.notes)
    x = torch.randn(1, 1, 8, 12, 16)
    expected = reference(weights, x, (0, 1, 2))
    close(converted.encoder(x.permute(0, 1, 4, 3, 2))[-1].permute(0, 1, 4, 3, 2), expected)


@torch.no_grad()
def test_what_was_handed_to_nnu_net_comes_back_as_it_was():
    encoder = convert(mae(published((2, 3, 4)), (8, 12, 16))).encoder
    handed = mae(primus_weights(encoder), (8, 12, 16)) | {"trainer_name": "nnUNetTrainer"}
    x = torch.randn(1, 1, 16, 12, 8)
    close(convert(handed).encoder(x)[-1], encoder(x)[-1])


def test_unknown_heads_and_missing_parts_are_refused():
    weights = published()
    content = mae(weights)
    del content["nnssl_adaptation_plan"]
    with pytest.raises(WeightsMismatchError, match=r"no number of heads .* --heads"):
        convert(content)
    assert convert(content, heads=2).report.share == 1.0
    with pytest.raises(WeightsMismatchError, match="positions are missing"):
        convert(mae({n: t for n, t in weights.items() if n != "eva.pos_embed"}))
    with pytest.raises(WeightsMismatchError, match=r"blocks\.2\.mlp\.fc2\.weight"):
        convert(mae({n: t for n, t in weights.items() if n != "eva.blocks.2.mlp.fc2.weight"}))


def test_the_published_size_is_known_without_a_plan():
    with torch.device("meta"):
        encoder = build_encoder("primus_s", patch=(64, 64, 64))
    # one number stands for all of a tensor's
    weights = {
        n if n.startswith("down") else f"eva.{n}": torch.zeros(1).expand(t.shape)
        for n, t in encoder.state_dict().items()
    }
    proposal = propose_primus(Checkpoint(weights, "network_weights", {}))
    assert proposal.encoder == "primus_s"
    assert proposal.config["heads"] == 6
    assert proposal.config["patch"] == [64, 64, 64]
    shapes = {n: t.shape for n, t in encoder.state_dict().items()}
    assert {n: t.shape for n, t in proposal.tensors.items()} == shapes
