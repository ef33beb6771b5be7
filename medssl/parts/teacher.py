"""The teacher of a self-distilling method: a slow copy of the student."""

from __future__ import annotations

import copy
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from medssl.errors import ConfigError

__all__ = ["Teacher"]

M = TypeVar("M", bound=nn.Module)


class Teacher(nn.Module, Generic[M]):
    """A copy of a module that follows it as an exponential moving average.

    It is built from the student, so both are equal at step 0; it takes no gradient, and it stays in
    evaluation mode whatever its parent does, so that its norms use running statistics and its
    dropout is off.

    Args:
        student: What to copy; it is not changed.

    Attributes:
        module: The copy.

    Example:
        >>> student = nn.Linear(2, 2)
        >>> teacher = Teacher(student)
        >>> torch.equal(teacher(torch.ones(1, 2)), student(torch.ones(1, 2)))
        True
    """

    module: M

    def __init__(self, student: M) -> None:
        super().__init__()
        self.module = copy.deepcopy(student)
        self.module.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 nn.Module's
        """Stay in evaluation mode: a parent's ``train()`` reaches its children through this."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the copy, without gradients."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """Move one step towards the student.

        Parameters become ``momentum * teacher + (1 - momentum) * student``; buffers, such as the
        running statistics of norms, are copied.

        Args:
            student: The module this teacher was made from.
            momentum: 1 keeps the teacher, 0 copies the student.

        Raises:
            ConfigError: If the momentum leaves [0, 1] or the student has other tensors than the
                teacher.
        """
        if not 0.0 <= momentum <= 1.0:
            raise ConfigError(f"teacher momentum was {momentum}; it must lie in [0, 1]")
        mine, theirs = _paired(
            dict(self.module.named_parameters()), dict(student.named_parameters())
        )
        if mine:
            torch._foreach_lerp_(mine, theirs, 1.0 - momentum)
        for held, new in zip(
            *_paired(dict(self.module.named_buffers()), dict(student.named_buffers())), strict=True
        ):
            held.copy_(new)


def _paired(
    mine: dict[str, Tensor] | dict[str, nn.Parameter],
    theirs: dict[str, Tensor] | dict[str, nn.Parameter],
) -> tuple[list[Tensor], list[Tensor]]:
    if mine.keys() != theirs.keys():
        differing = sorted(mine.keys() ^ theirs.keys())
        raise ConfigError(
            "a teacher can only follow the module it was made from; "
            f"tensors that differ: {differing[:5]}"
        )
    return list(mine.values()), [theirs[name].detach() for name in mine]
