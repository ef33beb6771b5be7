"""``medssl finetune`` from a table of labelled volumes to an exported model."""

import csv
import json

import numpy as np
import pytest
import torch

from medssl.commands.finetune import finetune
from medssl.encoders import build_encoder
from medssl.errors import (
    ConfigError,
    DatasetError,
    TrainingError,
    UsageError,
    WeightsMismatchError,
)
from medssl.io.nifti import write_nifti
from medssl.store.recipe import Recipe
from medssl.tasks import load_model
from medssl.types import Volume
from medssl.weights.export import write_export
from medssl.weights.load import load_encoder
from medssl.weights.manifest import InputContract, TrainingRecord
from medssl.weights.state import read_tensors

CONFIG = {
    "task": {"name": "segmentation", "augmentation": 0.0},
    "encoder": {"name": "resenc_s"},
    "data": {"patch": [16, 16, 16], "batch": 2, "workers": 0},
    "optim": {"lr": 0.01, "ema": 0.7},
    "trainer": {
        "steps": 24,
        "accelerator": "cpu",
        "precision": "32",
        "log_every": 5,
        "checkpoint_every": 10,
    },
}
SHORT = {"trainer.steps": 2}
FOUR = {"trainer.steps": 4, "optim.schedule": "constant", "optim.warmup": 0.0}
VOXELS = np.diag([4.0, 4.0, 4.0, 1.0])


def subject(seed, shape=(20, 16, 14)):
    """A dim body with a bright and a dark ball somewhere in it."""
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    mask = np.zeros(shape, np.uint8)
    for label, low in ((1, 4), (2, 12)):
        middle = (low + generator.uniform(0, 3), *generator.uniform(5, 9, 2))
        mask[np.linalg.norm(grid - middle, axis=-1) < 3.2] = label
    image = np.array([100.0, 200.0, 20.0])[mask] + generator.normal(0, 8, shape)
    return image.astype(np.float32), mask


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A table of six subjects to train on, two to measure on, one that must not be touched."""
    root = tmp_path_factory.mktemp("dataset")
    rows = []
    for number in range(9):
        image, mask = subject(number)
        write_nifti(root / f"s{number}.nii.gz", image, VOXELS)
        write_nifti(root / f"s{number}_mask.nii.gz", mask, VOXELS)
        split = "train" if number < 6 else "val" if number < 8 else "test"
        rows.append((f"s{number}.nii.gz", f"s{number}_mask.nii.gz", f"p{number}", split))
    whole = (root / "s8.nii.gz").read_bytes()
    (root / "s8.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_table(root / "table.csv", ("image", "label", "patient", "split"), rows)
    (root / "table.labels.json").write_text(json.dumps({"bright": 1, "dark": 2}))
    return root / "table.csv"


def write_table(path, names, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "balls"
    finetune(config=CONFIG, data=dataset, weights="none", out=out)
    return out


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of an encoder that was trained on voxels of 5 mm."""
    folder = tmp_path_factory.mktemp("weights") / "export"
    torch.manual_seed(7)
    encoder = build_encoder("resenc_s", in_channels=1, patch=[16, 16, 16])
    recipe = Recipe(spacing_mm=(5.0, 5.0, 5.0))
    write_export(
        folder,
        encoder,
        encoder=encoder,
        contract=InputContract("mr", recipe.to_dict(), recipe.hash, (16, 16, 16)),
        training=TrainingRecord("mae_cnn", 1, 0, 1, 1, "0" * 64),
        title="test",
    )
    return folder


def tensors_of(run):
    model = load_model(run)
    return read_tensors(run / "export", model.manifest.file)


def last_row(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))[-1]


def test_a_run_learns_and_measures_itself_on_the_cases_held_out(run):
    assert float(last_row(run)["validation_dice"]) > 0.8
    with (run / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["s6", "s7"]
    assert {"dice", "dice_bright", "dice_dark"} < set(rows[0])


def test_a_run_leaves_all_that_the_interface_promises(run):
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "metrics.csv",
        "checkpoints",
        "export",
        "report.html",
        "run.json",
    } <= names
    exported = {path.name for path in (run / "export").iterdir()}
    assert exported == {"model.safetensors", "manifest.json", "README.md"}


def test_the_model_finds_what_it_was_taught(run):
    model = load_model(run)
    assert model.labels == {"bright": 1, "dark": 2}
    image, mask = subject(50)
    predicted = model.predict(Volume(image, VOXELS, "mr"))
    assert (predicted == mask).mean() > 0.95


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """An unbroken run of four steps."""
    out = tmp_path_factory.mktemp("whole") / "run"
    finetune(config=CONFIG, data=dataset, weights="none", out=out, overrides=FOUR)
    return out


def test_the_config_of_a_run_reproduces_it(whole, dataset, tmp_path):
    finetune(config=whole / "config.yaml", data=dataset, weights="none", out=tmp_path / "run")
    first, second = tensors_of(whole), tensors_of(tmp_path / "run")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_resumed_run_ends_where_an_unbroken_one_does(whole, dataset, tmp_path):
    common = {"config": CONFIG, "data": dataset, "weights": "none", "out": tmp_path / "run"}
    finetune(overrides={**FOUR, "trainer.steps": 2}, **common)
    finetune(overrides=FOUR, resume=True, **common)
    first, second = tensors_of(whole), tensors_of(tmp_path / "run")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_images_are_prepared_as_for_the_weights(dataset, weights, tmp_path):
    config = {name: section for name, section in CONFIG.items() if name != "encoder"}
    finetune(
        config=config, data=dataset, weights=str(weights), out=tmp_path / "run", overrides=SHORT
    )
    manifest = load_model(tmp_path / "run").manifest
    assert manifest.input.recipe["spacing_mm"] == [5.0, 5.0, 5.0]
    assert manifest.input.modality == "mr"
    assert manifest.encoder.name == "resenc_s"
    assert manifest.training.initial_weights.startswith("local/mae-cnn")


def test_a_frozen_encoder_stays_as_it_was_given(dataset, weights, tmp_path):
    finetune(
        config=CONFIG,
        data=dataset,
        weights=str(weights),
        out=tmp_path / "run",
        overrides={**SHORT, "task.frozen_share": 0.9, "optim.ema": 0.0},
    )
    given, _ = load_encoder(weights)
    kept, _ = load_encoder(tmp_path / "run")
    pairs = zip(given.state_dict().values(), kept.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_so_many_labels_are_used_and_what_is_padded_is_said(dataset, tmp_path, capsys):
    finetune(
        config=CONFIG,
        data=dataset,
        weights="none",
        out=tmp_path / "run",
        labels=2,
        overrides=SHORT,
    )
    assert load_model(tmp_path / "run").manifest.training.volumes == 2
    said = capsys.readouterr().err
    assert "2 cases to train on" in said
    assert "4 of 4 volumes are smaller than the patch 16 x 16 x 16" in said


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"encoder.name": "resnet18"}, WeightsMismatchError, ('"resenc_s"', '"resnet18"')),
        ({"data.patch": [16, 16]}, WeightsMismatchError, ("3D", "2D")),
        ({"task.name": "classification"}, DatasetError, ("classification", "segmentation")),
        ({"task.foregrund": 0.5}, ConfigError, ('"foreground"',)),
        ({"task.foreground": 1.5}, ConfigError, ("task.foreground", "[0, 1]")),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    dataset, weights, tmp_path, changes, error, words
):
    with pytest.raises(error) as caught:
        finetune(
            config=CONFIG,
            data=dataset,
            weights=str(weights),
            out=tmp_path / "run",
            overrides=changes,
        )
    assert all(word in str(caught.value) for word in words)
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_exist_are_refused(dataset, tmp_path):
    with pytest.raises(WeightsMismatchError.__mro__[1], match="do not exist"):
        finetune(config=CONFIG, data=dataset, weights="nowhere", out=tmp_path / "run")


def test_a_loss_that_is_not_finite_names_step_and_cases(dataset, tmp_path):
    with pytest.raises(TrainingError, match=r"step \d+.*s\d"):
        finetune(
            config=CONFIG,
            data=dataset,
            weights="none",
            out=tmp_path / "run",
            overrides={"optim.lr": 1e30, "optim.warmup": 0.0, "optim.clip_norm": 0.0},
        )


def test_a_case_that_cannot_be_used_is_named_instead_of_left_out(dataset, tmp_path):
    root = dataset.parent
    (tmp_path / "bad.nii.gz").write_bytes((root / "s0.nii.gz").read_bytes()[:300])
    rows = [
        (root / "s1.nii.gz", root / "s1_mask.nii.gz"),
        (tmp_path / "bad.nii.gz", root / "s0_mask.nii.gz"),
    ]
    table = write_table(tmp_path / "table.csv", ("image", "label"), rows)
    with pytest.raises(DatasetError, match="bad"):
        finetune(config=CONFIG, data=table, weights="none", out=tmp_path / "run", overrides=SHORT)


def test_too_many_labels_are_refused(dataset, tmp_path):
    with pytest.raises(UsageError, match="from 1 to 6"):
        finetune(config=CONFIG, data=dataset, weights="none", out=tmp_path / "run", labels=7)


def test_classes_are_learnt_from_a_table_of_targets(tmp_path):
    rows = []
    for number in range(8):
        bright = number % 2
        noise = np.random.default_rng(number).normal(0, 5, (16, 16, 16))
        image = np.full((16, 16, 16), 100.0) + noise
        image[4:12, 4:12, 4:12] += 200.0 if bright else -80.0
        write_nifti(tmp_path / f"c{number}.nii.gz", image.astype(np.float32), VOXELS)
        split = "train" if number < 6 else "val"
        rows.append((f"c{number}.nii.gz", "bright" if bright else "dark", split))
    table = write_table(tmp_path / "targets.csv", ("image", "target", "split"), rows)
    config = {**CONFIG, "task": {"name": "classification", "augmentation": 0.0}}
    finetune(
        config=config,
        data=table,
        weights="none",
        out=tmp_path / "run",
        overrides={"trainer.steps": 20},
    )
    model = load_model(tmp_path / "run")
    assert float(last_row(tmp_path / "run")["validation_accuracy"]) == 1.0
    assert model.classify(tmp_path / "c7.nii.gz")["bright"] > 0.5
    assert model.classify(tmp_path / "c6.nii.gz")["dark"] > 0.5
