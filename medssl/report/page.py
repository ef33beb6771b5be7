"""One page of a report: a single HTML file that can be mailed, printed and read in ten years.

Everything lies inside the file: style, charts as inline SVG, pictures as PNG data addresses. There
is no script and no address of another machine in it. Charts take their colours from the page, so
they follow the reader's light or dark setting and print on white.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jinja2
import numpy as np
import numpy.typing as npt

import medssl
from medssl.io.atomic import write_text

__all__ = [
    "Block",
    "Chart",
    "Details",
    "Facts",
    "KeyFigure",
    "Matrix",
    "Page",
    "Panel",
    "Panels",
    "Section",
    "Table",
]


@dataclass(frozen=True)
class KeyFigure:
    """One number that a hurried reader should take away.

    Attributes:
        value: The number, as text.
        label: What it counts or measures.
        note: A few words of context, such as an interval.
    """

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing.

    Attributes:
        svg: An ``<svg>`` element, as :mod:`medssl.report.figures` makes it.
        title: What is plotted.
        caption: What to look for.
        wide: Whether it takes the whole width instead of half.
    """

    kind: ClassVar[str] = "chart"
    svg: str
    title: str
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture of anatomy.

    Attributes:
        source: A data address, as :mod:`medssl.report.panels` makes it.
        label: A few words under it.
        aspect: Width by height as shown, in millimetres.
    """

    source: str
    label: str
    aspect: float = 1.0


@dataclass(frozen=True)
class Panels:
    """Pictures side by side.

    Attributes:
        title: What one sees.
        panels: From left to right.
        caption: What to look for.
        per_row: How many stand side by side; 0 leaves it to the width of the page.
        legend: Colour, as CSS spells it, and meaning of what is painted over the pictures.
    """

    kind: ClassVar[str] = "panels"
    title: str
    panels: tuple[Panel, ...]
    caption: str = ""

    per_row: int = 0
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Matrix:
    """Numbers between 0 and 1 that are read one by one, on a tint as strong as the number.

    Attributes:
        title: What the numbers are.
        rows: Name of each row.
        columns: Name of each column.
        values: ``(rows, columns)``.
        caption: What to look for.
    """

    kind: ClassVar[str] = "matrix"
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: npt.NDArray[np.floating]
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers.

    Attributes:
        columns: Headings.
        rows: Cells, already text; as many as headings.
        caption: What the table holds.
        numeric: Which columns, counted from 0, hold numbers and are set flush right.
    """

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Facts:
    """Names and values, such as hashes and versions.

    Attributes:
        rows: Name and value of each.
    """

    kind: ClassVar[str] = "facts"
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Details:
    """Long text that is folded until asked for, such as a configuration.

    Attributes:
        title: What is folded.
        text: Shown as written.
    """

    kind: ClassVar[str] = "details"
    title: str
    text: str


Block = Chart | Panels | Matrix | Table | Facts | Details


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading; one without blocks is left out.

    Attributes:
        title: Its heading.
        blocks: What it shows.
        lead: A sentence or two before them.
    """

    title: str
    blocks: tuple[Block, ...]
    lead: str = ""

    @property
    def anchor(self) -> str:
        """Name by which the list of contents refers to the section."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        kind: What sort of report this is, above the title.
        title: Its title.
        lead: What a reader should know first, in a few sentences.
        key_figures: A handful of numbers.
        sections: The parts, in order.
    """

    kind: str
    title: str
    lead: str
    key_figures: Sequence[KeyFigure] = ()
    sections: Sequence[Section] = ()

    def render(self) -> str:
        """Return the page as HTML."""
        here = Path(__file__).parent
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(here),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        sections = [section for section in self.sections if section.blocks]
        blocks = [block for section in sections for block in section.blocks]
        return environment.get_template("page.html").render(
            page=self,
            sections=sections,
            has_anatomy=any(isinstance(block, Panels) for block in blocks),
            style=(here / "page.css").read_text(encoding="utf-8"),
            version=medssl.__version__,
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )

    def write(self, path: Path) -> Path:
        """Write the page in one step and return where it is.

        Raises:
            OutputError: If the file can't be written.
        """
        write_text(path, self.render())
        return path
