"""Random numbers for parameters: each comes from a generator that is passed in."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["host_generator", "log_uniform", "noise_like", "partners", "seeds", "uniform"]


def uniform(
    size: int | tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Draw float32 numbers between ``low`` and ``high`` on the generator's device."""
    shape = (size,) if isinstance(size, int) else size
    unit = torch.rand(shape, generator=generator, device=generator.device)
    return low + (high - low) * unit


def log_uniform(
    size: int | tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Draw factors between ``low`` and ``high``, as often halved as doubled."""
    return uniform(size, math.log(low), math.log(high), generator).exp()


def host_generator(generator: torch.Generator) -> torch.Generator:
    """Return a generator on the CPU, fed by ``generator`` if that lives on another device.

    Parameters are a few numbers an image: drawn on the host they cost one wait for the device a
    call, in place of one for each decision that depends on them.
    """
    if generator.device.type == "cpu":
        return generator
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed))


def seeds(batch: int, generator: torch.Generator) -> Tensor:
    """Draw a seed an image, for noise that is too large to be kept among parameters."""
    return torch.randint(2**62, (batch,), generator=generator, device=generator.device)


def noise_like(
    images: Tensor, drawn: Tensor, kind: Literal["normal", "uniform", "integer"]
) -> Tensor:
    """Return the noise that belongs to the seeds, the same each time on the same kind of device.

    Args:
        images: What the noise is shaped like, ``(B, ...)``.
        drawn: From :func:`seeds`, on the host.
        kind: Standard normal; uniform from 0 to 1; or whole numbers below ``2**31``.
    """
    source = torch.Generator(device=images.device)
    noise = torch.empty_like(images)
    for own, seed in zip(noise, drawn.tolist(), strict=True):
        source.manual_seed(seed)
        if kind == "normal":
            own.normal_(generator=source)
        elif kind == "uniform":
            own.uniform_(generator=source)
        else:
            own.random_(2**31, generator=source)
    return noise


def partners(batch: int, generator: torch.Generator) -> Tensor:
    """Draw for each image another one of its batch; itself if it is alone."""
    if batch == 1:
        return torch.zeros(1, dtype=torch.long, device=generator.device)
    device = generator.device
    ahead = torch.randint(1, batch, (batch,), generator=generator, device=device)
    return (torch.arange(batch, device=device) + ahead) % batch
