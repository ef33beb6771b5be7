import pytest
import torch
from monai.networks.nets import SegResNet as MonaiSegResNet
from monai.networks.nets import SegResNetDS
from torch import nn

from medssl.encoders import build_encoder
from medssl.encoders.checkpointing import checkpoint_blocks


def vary(encoder):
    for part in encoder.modules():
        if hasattr(part, "running_mean") and part.running_mean is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    for parameter in encoder.parameters():
        if parameter.ndim == 1:
            parameter.data = 1 + 0.3 * torch.randn_like(parameter)
    return encoder.eval()


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_monai_loads_the_weights_and_gives_the_same_features(dims):
    encoder = vary(build_encoder("segresnet", spatial_dims=dims))
    twin = MonaiSegResNet(
        spatial_dims=dims, init_filters=16, out_channels=3, blocks_down=(1, 2, 2, 4)
    ).eval()
    missing, unexpected = twin.load_state_dict(encoder.state_dict(), strict=False)
    assert not unexpected
    assert {key.split(".")[0] for key in missing} == {"up_layers", "up_samples", "conv_final"}
    x = torch.randn(2, 1, *(24, 17, 20)[:dims])
    for ours, theirs in zip(encoder(x), twin.encode(x)[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_the_encoder_of_ct_fm_is_that_of_monais_deeply_supervised_network(dims):
    encoder = vary(build_encoder("segresnet_ds", spatial_dims=dims, width=8))
    twin = SegResNetDS(
        spatial_dims=dims, init_filters=8, out_channels=3, blocks_down=(1, 2, 2, 4, 4)
    ).eval()
    twin.encoder.load_state_dict(encoder.state_dict(), strict=True)
    x = torch.randn(2, 1, *(48, 33, 36)[:dims])
    for ours, theirs in zip(encoder(x), twin.encoder(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_published_sizes():
    with torch.device("meta"):
        suprem, ct_fm = build_encoder("segresnet"), build_encoder("segresnet_ds")
    assert suprem.channels == (16, 32, 64, 128)
    assert [stride[0] for stride in suprem.strides] == [1, 2, 4, 8]
    assert ct_fm.channels == (32, 64, 128, 256, 512)
    assert round(sum(p.numel() for p in ct_fm.parameters()) / 1e5) == 778  # 77.8 M


@pytest.mark.parametrize("name", ["segresnet", "segresnet_ds"])
@pytest.mark.parametrize("norm", ["instance", "group"])
def test_the_chosen_norm_reaches_every_block(name, norm):
    encoder = build_encoder(name, norm=norm, width=8, blocks=(1, 1, 1))
    assert not any(isinstance(m, nn.BatchNorm3d) for m in encoder.modules())
    x = torch.randn(2, 1, 16, 16, 12)
    torch.testing.assert_close(encoder(x[:1])[-1], encoder(x)[-1][:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["segresnet", "segresnet_ds"])
def test_its_stages_are_found_for_checkpointing(name):
    encoder = build_encoder(name, width=8, blocks=(1, 1, 1))
    assert checkpoint_blocks(encoder) >= 3
    encoder(torch.randn(1, 1, 16, 16, 16))[-1].sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
