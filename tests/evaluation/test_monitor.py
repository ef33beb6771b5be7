"""The monitor sees a collapse, leaves a sound run alone, and leaves no trace in what is trained."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medssl.encoders.base import Encoder
from medssl.errors import CollapseError, ConfigError
from medssl.evaluation.monitor import CollapseMonitor
from medssl.training.config import OptimConfig
from medssl.training.logger import MetricsCsv
from medssl.training.module import TrainingModule, TrainingPlan
from medssl.types import Batch, Losses

STEPS = 12


class PooledEncoder(Encoder):
    """A convolution with everything a monitor could disturb: a running mean and dropout."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = 3, 1
        self.channels, self.strides = (8,), ((4, 4, 4),)
        self.gain = gain
        self.layers = nn.Sequential(
            nn.Conv3d(1, 8, 4, stride=4), nn.BatchNorm3d(8), nn.Dropout(0.2)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        # With gain 0 all that is left is a constant: every input gets the same features.
        return [self.gain * self.layers(x) + 1.0]


class Squeeze(TrainingModule):
    """Asks for small features; what is asked does not matter here."""

    def __init__(self, gain: float, *, keeps_embedding: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = PooledEncoder(gain)
        self.keeps_embedding = keeps_embedding
        self.plan = TrainingPlan(OptimConfig(lr=1e-4), STEPS, 0)

    def compute_losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        pooled = self.encoder.embed(batch.images.flatten(0, 1))
        if self.keeps_embedding:
            self.last_embedding = torch.ones(4, 8)
        return {"loss": (pooled**2).mean()}


def one(batches: list[Batch]) -> Batch:
    return batches[0]


def train(module: Squeeze, monitor: CollapseMonitor | None, path: Path) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    batches = [
        Batch(
            torch.randn(2, 2, 1, 8, 8, 8, generator=generator), {}, ["a", "b"], [2 * i, 2 * i + 1]
        )
        for i in range(STEPS)
    ]
    trainer = Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=MetricsCsv(path),
        callbacks=[] if monitor is None else [monitor],
        log_every_n_steps=5,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(batches, batch_size=1, collate_fn=one))
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("rankme")]


def test_a_sound_run_is_logged_at_every_look(tmp_path: Path) -> None:
    monitor = CollapseMonitor(every=4, inputs=16)
    train(Squeeze(1.0), monitor, tmp_path / "metrics.csv")
    logged = rows(tmp_path / "metrics.csv")
    # Steps 4 and 8 are none of Lightning's own: it logs every fifth.
    assert [int(float(row["step"])) + 1 for row in logged] == [4, 8, 12]
    assert monitor.figures is not None
    assert monitor.figures.inputs == 16
    assert float(logged[-1]["rankme"]) == pytest.approx(monitor.figures.rankme)
    assert float(logged[-1]["feature_spread"]) > 0.01


def test_a_collapse_ends_the_run_after_so_many_looks(tmp_path: Path) -> None:
    monitor = CollapseMonitor(every=2, inputs=8, patience=3)
    with pytest.raises(CollapseError, match="alike at step 6"):
        train(Squeeze(0.0), monitor, tmp_path / "metrics.csv")


def test_a_collapse_may_only_be_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = CollapseMonitor(every=2, inputs=8, patience=2, action="warn")
    with caplog.at_level(logging.WARNING, logger="medssl.evaluation.monitor"):
        train(Squeeze(0.0), monitor, tmp_path / "metrics.csv")
    assert sum("alike" in record.message for record in caplog.records) == 1


def test_the_embedding_of_a_method_is_what_is_watched(tmp_path: Path) -> None:
    monitor = CollapseMonitor(every=2, inputs=8, patience=1)
    with pytest.raises(CollapseError, match="step 2"):
        train(Squeeze(1.0, keeps_embedding=True), monitor, tmp_path / "metrics.csv")


def test_looking_changes_nothing_that_is_trained(tmp_path: Path) -> None:
    watched = train(Squeeze(1.0), CollapseMonitor(every=2, inputs=8), tmp_path / "a.csv")
    alone = train(Squeeze(1.0), None, tmp_path / "b.csv")
    for name, tensor in alone.items():
        assert torch.equal(watched[name], tensor), name


def test_a_monitor_that_could_never_look_is_refused() -> None:
    with pytest.raises(ConfigError, match="can't watch"):
        CollapseMonitor(inputs=1)
