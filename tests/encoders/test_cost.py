"""The costs that are told are those that can be counted by hand."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.cost import encoder_cost


def test_parameters_and_width_are_those_of_the_network():
    cost = encoder_cost("resenc_s", patch=(32, 32, 32))
    encoder = build_encoder("resenc_s", spatial_dims=3, in_channels=1, patch=(32, 32, 32))
    assert cost.parameters == sum(p.numel() for p in encoder.parameters())
    assert cost.features == encoder.channels[-1]
    assert cost.stride == tuple(encoder.strides[-1])


def test_operations_are_two_for_each_product():
    encoder = build_encoder("resnet18", spatial_dims=2, in_channels=1, patch=(64, 64))
    counted = 0

    def count(module, inputs, output):
        nonlocal counted
        counted += 2 * output.numel() * module.weight[0].numel()

    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        encoder.eval()(torch.zeros(1, 1, 64, 64))
    assert encoder_cost("resnet18", patch=(64, 64)).operations == counted


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny"])
def test_a_larger_crop_costs_more(name):
    small, large = (encoder_cost(name, patch=(edge,) * 3) for edge in (32, 64))
    assert large.operations > 7 * small.operations
    assert large.activation_bytes > 7 * small.activation_bytes


def test_memory_is_that_of_what_autograd_keeps():
    encoder = build_encoder("resnet18", spatial_dims=2, in_channels=1, patch=(64, 64)).train()
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = encoder(torch.zeros(2, 1, 64, 64))
    own = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    real = sum(size for place, size in kept.items() if place not in own)
    assert len(maps) == len(encoder.channels)
    assert encoder_cost("resnet18", patch=(64, 64)).activation_bytes == pytest.approx(
        real / 2, rel=0.1
    )
