"""Masked autoencoder training step: medssl against MONAI's network and nnssl's form, in one run.

    python pipelines/benchmarks/mae_step.py                    # a few minutes on two cores
    python pipelines/benchmarks/mae_step.py --profile          # where our time goes

Forward and backward in float32, turn by turn: A B C A B C. nnssl's form is its encoder on visible
tokens, and behind it two blocks as wide as the encoder over all tokens, every one of which is
answered; built here of the same blocks as ours, so that the form alone is compared, and held
against ours with two blocks in the decoder ("shallow"). Then our step against its floor: the
products of matrices that it can't do without, at the rate at which this machine multiplies them.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from monai.networks.nets import MaskedAutoEncoderViT
from torch import Tensor, nn

from medssl.encoders import build_encoder
from medssl.encoders.tokens import map_to_tokens, patchify, sincos_positions
from medssl.encoders.vit import make_block
from medssl.methods import MAE
from medssl.parts.masking import RandomCells

WIDTH, DEPTH, HEADS = 384, 12, 6
DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS = 192, 4, 6
NNSSL_DEPTH = 2
"""Blocks of nnssl's decoder, which are as wide as the encoder's."""

MLP_RATIO = 4
RATIO = 0.75


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--patch", type=int, default=96, help="edge of the crop in voxels")
    parser.add_argument("--token", type=int, default=8, help="edge of a token in voxels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    volume = torch.randn(options.batch, 1, *(options.patch,) * 3)
    ours = our_step(options.patch, options.token, volume, depth=DECODER_DEPTH)
    if options.profile:
        profile(ours)
        return
    others = {
        "shallow": our_step(options.patch, options.token, volume, depth=NNSSL_DEPTH),
        "MONAI": monai_step(options.patch, options.token, volume),
        "nnssl": nnssl_step(options.patch, options.token, volume),
    }
    tokens = (options.patch // options.token) ** 3
    flops = options.batch * step_flops(tokens, options.token**3)
    show(measure(others, ours, options.rounds), flops)


def our_step(patch: int, token: int, volume: Tensor, *, depth: int) -> Callable[[], None]:
    """Return one forward and backward pass of method ``mae``."""
    encoder = build_encoder(
        "vit_small", patch=(patch,) * 3, token=token, width=WIDTH, depth=DEPTH, heads=HEADS
    )
    method = MAE(
        encoder=encoder,
        patch=(patch,) * 3,
        mask_ratio=RATIO,
        mask_size=token,
        decoder_width=DECODER_WIDTH,
        decoder_depth=depth,
    )
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        method.zero_grad()
        method.loss([volume], {}, generator)["loss"].backward()

    return step


def monai_step(patch: int, token: int, volume: Tensor) -> Callable[[], None]:
    """Return one forward and backward pass of MONAI's network with the same masked loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.meshgrid's arguments
        network = MaskedAutoEncoderViT(
            in_channels=1,
            img_size=patch,
            patch_size=token,
            hidden_size=WIDTH,
            mlp_dim=WIDTH * MLP_RATIO,
            num_layers=DEPTH,
            num_heads=HEADS,
            masking_ratio=RATIO,
            decoder_hidden_size=DECODER_WIDTH,
            decoder_mlp_dim=DECODER_WIDTH * MLP_RATIO,
            decoder_num_layers=DECODER_DEPTH,
            decoder_num_heads=DECODER_HEADS,
        )

    def step() -> None:
        network.zero_grad()
        rebuilt, hidden = network(volume)
        error = (rebuilt - patchify(volume, (token,) * 3)).square().mean(dim=-1)
        ((error * hidden).sum() / hidden.sum()).backward()

    return step


def nnssl_step(patch: int, token: int, volume: Tensor) -> Callable[[], None]:
    """Return one forward and backward pass of nnssl's form with the same masked loss."""
    edges = (patch,) * 3
    encoder = build_encoder(
        "vit_small", patch=edges, token=token, width=WIDTH, depth=DEPTH, heads=HEADS
    )
    blocks = nn.ModuleList(make_block(WIDTH, HEADS, MLP_RATIO * WIDTH) for _ in range(NNSSL_DEPTH))
    head, mask_token = nn.Linear(WIDTH, token**3), nn.Parameter(torch.zeros(WIDTH))
    grid = tuple(edge // token for edge in edges)
    positions = sincos_positions(grid, WIDTH)
    mask, generator = RandomCells(ratio=RATIO, size=token), torch.Generator().manual_seed(0)
    network = nn.ModuleList([encoder, blocks, head])

    def step() -> None:
        network.zero_grad()
        hidden = mask(volume.shape, generator)
        gone = hidden.flatten(1)[..., None]
        seen = map_to_tokens(encoder.forward_masked(volume, hidden)[-1])
        x = torch.where(gone, mask_token, seen) + positions
        for block in blocks:
            x = block(x)
        error = (head(x) - patchify(volume, (token,) * 3)).square().mean(dim=-1)
        ((error * gone[..., 0]).sum() / gone.sum()).backward()

    return step


def step_flops(tokens: int, voxels: int) -> float:
    """Return the floating point operations of our products of matrices, one image, one step.

    A backward pass costs two products for each one forward. What fused attention computes a second
    time, softmax, norms and activations are not counted: a floor knows none of them.
    """
    visible = tokens - round(tokens * RATIO)
    hidden = tokens - visible

    def block(queries: int, keys: int, width: int) -> float:
        projections = (2 * queries + 2 * keys) * width**2  # queries and output, keys and values
        attention = 2 * queries * keys * width
        perceptron = 2 * MLP_RATIO * queries * width**2
        return 2.0 * (projections + attention + perceptron)

    forward = DEPTH * block(visible, visible, WIDTH) + 2.0 * visible * WIDTH * DECODER_WIDTH
    forward += (DECODER_DEPTH - 1) * block(tokens, tokens, DECODER_WIDTH)
    forward += block(hidden, tokens, DECODER_WIDTH) + 2.0 * hidden * DECODER_WIDTH * voxels
    # the image needs no gradient, so the embedding's backward pass is one product
    return 3 * forward + 2 * 2.0 * visible * voxels * WIDTH


def measure(
    others: dict[str, Callable[[], None]], ours: Callable[[], None], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of all steps and of an operation of a large product, round by round."""
    rows: dict[str, list[float]] = {name: [] for name in (*others, "medssl", "product")}
    for number in range(rounds + 1):
        row = {name: seconds(step) for name, step in others.items()}
        row |= {"medssl": seconds(ours), "product": 1 / matmul_rate()}
        if number:  # the first round warms up
            for name, value in row.items():
                rows[name].append(value)
    return rows


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def matmul_rate(size: int = 1536, repeats: int = 5) -> float:
    """Return floating point operations a second of square products, the best of a few."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    best = min(seconds(lambda: torch.mm(left, right)) for _ in range(repeats))
    return float(2 * size**3 / best)


def show(rows: dict[str, list[float]], flops: float) -> None:
    ours, per_flop = rows["medssl"], rows.pop("product")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(ours)} rounds")
    print(f"{'':24}{'min':>8}{'median':>8}{'max':>8}")
    for name, values in rows.items():
        line(f"{name} step, s", values)
    # each against ours with as many blocks in the decoder
    for name, mine in (("MONAI", "medssl"), ("nnssl", "shallow")):
        line(f"{name} / {mine}", [a / b for a, b in zip(rows[name], rows[mine], strict=True)])
    line("rate, GFLOP/s", [1e-9 / cost for cost in per_flop])
    line("floor, s", [flops * cost for cost in per_flop])
    line("medssl / floor", [a / (flops * b) for a, b in zip(ours, per_flop, strict=True)])
    print(f"one step multiplies {flops / 1e9:.0f} GFLOP")


def line(name: str, values: list[float]) -> None:
    print(f"{name:24}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}")


def profile(step: Callable[[], None]) -> None:
    step()
    with torch.profiler.profile() as recorded:
        step()
    averages = recorded.key_averages()
    print(averages.table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=48))


if __name__ == "__main__":
    main()
