"""The same encoder for slices: for methods that look at a volume as a stack of images."""

from __future__ import annotations

from typing import Any

from medssl.encoders.base import Encoder, build_encoder
from medssl.errors import ConfigError

__all__ = ["planar_sibling"]


def planar_sibling(encoder: Encoder) -> Encoder:
    """Build the encoder of the same name and options for axial slices, with weights of its own.

    Args:
        encoder: One of volumes, made by :func:`~medssl.encoders.base.build_encoder`.

    Raises:
        ConfigError: If it is one of planar images, or was made in another way.

    Example:
        >>> encoder = build_encoder("vit_tiny", patch=(32, 32, 16), token=(8, 8, 4))
        >>> planar_sibling(encoder).strides[-1]
        (8, 8)
    """
    config = getattr(encoder, "config", None)
    if encoder.spatial_dims != 3 or config is None:
        raise ConfigError(
            f"slices are cut from volumes; the encoder sees {encoder.spatial_dims}D images"
            f"{'' if config is not None else ' and has no name'}; build a named encoder with a "
            "patch of three edges"
        )
    options: dict[str, Any] = {**config, "spatial_dims": 2}
    for name in ("patch", "token"):
        if isinstance(options.get(name), tuple | list):
            options[name] = tuple(options[name][:2])
    if options.get("stage_strides") is not None:
        options["stage_strides"] = tuple(tuple(each[:2]) for each in options["stage_strides"])
    return build_encoder(encoder.name, **options)
