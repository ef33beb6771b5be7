"""A mapping for files of no known family, proposed by shape, order and name for a person to check.

A tensor can only stand for one of its own shape and kind (weight, bias, running mean, …). Among
those, names that are the same once a prefix is gone are taken first. The rest is aligned in the
order of the file and of the encoder, in which both were written down; where that does not reach,
as in a file that was sorted, by name, whichever agrees better.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

import torch
from torch import Tensor

from medssl.encoders import build_encoder
from medssl.errors import WeightsMismatchError
from medssl.types import Shape
from medssl.weights.convert.checkpoint import Checkpoint
from medssl.weights.convert.proposal import Contract, Proposal

__all__ = ["GENERIC", "propose_generic"]

GENERIC = "generic"
_KINDS = {
    "gamma": "weight",
    "kernel": "weight",
    "scale": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""How other frameworks call what PyTorch calls otherwise."""

_DOUBTFUL = 0.5
"""Names that agree by less are marked."""

_LARGEST = 4000
"""Tensors of a file up to which a mapping is looked for."""

Entry = tuple[str, Shape]


def propose_generic(checkpoint: Checkpoint, encoder: str, computed: Sequence[str]) -> Proposal:
    """Return the best mapping from a file's tensors to an encoder's, to be checked by a person.

    Args:
        checkpoint: A state dict as its file names it.
        encoder: A name of ``medssl info --encoders``; it is built with its own defaults.
        computed: Ends of names in the encoder that need no counterpart.

    Raises:
        UnknownNameError: If no encoder has that name.
        WeightsMismatchError: If the file holds no convolution, or far too many tensors.
    """
    kernels = [tuple(t.shape) for t in checkpoint.tensors.values() if t.ndim in (4, 5)]
    if not kernels or len(checkpoint.tensors) > _LARGEST:
        raise WeightsMismatchError(
            f"no mapping to {encoder} can be proposed for a file of {len(checkpoint.tensors)} "
            f"tensors with {len(kernels)} convolutions; expected at least one, and at most "
            f"{_LARGEST} tensors: write a converter for its family"
        )
    dims = Counter(len(shape) - 2 for shape in kernels).most_common(1)[0][0]
    # what reads the image has the fewest channels to read
    channels = min(shape[1] for shape in kernels if len(shape) == dims + 2)
    config = {"spatial_dims": dims, "in_channels": channels}
    with torch.device("meta"):
        wanted = build_encoder(encoder, **config).state_dict()
    ours = [(n, tuple(t.shape)) for n, t in wanted.items() if not n.endswith(tuple(computed))]
    theirs = [(n, tuple(t.shape)) for n, t in checkpoint.tensors.items()]
    pairs = _pair(theirs, ours)
    return Proposal(
        family=GENERIC,
        encoder=encoder,
        config=config,
        tensors={mine: checkpoint.tensors[given] for mine, given in pairs.items()},
        stem=_stem(wanted, channels),
        dropped=tuple(sorted(set(checkpoint.tensors) - set(pairs.values()))),
        notes=(_doubts(pairs),),
        contract=Contract("unknown", None, patch=(96,) * dims, is_confirmed=False),
        mapping=tuple(_told(mine, pairs[mine], shape) for mine, shape in ours if mine in pairs),
    )


def _stem(wanted: Mapping[str, Tensor], channels: int) -> str:
    kernels = [n for n, t in wanted.items() if t.ndim > 3]
    return next((n for n in kernels if wanted[n].shape[1] == channels), kernels[0])


def _told(ours: str, theirs: str, shape: Shape) -> str:
    mark = " ?" if _is_doubtful(theirs, ours) else ""
    return f"{theirs} -> {ours} {'x'.join(map(str, shape))}{mark}"


def _is_doubtful(theirs: str, ours: str) -> bool:
    # that a weight stands for a weight says nothing
    places = (name.rpartition(".")[0] for name in (theirs, ours))
    return _agreement(*places) < _DOUBTFUL


def _doubts(pairs: Mapping[str, str]) -> str:
    count = sum(_is_doubtful(theirs, ours) for ours, theirs in pairs.items())
    return (
        f"the mapping is a proposal by shape, order and name: of {len(pairs)} pairs, {count} "
        "hardly agree in name and are marked with a question mark"
    )


def _pair(theirs: Sequence[Entry], ours: Sequence[Entry]) -> dict[str, str]:
    """Return for each name of ours that finds one the name of theirs."""
    same = _same_names(theirs, ours)
    by_order = _fill(same, theirs, ours, (_align,))
    by_name = _fill(same, theirs, ours, (_by_name,))
    if len(by_order) == len(by_name):
        return by_order
    # a file may be sorted by name, and its order tell nothing
    return max(_fill(by_order, theirs, ours, (_by_name,)), by_name, key=_worth)


def _fill(
    pairs: Mapping[str, str],
    theirs: Sequence[Entry],
    ours: Sequence[Entry],
    rules: Sequence[Callable[[Sequence[Entry], Sequence[Entry]], dict[str, str]]],
) -> dict[str, str]:
    """Return pairs and those that one rule after the other finds among what is left."""
    filled = dict(pairs)
    for rule in rules:
        used = set(filled.values())
        left = [entry for entry in theirs if entry[0] not in used]
        filled |= rule(left, [entry for entry in ours if entry[0] not in filled])
    return filled


def _worth(pairs: Mapping[str, str]) -> float:
    return sum(1 + _agreement(theirs, ours) for ours, theirs in pairs.items())


def _same_names(theirs: Sequence[Entry], ours: Sequence[Entry]) -> dict[str, str]:
    """Pair names that are the same behind the prefix that makes most of them so."""
    wanted = dict(ours)
    found: dict[str, dict[str, str]] = {}
    for name, shape in theirs:
        parts = name.split(".")
        for count in range(len(parts)):
            rest = ".".join(parts[count:])
            if wanted.get(rest) == shape:
                found.setdefault(".".join(parts[:count]), {})[rest] = name
    return max(found.values(), key=len, default={})


def _align(theirs: Sequence[Entry], ours: Sequence[Entry]) -> dict[str, str]:
    """Pair in order, neither list's order broken, as many and as alike in name as can be."""
    best = [[0.0] * (len(ours) + 1) for _ in range(len(theirs) + 1)]
    for i in range(len(theirs) - 1, -1, -1):
        row, below = best[i], best[i + 1]
        for j in range(len(ours) - 1, -1, -1):
            value = max(below[j], row[j + 1])
            if _may(theirs[i], ours[j]):
                value = max(value, below[j + 1] + 1 + _agreement(theirs[i][0], ours[j][0]))
            row[j] = value
    pairs, i, j = {}, 0, 0
    while i < len(theirs) and j < len(ours):
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            pairs[ours[j][0]] = theirs[i][0]
            i, j = i + 1, j + 1
    return pairs


def _by_name(theirs: Sequence[Entry], ours: Sequence[Entry]) -> dict[str, str]:
    """Pair what the order left over, the most alike first."""
    choices = sorted(
        (-_agreement(given[0], mine[0]), place, given[0], mine[0])
        for place, mine in enumerate(ours)
        for given in theirs
        if _may(given, mine)
    )
    pairs: dict[str, str] = {}
    used: set[str] = set()
    for _, _, given_name, mine_name in choices:
        if mine_name not in pairs and given_name not in used:
            pairs[mine_name] = given_name
            used.add(given_name)
    return pairs


def _may(theirs: Entry, ours: Entry) -> bool:
    return theirs[1] == ours[1] and _kind(theirs[0]) == _kind(ours[0])


@lru_cache(maxsize=2 * _LARGEST)
def _kind(name: str) -> str:
    last = name.rsplit(".", 1)[-1]
    return _KINDS.get(last, last)


@lru_cache(maxsize=100_000)
def _agreement(theirs: str, ours: str) -> float:
    """Return how alike two names are: the share of their words and numbers in common order."""
    first, second = (re.findall(r"[a-z]+|\d+", name.lower()) for name in (theirs, ours))
    return SequenceMatcher(None, first, second, autojunk=False).ratio()
