"""What a user does wrong: an exit code, one clear sentence, and nothing written or lost."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import medssl
from medssl.cli import main
from medssl.commands.phantoms import write_phantoms
from medssl.io.nifti import write_nifti
from medssl.training.checkpoint import newest_checkpoint

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
PRETRAIN = str(PIPELINES / "pretrain/mae_cnn_ct_cpu.yaml")
FINETUNE = str(PIPELINES / "finetune/segmentation_cpu.yaml")
SMALL = ["--data.patch", "16", "16", "16", "--data.batch", "1", "--trainer.steps", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store of two subjects, a labelled dataset of two and a pretrained export."""
    root = tmp_path_factory.mktemp("data")
    write_phantoms(
        root / "msd", count=2, size=(20, 18, 20), spacing_mm=(20.0, 20.0, 24.0), labels=True,
        organs=["liver", "lung_left"],
    )  # fmt: skip
    cohort = medssl.index([root / "msd/imagesTr"], out=root / "cohort", modality="ct")
    medssl.prepare(cohort, out=root / "store", spacing_mm="median", workers=1)
    code = main(["pretrain", "--config", PRETRAIN, "--data", str(root / "store"), "--out",
                 str(root / "run"), *SMALL])  # fmt: skip
    assert code == 0
    return root


def refused(capsys, arguments, *, code, words):
    """Run a command that must be refused, and return what it said."""
    capsys.readouterr()
    assert main([str(word) for word in arguments]) == code
    said = capsys.readouterr().err.strip()
    sentence = said.splitlines()[-1]
    assert "Traceback" not in said
    for word in words:
        assert word in sentence, sentence
    return sentence


def table(path, rows, names=("image", "label", "patient", "split")):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
    return path


def finetune(data, dataset, out, *more):
    return ["finetune", "--config", FINETUNE, "--data", dataset, "--weights", "none",
            "--out", out, *SMALL, *more]  # fmt: skip


def pretrain(data, out, *more):
    return ["pretrain", "--config", PRETRAIN, "--data", data / "store", "--out", out, *SMALL, *more]


def test_missing_folder(capsys, tmp_path):
    out = tmp_path / "cohort"
    refused(capsys, ["index", tmp_path / "nowhere", "--out", out], code=3, words=["nowhere"])
    assert not out.exists()


def test_folder_without_an_image(capsys, tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/notes.txt").write_text("no image here")
    out = tmp_path / "cohort"
    refused(capsys, ["index", tmp_path / "scans", "--out", out], code=3, words=["no"])
    assert not out.exists()


def test_label_and_image_of_different_geometry(capsys, data, tmp_path):
    image = next((data / "msd/imagesTr").iterdir())
    write_nifti(tmp_path / "moved.nii.gz", np.ones((20, 18, 20), np.uint8), np.diag([9.0, 9, 9, 1]))
    rows = [(image, tmp_path / "moved.nii.gz", "p1", "train")]
    dataset = table(tmp_path / "table.csv", rows)
    refused(capsys, finetune(data, dataset, tmp_path / "run"), code=3, words=["mm"])


def test_labels_that_are_not_in_the_map(capsys, data, tmp_path):
    image = next((data / "msd/imagesTr").iterdir())
    label = data / "msd/labelsTr" / image.name
    dataset = table(tmp_path / "table.csv", [(image, label, "p1", "train")])
    (tmp_path / "table.labels.json").write_text('{"liver": 1}')
    refused(
        capsys,
        finetune(data, dataset, tmp_path / "run"),
        code=3,
        words=["holds 2", "expected 0 and 1"],
    )


def test_a_patient_in_two_splits(capsys, data, tmp_path):
    rows = [
        (image, data / "msd/labelsTr" / image.name, "the same", split)
        for image, split in zip(
            sorted((data / "msd/imagesTr").iterdir()), ("train", "test"), strict=True
        )
    ]
    dataset = table(tmp_path / "table.csv", rows)
    refused(capsys, finetune(data, dataset, tmp_path / "run"), code=3, words=["patient", "split"])


def test_weights_for_another_encoder(capsys, data, tmp_path):
    words = finetune(data, data / "msd", tmp_path / "run", "--encoder.name", "resnet18")
    words[words.index("none")] = data / "run"
    refused(capsys, words, code=3, words=["resnet18", "resenc_s"])
    assert not (tmp_path / "run/export").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--method.name", "vocco"], ["vocco", 'did you mean "voco"']),
        (["--encoder.name", "resenc_z"], ["resenc_z", 'did you mean "resenc_']),
        (["--method.mask_ration", "0.5"], ["mask_ration", "mask_ratio"]),
        (["--datta.patch", "8"], ["datta", "data"]),
        (["--data.batch", "many"], ["data.batch", "many"]),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(capsys, data, tmp_path, change, words):
    refused(capsys, pretrain(data, tmp_path / "run", *change), code=2, words=words)
    assert not (tmp_path / "run").exists()


def test_patch_larger_than_the_volume_is_padded_and_said(capsys, data, tmp_path):
    words = [*map(str, pretrain(data, tmp_path / "run")), "--data.patch", "32", "32", "32"]
    assert main(words) == 0
    assert "2 of 2 volumes are smaller than the patch" in capsys.readouterr().err


def test_loss_that_is_not_finite_names_step_and_cases(capsys, data, tmp_path):
    change = ["--optim.lr", "1e30", "--optim.warmup", "0", "--optim.clip_norm", "0",
              "--trainer.steps", "9"]  # fmt: skip
    said = refused(
        capsys, pretrain(data, tmp_path / "run", *change), code=3, words=["not finite at step"]
    )
    store = medssl.Store.open(data / "store")
    assert "gradient" in said or any(volume in said for volume in store.ids)
    assert not (tmp_path / "run/export").exists()


def test_output_that_is_there_is_kept(capsys, data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/precious.txt").write_text("keep")
    refused(capsys, pretrain(data, tmp_path / "run"), code=2, words=["--overwrite"])
    assert (tmp_path / "run/precious.txt").read_text() == "keep"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_folder(capsys, data, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(capsys, pretrain(data, tmp_path / "locked/run"), code=3, words=["can't write"])


def test_output_below_a_file(capsys, data, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(capsys, pretrain(data, tmp_path / "file/run"), code=3, words=["run"])


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from medssl.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_full_output_folder(data, tmp_path):
    words = [str(word) for word in pretrain(data, tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", FULL, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr


def test_interrupted_run_exits_130_and_resumes(data, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "medssl", *map(str, pretrain(data, run))]
    command += ["--trainer.steps", "400", "--trainer.log_every", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    metrics = run / "metrics.csv"
    while time.monotonic() < deadline and (
        not metrics.is_file() or len(metrics.read_text().splitlines()) < 3
    ):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    stopped = int(newest_checkpoint(run / "checkpoints").stem.removeprefix("step-"))
    words = [*map(str, pretrain(data, run, "--resume")), "--trainer.steps", str(stopped + 2)]
    assert main(words) == 0
    assert newest_checkpoint(run / "checkpoints").stem == f"step-{stopped + 2}"
