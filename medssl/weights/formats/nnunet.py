"""``nnunet``: a checkpoint with its plan, as nnU-Net's pretrained trainer reads it.

Layouts as in nnU-Net's ``like_nnssl`` and ``PretrainedTrainer``: ``network_weights`` beside
``nnssl_adaptation_plan``, read with ``weights_only=True``. A fine-tuned segmentation network whose
decoder is nnU-Net's too becomes a trained model folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from medssl.encoders.base import Encoder, build_encoder
from medssl.encoders.decoders import UNetDecoder
from medssl.encoders.primus import Primus
from medssl.encoders.resenc import ResidualEncoder
from medssl.weights.formats import nnunet_names as names
from medssl.weights.formats.nnunet_plans import adaptation_plan, dataset_file, plans_file
from medssl.weights.formats.record import write_record
from medssl.weights.formats.source import Agreement, Source, compare
from medssl.weights.pickled import load_pickled
from medssl.weights.state import load_state

__all__ = ["CHECKPOINT", "write"]

CHECKPOINT = "checkpoint_final.pth"
FOLD = "fold_all"


def write(source: Source, folder: Path) -> Sequence[str]:
    """Write ``checkpoint_final.pth`` and what belongs to it, read it again and compare.

    Raises:
        InputError: If nnU-Net has no network of this kind.
        WeightsMismatchError: If its network, filled by its rules, gives other features.
    """
    plan = adaptation_plan(source)
    whole = _whole(source)
    place = folder / FOLD if whole is None else folder
    if whole is None:
        place.mkdir()
        _write_json(folder / "plans.json", plans_file(source))
        _write_json(folder / "dataset.json", dataset_file(source))
    torch.save(_content(source, plan, is_whole=whole is None), place / CHECKPOINT)
    _write_json(folder / "adaptation_plan.json", plan)
    agreement = _check(source, place / CHECKPOINT, plan)
    notes = [] if whole in (None, "") else [f"The encoder alone is handed over: {whole}."]
    write_record(
        folder,
        source,
        "nnunet",
        use=_use(source, is_whole=whole is None),
        differences=[*notes, *_differences(source)],
        agreement=agreement,
        facts={"label_values": dict(source.manifest.task.labels) if source.manifest.task else {}},
    )
    told = "the whole network, with plans.json and dataset.json" if whole is None else "the encoder"
    return [f"{told} under nnU-Net's names, axes (z, y, x)", *notes]


def _whole(source: Source) -> str | None:
    """Return why the network can't be handed over whole; none if it can, empty for an encoder."""
    if source.task is None:
        return ""
    if source.task != "segmentation" or not isinstance(source.encoder, ResidualEncoder):
        return f"nnU-Net has no network that makes a {source.task} of {source.encoder.name}"
    if not names.is_their_decoder(source.network.head, source.encoder):
        return "the decoder has other widths than nnU-Net's"
    if source.manifest.input.recipe.get("spacing_mm") is None:
        return "the model keeps the voxel size of each scan, and plans.json needs one"
    return None


def _content(source: Source, plan: dict[str, Any], *, is_whole: bool) -> dict[str, Any]:
    encoder = source.encoder
    if isinstance(encoder, Primus):
        weights = names.primus_weights(encoder)
    elif is_whole:
        head = cast(UNetDecoder, source.network.head)
        weights = names.unet_weights(cast(ResidualEncoder, encoder), head)
    else:
        weights = names.residual_weights(cast(ResidualEncoder, encoder))
    configuration = next(iter(plan["pretrain_plan"]["configurations"]))
    return {
        "network_weights": {name: tensor.detach().cpu() for name, tensor in weights.items()},
        "nnssl_adaptation_plan": plan,
        "citations": [],
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": configuration, "fold": "all"},
        "inference_allowed_mirroring_axes": None,
    }


def _check(source: Source, path: Path, plan: dict[str, Any]) -> Agreement:
    """Fill a network for (z, y, x) by nnU-Net's rules, and compare on images turned that way."""
    weights: dict[str, Tensor] = load_pickled(path)["network_weights"]
    turned = _turned_encoder(source.encoder)
    prefixes = ("down_projection.", "eva.") if isinstance(turned, Primus) else ("encoder.",)
    found = {
        name.removeprefix("eva.").removeprefix("encoder."): tensor
        for name, tensor in weights.items()
        if name.startswith(prefixes) and ".all_modules." not in name
    }
    load_state(turned, found)
    turned = turned.eval().requires_grad_(False)
    axes = tuple(range(2, 2 + turned.spatial_dims))
    back = (0, 1, *reversed(axes))

    def features(images: Tensor) -> Sequence[Tensor]:
        return [maps.permute(back) for maps in turned(images.permute(back))]

    whole = Source(source.folder, source.manifest, source.encoder, source.encoder)
    return compare(whole, features, f"nnU-Net's {plan['key_to_encoder']}", batches=(1, 2))


def _turned_encoder(encoder: Encoder) -> Encoder:
    config = dict(encoder.config)
    for name in ("patch", "token"):
        if isinstance(config.get(name), list | tuple):
            config[name] = tuple(reversed(config[name]))
    if config.get("stage_strides") is not None:
        config["stage_strides"] = tuple(tuple(reversed(s)) for s in config["stage_strides"])
    if isinstance(encoder, Primus):
        config["second_axis_first"] = False
    return build_encoder(encoder.name, **config)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def _use(source: Source, *, is_whole: bool) -> str:
    if is_whole:
        configuration = "3d_fullres" if source.encoder.spatial_dims == 3 else "2d"
        return f"""Predict with nnU-Net, configuration `{configuration}`:

```
nnUNetv2_predict_from_modelfolder -i IMAGES -o MASKS -m THIS_FOLDER -f all
```

or fine-tune the encoder from `{FOLD}/{CHECKPOINT}` as below.

{_fine_tuning(f"{FOLD}/{CHECKPOINT}")}"""
    return _fine_tuning(CHECKPOINT)


def _fine_tuning(path: str) -> str:
    return f"""Fine-tune with nnU-Net's pretrained trainer:

```
nnUNetv2_preprocess_like_nnssl -d DATASET -n medssl -pc {path} -am like_pretrained
nnUNetv2_train_pretrained ...
```

nnU-Net reads arrays as (z, y, x); every kernel here is turned to that order. Store images in RAS+
or set `"overwrite_image_reader_writer": "NibabelIOWithReorient"` in `dataset.json`: nnU-Net's other
readers keep the axes of the file."""


def _differences(source: Source) -> list[str]:
    contract = source.manifest.input
    told = ["nnU-Net resamples by splines alone; medssl smooths axes that it makes coarser."]
    if contract.modality == "ct":
        told.append(
            "`nnUNetv2_preprocess_like_nnssl` sets ZScoreNormalization; the weights saw the window "
            "below, which CTNormalization with the figures in the plan is."
        )
    else:
        told.append(
            "nnU-Net's ZScoreNormalization takes mean and deviation of the whole image; medssl "
            "those of the body, after cutting outliers off."
        )
    told.append("nnU-Net surrounds small images with 0; medssl with their lowest value.")
    if isinstance(source.encoder, ResidualEncoder):
        told.append("Windows must be multiples of the coarsest stride in nnU-Net.")
    if isinstance(source.encoder, Primus):
        told.append(
            "For dynamic-network-architectures since 0.4, which takes the first axis first."
        )
    return told
