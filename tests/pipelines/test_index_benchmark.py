import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/index.py"


def test_the_benchmark_of_headers_prints_its_ratio(monkeypatch, capsys, tmp_path):
    arguments = ["headers", "--files", "20", "--rounds", "1", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments, "--folder", str(tmp_path)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert "20 files of 1" in printed
    assert "median" in printed
    assert list(tmp_path.iterdir()) == []
