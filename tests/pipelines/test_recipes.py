"""Every YAML file that we ship runs: two steps, a report and an export.

The recipes for a GPU run here with the small sibling of their encoder and a small patch; ``slow``
runs them with the encoder that they name.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import medssl
from medssl.commands.phantoms import write_phantoms
from medssl.methods import METHODS

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
PRETRAIN = sorted(PIPELINES.glob("pretrain/*.yaml"))
FINETUNE = sorted(PIPELINES.glob("finetune/*.yaml"))
SIBLING = {
    "resenc_l": {"encoder.name": "resenc_s"},
    "vit_base": {"encoder.name": "vit_tiny", "encoder.token": 8},
    "swin_base": {"encoder.name": "resenc_s"},
}
QUICK = {
    "data.patch": [32, 32, 32],
    "data.batch": 1,
    "data.workers": 0,
    "trainer.steps": 2,
    "trainer.accumulate": 1,
    "trainer.monitor_every": 1,
    "trainer.accelerator": "cpu",
    "optim.warmup": 0.0,
}


def stem(path):
    return path.stem


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A CT and an MR store of three synthetic subjects each."""
    root = tmp_path_factory.mktemp("stores")
    for modality, scanner in (("ct", "ct"), ("mr", "t1")):
        raw = root / f"raw_{modality}"
        write_phantoms(
            raw, count=3, modality=scanner, size=(40, 36, 40), spacing_mm=(10.0, 10.0, 11.0)
        )
        cohort = medssl.index(
            [raw / "imagesTr"], out=root / f"cohort_{modality}", modality=modality
        )
        medssl.prepare(cohort, out=root / modality, spacing_mm="median", workers=1)
    return root


def adapted(path, *, full=False):
    config = yaml.safe_load(path.read_text())
    changes = dict(QUICK)
    if not full and "encoder" in config:
        changes |= SIBLING.get(config["encoder"]["name"], {})
    # a planar recipe stays planar
    changes["data.patch"] = QUICK["data.patch"][: len(config["data"]["patch"])]
    if "method" in config:
        changes |= {f"method.{k}": v for k, v in METHODS[config["method"]["name"]].tiny().items()}
    if "mask_size" in config.get("method", {}):
        changes["method.mask_size"] = 8
    return changes


def run_pretraining(path, stores, out, *, full=False):
    modality = path.stem.split("_cpu")[0].rsplit("_", 1)[1]
    return medssl.pretrain(
        config=path, data=stores / modality, out=out, overrides=adapted(path, full=full)
    )


@pytest.mark.parametrize("path", PRETRAIN, ids=stem)
def test_pretraining_recipe_runs(path, stores, tmp_path):
    export = run_pretraining(path, stores, tmp_path / "run")
    assert "Where it looked" in (tmp_path / "run/report.html").read_text()
    encoder, _ = medssl.load_encoder(export)
    assert (
        encoder.name
        == yaml.safe_load((tmp_path / "run/config.yaml").read_text())["encoder"]["name"]
    )
    assert (tmp_path / "run/report.html").stat().st_size > 5_000


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in PRETRAIN if "_cpu" not in p.stem], ids=stem)
def test_gpu_recipe_runs_with_its_own_encoder(path, stores, tmp_path):
    assert run_pretraining(path, stores, tmp_path / "run", full=True).is_dir()


@pytest.mark.slow
def test_two_devices_share_a_run(stores, tmp_path):
    changes = adapted(PIPELINES / "pretrain/voco_ct_cpu.yaml") | {"trainer.devices": 2}
    command = [sys.executable, "-m", "medssl", "pretrain", "--data", str(stores / "ct")]
    command += ["--config", str(PIPELINES / "pretrain/voco_ct_cpu.yaml")]
    command += ["--out", str(tmp_path / "run")]
    for key, value in changes.items():
        command += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    subprocess.run(command, check=True, capture_output=True)
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) == 3
    assert medssl.load_encoder(tmp_path / "run")[0].name == "resenc_s"


@pytest.mark.parametrize("path", PRETRAIN, ids=stem)
def test_every_recipe_has_a_laptop_twin(path):
    twin = path.with_name(path.stem.removesuffix("_cpu") + "_cpu.yaml")
    assert twin.is_file()
    assert path.with_name(twin.name.replace("_cpu", "")).is_file()


@pytest.mark.parametrize("path", FINETUNE, ids=stem)
def test_finetuning_recipe_runs(path, tmp_path):
    task = path.stem.removesuffix("_cpu")
    write_phantoms(
        tmp_path / "data", count=4, size=(24, 20, 24), spacing_mm=(16.0, 16.0, 18.0), labels=True,
        organs=["liver", "lung_left"],
    )  # fmt: skip
    data = tmp_path / "data" if task == "segmentation" else tmp_path / "data/classes.csv"
    overrides = {**adapted(path), "data.validation": 0.0}
    overrides.pop("trainer.monitor_every")
    export = medssl.finetune(
        config=path, data=data, weights="none", out=tmp_path / "run", overrides=overrides
    )
    assert medssl.load_model(export).task == task
