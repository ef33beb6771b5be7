"""Patients dealt out to parts; never volumes, never slices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

__all__ = ["split_patients", "tied_patients"]


def split_patients(
    patients: Sequence[str], fractions: Mapping[str, float], seed: int = 0
) -> list[str]:
    """Say for each volume which part its patient belongs to.

    The order of patients is drawn from the seed and their names alone, so that it does not matter
    in which order volumes come.

    Args:
        patients: The patient of each volume.
        fractions: Share of the patients for each part; they sum to 1. A part with a share above 0
            gets at least one patient as long as there are enough.
        seed: Another seed gives another split.

    Returns:
        The name of the part for each volume.

    Raises:
        ValueError: If the shares are negative or do not sum to 1.

    Example:
        >>> split_patients(["a", "b", "a", "c"], {"train": 0.67, "val": 0.33})
        ['train', 'val', 'train', 'train']
    """
    if min(fractions.values(), default=-1) < 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(f"shares {dict(fractions)} must not be negative and must sum to 1")
    order = sorted(set(patients), key=lambda patient: _draw(seed, patient))
    part_of: dict[str, str] = {}
    start = 0
    for part, count in _counts(len(order), fractions).items():
        part_of.update(dict.fromkeys(order[start : start + count], part))
        start += count
    return [part_of[patient] for patient in patients]


def tied_patients(
    ids: Sequence[str], patients: Sequence[str], duplicate_of: Sequence[str | None]
) -> list[str]:
    """Return whose each volume is, with patients who share a volume taken for one.

    One person under two names is what a copy in another patient's folder mostly means. All
    patients that copies tie together, also through others, get the first name among theirs.

    Args:
        ids: Name of each volume.
        patients: The patient of each volume.
        duplicate_of: The volume that each is a copy of, or None.

    Example:
        >>> tied_patients(["1", "2", "3"], ["b", "a", "c"], [None, "1", None])
        ['a', 'a', 'c']
    """
    patient_of = dict(zip(ids, patients, strict=True))
    leader: dict[str, str] = {}

    def find(patient: str) -> str:
        while leader.get(patient, patient) != patient:
            leader[patient] = leader.get(leader[patient], leader[patient])
            patient = leader[patient]
        return patient

    for patient, original in zip(patients, duplicate_of, strict=True):
        if original is not None and original in patient_of:
            first, second = sorted((find(patient), find(patient_of[original])))
            leader[second] = first
    return [find(patient) for patient in patients]


def _draw(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}:{patient}".encode("utf-8", "surrogateescape")).digest()


def _counts(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Return whole numbers near the shares, by largest remainder, none of them needlessly zero."""
    exact = {part: total * share for part, share in fractions.items()}
    counts = {part: int(number) for part, number in exact.items()}
    by_remainder = sorted(exact, key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: total - sum(counts.values())]:
        counts[part] += 1
    for part, share in fractions.items():
        richest = max(counts, key=lambda other: counts[other])
        if share > 0 and counts[part] == 0 and counts[richest] > 1:
            counts[richest] -= 1
            counts[part] += 1
    return counts
