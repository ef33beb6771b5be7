"""How far, how fast, how long still."""

from __future__ import annotations

import pytest

from medssl.commands import progress


@pytest.mark.parametrize(
    ("done", "total", "seconds", "words"),
    [
        (0, 10, 1.0, "starting"),
        (30, 120, 10.0, "3.0 volumes/s, 0:30 left"),
        (2, 10, 60.0, "30.0 s/volume, 4:00 left"),
        (1, 1000, 10.0, "10.0 s/volume, 2:46:30 left"),
        (5, None, 1.0, "5.0 volumes/s"),
    ],
)
def test_pace_says_rate_and_time_left(done, total, seconds, words):
    assert progress.pace(done, total, seconds, "volume") == words


def test_piped_output_is_plain_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(progress.follow(iter("ab"), total=2, unit="volume", doing="reading")) == ["a", "b"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("reading 1/2 volumes, ")
    assert lines[1].startswith("reading 2/2 volumes, ")
    assert "\x1b" not in "".join(lines)


def test_quick_work_says_nothing(capsys):
    assert list(progress.follow([1, 2], total=None, unit="volume", doing="reading")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress, "is_live", lambda: True)
    assert list(progress.follow([1, 2], total=None, unit="volume", doing="reading")) == [1, 2]
    assert "2/2" in capsys.readouterr().err
