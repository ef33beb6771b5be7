"""The contract of a command: it exists, it is documented, and its function is the Python API."""

from __future__ import annotations

import importlib
import inspect

import docstring_parser
import pytest

import medssl
from medssl.cli import COMMANDS, CONFIGURED, main
from medssl.commands.arguments import build_parser, parse
from medssl.commands.overrides import parse_overrides
from medssl.errors import MedsslError

VERBS = list(COMMANDS)


def function(verb: str):
    module, _, name = COMMANDS[verb][0].partition(":")
    return getattr(importlib.import_module(f"medssl.commands.{module}"), name)


def text(verb: str) -> docstring_parser.Docstring:
    return docstring_parser.parse(
        inspect.getdoc(function(verb)) or "", docstring_parser.Style.GOOGLE
    )


@pytest.mark.parametrize("verb", [verb for verb in VERBS if " " not in verb])
def test_a_command_is_a_python_function_of_the_same_name(verb):
    assert getattr(medssl, verb) is function(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_described(verb):
    described = {entry.arg_name for entry in text(verb).params if entry.description}
    assert described == set(inspect.signature(function(verb)).parameters)


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_the_help_is_a_command_that_would_run(verb):
    examples = [(e.description or e.snippet or "") for e in text(verb).examples]
    lines = "\n".join(examples).replace("\\\n", " ").splitlines()
    typed = [line.split() for line in lines if line.strip().startswith(f"medssl {verb}")]
    assert typed, "an Example section with a line that begins with: medssl " + verb
    for words in typed:
        rest = words[1 + len(verb.split()) :]
        dotted = next((i for i, w in enumerate(rest) if w.startswith("--") and "." in w), len(rest))
        if verb in CONFIGURED and dotted < len(rest):
            assert parse_overrides(rest[dotted:])
            rest = rest[:dotted]
        assert isinstance(parse(build_parser(function(verb), prog="medssl"), rest), dict)


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_a_terminal(verb, capsys):
    assert main([*verb.split(), "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_input_is_one_sentence_and_leaves_nothing(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parameters = inspect.signature(function(verb)).parameters
    needed = [p for n, p in parameters.items() if p.default is p.empty and n != "out"]
    if not needed:
        pytest.skip("reads nothing")
    words = verb.split()
    for parameter in needed:
        if parameter.kind is parameter.KEYWORD_ONLY:
            words.append("--" + parameter.name.replace("_", "-"))
        words.append("nowhere")
    if "out" in parameters:
        words += ["--out", "out" + {"evaluate": ".json", "embed": ".parquet"}.get(verb, "")]
    assert main(words) in (2, 3)
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("medssl: ")
    assert "fault of medssl" not in said[-1]
    assert list(tmp_path.iterdir()) == []


def test_errors_are_also_the_built_in_ones():
    for name in dir(importlib.import_module("medssl.errors")):
        kind = getattr(importlib.import_module("medssl.errors"), name)
        if isinstance(kind, type) and issubclass(kind, MedsslError) and kind is not MedsslError:
            others = [base for base in kind.__mro__[1:] if not issubclass(base, MedsslError)]
            assert others[0] not in (Exception, object), name
