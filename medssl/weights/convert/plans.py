"""What nnU-Net's and nnssl's tensors say of their network, and the plans beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from medssl.errors import WeightsMismatchError
from medssl.weights.convert.proposal import Contract

__all__ = ["array_axes", "contract_of", "entry_of", "patch_of", "stages_of", "strides_of"]

_DEEPEST = 8


def entry_of(
    plan: Mapping[str, Any], key: str, fits: Callable[[Any], bool] = lambda _: True
) -> Any:
    """Return an entry of nested mappings by its name, the shallowest first; none without.

    Where a plan holds several configurations, the one that was trained is asked first.

    Args:
        plan: Plain values, as they lay beside a state dict.
        key: What is looked for.
        fits: Which entries count.

    Example:
        >>> entry_of({"a": {"spacing": [1, 1, 1]}}, "spacing")
        [1, 1, 1]
    """
    trained = _entries(plan, "configuration")
    configurations = _entries(plan, "configurations")
    named = [each[name] for each in configurations for name in trained if _holds(each, name)]
    found = (value for part in (*named, plan) for value in _entries(part, key) if fits(value))
    return next(found, None)


def _holds(mapping: Any, name: Any) -> bool:
    return isinstance(mapping, Mapping) and isinstance(name, str) and name in mapping


def _entries(plan: Any, key: str) -> list[Any]:
    found, level = [], [plan]
    for _ in range(_DEEPEST):
        mappings = [part for part in level if isinstance(part, Mapping)]
        found += [part[key] for part in mappings if key in part]
        level = [value for part in mappings for value in part.values()]
    return found


def array_axes(beside: Mapping[str, Any], dims: int) -> tuple[int, ...]:
    """Return for each of our axes which axis of the published network's array it is.

    Both read a scan as an array (z, y, x), slices as (y, x), and swap those of volumes further by
    the ``transpose_forward`` of their plans.

    Args:
        beside: What the file holds besides tensors, its plan included.
        dims: 2 or 3.

    Example:
        >>> array_axes({}, 3)
        (2, 1, 0)
    """
    swapped = entry_of(beside, "transpose_forward", _is_order)
    if dims != 3 or swapped is None:
        return tuple(reversed(range(dims)))
    return tuple(swapped.index(dims - 1 - axis) for axis in range(dims))


def _is_order(value: Any) -> bool:
    return isinstance(value, list) and sorted(map(str, value)) == ["0", "1", "2"]


def strides_of(
    beside: Mapping[str, Any], stages: int, axes: tuple[int, ...]
) -> tuple[list[list[int]] | None, str]:
    """Return the strides of a file's own plan along our axes, and a sentence about them.

    Args:
        beside: What the file holds besides tensors.
        stages: How many strides there must be.
        axes: See :func:`array_axes`.
    """

    def fits(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) == stages
            and all(isinstance(s, int) or _are_numbers(s, len(axes)) for s in value)
        )

    found = entry_of(beside, "strides", fits) or entry_of(beside, "pool_op_kernel_sizes", fits)
    if found is None:
        return None, "the file has no plan with strides: 1, then 2 everywhere, was taken"
    theirs = [[s] * len(axes) if isinstance(s, int) else s for s in found]
    each = [[stride[axis] for axis in axes] for stride in theirs]
    return each, f"strides of the file's own plan: {each}"


def patch_of(
    beside: Mapping[str, Any], axes: tuple[int, ...], fits: Callable[[tuple[int, ...]], bool]
) -> tuple[int, ...] | None:
    """Return the edges of the crops of the training along our axes; none if no plan says them.

    Args:
        beside: What the file holds besides tensors.
        axes: See :func:`array_axes`.
        fits: Which edges can be, in the order of the array.
    """
    for key in ("pretrain_patch_size", "patch_size", "input_shape"):
        found = entry_of(beside, key, lambda v: _are_numbers(v, len(axes)) and fits(tuple(v)))
        if found is not None:
            return tuple(int(found[axis]) for axis in axes)
    return None


def contract_of(beside: Mapping[str, Any], axes: tuple[int, ...]) -> Contract:
    """Return what a network of nnssl saw, which is OpenMind, or a run of nnU-Net.

    Args:
        beside: What the file holds besides tensors.
        axes: See :func:`array_axes`.
    """
    dims = len(axes)
    patch = patch_of(beside, axes, lambda _: True) or (160,) * dims
    if dims == 3 and not str(beside.get("trainer_name", "")).startswith("nnUNet"):
        return Contract("mr", (1.0, 1.0, 1.0), patch=patch)
    found = entry_of(beside, "spacing", lambda value: _are_numbers(value, dims))
    spacing = None if found is None else tuple(float(found[axis]) for axis in axes)
    return Contract("unknown", spacing, patch=patch, is_confirmed=False)


def _are_numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(number, int | float) and number > 0 for number in value)
    )


def stages_of(
    tensors: Mapping[str, Tensor], place: re.Pattern[str], first: str
) -> tuple[list[int], list[int]]:
    """Return the width of each stage of nnU-Net's encoder, and what it holds of what is counted.

    Args:
        tensors: Of the encoder, under its own names.
        place: Matches names with the numbers of a stage and of a part of it.
        first: Name of a stage's first kernel, with braces for the stage.

    Raises:
        WeightsMismatchError: If a stage has no first kernel.
    """
    matches = (place.match(name) for name in tensors)
    places = {(int(m.group(1)), int(m.group(2))) for m in matches if m}
    count = 1 + max(stage for stage, _ in places)
    firsts = [tensors.get(first.format(stage)) for stage in range(count)]
    if any(kernel is None for kernel in firsts):
        raise WeightsMismatchError("the file lacks whole stages of its network; download it again")
    widths = [len(kernel) for kernel in firsts if kernel is not None]
    return widths, [sum(stage == number for stage, _ in places) for number in range(count)]
