"""``medssl pretrain``: an encoder from volumes without labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.commands.beside import Beside, labelled_store, probe_monitor
from medssl.commands.configuration import Configuration, load_configuration, pretrain_sections
from medssl.commands.session import CommandSession
from medssl.errors import UsageError, WeightsMismatchError

if TYPE_CHECKING:
    from lightning import Callback

    from medssl.encoders.base import Encoder
    from medssl.methods.base import Method
    from medssl.report.page import Panels
    from medssl.store.store import Store
    from medssl.training.trainer import RunSettings
    from medssl.types import Picture
    from medssl.weights.manifest import InputContract, TrainingRecord

__all__ = ["pretrain"]


def pretrain(
    *,
    config: Path | Mapping[str, Any],
    data: Path,
    out: Path,
    overwrite: bool = False,
    resume: bool = False,
    weights: Path | None = None,
    after: Path | None = None,
    probe: Path | None = None,
    labels: Path | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
) -> Path:
    """Pretrain an encoder on a store and export it.

    Args:
        config: A file of ``pipelines/pretrain``, or its content.
        data: A store made by ``medssl prepare``.
        out: The run folder: checkpoints, metrics, report and export.
        overwrite: Replace a run that is there.
        resume: Go on from the newest checkpoint that is whole.
        weights: An export, a run, a published file or an id of the zoo whose encoder this one
            starts from; heads and optimiser are new.
        after: A run with an infinite schedule to go on from as if it had never been annealed: with
            its optimiser, heads and steps, towards a larger trainer.steps.
        probe: A labelled dataset of a few cases: every trainer.monitor_every steps a linear probe
            and nearest neighbours tell its crops apart by frozen features. Nothing is learnt from
            it.
        labels: A labelled dataset to learn from beside the store, where the method takes labels,
            as joint does with method.classes.
        overrides: Values that differ from the file, by dotted name.

    Returns:
        The export folder.

    Raises:
        ConfigError: If a key or value of the configuration is wrong.
        StoreError: If the store is damaged.
        TrainingError: If a loss is not finite.

    Example:
        medssl pretrain --config pipelines/pretrain/voco_ct.yaml --data store --out runs/voco
    """
    configuration = load_configuration(config, overrides, pretrain_sections())
    from medssl.report.pretrain import write_pretrain_report
    from medssl.training.checkpoint import continue_from

    if weights is not None and after is not None:
        raise UsageError("--weights and --after were both given; a run starts from one of them")
    options = {"config": configuration.to_dict(), "resume": resume, "weights": weights}
    options |= {"after": after, "probe": probe, "labels": labels}
    out = Path(out)
    with CommandSession(
        "pretrain", out=out, overwrite=overwrite, resume=resume, options=options
    ) as session:
        if after is not None and not resume:
            begun = continue_from(Path(after), out)
            session.note(f"goes on after step {begun} of {Path(after).name}")
        goes_on = resume or after is not None
        beside = Beside(weights=weights, probe=probe, labels=labels)
        _run(session, configuration, Path(data), out, resume=goes_on, beside=beside)
    if not session.follows:  # the report shows the session's record, so it comes after it
        write_pretrain_report(out, *draw_pictures(out, Path(data)))
    return out / "export"


def _run(
    session: CommandSession,
    configuration: Configuration,
    data: Path,
    out: Path,
    *,
    resume: bool,
    beside: Beside,
) -> None:
    from medssl.evaluation.monitor import CollapseMonitor
    from medssl.store.store import Store
    from medssl.training.trainer import train
    from medssl.weights.export import try_export, write_export

    settings = configuration.run_settings()
    store = Store.open(data)
    method = build_method(configuration, settings)
    origin = "none" if beside.weights is None else start_from(method.encoder, beside.weights)
    labelled = labelled_store(method, beside.labels, store, out)
    _say_padding(session, store, settings.data.patch)
    text = configuration.to_yaml()
    (out / "config.yaml").write_text(text, encoding="utf-8")
    contract, training = _records(store, settings, method, text, origin)
    encoder = method.exported_encoder()
    try_export(out, encoder, encoder=encoder, contract=contract, training=training)
    every = settings.trainer.monitor_every
    callbacks: list[Callback] = [CollapseMonitor(every=every)] if every else []
    if beside.probe is not None and every:
        callbacks.append(probe_monitor(store, Path(beside.probe), out, settings))
    trainer = train(
        method,
        store=store,
        volumes=store.ids,
        places=method.places(),
        settings=settings,
        run=out,
        resume=resume,
        labelled=labelled,
        callbacks=callbacks,
    )
    if not trainer.is_global_zero:
        return
    title = f"{method.name} on {training.volumes} volumes ({contract.modality})"
    write_export(
        out / "export", encoder, encoder=encoder, contract=contract, training=training, title=title
    )
    session.hash_output(out / "export" / "encoder.safetensors")
    session.summary(
        [f"{method.name} trained {encoder.name} for {settings.trainer.steps} steps"],
        next_step="medssl finetune --config pipelines/finetune/segmentation.yaml "
        f"--data DATASET --weights {out} --out runs/segmentation",
    )


def build_method(configuration: Configuration, settings: RunSettings) -> Method:
    """Build the method and its encoder from a configuration, with the weights that its seed gives.

    Args:
        configuration: What :func:`load_configuration` returned.
        settings: Its data and trainer sections.
    """
    import torch

    from medssl.encoders import build_encoder
    from medssl.methods import METHODS

    patch = settings.data.patch
    torch.manual_seed(settings.trainer.seed)
    chosen = configuration.chosen("encoder")
    encoder = build_encoder(
        chosen.name, spatial_dims=len(patch), in_channels=1, patch=patch, **chosen.options
    )
    wanted = configuration.chosen("method")
    return METHODS[wanted.name](encoder=encoder, patch=patch, **wanted.options)


def start_from(encoder: Encoder, weights: Path) -> str:
    """Fill an encoder with the weights of an export and return which these are.

    Raises:
        InputError: If there is no export.
        WeightsMismatchError: If they are of another encoder.
    """
    from medssl.weights.load import encoder_from, find_export
    from medssl.weights.manifest import read_manifest

    folder = find_export(weights)
    manifest = read_manifest(folder / "manifest.json")
    state = encoder_from(folder, manifest).state_dict()
    mine = encoder.state_dict()
    if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in mine.items()}:
        raise WeightsMismatchError(
            f'the weights "{Path(weights).name}" are of encoder {manifest.encoder.name} '
            f"{manifest.encoder.config}, and the configuration asks for {encoder.name} "
            f"{encoder.config}; give both the same encoder and data.patch"
        )
    encoder.load_state_dict(state)
    return f"{manifest.id} ({manifest.file.sha256[:12]})"


def _say_padding(session: CommandSession, store: Store, patch: Sequence[int]) -> None:
    smaller = sum(
        any(n < p for n, p in zip(store.row(volume)["shape"], patch, strict=False))
        for volume in store.ids
    )
    if smaller:
        session.note(
            f"{smaller} of {len(store.ids)} volumes are smaller than the patch {tuple(patch)} "
            "along some axis; they are padded with their own lowest value"
        )


def _records(
    store: Store, settings: RunSettings, method: Method, config_text: str, origin: str
) -> tuple[InputContract, TrainingRecord]:
    from medssl.weights.manifest import InputContract, TrainingRecord

    rows = [store.row(volume) for volume in store.ids]
    modalities = sorted({row["modality"] for row in rows})
    contract = InputContract(
        modality=modalities[0] if len(modalities) == 1 else "unknown",
        recipe=store.recipe.to_dict(),
        recipe_hash=store.recipe.hash,
        patch=tuple(settings.data.patch),
    )
    training = TrainingRecord(
        method=method.name,
        steps=settings.trainer.steps,
        seed=settings.trainer.seed,
        volumes=len(rows),
        patients=len({row["patient"] for row in rows}),
        initial_weights=origin,
        config_sha256=hashlib.sha256(config_text.encode()).hexdigest(),
    )
    return contract, training


def draw_pictures(run: Path, data: Path) -> tuple[list[Picture], Panels | None]:
    """Return pictures of what a finished run was asked and answers now, and of where it looked.

    Args:
        run: The run folder, with its configuration and its checkpoints.
        data: A store; crops that the run has not seen are cut from it.
    """
    import torch

    from medssl.report.places import store_panels
    from medssl.store.store import Store
    from medssl.training.checkpoint import AtomicCheckpointIO, newest_checkpoint
    from medssl.training.datamodules import CropDataset, collate
    from medssl.training.module import batch_generator

    configuration = load_configuration(run / "config.yaml", (), pretrain_sections())
    settings = configuration.run_settings()
    method = build_method(configuration, settings)
    checkpoint = newest_checkpoint(run / "checkpoints")
    if checkpoint is not None:
        method.load_state_dict(AtomicCheckpointIO().load_checkpoint(checkpoint)["state_dict"])
    store, seed = Store.open(data), settings.trainer.seed + 1
    dataset = CropDataset(store, store.ids, method.places(), settings.data.patch, seed=seed)
    batch = collate([dataset[number] for number in range(2)])
    places = store_panels(store, method.places(), settings.data.patch)
    with torch.no_grad():
        generator = batch_generator(seed, 0, torch.device("cpu"))
        return method.eval().pictures(batch, generator), places
