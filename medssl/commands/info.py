"""``medssl info``: what this installation has and what this machine can do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil

from rich.table import Table

from medssl.commands.progress import plain_console
from medssl.io.cache import cache_folder

__all__ = ["info"]

SHOWN_PACKAGES = (
    "medssl", "torch", "lightning", "monai", "numpy", "nibabel", "SimpleITK", "pydicom", "blosc2",
    "safetensors", "pyarrow", "scikit-learn",
)  # fmt: skip

SYNTAXES = {
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
    "RLE": "1.2.840.10008.1.2.5",
}
"""Compressed DICOM transfer syntaxes that hospitals send."""


def info(*, methods: bool = False, encoders: bool = False) -> dict[str, dict[str, str]]:
    """Show versions, devices, codecs and the cache folder.

    Args:
        methods: Also list the methods of pretraining with what each learns from.
        encoders: Also list the encoders with what one crop of 96 voxels cubed costs: parameters,
            operations, and memory that a training step keeps (at most, in single precision).

    Returns:
        What was shown, by section.

    Example:
        medssl info --methods --encoders
    """
    sections = {
        "versions": _versions(),
        "devices": _devices(),
        "DICOM codecs": _codecs(),
        "folders": _folders(),
    }
    if methods:
        sections["methods"] = _methods()
    if encoders:
        sections["encoders"] = _encoders()
    console = plain_console()
    for title, rows in sections.items():
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name, value in rows.items():
            table.add_row(f"  {name}", value)
        console.print(table)
    return sections


def _methods() -> dict[str, str]:
    from medssl.methods import list_methods
    from medssl.methods.base import lesson

    return {name: lesson(name) for name in list_methods()}


def _versions() -> dict[str, str]:
    found = {"python": f"{platform.python_version()} on {platform.system()} {platform.machine()}"}
    for name in SHOWN_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _devices() -> dict[str, str]:
    import torch

    from medssl.training.trainer import bfloat16_pays

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = {"cpu": f"{cores} cores, {torch.backends.cpu.get_cpu_capability()}, {_memory()}"}
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        rows[f"cuda:{index}"] = f"{device.name}, {device.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        rows["mps"] = "Apple GPU"
    pays = bfloat16_pays("cuda" if torch.cuda.is_available() else "cpu")
    rows["bfloat16"] = "pays" if pays else "does not pay; float32 is used"
    return rows


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "memory unknown"
    return f"{total / 2**30:.0f} GiB"


def _codecs() -> dict[str, str]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    rows = {}
    for name, uid in SYNTAXES.items():
        decoder = get_decoder(UID(uid))
        able = sorted(decoder.available_plugins) if decoder.is_available else []
        rows[name] = f"yes ({', '.join(able)})" if able else "no; pip install 'medssl[dicom]'"
    return rows


def _folders() -> dict[str, str]:
    cache = cache_folder()
    here = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(here).free / 2**30
    state = "" if cache.exists() else ", not made yet"
    return {"cache": f"{cache} ({free:.0f} GiB free{state})"}


def _encoders() -> dict[str, str]:
    from medssl.encoders.base import list_encoders

    return {name: encoder_line(name) for name in list_encoders()}


def encoder_line(name: str) -> str:
    """Return what an encoder costs for one crop of 96 voxels cubed, in words."""
    from medssl.encoders.cost import encoder_cost

    cost = encoder_cost(name, patch=(96, 96, 96))
    return (
        f"{cost.parameters / 1e6:.1f} M parameters, {cost.operations / 1e9:.0f} GFLOP, "
        f"{cost.activation_bytes / 1e9:.2f} GB of activations, {cost.features} features at "
        + "x".join(map(str, cost.stride))
    )
