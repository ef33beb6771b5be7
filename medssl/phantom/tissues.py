"""What each tissue looks like: Hounsfield units, T1 and T2 brightness, and how uneven it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["TISSUES", "Tissue"]


@dataclass(frozen=True)
class Tissue:
    """One row of the table.

    Attributes:
        hu: Hounsfield units without contrast agent.
        uptake: Hounsfield units that an injected contrast agent adds in the portal venous phase.
        t1: Brightness of a T1-weighted spoiled gradient echo, fat = 1.
        t2: Brightness of a T2-weighted turbo spin echo, water = 1.
        coarse: Amplitude of the unevenness at 14 mm: Hounsfield units; for MR a thousandth of them.
        fine: The same at 9 mm.
    """

    hu: float
    uptake: float
    t1: float
    t2: float
    coarse: float = 0.0
    fine: float = 0.0


# Typical values; MR in the order of the relaxation times of de Bazelaire et al., Radiology 2004.
TISSUES: Final[Mapping[str, Tissue]] = {
    "air": Tissue(-1000, 0, 0.0, 0.0),
    "gas": Tissue(-960, 0, 0.01, 0.01),
    "skin": Tissue(40, 15, 0.45, 0.25),
    "fat": Tissue(-104, 0, 1.0, 0.60, coarse=4, fine=7),
    "visceral_fat": Tissue(-98, 0, 0.92, 0.56, coarse=7, fine=9),
    "muscle": Tissue(52, 12, 0.40, 0.14, coarse=8, fine=13),
    "cartilage": Tissue(105, 0, 0.36, 0.28, fine=22),
    "cortical_bone": Tissue(820, 0, 0.07, 0.04, coarse=60, fine=60),
    "spongy_bone": Tissue(185, 0, 0.66, 0.40, coarse=35, fine=60),
    "disc": Tissue(82, 0, 0.36, 0.62, fine=8),
    "spinal_fluid": Tissue(14, 0, 0.16, 0.98),
    "spinal_cord": Tissue(38, 4, 0.50, 0.36),
    "lung": Tissue(-862, 5, 0.04, 0.05, coarse=18, fine=16),
    "vessel": Tissue(40, 120, 0.15, 0.10),
    "blood": Tissue(42, 145, 0.13, 0.09, fine=3),
    "venous_blood": Tissue(42, 110, 0.15, 0.12, fine=3),
    "heart_muscle": Tissue(48, 62, 0.42, 0.24, fine=6),
    "liver": Tissue(58, 48, 0.56, 0.21, coarse=3, fine=4),
    "liver_vessel": Tissue(42, 112, 0.34, 0.28),
    "bile": Tissue(9, 0, 0.18, 0.95),
    "spleen": Tissue(48, 66, 0.34, 0.42, coarse=3, fine=4),
    "pancreas": Tissue(36, 55, 0.60, 0.30, coarse=9, fine=26),
    "kidney_cortex": Tissue(34, 135, 0.46, 0.46, fine=5),
    "kidney_medulla": Tissue(30, 95, 0.34, 0.60, fine=5),
    "urine": Tissue(6, 8, 0.15, 1.0),
    "bowel_wall": Tissue(42, 42, 0.42, 0.30, fine=8),
    "bowel_content": Tissue(20, 8, 0.30, 0.75, coarse=14, fine=22),
    "stool": Tissue(5, 0, 0.48, 0.34, coarse=45, fine=85),
    "liver_lesion": Tissue(34, 4, 0.30, 0.48, fine=9),
    "lung_lesion": Tissue(38, 26, 0.42, 0.46, fine=12),
}
