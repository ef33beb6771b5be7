import os
import subprocess
import sys
from pathlib import Path

import fake_dicom as fake
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/slurm/index.sh"
TABLES = ("volumes.parquet", "quarantine.csv", "summary.json")


def submit(*arguments, **variables):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", SCRIPT, *arguments],
        env={**os.environ, "PATH": path, "SLURM_CPUS_PER_TASK": "1", **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_an_array_and_the_job_after_it_make_the_cohort(tmp_path):
    for number in range(4):
        data = fake.body(seed=number)
        fake.write_ct(tmp_path / "scans" / str(number), data=data, series=str(number))
    for number in range(2):
        array = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": "2"}
        assert submit(tmp_path / "scans", tmp_path / "cohort", **array).returncode == 0
    joined = submit(tmp_path / "scans", tmp_path / "cohort")
    assert "0 of 32 files and 0 of 4 series" in joined.stdout
    assert submit(tmp_path / "scans", tmp_path / "whole").returncode == 0
    for name in TABLES:
        joined_table, table = ((tmp_path / where / name) for where in ("cohort", "whole"))
        assert joined_table.read_bytes() == table.read_bytes()


def test_wrong_calls_say_how_to_call_it(tmp_path):
    assert "usage" in submit(tmp_path).stderr
    array = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "2"}
    assert "--array=0-7" in submit(tmp_path, tmp_path / "out", **array).stderr
