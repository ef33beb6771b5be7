"""Names that a user types, and the classes they stand for.

A registry is filled by the modules of one package as they are imported; asking for a name that is
not there says which one is nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from medssl.errors import UnknownNameError

__all__ = ["Registry", "nearest"]

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a clause that names the closest known word, to be put at the end of a message.

    Example:
        >>> nearest("vocco", ["mae", "voco"])
        'did you mean "voco"? Known: mae, voco'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}Known: {', '.join(names)}"


class Registry(Mapping[str, T]):
    """A closed table from a name to what builds it.

    Args:
        kind: What the entries are, in the singular; used in messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its target under ``name``.

        Raises:
            ValueError: If the name is taken.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f'two {self.kind}s are called "{name}"; rename one')
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            UnknownNameError: If there is none; the message names the nearest.
        """
        if name not in self._entries:
            raise UnknownNameError(
                f'no {self.kind} is called "{name}"; {nearest(name, self._entries)}'
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in alphabetical order."""
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        """Say whether an entry of that name exists."""
        return name in self._entries
