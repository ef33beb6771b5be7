"""How a scanner sees the anatomy: CT, T1 and T2 magnetic resonance, and a radiograph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from scipy import ndimage

from medssl.phantom.canvas import Canvas
from medssl.phantom.noise import Array, SmoothField
from medssl.phantom.tissues import TISSUES

__all__ = ["Spacing", "ct", "mr", "plain_ct", "radiograph", "with_ct_noise", "with_mr_noise"]

Spacing = tuple[float, float, float]

_COARSE_MM: Final = 14.0
_FINE_MM: Final = 9.0
_BODY_HU: Final = -300.0
"""What is denser is not the air around the body."""
_WATER_PER_MM: Final = 0.020
"""Attenuation of water between 60 and 80 keV, from the tables of NIST XCOM."""


def ct(canvas: Canvas, generator: np.random.Generator) -> Array:
    """Return Hounsfield units before kernel and noise.

    A contrast agent is in the portal venous phase, and the subject lies on a table.
    """
    uptake = float(generator.uniform(0.8, 1.2))
    values = {name: tissue.hu + uptake * tissue.uptake for name, tissue in TISSUES.items()}
    image = _compose(canvas, values, texture=1.0)
    _add_table(image, canvas)
    return image


def plain_ct(canvas: Canvas) -> Array:
    """Return Hounsfield units alone, without contrast agent, table, kernel and noise."""
    return _compose(canvas, {name: tissue.hu for name, tissue in TISSUES.items()}, texture=1.0)


def with_ct_noise(image: Array, spacing_mm: Spacing, generator: np.random.Generator) -> Array:
    """Return the image through a reconstruction kernel, with the grain that back projection leaves.

    A sharp kernel keeps edges and takes low frequencies out of the noise; a soft one does the
    opposite.
    """
    sharpness = float(generator.uniform(0.0, 1.0))
    image = _blurred(image, 2.2 - 1.4 * sharpness, spacing_mm)
    grain = generator.standard_normal(image.shape, dtype=np.float32)
    neighbour = np.float32(0.4 - 0.55 * sharpness)
    for axis, share in enumerate((neighbour, neighbour, np.float32(0.25))):
        grain = ndimage.correlate1d(grain, [share, 1.0, share], axis=axis)
    grain *= np.float32(generator.uniform(6.0, 15.0) / max(float(grain.std()), 1e-6))
    # Fewer photons reach the middle of the body: noise is strongest there.
    x, y = (
        (np.arange(n) - (n - 1) / 2) * step / 210
        for n, step in zip(image.shape[:2], spacing_mm[:2], strict=True)
    )
    swell = 0.65 + 0.6 * np.exp(-(x[:, None] ** 2 + y[None, :] ** 2))
    grain *= swell[:, :, None].astype(np.float32)
    grain += image
    return np.maximum(grain, np.float32(-1024), out=grain)


def mr(canvas: Canvas, contrast: Literal["t1", "t2"], generator: np.random.Generator) -> Array:
    """Return the brightness of an echo before noise, under the uneven sensitivity of the coil."""
    rows = TISSUES.items()
    values = {name: tissue.t1 if contrast == "t1" else tissue.t2 for name, tissue in rows}
    image = _compose(canvas, values, texture=1.6e-3)
    coil = SmoothField.draw(generator, 240.0)(canvas.axes) * np.float32(
        generator.uniform(0.1, 0.25)
    )
    gain = np.float32(np.exp(generator.uniform(np.log(250), np.log(1200))))
    image *= np.exp(coil) * gain
    return np.maximum(image, 0, out=image)


def with_mr_noise(image: Array, spacing_mm: Spacing, generator: np.random.Generator) -> Array:
    """Return the magnitude of a signal with noise in both channels (Rice's distribution)."""
    image = _blurred(image, 1.6, spacing_mm)
    deviation = float(np.percentile(image[::2, ::2, ::2], 99)) * generator.uniform(0.012, 0.03)
    real, imaginary = generator.standard_normal((2, *image.shape), dtype=np.float32)
    real *= np.float32(deviation)
    real += image
    imaginary *= np.float32(deviation)
    magnitude: Array = np.sqrt(real * real + imaginary * imaginary)
    return magnitude


def radiograph(hu: Array, spacing_mm: Spacing, generator: np.random.Generator) -> Array:
    """Return a projection along y, from front to back, ``(X, Z)``; bone is bright, 0 to 4095.

    Args:
        hu: ``(X, Y, Z)`` in Hounsfield units.
        spacing_mm: Distance between voxels along each axis of ``hu``.
        generator: Random numbers of this exposure.
    """
    attenuation = np.maximum(hu * np.float32(1e-3) + 1, 0).sum(axis=1)
    path = attenuation * np.float32(_WATER_PER_MM * spacing_mm[1])
    photons = np.float32(np.exp(generator.uniform(np.log(2e4), np.log(1e5))))
    scatter = ndimage.gaussian_filter(np.exp(-path), [60 / spacing_mm[0], 60 / spacing_mm[2]])
    counts = generator.poisson(photons * (np.exp(-path) + 0.12 * scatter)).astype(np.float32)
    film = np.log(photons / np.maximum(counts, 1))
    # Detail is lifted out of the broad shades, as the processing of digital radiographs does.
    broad = ndimage.gaussian_filter(film, [28 / spacing_mm[0], 28 / spacing_mm[2]])
    film += np.float32(0.7) * (film - broad)
    shown: Array = np.clip(film * np.float32(620), 0, 4095)
    return shown


def _blurred(image: Array, width_mm: float, spacing_mm: Spacing) -> Array:
    """Return the image through a Gaussian of that width at half height, where voxels show it."""
    sigma = [width_mm / 2.355 / spacing for spacing in spacing_mm]
    sigma = [value if value > 0.25 else 0.0 for value in sigma]
    if not any(sigma):
        return image
    blurred: Array = ndimage.gaussian_filter(image, sigma, truncate=2.5)
    return blurred


def _compose(canvas: Canvas, values: Mapping[str, float], *, texture: float) -> Array:
    """Lay the tissues over each other, each with its own unevenness."""
    image: Array = np.full(canvas.shape, values["air"], np.float32)
    coarse = canvas.field("unevenness", _COARSE_MM)
    fine = canvas.field("grain", _FINE_MM)
    for layer in canvas.layers:
        tissue = TISSUES[layer.tissue]
        beneath = image[layer.box]
        change = np.float32(values[layer.tissue]) - beneath
        if tissue.coarse:
            change += coarse[layer.box] * np.float32(tissue.coarse * texture)
        if tissue.fine:
            change += fine[layer.box] * np.float32(tissue.fine * texture)
        change *= layer.cover
        beneath += change
    return image


def _add_table(image: Array, canvas: Canvas) -> None:
    """Add the hollow, slightly bent shell of a table under the back, where nothing else lies."""
    x, y = canvas.axes[0][:, None], canvas.axes[1][None, :]
    rows = np.flatnonzero((image > _BODY_HU).any(axis=(0, 2)))
    back = float(y[0, rows[0]]) if rows.size else float(y[0, 0])
    depth = back - 4 + (x / 44) ** 2 * np.float32(0.8) - y
    shell = np.clip(0.5 + (2.0 - np.abs(np.abs(depth - 11) - 10)) / canvas.edge_mm, 0, 1)
    foam = np.clip(0.5 + (10 - np.abs(depth - 11)) / canvas.edge_mm, 0, 1)
    side = np.clip((225 - np.abs(x)) / 8, 0, 1)
    hu = (side * np.maximum(foam * 60, shell * 960) - 1000).astype(np.float32)
    np.maximum(image, hu[:, :, None], out=image)
