"""A sandbox from inside: calls what it is handed, and can end without harm to its parent."""

from __future__ import annotations

import mmap
import os
import pickle
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medssl.io.sandbox import GRACE_SECONDS, PLACE_BYTES, SandboxFault

__all__ = ["serve"]

_GATHER_SECONDS = 0.05


def serve(socket_end: int, shared: int) -> None:
    """Be the child: work on what comes through a socket until it is closed.

    Args:
        socket_end: Descriptor of the child's end of the socket.
        shared: Descriptor of the memory in which the parent sees what the child is at.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold what a patient's file held
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    channel, place = Connection(socket_end), mmap.mmap(shared, PLACE_BYTES)
    while True:
        try:
            _limit_memory(None)  # what the function is made of, imported here, is not the item's
            memory_bytes, seconds, function, items = channel.recv()
            _limit_memory(memory_bytes)
            place[:] = bytes(PLACE_BYTES)
            channel.send_bytes(b"ready")
            _work(channel, place, function, items, seconds)
        except (EOFError, OSError):
            return


def _work(
    channel: Connection,
    place: mmap.mmap,
    function: Callable[[Any], Any],
    items: Sequence[Any],
    seconds: float,
) -> None:
    """Send the answers to a batch, those of a short while together: each message has its price."""
    answers: list[bytes] = []
    sent = time.monotonic()
    for number, item in enumerate(items):
        if not answers:
            # This alarm ends an orphan whose native code never returns; the parent is faster.
            signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_SECONDS)
        place[:] = number.to_bytes(PLACE_BYTES, "little")
        answers.append(_answer(function, item))
        if time.monotonic() - sent > _GATHER_SECONDS or number == len(items) - 1:
            channel.send(answers)
            answers = []
            sent = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(function: Callable[[Any], Any], item: Any) -> bytes:
    """Return the pickled value of an item, or its error."""
    try:
        return pickle.dumps((False, function(item)), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return pickle.dumps((False, SandboxFault("memory")))
    except Exception as error:  # noqa: BLE001 - it is raised again, in the parent
        try:
            answer = pickle.dumps((True, error))
            pickle.loads(answer)  # noqa: S301 - our own
        except Exception:  # noqa: BLE001 - an error of any kind that can't be sent
            return pickle.dumps((True, RuntimeError(type(error).__name__)))
        return answer


def _limit_memory(memory_bytes: int | None) -> None:
    """Let this process grow by so much beyond what it holds now; None lifts the limit."""
    if not sys.platform.startswith("linux"):
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = most
    if memory_bytes is not None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        wanted = pages * resource.getpagesize() + memory_bytes
        wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


def _end_with(parent: int) -> None:
    """End this process soon after its parent, whatever it is doing."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
