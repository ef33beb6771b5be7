"""``medssl demo``: the whole road on synthetic anatomy, from a raw folder to a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.commands.session import CommandSession

if TYPE_CHECKING:
    from medssl.evaluation.summary import Evaluation
    from medssl.types import Picture

__all__ = ["demo"]

# Small enough for two cores and a few minutes; the recipes for real work lie in pipelines/.
SIZE = (72, 56, 72)
SPACING_MM = (6.0, 6.0, 6.0)
UNLABELLED, LABELLED, HELD_OUT = 16, 3, 6
ORGANS = ("lung_right", "lung_left", "heart", "liver", "vertebrae")
PICTURED = 2

ZOO = Path("medssl/trunk-ct")
"""What volume contrast goes on from: the encoder that comes with medssl."""

VOCO: dict[str, Any] = {
    "method": {"name": "voco", "grid": [2, 2, 2], "crops": 3, "width": 256},
    "encoder": {"name": "resenc_xs"},
    "data": {"patch": [24, 24, 24], "batch": 1, "workers": 0},
    "optim": {"lr": 2e-4, "warmup": 0.1},  # a fifth of the rate of the recipe: it goes on
    "trainer": {"steps": 100, "log_every": 5, "monitor_every": 20},
}
MAE: dict[str, Any] = {
    "method": {"name": "mae", "mask_size": 8, "decoder_width": 96, "decoder_depth": 2},
    "encoder": {"name": "vit_tiny", "token": 8},
    "data": {"patch": [48, 48, 48], "batch": 4, "workers": 0},
    "optim": {"lr": 1e-3, "weight_decay": 0.05, "betas": [0.9, 0.95], "warmup": 0.1},
    "trainer": {"steps": 200, "log_every": 10, "monitor_every": 50},
}
SEGMENTATION: dict[str, Any] = {
    "task": {"name": "segmentation", "foreground": 0.5},
    "encoder": {"name": "resenc_xs"},
    "data": {"patch": [40, 40, 40], "batch": 2, "workers": 0, "spacing_mm": list(SPACING_MM)},
    "optim": {"lr": 2e-3, "warmup": 0.1, "ema": 0.95},
    "trainer": {"steps": 150, "log_every": 5},
}


def demo(*, out: Path, overwrite: bool = False) -> Path:
    """Take synthetic patients along the whole road and write a report of it.

    Sixteen patients without labels, half of them as DICOM series, are indexed, prepared and
    pretrained on: by volume contrast, from the weights that come with medssl, and by masked
    autoencoding, from nothing. A segmentation of five organs is learnt from three labelled
    patients, from the weights of the contrast and from scratch, and measured on six others. The
    figures show that the road works, not what pretraining is worth: that needs real data and more
    than minutes.

    Args:
        out: Folder of the demo; ``report.html`` in it is the result.
        overwrite: Replace an earlier demo.

    Returns:
        The report.

    Raises:
        OutputError: If the folder can't be written.

    Example:
        medssl demo --out demo
    """
    started = time.perf_counter()
    out = Path(out)
    with CommandSession("demo", out=out, overwrite=overwrite) as session:
        raw, labelled, held_out = _make_patients(session, out)
        cohort, store = _prepare(raw, out)
        runs = _pretrain(out)
        pretrained = _finetune(out, labelled, held_out, out / "voco", "pretrained")
        scratch = _finetune(out, labelled, held_out, "none", "scratch")
        report = _report(out, cohort, store, runs, pretrained, scratch, held_out, started)
        session.summary(
            [
                f"Dice from pretrained weights {pretrained['mean']['dice']['value']:.3f}, "
                f"from scratch {scratch['mean']['dice']['value']:.3f}",
                f"report: {report}",
            ],
            next_step="medssl index YOUR_SCANS --out cohort",
        )
    return report


def _make_patients(session: CommandSession, out: Path) -> tuple[Path, Path, Path]:
    """Write the raw folder, the labelled dataset and the held-out dataset."""
    from medssl.commands.phantoms import write_phantoms

    session.note("making synthetic patients")
    half = UNLABELLED // 2
    write_phantoms(
        out / "raw" / "dicom", count=half, image_format="dicom", size=SIZE,
        spacing_mm=SPACING_MM, seed=0,
    )  # fmt: skip
    write_phantoms(
        out / "raw" / "nifti", count=UNLABELLED - half, size=SIZE, spacing_mm=SPACING_MM, seed=half
    )
    folders = []
    for name, count, seed in (("labelled", LABELLED, 1000), ("held_out", HELD_OUT, 2000)):
        folders.append(out / name)
        write_phantoms(
            folders[-1], count=count, size=SIZE, spacing_mm=SPACING_MM, seed=seed, labels=True,
            organs=ORGANS,
        )  # fmt: skip
    return out / "raw", folders[0], folders[1]


def _prepare(raw: Path, out: Path) -> tuple[Any, Any]:
    from medssl.commands.index import index
    from medssl.commands.prepare import prepare

    cohort = index([raw / "dicom", raw / "nifti" / "imagesTr"], out=out / "cohort", modality="ct")
    return cohort, prepare(cohort, out=out / "store", spacing_mm=SPACING_MM)


def _pretrain(out: Path) -> list[Any]:
    from medssl.commands.pretrain import draw_pictures, pretrain
    from medssl.report.demo import PretrainedRun

    runs = []
    for name, config, weights in (("voco", VOCO, ZOO), ("mae", MAE, None)):
        pretrain(config=config, data=out / "store", out=out / name, weights=weights)
        pictures, _ = draw_pictures(out / name, out / "store")
        runs.append(PretrainedRun(name, out / name, pictures))
    return runs


def _finetune(
    out: Path, labelled: Path, held_out: Path, weights: Path | str, name: str
) -> Evaluation:
    """Fine-tune, predict the held-out patients and evaluate."""
    from medssl.commands.evaluate import evaluate
    from medssl.commands.finetune import finetune
    from medssl.commands.predict import predict

    finetune(config=SEGMENTATION, data=labelled, weights=str(weights), out=out / name)
    masks = out / f"masks_{name}"
    predict(model=out / name, input=[held_out / "imagesTr"], out=masks)
    return evaluate(
        predictions=masks, references=held_out / "labelsTr", out=out / f"evaluation_{name}.json"
    )


def _report(
    out: Path,
    cohort: Any,
    store: Any,
    runs: list[Any],
    pretrained: Evaluation,
    scratch: Evaluation,
    held_out: Path,
    started: float,
) -> Path:
    from medssl.report.demo import Comparison, write_demo_report

    comparison = Comparison(
        pretrained=pretrained,
        scratch=scratch,
        labelled=LABELLED,
        method=f"voco (gone on from {ZOO.as_posix()})",
        pictures=_predictions(out, held_out),
    )
    return write_demo_report(
        out / "report.html",
        cohort=cohort,
        store=store,
        patch=tuple(MAE["data"]["patch"]),
        runs=runs,
        comparison=comparison,
        seconds=time.perf_counter() - started,
    )


def _predictions(out: Path, held_out: Path) -> list[Picture]:
    """Show the answers of both models for the first held-out patients."""
    from medssl.io.read import read_volume
    from medssl.report.predictions import prediction_picture

    pictures = []
    for image in sorted((held_out / "imagesTr").iterdir())[:PICTURED]:
        masks = {
            label: read_volume(out / f"masks_{folder}" / image.name).data
            for label, folder in (("from scratch", "scratch"), ("pretrained", "pretrained"))
        }
        truth = read_volume(held_out / "labelsTr" / image.name).data
        pictures.append(prediction_picture(read_volume(image).data, masks, truth))
    return pictures
