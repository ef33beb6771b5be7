"""SparK training step: visible cells alone against masking after every convolution, in one run.

    python pipelines/benchmarks/spark_step.py                          # a minute on two cores
    python pipelines/benchmarks/spark_step.py --encoder resenc_l --patch 96

Forward and backward in float32, turn by turn: A B A B; same weights, same decoder, same masks. Then
our step against its floor: the convolutions that it can't do without, at the rate at which this
machine multiplies matrices.
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders import build_encoder
from medssl.encoders.base import upsample_mask
from medssl.encoders.convolution import InstanceNorm
from medssl.encoders.sparse import VisibleBlocks
from medssl.losses.reconstruction import masked_mse
from medssl.methods import SparK

TRANSPOSED = nn.ConvTranspose2d | nn.ConvTranspose3d
PLAIN = nn.Conv2d | nn.Conv3d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--encoder", default="resenc_s")
    parser.add_argument("--patch", type=int, default=64, help="edge of the crop in voxels")
    parser.add_argument("--cell", type=int, default=16, help="edge of a hidden cube in voxels")
    parser.add_argument("--ratio", type=float, default=0.75, help="share that is hidden")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    patch = (options.patch,) * 3
    encoder = build_encoder(options.encoder, patch=patch)
    method = SparK(encoder=encoder, patch=patch, mask_size=options.cell, mask_ratio=options.ratio)
    volume = torch.randn(options.batch, 1, *patch)
    ours = step_of(method, volume)
    if options.profile:
        profile(ours)
        return
    masked = copy.deepcopy(method)
    theirs = step_of(masked, volume, MaskAfterEach(masked).rebuild)
    flops = count_flops(masked, theirs), count_flops(method, ours)
    show(measure(theirs, ours, options.rounds), *flops)


def step_of(
    method: SparK,
    volume: Tensor,
    rebuild: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor, Tensor]] | None = None,
) -> Callable[[], None]:
    """Return one forward and backward pass."""
    generator = torch.Generator().manual_seed(0)
    rebuild = rebuild or method.rebuild

    def step() -> None:
        method.zero_grad()
        masked_mse(*rebuild(volume, generator)).backward()

    return step


class MaskAfterEach:
    """A method whose encoder convolves the whole image and masks what comes out, as nnssl does.

    Norms gather the visible voxels, normalise them and scatter them back; hidden places get a token
    before the decoder. Only the first image is masked too, which nnssl forgets.
    """

    def __init__(self, method: SparK) -> None:
        self.method = method
        self.visible = torch.ones(1, 1, 1, 1)
        for module in method.encoder.modules():
            if isinstance(module, PLAIN | nn.AvgPool2d | nn.AvgPool3d):
                module.register_forward_hook(lambda _, __, found: found.mul_(self.at(found)))
            elif isinstance(module, InstanceNorm):
                module.forward = lambda x, norm=module: self.normalise(norm, x)

    def at(self, features: Tensor) -> Tensor:
        """Return the mask of a map, all ones where it is coarser than the cells."""
        grid, shape = self.visible.shape[1:], features.shape[2:]
        if any(size < cells for size, cells in zip(shape, grid, strict=True)):
            return features.new_ones(len(features), 1, *shape)
        mask = self.visible.unsqueeze(1)
        for axis, (size, cells) in enumerate(zip(shape, grid, strict=True), start=2):
            mask = mask.repeat_interleave(size // cells, dim=axis)
        return mask.to(features.dtype)

    def normalise(self, norm: InstanceNorm, x: Tensor) -> Tensor:
        last = x.movedim(1, -1)
        places = self.at(x).squeeze(1).nonzero(as_tuple=True)
        rows = last[places].reshape(len(x), -1, x.shape[1]).mT
        rows = F.instance_norm(rows, weight=norm.weight, bias=norm.bias).mT
        out = torch.zeros_like(last)
        out[places] = rows.reshape(-1, x.shape[1])
        return out.movedim(-1, 1)

    def rebuild(self, volume: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.method.mask(volume.shape, generator)
        voxels = upsample_mask(hidden, tuple(volume.shape[2:]))
        self.visible = (~hidden).float()
        maps = self.method.encoder(volume.masked_fill(voxels, 0.0))
        for level, token in self.method.densify.tokens.items():
            found = maps[int(level)]
            spread = token.view(-1, *[1] * (found.ndim - 2))
            maps[int(level)] = found + spread * (1 - self.at(found))
        return self.method.decoder(maps, self.method.patch), volume, voxels


def count_flops(method: SparK, step: Callable[[], None]) -> float:
    """Return the floating point operations of the convolutions of one step.

    A backward pass costs two for each one forward, and one where the input is the image.
    """
    total = 0.0

    def add(module: nn.Module, given: tuple[object, ...], found: object) -> None:
        nonlocal total
        place = given[0] if isinstance(module, TRANSPOSED) else found
        voxels = place.rows[..., 0] if isinstance(place, VisibleBlocks) else place[:, 0]
        passes = 2 if module.in_channels == 1 else 3
        total += passes * 2.0 * voxels.numel() * math.prod(module.weight.shape)

    handles = [
        module.register_forward_hook(add)
        for module in method.modules()
        if isinstance(module, PLAIN | TRANSPOSED)
    ]
    step()
    for handle in handles:
        handle.remove()
    return total


def measure(
    theirs: Callable[[], None], ours: Callable[[], None], rounds: int
) -> list[tuple[float, float, float]]:
    """Return the seconds of both steps and of a known product of matrices, round by round."""
    return [(seconds(theirs), seconds(ours), 1 / matmul_rate()) for _ in range(rounds)]


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def matmul_rate(size: int = 1536, repeats: int = 3) -> float:
    """Return floating point operations a second of square products, the best of a few."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    best = min(seconds(lambda: torch.mm(left, right)) for _ in range(repeats))
    return float(2 * size**3 / best)


def show(rows: list[tuple[float, float, float]], dense: float, sparse: float) -> None:
    theirs, ours, per_flop = (list(column) for column in zip(*rows, strict=True))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(rows)} rounds")
    print(f"{'':28}{'min':>8}{'median':>8}{'max':>8}")
    line("masked after each, s", theirs)
    line("medssl step, s", ours)
    line("rate, GFLOP/s", [1e-9 / cost for cost in per_flop])
    for name, each, flops in (("masked after each", theirs, dense), ("medssl", ours, sparse)):
        line(f"{name} / its floor", [a / (flops * b) for a, b in zip(each, per_flop, strict=True)])
    print(f"convolutions of a step: {dense / 1e9:.0f} GFLOP of all, {sparse / 1e9:.0f} of visible")
    print(f"masked after each / medssl, of the fastest: {min(theirs) / min(ours):.2f}")
    print(f"no more than {dense / sparse:.2f} at equal rates")


def line(name: str, values: list[float]) -> None:
    print(f"{name:28}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}")


def profile(step: Callable[[], None]) -> None:
    step()
    with torch.profiler.profile() as recorded:
        step()
    averages = recorded.key_averages()
    print(averages.table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=48))


if __name__ == "__main__":
    main()
