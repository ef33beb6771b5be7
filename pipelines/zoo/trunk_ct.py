"""Train medssl/trunk-ct again, the encoder that comes with medssl, and measure its worth.

    DATA=../shared/data/totalsegmentator
    python pipelines/zoo/trunk_ct.py --out work \\
        --real $DATA/example_ct.nii.gz $DATA/example_ct_dicom

Pretrains by ``trunk_ct.yaml`` on synthetic CT and on the volumes of ``--real``, without
labels; then, for each seed, fine-tunes five organs from three other labelled subjects, from these
weights and from scratch with the same settings, and predicts subjects that no run has seen. Prints
the mean Dice of both and their paired difference over subjects with a 95 % bootstrap interval, and
notes them in the export, ``work/run/export``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import medssl
from medssl.commands.demo import ORGANS, SEGMENTATION, SIZE, SPACING_MM
from medssl.commands.phantoms import write_phantoms
from medssl.evaluation.bootstrap import mean_interval, paired_difference
from medssl.io.atomic import write_text
from medssl.weights.card import model_card
from medssl.weights.manifest import LicenceRecord, read_manifest

RECIPE = Path(__file__).with_name("trunk_ct.yaml")
DATA = "synthetic trunks, and two CT volumes among the test files of TotalSegmentator"
LABELLED = 3
FIRST_SUBJECT = {"unlabelled": 50_000, "labelled": 60_000, "held_out": 70_000}
"""Seeds of phantoms, far from those that the demo and the benchmarks draw."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the work; kept")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="more CT, without labels")
    parser.add_argument("--subjects", type=int, default=120, help="synthetic ones, unlabelled")
    parser.add_argument("--held-out", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3, help="fine-tunings of each kind; or 0")
    options, overrides = parser.parse_known_args()
    run = options.out / "run"
    if not (run / "export").is_dir():
        pretrain(options, run, overrides)
    held_out = subjects(options.out / "held_out", "held_out", options.held_out)
    dice = {name: [] for name in ("pretrained", "scratch")}
    cases = []
    for seed in range(options.seeds):
        labelled = subjects(options.out / f"labelled{seed}", "labelled", LABELLED, LABELLED * seed)
        for name, weights in (("pretrained", str(run)), ("scratch", "none")):
            work = options.out / f"{name}{seed}"
            dice[name] += dice_of(work, labelled, held_out, weights, seed)
        cases += [f"subject{number}" for number in range(options.held_out)]
    evidence = told(dice, cases) if cases else ()
    for line in evidence:
        print(line)
    describe(run / "export", evidence)


def pretrain(options: argparse.Namespace, run: Path, overrides: list[str]) -> None:
    raw = options.out / "unlabelled"
    subjects(raw, "unlabelled", options.subjects)
    sources = [raw / "imagesTr", *options.real]
    cohort = medssl.index(sources, out=options.out / "cohort", modality="ct", overwrite=True)
    store = options.out / "store"
    medssl.prepare(cohort, out=store, spacing_mm=SPACING_MM, overwrite=True)
    medssl.pretrain(config=RECIPE, data=store, out=run, overwrite=True, overrides=overrides)


def subjects(folder: Path, kind: str, count: int, skipped: int = 0) -> Path:
    """Write synthetic subjects; labelled ones have masks of the demo's organs."""
    seed = FIRST_SUBJECT[kind] + skipped
    masks = {} if kind == "unlabelled" else {"labels": True, "organs": ORGANS}
    shape = {"size": SIZE, "spacing_mm": SPACING_MM}
    write_phantoms(folder, count=count, seed=seed, overwrite=True, **shape, **masks)
    return folder


def dice_of(work: Path, labelled: Path, held_out: Path, weights: str, seed: int) -> list[float]:
    """Return the mean Dice of each held-out subject."""
    changes = {"trainer.seed": seed}
    medssl.finetune(
        config=SEGMENTATION,
        data=labelled,
        weights=weights,
        out=work,
        overwrite=True,
        overrides=changes,
    )
    masks = work / "masks"
    medssl.predict(model=work, input=[held_out / "imagesTr"], out=masks, overwrite=True)
    found = medssl.evaluate(
        predictions=masks, references=held_out / "labelsTr", out=work / "evaluation.json"
    )
    cases = sorted(found["cases"], key=lambda case: case["id"])
    return [float(case["mean"]["dice"] or 0.0) for case in cases]


def told(dice: dict[str, list[float]], cases: list[str]) -> list[str]:
    """Return what was measured, a sentence a line."""
    subjects, seeds = len(set(cases)), len(cases) // len(set(cases))
    means = {name: mean_interval(values, patients=cases) for name, values in dice.items()}
    gain = paired_difference(dice["pretrained"], dice["scratch"], patients=cases)
    return [
        f"Five organs learnt from {LABELLED} synthetic subjects in "
        f"{SEGMENTATION['trainer']['steps']} steps, {seeds} seeds, asked of {subjects} others.",
        *(
            f"Mean Dice, {name}: {held.value:.3f} ({held.low:.3f} to {held.high:.3f})."
            for name, held in means.items()
        ),
        f"Paired difference: {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}); 95 % "
        "bootstrap intervals over subjects.",
    ]


def describe(export: Path, evidence: Sequence[str]) -> None:
    """Write into the export what it is, what it is worth and who may use it."""
    manifest = read_manifest(export / "manifest.json")
    manifest = replace(
        manifest,
        id="medssl/trunk-ct",
        title="A small residual encoder for CT of the trunk at 6 mm",
        training=replace(manifest.training, data=DATA),
        licence=LicenceRecord(
            weights="Apache-2.0",
            data_terms="synthetic volumes, and test files of TotalSegmentator (Apache-2.0)",
            commercial_use="yes",
        ),
        limits="Nearly all it has seen is synthetic, at 6 mm. It is for demonstrations and tests.",
        evidence=tuple(evidence),
    )
    write_text(export / "manifest.json", manifest.to_text())
    write_text(export / "README.md", model_card(manifest))


if __name__ == "__main__":
    main()
