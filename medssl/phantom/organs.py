"""The organs that carry a label, and the number of each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["ORGANS"]

ORGANS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "lung_right": 1,
        "lung_left": 2,
        "heart": 3,
        "aorta": 4,
        "vena_cava": 5,
        "liver": 6,
        "spleen": 7,
        "stomach": 8,
        "kidney_right": 9,
        "kidney_left": 10,
        "gallbladder": 11,
        "pancreas": 12,
        "bladder": 13,
        "vertebrae": 14,
        "ribs": 15,
        "pelvis": 16,
        "lesion": 17,
    }
)
"""Label value of each organ; 0 is everything else. Values are stable: new organs go to the end."""
