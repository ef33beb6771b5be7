"""``torch-export``: the network as a program that torch runs without its source."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from medssl.errors import InputError
from medssl.weights.formats.record import contract_lines, write_record
from medssl.weights.formats.source import Agreement, Source, compare

__all__ = ["PROGRAM", "capture", "check_program", "save_program", "write"]

PROGRAM = "model.pt2"


def write(source: Source, folder: Path) -> Sequence[str]:
    """Write ``model.pt2``, run it beside the network, and say how far they lie apart.

    Raises:
        InputError: If torch can't turn the network into a program.
        WeightsMismatchError: If the program gives other numbers.
    """
    program, batches = capture(source)
    agreement = save_program(source, program, batches, folder / PROGRAM)
    dynamic = len(set(batches)) > 1
    write_record(
        folder,
        source,
        "torch-export",
        use=_use(source),
        differences=_differences(dynamic=dynamic),
        agreement=agreement,
        facts={"outputs": list(source.names), "dynamic_batch": dynamic},
    )
    return [
        f"{PROGRAM} agrees to {agreement.largest_relative_error:.1e} with the network",
        "any batch size" if dynamic else "batches of one image only",
    ]


def capture(source: Source) -> tuple[ExportedProgram, tuple[int, ...]]:
    """Return the network as a program for windows of its training crops.

    Returns:
        The program, and batch sizes to try it with: several where the batch may vary.

    Raises:
        InputError: If torch can't.
    """
    network = source.outputs()
    with contextlib.suppress(Exception):  # any network, any error: a fixed batch is the next thing
        shapes = {"image": {0: Dim("batch", min=1)}}
        return torch.export.export(network, (source.probe(2),), dynamic_shapes=shapes), (1, 3)
    try:
        return torch.export.export(network, (source.probe(1),)), (1, 1)
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f'"{source.manifest.encoder.name}" can\'t be turned into a program by torch '
            f"{torch.__version__}: {first[:160]}; take --to medssl or --to monai-bundle"
        ) from error


def save_program(
    source: Source, program: ExportedProgram, batches: Sequence[int], path: Path
) -> Agreement:
    """Save a program, load it again and compare it with the network.

    Args:
        source: The network.
        program: What :func:`capture` returned.
        batches: Likewise.
        path: Ends in ``.pt2``.

    Raises:
        WeightsMismatchError: If it gives other numbers.
    """
    torch.export.save(program, path)
    return check_program(source, path, batches)


def check_program(source: Source, path: Path, batches: Sequence[int]) -> Agreement:
    """Load a program and compare it with the network.

    Args:
        source: The network.
        path: Ends in ``.pt2``.
        batches: How many images to send at once, one number for each trial.

    Raises:
        WeightsMismatchError: If it gives other numbers.
    """
    run = torch.export.load(path).module()

    def outputs(images: Tensor) -> Sequence[Tensor]:
        found = run(images)
        return (found,) if isinstance(found, Tensor) else cast("Sequence[Tensor]", found)

    return compare(source, outputs, path.name, batches=batches)


def _use(source: Source) -> str:
    called = "logits" if source.task is not None else "*maps, coarsest"
    then = "" if source.task is not None else "vector = coarsest.flatten(2).mean(dim=2)\n"
    shape = (1, source.encoder.in_channels, *source.window)
    return f"""{contract_lines(source)}

```python
import torch

run = torch.export.load("{PROGRAM}").module()
{called} = run(torch.zeros{shape})
{then}```
"""


def _differences(*, dynamic: bool) -> list[str]:
    return [
        "The window is fixed to that of the training; larger images are read window by window.",
        "Preprocessing is not part of the program.",
        *([] if dynamic else ["The batch is fixed to one image."]),
    ]
