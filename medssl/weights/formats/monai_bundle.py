"""``monai-bundle``: from a scan to features or masks with MONAI and torch alone.

An encoder that is one of MONAI's classes comes as a state dict for that class. Everything else
comes as a program of ``torch.export``, for windows of the training crops.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from monai.bundle.config_parser import ConfigParser
from torch import Tensor

from medssl.weights.formats import bundled
from medssl.weights.formats.bundle_configs import inference, metadata
from medssl.weights.formats.monai_networks import MonaiNetwork, monai_network
from medssl.weights.formats.preprocessing import differences, mean_difference
from medssl.weights.formats.record import write_record
from medssl.weights.formats.source import Agreement, Source, compare
from medssl.weights.formats.torch_export import capture, save_program
from medssl.weights.pickled import load_pickled
from medssl.weights.state import load_state

__all__ = ["WEIGHTS", "write"]

WEIGHTS = "models/model.pt"
PROGRAM = "models/model.pt2"


def write(source: Source, folder: Path) -> Sequence[str]:
    """Write a bundle, build its network from its own configuration and compare.

    Raises:
        InputError: If there is neither a class of MONAI nor a program for this network.
        WeightsMismatchError: If the network of the bundle gives other numbers.
    """
    for name in ("configs", "models", "scripts", "docs"):
        (folder / name).mkdir()
    network = monai_network(source.encoder) if source.task is None else None
    if network is None:
        program, batches = capture(source)
        agreement = save_program(source, program, batches, folder / PROGRAM)
    else:
        torch.save(_state(source), folder / WEIGHTS)
        agreement = _check(source, network, folder / WEIGHTS)
    shutil.copyfile(Path(bundled.__file__), folder / "scripts" / "bundled.py")
    (folder / "scripts" / "__init__.py").write_text("", encoding="utf-8")
    _write_json(folder / "configs" / "metadata.json", metadata(source))
    _write_json(folder / "configs" / "inference.json", inference(source, network))
    licence = source.manifest.licence
    (folder / "LICENSE").write_text(
        f"Weights: {licence.weights}. Commercial use: {licence.commercial_use}.\n"
        f"Code in scripts/: {licence.code}.\n",
        encoding="utf-8",
    )
    gap = mean_difference(source)
    write_record(
        folder,
        source,
        "monai-bundle",
        use=_use(source, network),
        differences=[*differences(source, gap), *_limits(network)],
        agreement=agreement,
        facts={"preprocessing_mean_difference": gap},
    )
    shutil.copyfile(folder / "README.md", folder / "docs" / "README.md")
    return [_told(network, agreement), f"preprocessing differs by {gap:.2g} on average"]


def _state(source: Source) -> dict[str, Tensor]:
    return {name: t.detach().cpu().clone() for name, t in source.encoder.state_dict().items()}


def _check(source: Source, network: MonaiNetwork, path: Path) -> Agreement:
    definition = {"_target_": network.target, **network.arguments}
    with warnings.catch_warnings():
        # MONAI's sine positions ask torch for a grid in the way it will drop
        warnings.simplefilter("ignore", UserWarning)
        built = ConfigParser({"network": definition}).get_parsed_content("network")
    features = bundled.Features(built, network.family, **network.reading)
    load_state(features.network, load_pickled(path))
    features.eval()

    def outputs(images: Tensor) -> Sequence[Tensor]:
        return cast("Sequence[Tensor]", features(images))

    return compare(source, outputs, network.target.rpartition(".")[2], batches=(1, 2))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _told(network: MonaiNetwork | None, agreement: Agreement) -> str:
    what = (
        "a program of torch.export"
        if network is None
        else f"MONAI's {network.target.rpartition('.')[2]}"
    )
    return f"{what}, which agrees to {agreement.largest_relative_error:.1e} with the network"


def _limits(network: MonaiNetwork | None) -> list[str]:
    if network is None:
        return [
            "The network is a program for windows of one size; medssl reads a whole volume at once "
            "where it computes features, the bundle takes the mean over windows."
        ]
    return []


def _use(source: Source, network: MonaiNetwork | None) -> str:
    written = {None: "features.csv", "classification": "classes.csv"}.get(
        source.task, "a mask for each image"
    )
    text = f"""Put NIfTI files into `images/`, or name a folder. What is written: {written}.

```
cd THIS_FOLDER
python -m monai.bundle run --config_file configs/inference.json --dataset_dir SCANS --output_dir OUT
```

It needs torch, MONAI and nibabel; the command line of MONAI needs fire as well. Without it:

```python
from monai.bundle import ConfigWorkflow

workflow = ConfigWorkflow("configs/inference.json", workflow_type="infer", dataset_dir="SCANS")
workflow.initialize()
workflow.run()
```
"""
    if network is None:
        return text
    name = network.target.rpartition(".")[2]
    arguments = ", ".join(f"{key}={value!r}" for key, value in network.arguments.items())
    strict = ", strict=False" if network.family == "segresnet" else ""
    return f"""{text}
The tensors load into MONAI's own class unchanged:

```python
import torch
from {network.target.rpartition(".")[0]} import {name}

network = {name}({arguments})
network.load_state_dict(torch.load("{WEIGHTS}", weights_only=True){strict})
```
"""
