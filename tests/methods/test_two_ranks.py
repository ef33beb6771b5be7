"""Two ranks with half a batch each do what one process does with the whole of it.

For every method whose loss of one place depends on the others: the same loss, and after averaging
the same gradients. A new method is found by itself.
"""

import copy

import pytest
import torch
import torch.multiprocessing
from contracts.test_methods import CPU, make_batch
from safetensors.torch import load_file
from two_ranks import RANKS, UNGATHERED, built, loss_and_gradients, share_batches

from medssl.methods import METHODS
from medssl.training.module import batch_generator

PLACES = 4
ALIKE = {"discovr", "lvm_med", "slice_position"}
"""What these draw is the same for all places, so ranks with one seed draw what one process does."""
COUPLED = [name for name in METHODS if METHODS[name].couples_samples]


def draws(method, views, targets):
    """Say whether the loss depends on more than its views."""
    state = copy.deepcopy(method.state_dict())
    losses = []
    for seed in (0, 1):
        losses.append(method.loss(views, targets, torch.Generator().manual_seed(seed))["loss"])
        method.load_state_dict(state)
    return not torch.equal(*losses)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """For each method the loss and gradients of one process and of two, or why there are none."""
    folder = tmp_path_factory.mktemp("ranks")
    cases, whole = {}, {}
    for name in (*COUPLED, UNGATHERED):
        method = built(name)
        if method is None:
            whole[name] = "takes none of the encoders"
            continue
        batch = make_batch(method, size=PLACES)
        views, targets = method.views_and_targets(batch, batch_generator(0, 0, CPU))
        if name not in ALIKE and draws(method, views, targets):
            whole[name] = "the loss draws, and ranks draw other numbers than one process"
            continue
        cases[name] = (views, dict(targets), PLACES)
        whole[name] = loss_and_gradients(built(name), views, targets)
    torch.multiprocessing.spawn(share_batches, (cases, str(folder)), nprocs=RANKS)
    shared = load_file(folder / "results.safetensors")
    return whole, {
        name: {k.partition(":")[2]: v for k, v in shared.items() if k.startswith(f"{name}:")}
        for name in cases
    }


def check(runs, name):
    alone, together = (each.get(name) for each in runs)
    if isinstance(alone, str):
        pytest.skip(alone)
    torch.testing.assert_close(together.pop("loss"), alone.pop("loss"), rtol=1e-5, atol=1e-5)
    assert together.keys() == alone.keys()
    largest = max(float(gradient.abs().max()) for gradient in alone.values())
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("name", COUPLED)
def test_two_ranks_do_what_one_process_does_with_the_joint_batch(runs, name):
    check(runs, name)


def test_planted_fault_negatives_of_the_own_rank_only(runs):
    with pytest.raises(AssertionError):
        check(runs, UNGATHERED)
