"""What the README tells people to type is what the commands accept."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from medssl.cli import COMMANDS, CONFIGURED
from medssl.commands.arguments import build_parser, parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docker/README.md", "model_zoo/README.md")


def typed_commands(text: str) -> list[list[str]]:
    """Return the words of every line of a code block that calls medssl."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.lstrip("$ "), comments=True) for line in lines if "medssl " in line]
    return [line for line in words if line and line[0] == "medssl"]


COMMAND_LINES = [
    words
    for page in PAGES
    for words in typed_commands((ROOT / page).read_text("utf-8"))
    if len(words) > 1 and not words[1].startswith("-") and words[1].islower()
]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=lambda words: " ".join(words)[:60])
def test_a_command_of_the_readme_is_accepted(words):
    verb = next(v for v in (" ".join(words[1:3]), words[1], "") if v in COMMANDS or not v)
    assert verb, f"no such command: {' '.join(words)}"
    rest = words[1 + len(verb.split()) :]
    if verb in CONFIGURED:
        dotted = [i for i, word in enumerate(rest) if re.match(r"--\w+\.", word)]
        rest = rest[: dotted[0]] if dotted else rest
        config = Path(rest[rest.index("--config") + 1])
        assert (ROOT / config).is_file() or "runs" in config.parts
    module, _, name = COMMANDS[verb][0].partition(":")
    function = getattr(importlib.import_module(f"medssl.commands.{module}"), name)
    assert isinstance(parse(build_parser(function, prog=f"medssl {verb}"), rest), dict)


def test_the_readme_begins_with_the_two_commands_and_says_what_it_is_not():
    text = (ROOT / "README.md").read_text("utf-8")
    assert "make demo" in text
    assert "make test" in text
    assert "not a medical device" in text


def test_files_that_the_readme_points_to_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    links = re.findall(r"\]\((?!http|#)([^)#]+)", text)
    assert not [link for link in links if not (ROOT / link).exists()]
