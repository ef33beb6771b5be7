import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from medssl.io.nifti import write_nifti

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/crops.py"


@pytest.mark.slow
def test_the_benchmark_compares_every_way_on_the_same_volumes(tmp_path, monkeypatch, capsys):
    chance = np.random.default_rng(0)
    for number in range(2):
        data = np.full((40, 44, 30), -1000, np.int16)
        data[8:-8, 8:-8] = chance.integers(-150, 900, (24, 28, 30))
        write_nifti(tmp_path / f"subject{number}_ct.nii.gz", data, np.diag([2.0, 2.0, 2.0, 1.0]))
    arguments = ["--patch", "16", "16", "16", "--crops", "4", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--scans", str(tmp_path), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    for title in ("copy in memory", "store, integers", "nnssl's store", "MONAI", "two workers"):
        assert title in printed


def test_the_rules_of_nnssl_s_files_are_its_own():
    layout = runpy.run_path(str(SCRIPT))["nnssl_layout"]
    for shape, expected in EXPECTED.items():
        assert layout((1, *shape)) == expected


EXPECTED = {
    # What its comp_blosc2_params gives for a patch of 160 cubed.
    (512, 512, 130): ((1, 16, 16, 16), (1, 80, 64, 64)),
    (100, 40, 12): ((1, 32, 16, 12), (1, 100, 40, 12)),
    (406, 448, 144): ((1, 16, 16, 16), (1, 80, 64, 64)),
}
