"""How far, how fast, how long still: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

__all__ = ["follow", "is_live", "pace", "plain_console"]

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 5.0


def plain_console(*, error: bool = False) -> Console:
    """Return a console that prints text as it is, on standard output or standard error.

    It is made anew each time, because a console keeps the stream it was born with and notebooks
    swap theirs.
    """
    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, markup=False, highlight=False, soft_wrap=True, emoji=False)


def is_live() -> bool:
    """Say whether a bar that redraws itself would be seen by a person."""
    return sys.stderr.isatty() and os.environ.get("CI", "").lower() not in ("true", "1")


def pace(done: float, total: float | None, seconds: float, unit: str) -> str:
    """Say rate and time left.

    Example:
        >>> pace(30, 120, 10.0, "volume")
        '3.0 volumes/s, 0:30 left'
        >>> pace(2, 10, 60.0, "volume")
        '30.0 s/volume, 4:00 left'
    """
    if done <= 0 or seconds <= 0:
        return "starting"
    rate = done / seconds
    words = f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"
    if total is None:
        return words
    left = round((total - done) / rate)
    hours, minutes = left // 3600, left % 3600 // 60
    clock = f"{hours}:{minutes:02d}:{left % 60:02d}" if hours else f"{minutes}:{left % 60:02d}"
    return f"{words}, {clock} left"


def follow(iterable: Iterable[T], *, total: int | None, unit: str, doing: str) -> Iterator[T]:
    """Yield the items and show progress until the last one is done."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    return (_bar if is_live() else _lines)(iterable, total, unit, doing)


class _Pace(ProgressColumn):
    """The same words on a bar as in the plain lines."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(pace(task.completed, task.total, task.elapsed or 0.0, self.unit), style="cyan")


def _bar(iterable: Iterable[T], total: int | None, unit: str, doing: str) -> Iterator[T]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Pace(unit))
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        task = bar.add_task(doing, total=total)
        for item in iterable:
            yield item
            bar.advance(task)


def _lines(iterable: Iterable[T], total: int | None, unit: str, doing: str) -> Iterator[T]:
    console = plain_console(error=True)
    start = spoken = time.perf_counter()
    done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.perf_counter()
        if now - spoken >= SECONDS_BETWEEN_LINES:
            spoken = now
            of = f"{done}/{total}" if total is not None else str(done)
            console.print(f"{doing} {of} {unit}s, {pace(done, total, now - start, unit)}")
    seconds = time.perf_counter() - start
    if seconds >= SECONDS_BETWEEN_LINES:
        console.print(f"{doing} {done} {unit}s took {seconds:.0f} s")
