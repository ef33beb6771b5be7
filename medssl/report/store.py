"""What training will see: crops of a store, as they are read."""

from __future__ import annotations

from medssl.report.advice import MODALITIES
from medssl.report.numbers import edges
from medssl.report.page import Block, Panel, Panels
from medssl.report.panels import anatomy, grey_window
from medssl.sampling.body import Body
from medssl.sampling.counter import rng
from medssl.store.store import Store
from medssl.types import Shape

__all__ = ["sample_crops"]


def sample_crops(
    store: Store, patch: Shape, *, number: int = 10, seed: int = 0
) -> tuple[Block, ...]:
    """Show the middle slices of crops drawn as pretraining draws them.

    Args:
        store: Where they are read.
        patch: Edges of a crop in voxels.
        number: How many to show; volumes are taken in turn.
        seed: Of the draws.
    """
    panels: list[Panel] = []
    sampler = Body()
    for index in range(number):
        volume = store.ids[index % len(store.ids)]
        place = sampler.place(store.facts(volume), patch, rng(seed, index))
        box = place.crops[0]
        start = tuple(a + b for a, b in zip(place.region.start, box.start, strict=True))
        crop = store.read(volume, start, box.size)[0]
        row = store.row(volume)
        plane = crop[..., crop.shape[2] // 2] if crop.ndim == 3 else crop
        modality = str(row["modality"])
        panels.append(
            anatomy(
                plane,
                MODALITIES.get(modality, modality),
                # CT has one scale for all; elsewhere the same tissue differs from scan to scan.
                window=(-1.0, 1.0) if modality == "ct" else grey_window([plane]),
                spacing_mm=row["spacing_mm"][:2],
            )
        )
    size = edges(patch)
    caption = f"Axial slices through the middle of crops of {size} voxels, after normalisation."
    return (Panels("Crops as training reads them", tuple(panels), caption, per_row=5),)
