"""The road of the README, command by command, on synthetic patients."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import medssl
from medssl.cli import main
from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.commands.phantoms import write_phantoms
from medssl.commands.pretrain import build_method
from medssl.training.checkpoint import AtomicCheckpointIO, newest_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SIZE, SPACING_MM = (24, 20, 24), (16.0, 16.0, 18.0)
SHORT = (
    "--data.patch 16 16 16 --data.batch 1 --data.workers 0 --trainer.steps 2"
    " --trainer.accelerator cpu"
)
ROAD = {
    "prepare": "--spacing 12 12 12",
    "pretrain": f"--encoder.name resenc_s --method.grid 2 2 1 --method.width 32 {SHORT}",
    "finetune": f"{SHORT} --data.validation 0",
}
EXAMPLE = {"pretrain": SHORT, "finetune": SHORT}


def commands(section):
    """The medssl commands of the first block of a section of the README, in order."""
    text = (ROOT / "README.md").read_text().split(f"## {section}")[1].split("\n## ")[0]
    lines = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)[0].splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("medssl")]


def walk(section, root, here, changes):
    """Run the commands of a section in a folder, as typed but for size and length."""
    for verb, *rest in commands(section):
        for number, word in enumerate(rest):
            if rest[number - 1] == "--config":
                rest[number] = str(ROOT / word)
            elif not re.fullmatch(r"-.*|[\d.]+|mr", word):
                rest[number] = str(here.get(word, root / word))
        assert main([verb, *rest, *shlex.split(changes.get(verb, ""))]) == 0, verb
        if "/scans" in here and verb == "prepare":
            shutil.rmtree(here["/scans"])  # a store never needs its source again


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A folder in which every command of the road was run."""
    root = tmp_path_factory.mktemp("road")
    half = {"size": SIZE, "spacing_mm": SPACING_MM}
    write_phantoms(root / "scans/dicom", count=2, image_format="dicom", seed=5, **half)
    write_phantoms(root / "scans/nifti", count=1, seed=8, **half)
    write_phantoms(root / "dataset", count=2, labels=True, organs=["liver"], **half)
    shutil.copytree(root / "dataset/imagesTr", root / "new_scans")
    here = {"/scans": root / "scans", "/new_scans": root / "new_scans", "dataset": root / "dataset"}
    walk("The road", root, here, ROAD)
    return root


def test_road_of_the_readme_is_walked_to_its_end(walked):
    assert {words[0] for words in commands("The road")} == {
        "index", "prepare", "pretrain", "finetune", "predict", "evaluate",
    }  # fmt: skip
    result = json.loads((walked / "liver.json").read_text())
    assert 0 <= result["mean"]["dice"]["value"] <= 1


def test_every_stage_verifies(walked):
    for folder in ("cohort", "store", "runs/voco", "runs/liver/export"):
        if folder != "cohort":  # its sources are gone, on purpose
            assert main(["verify", str(walked / folder)]) == 0


def test_store_gives_the_same_crop_without_its_source(walked):
    store = medssl.Store.open(walked / "store")
    crop = store.read(store.ids[0], start=(2, 2, 2), size=(16, 16, 16))
    assert crop.shape == (1, 16, 16, 16)
    assert np.ptp(crop) > 0


def test_exported_encoder_is_that_of_the_training_bit_for_bit(walked):
    run = walked / "runs/voco"
    configuration = load_configuration(run / "config.yaml", (), pretrain_sections())
    method = build_method(configuration, configuration.run_settings())
    checkpoint = AtomicCheckpointIO().load_checkpoint(newest_checkpoint(run / "checkpoints"))
    method.load_state_dict(checkpoint["state_dict"])
    encoder, _ = medssl.load_encoder(run / "export")
    probe = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        trained = method.exported_encoder().eval()(probe)
        loaded = encoder(probe)
    assert all(torch.equal(a, b) for a, b in zip(trained, loaded, strict=True))


@pytest.mark.slow
@pytest.mark.data
def test_example_of_the_readme_is_walked_to_its_end(shared_data, tmp_path):
    script = ROOT / "pipelines/finetune/hippocampus.py"
    source = shared_data("Task04_Hippocampus")
    words = [sys.executable, str(script), str(source), "--out", str(tmp_path / "hippocampus")]
    subprocess.run(words, check=True, capture_output=True)
    walk("A real example", tmp_path, {}, EXAMPLE)
    assert json.loads((tmp_path / "hippocampus.json").read_text())["mean"]["dice"]["cases"] == 20


@pytest.mark.data
def test_mask_of_a_real_scan_opens_on_its_grid(walked, shared_data, tmp_path):
    scan = shared_data("totalsegmentator/example_ct.nii.gz")
    image = nibabel.load(scan)
    turned = nibabel.Nifti1Image(
        np.asarray(image.dataobj).transpose(2, 0, 1)[:, ::-1], image.affine @ turn(image.shape)
    )
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    model = ["predict", "--model", str(walked / "runs/liver")]
    inputs = [str(scan), str(tmp_path / "turned.nii.gz")]
    assert main([*model, "--input", *inputs, "--out", str(tmp_path / "masks")]) == 0
    mask = nibabel.load(tmp_path / "masks/example_ct.nii.gz")
    assert mask.shape == image.shape
    assert np.array_equal(mask.affine, image.affine)
    other = nibabel.load(tmp_path / "masks/turned.nii.gz")
    assert other.shape == turned.shape
    assert np.allclose(other.affine, turned.affine, atol=1e-5)
    same = np.asarray(mask.dataobj).transpose(2, 0, 1)[:, ::-1] == np.asarray(other.dataobj)
    assert same.mean() > 0.999


def turn(shape):
    """Index of the turned array (z, flipped x, y) to index of the original."""
    matrix = np.zeros((4, 4))
    matrix[2, 0] = matrix[1, 2] = matrix[3, 3] = 1
    matrix[0, 1], matrix[0, 3] = -1, shape[0] - 1
    return matrix


@pytest.mark.data
def test_mask_of_a_real_dicom_series_lies_on_the_grid_of_the_series(walked, shared_data, tmp_path):
    series = shared_data("totalsegmentator/example_ct_dicom")
    words = ["predict", "--model", str(walked / "runs/liver"), "--input", str(series)]
    assert main([*words, "--out", str(tmp_path / "masks")]) == 0
    (path,) = (tmp_path / "masks").glob("*.nii.gz")
    volume, mask = medssl.read_volume(series), nibabel.load(path)
    assert mask.shape == volume.data.shape
    assert np.allclose(mask.affine, volume.affine, atol=1e-5)
