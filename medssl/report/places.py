"""Maps of where samplers look: thousands of draws over one volume, as colour over its anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from medssl.report.page import Page, Panel, Panels, Section
from medssl.report.panels import anatomy, grey_window
from medssl.sampling.body import block_mean
from medssl.sampling.counter import rng
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.partners import JointSampler
from medssl.sampling.places import Sampler
from medssl.store.store import Store
from medssl.types import Box, Place, Shape

__all__ = ["count_draws", "map_panels", "places_page", "store_panels"]

Counts = npt.NDArray[np.float64]

_VIEWS = ((1, "from the front"), (2, "from below"), (0, "from the side"))
"""Axis that is summed over, and what that view is called."""

_FAINT = 0.01

_MOST_CELLS = 128
"""A map of a run has at most so many cells along an axis, however large the volume."""

_BLUR_MM = 6.0
"""Ten thousand middles on a million voxels are dust; this much gathers them to a density."""


def count_draws(
    sampler: Sampler | JointSampler,
    facts: VolumeFacts,
    patch: Shape,
    *,
    draws: int,
    partner: VolumeFacts | None = None,
    seed: int = 0,
    cell: Shape | None = None,
) -> tuple[Counts, Counts]:
    """Count how often each voxel of a volume lay in a crop, and was the middle of one.

    Args:
        sampler: What draws.
        facts: The volume.
        patch: Voxels along each edge of a crop.
        draws: How many places.
        partner: The volume that a joint sampler is given first; its counts are of the second.
        seed: Of the draws.
        cell: Edges in voxels of the cells that are counted, for large volumes; none counts voxels.

    Returns:
        Crops that covered each voxel, and crops whose middle it was, both of the volume's shape.
    """
    cell = cell or (1,) * len(facts.shape)
    shape = tuple(-(-count // edge) for count, edge in zip(facts.shape, cell, strict=True))
    steps = np.zeros([count + 1 for count in shape])
    middles = np.zeros(shape)
    for number in range(draws):
        place = _draw(sampler, facts, partner, patch, rng(seed, number))
        for box in place.crops:
            start = np.add(box.start, place.region.start)
            low, high = start // cell, -(-(start + box.size) // cell)
            _add_corners(steps, Box(tuple(low), tuple(high - low)), shape)
            middle = start + np.array(box.size) // 2
            if (middle >= 0).all() and (middle < facts.shape).all():
                middles[tuple(middle // cell)] += 1
    for axis in range(steps.ndim):
        steps = np.cumsum(steps, axis=axis)
    return steps[tuple(slice(0, count) for count in shape)], middles


def _draw(
    sampler: Sampler | JointSampler,
    facts: VolumeFacts,
    partner: VolumeFacts | None,
    patch: Shape,
    generator: np.random.Generator,
) -> Place:
    if isinstance(sampler, JointSampler):
        return sampler.places([partner or facts, facts], patch, generator)[1]
    return sampler.place(facts, patch, generator)


def _add_corners(steps: Counts, box: Box, shape: Shape) -> None:
    """Add a box to counts that are summed up along every axis afterwards."""
    edges = [
        (min(max(int(start), 0), count), min(max(int(stop), 0), count))
        for start, stop, count in zip(box.start, box.stop, shape, strict=True)
    ]
    for corner in np.ndindex((2,) * len(edges)):
        at = tuple(edge[side] for edge, side in zip(edges, corner, strict=True))
        steps[at] += (-1) ** sum(corner)


def map_panels(
    image: npt.NDArray[np.floating],
    spacing_mm: Sequence[float],
    counts: Counts,
    *,
    title: str,
    caption: str = "",
    blur_mm: float = 0.0,
) -> Panels:
    """Show counts as colour over anatomy, from three sides.

    Args:
        image: ``(X, Y, Z)`` grey values of the volume.
        spacing_mm: Distance of voxel centres along each axis.
        counts: ``(X, Y, Z)``, as :func:`count_draws` returns them.
        title: What one sees.
        caption: What to look for.
        blur_mm: By how much counts are spread, where single voxels are hit by few.
    """
    panels: list[Panel] = []
    for axis, name in _VIEWS:
        others = [mm for other, mm in enumerate(spacing_mm) if other != axis]
        behind = image.mean(axis=axis)
        over = gaussian_filter(counts.sum(axis=axis), [blur_mm / mm for mm in others])
        painted = _painted(behind, over / max(float(over.max()), 1.0))
        panels.append(anatomy(painted, name, window=(0, 1), spacing_mm=others))
    return Panels(title, tuple(panels), caption, per_row=len(_VIEWS))


def _painted(behind: npt.NDArray[np.floating], share: Counts) -> npt.NDArray[np.uint8]:
    """Return a grey projection with colour over it, none where nothing was drawn."""
    low, high = grey_window([behind])
    grey = np.clip((behind - low) / max(high - low, 1e-6), 0, 1)[..., None]
    colour = mpl.colormaps["inferno"](share)[..., :3]
    strength = np.where(share > _FAINT, 0.25 + 0.6 * share, 0.0)[..., None]
    return np.asarray(255 * ((1 - strength) * grey + strength * colour), np.uint8)


def store_panels(
    store: Store, sampler: Sampler | JointSampler, patch: Shape, *, draws: int = 2_000
) -> Panels | None:
    """Show over one volume of a store where a run looks; none for stores of planar images.

    Args:
        store: Its first volume is shown, and lies beside its second for joint samplers.
        sampler: What draws.
        patch: Voxels along each edge of a crop.
        draws: How many places.
    """
    first, second = store.ids[0], store.ids[min(1, len(store) - 1)]
    facts = store.facts(first)
    if len(facts.shape) != 3:
        return None
    cell = tuple(-(-count // _MOST_CELLS) for count in facts.shape)
    image = block_mean(store.read(first, (0, 0, 0), facts.shape)[0], cell)
    partner = store.facts(second)
    covered, _ = count_draws(sampler, facts, patch, draws=draws, partner=partner, cell=cell)
    spacing_mm = [mm * edge for mm, edge in zip(facts.spacing_mm, cell, strict=True)]
    return map_panels(
        image,
        spacing_mm,
        covered,
        title="Voxels that crops cover",
        caption=f"{draws:,} draws over one volume of the store: bright where most crops lie, "
        "plain grey where none does.",
    )


def places_page(
    image: npt.NDArray[np.floating],
    facts: VolumeFacts,
    samplers: Mapping[str, tuple[Sampler | JointSampler, Shape, str]],
    *,
    draws: int = 10_000,
    partner: VolumeFacts | None = None,
) -> Page:
    """Return a page that shows what each of some samplers favours.

    Args:
        image: ``(X, Y, Z)`` grey values of the volume.
        facts: What samplers know of it.
        samplers: By name, a sampler, the patch it is asked for and a caption.
        draws: Places of each sampler.
        partner: For joint samplers, what is known of a volume of another patient.
    """
    sections = []
    for name, (sampler, patch, caption) in samplers.items():
        covered, middles = count_draws(sampler, facts, patch, draws=draws, partner=partner)
        crops = map_panels(
            image, facts.spacing_mm, covered, title="Voxels that crops cover", caption=caption
        )
        centres = map_panels(
            image, facts.spacing_mm, middles, title="Middles of crops", blur_mm=_BLUR_MM
        )
        sections.append(Section(name, (crops, centres)))
    return Page(
        kind="Sampling",
        title="Where crops come from",
        lead=f"{draws:,} places of each sampler over one volume. Bright yellow is where most crops "
        "lie in that picture, dark violet where few do, plain grey where none does.",
        sections=sections,
    )
