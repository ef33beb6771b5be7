"""Twins of published vision transformers: container, prefixes, heads and names, tiny."""

import argparse
import warnings

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import MaskedAutoEncoderViT, ViTAutoEnc
from monai.networks.nets import ViT as MonaiViT

from medssl import load_encoder
from medssl.commands.weights import convert as convert_file
from medssl.encoders import build_encoder
from medssl.encoders.tokens import map_to_tokens
from medssl.errors import ConfigError, WeightsMismatchError
from medssl.weights.convert.engine import convert

WIDTH, DEPTH, TOKEN = 128, 4, 4
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def draw(*shape, scale=0.02):
    return torch.randn(*shape) * scale


def fair(dims, channels, grid, *, chunks=None, scales=False, positions=None, registers=0):
    """Return the weights of a transformer as FAIR's code names them."""
    torch.manual_seed(0)
    count = grid**dims
    state = {
        "cls_token": draw(1, 1, WIDTH),
        "pos_embed": draw(1, 1 + count, WIDTH) if positions is None else positions,
        "patch_embed.proj.weight": draw(WIDTH, channels, *[TOKEN] * dims),
        "patch_embed.proj.bias": draw(WIDTH),
        "norm.weight": 1 + draw(WIDTH),
        "norm.bias": draw(WIDTH),
    }
    if registers:
        state["register_tokens"] = draw(1, registers, WIDTH)
    for index in range(DEPTH):
        name = f"blocks.{index}" if chunks is None else f"blocks.{index * chunks // DEPTH}.{index}"
        for norm in ("norm1", "norm2"):
            state[f"{name}.{norm}.weight"] = 1 + draw(WIDTH)
            state[f"{name}.{norm}.bias"] = draw(WIDTH)
        sizes = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
        for part, (outwards, inwards) in sizes.items():
            state[f"{name}.{part}.weight"] = draw(outwards * WIDTH, inwards * WIDTH, scale=0.05)
            state[f"{name}.{part}.bias"] = draw(outwards * WIDTH)
        if scales:
            state[f"{name}.ls1.gamma"], state[f"{name}.ls2.gamma"] = draw(2, WIDTH, scale=1.0)
    return state


def attend(x, state, name, heads):
    batch, tokens, width = x.shape
    bias = state.get(f"{name}.qkv.bias")
    parts = F.linear(x, state[f"{name}.qkv.weight"], bias).reshape(batch, tokens, 3, heads, -1)
    query, key, value = parts.permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-2, -1) / (width // heads) ** 0.5).softmax(dim=-1)
    joined = (weights @ value).transpose(1, 2).reshape(batch, tokens, width)
    return F.linear(joined, state[f"{name}.proj.weight"], state[f"{name}.proj.bias"])


def perceptron(x, state, name):
    x = F.gelu(F.linear(x, state[f"{name}.fc1.weight"], state[f"{name}.fc1.bias"]))
    return F.linear(x, state[f"{name}.fc2.weight"], state[f"{name}.fc2.bias"])


def reference(state, x, *, chunks=None, positions=None):
    """Return all tokens after each block, by DINOv2's and FAIR's definition."""

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    convolve = F.conv3d if x.ndim == 5 else F.conv2d
    x = convolve(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], TOKEN)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
    x = x + (state["pos_embed"] if positions is None else positions)
    if "register_tokens" in state:
        x = torch.cat([x[:, :1], state["register_tokens"].expand(len(x), -1, -1), x[:, 1:]], dim=1)
    found = []
    for index in range(DEPTH):
        name = f"blocks.{index}" if chunks is None else f"blocks.{index * chunks // DEPTH}.{index}"
        branch = attend(norm(x, f"{name}.norm1"), state, f"{name}.attn", 2)
        x = x + branch * state.get(f"{name}.ls1.gamma", 1)
        branch = perceptron(norm(x, f"{name}.norm2"), state, f"{name}.mlp")
        x = x + branch * state.get(f"{name}.ls2.gamma", 1)
        found.append(x)
    return [*found[:-1], norm(x, "norm")]


def dino_3d():
    state = fair(3, 1, 4, chunks=2, scales=True)
    inside = {"backbone." + name: t for name, t in state.items()}
    inside["backbone.mask_token"] = draw(1, WIDTH)
    inside |= {"dino_head.mlp.0.weight": draw(8, WIDTH), "ibot_head.last_layer.bias": draw(8)}
    return state, {"teacher": inside}


def sincos_2d(grid):
    """Return the positions of FAIR's masked autoencoder: columns first, nothing for the class."""
    omega = 10000.0 ** -(torch.arange(WIDTH // 4, dtype=torch.float64) / (WIDTH / 4))
    rows, columns = torch.meshgrid(*[torch.arange(grid).double()] * 2, indexing="ij")
    waves = [
        f(a.flatten()[:, None] * omega) for a in (columns, rows) for f in (torch.sin, torch.cos)
    ]
    return F.pad(torch.cat(waves, dim=1), (0, 0, 1, 0)).float()[None]


def fair_mae():
    state = fair(2, 3, 6, positions=sincos_2d(6))
    decoder = {
        "mask_token": draw(1, 1, 32),
        "decoder_embed.weight": draw(32, WIDTH),
        "decoder_pos_embed": draw(1, 37, 32),
        "decoder_blocks.0.norm1.weight": draw(32),
        "decoder_pred.bias": draw(48),
    }
    args = argparse.Namespace(model="mae_vit_base_patch16", batch_size=64)
    return state, {"model": {**state, **decoder}, "epoch": 799, "args": args}


def compare(encoder, tokens, x, first=1):
    """Compare all maps and the vector of an image with tokens after each block."""
    for ours, index in zip(encoder(x), encoder.taken, strict=True):
        torch.testing.assert_close(map_to_tokens(ours), tokens[index][:, first:], **CLOSE)
    vector = tokens[-1][:, 0] if first else tokens[-1].mean(dim=1)
    torch.testing.assert_close(encoder.embed(x), vector, **CLOSE)


def through_a_file(content, folder, **options):
    torch.save(content, folder / "published.pth")
    convert_file(folder / "published.pth", out=folder / "export", **options)
    return load_encoder(folder / "export")


@torch.no_grad()
def test_3dino_gives_its_features_from_the_file_to_the_loaded_export(tmp_path, capsys):
    state, content = dino_3d()
    encoder, preprocess = through_a_file(content, tmp_path)
    x = torch.randn(2, 1, 16, 16, 16)
    compare(encoder, reference(state, x, chunks=2), x)
    assert preprocess.contract.patch == (16, 16, 16)
    said = " ".join(capsys.readouterr().out.split())
    assert "family 3dino" in said
    assert "under teacher" in said
    assert "100.0 % of the encoder" in said
    assert "2 heads of 64 features" in said
    assert "first position added to cls_token" in said
    assert "0.05th to the 99.95th" in said


@torch.no_grad()
def test_fair_mae_gives_its_features_though_its_file_holds_its_options(tmp_path):
    state, content = fair_mae()
    encoder, _ = through_a_file(content, tmp_path)
    assert encoder.config["positions"] == "sincos"
    x = torch.randn(2, 3, 24, 24)
    compare(encoder, reference(state, x), x)


@torch.no_grad()
def test_registers_go_between_the_class_token_and_the_places():
    state = fair(2, 3, 4, scales=True, registers=4)
    converted = convert({**state, "mask_token": draw(1, WIDTH)})
    assert converted.report.family == "dinov2"
    assert converted.report.dropped == ("mask_token",)
    x = torch.randn(2, 3, 16, 16)
    compare(converted.encoder, reference(state, x), x, first=5)


@torch.no_grad()
@pytest.mark.parametrize("ignored", ["layer_scale", "norm_eps"])
def test_neither_the_scales_nor_the_epsilon_can_be_ignored(ignored):
    state, content = dino_3d()
    converted = convert(content)
    config = {n: v for n, v in converted.encoder.config.items() if n != ignored}
    other = build_encoder(converted.encoder.name, **config).eval()
    left = other.load_state_dict(converted.encoder.state_dict(), strict=False)
    assert {n.split(".")[2] for n in left.unexpected_keys} == (
        {"ls1", "ls2"} if ignored == "layer_scale" else set()
    )
    x = torch.randn(1, 1, 16, 16, 16)
    theirs = reference(state, x, chunks=2)[-1][:, 1:]
    assert torch.allclose(map_to_tokens(converted.encoder(x)[-1]), theirs, **CLOSE)
    assert not torch.allclose(map_to_tokens(other(x)[-1]), theirs, **CLOSE)


@torch.no_grad()
def test_learned_positions_go_to_another_crop_and_it_is_told():
    state, content = dino_3d()
    converted = convert(content, patch=(24, 16, 8))
    assert (
        "patch_embedding.position_embeddings interpolated linearly, from a grid of 4 x 4 x 4 to "
        "6 x 4 x 2" in converted.report.adapted
    )
    assert converted.contract.patch == (24, 16, 8)
    volume = state["pos_embed"][:, 1:].transpose(1, 2).reshape(1, WIDTH, 4, 4, 4)
    moved = F.interpolate(volume, (6, 4, 2), mode="trilinear").flatten(2).transpose(1, 2)
    positions = torch.cat([state["pos_embed"][:, :1], moved], dim=1)
    x = torch.randn(1, 1, 24, 16, 8)
    theirs = reference(state, x, chunks=2, positions=positions)
    compare(converted.encoder, theirs, x)
    # the same crop through positions as published, interpolated when it comes
    compare(convert(content).encoder, theirs, x)


@torch.no_grad()
def test_computed_positions_are_computed_for_another_crop():
    state, content = fair_mae()
    converted = convert({"model": content["model"]}, patch=(32, 32))
    assert any(
        "computed anew, from a grid of 6 x 6 to 8 x 8" in s for s in converted.report.adapted
    )
    x = torch.randn(1, 3, 32, 32)
    compare(converted.encoder, reference(state, x, positions=sincos_2d(8)), x)


def monai(network, width=WIDTH, image=(16, 16, 16), **options):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.meshgrid's arguments
        return network(
            in_channels=1,
            img_size=image,
            patch_size=4,
            hidden_size=width,
            num_layers=DEPTH,
            num_heads=width // 64,
            **options,
        ).eval()


def monai_tokens(network, x, blocks, norm):
    x = network.patch_embedding(x)
    if hasattr(network, "cls_token"):
        x = torch.cat([network.cls_token.expand(len(x), -1, -1), x], dim=1)
    found = []
    for block in blocks:
        x = block(x)
        found.append(x)
    return [*found[:-1], norm(x)]


@torch.no_grad()
def test_monais_masked_autoencoder_ends_its_blocks_with_the_last_norm():
    decoder = {"decoder_hidden_size": 48, "decoder_num_heads": 2, "decoder_num_layers": 1}
    network = monai(MaskedAutoEncoderViT, 192, mlp_dim=250, **decoder)
    for parameter in network.blocks.parameters():
        parameter += draw(*parameter.shape)
    converted = convert(dict(network.state_dict()))
    report = converted.report
    assert report.family == "monai_mae"
    assert report.share == 1.0
    assert {name.split(".")[0] for name in report.dropped} >= {"mask_tokens", "decoder_blocks"}
    assert converted.encoder.config["positions"] == "sincos"
    x = torch.randn(2, 1, 16, 16, 16)
    tokens = monai_tokens(network, x, network.blocks[:-1], network.blocks[-1])
    compare(converted.encoder, tokens, x)


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "network", "prefix", "options"),
    [
        ("monai_vitautoenc", ViTAutoEnc, "module.", {"qkv_bias": True}),
        ("monai_vit", MonaiViT, "", {"classification": True}),
        ("monai_vit", MonaiViT, "", {"proj_type": "perceptron"}),
        ("monai_unetr", MonaiViT, "vit.", {"image": (16, 16, 32)}),
    ],
    ids=["autoencoder", "class token", "perceptron", "unetr"],
)
def test_monais_transformers_give_their_features(family, network, prefix, options):
    twin = monai(network, mlp_dim=256, **options)
    state = {prefix + name: t for name, t in twin.state_dict().items()}
    if family == "monai_unetr":
        state["encoder1.layer.conv1.conv.weight"] = draw(2)
        with pytest.raises(WeightsMismatchError, match="128 positions make no even grid"):
            convert({"state_dict": state})
    converted = convert({"state_dict": state, "epoch": 3}, patch=options.get("image"))
    assert converted.report.family == family
    assert converted.report.share == 1.0
    x = torch.randn(2, 1, *converted.contract.patch)
    tokens = monai_tokens(twin, x, twin.blocks, twin.norm)
    compare(converted.encoder, tokens, x, first=int(hasattr(twin, "cls_token")))


def test_norms_that_monai_holds_and_never_calls_may_be_absent():
    state = monai(MonaiViT, mlp_dim=256).state_dict()
    old = {n: t for n, t in state.items() if "norm_cross_attn" not in n}
    assert len(old) < len(state)
    extra = {"blocks.0.cross_attn.to_q.weight": draw(2), "patch_embedding.cls_token": draw(2)}
    report = convert({**old, **extra}).report
    assert report.missing == ()
    assert report.dropped == tuple(sorted(extra))


@torch.no_grad()
def test_heads_are_told_or_asked_for():
    _, content = dino_3d()
    converted = convert(content, heads=4)
    assert "4 heads of 32 features" in converted.report.notes
    x = torch.randn(1, 1, 16, 16, 16)
    assert not torch.allclose(converted.encoder(x)[-1], convert(content).encoder(x)[-1], **CLOSE)
    with pytest.raises(WeightsMismatchError, match="--heads"):
        convert(content, heads=5)


def test_what_a_family_has_no_use_for_is_refused():
    stem = {"conv1.weight": draw(8, 1, 7, 7, 7)}
    layers = {f"layer{i}.0.conv1.weight": draw(8, 8, 3, 3, 3) for i in range(1, 5)}
    with pytest.raises(ConfigError, match="patch and heads of a medicalnet"):
        convert({**stem, **layers}, patch=(64, 64, 64), heads=3)


@pytest.mark.parametrize("patch", [(16, 16), (2, 16, 16)])
def test_a_crop_that_holds_no_token_is_refused(patch):
    with pytest.raises(ConfigError, match="--patch"):
        convert(dino_3d()[1], patch=patch)


def test_sams_encoder_is_refused_by_name():
    state = {
        "pos_embed": draw(1, 8, 8, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, 16, 16),
        "blocks.0.attn.qkv.weight": draw(3 * WIDTH, WIDTH),
        "blocks.0.attn.rel_pos_h": draw(27, 64),
        "neck.0.weight": draw(256, WIDTH, 1, 1),
    }
    for prefix in ("", "model.", "image_encoder."):
        with pytest.raises(WeightsMismatchError, match=r"LVM-Med.*ResNet-50") as raised:
            convert({prefix + name: t for name, t in state.items()})
    assert raised.value.exit_code == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s | {"blocks.0.attn.q_norm.weight": draw(64)}, "left over: blocks.0.attn.q_n"),
        (lambda s: s | {"dist_token": draw(1, 1, WIDTH)}, "left over: dist_token"),
        (lambda s: {n: t for n, t in s.items() if not n.startswith("blocks.2.mlp")}, "missing"),
        (lambda s: {n: t for n, t in s.items() if not n.startswith("blocks.2.")}, "3 are there"),
        (lambda s: {n: t for n, t in s.items() if not n.startswith("blocks.0.mlp")}, "plain perc"),
        (lambda s: {n: t for n, t in s.items() if n != "pos_embed"}, "no learned or computed"),
        (lambda s: s | {"pos_embed": draw(1, 31, WIDTH)}, "31 positions make no even grid"),
        (lambda s: s | {"blocks.0.1.norm1.bias": draw(WIDTH)}, "numbered anew"),
        (lambda s: s | {"blocks.3.norm1.bias": draw(7)}, r"norm1\.bias is \(7,\)"),
    ],
    ids=range(9),
)
def test_what_is_not_the_published_network_is_refused(change, says):
    state = fair(2, 3, 4)
    with pytest.raises(WeightsMismatchError, match=says):
        convert(change(state))


def test_widths_that_nobody_published_need_their_heads():
    network = MonaiViT(1, (16, 16, 16), 4, 24, 48, 4, 2)
    with pytest.raises(WeightsMismatchError, match="24 features are split"):
        convert(dict(network.state_dict()))
    assert convert(dict(network.state_dict()), heads=2).report.share == 1.0


def test_a_perceptron_of_an_unknown_shape_is_refused():
    network = MonaiViT(1, (16, 16), 4, WIDTH, 256, 4, 2, proj_type="perceptron", spatial_dims=2)
    with pytest.raises(WeightsMismatchError, match="tokens of 16 numbers"):
        convert(dict(network.state_dict()))


@torch.no_grad()
def test_one_channel_of_a_network_of_colours():
    state, content = fair_mae()
    converted = convert({"model": content["model"]}, in_channels=1)
    x = torch.randn(1, 1, 24, 24)
    theirs = reference(state, x.repeat(1, 3, 1, 1))
    torch.testing.assert_close(converted.encoder.embed(x), theirs[-1][:, 0], rtol=1e-4, atol=1e-5)
