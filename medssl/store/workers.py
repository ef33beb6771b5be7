"""The same work on many items: here, in processes where that pays, or with a crew that is lent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from medssl.cohort.crew import Crew, Run, open_crew

__all__ = ["each"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE_SECONDS = 10.0
"""Workers are started when one process would need this much longer; they take seconds to start."""


def each(
    job: Callable[[Run, Item], Result],
    items: Iterable[Item],
    count: int,
    *,
    workers: int | None = None,
    crew: Crew | None = None,
) -> Iterator[tuple[int, Result]]:
    """Yield the result of every item with its number, as they come.

    Items are asked for a few ahead of the results, so that memory does not grow with their number.

    Args:
        job: What to do; it is given who runs the part that may fail, and an item. It, items and
            results can be pickled.
        items: What to do it to.
        count: How many there are.
        workers: Processes; 0 and 1 work in this one. None begins here, and goes on with one process
            a core if the first items were slow and many are left.
        crew: Who does all of it instead.
    """
    numbered = iter(enumerate(items))
    if crew is not None:
        yield from crew.each(job, numbered)
        return
    if workers in (None, 0, 1):
        started = time.monotonic()
        for number, item in numbered:
            yield number, job(map, item)
            left = (time.monotonic() - started) / (number + 1) * (count - number - 1)
            if workers is None and left > _PATIENCE_SECONDS:
                break
        else:
            return
    with open_crew(workers) as lent:
        yield from lent.each(job, numbered)
