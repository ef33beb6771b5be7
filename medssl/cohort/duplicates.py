"""The same voxels twice: kept once for a patient, and marked where two patients share them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from medssl.cohort.admit import Admission, Admitted, Quarantined

__all__ = ["settle_duplicates"]


def settle_duplicates(rows: Iterable[Admitted]) -> Iterator[Admission]:
    """Find exact copies by the hash of their voxels, across formats.

    A second copy of one patient's volume is put into quarantine. A copy under another patient
    stays in the table, marked with the id of the first, because it ties the two patients together:
    they must not end on two sides of a split (:func:`~medssl.cohort.split.tied_patients`).

    Args:
        rows: In the order in which the first of several copies counts; not held in memory.

    Yields:
        The rows that stay, ids unique, and the copies that do not, in the order of ``rows``.
    """
    first_of: dict[bytes, str] = {}
    owners: set[tuple[bytes, str]] = set()
    taken: set[str] = set()
    for row in rows:
        voxels = bytes.fromhex(row.voxel_hash)
        is_copy = voxels in first_of
        first = first_of.setdefault(voxels, row.id)
        if (voxels, row.patient) in owners:
            detail = f"the same voxels as volume {first}"
            yield Quarantined(row.source, row.path, "duplicate", detail)
            continue
        owners.add((voxels, row.patient))
        if is_copy:
            row = replace(row, id=_own_id(row, taken), duplicate_of=first)
        taken.add(row.id)
        yield row


def _own_id(row: Admitted, taken: set[str]) -> str:
    """Return an id for a copy; content alone would give it that of the first."""
    if row.id not in taken:
        return row.id
    return hashlib.sha256(f"{row.id}:{row.patient}".encode()).hexdigest()[:16]
