"""``configs/metadata.json`` and ``configs/inference.json`` of a bundle."""

from __future__ import annotations

import importlib.metadata
import math
from typing import Any

from medssl.weights.formats.monai_networks import MonaiNetwork
from medssl.weights.formats.preprocessing import intensity_and_grid
from medssl.weights.formats.source import Source

__all__ = ["SCHEMA", "inference", "metadata"]

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)

_RUN = {"run": ["$@write"]}


def metadata(source: Source) -> dict[str, Any]:
    """Return what ``python -m monai.bundle verify_metadata`` checks."""
    manifest = source.manifest
    what = manifest.task.name if manifest.task is not None else "features"
    labels = _classes(source)
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "handed over by medssl"},
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": importlib.metadata.version("torch").partition("+")[0],
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {
            name: importlib.metadata.version(name) for name in ("nibabel", "einops")
        },
        "name": manifest.title,
        "task": f"{what} of {manifest.input.modality} images",
        "description": f"{manifest.title}: {manifest.encoder.name}, trained by medssl "
        f"{manifest.medssl_version} with {manifest.training.method}.",
        "authors": manifest.licence.attribution or "not stated",
        "copyright": f"weights: {manifest.licence.weights}",
        "data_source": manifest.training.data,
        "data_type": "nibabel",
        "image_classes": f"{manifest.input.modality}, prepared as configs/inference.json says",
        "pred_classes": ", ".join(labels) if labels else "features",
        "intended_use": manifest.intended_use,
        "references": [manifest.origin.paper] if manifest.origin.paper else [],
        "network_data_format": {"inputs": {"image": _image(source)}, "outputs": _outputs(source)},
    }


def _classes(source: Source) -> list[str]:
    task = source.manifest.task
    if task is None:
        return []
    return list(task.classes) or ["background", *task.labels]


def _image(source: Source) -> dict[str, Any]:
    ct = source.manifest.input.modality == "ct"
    floor = source.manifest.input.recipe["ct"].get("floor", -1.0)
    channels = source.encoder.in_channels
    return {
        "type": "image",
        "format": "hounsfield" if ct else "magnitude",
        "modality": source.manifest.input.modality,
        "num_channels": channels,
        "spatial_shape": list(source.window),
        "dtype": "float32",
        "value_range": [floor, 1.0] if ct else [],
        "is_patch_data": True,
        "channel_def": {str(i): "image" for i in range(channels)},
    }


def _outputs(source: Source) -> dict[str, Any]:
    labels = _classes(source)
    if labels:
        return {
            "pred": {
                "type": "image" if source.task == "segmentation" else "probabilities",
                "format": str(source.task),
                "num_channels": len(labels),
                "spatial_shape": list(source.window) if source.task == "segmentation" else [],
                "dtype": "float32",
                "value_range": [],
                "is_patch_data": source.task == "segmentation",
                "channel_def": {str(i): name for i, name in enumerate(labels)},
            }
        }
    encoder = source.encoder
    return {
        name: {
            "type": "feature",
            "format": "feature",
            "num_channels": channels,
            "spatial_shape": [math.ceil(n / s) for n, s in zip(source.window, stride, strict=True)],
            "dtype": "float32",
            "value_range": [],
            "is_patch_data": True,
        }
        for name, channels, stride in zip(
            source.names, encoder.channels, encoder.strides, strict=True
        )
    }


def inference(source: Source, network: MonaiNetwork | None) -> dict[str, Any]:
    """Return the workflow from files to features, classes or masks.

    Args:
        source: What is handed over.
        network: MONAI's class for it, or none for a program.
    """
    return {
        "imports": ["$import glob", "$import os", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "images": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "window": list(source.window),
        **_network(network),
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(source)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @images]",
            "transform": "@preprocessing",
        },
        **_answering(source),
    }


def _network(network: MonaiNetwork | None) -> dict[str, Any]:
    if network is None:
        return {
            "network_def": {
                "_target_": "scripts.bundled.Program",
                "path": "$@bundle_root + '/models/model.pt2'",
                "device": "@device",
            },
            "network": "@network_def",
        }
    return {
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "network_def": {
            "_target_": "scripts.bundled.Features",
            "network": {"_target_": network.target, **network.arguments},
            "family": network.family,
            **network.reading,
        },
        "load": "$@network_def.network.load_state_dict(torch.load(@checkpoint, weights_only=True))",
        "network": "$(@load, @network_def.to(@device).eval())[1]",
    }


def _preprocessing(source: Source) -> list[dict[str, Any]]:
    return [
        {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
        {"_target_": "CopyItemsd", "keys": "image", "names": "source"},
        *intensity_and_grid(source),
    ]


def _answering(source: Source) -> dict[str, Any]:
    given = {name: f"@{name}" for name in ("dataset", "network", "window", "device")}
    if source.task != "segmentation":
        verb = "features" if source.task is None else "classes"
        target = f"scripts.bundled.write_{verb}"
        return {"write": {"_target_": target, **given, "output_dir": "@output_dir"}, **_RUN}
    values = [0, *(source.manifest.task.labels.values() if source.manifest.task else ())]
    steps = [
        {
            "_target_": "ResampleToMatchd",
            "keys": "pred",
            "key_dst": "source",
            "mode": "bilinear",
            "padding_mode": "border",
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {
            "_target_": "MapLabelValued",
            "keys": "pred",
            "orig_labels": list(range(len(values))),
            "target_labels": values,
        },
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "seg",
            "separate_folder": False,
            "resample": False,
            "output_dtype": f"$__import__('numpy').{'uint8' if max(values) < 256 else 'uint16'}",
        },
    ]
    target = "scripts.bundled.write_masks"
    return {
        "postprocessing": {"_target_": "Compose", "transforms": steps},
        "write": {"_target_": target, **given, "postprocessing": "@postprocessing"},
        **_RUN,
    }
