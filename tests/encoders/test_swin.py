import pytest
import torch
from monai.networks.nets.swin_unetr import SwinTransformer, SwinUNETR

from medssl.encoders import build_encoder
from medssl.encoders.swin import PublishedMerging

SMALL = {"width": 12, "depths": (2, 2, 1, 1), "heads": (1, 2, 2, 2), "window": 3}


def twin(dims, version):
    return SwinTransformer(
        in_chans=1,
        embed_dim=12,
        window_size=(3,) * dims,
        patch_size=(2,) * dims,
        depths=(2, 2, 1, 1),
        num_heads=(1, 2, 2, 2),
        spatial_dims=dims,
        use_v2=version == 2,
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize(("dims", "version"), [(2, 1), (3, 1), (3, 2)])
def test_monai_loads_the_weights_and_gives_the_same_features(dims, version):
    encoder = build_encoder("swin_base", spatial_dims=dims, version=version, **SMALL).eval()
    monai = twin(dims, version)
    monai.load_state_dict(encoder.state_dict(), strict=True)
    x = torch.randn(1, 1, *(32, 20, 27)[:dims])
    for ours, theirs in zip(encoder(x), monai(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_swin_unetr_takes_it_as_its_encoder():
    encoder = build_encoder("swin_tiny")
    network = SwinUNETR(in_channels=1, out_channels=2, feature_size=24)
    network.swinViT.load_state_dict(encoder.state_dict(), strict=True)


@torch.no_grad()
def test_the_published_order_is_another_function_with_the_same_names():
    torch.manual_seed(0)
    now = build_encoder("swin_base", **SMALL).eval()
    then = build_encoder("swin_base", merge_order="published", **SMALL).eval()
    then.load_state_dict(now.state_dict(), strict=True)
    x = torch.randn(1, 1, 32, 32, 32)
    a, b = now(x), then(x)
    torch.testing.assert_close(a[0], b[0])
    assert not torch.allclose(a[1], b[1], atol=1e-2)


@torch.no_grad()
def test_the_published_order_reads_the_corners_of_monai_1_4():
    merging = PublishedMerging(dim=2, spatial_dims=3)
    x = torch.randn(1, 4, 6, 3, 2)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 1))
    corners = [
        padded[:, 0::2, 0::2, 0::2],
        padded[:, 1::2, 0::2, 0::2],
        padded[:, 0::2, 1::2, 0::2],
        padded[:, 0::2, 0::2, 1::2],
        padded[:, 1::2, 0::2, 1::2],
        padded[:, 0::2, 1::2, 0::2],
        padded[:, 0::2, 0::2, 1::2],
        padded[:, 1::2, 1::2, 1::2],
    ]
    expected = merging.reduction(merging.norm(torch.cat(corners, dim=-1)))
    torch.testing.assert_close(merging(x), expected)


@torch.no_grad()
def test_planar_merging_did_not_change():
    now = build_encoder("swin_base", spatial_dims=2, **SMALL).eval()
    then = build_encoder("swin_base", spatial_dims=2, merge_order="published", **SMALL).eval()
    then.load_state_dict(now.state_dict())
    x = torch.randn(1, 1, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(now(x), then(x), strict=True))


def test_recomputing_activations_changes_no_gradient():
    x = torch.randn(1, 1, 16, 16, 16)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        encoder = build_encoder("swin_base", checkpointing=checkpointing, **SMALL)
        encoder(x)[1].square().sum().backward()
        gradients.append(encoder.patch_embed.proj.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
