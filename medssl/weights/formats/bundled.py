"""What a bundle does beside MONAI's own classes.

The file is copied into every bundle as ``scripts/bundled.py`` and needs torch and MONAI alone.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SlidingWindowInferer
from torch import Tensor, nn

__all__ = ["Features", "Program", "robust_z", "write_classes", "write_features", "write_masks"]

Maps = tuple[Tensor, ...]
AT_ONCE = 4
"""Windows or slices in one pass of the network."""


class Features(nn.Module):
    """The maps of features of one of MONAI's networks, finest first; weights load into ``network``.

    Args:
        network: ``SwinTransformer``, ``ResNet``, ``SegResNet``, ``SegResEncoder`` or ``ViT``.
        family: Which of them: ``swin``, ``resnet``, ``segresnet``, ``segresnet_ds``, ``vit``.
        taken: Of a ViT: the blocks whose output is a map.
        token: Of a ViT: edges of a token in voxels.
        normalise: Of a Swin: whether maps leave through a layer norm without weights.
    """

    reads_any_size = True

    def __init__(
        self,
        network: nn.Module,
        family: str,
        *,
        taken: Sequence[int] = (),
        token: Sequence[int] = (),
        normalise: bool = True,
    ) -> None:
        super().__init__()
        if family == "segresnet":
            # the decoder has no pretrained weights
            network.up_layers, network.up_samples = nn.ModuleList(), nn.ModuleList()
            network.conv_final = nn.Identity()
        self.network = network
        self.family = family
        self.taken = tuple(taken)
        self.token = tuple(token)
        self.normalise = normalise
        self.reads_any_size = family != "vit"

    def forward(self, image: Tensor) -> Maps:
        """Return the maps of ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``."""
        network = cast(Any, self.network)
        if self.family == "swin":
            return tuple(network(image, normalize=self.normalise))
        if self.family == "resnet":
            return self._stages(network, image)
        if self.family == "segresnet":
            return tuple(network.encode(image)[1])
        if self.family == "segresnet_ds":
            return tuple(network(image))
        last, hidden = network(image)
        tokens = [*(hidden[index] for index in self.taken[:-1]), last]
        grid = [size // edge for size, edge in zip(image.shape[2:], self.token, strict=True)]
        return tuple(t.transpose(1, 2).reshape(len(t), -1, *grid) for t in tokens)

    def _stages(self, network: Any, image: Tensor) -> Maps:
        x = network.act(network.bn1(network.conv1(image)))
        maps = [x]
        x = x if network.no_max_pool else network.maxpool(x)
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            x = stage(x)
            maps.append(x)
        return tuple(maps)


class Program(nn.Module):
    """A network saved by ``torch.export``, for windows of one size.

    Args:
        path: The ``.pt2`` file.
        device: Where it runs.
    """

    reads_any_size = False

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        super().__init__()
        program = torch.export.load(path)
        if torch.device(device).type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, torch.device(device))
        # its graph is in evaluation mode for good, and refuses to be told so
        self.run: list[Callable[[Tensor], Any]] = [program.module()]

    def forward(self, image: Tensor) -> Any:
        """Return logits, or a tuple of maps, of ``(B, C, *window)``."""
        return self.run[0](image)


def robust_z(image: Tensor) -> Tensor:
    """Cut outliers off, then give what is brighter than the mean a mean of 0 and a deviation of 1.

    Args:
        image: ``(C, X, Y, Z)`` or ``(C, X, Y)``, any unit.
    """
    values = image.float()
    body = values[values > values.mean()]
    body = (values if body.numel() == 0 else body).flatten()
    body = body[:: max(1, body.numel() // 1_000_000)]
    low, high = torch.quantile(body, torch.tensor([0.005, 0.995]).to(body)).tolist()
    low = min(low, float(values.min()))
    body = body.clamp(low, high)
    return (values.clamp(low, high) - body.mean()) / body.std().clamp_min(1e-6)


def pad(images: Tensor, window: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Surround images that are smaller than the window with their own lowest value.

    Args:
        images: ``(n, C, …)``.
        window: Least size along each axis.

    Returns:
        The images, and where the given ones lie in them.
    """
    widths: list[int] = []
    inside: list[slice] = []
    for size, edge in zip(images.shape[2:], window, strict=True):
        missing = max(0, edge - size)
        before = missing - missing // 2
        widths = [before, missing - before, *widths]
        inside.append(slice(before, before + size))
    return F.pad(images, widths, value=float(images.min())), tuple(inside)


def stack(image: Tensor, window: Sequence[int]) -> Tensor:
    """Return one image, or all slices of a volume for a network of slices, ``(n, C, …)``."""
    if len(window) == image.ndim - 1:
        return image.unsqueeze(0)
    return image.movedim(-1, 0)


def windows_of(images: Tensor, window: Sequence[int]) -> Iterable[Tensor]:
    """Yield the fewest windows that cover images, evenly spread, some at a time."""
    starts = []
    for size, edge in zip(images.shape[2:], window, strict=True):
        count = -(-size // edge)
        starts.append([round(n * (size - edge) / max(count - 1, 1)) for n in range(count)])
    for place in itertools.product(*starts):
        cut = tuple(slice(a, a + edge) for a, edge in zip(place, window, strict=True))
        yield from torch.split(images[(slice(None), slice(None), *cut)], AT_ONCE)


@torch.no_grad()
def vector_of(network: nn.Module, image: Tensor, window: Sequence[int]) -> Tensor:
    """Return the mean of the coarsest map over an image, ``(D,)``.

    Args:
        network: :class:`Features` or :class:`Program`.
        image: ``(C, …)``, prepared.
        window: Edges of the training crops; what a program reads at once.
    """
    images, _ = pad(stack(image, window), window)
    whole = bool(network.reads_any_size)
    parts = torch.split(images, AT_ONCE) if whole else windows_of(images, window)
    return torch.cat([network(part)[-1].flatten(2).mean(dim=2) for part in parts]).mean(dim=0)


def write_features(
    dataset: Iterable[Mapping[str, Any]],
    network: nn.Module,
    window: Sequence[int],
    output_dir: str,
    device: str | torch.device = "cpu",
) -> str:
    """Write one row of features an image into ``features.csv``, and return its path.

    Args:
        dataset: Items with ``image`` (prepared) and ``source`` (as read).
        network: :class:`Features` or :class:`Program`.
        window: Edges of the training crops.
        output_dir: Made if it is not there.
        device: Where the network is.
    """
    rows = [
        (_name(item), vector_of(network, _plain(item["image"], device), window).tolist())
        for item in dataset
    ]
    return _write_table(output_dir, "features.csv", rows)


@torch.no_grad()
def write_classes(
    dataset: Iterable[Mapping[str, Any]],
    network: nn.Module,
    window: Sequence[int],
    output_dir: str,
    device: str | torch.device = "cpu",
) -> str:
    """Write the probability of each class into ``classes.csv``; as :func:`write_features`."""
    rows = []
    for item in dataset:
        images, _ = pad(stack(_plain(item["image"], device), window), window)
        parts = [network(part).softmax(dim=1) for part in windows_of(images, window)]
        rows.append((_name(item), torch.cat(parts).mean(dim=0).tolist()))
    return _write_table(output_dir, "classes.csv", rows)


@torch.no_grad()
def write_masks(
    dataset: Iterable[Mapping[str, Any]],
    network: nn.Module,
    window: Sequence[int],
    postprocessing: Callable[[dict[str, Any]], Any],
    device: str | torch.device = "cpu",
) -> int:
    """Answer for each voxel of each image, and hand probabilities on to the postprocessing.

    Args:
        dataset: Items with ``image`` (prepared) and ``source`` (as read).
        network: Logits of windows.
        window: Edges of a window.
        postprocessing: From ``pred`` and ``source`` to files.
        device: Where the network is.

    Returns:
        How many images there were.
    """
    inferer = SlidingWindowInferer(window, sw_batch_size=2, overlap=0.5, mode="gaussian")
    count = 0
    for count, item in enumerate(dataset, start=1):  # noqa: B007 - it is what comes back
        image = item["image"]
        images, inside = pad(stack(_plain(image, device), window), window)
        parts = [
            cast(Tensor, inferer(part, network)).softmax(dim=1)[(slice(None),) * 2 + inside]
            for part in torch.split(images, 1)
        ]
        answer = torch.cat(parts)
        answer = answer[0] if len(window) == image.ndim - 1 else answer.movedim(0, -1)
        meta = image.meta if isinstance(image, MetaTensor) else None
        postprocessing({**item, "pred": MetaTensor(answer.cpu(), meta=dict(meta or {}))})
    return count


def _plain(image: Tensor, device: str | torch.device) -> Tensor:
    return (image.as_tensor() if isinstance(image, MetaTensor) else image).float().to(device)


def _name(item: Mapping[str, Any]) -> str:
    return Path(str(item["source"].meta["filename_or_obj"])).name


def _write_table(folder: str, name: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *range(len(rows[0][1]) if rows else 0)])
        writer.writerows([label, *(f"{value:.9g}" for value in values)] for label, values in rows)
    return str(path)
