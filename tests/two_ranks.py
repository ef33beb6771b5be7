"""Two processes that share each batch, for tests of what is compared across ranks.

They are spawned, so what they do must be importable: hence this file beside the tests.
"""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from contracts.test_methods import build_with_any, fix_mask, pick
from safetensors.torch import save_file

RANKS = 2
UNGATHERED = "simclr without gathering"
"""The defect that this test is for: each rank compares its own crops only."""

COUPLING = {
    "moco": {"queue": 16},
    "simsiam": {"predictor": "direct"},
    "slice_position": {"local_loss": "matched"},
    "swav": {"queue": 16},
    "voco": {"inter_weight": 1.0, "teacher": "head"},
}
"""Options without which a part of the loss that couples samples would be off."""


def built(name):
    """Return the method with the first encoder that it takes; none if it takes none."""
    own = "simclr" if name == UNGATHERED else name
    method = build_with_any(own, COUPLING.get(own, {}))
    if method is None:
        return None
    fix_mask(method)
    return without_chance(method)


def without_chance(method):
    """Keep what is compared of methods whose loss makes its own views, and leave out the draws."""
    if method.name in ("gvsl", "pcrlv2", "swin_unetr"):
        method.corruption = lambda view, generator: view
        method.quarters = (0,)
    if method.name == "sit":
        method.filling = lambda clean, generator: torch.zeros_like(clean)
    return method


def loss_and_gradients(method, views, targets):
    """Return the loss and the gradient of every trainable parameter, by name, of a second look.

    The first fills what is remembered from step to step: queues, centres, running means.
    """
    method.loss(views, targets, torch.Generator().manual_seed(0))
    method.after_step(1)
    loss = method.loss(views, targets, torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    found = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}


def share_batches(rank, cases, folder):
    """Take this rank's places of each batch and write the means over ranks, as DDP makes them.

    Args:
        rank: Number of this process.
        cases: Views and targets of whole batches, and the number of their places, by method.
        folder: Where the processes meet, and where ``results.safetensors`` goes.
    """
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=RANKS,
        timeout=datetime.timedelta(seconds=60),
    )
    results = {}
    for name, (views, targets, places) in cases.items():
        mine = range(places // RANKS * rank, places // RANKS * (rank + 1))
        with contextlib.ExitStack() as stack:
            if name == UNGATHERED:
                stack.enter_context(mock.patch("medssl.methods.simclr.gather", lambda rows: rows))
                stack.enter_context(mock.patch("medssl.parts.two_views.gather", lambda rows: rows))
            found = loss_and_gradients(built(name), *pick(views, targets, list(mine), places))
        for key, tensor in found.items():
            dist.all_reduce(tensor)
            results[f"{name}:{key}"] = tensor / RANKS
    if rank == 0:
        save_file(results, Path(folder) / "results.safetensors")
    dist.destroy_process_group()
