"""Where samplers look: maps of 10,000 draws over a phantom, and what a draw costs.

    python pipelines/benchmarks/samplers.py --out samplers.html          # about a minute

Writes a page with one map a sampler, and prints for each how long a draw takes, how much body its
crops hold, and which share of them has its middle in each tissue. Reading is not measured here, see
crops.py.
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from medssl.phantom import make_subject
from medssl.report.places import count_draws, places_page
from medssl.sampling import (
    Body,
    Corresponding,
    Grid,
    JointSampler,
    LabelBalanced,
    Pairs,
    PartWhole,
    Sampler,
    SlicePosition,
    Slices,
    Tissue,
    Uniform,
    VolumeFacts,
    rng,
)
from medssl.sampling.share import body_share
from medssl.store.note import facts_of
from medssl.store.recipe import Recipe
from medssl.types import Box, Volume

SIZE, SPACING_MM = (128, 128, 160), (3.0, 3.0, 3.0)
PATCH = (32, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("samplers.html"))
    parser.add_argument("--picture", type=Path, help="also all maps from the front in one PNG")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the phantom")
    options = parser.parse_args()
    (image, facts), (_, partner) = (subject(options.seed + n) for n in range(2))
    chosen = samplers()
    for name, (sampler, patch, _) in chosen.items():
        show(name, sampler, patch, facts, partner, number=min(2000, options.draws))
    page = places_page(image, facts, chosen, draws=options.draws, partner=partner)
    page.write(options.out)
    if options.picture:
        draw(image, facts, partner, chosen, options)
    print(f"maps of {options.draws} draws in {options.out}")


def subject(seed: int) -> tuple[np.ndarray, VolumeFacts]:
    """Return a phantom and what a store would know of it."""
    made = make_subject(seed, size=SIZE, spacing_mm=SPACING_MM, modality="ct")
    volume = Volume(np.rint(made.image).astype(np.int16), made.affine, "ct")
    prepared = Recipe().apply(volume)
    return prepared.data, facts_of(prepared, made.labels)


def samplers() -> dict:
    """Return each sampler with the patch it is asked for and what to look for."""
    flat = PATCH[:2]
    return {
        "Uniform": (Uniform(), PATCH, "Every position alike: the middle of the scan is covered by "
                    "most, and air by as many as body."),
        "Body, half of a crop": (Body(share=0.5), PATCH, "No crop is mostly air."),
        "Body, nine tenths": (Body(share=0.9), PATCH, "Crops keep away from the skin."),
        "Tissue": (Tissue(), PATCH, "Lungs, fat and bone are looked at as often as soft tissue."),
        "Label-balanced": (LabelBalanced(foreground=1.0), PATCH, "Every organ alike: small ones "
                           "shine."),
        "Grid": (Grid(grid=(3, 3, 1), crops=4), PATCH, "Base crops tile a window on the body."),
        "Overlapping pairs": (Pairs(iou=(0.25, 0.75)), PATCH, "Both crops of a pair."),
        "Part and whole": (PartWhole(), PATCH, "A box of 64 and its eight octants."),
        "Slices along any axis": (Slices(Body(), axis=(0, 1, 2)), flat, "Planar crops."),
        "Slices by position": (Slices(SlicePosition(partitions=4)), flat, "Each quarter of the "
                               "body's length as often as any other."),
        "Corresponding": (Corresponding(jitter=0.1), PATCH, "The second crop, by body coordinates "
                          "of the first in another patient."),
    }  # fmt: skip


def draw(
    image: np.ndarray,
    facts: VolumeFacts,
    partner: VolumeFacts,
    chosen: dict,
    options: argparse.Namespace,
) -> None:
    """Write the voxels that crops of each sampler cover, seen from the front, as one picture."""
    figure, axes = plt.subplots(2, 6, figsize=(10, 4.6), layout="constrained")
    for axis, (name, (sampler, patch, _)) in zip(axes.flat, chosen.items(), strict=False):
        covered, _ = count_draws(sampler, facts, patch, draws=options.draws, partner=partner)
        axis.imshow(image.mean(axis=1).T, cmap="gray", origin="lower")
        over = covered.sum(axis=1).T
        alpha = np.where(over > 0.01 * over.max(), 0.25 + 0.5 * over / over.max(), 0.0)
        axis.imshow(over, cmap="inferno", alpha=alpha, origin="lower")
        axis.set_title(name, fontsize=8)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(options.picture, dpi=90)


def show(
    name: str,
    sampler: Sampler | JointSampler,
    patch: tuple,
    facts: VolumeFacts,
    partner: VolumeFacts,
    *,
    number: int,
) -> None:
    """Print cost and aim of one sampler."""
    start = time.perf_counter()
    for index in range(number):
        if isinstance(sampler, JointSampler):
            sampler.places([facts, partner], patch, rng(0, index))
        else:
            sampler.place(facts, patch, rng(0, index))
    cost = (time.perf_counter() - start) / number
    _, middles = count_draws(sampler, facts, patch, draws=number, partner=partner)
    cells = np.stack(np.nonzero(middles), axis=1)
    weights = middles[tuple(cells.T)]
    tissues = facts.tissue[tuple((cells // facts.cell).T)]
    shares = np.bincount(tissues, weights=weights, minlength=5) / weights.sum()
    told = ", ".join(
        f"{label} {share:.2f}"
        for label, share in zip(("outside", *facts.tissue_names), shares, strict=True)
    )
    body = [
        body_share(facts, Box(tuple(np.subtract(cell, 16).tolist()), (32, 32, 32)))
        for cell in cells[:500]
    ]
    print(f"{name:24} {1e6 * cost:6.0f} us a draw   body {np.mean(body):.2f}   {told}")


if __name__ == "__main__":
    main()
