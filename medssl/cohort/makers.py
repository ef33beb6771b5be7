"""Manufacturers of scanners under the names that everyone uses."""

from __future__ import annotations

import re

__all__ = ["maker"]

_MAKERS = (
    ("Siemens", r"siemens"),
    ("GE", r"^ge\b|^gems|general electric|imatron"),
    ("Philips", r"philips|picker|marconi|adac"),
    ("Canon, Toshiba", r"canon|toshiba"),
    ("Fujifilm, Hitachi", r"fuji|hitachi"),
    ("United Imaging", r"united.?imaging|^uih"),
    ("Agfa", r"agfa"),
    ("Carestream, Kodak", r"carestream|kodak"),
    ("Hologic", r"hologic|lorad"),
    ("Konica Minolta", r"konica"),
    ("Samsung", r"samsung|neurologica|medison"),
    ("Bruker", r"bruker"),
    ("Hyperfine", r"hyperfine"),
    ("Esaote", r"esaote"),
    ("Mindray", r"mindray"),
    ("Neusoft", r"neusoft"),
    ("Shimadzu", r"shimadzu"),
    ("Varian", r"varian"),
    ("Elekta", r"elekta"),
)


def maker(text: str) -> str:
    """Return the name of a manufacturer as everyone spells it; the field itself is free text.

    Example:
        >>> maker("SIEMENS"), maker("GE MEDICAL SYSTEMS"), maker("Dr. X's own"), maker("")
        ('Siemens', 'GE', 'another', 'not stated')
    """
    lower = text.strip().lower()
    if not lower:
        return "not stated"
    return next((name for name, words in _MAKERS if re.search(words, lower)), "another")
