import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/lessons.py"


@pytest.mark.slow
def test_both_lessons_are_asked_of_new_subjects(monkeypatch, capsys):
    arguments = ["--steps", "2", "--learned", "2", "--asked", "2"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    for word in ("random weights", "pretrained", "chance", "rebuilt", "over linear", "over smooth"):
        assert word in printed
