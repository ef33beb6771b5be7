"""The model zoo: which checkpoints are published, what each is, and under which terms.

The zoo holds no weights of others. It knows where their authors hand them out, what the file must
hash to, and what an input must look like.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import get_args

from medssl.errors import UnknownNameError
from medssl.registry import nearest
from medssl.weights.entry import Seen, ZooEntry, read_entry

__all__ = ["find_entry", "list_weights", "zoo_entries", "zoo_folder"]


def zoo_folder() -> Path:
    """Return the folder with ``manifests`` and ``cards``: inside the package, or the checkout's."""
    installed = Path(__file__).with_name("model_zoo")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "model_zoo"


@cache
def zoo_entries() -> dict[str, ZooEntry]:
    """Return every entry by its id, in alphabetical order.

    Raises:
        InputError: If one is not valid.
    """
    folder = zoo_folder() / "manifests"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): read_entry(path)
        for path in sorted(folder.glob("*/*.json"))
    }


def find_entry(name: str) -> ZooEntry:
    """Return the entry of an id.

    Raises:
        UnknownNameError: If there is none; the message names the one that comes closest.

    Example:
        >>> find_entry("voco/b-ssl").encoder
        'swin_base'
    """
    entries = zoo_entries()
    if name not in entries:
        close = nearest(name, entries).partition("Known:")[0]
        raise UnknownNameError(
            f'the zoo has no "{name}"; {close}`medssl weights list` shows what it has'
        )
    return entries[name]


def list_weights(
    *,
    modality: str | None = None,
    commercial_use: bool | None = None,
    encoder: str | None = None,
    spatial_dims: int | None = None,
    loadable: bool | None = None,
) -> list[str]:
    """Return the ids of published checkpoints that can be fetched by name.

    Args:
        modality: Only those trained on it: ``ct``, ``mr``, ``pt``, ``us``, ``xr``, ``photograph``.
        commercial_use: Only those whose licence is known to allow it, or to forbid it.
        encoder: Only those whose encoder's name begins so, such as ``swin`` or ``resnet50``.
        spatial_dims: Only those for volumes (3), or for images (2).
        loadable: Only those that ``load_encoder`` reads, or that it does not read yet.

    Raises:
        UnknownNameError: If no checkpoint could be of that modality.

    Example:
        >>> list_weights(modality="ct", commercial_use=True, encoder="unet")
        ['suprem/unet']
    """
    known = get_args(Seen)
    if modality is not None and modality not in known:
        raise UnknownNameError(f'no modality is called "{modality}"; {nearest(modality, known)}')
    return [
        name
        for name, entry in zoo_entries().items()
        if (modality is None or modality in entry.modalities)
        and (commercial_use is None or entry.licence.commercial_use is commercial_use)
        and (encoder is None or entry.encoder.startswith(encoder))
        and (spatial_dims is None or entry.spatial_dims == spatial_dims)
        and (loadable is None or entry.is_loadable is loadable)
    ]
