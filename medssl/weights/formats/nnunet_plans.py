"""What nnU-Net must know beside the tensors: adaptation plan, ``plans.json``, ``dataset.json``."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from medssl.encoders.base import ENCODERS
from medssl.encoders.primus import Primus
from medssl.encoders.resenc import ResidualEncoder
from medssl.errors import InputError
from medssl.store.recipe import Recipe
from medssl.types import Shape
from medssl.weights.formats.source import Source

__all__ = ["CLASS", "adaptation_plan", "dataset_file", "plans_file"]

CLASS = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
_IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]
_READER = "NibabelIOWithReorient"
"""nnU-Net's reader that brings axes to RAS first; its arrays are then our axes, last one first."""
_TOKEN = 8
_RESAMPLING = "resample_data_or_seg_to_shape"


def turned(values: Shape | tuple[float, ...]) -> list[Any]:
    """Return values along (x, y, z) in the order (z, y, x)."""
    return list(reversed(values))


def adaptation_plan(source: Source) -> dict[str, Any]:
    """Return ``nnssl_adaptation_plan``, which nnU-Net's pretrained trainer reads.

    Raises:
        InputError: If nnU-Net has no network of this kind.
    """
    name, arguments = _architecture(source)
    primus = isinstance(source.encoder, Primus)
    return {
        "architecture_plans": {
            "arch_class_name": name,
            "arch_kwargs": arguments,
            "arch_kwargs_requiring_import": None if arguments is None else _IMPORTED,
        },
        "pretrain_plan": _plans(source, None),
        "pretrain_num_input_channels": source.encoder.in_channels,
        "recommended_downstream_patchsize": turned(source.window),
        "pretrain_patch_size": turned(source.window),
        "key_to_encoder": "eva" if primus else "encoder.stages",
        "key_to_stem": "down_projection" if primus else "encoder.stem",
        "keys_to_in_proj": (
            ["down_projection.proj"]
            if primus
            else ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"]
        ),
        "key_to_lpe": "eva.pos_embed" if primus else None,
    }


def plans_file(source: Source) -> dict[str, Any]:
    """Return ``plans.json`` of a fine-tuned network.

    Raises:
        InputError: If the model keeps each scan's own voxel size, of which a plan has no notion.
    """
    return _plans(source, _architecture(source))


def dataset_file(source: Source) -> dict[str, Any]:
    """Return ``dataset.json`` of a fine-tuned network; its labels are numbered without gaps."""
    labels = {} if source.manifest.task is None else source.manifest.task.labels
    channel = "CT" if source.manifest.input.modality == "ct" else source.manifest.input.modality
    return {
        "channel_names": {str(i): channel for i in range(source.encoder.in_channels)},
        "labels": {"background": 0, **{name: i for i, name in enumerate(labels, start=1)}},
        "numTraining": source.manifest.training.volumes,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": _READER,
        "licence": source.manifest.licence.weights,
        "description": source.manifest.title,
    }


def _architecture(source: Source) -> tuple[str, dict[str, Any] | None]:
    encoder = source.encoder
    if isinstance(encoder, ResidualEncoder):
        return CLASS, _residual(encoder)
    if not isinstance(encoder, Primus):
        raise InputError(
            f'nnU-Net\'s pretrained trainer has no network like "{encoder.name}"; it reads '
            "the encoders resenc_* and primus_s to primus_l. Take --to monai-bundle or "
            "torch-export"
        )
    changed = set(encoder.config) & {"width", "depth", "heads", "mlp_ratio"}
    if changed or set(encoder.token) != {_TOKEN} or encoder.name not in ENCODERS:
        raise InputError(
            f'this "{encoder.name}" has other sizes than nnU-Net\'s: expected tokens of {_TOKEN} '
            f"voxels and no own {', '.join(sorted(changed)) or 'sizes'}; take --to torch-export"
        )
    return f"Primus{encoder.name.rpartition('_')[2].upper()}", None


def _residual(encoder: ResidualEncoder) -> dict[str, Any]:
    dims = encoder.spatial_dims
    strides = [encoder.strides[0]] + [
        tuple(b // a for a, b in zip(fine, coarse, strict=True))
        for fine, coarse in zip(encoder.strides, encoder.strides[1:], strict=False)
    ]
    stages = len(encoder.channels)
    return {
        "n_stages": stages,
        "features_per_stage": list(encoder.channels),
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [[3] * dims for _ in range(stages)],
        "strides": [turned(stride) for stride in strides],
        "n_blocks_per_stage": [
            len(cast(nn.Sequential, stage.get_submodule("blocks"))) for stage in encoder.stages
        ],
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _plans(source: Source, network: tuple[str, dict[str, Any] | None] | None) -> dict[str, Any]:
    recipe = Recipe.from_dict(source.manifest.input.recipe)
    dims = source.encoder.spatial_dims
    if recipe.spacing_mm is None and network is not None:
        raise InputError(
            "the model keeps the voxel size of each scan, and nnU-Net's plans.json needs one; "
            "fine-tune from a store with data.spacing_mm to hand the whole network over"
        )
    spacing = None if recipe.spacing_mm is None else turned(recipe.spacing_mm[:dims])
    unit = [1.0] * 3
    return {
        "dataset_name": "Dataset000_medssl",
        "plans_name": "medsslPlans",
        "original_median_spacing_after_transp": turned(recipe.spacing_mm or (1.0, 1.0, 1.0))
        if dims == 3
        else unit,
        "original_median_shape_after_transp": turned(source.window),
        "image_reader_writer": _READER,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "3d_fullres" if dims == 3 else "2d": _configuration(source, spacing, network)
        },
        "experiment_planner_used": "medssl",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(channel): _intensities(recipe) for channel in range(source.encoder.in_channels)
        },
    }


def _configuration(
    source: Source,
    spacing: list[float] | None,
    network: tuple[str, dict[str, Any] | None] | None,
) -> dict[str, Any]:
    is_ct = source.manifest.input.modality == "ct"
    channels = source.encoder.in_channels
    data = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    answer = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    made: dict[str, Any] = {
        "data_identifier": "medsslPlans",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": turned(source.window),
        "median_image_size_in_voxels": [float(edge) for edge in turned(source.window)],
        "spacing": spacing,
        "spacing_style": "medssl",
        "normalization_schemes": ["CTNormalization" if is_ct else "ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": _RESAMPLING,
        "resampling_fn_seg": _RESAMPLING,
        "resampling_fn_data_kwargs": data,
        "resampling_fn_seg_kwargs": {**answer, "is_seg": True},
        "resampling_fn_probabilities": _RESAMPLING,
        "resampling_fn_probabilities_kwargs": answer,
        "batch_dice": True,
    }
    if network is not None:
        made["architecture"] = {
            "network_class_name": network[0],
            "arch_kwargs": network[1],
            "_kw_requires_import": _IMPORTED,
        }
    return made


def _intensities(recipe: Recipe) -> dict[str, float]:
    """Return the figures with which nnU-Net's CT normalisation does what our window does."""
    low, high, floor = recipe.ct.low, recipe.ct.high, recipe.ct.floor
    centre = float(low) if floor == 0 else (low + high) / 2
    return {
        "min": float(low),
        "max": float(high),
        "percentile_00_5": float(low),
        "percentile_99_5": float(high),
        "mean": centre,
        "median": centre,
        "std": (high - low) / (1 - floor),
    }
