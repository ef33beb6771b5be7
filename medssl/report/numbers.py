"""Numbers as a reader wants them: few digits, thin spaces, a dash for what is not there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medssl.evaluation.bootstrap import Interval

__all__ = ["count", "duration", "edges", "fixed", "interval", "short", "signed"]

THIN_SPACE = "\u202f"
MINUS = "\u2212"
NOTHING = "\u2013"
TIMES = "\u00d7"


def count(number: float) -> str:
    """Write a whole number with thin spaces between thousands.

    Example:
        >>> count(160000).replace(THIN_SPACE, " ")
        '160 000'
    """
    return f"{round(number):,}".replace(",", THIN_SPACE).replace("-", MINUS)


def fixed(number: float | None, digits: int = 3) -> str:
    """Write a number with a fixed number of digits, so that columns can be compared.

    Example:
        >>> fixed(0.85714), fixed(float("nan"))
        ('0.857', '–')
    """
    if number is None or not math.isfinite(number):
        return NOTHING
    return f"{number:.{digits}f}".replace("-", MINUS)


def signed(number: float | None, digits: int = 3) -> str:
    """Write a difference with its sign.

    Example:
        >>> signed(0.0214)
        '+0.021'
    """
    if number is None or not math.isfinite(number):
        return NOTHING
    return f"{number:+.{digits}f}".replace("-", MINUS)


def short(number: float | None) -> str:
    """Write a number with three significant digits and no exponent where it can be helped.

    Example:
        >>> short(1.5), short(0.00123), short(412.7)
        ('1.5', '0.00123', '413')
    """
    if number is None or not math.isfinite(number):
        return NOTHING
    if abs(number) >= 1000:
        return count(number)
    return f"{number:.3g}".replace("-", MINUS)


def interval(value: Interval, digits: int = 3) -> str:
    """Write a mean and its interval.

    Example:
        >>> interval(Interval(0.85, 0.83, 0.87, 20))
        '0.850 (0.830 to 0.870)'
    """
    if math.isnan(value.low):
        return fixed(value.value, digits)
    return (
        f"{fixed(value.value, digits)} ({fixed(value.low, digits)} to {fixed(value.high, digits)})"
    )


def edges(lengths: Sequence[float]) -> str:
    """Write shapes and spacings, ``96 × 96 × 64``.

    Example:
        >>> edges((1.5, 1.5, 3.0))
        '1.5 × 1.5 × 3'
    """
    return f" {TIMES} ".join(short(length) for length in lengths)


def duration(seconds: float) -> str:
    """Write how long something took.

    Example:
        >>> duration(42.3), duration(754), duration(7260)
        ('42 s', '12 min 34 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
