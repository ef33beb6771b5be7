import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/spark_step.py"


def test_the_benchmark_prints_ratio_and_floor(monkeypatch, capsys):
    arguments = ["--patch", "32", "--batch", "1", "--rounds", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert "masked after each / medssl" in printed
    assert "medssl / its floor" in printed
