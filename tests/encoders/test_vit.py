import pytest
import torch
from monai.networks.nets import ViT as MonaiViT

from medssl.encoders import build_encoder
from medssl.encoders.tokens import map_to_tokens, sincos_positions
from medssl.errors import ConfigError

SMALL = {"width": 24, "depth": 8, "heads": 2}


def monai_twin(encoder, patch, token):
    dims = len(patch)
    network = MonaiViT(
        in_channels=1,
        img_size=patch,
        patch_size=token,
        hidden_size=24,
        mlp_dim=96,
        num_layers=8,
        num_heads=2,
        spatial_dims=dims,
        pos_embed_type="learnable",  # a parameter of the same name, without the warning of sincos
    ).eval()
    network.load_state_dict(encoder.state_dict(), strict=True)
    return network


@torch.no_grad()
@pytest.mark.parametrize(
    ("patch", "token"), [((16, 8, 24), (4, 4, 4)), ((8, 12, 6), (4, 6, 2)), ((32, 16), (8, 8))]
)
def test_monai_loads_the_weights_and_gives_the_same_features(patch, token):
    encoder = build_encoder(
        "vit_tiny", spatial_dims=len(patch), patch=patch, token=token, **SMALL
    ).eval()
    x = torch.randn(2, 1, *patch)
    last, layers = monai_twin(encoder, patch, token)(x)
    maps = [map_to_tokens(features) for features in encoder(x)]
    torch.testing.assert_close(maps[-1], last, rtol=1e-5, atol=1e-5)
    for ours, layer in zip(maps[:-1], (1, 3, 5), strict=True):
        torch.testing.assert_close(ours, layers[layer], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_visible_tokens_are_encoded_as_if_there_were_no_others():
    patch, token = (16, 8, 24), 4
    encoder = build_encoder("vit_tiny", patch=patch, token=token, **SMALL).eval()
    x = torch.randn(2, 1, *patch)
    hidden = torch.stack([torch.randperm(12) < 7 for _ in range(2)]).view(2, 4, 1, 3)
    hidden = hidden.repeat_interleave(2, dim=2)
    network = monai_twin(encoder, patch, token)
    maps = map_to_tokens(encoder.forward_masked(x, hidden)[-1])
    for sample in range(2):
        seen = ~hidden[sample].repeat_interleave(2, dim=2).flatten()
        tokens = network.patch_embedding(x[sample : sample + 1])[:, seen]
        for block in network.blocks:
            tokens = block(tokens)
        expected = network.norm(tokens)[0]
        torch.testing.assert_close(maps[sample, seen], expected, rtol=1e-5, atol=1e-5)
        assert not maps[sample, ~seen].any()


@torch.no_grad()
def test_positions_belong_to_the_grid_that_comes():
    usual = build_encoder("vit_tiny", patch=(16, 16, 16), token=8, **SMALL).eval()
    other = build_encoder("vit_tiny", patch=(8, 24, 16), token=8, **SMALL).eval()
    weights = usual.state_dict()
    positions = other.patch_embedding.position_embeddings
    weights["patch_embedding.position_embeddings"] = positions
    other.load_state_dict(weights)
    x = torch.randn(1, 1, 8, 24, 16)
    for a, b in zip(usual(x), other(x), strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(positions, sincos_positions((1, 3, 2), 24))


def test_positions_are_stored_and_not_trained():
    encoder = build_encoder("vit_tiny", token=32, **SMALL)
    name = "patch_embedding.position_embeddings"
    assert name in encoder.state_dict()
    assert name not in dict(encoder.named_parameters())
    assert not [n for n, _ in encoder.named_parameters() if "cross" in n]


def test_maps_come_from_equal_depths():
    assert build_encoder("vit_tiny", token=48).taken == (2, 5, 8, 11)
    assert build_encoder("vit_tiny", token=48, depth=5, width=24, heads=2).taken == (0, 1, 3, 4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heads": 7}, "heads must divide"),
        ({"depth": 3}, "at least 4 blocks"),
        ({"patch": (8, 96, 96)}, "holds no token"),
        ({"patch": (96, 96)}, "holds no token"),
        ({"token": (8, 8)}, "encoder.token"),
        ({"token": 0}, "encoder.token"),
    ],
)
def test_impossible_sizes_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        build_encoder("vit_tiny", **options)


def test_cells_are_whole_tokens():
    encoder = build_encoder("vit_tiny", patch=(16, 16, 16), token=8, **SMALL)
    with pytest.raises(ConfigError, match="mask_size"):
        encoder.forward_masked(
            torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 4, 4, 4, dtype=torch.bool)
        )


def test_each_sample_hides_equally_many():
    encoder = build_encoder("vit_tiny", patch=(16, 16, 16), token=8, **SMALL)
    hidden = torch.zeros(2, 2, 2, 2, dtype=torch.bool)
    hidden[0, 0] = True
    x = torch.zeros(2, 1, 16, 16, 16)
    with pytest.raises(ConfigError, match="equally many"):
        encoder.forward_masked(x, hidden)
    with pytest.raises(ConfigError, match="leave some visible"):
        encoder.forward_masked(x, torch.ones_like(hidden))
