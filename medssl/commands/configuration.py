"""A YAML file and dotted options -> the typed, complete configuration of one run.

A configuration is a few sections of plain values. In a section such as ``method`` the key ``name``
picks a class and the other keys are that class's keyword arguments; a section such as ``data`` is a
frozen dataclass. Nothing in a configuration is code: a name is looked up in a registry, never
imported.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from medssl.commands.overrides import Overrides, merge, read_sections
from medssl.errors import ConfigError
from medssl.registry import nearest

if TYPE_CHECKING:
    from medssl.training.trainer import RunSettings

__all__ = [
    "Choice",
    "Chosen",
    "Configuration",
    "Sections",
    "finetune_sections",
    "load_configuration",
    "pretrain_sections",
]

S = TypeVar("S")

ASKED_ELSEWHERE = frozenset(
    {"encoder", "spatial_dims", "in_channels", "patch", "labels", "seed", "generator"}
)
"""Arguments that another section or the data decides."""


@dataclass(frozen=True)
class Choice:
    """A section whose key ``name`` picks a class.

    Attributes:
        find: From a name to the class and the arguments which that name fixes; raises
            ``UnknownNameError``.
        known: The names, for messages.
        required: Whether the section must be there.
    """

    find: Callable[[str], tuple[type, frozenset[str]]]
    known: Callable[[], Sequence[str]]
    required: bool = True


@dataclass(frozen=True)
class Chosen:
    """What a configuration chose: a name and the keyword arguments of the class behind it."""

    name: str
    options: Mapping[str, Any]


Sections = Mapping[str, Choice | type]


@dataclass(frozen=True)
class Configuration:
    """Every value of one run, checked, with the defaults filled in."""

    sections: Mapping[str, Any]

    def __contains__(self, section: object) -> bool:
        """Say whether an optional section was given."""
        return section in self.sections

    def chosen(self, section: str) -> Chosen:
        """Return the name and the options of a section that picks a class."""
        found: Chosen = self.sections[section]
        return found

    def settings(self, kind: type[S]) -> S:
        """Return the section that is a ``kind``, such as ``DataConfig``."""
        return next(value for value in self.sections.values() if isinstance(value, kind))

    def run_settings(self) -> RunSettings:
        """Return the sections that every run has: data, optimiser and trainer."""
        from medssl.training.config import DataConfig, OptimConfig, TrainerConfig
        from medssl.training.trainer import RunSettings

        return RunSettings(
            self.settings(DataConfig), self.settings(OptimConfig), self.settings(TrainerConfig)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return sections of primitives, from which an equal configuration can be loaded."""
        return {name: _plain(value) for name, value in self.sections.items()}

    def to_yaml(self) -> str:
        """Return the text of a configuration file that reproduces this configuration."""
        text: str = yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, width=100)
        return text


def pretrain_sections() -> Sections:
    """Return the sections of a pretraining configuration."""
    from medssl.methods.base import METHODS
    from medssl.training.config import DataConfig, OptimConfig, TrainerConfig

    return {
        "method": Choice(lambda name: (METHODS[name], frozenset()), lambda: list(METHODS)),
        "encoder": _encoder_choice(required=True),
        "data": DataConfig,
        "optim": OptimConfig,
        "trainer": TrainerConfig,
    }


def finetune_sections() -> Sections:
    """Return the sections for fine-tuning; without ``encoder`` the weights decide it."""
    from medssl.tasks.base import TASKS
    from medssl.training.config import DataConfig, OptimConfig, TrainerConfig

    return {
        "task": Choice(lambda name: (TASKS[name], frozenset()), lambda: list(TASKS)),
        "encoder": _encoder_choice(required=False),
        "data": DataConfig,
        "optim": OptimConfig,
        "trainer": TrainerConfig,
    }


def _encoder_choice(*, required: bool) -> Choice:
    from medssl.encoders.base import ENCODERS

    def find(name: str) -> tuple[type, frozenset[str]]:
        variant = ENCODERS[name]
        return variant.family, frozenset(variant.preset)

    return Choice(find, lambda: list(ENCODERS), required=required)


def load_configuration(
    config: Path | str | Mapping[str, Any], overrides: Overrides, sections: Sections
) -> Configuration:
    """Read a configuration, apply overrides, fill in the defaults and check every value.

    Args:
        config: A YAML file, or its content.
        overrides: Dotted keys and values: ``{"data.batch": 4}`` or ``["--data.batch", "4"]``.
        sections: What the sections are, such as :func:`pretrain_sections`.

    Returns:
        The whole configuration.

    Raises:
        ConfigError: If a section, a key or the type of a value is wrong; the message names the
            nearest key.
        UnknownNameError: If a method, task or encoder of that name does not exist.
    """
    given = merge(config if isinstance(config, Mapping) else read_sections(Path(config)), overrides)
    for name in given:
        if name not in sections:
            raise ConfigError(
                f'the configuration has no section "{name}"; {nearest(name, sections)}'
            )
    resolved: dict[str, Any] = {}
    for name, section in sections.items():
        values = given.get(name)
        if values is not None and not isinstance(values, dict):
            raise ConfigError(f'section "{name}" is {values!r}; expected keys and values below it')
        if not isinstance(section, Choice):
            resolved[name] = _build(section, _checked(name, section, values or {}, frozenset()))
        elif values or section.required:
            resolved[name] = _choose(name, section, values or {})
    return Configuration(resolved)


def _choose(name: str, section: Choice, values: Mapping[str, Any]) -> Chosen:
    picked = values.get("name")
    if not isinstance(picked, str):
        known = ", ".join(section.known())
        raise ConfigError(f"{name}.name is missing; expected one of {known}")
    kind, fixed = section.find(picked)
    rest = {key: value for key, value in values.items() if key != "name"}
    options = _checked(name, kind, rest, ASKED_ELSEWHERE | fixed)
    if isinstance(options.get("terms"), list):
        terms = enumerate(options["terms"], start=1)
        options["terms"] = [_term(name, section, number, term) for number, term in terms]
    return Chosen(picked, options)


def _term(name: str, section: Choice, number: int, values: Any) -> dict[str, Any]:
    """Return one of several choices of a section that are joined: its weight and all options."""
    place = f"{name}.terms, number {number}"
    if not isinstance(values, dict):
        raise ConfigError(f"{place}, is {values!r}; expected keys and values")
    weight = values.get("weight", 1.0)
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        raise ConfigError(f"{place}: weight is {weight!r}; expected a number")
    rest = {key: value for key, value in values.items() if key != "weight"}
    try:
        chosen = _choose(name, section, rest)
    except ConfigError as error:
        raise type(error)(f"{place}: {error}") from error
    return {"name": chosen.name, "weight": float(weight), **chosen.options}


def _checked(
    name: str, kind: type, values: Mapping[str, Any], skip: frozenset[str]
) -> dict[str, Any]:
    """Return all keyword arguments of a class, the given ones in their type."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    known = {
        key.partition(".")[2] for key in parser.add_class_arguments(kind, name, skip=set(skip))
    }
    for key in values:
        if key not in known:
            raise ConfigError(f'section "{name}" has no key "{key}"; {nearest(str(key), known)}')
    try:
        parsed = parser.parse_object({name: dict(values)})
    except argparse.ArgumentError as error:
        raise ConfigError(_sentence(str(error), name, values)) from error
    return dict(parsed.as_dict().get(name) or {})


def _build(kind: type[S], values: Mapping[str, Any]) -> S:
    return kind(**values)


_KINDS = re.compile(r"<class '[\w.]+'>|[\w.]+\[(?:[^][]|\[[^][]*\])*\]")


def _kind(text: str) -> str:
    """Return a type as people say it: ``<class 'int'>`` is an int."""
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text).replace("typing.", "")
    return re.sub(r"Literal\[(.*)\]", r"one of \1", text).replace("NoneType", "null")


def _sentence(message: str, name: str, values: Mapping[str, Any]) -> str:
    """Put what the parser says in one sentence: key, given, expected."""
    match = re.search(r'key "([^"]+)"', message)
    if match is None:
        return f'section "{name}": {" ".join(message.split())}'
    key = match.group(1)
    given = values.get(key.rpartition(".")[2])
    subtypes = re.search(r"Subtypes: \[(.*?)\]\n|Expected an? (.+?)\. Got", message, re.DOTALL)
    named = next((group for group in subtypes.groups() if group), "") if subtypes else ""
    kinds = " or ".join(_kind(found) for found in re.findall(_KINDS, named))
    return f"{key} is {given!r}; expected {kinds or 'another type'}"


def _plain(value: Any) -> Any:
    if isinstance(value, Chosen):
        return {"name": value.name, **{k: _plain(v) for k, v in value.options.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


class _Dumper(yaml.SafeDumper):
    """Writes short lists on one line, as people do."""


_Dumper.add_representer(
    list,
    lambda dumper, items: dumper.represent_sequence(
        "tag:yaml.org,2002:seq",
        items,
        flow_style=not any(isinstance(item, dict) for item in items),
    ),
)
