"""What made an image, where its file does not say: neighbours, names, values. Never a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.types import Modality

__all__ = ["Surroundings", "is_mask", "is_suspect_ct", "modality_from_values"]

_WORDS: dict[str, Modality] = {
    **dict.fromkeys(("ct", "cta", "cect", "ncct", "cbct"), "ct"),
    **dict.fromkeys(("mr", "mri", "t1w", "t2w", "t1gd", "t1ce", "t1c", "flair", "pdw"), "mr"),
    **dict.fromkeys(("t2star", "t2s", "dwi", "adc", "bold", "swi", "inplanet2", "pdt2"), "mr"),
    **dict.fromkeys(("pet", "pt", "suv"), "pt"),
    **dict.fromkeys(("us", "ultrasound"), "us"),
    **dict.fromkeys(("cr", "dx", "mg", "cxr", "xray", "xr"), "xr"),
}
_WORDS_OF_MASKS = {"seg", "label", "labels", "mask", "masks", "gt", "labelstr", "labelsts"}
_MOST_LABELS = 255
_SPLIT = re.compile(r"[^a-z0-9]+")


class Surroundings:
    """What the files beside an image, its name and its folders say of it; the nearest wins.

    Args:
        root: The source.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[Path, Mapping[str, Any]] = {}

    def modality(self, path: PurePosixPath) -> Modality:
        """Return the modality of an image.

        Args:
            path: The image, relative to the root.
        """
        sidecar = (self.root / path).with_name(path.name.split(".", 1)[0] + ".json")
        declared = self._json(sidecar).get("Modality")
        if isinstance(declared, str) and _from_words([declared]) != "unknown":
            return _from_words([declared])
        for folder in (self.root / path).parents:
            dataset = self._json(folder / "dataset.json")
            if dataset:
                return _from_dataset(dataset, path)
            if folder == self.root:
                break
        for part in (path.name.split(".", 1)[0], *reversed(path.parent.parts)):
            found = _from_words(_SPLIT.split(part.lower()))
            if found != "unknown":
                return found
        return "unknown"

    def _json(self, path: Path) -> Mapping[str, Any]:
        """Return a small JSON file's content; nothing where there is none or something else."""
        if path not in self._read:
            try:
                value = json.loads(path.read_bytes())
            except (OSError, ValueError):
                value = {}
            self._read[path] = value if isinstance(value, dict) else {}
        return self._read[path]


def modality_from_values(data: npt.NDArray[Any]) -> Modality:
    """Return ``ct`` where whole numbers reach down to the air of Hounsfield units."""
    low, high = float(data.min()), float(data.max())
    whole = np.issubdtype(data.dtype, np.integer)
    reaches_air = whole and -4096 <= low <= -950 and 100 <= high <= 32767
    if reaches_air and float(np.mean((data > -150) & (data < 250))) > 0.01:
        return "ct"
    return "unknown"


def is_suspect_ct(data: npt.NDArray[Any]) -> bool:
    """Say whether values that are said to be CT lack air and bone: scaled or shifted, perhaps."""
    return float(data.min()) > -200 or float(data.max()) < 50


def is_mask(data: npt.NDArray[Any], path: PurePosixPath) -> bool:
    """Say whether an image is a label mask: few whole numbers from zero on, and named like one.

    Whole numbers 0 and 1 alone are a mask whatever the name.
    """
    sample = data if data.size <= 2**22 else data.ravel()[:: data.size // 2**22]
    low, high = float(data.min()), float(data.max())
    if low < 0 or high > _MOST_LABELS or not np.array_equal(sample, np.rint(sample)):
        return False
    if high <= 1:
        return True
    words = {word for part in path.parts for word in _SPLIT.split(part.lower())}
    return bool(words & _WORDS_OF_MASKS) or bool(re.search("seg|label|mask", path.name.lower()))


def _from_words(words: Iterable[str]) -> Modality:
    for word in words:
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
    return "unknown"


def _from_dataset(dataset: Mapping[str, Any], path: PurePosixPath) -> Modality:
    """Return the modality of a channel in a Decathlon or nnU-Net ``dataset.json``."""
    channels = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(channels, dict) or not channels:
        return "unknown"
    number = re.search(r"_(\d{4})$", path.name.split(".", 1)[0])
    channel = str(int(number.group(1))) if number else "0"
    name = channels.get(channel, next(iter(channels.values())))
    return _from_words(_SPLIT.split(str(name).lower()))
