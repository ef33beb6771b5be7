"""The same voxels twice: kept once for a patient, and marked where two patients share them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from medssl.cohort.admit import Admitted, Quarantined

__all__ = ["settle_duplicates"]


def settle_duplicates(rows: Iterable[Admitted]) -> tuple[list[Admitted], list[Quarantined]]:
    """Find exact copies by the hash of their voxels, across formats.

    A second copy of one patient's volume is put into quarantine. A copy under another patient
    stays in the table, marked with the id of the first, because it ties the two patients together:
    they must not end on two sides of a split.

    Args:
        rows: In the order in which the first of several copies counts.

    Returns:
        The rows that stay, ids unique, and the copies that do not.
    """
    first_of: dict[str, Admitted] = {}
    taken: set[str] = set()
    kept: list[Admitted] = []
    copies: list[Quarantined] = []
    owners: dict[str, set[str]] = {}
    for row in rows:
        first = first_of.setdefault(row.voxel_hash, row)
        patients = owners.setdefault(row.voxel_hash, set())
        if row.patient in patients:
            detail = f"the same voxels as volume {first.id}"
            copies.append(Quarantined(row.source, row.path, "duplicate", detail))
            continue
        patients.add(row.patient)
        if first is not row:
            row = replace(row, id=_own_id(row, taken), duplicate_of=first.id)
        taken.add(row.id)
        kept.append(row)
    return kept, copies


def _own_id(row: Admitted, taken: set[str]) -> str:
    """Return an id for a copy; content alone would give it that of the first."""
    if row.id not in taken:
        return row.id
    return hashlib.sha256(f"{row.id}:{row.patient}".encode()).hexdigest()[:16]
