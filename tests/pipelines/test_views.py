import re
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/views.py"


@pytest.fixture
def benchmark(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def test_the_benchmark_prints_shares_of_a_step_and_ratios(benchmark, capsys):
    small = ["--patch", "16", "--rounds", "1", "--threads", "1", "--encoder", "resenc_s"]
    benchmark(*small, "--only", "Affine", "HistogramShift", "gentle_intensity", "multicrop 2 + 8")
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row[:26].strip() for row in rows] == [
        "Affine",
        "HistogramShift",
        "gentle_intensity",
        "multicrop 2 + 8",
    ]
    assert all(re.search(r"\d+\.\d\d +\d+\.\d\d%", row) for row in rows)
    assert all(re.search(r"% +\d+\.\d", row) for row in rows[:2])


def test_the_pictures_show_each_transform_before_and_thrice_after(benchmark, tmp_path):
    page = tmp_path / "views.html"
    benchmark(
        "--pictures", str(page), "--threads", "1", "--patch", "24", "--only", "Gibbs", "OutPaint"
    )
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png") == 2 * 2 * 4
    assert "OutPaint" in text
