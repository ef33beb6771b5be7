import pytest
import torch
from torch import nn

from medssl.errors import ConfigError
from medssl.parts.heads import mlp


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_head_maps_vectors_to_vectors_and_learns_everywhere(norm, layers):
    torch.manual_seed(0)
    head = mlp(6, 10, 4, layers=layers, norm=norm)
    out = head(torch.randn(5, 6))
    assert out.shape == (5, 4)
    out.square().sum().backward()
    assert all(p.grad is not None for p in head.parameters())
    assert sum(isinstance(m, nn.Linear) for m in head) == layers
    assert sum(isinstance(m, nn.ReLU) for m in head) == layers - 1


def test_a_head_without_batch_norm_treats_a_vector_alone():
    torch.manual_seed(0)
    vectors = torch.randn(4, 6)
    for norm in ("layer", "none"):
        head = mlp(6, 10, 4, norm=norm)
        torch.testing.assert_close(head(vectors)[:1], head(vectors[:1]))
    head = mlp(6, 10, 4)
    assert not torch.allclose(head(vectors)[:2], head(vectors[:2]))


def test_the_output_can_be_normalised_too():
    torch.manual_seed(0)
    out = mlp(6, 10, 4, last_norm=True)(torch.randn(32, 6))
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)


def test_norms_without_scale_have_no_parameters():
    names = [n for n, _ in mlp(6, 10, 4, affine=False, last_norm=True).named_parameters()]
    assert all(n.endswith("weight") for n in names)
    assert len(names) == 2


def test_a_head_has_a_layer_and_a_known_norm():
    with pytest.raises(ConfigError, match="at least 1"):
        mlp(6, 10, 4, layers=0)
    with pytest.raises(ConfigError, match='no norm "group"'):
        mlp(6, 10, 4, norm="group")
