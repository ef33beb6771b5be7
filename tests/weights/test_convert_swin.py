"""Twins of published SwinUNETR files: container, prefixes, heads and names as released, tiny."""

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets.swin_unetr import PatchMerging, SwinUNETR

from medssl.errors import WeightsMismatchError
from medssl.weights.convert.engine import convert

IMAGE = (64, 32, 32)


class OldMerging(PatchMerging):
    """Patch merging of MONAI 1.4, written down from its eight slices."""

    def forward(self, x):
        first = x[:, 0::2, 0::2, 0::2]
        parts = [
            first,
            x[:, 1::2, 0::2, 0::2],
            x[:, 0::2, 1::2, 0::2],
            x[:, 0::2, 0::2, 1::2],
            x[:, 1::2, 0::2, 1::2],
            x[:, 0::2, 1::2, 0::2],
            x[:, 0::2, 0::2, 1::2],
            x[:, 1::2, 1::2, 1::2],
        ]
        return self.reduction(self.norm(torch.cat(parts, -1)))


def published(version, merging=OldMerging):
    torch.manual_seed(0)
    return SwinUNETR(
        in_channels=1,
        out_channels=3,
        feature_size=12,
        num_heads=(1, 2, 2, 4),
        depths=(2, 1, 1, 1),
        use_v2=version == 2,
        downsample=merging,
    ).eval()


def encoder_only(network, prefix):
    return {prefix + n: t for n, t in network.swinViT.state_dict().items()}


def monai_swinvit():
    network = published(1)
    state = {
        n.replace("mlp.linear", "mlp.fc"): t for n, t in encoder_only(network, "module.").items()
    }
    state |= {
        "module.norm.weight": torch.ones(192),
        "module.rotation_head.weight": torch.ones(4, 9),
    }
    return network, {"epoch": 5, "state_dict": state, "optimizer": {"state": {}}}


def dae():
    network = published(1)
    state = {}
    for name, tensor in network.state_dict().items():
        bare = name.removeprefix("swinViT.")
        if bare == name:
            state[name] = tensor
        elif bare.startswith("layers"):
            state[f"encoder.{bare[:8]}0.{bare[8:]}"] = tensor
        else:
            state["encoder." + bare] = tensor
    state |= {"encoder.mask_token": torch.ones(1, 12), "encoder.norm.weight": torch.ones(9)}
    return network, {"model": state, "optimizer": {}, "epoch": 1, "max_accuracy": 0.0}


def voco_10k():
    network = published(2)
    keep = {n: t for n, t in network.state_dict().items() if not n.startswith(("decoder", "out"))}
    return network, {"module." + n: t for n, t in keep.items()}


def voco_head():
    network = published(2)
    state = {n: t for n, t in network.state_dict().items() if n.startswith(("swinViT", "encoder"))}
    heads = {f"{who}.layer1.0.weight": torch.ones(3) for who in ("student", "teacher")}
    return network, {**state, **heads}


def vocomni():
    network = published(2)
    return network, dict(network.state_dict())


def suprem():
    network = published(1)
    state = {"module.backbone." + n: t for n, t in network.state_dict().items()}
    return network, {"net": state, "optimizer": {}, "scheduler": {}, "epoch": 2100}


def alice():
    network = published(1)
    state = encoder_only(network, "module.backbone.") | {"module.head.mlp.0.weight": torch.ones(3)}
    other = {n: torch.zeros_like(t) for n, t in state.items()}
    return network, {"student": other, "teacher": state, "epoch": 3}


FILES = {
    "alice": alice,
    "monai_swinvit": monai_swinvit,
    "monai_dae": dae,
    "voco": voco_10k,
    "voco-head": voco_head,
    "vocomni": vocomni,
    "suprem": suprem,
}


def features(network, x):
    return network.swinViT(x, normalize=True)


@torch.no_grad()
@pytest.mark.parametrize("name", FILES)
def test_a_published_file_gives_the_features_of_its_network(name):
    network, content = FILES[name]()
    converted = convert(content)
    assert converted.report.family == name.split("-")[0]
    assert converted.report.share == 1.0
    x = torch.randn(1, 1, *IMAGE)
    for ours, theirs in zip(converted.encoder(x), features(network, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    today = published(2 if "voco" in name else 1, "merging")
    today.load_state_dict(network.state_dict(), strict=True)
    assert not torch.allclose(features(today, x)[1], features(network, x)[1], atol=1e-3)
    assert any("order 'published'" in line for line in converted.report.lines())


@torch.no_grad()
def test_a_run_of_ones_own_must_say_its_order():
    network = published(1, "merging")
    state = {"module." + n: t for n, t in encoder_only(network, "swin_vit.").items()}
    content = {"global_step": 7, "state_dict": state}
    with pytest.raises(WeightsMismatchError, match="merge-order"):
        convert(content)
    encoder = convert(content, merge_order="monai").encoder
    x = torch.randn(1, 1, *IMAGE)
    for ours, theirs in zip(encoder(x), features(network, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_more_channels_are_told_and_answer_the_same_to_copies():
    network, content = vocomni()
    converted = convert(content, in_channels=3)
    x = torch.randn(1, 1, *IMAGE)
    for ours, theirs in zip(
        converted.encoder(x.repeat(1, 3, 1, 1, 1)), features(network, x), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert converted.report.adapted == (
        "patch_embed.proj.weight repeated and divided, from 1 input channels to 3",
    )


def test_a_half_file_is_refused_unless_the_gap_is_named():
    _, content = vocomni()
    half = {n: t for n, t in content.items() if not n.startswith("swinViT.layers3.0.blocks.0.mlp")}
    with pytest.raises(WeightsMismatchError, match=r"layers3.*--allow") as raised:
        convert(half)
    assert raised.value.exit_code == 3
    report = convert(half, allow=["layers3.*.mlp.*"]).report
    assert report.share < 0.99
    assert len(report.missing) == 4


def test_a_wrong_shape_is_refused():
    _, content = vocomni()
    name = "swinViT.layers2.0.blocks.0.norm1.weight"
    with pytest.raises(WeightsMismatchError, match=r"layers2\.0\.blocks\.0\.norm1\.weight is"):
        convert({**content, name: torch.ones(5)})


def test_without_a_whole_stage_it_is_refused():
    _, content = vocomni()
    half = {n: t for n, t in content.items() if "layers4." not in n}
    with pytest.raises(WeightsMismatchError, match="part of a Swin"):
        convert(half)


@pytest.mark.parametrize("content", [{"epoch": 3}, {"state_dict": {}}, {"a": {"b": 1}}])
def test_a_file_without_a_state_dict_is_refused(content):
    with pytest.raises(WeightsMismatchError, match="no state dict"):
        convert(content)


def test_a_family_that_is_not_known_is_refused():
    with pytest.raises(WeightsMismatchError, match="no family known"):
        convert({"conv0.weight": torch.ones(2, 2)})


@torch.no_grad()
def test_features_do_not_depend_on_gradients_being_kept():
    encoder = convert(vocomni()[1]).encoder
    assert not any(p.requires_grad for p in encoder.parameters())
    assert F.relu(encoder.embed(torch.zeros(1, 1, *IMAGE))).isfinite().all()
