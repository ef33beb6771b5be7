"""``onnx``: the network as a program that needs no torch."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from medssl.errors import InputError, UsageError
from medssl.weights.formats.record import contract_lines, write_record
from medssl.weights.formats.source import Agreement, Source, compare
from medssl.weights.formats.torch_export import capture

__all__ = ["FILE", "write"]

FILE = "model.onnx"
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_BYTES = 1_500_000_000
"""One ONNX file holds 2 GB; larger weights lie beside it."""


def write(source: Source, folder: Path) -> Sequence[str]:
    """Write ``model.onnx``, run it in ONNX Runtime, and say how far it lies from the network.

    Raises:
        UsageError: If the libraries of the extra ``export`` are not installed.
        InputError: If torch can't translate the network.
        WeightsMismatchError: If ONNX Runtime gives other numbers.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f'--to onnx needs {", ".join(missing)}: pip install "medssl[export]", or take '
            "--to torch-export"
        )
    program, batches = capture(source)
    _translate(source, program, folder / FILE)
    agreement = _check(source, folder / FILE, batches)
    dynamic = len(set(batches)) > 1
    write_record(
        folder,
        source,
        "onnx",
        use=_use(source),
        differences=[
            "The window is fixed to that of the training; larger images are read window by window.",
            "Preprocessing is not part of the program.",
            *([] if dynamic else ["The batch is fixed to one image."]),
        ],
        agreement=agreement,
        facts={"outputs": list(source.names), "dynamic_batch": dynamic},
    )
    return [
        f"{FILE} agrees to {agreement.largest_relative_error:.1e} in ONNX Runtime",
        "any batch size" if dynamic else "batches of one image only",
    ]


def _translate(source: Source, program: ExportedProgram, path: Path) -> None:
    try:
        with _quiet():
            torch.onnx.export(
                program,
                (source.probe(1),),
                path,
                dynamo=True,
                verbose=False,
                input_names=["image"],
                output_names=list(source.names),
                external_data=source.manifest.file.bytes > _LARGEST_BYTES,
            )
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f'"{source.manifest.encoder.name}" can\'t be written as ONNX by torch '
            f"{torch.__version__}: {first[:160]}; take --to torch-export"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter tells its developers away from users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _check(source: Source, path: Path, batches: Sequence[int]) -> Agreement:
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )

    def outputs(images: Tensor) -> Sequence[Tensor]:
        found = session.run(list(source.names), {"image": images.numpy()})
        return [torch.from_numpy(array) for array in found]

    return compare(source, outputs, path.name, batches=batches)


def _use(source: Source) -> str:
    shape = (1, source.encoder.in_channels, *source.window)
    called = "[logits]" if source.task is not None else "*maps, coarsest"
    return f"""{contract_lines(source)}

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{FILE}")
{called} = session.run(None, {{"image": np.zeros({shape}, np.float32)}})
```
"""
