"""The command line: finding a command, exit codes, one sentence for every error."""

from __future__ import annotations

import errno
import signal
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from medssl import cli
from medssl.commands.arguments import build_parser, parse
from medssl.errors import InputError, OutputError, UsageError

calls: list[dict] = []


def blend(
    sources: list[Path],
    *,
    out: Path,
    num_parts: int = 1,
    spacing_mm: tuple[float, ...] | Literal["native", "median"] | None = None,
    kind: Literal["ct", "mr"] = "ct",
    share: float = 0.5,
    weights: object | Path | None = None,
    keep: bool = True,
    dry: bool = False,
) -> None:
    """Blend sources, for the tests of the command line.

    Args:
        sources: Folders.
        out: Where to.
        num_parts: How many.
        spacing_mm: How fine, 50 % or so.
        kind: What.
        share: How much.
        weights: An object in Python, a path here.
        keep: Whether to keep.
        dry: Whether to do nothing.

    Example:
        medssl blend a b --out c
    """
    calls.append({"sources": sources, "out": out, "num_parts": num_parts})


def trouble(error: BaseException):
    def raise_it(*, resume: bool = False) -> None:
        """Fail.

        Args:
            resume: Go on.
        """
        if isinstance(error, OSError | Exception | KeyboardInterrupt):
            raise error

    return raise_it


@pytest.fixture
def add_command(monkeypatch):
    """Return a function that puts one more verb on the command line."""

    def add(verb: str, function, module: str = "for_these_tests") -> None:
        home = types.ModuleType(f"medssl.commands.{module}")
        home.run = function
        monkeypatch.setitem(sys.modules, home.__name__, home)
        monkeypatch.setitem(cli.COMMANDS, verb, (f"{module}:run", "for these tests"))

    calls.clear()
    return add


def read(*tokens: str):
    return parse(build_parser(blend, prog="medssl blend"), tokens)


def test_only_what_was_typed_is_passed_on():
    assert read("a", "b", "--out", "c") == {"sources": [Path("a"), Path("b")], "out": Path("c")}


@pytest.mark.parametrize(
    ("tokens", "name", "value"),
    [
        (["--num-parts", "3"], "num_parts", 3),
        (["--spacing", "native"], "spacing_mm", "native"),
        (["--spacing", "1", "1.5", "2"], "spacing_mm", (1.0, 1.5, 2.0)),
        (["--spacing-mm", "1", "1", "1"], "spacing_mm", (1.0, 1.0, 1.0)),
        (["--kind", "mr"], "kind", "mr"),
        (["--share", "1e-3"], "share", 0.001),
        (["--share=-1"], "share", -1.0),
        (["--weights", "x"], "weights", Path("x")),
        (["--no-keep"], "keep", False),
        (["--dry"], "dry", True),
    ],
)
def test_a_type_hint_is_an_option(tokens, name, value):
    found = read("a", "--out", "c", *tokens)
    assert found[name] == value
    assert type(found[name]) is type(value)


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (
            ["a", "--out", "c", "--num-part", "2"],
            'option "--num-part"; did you mean "--num-parts"?',
        ),
        (["a"], "missing --out (see medssl blend --help)"),
        (["--out", "c"], "missing SOURCES"),
        (
            ["a", "--out", "c", "--num-parts", "two"],
            '--num-parts is "two"; expected a whole number',
        ),
        (["a", "--out", "c", "--spacing", "fine"], 'expected a number or "native" or "median"'),
        (["a", "--out", "c", "--kind", "mri"], '--kind is "mri"; did you mean "mr"?'),
        (["a", "--out", "c", "--share"], "--share expects"),
        (["a", "--out", "c", "--dry=1"], "--dry"),
    ],
)
def test_wrong_usage_names_the_option(tokens, sentence):
    with pytest.raises(UsageError) as caught:
        read(*tokens)
    assert sentence in str(caught.value)


def test_both_spellings_reach_the_function(add_command):
    add_command("blend", blend)
    assert cli.main(["blend", "a", "--out", "c", "--num_parts", "2"]) == 0
    assert cli.main(["blend", "a", "--out", "c", "--num-parts=2"]) == 0
    assert [call["num_parts"] for call in calls] == [2, 2]
    assert calls[0]["sources"] == [Path("a")]


def test_help_of_a_command_has_the_docstring_and_its_example(add_command, capsys):
    add_command("blend", blend)
    assert cli.main(["blend", "--help"]) == 0
    said = capsys.readouterr().out
    assert "Blend sources, for the tests" in said
    assert "How fine, 50 % or so." in said
    assert "(default: 0.5)" in said
    assert said.rstrip().endswith("example:\n  medssl blend a b --out c")


@pytest.mark.parametrize("tokens", [[], ["--help"], ["-h"]])
def test_the_overview_lists_the_road_in_order(tokens, capsys):
    assert cli.main(tokens) == 0
    said = capsys.readouterr().out
    places = [said.index(f"\n  {verb} ") for verb in cli.COMMANDS]
    assert places == sorted(places)
    assert "not a medical device" in said


def test_the_version_is_that_of_the_package(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("medssl 0.")


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (["pretain"], 'no command is called "pretain"; did you mean "pretrain"?'),
        (["benchmark"], "medssl benchmark needs one of: crops"),
        (["benchmark", "crop"], "needs one of: crops"),
    ],
)
def test_an_unknown_command_is_wrong_usage(tokens, sentence, capsys):
    assert cli.main(tokens) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UsageError("--out is odd"), 2, "medssl: --out is odd\n"),
        (InputError("no image in x"), 3, "medssl: no image in x\n"),
        (OutputError("can't write x"), 3, "medssl: can't write x\n"),
        (OSError(errno.ENOSPC, "x", "/a/b.b2nd"), 3, "can't use b.b2nd: the disk is full"),
        (PermissionError(errno.EACCES, "x"), 3, "can't use the output: permission denied"),
        (RuntimeError("index 7"), 3, "fault of medssl, not yours: RuntimeError: index 7"),
        (KeyboardInterrupt(), 130, "medssl: stopped\n"),
    ],
)
def test_every_error_is_one_sentence(add_command, capsys, error, code, sentence):
    add_command("fail", trouble(error))
    assert cli.main(["fail"]) == code
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_debug_shows_where_an_error_came_from(add_command, capsys):
    add_command("fail", trouble(RuntimeError("index 7")))
    assert cli.main(["fail", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("answer", ["nothing", "exits"])
def test_a_signal_decides_the_exit_code(add_command, capsys, number, code, answer):
    saved = []

    def work() -> None:
        """Work until a signal comes; a trainer may answer it by leaving with a code of its own."""
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            saved.append("checkpoint")
            if answer == "exits":
                sys.exit(1)
            raise

    before = signal.getsignal(number)
    add_command("work", work)
    assert cli.main(["work"]) == code
    assert saved == ["checkpoint"]
    assert "--resume" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def configured(
    *, config: Path, out: Path, overrides: Sequence[str] = (), resume: bool = False
) -> None:
    """Train.

    Args:
        config: A file.
        out: A folder.
        overrides: Dotted values.
        resume: Go on.
    """
    calls.append({"config": config, "out": out, "overrides": list(overrides), "resume": resume})


def test_dotted_options_reach_the_configuration(add_command, monkeypatch):
    add_command("train", configured)
    monkeypatch.setitem(cli.CONFIGURED, "train", "pretrain_sections")
    typed = "train --config a.yaml --data.patch 64 64 64 --out run --method.mask_ratio=0.6 --resume"
    assert cli.main(typed.split()) == 0
    assert calls == [
        {
            "config": Path("a.yaml"),
            "out": Path("run"),
            "overrides": ["--data.patch", "64", "64", "64", "--method.mask_ratio=0.6"],
            "resume": True,
        }
    ]


def test_a_dotted_option_elsewhere_is_unknown(add_command, capsys):
    add_command("blend", blend)
    assert cli.main(["blend", "a", "--out", "b", "--data.patch", "3"]) == 2
    assert "--data.patch" in capsys.readouterr().err
