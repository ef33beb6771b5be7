import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/mae_step.py"


def test_the_benchmark_prints_its_ratios(monkeypatch, capsys):
    arguments = ["--patch", "16", "--rounds", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert "MONAI / medssl" in printed
    assert "nnssl / shallow" in printed
    assert "medssl / floor" in printed
