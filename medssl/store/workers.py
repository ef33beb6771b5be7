"""The same work on many items, in this process or, where it pays, in several."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from medssl.errors import StoreError

__all__ = ["each"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE_SECONDS = 10.0
"""Workers are started when one process would need this much longer; they take seconds to start."""

_job: list[Callable[[Any], Any]] = []
"""What a worker process does to items; its initializer puts it here once."""


def each(
    job: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[Result]:
    """Yield the result of every item, in order.

    Args:
        job: What to do; it and its results can be pickled.
        items: What to do it to.
        workers: Processes; 0 and 1 work in this one. None begins here, and goes on with one process
            a core if the first items were slow and many are left.

    Raises:
        StoreError: If a worker process died.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes, done, started = workers or 1, 0, time.monotonic()
    while done < len(items) and processes == 1:
        yield job(items[done])
        done += 1
        left = (time.monotonic() - started) / done * (len(items) - done)
        if workers is None and left > _PATIENCE_SECONDS:
            processes = cores or 1
    if done < len(items):
        yield from _in_processes(job, items[done:], processes)


def _in_processes(
    job: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[Result]:
    """Yield the result of every item, in order, from several processes."""
    pool = ProcessPoolExecutor(
        max_workers=min(processes, len(items)),
        # Started afresh: a copy of this process could inherit locks of threads that it has not.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_remember,
        initargs=(job,),
    )
    try:
        yield from pool.map(_run, items)
    except BrokenProcessPool as error:
        raise StoreError(
            "a worker process ended without a word, most likely for want of memory; "
            "run again with --resume and --workers 1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _remember(job: Callable[[Any], Any]) -> None:
    _job[:] = [job]


def _run(item: Any) -> Any:
    return _job[0](item)
