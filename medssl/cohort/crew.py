"""Who does the reading: this process, child processes, or the workers of a cluster.

All three run the same functions. A function is given ``run``, which calls another function on items
one by one: directly, or in a child with a limit on memory and time.
"""

from __future__ import annotations

import functools
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from medssl.errors import InputError, UsageError
from medssl.io.sandbox import Outcome, Sandbox

__all__ = ["Crew", "Limits", "Run", "default_workers", "machine_bytes", "open_crew"]

Key = TypeVar("Key")
Task = TypeVar("Task")
Result = TypeVar("Result")

_MOST_WORKERS = 8
"""More processes than this rarely help: a disk or a network file system is the limit."""

_LEAST_BYTES = 2 * 2**30
_WAIT_SECONDS = 10
_CGROUPS = Path("/sys/fs/cgroup")


class Run(Protocol):
    """Calls a function on items one by one."""

    def __call__(
        self, function: Callable[[Any], Any], items: Sequence[Any], /
    ) -> Iterable[Outcome]:
        """Yield the outcome of every item, in order."""


@dataclass(frozen=True)
class Limits:
    """What a child process may take for one item.

    Attributes:
        seconds: Time.
        memory_bytes: Memory; none takes the machine's, shared among its processors.
        name: Whose children they are; made up, so that two runs on one cluster keep apart.
    """

    seconds: float = 300.0
    memory_bytes: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Crew:
    """Who does the reading.

    Attributes:
        executor: Runs functions elsewhere; none runs them here, one after the other.
        limits: For children; none reads without a child, where a broken file can end the process.
        ahead: How many tasks are handed out at a time.
        blind: Returns how many of the machines that read do not see all of some folders; none where
            there is no machine but this.
    """

    executor: Executor | None = None
    limits: Limits | None = None
    ahead: int = 8
    blind: Callable[[Sequence[Path]], int] | None = None

    def check_sources(self, roots: Sequence[Path]) -> None:
        """Make sure that whoever reads sees what is to be read.

        Raises:
            InputError: If a worker of a cluster does not: each of its files would seem unreadable.
        """
        blind = 0 if self.blind is None else self.blind(roots)
        if blind:
            raise InputError(
                f"{blind} of the cluster's workers do not see the sources; mount them there under "
                "the same paths as here"
            )

    def each(
        self, function: Callable[[Run, Task], Result], tasks: Iterable[tuple[Key, Task]]
    ) -> Iterator[tuple[Key, Result]]:
        """Yield the result of every task with its key as it comes, in any order.

        Only a few tasks are under way at a time, so that memory does not grow with their number.
        What a cluster gives up on, because its workers died over it, is done here.
        """
        if self.executor is None:
            for key, task in tasks:
                yield key, _work(function, task, self.limits)
            return
        under_way: dict[Future[Result], tuple[Key, Task]] = {}
        try:
            for key, task in tasks:
                future = self.executor.submit(_work, function, task, self.limits)
                under_way[future] = (key, task)
                while len(under_way) >= self.ahead:
                    yield from self._done(function, under_way)
            while under_way:
                yield from self._done(function, under_way)
        finally:
            for future in under_way:
                future.cancel()

    def _done(
        self,
        function: Callable[[Run, Task], Result],
        under_way: dict[Future[Result], tuple[Key, Task]],
    ) -> Iterator[tuple[Key, Result]]:
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            key, task = under_way.pop(future)
            if _is_given_up(future):
                yield key, _work(function, task, self.limits)
            else:
                yield key, future.result()


@contextmanager
def open_crew(
    workers: int | None = None,
    *,
    scheduler: str | None = None,
    seconds: float = 300.0,
    memory_bytes: int | None = None,
) -> Iterator[Crew]:
    """Lend a crew whose children end with the block.

    Args:
        workers: Child processes; none takes one a core, eight at most.
        scheduler: Address of a Dask scheduler, whose workers see the same files under the same
            paths; they run the children then.
        seconds: Most that one item may take.
        memory_bytes: Most that one item may take; none shares out the machine's.

    Raises:
        UsageError: If a cluster is asked for and ``distributed`` is not installed.
        InputError: If the scheduler does not answer, or has no workers.
    """
    limits = Limits(seconds, memory_bytes, secrets.token_hex(8))
    width = workers or default_workers()
    try:
        with _local(width, limits) if scheduler is None else _cluster(scheduler, limits) as crew:
            yield crew
    finally:
        _close_sandboxes(limits.name)


def default_workers() -> int:
    """Return how many processes read by default: one for each core that this one may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST_WORKERS)


def machine_bytes() -> int:
    """Return the memory of this machine, or what a batch system or container leaves of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in _limit_files():
        try:
            total = min(total, int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):  # absent, or the word max
            continue
    return total


def _limit_files() -> Iterator[Path]:
    """Yield where Linux may keep a limit on the memory of this process, or of one around it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, name = line.split(":", 2)
        if kinds in ("", "memory"):
            top = _CGROUPS / kinds
            for folder in (PurePosixPath(name), *PurePosixPath(name).parents):
                place = top / str(folder).lstrip("/")
                yield place / ("memory.limit_in_bytes" if kinds else "memory.max")


@contextmanager
def _local(workers: int, limits: Limits) -> Iterator[Crew]:
    """Lend threads that each wait for a child of their own."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="medssl-index")
    try:
        yield Crew(pool, limits, ahead=3 * workers)
    finally:
        # A thread may be waiting for a file that hangs; without its child it stops at once.
        _stop_sandboxes(limits.name)
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _cluster(address: str, limits: Limits) -> Iterator[Crew]:
    """Lend the workers of a cluster that is there already."""
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            '--scheduler needs Dask\'s distributed: pip install "medssl[cluster]"'
        ) from error
    try:
        connect: Any = distributed.Client
        client = connect(address, timeout=_WAIT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            "no Dask scheduler answers at the address given to --scheduler; expected one like "
            "tcp://host:8786"
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise InputError("the Dask scheduler has no workers; start some with dask worker")
        executor = client.get_executor(pure=False)
        try:
            yield Crew(executor, limits, 3 * threads, functools.partial(_blind, client))
        finally:
            executor.shutdown(wait=False)
            client.run(_close_sandboxes, limits.name, on_error="ignore")


def _blind(client: Any, roots: Sequence[Path]) -> int:
    return sum(not seen for seen in client.run(_sees, list(roots)).values())


def _sees(roots: Sequence[Path]) -> bool:
    return all(os.access(root, os.R_OK) for root in roots)


def _work(function: Callable[[Run, Task], Result], task: Task, limits: Limits | None) -> Result:
    """Do one task, wherever this is called."""
    if limits is None:
        return function(map, task)
    return function(_sandbox(limits).map, task)


def _is_given_up(future: Future[Any]) -> bool:
    """Say whether a cluster lost a task, rather than that the task raised an error."""
    if future.cancelled():
        return True
    error = future.exception()
    return error is not None and type(error).__name__ in ("KilledWorker", "FutureCancelledError")


_sandboxes: dict[tuple[int, Limits], Sandbox] = {}
"""The child of each thread: state of the process, because a cluster's workers outlive a task."""


def _sandbox(limits: Limits) -> Sandbox:
    key = (threading.get_ident(), limits)
    if key not in _sandboxes:
        memory = limits.memory_bytes
        if memory is None:
            memory = max(machine_bytes() // (default_workers() + 1), _LEAST_BYTES)
        _sandboxes[key] = Sandbox(memory_bytes=memory, seconds=limits.seconds)
    return _sandboxes[key]


def _stop_sandboxes(name: str) -> None:
    for key, sandbox in list(_sandboxes.items()):
        if key[1].name == name:
            sandbox.stop()


def _close_sandboxes(name: str) -> None:
    """End the children of one run."""
    _stop_sandboxes(name)
    for key in [key for key in _sandboxes if key[1].name == name]:
        _sandboxes.pop(key).close()
