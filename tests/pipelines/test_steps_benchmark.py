import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/steps.py"


def test_each_method_gets_a_row_of_figures():
    command = [sys.executable, str(SCRIPT), "--methods", "mae_cnn", "--steps", "1"]
    command += ["--data.patch", "[16, 16, 16]", "--method.mask_size", "8", "--data.batch", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    cells = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")]
    assert cells[:3] == ["`mae_cnn`", "resenc_s", "1"]
    per_crop, over_encoder, share, memory = map(float, cells[3:])
    assert per_crop > 0
    assert over_encoder > 1
    assert 0 < share < 1
    assert memory > 0.1
