"""The formats that weights are handed over in: a name, what it is for, and the file that writes it.

A writer is ``write(source, folder)``: it fills an empty folder, proves what it wrote, and returns
sentences for people.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from medssl.errors import UnknownNameError
from medssl.registry import nearest
from medssl.weights.formats.source import Source

__all__ = ["FORMATS", "Writer", "writer"]

Writer = Callable[[Source, Path], Sequence[str]]

FORMATS: dict[str, tuple[str, str]] = {
    "medssl": ("own:write", "what load_encoder and load_model read"),
    "monai-bundle": ("monai_bundle:write", "a bundle that runs with MONAI and torch alone"),
    "nnunet": ("nnunet:write", "a checkpoint for nnU-Net's pretrained trainer"),
    "torch-export": ("torch_export:write", "a program that runs with torch alone"),
    "onnx": ("onnx:write", "a program for ONNX Runtime and what else reads ONNX"),
    "hub": ("hub:write", "the layout of the Hugging Face Hub"),
}
"""Each format's writer in this package, and what it gives."""


def writer(name: str) -> Writer:
    """Return the function that writes a format.

    Raises:
        UnknownNameError: If there is no such format.
    """
    if name not in FORMATS:
        raise UnknownNameError(f'no format is called "{name}"; {nearest(name, FORMATS)}')
    module, _, function = FORMATS[name][0].partition(":")
    found: Writer = getattr(importlib.import_module(f"medssl.weights.formats.{module}"), function)
    return found
