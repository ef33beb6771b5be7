import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/methods.py"


@pytest.mark.slow
def test_a_run_is_kept_and_told_in_a_table(monkeypatch, capsys, tmp_path):
    arguments = ["--work", str(tmp_path), "--methods", "mae_cnn", "--seeds", "0"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments, "--seconds", "1"])
    for _ in range(2):
        runpy.run_path(str(SCRIPT), run_name="__main__")
        assert [path.name for path in (tmp_path / "results").iterdir()] == ["mae_cnn_0.json"]
    printed = capsys.readouterr().out
    assert "| mae_cnn | resenc_s | 1 |" in printed
    assert "organ in CT, linear" in printed
