"""A page is one file, names nobody, asks nothing of another machine and hides no empty part."""

from __future__ import annotations

import re

import numpy as np

from medssl.report.figures import Series, curves
from medssl.report.page import (
    Chart,
    Details,
    Facts,
    KeyFigure,
    Matrix,
    Page,
    Panels,
    Section,
    Table,
)
from medssl.report.panels import anatomy


def page_of_everything() -> Page:
    svg = curves(
        [Series("a", np.arange(20.0), np.arange(20.0)), Series("b", np.arange(20.0), np.ones(20))],
        x_label="step",
        y_label="loss",
        alt='rising & "quoted"',
    )
    panel = anatomy(np.random.default_rng(0).random((8, 8)), "left < right", window=(0, 1))
    blocks = (
        Chart(svg, "A chart", "caption"),
        Panels("Pictures", (panel,) * 3, per_row=3, legend=(("rgb(1, 2, 3)", "liver"),)),
        Panels("Many pictures", (panel,) * 9),
        Matrix("Numbers", ("r",), ("c", "d"), np.array([[0.25, 0.0]])),
        Table(("name", "value"), (("x", "1"),), "A table", frozenset({1})),
        Facts((("hash", "ab" * 32),)),
        Details("Configuration", "method:\n  name: voco"),
    )
    sections = (Section("Full & round", blocks), Section("Nothing here", ()))
    return Page("Test", "A <title>", "Lead.", (KeyFigure("1", "one", "note"),), sections)


def test_a_page_needs_no_other_file_and_no_network() -> None:
    text = page_of_everything().render()
    assert "http" not in text
    assert "<script" not in text
    assert "@import" not in text
    for address in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert address.startswith(("data:image/png;base64,", "#")), address
    assert not re.search(r"url\((?!#)", text)


def test_text_is_escaped_and_shown() -> None:
    text = page_of_everything().render()
    assert "<h1>A &lt;title&gt;</h1>" in text
    assert "left &lt; right" in text
    assert "Full &amp; round" in text
    for shown in (
        "A chart",
        "caption",
        "liver",
        "0.25",
        "A table",
        "ab" * 32,
        "name: voco",
        "note",
    ):
        assert shown in text


def test_a_section_without_blocks_is_left_out() -> None:
    assert "Nothing here" not in page_of_everything().render()


def test_the_list_of_contents_points_at_what_is_there() -> None:
    block = Facts((("a", "b"),))
    page = Page("Test", "T", "L", (), [Section(f"Part {n}?", (block,)) for n in range(4)])
    text = page.render()
    targets = re.findall(r'<a href="#([^"]+)"', text)
    assert targets == ["part-0", "part-1", "part-2", "part-3"]
    assert all(f'<section id="{target}">' in text for target in targets)


def test_charts_take_their_colours_from_the_page() -> None:
    svg = curves(
        [Series("", np.arange(30.0), np.arange(30.0) ** 2, smooth=True)],
        x_label="x",
        y_label="y",
        alt="a",
    )
    assert "var(--accent)" in svg
    assert "xmlns" not in svg
    assert not re.search(r"#[0-9a-f]{6}", svg.replace("xlink:href", ""))
    for name in set(re.findall(r"var\((--[a-z]+)\)", svg)):
        assert f"{name}:" in page_of_everything().render()


def test_pages_are_written_whole(tmp_path) -> None:
    path = page_of_everything().write(tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
