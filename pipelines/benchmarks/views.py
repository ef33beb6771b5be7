"""What views cost: each transform and preset against a training step, and MONAI's and TorchIO's.

    python pipelines/benchmarks/views.py                                  # a minute on two cores
    python pipelines/benchmarks/views.py --device cuda --patch 128 --batch 8
    python pipelines/benchmarks/views.py --pictures views.html            # and draw them

The step is a forward and a backward pass of method `mae_cnn`. A transform is done to every image of
the batch, a preset as often as it says. A round is one step and then each transform, ours and
theirs; the least of several rounds counts. TorchIO is measured where it is installed.
"""

import argparse
import importlib
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.transforms as monai
import numpy as np
import torch
from torch import Tensor

from medssl.encoders import build_encoder
from medssl.methods import MAECNN
from medssl.phantom import make_subject
from medssl.report.page import Page, Panels, Section
from medssl.report.panels import anatomy
from medssl.transforms import presets
from medssl.transforms.base import Transform
from medssl.transforms.corruption import CutMix, CutOut, InPaint, LocalShuffle, OutPaint
from medssl.transforms.crop import CropResize
from medssl.transforms.curves import Bezier, HistogramShift
from medssl.transforms.fourier import AmplitudeMix, BatchStyle, Gibbs
from medssl.transforms.intensity import (
    BiasField,
    Blur,
    Brightness,
    Contrast,
    Gamma,
    LowResolution,
    Noise,
    RicianNoise,
)
from medssl.transforms.spatial import Flip, Rotate90
from medssl.transforms.views import ViewRecipe
from medssl.transforms.warp import Affine, Deform, Elastic

Work = Callable[[], object]
TRANSFORMS: dict[str, Transform] = {
    type(transform).__name__: transform
    for transform in (
        Flip(axes=(1,)),
        Rotate90(),
        Affine(),
        Elastic(displacement_voxels=9.6),
        Deform(elastic=Elastic(displacement_voxels=9.6)),
        CropResize(),
        Gamma(exponent=(0.5, 2.0)),
        Brightness(shift=0.3),
        Contrast(factor=(0.5, 2.0)),
        HistogramShift(),
        Bezier(),
        Noise(sigma=(0.1, 0.2)),
        RicianNoise(sigma=(0.1, 0.2)),
        Blur(sigma_voxels=(1.0, 2.0)),
        LowResolution(factor=(2.0, 4.0)),
        Gibbs(cut=(0.5, 0.7)),
        BiasField(),
        CutOut(),
        InPaint(),
        OutPaint(),
        CutMix(),
        LocalShuffle(),
        AmplitudeMix(mix=(1.0, 1.0)),
        BatchStyle(),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--patch", type=int, default=64, help="edge of a crop in voxels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--encoder", help="by default resenc_l, and resenc_s on a CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", help="names of transforms and presets")
    parser.add_argument("--pictures", type=Path, help="HTML page to draw them on")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.pictures:
        picture_page(options.patch, options.only).write(options.pictures)
        print(f"pictures in {options.pictures}")
        return
    device = torch.device(options.device)
    shape = (options.batch, 1, *(options.patch,) * 3)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    encoder = options.encoder or ("resenc_s" if device.type == "cpu" else "resenc_l")
    step = training_step(encoder, images)
    print(f"torch {torch.__version__}, {device}, {tuple(shape)}, {encoder}")
    print(f"{'':26}{'ms':>9}{'of a step':>11}{'MONAI':>9}{'TorchIO':>9}  (times ours)")
    rows = everything(images, options.only)
    best = measure(step, rows, options.rounds, device)
    for name, works in rows.items():
        show(name, best["step", ""], {kind: best[name, kind] for kind in works})


def training_step(encoder: str, images: Tensor) -> Work:
    """Return a forward and backward pass, under bfloat16 as on a GPU that one trains with."""
    patch = tuple(images.shape[2:])
    method = MAECNN(encoder=build_encoder(encoder, patch=patch), patch=patch, mask_size=8)
    method.to(images.device)
    generator = torch.Generator(device=images.device).manual_seed(0)

    def step() -> None:
        method.zero_grad()
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            loss = method.loss([images], {}, generator)["loss"]
        loss.backward()

    return step


def everything(images: Tensor, only: list[str] | None) -> dict[str, dict[str, Work]]:
    """Return for each transform and preset what is to be timed, ours and that of others."""
    works = {name: {"ours": called(each, images)} for name, each in TRANSFORMS.items()}
    for name, work in monai_works(images).items():
        works[name]["MONAI"] = work
    for name, work in torchio_works(images).items():
        works[name]["TorchIO"] = work
    for name, preset in recipes(tuple(images.shape[2:])).items():
        works[name] = {"ours": called(preset, images)}
    return {name: work for name, work in works.items() if only is None or name in only}


def recipes(patch: tuple[int, ...]) -> dict[str, Transform | ViewRecipe]:
    half = tuple(edge // 2 for edge in patch)
    return {
        "gentle_geometry": presets.gentle_geometry(),
        "gentle_intensity": presets.gentle_intensity(),
        "strong_intensity ct": presets.strong_intensity(modality="ct"),
        "strong_intensity mr": presets.strong_intensity(modality="mr"),
        "segmentation mr": presets.segmentation_augmentation(),
        "genesis_corruption": presets.genesis_corruption(),
        "cut_out_corruption": presets.cut_out_corruption(),
        "two strong views": ViewRecipe.pair(presets.strong_intensity(modality="mr")),
        "multicrop 2 + 8": presets.multicrop_views(patch, half),
    }


def called(work: Transform | ViewRecipe, images: Tensor) -> Work:
    generator = torch.Generator().manual_seed(0)
    if isinstance(work, ViewRecipe):
        return lambda: work(images.unsqueeze(1), generator)
    return lambda: work(images, generator)


def monai_works(images: Tensor) -> dict[str, Work]:
    """Return MONAI's nearest transforms, which take one image after the other."""
    edge = images.shape[-1]
    always: dict[str, Any] = {"prob": 1.0}
    on_device: dict[str, Any] = {"prob": 1.0, "device": images.device}
    holes: dict[str, Any] = {
        "holes": 4, "spatial_size": edge // 6, "max_spatial_size": edge // 3, "prob": 1.0
    }  # fmt: skip
    theirs = {
        "Flip": monai.RandFlip(spatial_axis=1, **always),
        "Rotate90": monai.RandRotate90(**always),
        "Affine": monai.RandAffine(
            rotate_range=[0.26] * 3, scale_range=[0.2] * 3, padding_mode="border", **on_device
        ),
        "Deform": monai.Rand3DElastic(
            sigma_range=(5, 7), magnitude_range=(50, 150), rotate_range=[0.26] * 3,
            scale_range=[0.2] * 3, padding_mode="border", **on_device,
        ),
        "Gamma": monai.RandAdjustContrast(gamma=(0.5, 2.0), **always),
        "Brightness": monai.RandShiftIntensity(0.3, **always),
        "Contrast": monai.RandScaleIntensityFixedMean(
            factors=0.5, preserve_range=True, **always
        ),
        "HistogramShift": monai.RandHistogramShift(**always),
        "Noise": monai.RandGaussianNoise(std=0.2, **always),
        "RicianNoise": monai.RandRicianNoise(std=0.2, **always),
        "Blur": monai.RandGaussianSmooth((1, 2), (1, 2), (1, 2), **always),
        "LowResolution": monai.RandSimulateLowResolution(zoom_range=(0.25, 0.5), **on_device),
        "Gibbs": monai.RandGibbsNoise(alpha=(0.5, 0.7), **always),
        "BiasField": monai.RandBiasField(**always),
        "CutOut": monai.RandCoarseDropout(fill_value=0.0, **holes),
        "InPaint": monai.RandCoarseDropout(**holes),
        "OutPaint": monai.RandCoarseDropout(**{**holes, "dropout_holes": False}),
        "LocalShuffle": monai.RandCoarseShuffle(**{**holes, "spatial_size": edge // 10 + 1}),
    }  # fmt: skip
    return {name: each_image(transform, images) for name, transform in theirs.items()}


def torchio_works(images: Tensor) -> dict[str, Work]:
    """Return TorchIO's nearest transforms where it is installed; they run on the host."""
    try:
        torchio = importlib.import_module("torchio")
    except ImportError:
        return {}
    theirs = {
        "Flip": torchio.RandomFlip(axes=(1,)),
        "Affine": torchio.RandomAffine(scales=0.2, degrees=15),
        "Elastic": torchio.RandomElasticDeformation(),
        "Gamma": torchio.RandomGamma(),
        "Noise": torchio.RandomNoise(std=(0.1, 0.2)),
        "Blur": torchio.RandomBlur((1, 2)),
        "LowResolution": torchio.RandomAnisotropy(downsampling=(2, 4)),
        "BiasField": torchio.RandomBiasField(),
        "LocalShuffle": torchio.RandomSwap(),
    }
    on_host = images.cpu()
    return {name: each_image(transform, on_host) for name, transform in theirs.items()}


def each_image(transform: Callable[[Tensor], Tensor], images: Tensor) -> Work:
    def work() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, about types to come
            torch.stack([torch.as_tensor(transform(image)) for image in images])

    return work


def measure(
    step: Work, rows: dict[str, dict[str, Work]], rounds: int, device: torch.device
) -> dict[tuple[str, str], float]:
    """Return the least seconds of the step and of each row's work; the first round warms up."""
    turns = {("step", ""): step}
    turns |= {(name, kind): work for name, works in rows.items() for kind, work in works.items()}
    best = dict.fromkeys(turns, float("inf"))
    for number in range(rounds + 1):
        for turn, work in turns.items():
            waited = seconds(work, device)
            if number:
                best[turn] = min(best[turn], waited)
    return best


def seconds(work: Work, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def show(name: str, step: float, best: dict[str, float]) -> None:
    ours = best["ours"]
    ratios = {kind: f"{other / ours:.1f}" for kind, other in best.items()}
    line = f"{name:26}{ours * 1e3:9.2f}{ours / step:11.2%}"
    print(f"{line}{ratios.get('MONAI', '-'):>9}{ratios.get('TorchIO', '-'):>9}")


def picture_page(patch: int, only: list[str] | None = None) -> Page:
    """Return a page that shows what each transform and preset does to a CT and an MR phantom."""
    ct, mr = phantom("ct", patch), phantom("t1", patch)
    shown: dict[str, Transform | ViewRecipe] = {**TRANSFORMS, **recipes(tuple(ct.shape[2:]))}
    blocks = [
        pictures(name, each, ct, mr) for name, each in shown.items() if not only or name in only
    ]
    return Page(
        kind="Views",
        title="What each transform does",
        lead="The middle slice of a CT and of an MR phantom, then three draws of each.",
        sections=[Section("Transforms", tuple(blocks))],
    )


def phantom(modality: str, patch: int) -> Tensor:
    """Return two slabs of a phantom's middle, ``(2, 1, patch, patch, patch / 2)``."""
    crops = []
    spacing = (308.0 / patch, 308.0 / patch, 384.0 / (patch // 2))
    for seed in (1, 2):
        made = make_subject(
            seed, size=(patch * 4 // 3, patch, patch // 2), spacing_mm=spacing, modality=modality
        )
        image = torch.from_numpy(made.image)
        if modality == "ct":
            image = ((image + 175.0) / 212.5 - 1.0).clamp(-1.0, 1.0)
        else:
            image = (image - image[image > 0].mean()) / image.std()
        crops.append(image[patch // 6 : patch // 6 + patch])
    return torch.stack(crops).unsqueeze(1)


def pictures(name: str, work: Transform | ViewRecipe, ct: Tensor, mr: Tensor) -> Panels:
    panels = []
    for kind, images in (("CT", ct), ("MR", mr)):
        low, high = (-1.0, 1.0) if kind == "CT" else np.percentile(images, [0.5, 99.5])
        views = [images] + [draw(work, images, seed) for seed in (0, 1, 2)]
        for label, view in zip((f"{kind}, before", "", "", ""), views, strict=True):
            plane = view[0, 0, :, :, view.shape[-1] // 2].numpy()
            panels.append(anatomy(plane, label, window=(float(low), float(high))))
    return Panels(name, tuple(panels), per_row=8)


def draw(work: Transform | ViewRecipe, images: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(work, Transform):
        return work(images, generator)
    views = work(images.unsqueeze(1), generator)
    return views[seed % len(views)]


if __name__ == "__main__":
    main()
