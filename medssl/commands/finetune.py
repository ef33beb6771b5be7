"""``medssl finetune``: a model from labelled cases, with pretrained weights or without."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from medssl.commands.configuration import Configuration, finetune_sections, load_configuration
from medssl.commands.session import CommandSession
from medssl.errors import DatasetError

if TYPE_CHECKING:
    from medssl.cohort.datasets import Case, LabelledDataset
    from medssl.store.store import Store
    from medssl.tasks.base import Task
    from medssl.tasks.cases import Cases
    from medssl.tasks.initial import Start
    from medssl.tasks.validation import Validator
    from medssl.training.trainer import RunSettings
    from medssl.types import Picture
    from medssl.weights.manifest import InputContract, TaskRecord, TrainingRecord

__all__ = ["finetune"]

PICTURED_CASES = 3

_TRUTH = {
    "segmentation": "label with masks",
    "classification": "target with classes",
    "regression": "target with numbers",
}


def finetune(
    *,
    config: Path | Mapping[str, Any],
    data: Path,
    weights: str,
    out: Path,
    labels: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    overrides: Sequence[str] | Mapping[str, Any] = (),
) -> Path:
    r"""Fine-tune a model on labelled cases and export it.

    The column "split" of a table, or splits_final.json of a folder, is honoured: "train" is trained
    on, "val" is measured a few times, "test" is not touched. Without it all cases are trained on,
    save for the share of patients that data.validation asks for.

    Args:
        config: A file of ``pipelines/finetune``, or its content.
        data: An MSD or nnU-Net folder, or a table with ``image`` and ``label`` or ``target``.
        weights: An export folder, a run folder that holds one, a published file, an id of the zoo,
            or ``none`` for a run from scratch.
        out: The run folder: prepared cases, checkpoints, metrics, report and export.
        labels: Train on so many of the training cases only, drawn by the seed.
        overwrite: Replace a run that is there.
        resume: Go on from the newest checkpoint that is whole.
        overrides: Values that differ from the file, by dotted name.

    Returns:
        The export folder.

    Raises:
        ConfigError: If a key or value of the configuration is wrong.
        DatasetError: If the dataset contradicts itself or does not suit the task.
        WeightsMismatchError: If the weights are for another encoder.
        TrainingError: If a loss is not finite.

    Example:
        medssl finetune --config pipelines/finetune/segmentation.yaml --data dataset.csv \
            --weights runs/voco --out runs/organs
    """
    from medssl.report.finetune import write_finetune_report

    configuration = load_configuration(config, overrides, finetune_sections())
    options = {"config": configuration.to_dict(), "labels": labels, "resume": resume}
    with CommandSession(
        "finetune", out=out, overwrite=overwrite, resume=resume, options=options
    ) as session:
        pictures = _run(
            session, configuration, Path(data), str(weights), Path(out), labels, resume=resume
        )
    if not session.follows:  # the report shows the session's record, so it comes after it
        write_finetune_report(Path(out), pictures)
    return Path(out) / "export"


class _Description(TypedDict):
    """What is written beside the weights, before the first step and after the last."""

    contract: InputContract
    training: TrainingRecord
    task: TaskRecord


def _run(
    session: CommandSession,
    configuration: Configuration,
    data: Path,
    weights: str,
    out: Path,
    labels: int | None,
    *,
    resume: bool,
) -> list[Picture]:
    from medssl.cohort.datasets import open_dataset
    from medssl.io.atomic import write_text
    from medssl.tasks.cases import choose_cases
    from medssl.tasks.validation import Validator
    from medssl.training.trainer import train
    from medssl.weights.export import try_export, write_export

    settings = configuration.run_settings()
    start = _start(configuration, settings, weights)
    dataset = open_dataset(data)
    task = _task(configuration, settings, start, dataset)
    cases = choose_cases(
        dataset, validation=settings.data.validation, labels=labels, seed=settings.trainer.seed
    )
    store = _prepare(session, settings, start, dataset, cases, out / "store")
    text = configuration.to_yaml()
    write_text(out / "config.yaml", text)
    description: _Description = {
        "contract": start.contract(store, settings.data.patch),
        "training": _history(task, settings, start, cases, text),
        "task": task.record(),
    }
    task.learn_from(
        cases.training,
        modality=description["contract"].modality,
        spacing_mm=store.row(cases.training[0].id)["spacing_mm"],
    )
    try_export(out, task.network, encoder=task.encoder, **description)
    validator = Validator(store, cases.held_out, steps=settings.trainer.steps)
    trainer = train(
        task,
        store=store,
        volumes=[case.id for case in cases.training],
        places=task.places(),
        settings=settings,
        run=out,
        resume=resume,
        labels=task.reads_masks,
        callbacks=[validator] if cases.held_out else [],
    )
    if not trainer.is_global_zero:
        return []
    network = task.finished_network()
    title = f"{task.name} from {len(cases.training)} cases"
    write_export(out / "export", network, encoder=network.encoder, title=title, **description)
    _finish(session, task, store, cases, validator, out)
    return _pictures(task, store, (cases.held_out or cases.training)[:PICTURED_CASES])


def _start(configuration: Configuration, settings: RunSettings, weights: str) -> Start:
    from medssl.tasks.initial import choose_start

    named = configuration.chosen("encoder") if "encoder" in configuration else None
    return choose_start(
        weights,
        patch=settings.data.patch,
        seed=settings.trainer.seed,
        name=None if named is None else named.name,
        options=None if named is None else named.options,
    )


def _task(
    configuration: Configuration,
    settings: RunSettings,
    start: Start,
    dataset: LabelledDataset,
) -> Task:
    """Build the task, whose head starts from the weights that the seed gives."""
    import torch

    from medssl.tasks import TASKS

    wanted = configuration.chosen("task")
    if wanted.name != dataset.task:
        raise DatasetError(
            f"the configuration is one of {wanted.name} and the dataset one of {dataset.task}; "
            f"it has the column {_TRUTH[dataset.task]}, and {wanted.name} needs "
            f"{_TRUTH[wanted.name]}. Take a file of pipelines/finetune that suits the dataset"
        )
    torch.manual_seed(settings.trainer.seed)
    task: Task = TASKS[wanted.name](
        encoder=start.encoder, labels=dataset.labels, patch=settings.data.patch, **wanted.options
    )
    return task


def _prepare(
    session: CommandSession,
    settings: RunSettings,
    start: Start,
    dataset: LabelledDataset,
    cases: Cases,
    folder: Path,
) -> Store:
    """Prepare the cases as the weights demand, and say what there is to train on."""
    store = start.prepare(
        dataset,
        cases,
        folder,
        spacing_mm=settings.data.spacing_mm,
        progress=lambda outcomes, total: session.progress(
            outcomes, total=total, unit="case", doing="preparing"
        ),
    )
    session.note(_what_is_trained_on(store, cases, settings.data.patch))
    return store


def _what_is_trained_on(store: Store, cases: Cases, patch: Sequence[int]) -> str:
    row = store.row(cases.training[0].id)
    text = (
        f"{len(cases.training)} cases to train on, {len(cases.held_out)} to measure on, voxels of "
        f"{' x '.join(f'{edge:.3g}' for edge in row['spacing_mm'])} mm"
    )
    shapes = [store.row(case.id)["shape"] for case in cases.all]
    smaller = sum(any(n < edge for n, edge in zip(s, patch, strict=False)) for s in shapes)
    if smaller:
        text += (
            f"\n{smaller} of {len(shapes)} volumes are smaller than the patch "
            f"{' x '.join(map(str, patch))} along some axis; they are padded with their own lowest "
            "value, and so is what will be predicted"
        )
    return text


def _history(
    task: Task, settings: RunSettings, start: Start, cases: Cases, config: str
) -> TrainingRecord:
    from medssl.weights.manifest import TrainingRecord

    return TrainingRecord(
        method=task.name,
        steps=settings.trainer.steps,
        seed=settings.trainer.seed,
        volumes=len(cases.training),
        patients=len({case.patient for case in cases.training}),
        config_sha256=hashlib.sha256(config.encode()).hexdigest(),
        initial_weights=start.origin,
    )


def _finish(
    session: CommandSession,
    task: Task,
    store: Store,
    cases: Cases,
    validator: Validator,
    out: Path,
) -> None:
    """Say how good the model is on whom it has not seen."""
    from medssl.tasks.validation import mean_scores, score_cases, write_scores

    lines = [f"{task.name} trained on {len(cases.training)} cases"]
    if cases.held_out:
        # A run that was complete when it was resumed has not looked at them again.
        measured = validator.figures or score_cases(task, store, cases.held_out)
        scores = mean_scores(measured)
        session.record["validation"] = scores
        write_scores(out / "validation.csv", measured)
        figures = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        lines.append(f"{figures} on {len(cases.held_out)} held-out cases")
    session.hash_output(out / "export" / "model.safetensors")
    session.summary(lines, next_step=f"medssl predict --model {out} --input SCANS --out masks")


def _pictures(task: Task, store: Store, cases: Sequence[Case]) -> list[Picture]:
    """Show the masks of some cases beside the truth; classes have nothing to show."""
    import numpy as np

    from medssl.report.predictions import prediction_picture
    from medssl.tasks.base import whole

    if not task.reads_masks:
        return []
    values = np.array([0, *task.labels.values()])
    return [
        prediction_picture(
            store.read(case.id, *whole(store, case.id))[0],
            {"predicted": values[task.answer(store, case.id).argmax(dim=0).numpy()]},
            store.read_label(case.id, *whole(store, case.id)),
        )
        for case in cases
    ]
