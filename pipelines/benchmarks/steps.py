"""What a training step of every method costs, beside what its arithmetic alone would take.

    python pipelines/benchmarks/steps.py                                # some minutes
    python pipelines/benchmarks/steps.py --methods voco mae --trainer.precision bf16

Takes the CT laptop recipe of each method and measures a step as ``medssl benchmark step`` does, in
a process of its own, so that memory is that of one method. ``share`` is the part of the step that
its products and convolutions would take at the best rate that this machine reaches for large ones.
``over encoder`` is the step beside forward and backward of the encoder alone on the same crops:
methods that look at visible cells alone may be below 1, teachers and decoders lift it.
"""

import argparse
import multiprocessing
from pathlib import Path

from medssl.commands.benchmark_step import StepCost, measure_step
from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.commands.overrides import parse_overrides
from medssl.commands.pretrain import build_method
from medssl.methods import list_methods

RECIPES = Path(__file__).resolve().parents[1] / "pretrain"
HEADER = (
    "| method | encoder | crops | ms a crop | over encoder | share | GB |",
    "|---|---|---|---|---|---|---|",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--methods", nargs="+", choices=list_methods(), default=list_methods())
    parser.add_argument("--steps", type=int, default=5, help="timed steps, after one to warm up")
    options, overrides = parser.parse_known_args()
    for line in HEADER:
        print(line)
    spawn = multiprocessing.get_context("spawn")
    for name in options.methods:
        with spawn.Pool(1) as pool:
            encoder, cost = pool.apply(measure, (name, options.steps, overrides))
        print(row(name, encoder, cost), flush=True)


def measure(name: str, steps: int, overrides: list[str]) -> tuple[str, StepCost]:
    recipe = RECIPES / f"{name}_ct_cpu.yaml"
    changes = {"trainer.threads": 1, **parse_overrides(overrides)}
    configuration = load_configuration(recipe, changes, pretrain_sections())
    settings = configuration.run_settings()
    method = build_method(configuration, settings)
    return method.encoder.name, measure_step(method, settings, steps=steps)


def row(name: str, encoder: str, cost: StepCost) -> str:
    return (
        f"| `{name}` | {encoder} | {cost.crops} | {1e3 * cost.seconds / cost.crops:.1f} "
        f"| {cost.seconds / cost.encoder:.2f} | {cost.share_of_floor:.2f} "
        f"| {cost.memory_bytes / 1e9:.2f} |"
    )


if __name__ == "__main__":
    main()
