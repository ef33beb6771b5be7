"""Train medssl/trunk-ct again, the encoder that comes with medssl, and measure its worth.

    DATA=../shared/data/totalsegmentator
    python pipelines/zoo/trunk_ct.py --out work \\
        --real $DATA/example_ct.nii.gz $DATA/example_ct_dicom

Pretrains by ``trunk_ct.yaml`` on synthetic CT and on the volumes of ``--real``, without
labels; then, for each seed, fine-tunes five organs from three other labelled subjects, from these
weights and from scratch with the same settings, and predicts subjects that no run has seen. Prints
the mean Dice of both and their paired difference with 95 % bootstrap intervals over fine-tunings,
and notes them in the export, ``work/run/export``; and how well frozen features tell organs apart.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

import medssl
from medssl.cohort.datasets import open_dataset
from medssl.commands.demo import ORGANS, SEGMENTATION, SIZE, SPACING_MM
from medssl.commands.phantoms import write_phantoms
from medssl.encoders import build_encoder
from medssl.evaluation.bootstrap import mean_interval, paired_difference
from medssl.evaluation.monitor import embed_crops
from medssl.evaluation.probe import probe_classes
from medssl.evaluation.probing import labelled_crops
from medssl.io.atomic import write_text
from medssl.store.prepare import prepare_dataset
from medssl.store.recipe import Recipe
from medssl.weights.card import model_card
from medssl.weights.manifest import LicenceRecord, read_manifest

RECIPE = Path(__file__).with_name("trunk_ct.yaml")
DATA = "synthetic trunks, and two CT volumes among the test files of TotalSegmentator"
LABELLED, STEPS = 3, 90
FIRST_SUBJECT = {"unlabelled": 50_000, "labelled": 60_000, "held_out": 70_000}
"""Seeds of phantoms, far from those that the demo and the benchmarks draw."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the work; kept")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="more CT, without labels")
    parser.add_argument("--subjects", type=int, default=120, help="synthetic ones, unlabelled")
    parser.add_argument("--held-out", type=int, default=10)
    parser.add_argument("--asked", type=int, default=20, help="subjects whose crops are told apart")
    parser.add_argument("--seeds", type=int, default=9, help="fine-tunings of each kind; or 0")
    options, overrides = parser.parse_known_args()
    run = options.out / "run"
    if not (run / "export").is_dir():
        pretrain(options, run, overrides)
    held_out = subjects(options.out / "held_out", "held_out", options.held_out)
    dice: dict[str, list[float]] = {name: [] for name in ("pretrained", "scratch")}
    for seed in range(options.seeds):
        labelled = subjects(options.out / f"labelled{seed}", "labelled", LABELLED, LABELLED * seed)
        for name, weights in (("pretrained", str(run)), ("scratch", "none")):
            work = options.out / f"{name}{seed}"
            dice[name].append(dice_of(work, labelled, held_out, weights, seed))
    evidence = told(dice, options.held_out) if options.seeds else []
    evidence += probed(run / "export", options.out / "asked", options.asked)
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


def dice_of(work: Path, labelled: Path, held_out: Path, weights: str, seed: int) -> float:
    """Return the mean Dice over held-out subjects of one fine-tuning."""
    changes = {"trainer.seed": seed, "trainer.steps": STEPS}
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
    return float(found["mean"]["dice"]["value"])


def told(dice: dict[str, list[float]], subjects: int) -> list[str]:
    """Return what was measured, a sentence a line.

    Intervals are over fine-tunings: which subjects have labels matters far more than which are
    asked.
    """
    means = {name: mean_interval(values) for name, values in dice.items()}
    gain = paired_difference(dice["pretrained"], dice["scratch"])
    pairs = list(zip(dice["pretrained"], dice["scratch"], strict=True))
    return [
        f"Five organs learnt from {LABELLED} synthetic subjects in "
        f"{STEPS} steps, {len(pairs)} times from other subjects and "
        f"with another seed, asked of {subjects} others.",
        *(
            f"Mean Dice, {name}: {held.value:.3f} ({held.low:.3f} to {held.high:.3f})."
            for name, held in means.items()
        ),
        f"Paired difference: {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), better "
        f"{sum(one > other for one, other in pairs)} times of {len(pairs)}; 95 % bootstrap "
        "intervals over fine-tunings.",
    ]


def probed(export: Path, folder: Path, count: int) -> list[str]:
    """Return how well frozen features tell which organ lies in the middle of a crop."""
    encoder, preprocess = medssl.load_encoder(export)
    held_out = open_dataset(subjects(folder / "raw", "held_out", count))
    recipe = Recipe.from_dict(preprocess.contract.recipe)
    cases = prepare_dataset(held_out, folder / "store", recipe, workers=1)
    known = labelled_crops(cases, preprocess.contract.patch)
    torch.manual_seed(0)
    fresh = build_encoder(encoder.name)
    lines = []
    for name, network in (("", encoder), ("with random weights ", fresh)):
        with torch.no_grad():
            features = embed_crops(network, known.crops, torch.device("cpu")).double().numpy()
        found = probe_classes(features, known.targets, known.patients)
        scores = (found[probe]["balanced_accuracy"] for probe in ("linear", "knn"))
        told = [f"{held.value:.3f} ({held.low:.3f} to {held.high:.3f})" for held in scores]
        lines.append(f"{name}{told[0]} by a linear probe, {told[1]} by nearest neighbours")
    return [
        f"Which of {len(ORGANS)} organs lies in the middle of a crop, frozen features, balanced "
        f"accuracy over {count} held-out subjects: {'; '.join(lines)}."
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
