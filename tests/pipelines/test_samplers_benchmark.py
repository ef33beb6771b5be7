import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/benchmarks/samplers.py"


def test_the_page_and_the_picture_show_every_sampler(monkeypatch, capsys, tmp_path):
    page, picture = tmp_path / "samplers.html", tmp_path / "samplers.png"
    arguments = ["--draws", "20", "--out", str(page), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.count("us a draw") == 11
    assert "20 places of each sampler" in page.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")
