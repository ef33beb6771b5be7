"""A configuration file and what the command line changes in it -> sections of raw values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medssl.errors import ConfigError
from medssl.registry import nearest

__all__ = ["Overrides", "merge", "parse_overrides", "read_sections"]

Overrides = Sequence[str] | Mapping[str, Any]
"""Dotted keys and values: ``{"data.batch": 4}`` or ``["--data.batch", "4"]``."""


def parse_overrides(tokens: Sequence[str]) -> dict[str, Any]:
    """Turn ``--data.patch 64 64 64 --trainer.steps=10`` into ``{"data.patch": [...], ...}``.

    Raises:
        ConfigError: If a value has no key, or a key no value.
    """
    found: dict[str, Any] = {}
    key = ""
    for token in tokens:
        if token.startswith("--"):
            key, equals, value = token[2:].partition("=")
            found[key] = [value] if equals else []
        elif key:
            found[key].append(token)
        else:
            raise ConfigError(f'"{token}" belongs to no option; write --section.key value')
    for key, values in found.items():
        if not values:
            raise ConfigError(f"--{key} has no value; write --{key} VALUE")
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def read_sections(path: Path) -> Mapping[str, Any]:
    """Read the sections of a YAML file, values as they stand there.

    Raises:
        ConfigError: If there is no such file, or it is not YAML with sections.
    """
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*.yaml"))
        hint = f"; {nearest(path.name, beside)}" if beside else ""
        raise ConfigError(f'no configuration file "{path}"{hint}')
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place is not None else ""
        raise ConfigError(f'"{path.name}"{where} is not YAML; check its indentation') from error
    if not isinstance(content, dict):
        raise ConfigError(f'"{path.name}" holds no sections; expected keys such as "trainer:"')
    return content


def merge(config: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Return the sections of the file with the overrides on top; the arguments stay as they are."""
    merged = {
        str(name): dict(values or {}) if values is None or isinstance(values, Mapping) else values
        for name, values in config.items()
    }
    changes = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
    # Names first: they decide what the other keys of their section mean.
    for dotted, value in sorted(changes.items(), key=lambda item: not item[0].endswith(".name")):
        section, dot, key = dotted.partition(".")
        if not dot:
            raise ConfigError(f'"{dotted}" is no dotted key; write section.key, such as data.batch')
        values = merged.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f'section "{section}" is {values!r}; expected keys and values')
        if key == "name" and values.get("name") != value:
            values.clear()
        values[key] = value
    return merged
