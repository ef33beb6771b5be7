"""The head of DINO and its centre."""

import torch
from torch import nn

from medssl.parts.prototypes import Centre, PrototypeHead


def test_head_is_the_reference_with_weight_norm_of_length_one():
    head = PrototypeHead(6, 10, hidden=8, bottleneck=4)
    last = nn.utils.parametrizations.weight_norm(nn.Linear(4, 10, bias=False))
    last.parametrizations.weight.original0.data.fill_(1.0)
    last.parametrizations.weight.original1.data.copy_(head.weight)
    vectors = torch.randn(5, 6)
    points = head.mlp(nn.functional.layer_norm(vectors, (6,)))
    expected = last(nn.functional.normalize(points, dim=-1))
    torch.testing.assert_close(head(vectors), expected)


def test_what_all_vectors_share_does_not_make_their_scores_alike():
    torch.manual_seed(0)
    head = PrototypeHead(32, 64, hidden=64, bottleneck=16)
    vectors = torch.rand(16, 32)
    assert head(vectors + 5.0).std(dim=0).mean() > 0.5 * head(vectors).std(dim=0).mean()


def test_frozen_prototypes_get_a_gradient_of_zero_and_the_rest_its_own():
    head = PrototypeHead(6, 10, hidden=8, bottleneck=4)
    head(torch.randn(5, 6), frozen=True)[:, 0].sum().backward()
    assert head.weight.grad.abs().max() == 0
    assert head.mlp[0].weight.grad.abs().max() > 0


def test_centre_follows_raw_scores_and_not_probabilities():
    """A mean of probabilities (DISCOVR's code) is near 1 / K for every prototype: no centre."""
    centre = Centre(4, momentum=0.9)
    first, second = torch.tensor([[3.0, 0, 0, 0]]), torch.tensor([[1.0, 2.0, 0, 0]])
    centre(first, 0.04)
    centre.update()
    centre(second, 0.04)
    centre(second + 2.0, 0.04)
    assert torch.equal(centre.centre, first[0]), "a centre moves after the step"
    centre.update()
    torch.testing.assert_close(centre.centre, 0.9 * first[0] + 0.1 * (second[0] + 1.0))


def test_what_all_images_share_does_not_win():
    centre = Centre(3)
    scores = torch.tensor([[5.0, 0.1, 0.0], [5.0, 0.0, 0.1]])
    answers = centre(scores, 0.04)
    assert answers.argmax(dim=1).tolist() == [1, 2], "the first batch is its own centre"
    centre.update()
    torch.testing.assert_close(centre(scores, 0.04), answers)


def test_centre_is_resumed_with_its_state():
    centre, other = Centre(3), Centre(3)
    centre(torch.randn(4, 3), 0.04)
    centre.update()
    other.load_state_dict(centre.state_dict())
    scores = torch.randn(2, 3)
    assert torch.equal(centre(scores, 0.04), other(scores, 0.04))
