import pytest
import torch

from medssl.encoders import build_encoder
from medssl.parts.memo import remembered


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_encoder("resenc_s", patch=(8, 8, 8), features=(4, 6), blocks=(1, 1))


@pytest.fixture
def counts(encoder):
    stem = next(m for m in encoder.modules() if isinstance(m, torch.nn.Conv3d))
    seen = []
    stem.register_forward_hook(lambda *_: seen.append(1))
    return seen


def images():
    return torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_same_and_equal_images_are_computed_once(encoder, counts):
    x = images()
    with remembered(encoder):
        first, again, equal = encoder(x), encoder(x), encoder(x.clone())
        embedded = encoder.embed(x)
    assert len(counts) == 1
    assert all(a is b is c for a, b, c in zip(first, again, equal, strict=True))
    torch.testing.assert_close(embedded, first[-1].mean(dim=(2, 3, 4)))


def test_nothing_is_remembered_after_the_step(encoder, counts):
    x = images()
    for _ in range(2):
        with remembered(encoder):
            encoder(x)
    encoder(x)
    assert len(counts) == 3
    assert "forward" not in vars(encoder)


def test_an_error_within_leaves_the_encoder_as_it_was(encoder):
    with pytest.raises(RuntimeError), remembered(encoder):
        raise RuntimeError
    assert "forward" not in vars(encoder)


def test_what_makes_a_difference_is_computed_anew(encoder, counts):
    x = images()
    with remembered(encoder):
        encoder(x)
        with torch.no_grad():
            assert not encoder(x)[-1].requires_grad
        encoder.eval()
        encoder(x)
        x.add_(1.0)
        encoder(x)
        encoder(x.clone().requires_grad_())
    assert len(counts) == 5


def test_gradients_of_both_askers_add_up(encoder):
    x = images()

    def gradients(same):
        encoder.zero_grad()
        with remembered(encoder):
            one, two = encoder(x)[0], encoder(x if same else 1.0 * x)[1]
        (one.square().mean() + two.abs().mean()).backward()
        return [p.grad.clone() for p in encoder.parameters() if p.grad is not None]

    expected_one, expected_two = encoder(x)[0], encoder(x)[1]
    encoder.zero_grad()
    (expected_one.square().mean() + expected_two.abs().mean()).backward()
    expected = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
    for found in (gradients(True), gradients(False)):
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
