"""Codes of how volumes look, and a cohort without those that look alike."""

from __future__ import annotations

import csv
import json
import stat
from dataclasses import replace

import numpy as np
import pytest

from medssl.cli import main
from medssl.cohort.cohort import Cohort
from medssl.cohort.likeness import perceptual_hash
from medssl.cohort.reduce import DEFAULT_THRESHOLD, find_alike
from medssl.errors import UsageError
from medssl.io.nifti import write_nifti
from medssl.io.read import read_volume
from medssl.types import Volume


def smooth(seed: int, shape: tuple[int, ...] = (40, 44, 36)) -> np.ndarray:
    """Return blobs at random places, like organs to a coarse eye."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(0, 1, size) for size in shape), indexing="ij")
    values = np.zeros(shape)
    for _ in range(12):
        centre, width = random.uniform(0, 1, len(shape)), random.uniform(0.05, 0.3)
        far = sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True))
        values += random.uniform(-1, 1) * np.exp(-far / width**2)
    return (values * 400).astype(np.float32)


def volume(data: np.ndarray, affine: np.ndarray | None = None) -> Volume:
    return Volume(data, np.eye(4) if affine is None else affine)


def share(first: str, second: str) -> float:
    """Return the share of bits in which two codes differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count() / (4 * len(first))


def distance(first: Volume, second: Volume) -> float:
    return share(perceptual_hash(first), perceptual_hash(second))


@pytest.mark.parametrize("seed", range(3))
def test_copies_that_differ_in_bits_look_alike(seed):
    data = smooth(seed)
    first = volume(data)
    random = np.random.default_rng(seed)
    low, high = data.min(), data.max()
    noisy = data + random.normal(0, 0.05 * data.std(), data.shape)
    coarse = data.reshape(20, 2, 22, 2, 18, 2).mean(axis=(1, 3, 5))
    alike = {
        "noise": volume(noisy.astype(np.float32)),
        "other units": volume(data * 2.5 - 1024),
        "8 bits": volume(((data - low) / (high - low) * 255).astype(np.uint8)),
        "half the resolution": volume(coarse, np.diag([2.0, 2, 2, 1])),
        "another order of voxels": volume(
            np.ascontiguousarray(data.transpose(2, 0, 1)[::-1]),
            np.array([[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 35], [0, 0, 0, 1]], float),
        ),
    }
    for change, other in alike.items():
        assert distance(first, other) <= DEFAULT_THRESHOLD, change


def test_different_volumes_look_different():
    volumes = [volume(smooth(seed)) for seed in range(12)]
    apart = [distance(a, b) for n, a in enumerate(volumes) for b in volumes[:n]]
    assert min(apart) > 2 * DEFAULT_THRESHOLD


def test_a_plane_has_a_code_of_64_bits_and_a_volume_six_times_that():
    assert len(perceptual_hash(volume(smooth(0, (30, 20))))) == 16
    assert len(perceptual_hash(volume(smooth(0)))) == 96


def test_what_is_constant_or_thin_or_not_finite_has_a_code_too():
    data = smooth(0, (9, 9, 1))
    data[0] = np.nan
    assert len(perceptual_hash(volume(data))) == 96
    assert perceptual_hash(volume(np.full((3, 3, 3), 7))) == "00" * 48
    air = smooth(1)
    air[:20] = -1000
    noisy = air + np.random.default_rng(0).normal(0, 2, air.shape)
    assert distance(volume(air), volume(noisy.astype(np.float32))) <= DEFAULT_THRESHOLD


def row(name: str, code: int, **columns: object) -> dict[str, object]:
    base = {"id": name, "patient": name, "modality": "ct", "duplicate_of": None}
    return {**base, "perceptual_hash": code.to_bytes(48, "big").hex(), **columns}


def naive(rows: list[dict], most: float) -> dict[str, str]:
    """Return what goes for the sake of what, one pair at a time."""
    kept: list[dict] = []
    gone: dict[str, str] = {}
    for each in rows:
        for first in kept:
            bits = int(each["perceptual_hash"], 16) ^ int(first["perceptual_hash"], 16)
            if bits.bit_count() <= most * 384 and each["modality"] == first["modality"]:
                gone[each["id"]] = first["id"]
                break
        else:
            kept.append(each)
    return gone


@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.02])
def test_the_first_of_a_heap_stays_as_in_a_naive_loop(threshold):
    random = np.random.default_rng(0)
    rows = []
    for number in range(300):
        bits = random.choice(384, random.integers(0, 8), replace=False)
        code = sum(1 << int(bit) for bit in bits)
        rows.append(row(str(number), code, modality="mr" if number % 3 else "ct"))
    removed = find_alike(rows, threshold)
    assert {entry.id: entry.kept for entry in removed} == naive(rows, threshold)
    assert [entry.id for entry in removed] == sorted((e.id for e in removed), key=int)
    assert all(entry.distance <= threshold for entry in removed)


def test_what_ties_two_patients_stays():
    rows = [
        row("first", 0),
        row("alike", 1),
        row("copied", 3),
        row("copy", 3, duplicate_of="copied"),
        row("nameless", 0, perceptual_hash=""),
        row("flat", 0, perceptual_hash="00" * 8),
    ]
    assert [entry.id for entry in find_alike(rows)] == ["alike"]


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    with pytest.raises(UsageError, match="--threshold"):
        find_alike([row("a", 0)], threshold)


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for patient in range(3):
        (folder / f"patient{patient}").mkdir(parents=True)
        data = smooth(patient)
        write_nifti(folder / f"patient{patient}" / "a_ct.nii", data, np.eye(4))
        noisy = data + np.random.default_rng(0).normal(0, 2, data.shape).astype(np.float32)
        write_nifti(folder / f"patient{patient}" / "b_ct.nii", noisy, np.eye(4))
    return folder


def test_index_takes_out_what_looks_alike_and_writes_it_down(scans, tmp_path, capsys):
    out = tmp_path / "cohort"
    reduced = ["index", str(scans), "--out", str(out), "--workers", "1", "--reduce", "hash"]
    assert main(reduced) == 0
    assert "3 of 6 volumes look like another" in capsys.readouterr().err
    cohort = Cohort.open(out)
    assert len(cohort) == 3
    with (out / "reduced.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["id", "kept", "distance", "same_patient"]
    assert sorted(line["kept"] for line in lines) == sorted(cohort.ids)
    assert {line["same_patient"] for line in lines} == {"yes"}
    assert stat.S_IMODE((out / "volumes.parquet").stat().st_mode) == 0o600
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["volumes"], summary["reduced"], summary["patients"]) == (3, 3, 3)
    first = [(out / name).read_bytes() for name in ("volumes.parquet", "reduced.csv")]
    assert main([*reduced, "--resume"]) == 0
    assert [(out / name).read_bytes() for name in ("volumes.parquet", "reduced.csv")] == first
    assert main(["index", str(scans), "--out", str(out), "--workers", "1", "--resume"]) == 0
    assert len(Cohort.open(out)) == 6
    assert not (out / "reduced.csv").exists()


@pytest.mark.parametrize(
    "words", [["--threshold", "0.1"], ["--reduce", "hash", "--threshold", "2"]]
)
def test_options_that_make_no_sense_are_wrong_usage(scans, tmp_path, capsys, words):
    assert main(["index", str(scans), "--out", str(tmp_path / "cohort"), *words]) == 2
    assert "--threshold" in capsys.readouterr().err


def test_patients_of_public_data_are_told_apart_and_their_noisy_copies_are_not(shared_data):
    files = sorted(shared_data("Task04_Hippocampus/imagesTr").glob("[!.]*.nii.gz"))[:40]
    volumes = [read_volume(file) for file in files]
    random = np.random.default_rng(0)
    codes = [perceptual_hash(each) for each in volumes]
    apart = [share(a, b) for number, a in enumerate(codes) for b in codes[:number]]
    assert min(apart) > 2 * DEFAULT_THRESHOLD
    for each in volumes:
        noise = random.normal(0, 0.1 * each.data.std(), each.data.shape)
        copy = replace(each, data=(each.data + noise).astype(np.float32))
        assert distance(each, copy) <= DEFAULT_THRESHOLD
