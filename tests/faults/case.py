"""What a fault case is: files that are wrong in one way, and what must become of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medssl.cohort.admit import Policy


@dataclass(frozen=True)
class FaultCase:
    """Files with one fault, and the verdict that they must earn.

    Attributes:
        name: Says what is wrong; unique.
        row: Row of the table of faults, such as ``N01``; empty for a case beyond it.
        write: Puts the files into an empty folder.
        code: The one code of the quarantine table, or None where all is admitted.
        fixes: Fixes of every admitted volume, exactly and in any order.
        volumes: How many volumes are admitted; 0 where there is a code and nothing beside it.
        phantom: Whether every volume is the object of ``phantom.py`` in its place.
        options: What is asked of the index.
        tolerance: How far values may be from those of the phantom; 2 is a tenth of a millimetre.
        detail: Part of the detail of the quarantine that must be there.
    """

    name: str
    row: str
    write: Callable[[Path], None]
    code: str | None = None
    fixes: tuple[str, ...] = ()
    volumes: int = -1
    phantom: bool = False
    options: Policy = field(default_factory=Policy)
    tolerance: float = 2.0
    detail: str = ""

    def __post_init__(self) -> None:
        """Without a word, a case with a code admits nothing and one without admits one volume."""
        if self.volumes < 0:
            object.__setattr__(self, "volumes", 1 if self.code is None else 0)
