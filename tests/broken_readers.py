"""What readers of foreign files do at their worst, as functions that a child process can import."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any


def read(order: str) -> Any:
    """Do what an order says: ``value``, or one of the ways to fail."""
    if order == "crash":
        ctypes.string_at(0)
    elif order == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif order == "exit":
        os._exit(0)
    elif order == "hang":
        time.sleep(600)
    elif order == "swell":
        return len(bytearray(2**40))
    elif order == "fail":
        raise ValueError("of a file")
    elif order == "speak":
        os.write(1, b"Zzyzx")
        os.write(2, b"Zzyzx")
    return order


def fail_unpicklably(order: str) -> None:
    raise type("LocalError", (Exception,), {})(order)


def child_of(_: object) -> int:
    return os.getpid()


def begin_and_hang(path: str) -> None:
    """Say in a file which process this is, then never return, whatever signal would be polite."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def limits(_: object) -> tuple[int, str, int]:
    import resource

    core, _ = resource.getrlimit(resource.RLIMIT_CORE)
    return core, os.environ["OMP_NUM_THREADS"], os.getsid(0)
