"""Values of DICOM elements as plain numbers and words, however the file spells them."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["key", "number", "numbers", "stated_number", "text", "words"]


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return exactly ``count`` finite numbers, or None."""
    if value is None or isinstance(value, str):
        return None
    try:
        found = tuple(map(float, value))
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(value: Any) -> float | None:
    """Return one finite number, the first of several, or None."""
    if value is None:
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    except TypeError:
        return number(value[0]) if isinstance(value, tuple | list) and value else None
    return found if math.isfinite(found) else None


def stated_number(value: Any) -> float | None:
    """Return a number that values depend on; one that can't be read must not pass for absent.

    Raises:
        ValueError: If something is there that is no number.
    """
    found = number(value)
    if found is None and value not in (None, ""):
        raise ValueError("a factor that is no number")
    return found


def words(value: Any) -> tuple[str, ...]:
    """Return the words of a text of several values."""
    if value is None:
        return ()
    if isinstance(value, str | int | float):
        return (str(value).strip(),)
    return tuple(str(word).strip() for word in value)


def text(value: Any) -> str:
    """Return a value as one text; empty where there is none."""
    return "\\".join(words(value))


def key(value: Any) -> str:
    """Return a value as a word that is the same however a number is written."""
    found = []
    for word in words(value):
        amount = number(word)
        found.append(word if amount is None else f"{amount:g}")
    return "\\".join(found)
