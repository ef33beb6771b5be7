"""How a run goes on from another: from its weights, or as if it had never been annealed."""

import csv

import pytest
import torch

import medssl
from medssl.commands.phantoms import write_phantoms
from medssl.errors import ConfigError, InputError, UsageError, WeightsMismatchError

CONFIG = {
    "method": {"name": "mae_cnn", "mask_size": 8},
    "encoder": {"name": "resenc_s"},
    "data": {"patch": [16, 16, 16], "batch": 1, "workers": 0},
    "optim": {
        "schedule": "infinite",
        "warmup": 2,
        "cooldown": 2,
        "anneal": 2,
        "weight_decay": 0.04,
        "final_weight_decay": None,
    },
    "trainer": {"steps": 6, "threads": 1, "checkpoint_every": 3, "accelerator": "cpu"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    organs = ["lung_left", "lung_right", "liver"]
    write_phantoms(root / "raw", count=2, size=(24, 24, 24), labels=True, organs=organs)
    cohort = medssl.index([root / "raw" / "imagesTr"], out=root / "cohort", modality="ct")
    medssl.prepare(cohort, out=root / "store", spacing_mm="native", workers=1)
    return root / "store"


@pytest.fixture(scope="module")
def short(store, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "short"
    medssl.pretrain(config=CONFIG, data=store, out=run)
    return run


def state(run):
    return medssl.load_encoder(run)[0].state_dict()


def test_a_run_after_another_is_the_unbroken_longer_run(store, short, tmp_path):
    longer = {"trainer.steps": 9}
    medssl.pretrain(config=CONFIG, data=store, out=tmp_path / "on", after=short, overrides=longer)
    medssl.pretrain(config=CONFIG, data=store, out=tmp_path / "unbroken", overrides=longer)
    on, unbroken = state(tmp_path / "on"), state(tmp_path / "unbroken")
    assert all(torch.equal(on[name], unbroken[name]) for name in unbroken)
    assert not all(torch.equal(on[name], tensor) for name, tensor in state(short).items())


def test_a_run_can_start_from_weights_and_says_which(store, short, tmp_path):
    out = tmp_path / "run"
    frozen = {"trainer.steps": 1, "optim.lr": 1e-12, "optim.schedule": "constant"}
    medssl.pretrain(config=CONFIG, data=store, out=out, weights=short, overrides=frozen)
    for name, tensor in state(short).items():
        torch.testing.assert_close(state(out)[name], tensor, rtol=0, atol=1e-9)
    assert "initial_weights" in (out / "export/manifest.json").read_text()


def test_checkpointed_blocks_learn_the_same(store, short, tmp_path):
    out = tmp_path / "run"
    changes = {"trainer.gradient_checkpointing": True}
    medssl.pretrain(config=CONFIG, data=store, out=out, overrides=changes)
    for name, tensor in state(short).items():
        torch.testing.assert_close(state(out)[name], tensor, rtol=1e-4, atol=1e-6)


JOINT = {"name": "joint", "terms": [{"name": "mae_cnn", "mask_size": 8}]}
SUPERVISED = {**CONFIG, "method": {**JOINT, "classes": 3}, "optim": {"lr": 3e-3}}


def test_masks_are_learnt_from_beside_the_store(store, tmp_path):
    changes = {"trainer.steps": 20, "trainer.log_every": 1}
    labels = store.parent / "raw"
    out = tmp_path / "run"
    medssl.pretrain(config=SUPERVISED, data=store, out=out, labels=labels, overrides=changes)
    with (out / "metrics.csv").open() as file:
        found = [float(row["labels"]) for row in csv.DictReader(file) if row["labels"]]
    assert len(found) == 20
    assert sum(found[-5:]) < 0.9 * sum(found[:5])
    assert not any("decoder" in name for name in state(out))


@pytest.mark.parametrize(
    ("options", "classes", "error", "message"),
    [
        ({"labels": "raw"}, 0, UsageError, "learns from no labels"),
        ({}, 3, UsageError, "no --labels was given"),
        ({"labels": "raw"}, 2, ConfigError, "set method.classes"),
    ],
)
def test_labels_that_nobody_learns_from_or_that_lack_are_refused(
    store, tmp_path, options, classes, error, message
):
    given = {name: store.parent / folder for name, folder in options.items()}
    config = {**SUPERVISED, "method": {**JOINT, "classes": classes}}
    with pytest.raises(error, match=message):
        medssl.pretrain(config=config, data=store, out=tmp_path / "out", **given)


@pytest.mark.parametrize(
    ("options", "changes", "error", "message"),
    [
        ({"weights": "run"}, {"encoder.name": "resenc_m"}, WeightsMismatchError, "same encoder"),
        ({"weights": "run", "after": "run"}, {}, UsageError, "one of them"),
        ({"after": "empty"}, {}, InputError, "infinite"),
    ],
)
def test_what_can_not_be_gone_on_from_is_refused(
    store, short, tmp_path, options, changes, error, message
):
    (tmp_path / "empty").mkdir()
    places = {"run": short, "empty": tmp_path / "empty"}
    given = {name: places[where] for name, where in options.items()}
    with pytest.raises(error, match=message):
        medssl.pretrain(config=CONFIG, data=store, out=tmp_path / "out", overrides=changes, **given)
