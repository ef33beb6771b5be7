"""A plain typed function -> the options of a command: signature is schema, docstring is help.

Leading parameters are positional, keyword-only ones are options. ``list`` and ``tuple`` take
several values, ``bool`` is a flag, ``Literal`` a closed choice. A union is tried member by member.
"""

from __future__ import annotations

import argparse
import builtins
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import docstring_parser

from medssl.errors import UsageError
from medssl.registry import nearest

__all__ = ["CommandParser", "build_parser", "parse"]

ALIASES = {"spacing_mm": "--spacing", "from_path": "--from"}
"""Options whose name on the command line leaves out the unit, or is a word that Python keeps."""

NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}
SIMPLE = (bool, int, float, str, Path)


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises a sentence instead of leaving the process.

    Attributes:
        hints: The type of each parameter that takes values.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hints: dict[str, Any] = {}

    def error(self, message: str) -> NoReturn:
        """Turn what argparse says into our error.

        Raises:
            UsageError: Always.
        """
        words = message.replace("the following arguments are required: ", "missing ")
        if words.startswith("argument "):
            option, _, reason = words[len("argument ") :].partition(": ")
            words = f"{option.split('/')[0]} {reason.replace('expected', 'expects')}"
        raise UsageError(f"{words} (see {self.prog} --help)")


def build_parser(function: Callable[..., Any], *, prog: str) -> CommandParser:
    """Return the parser whose result is the keyword arguments of ``function``.

    Args:
        function: Its docstring has ``Args`` and, for the end of the help, an ``Example``.
        prog: What the user types to call it.
    """
    text = docstring_parser.parse(inspect.getdoc(function) or "", docstring_parser.Style.GOOGLE)
    described = {p.arg_name: " ".join((p.description or "").split()) for p in text.params}
    parser = CommandParser(
        prog=prog,
        description=_paragraphs(text),
        epilog=_examples(text),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    hints = _hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if name != "overrides":
            _add(parser, parameter, hints.get(name, str), described.get(name, ""))
    if "overrides" in hints:
        parser.add_argument(
            "--print-config",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the whole configuration and exit",
        )
        usage = parser.format_usage().removeprefix("usage: ").rstrip()
        parser.usage = f"{usage} [--section.key VALUE …]"
    return parser


def parse(parser: CommandParser, tokens: Sequence[str]) -> dict[str, Any]:
    """Return the keyword arguments that the tokens stand for.

    Raises:
        UsageError: If an option is unknown, incomplete or wrong; the message names the nearest one.
    """
    known = [flag for action in parser._actions for flag in action.option_strings]
    for option in (token.partition("=")[0] for token in tokens if token.startswith("--")):
        if option not in known:
            raise UsageError(f'unknown option "{option}"; {nearest(option, known)}')
    found, rest = parser.parse_known_args(list(tokens))
    if rest:
        raise UsageError(f'unexpected value "{rest[0]}" (see {parser.prog} --help)')
    given = vars(found)
    for name, hint in parser.hints.items():
        if name in given:
            words = given.pop(name)
            words = words if isinstance(words, list) else [words]
            if words:
                given[name] = _convert(words, hint, _flags(name)[0])
    return given


def _flags(name: str) -> list[str]:
    """Return how an option may be spelt, the shown one first."""
    dashed = "--" + name.replace("_", "-")
    return [ALIASES[name], dashed] if name in ALIASES else [dashed]


def _add(parser: CommandParser, parameter: inspect.Parameter, hint: Any, description: str) -> None:
    """Add one parameter of the function to the parser."""
    name, default = parameter.name, parameter.default
    required = default is inspect.Parameter.empty
    members, many = _members(hint)
    flags = _flags(name)
    if not required and default not in (None, (), False):
        description = f"{description} (default: {_shown(default)})"
    options: dict[str, Any] = {
        "help": description.replace("%", "%%"),
        "default": argparse.SUPPRESS,
    }
    if bool in members:
        action = argparse.BooleanOptionalAction if default is True else "store_true"
        parser.add_argument(*flags, action=action, dest=name, **options)
        return
    parser.hints[name] = hint
    options["metavar"] = _metavar(name, members)
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        nargs: str | int = "+" if many else 1
        parser.add_argument(*flags, dest=name, nargs=nargs, required=required, **options)
        return
    nargs = ("+" if required else "*") if many else (1 if required else "?")
    parser.add_argument(name, nargs=nargs, **options)


def _convert(tokens: list[str], hint: Any, label: str) -> Any:
    """Return the value of one option, trying the members of a union from the narrowest on."""
    members, many = _members(hint)
    words = [word for member in members for word in _choices(member)]
    if len(tokens) == 1 and tokens[0] in words:
        return tokens[0]
    scalars = [member for member in members if not _choices(member)]
    if not scalars:
        raise UsageError(f'{label} is "{tokens[0]}"; {nearest(tokens[0], words)}')
    values = [_scalar(token, scalars, words, label) for token in tokens]
    if not many:
        return values[0]
    return tuple(values) if _is_tuple(hint) else values


def _scalar(token: str, members: Sequence[Any], words: Sequence[str], label: str) -> Any:
    for number in (int, float):
        if number in members:
            try:
                return number(token)
            except ValueError:
                continue
    if Path in members:
        return Path(token).expanduser()
    if any(member not in NUMBERS for member in members):
        return token
    kinds = [NUMBERS[member] for member in members] + [f'"{word}"' for word in words]
    raise UsageError(f'{label} is "{token}"; expected {" or ".join(kinds)}')


def _members(hint: Any) -> tuple[list[Any], bool]:
    """Return the alternatives that can be typed, and whether several values are taken.

    Containers and none fall away, and so do objects such as ``Cohort`` in ``Cohort | Path``.
    """
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        found = [_members(part) for part in typing.get_args(hint)]
        return [m for members, _ in found for m in members], any(many for _, many in found)
    if typing.get_origin(hint) in (list, tuple, Sequence, Iterable):
        parts = [_members(part)[0] for part in typing.get_args(hint) if part is not Ellipsis]
        return list(dict.fromkeys(m for members in parts for m in members)), True
    is_typed = hint in SIMPLE or typing.get_origin(hint) is Literal
    return ([hint] if is_typed else []), False


def _is_tuple(hint: Any) -> bool:
    return tuple in (typing.get_origin(part) for part in (hint, *typing.get_args(hint)))


def _choices(member: Any) -> tuple[Any, ...]:
    return typing.get_args(member) if typing.get_origin(member) is Literal else ()


def _metavar(name: str, members: Sequence[Any]) -> str:
    words = [str(word) for member in members for word in _choices(member)]
    numbers = [member for member in members if member in NUMBERS]
    if words:
        return "|".join(words + (["N"] if numbers else []))
    return "N" if numbers else name.upper()


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters; names imported for type checkers become ``object``.

    A command takes ``Cohort | Path``: the object in Python, its folder on the command line.
    Importing the class for a help text would import torch.
    """

    class Names(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            known: Mapping[str, Any] = {**vars(builtins), **function.__globals__}
            return known.get(name, object)

    return typing.get_type_hints(function, localns=Names())


def _paragraphs(text: docstring_parser.Docstring) -> str:
    return "\n\n".join(part for part in (text.short_description, text.long_description) if part)


def _examples(text: docstring_parser.Docstring) -> str | None:
    found = [example.description or example.snippet or "" for example in text.examples]
    body = "\n\n".join(part for part in found if part)
    return "example:\n  " + body.replace("\n", "\n  ") if body else None
