"""Vectors of earlier steps, kept as negatives or to balance small batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medssl.errors import ConfigError

__all__ = ["Queue"]


class Queue(nn.Module):
    """The latest vectors of a run, the same on every rank, saved with the weights.

    A loss stages what it made and :meth:`advance` takes it in after the optimiser step, so that
    calling the loss changes nothing, and what gradient accumulation splits is taken in together.

    Args:
        size: How many vectors are kept.
        width: Length of a vector.

    Attributes:
        rows: ``(size, width)`` the vectors, in no order; zeros where there is none yet.
        filled: ``(size,)`` boolean, where there is one.

    Raises:
        ConfigError: If there is no room.

    Example:
        >>> queue = Queue(3, 2)
        >>> queue.stage(torch.ones(2, 2))
        >>> queue.advance()
        >>> queue.filled.tolist()
        [True, True, False]
    """

    rows: Tensor
    filled: Tensor
    position: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"a queue of {size} vectors was asked for; it keeps at least 1")
        self.register_buffer("rows", torch.zeros(size, width))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))
        self._staged: list[Tensor] = []

    def stage(self, rows: Tensor) -> None:
        """Keep vectors for the next :meth:`advance`, at most as many as the queue holds.

        Args:
            rows: ``(n, width)``, those of all ranks (see :func:`~medssl.parts.gather.gather`).
        """
        self._staged.append(rows.detach().to(self.rows.dtype))
        while sum(map(len, self._staged[1:])) >= len(self.rows):
            self._staged.pop(0)

    @torch.no_grad()
    def advance(self) -> None:
        """Take in what was staged, in place of the oldest."""
        if not self._staged:
            return
        fresh = torch.cat(self._staged)[-len(self.rows) :]
        self._staged = []
        # the position stays on the device: a number of it here would wait for the step to end
        steps = torch.arange(len(fresh), device=self.rows.device)
        places = (self.position + steps) % len(self.rows)
        self.rows[places] = fresh
        self.filled[places] = True
        self.position.copy_((self.position + len(fresh)) % len(self.rows))
