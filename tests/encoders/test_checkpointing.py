"""Checkpointed blocks: the same numbers from less memory."""

import copy

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.base import ENCODERS
from medssl.encoders.checkpointing import checkpoint_blocks
from medssl.parts.teacher import Teacher

NAMES = ("resenc_s", "resnet18", "swin_tiny", "vit_tiny")


def step(encoder, x):
    """Return gradients, the bytes that were kept for them, and the buffers afterwards."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sum(m.square().mean() for m in encoder(x))
    loss.backward()
    gradients = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
    return gradients, sum(kept.values()), dict(encoder.named_buffers())


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_running_statistics_are_the_same_and_less_is_kept(name):
    torch.manual_seed(0)
    options = ENCODERS[name].family.tiny()
    plain = build_encoder(name, patch=(32, 32, 32), **options).train()
    lean = copy.deepcopy(plain)
    assert checkpoint_blocks(lean) >= 2
    x = torch.randn(2, 1, 32, 32, 32)
    expected, all_kept, buffers = step(plain, x)
    found, kept, moved = step(lean, x)
    assert expected.keys() == found.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-7)
    for key, buffer in buffers.items():
        assert torch.equal(moved[key], buffer), key
    assert kept < 0.8 * all_kept
    assert lean.state_dict().keys() == plain.state_dict().keys()


def test_a_copy_of_a_checkpointed_encoder_runs_its_own_blocks():
    encoder = build_encoder("vit_tiny", patch=(8, 8, 8), **ENCODERS["vit_tiny"].family.tiny())
    checkpoint_blocks(encoder)
    teacher = Teacher(encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert teacher.module.embed(torch.randn(1, 1, 8, 8, 8)).abs().sum() > 0
