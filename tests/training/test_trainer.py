"""A run as a whole: resume, interruption, faults. One tiny module, real loader, real files."""

import csv
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from medssl.errors import TrainingError
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import Uniform
from medssl.training import trainer as trainer_module
from medssl.training.checkpoint import newest_checkpoint
from medssl.training.config import DataConfig, OptimConfig, TrainerConfig
from medssl.training.module import TrainingModule
from medssl.training.trainer import RunSettings, choose_precision, train


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Hear SIGINT as a terminal's program does: a background job is started deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Memory:
    def __init__(self, poison=None):
        self.poison = poison

    def facts(self, volume):
        return VolumeFacts((12, 12, 12), (1.0,) * 3, np.ones((3, 3, 3), bool), (4, 4, 4))

    def read(self, volume, start, size):
        generator = np.random.default_rng([int(volume), *start])
        value = np.nan if volume == self.poison else 0.0
        return generator.normal(size=(1, *size)).astype(np.float32) + np.float32(value)


class Tiny(TrainingModule):
    """Predicts a crop's mean through dropout and added noise: every source of chance is used."""

    def __init__(self, *, interrupt_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(512, 8), nn.Dropout(0.3))
        self.head = nn.Linear(8, 1)
        self.interrupt_at = interrupt_at
        self.steps_told = []

    def compute_losses(self, batch, generator):
        crops = batch.images[:, 0]
        noise = torch.randn(crops.shape, generator=generator)
        answer = self.head(self.encoder(crops + 0.1 * noise))
        if self.interrupt_at == self.global_step:
            self.interrupt_at = None
            os.kill(os.getpid(), signal.SIGINT)
        return {"loss": (answer - crops.flatten(1).mean(1, keepdim=True)).square().mean()}

    def after_step(self, step):
        self.steps_told.append(step)


def run(folder, module, *, steps=4, resume=False, poison=None, accumulate=1, **data):
    settings = RunSettings(
        DataConfig(patch=(8, 8, 8), batch=2, workers=0, **data),
        OptimConfig(lr=1e-2),
        TrainerConfig(
            steps=steps, accumulate=accumulate, log_every=1, checkpoint_every=2, accelerator="cpu"
        ),
    )
    train(
        module, store=Memory(poison), volumes=["1", "2", "3"], places=Uniform(), settings=settings,
        run=folder, resume=resume,
    )  # fmt: skip
    return module.state_dict()


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_interrupted_and_resumed_run_equals_an_unbroken_one(tmp_path, stop, accumulate):
    whole = run(tmp_path / "whole", Tiny(), accumulate=accumulate)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", Tiny(interrupt_at=stop), accumulate=accumulate)
    # the step that was under way is finished before the run stops
    assert newest_checkpoint(tmp_path / "part/checkpoints").name == f"step-{stop + 1}.ckpt"
    resumed = run(tmp_path / "part", Tiny(), accumulate=accumulate, resume=True)
    assert same(whole, resumed)
    for row, again in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "part"), strict=True):
        assert {**row, "volumes_per_s": ""} == {**again, "volumes_per_s": ""}


def test_second_request_stops_on_the_spot(tmp_path):
    class Impatient(Tiny):
        def compute_losses(self, batch, generator):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return super().compute_losses(batch, generator)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Impatient())
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_a_process_that_was_told_to_ignore_it_goes_on(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run(tmp_path, Tiny(interrupt_at=1))
    assert newest_checkpoint(tmp_path / "checkpoints").name == "step-4.ckpt"


def test_signal_handlers_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    run(tmp_path, Tiny())
    assert signal.getsignal(signal.SIGINT) is before


def test_after_step_is_called_once_an_optimiser_step(tmp_path):
    module = Tiny()
    run(tmp_path, module, accumulate=3)
    assert module.steps_told == [1, 2, 3, 4]


def test_nan_names_step_and_volumes_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"not finite at step \d .*volumes: .*3"):
        run(tmp_path, Tiny(), steps=10, poison="3")
    rows = rows_of(tmp_path)
    assert all(np.isfinite(float(row["loss"])) for row in rows)


def test_metrics_hold_loss_and_throughput(tmp_path):
    run(tmp_path, Tiny())
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert all(float(row["volumes_per_s"]) > 0 for row in rows)


def test_two_checkpoints_are_kept(tmp_path):
    run(tmp_path, Tiny(), steps=8)
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.ckpt"))
    assert names == ["step-6.ckpt", "step-8.ckpt"]


@pytest.mark.parametrize(
    ("pays", "device", "expected"),
    [(True, "cpu", "bf16-mixed"), (False, "cpu", "32-true"), (False, "cuda", "16-mixed")],
)
def test_automatic_precision_follows_the_hardware(monkeypatch, pays, device, expected):
    monkeypatch.setattr(trainer_module, "bfloat16_pays", lambda device: pays)
    assert choose_precision("auto", device) == expected


def test_precision_as_asked():
    assert choose_precision("bf16", "cpu") == "bf16-mixed"
