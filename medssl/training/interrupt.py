"""A request to stop is heard at once and obeyed after the step: Ctrl-C, SIGTERM, preemption.

Stopping inside an optimiser step would save weights of which some are a step ahead of the others.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from lightning import Callback, Trainer

from medssl.training.checkpoint import Checkpoints

__all__ = ["GracefulStop"]


class GracefulStop(Callback):
    """Saves and stops between two steps when asked to; a second request stops on the spot.

    Used as a context around ``fit`` and as one of its callbacks. After the checkpoint is written,
    the signal is raised again for whoever handled it before.

    Args:
        checkpoints: What saves.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        """Listen; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # what the parent told this process to ignore, as nohup does, stays ignored
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        """Stop listening; pass a request on to the handler that was there before.

        Lightning ends a run that a second Ctrl-C broke off with ``SystemExit``.
        """
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._received is not None and kind in (None, SystemExit):
            signal.raise_signal(self._received)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None and callable(self._before[number]):
            self._before[number](number, frame)
        self._received = number

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        """Save and leave if a request came and a whole step is done."""
        batch_idx: int = rest[-1]
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self._received is not None and whole_step:
            self.checkpoints.save(trainer)
            # the loop still logs this step before it ends
            trainer.should_stop = True
