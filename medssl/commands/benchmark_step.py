"""``medssl benchmark step``: what a training step of a recipe costs on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.commands.progress import plain_console
from medssl.errors import UsageError

if TYPE_CHECKING:
    import torch

    from medssl.methods.base import Method
    from medssl.training.trainer import RunSettings
    from medssl.types import Batch

__all__ = ["StepCost", "measure_step", "step"]

RATE_ROUNDS = 3
CONVOLUTIONS = ("convolution",)
"""What torch's counter of operations calls those that are no products of matrices."""


@dataclass(frozen=True)
class StepCost:
    """One optimiser step of one device: views, forward, backward, update.

    Attributes:
        seconds: Of a step, the fastest of all.
        views: Seconds of it for making the views.
        encoder: Seconds that forward and backward of the encoder alone would take on as many crops.
        flops: Floating point operations of products and convolutions, forward and backward.
        floor: Seconds that these would take at the measured rates of a large product and a large
            convolution.
        memory_bytes: Most memory of the device on a GPU, of the process elsewhere.
        crops: Crops that a step sees.
    """

    seconds: float
    views: float
    encoder: float
    flops: float
    floor: float
    memory_bytes: int
    crops: int

    @property
    def share_of_floor(self) -> float:
        """The part of a step that nothing could save: floor over seconds."""
        return self.floor / self.seconds


def step(
    *,
    config: Path | Mapping[str, Any],
    steps: int = 5,
    overrides: Sequence[str] | Mapping[str, Any] = (),
) -> StepCost:
    """Measure time and memory of a training step of a recipe, on made-up volumes.

    The floor is what the step's products of matrices and convolutions would take at the rates that
    this machine reaches for large ones; normalisation, activations, views and whatever else moves
    memory is not in it.

    Args:
        config: A file of ``pipelines/pretrain``, or its content.
        steps: Steps that are timed, after one that warms up.
        overrides: Values that differ from the file, by dotted name.

    Returns:
        The cost of a step.

    Raises:
        ConfigError: If a key or value of the configuration is wrong.
        UsageError: If fewer than one step is asked for.

    Example:
        medssl benchmark step --config pipelines/pretrain/mae_ct_cpu.yaml --steps 3
    """
    if steps < 1:
        raise UsageError(f"--steps is {steps}; expected at least 1")
    configuration = load_configuration(config, overrides, pretrain_sections())
    from medssl.commands.pretrain import build_method

    settings = configuration.run_settings()
    method = build_method(configuration, settings)
    cost = measure_step(method, settings, steps=steps)
    console = plain_console()
    for line in describe(cost, method.name, method.encoder.name):
        console.print(line)
    return cost


def describe(cost: StepCost, method: str, encoder: str) -> list[str]:
    """Return lines that tell what was measured."""
    return [
        f"{method} on {encoder}, {cost.crops} crops a step",
        f"step     {cost.seconds:8.3f} s    {cost.crops / cost.seconds:.2f} crops/s",
        f"views    {cost.views:8.3f} s    {cost.views / cost.seconds:.0%} of it",
        f"encoder  {cost.encoder:8.3f} s    alone, forward and backward on the same crops",
        f"floor    {cost.floor:8.3f} s    {cost.share_of_floor:.0%} of the step; "
        f"{cost.flops / 1e9:.1f} GFLOP",
        f"memory   {cost.memory_bytes / 1e9:8.2f} GB",
    ]


def measure_step(method: Method, settings: RunSettings, *, steps: int = 5) -> StepCost:
    """Take some training steps of a method and return what one costs.

    Args:
        method: What is trained.
        settings: Its data, optimiser and trainer sections.
        steps: Steps that are timed, after one that warms up.
    """
    import torch
    from lightning.fabric.utilities import move_data_to_device
    from torch.utils.flop_counter import FlopCounterMode

    from medssl.training.module import batch_generator
    from medssl.training.optim import build_optimizer
    from medssl.training.trainer import choose_precision, device_of

    kind = device_of(settings.trainer.accelerator)
    chosen = torch.device(kind)
    if settings.trainer.threads:
        torch.set_num_threads(settings.trainer.threads)
    precision = choose_precision(settings.trainer.precision, kind)
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    batch = move_data_to_device(_batch(method, settings), chosen)
    method.to(chosen).train()
    optimizer = build_optimizer(method, method.encoder, settings.optim)
    images: list[torch.Tensor] = []

    def make_views() -> None:
        images[:] = method.make_views(batch, batch_generator(0, 0, chosen))

    def take() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(chosen.type, half, enabled=half is not None):
            loss = method.compute_losses(batch, batch_generator(0, 0, chosen))["loss"]
        torch.autograd.backward(loss)
        optimizer.step()

    def encode() -> None:
        method.zero_grad(set_to_none=True)
        with torch.autocast(chosen.type, half, enabled=half is not None):
            maps = [m for crops in alike for m in method.encoder(crops)]
        torch.autograd.backward(torch.stack([m.float().mean() for m in maps]).sum())

    with FlopCounterMode(display=False) as counter:
        take()
    counts = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    views = _fastest(make_views, steps, chosen)
    alike = [
        torch.cat([view for view in images if view.shape[1:] == shape])
        for shape in dict.fromkeys(view.shape[1:] for view in images)
    ]
    seconds = _fastest(take, steps, chosen)
    memory = _memory_bytes(chosen)
    return StepCost(
        seconds=seconds,
        views=views,
        encoder=_fastest(encode, steps, chosen),
        flops=float(sum(counts.values())),
        floor=_floor(counts, method.encoder.spatial_dims, chosen, half),
        memory_bytes=memory,
        crops=sum(len(view) for view in images),
    )


def _batch(method: Method, settings: RunSettings) -> Batch:
    """Cut a batch from volumes of noise, as the loader cuts it from a store."""
    from medssl.commands.made_up import MadeUpStore
    from medssl.training.datamodules import CropDataset, collate
    from medssl.training.labelled import WithLabelled

    count = settings.data.batch + 1
    store = MadeUpStore(settings.data.patch, count=count, labels=method.classes)
    crops = CropDataset(store, store.ids, method.places(), settings.data.patch, seed=0)
    samples = WithLabelled(crops, store) if method.classes else crops
    return collate([samples[number] for number in range(settings.data.batch)])


def _fastest(work: Callable[[], None], times: int, device: torch.device) -> float:
    """Return the seconds of the fastest of some calls, after one that warms up."""
    import torch

    best = float("inf")
    for number in range(times + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number:
            best = min(best, time.perf_counter() - start)
    return best


def _memory_bytes(device: torch.device) -> int:
    import resource

    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _floor(
    counts: Mapping[str, float], dims: int, device: torch.device, half: torch.dtype | None
) -> float:
    """Return the seconds that so many operations take at the best rate of their kind."""
    convolved = sum(n for name, n in counts.items() if any(c in name for c in CONVOLUTIONS))
    multiplied = sum(counts.values()) - convolved
    product, convolution = _rates(dims, device, half)
    return multiplied / product + convolved / convolution


def _rates(dims: int, device: torch.device, half: torch.dtype | None) -> tuple[float, float]:
    """Return operations a second of a large product of matrices and of a large convolution."""
    import torch
    import torch.nn.functional as F

    dtype = half or torch.float32
    large = 8192 if device.type == "cuda" else 1536
    left = torch.randn(large, large, device=device, dtype=dtype)
    edge, channels = (48, 64) if dims == 3 else (224, 64)
    layout: Any = torch.channels_last_3d if dims == 3 else torch.channels_last
    image = torch.randn(1, channels, *(edge,) * dims, device=device, dtype=dtype)
    image = image.to(memory_format=layout)
    kernel = torch.randn(channels, channels, *(3,) * dims, device=device, dtype=dtype)
    kernel = kernel.to(memory_format=layout)
    convolve = F.conv3d if dims == 3 else F.conv2d

    def multiply() -> None:
        torch.mm(left, left)

    def run_convolution() -> None:
        convolve(image, kernel, padding=1)

    product = 2 * large**3 / _fastest(multiply, RATE_ROUNDS, device)
    operations = 2 * channels**2 * 3**dims * edge**dims
    return product, operations / _fastest(run_convolution, RATE_ROUNDS, device)
