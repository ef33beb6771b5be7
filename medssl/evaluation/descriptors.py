"""What an encoder sees at each place of every volume of a store, for finding like places later."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from medssl.encoders.base import Encoder
from medssl.errors import ConfigError, StoreError
from medssl.io.atomic import atomic_path, write_json
from medssl.sampling.body import spread_cells
from medssl.sampling.correspondence import Descriptors, descriptor_path
from medssl.sampling.facts import VolumeFacts
from medssl.store.store import Store
from medssl.types import Shape
from medssl.weights.load import find_export, load_encoder
from medssl.weights.manifest import read_manifest

__all__ = ["describe_volume", "write_descriptors"]

_MOST_CELLS = 2**17
"""Cells of the largest volume: at 300 features that is 160 MB while it is worked on."""


def write_descriptors(
    store: Store,
    weights: Path | str,
    *,
    name: str,
    levels: Sequence[int] | None = None,
    device: str = "cpu",
) -> Path:
    """Write the descriptors of every volume beside a store, ``STORE/descriptors/NAME/ID.npz``.

    What an earlier, interrupted call with the same weights wrote is kept.

    Args:
        store: The volumes; its recipe must be the one that the weights were trained on.
        weights: An export folder, or a run folder that holds one.
        name: What to call these descriptors.
        levels: Which of the encoder's maps to join, from 0, the finest; none takes all maps that
            are coarse enough for the largest volume.
        device: What to compute on.

    Returns:
        The folder.

    Raises:
        ConfigError: If weights and store do not suit each other, or the name is taken by others.
        StoreError: If a volume is damaged.
        OutputError: If a file can't be written.
    """
    encoder, preprocess = load_encoder(weights)
    shapes = [tuple(shape) for shape in store.table["shape"].to_pylist()]
    if preprocess.recipe != store.recipe or any(len(s) != encoder.spatial_dims for s in shapes):
        raise ConfigError(
            f'the store "{store.path.name}" is not what the weights were trained on '
            f"({encoder.spatial_dims}D images of recipe {preprocess.recipe.hash}, not of "
            f"{store.recipe.hash}); prepare it with the recipe of their manifest"
        )
    chosen = _levels(encoder, shapes) if levels is None else sorted(levels)
    about = {
        "weights_sha256": read_manifest(find_export(weights) / "manifest.json").file.sha256,
        "levels": list(chosen),
    }
    folder = store.path / "descriptors" / name
    _claim(folder, about)
    encoder = encoder.to(device)
    for volume in store.ids:
        if not _is_there(folder, volume):
            found = describe_volume(encoder, store, volume, preprocess.contract.patch, chosen)
            path = descriptor_path(folder, volume)
            with atomic_path(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, features=found.features, stride=np.array(found.stride))
    return folder


@torch.no_grad()
def describe_volume(
    encoder: Encoder, store: Store, volume: str, patch: Shape, levels: Sequence[int]
) -> Descriptors:
    """Return the descriptors of one volume.

    The volume is seen in tiles as large as the crops of the training, which overlap so that what is
    kept of each has context. Every feature gets mean 0 and deviation 1 over the body of the volume,
    which takes away what a scanner adds to all places alike; then every map counts as much as
    another.

    Args:
        encoder: What sees; in evaluation mode.
        store: Where the volume is.
        volume: Its name.
        patch: Edges of a tile in voxels.
        levels: Which of the encoder's maps to join, the finest first.
    """
    facts = store.facts(volume)
    stride = encoder.strides[levels[0]]
    grid = tuple(-(-count // edge) for count, edge in zip(facts.shape, stride, strict=True))
    device = next(encoder.parameters()).device
    whole = torch.zeros(sum(encoder.channels[level] for level in levels), *grid)
    for start, size, kept in _tiles(facts.shape, patch, encoder.strides[-1], stride):
        image = torch.from_numpy(store.read(volume, start, size))[None].to(device)
        maps = encoder(image)
        at = [slice(a // s, -(-b // s)) for (a, b), s in zip(kept, stride, strict=True)]
        inside = [
            slice(cells.start - a // s, cells.stop - a // s)
            for cells, a, s in zip(at, start, stride, strict=True)
        ]
        joined = _joined(maps, levels)[(slice(None), *inside)]
        whole[(slice(None), *at)] = joined.float().cpu()
    features = _alike_everywhere(whole, _body_cells(facts, stride, grid))
    parts = torch.split(features, [encoder.channels[level] for level in levels])
    joined = normalize(torch.cat([normalize(part, dim=0) for part in parts]), dim=0)
    return Descriptors(joined.numpy().astype(np.float16), tuple(stride))


def _joined(maps: Sequence[Tensor], levels: Sequence[int]) -> Tensor:
    """Return chosen maps of one image on the grid of the finest of them, ``(D, *grid)``."""
    size = maps[levels[0]].shape[2:]
    mode = "trilinear" if len(size) == 3 else "bilinear"
    return torch.cat(
        [interpolate(maps[n].float(), size=size, mode=mode, align_corners=False)[0] for n in levels]
    )


def _alike_everywhere(features: Tensor, body: Tensor) -> Tensor:
    """Return features with mean 0 and deviation 1 over the body."""
    inside = features[:, body]
    mean, deviation = inside.mean(dim=1), inside.std(dim=1, correction=0)
    shape = (-1, *(1,) * body.ndim)
    return (features - mean.view(shape)) / deviation.clamp_min(1e-6).view(shape)


def _body_cells(facts: VolumeFacts, stride: Shape, grid: Shape) -> Tensor:
    """Return which cells of a grid have their middle in the body; all if none has."""
    body = spread_cells(facts.occupancy, facts.cell, facts.shape)
    middles = [
        np.minimum(np.arange(count) * edge + edge // 2, end - 1)
        for count, edge, end in zip(grid, stride, facts.shape, strict=True)
    ]
    cells = body[np.ix_(*middles)]
    return torch.from_numpy(cells if cells.any() else np.ones_like(cells))


def _levels(encoder: Encoder, shapes: Sequence[Shape]) -> list[int]:
    """Return all maps whose grid on the largest volume is small enough; the coarsest at least."""
    fit = [
        level
        for level, stride in enumerate(encoder.strides)
        if all(np.prod(-(-np.array(shape) // stride)) <= _MOST_CELLS for shape in shapes)
        # The finest maps know edges and textures and nothing of places.
        and max(stride) >= 4
    ]
    return fit or [len(encoder.strides) - 1]


def _tiles(
    shape: Shape, patch: Shape, coarsest: Sequence[int], stride: Sequence[int]
) -> Iterator[tuple[Shape, Shape, list[tuple[int, int]]]]:
    """Yield first voxel and size of tiles that cover a volume, and what to keep of each.

    Tiles begin at multiples of the coarsest stride, so that the maps of all lie on one grid, and
    overlap by a quarter or more.
    """
    along = []
    for count, edge, step, cell in zip(shape, patch, coarsest, stride, strict=True):
        size = max(step, -(-edge // step) * step)
        stop = max(count - size, 0) + step
        starts = list(range(0, stop, max(step, (size - size // 4) // step * step)))
        if starts[-1] + size < count:
            starts.append(-(-(count - size) // step) * step)
        # Where two tiles overlap each keeps its half.
        seams = [
            (later + (size + former - later) // 2 // cell * cell)
            for former, later in itertools.pairwise(starts)
        ]
        kept = zip([0, *seams], [*seams, count], strict=True)
        along.append([(start, size, part) for start, part in zip(starts, kept, strict=True)])
    for tile in itertools.product(*along):
        starts_of, sizes, parts = zip(*tile, strict=True)
        yield starts_of, sizes, list(parts)


def _claim(folder: Path, about: dict[str, Any]) -> None:
    """Note what a folder of descriptors is made from, unless it is made from something else."""
    note = folder / "about.json"
    folder.mkdir(parents=True, exist_ok=True)
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")) != about:
        raise ConfigError(
            f'the descriptors "{folder.name}" of this store were made from other weights or maps; '
            "give another name, or remove the folder"
        )
    write_json(note, about)


def _is_there(folder: Path, volume: str) -> bool:
    """Say whether a volume's descriptors are written and whole."""
    try:
        Descriptors.read(folder, volume)
    except StoreError:
        return False
    return True
