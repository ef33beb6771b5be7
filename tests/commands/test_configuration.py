"""A YAML file and dotted options become one checked configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import yaml

from medssl.commands.configuration import Choice, load_configuration
from medssl.commands.overrides import parse_overrides
from medssl.errors import ConfigError, UnknownNameError
from medssl.registry import Registry
from medssl.training.config import DataConfig, OptimConfig, TrainerConfig


class Shared:
    def __init__(self, *, encoder: Any, patch: tuple[int, ...], momentum: float = 0.9) -> None:
        self.momentum = momentum


class Guess(Shared):
    """A method.

    Args:
        mask_ratio: Share.
        cells: Grid.
        norm: Kind.
        **shared: More.
    """

    def __init__(
        self,
        *,
        mask_ratio: float = 0.75,
        cells: tuple[int, ...] = (2, 2),
        norm: Literal["batch", "instance"] = "batch",
        depth: int | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)


class Compare(Shared):
    """A method.

    Args:
        temperature: How soft.
        **shared: More.
    """

    def __init__(self, *, temperature: float = 0.2, **shared: Any) -> None:
        super().__init__(**shared)


@dataclass(frozen=True)
class Pace:
    steps: int = 10
    lr: float = 1e-3
    patch: tuple[int, ...] = (96, 96, 96)
    limit: float | None = None
    eager: bool = False


METHODS: Registry[type] = Registry("method")
METHODS.register("guess")(Guess)
METHODS.register("compare")(Compare)
SECTIONS = {
    "method": Choice(lambda name: (METHODS[name], frozenset({"norm"})), lambda: list(METHODS)),
    "extra": Choice(
        lambda name: (METHODS[name], frozenset()), lambda: list(METHODS), required=False
    ),
    "pace": Pace,
}
GUESS = {"method": {"name": "guess"}}


def load(config=GUESS, overrides=()):
    return load_configuration(config, overrides, SECTIONS)


def test_defaults_are_filled_in():
    configuration = load()
    assert configuration.chosen("method").name == "guess"
    assert configuration.chosen("method").options == {
        "mask_ratio": 0.75,
        "cells": (2, 2),
        "depth": None,
        "momentum": 0.9,
    }
    assert configuration.settings(Pace) == Pace()
    assert "extra" not in configuration


def test_the_saved_file_reproduces_the_configuration(tmp_path):
    given = load({**GUESS, "pace": {"lr": 3e-4, "patch": [64, 64, 32]}}, {"method.cells": [3, 3]})
    file = tmp_path / "config.yaml"
    file.write_text(given.to_yaml())
    again = load(file)
    assert again == given
    assert again.to_yaml() == given.to_yaml()
    assert "patch: [64, 64, 32]" in given.to_yaml()


def test_what_was_given_is_not_changed():
    config = {"method": {"name": "guess", "mask_ratio": 0.5}}
    load(config, {"method.mask_ratio": 0.1})
    assert config == {"method": {"name": "guess", "mask_ratio": 0.5}}


@pytest.mark.parametrize(
    "overrides",
    [
        ["--method.mask_ratio", "0.6", "--pace.patch", "64", "64", "32", "--pace.lr=1e-4"],
        {"method.mask_ratio": 0.6, "pace.patch": (64, 64, 32), "pace.lr": "1e-4"},
        ["--pace.lr", "0.0001", "--pace.patch", "[64, 64, 32]", "--method.mask_ratio=0.6"],
    ],
)
def test_dotted_options_win_over_the_file(overrides):
    found = load({**GUESS, "pace": {"lr": 1.0}}, overrides)
    assert found.chosen("method").options["mask_ratio"] == 0.6
    assert found.settings(Pace) == Pace(patch=(64, 64, 32), lr=1e-4)


def test_another_name_drops_the_options_of_the_first():
    config = {"method": {"name": "guess", "mask_ratio": 0.5}}
    overrides = {"method.temperature": 0.1, "method.name": "compare"}
    chosen = load(config, overrides).chosen("method")
    assert chosen.name == "compare"
    assert chosen.options == {"temperature": 0.1, "momentum": 0.9}


@pytest.mark.parametrize(
    ("config", "overrides", "kind", "sentence"),
    [
        ({"methd": {}}, (), ConfigError, 'no section "methd"; did you mean "method"?'),
        ({"method": {"name": "gues"}}, (), UnknownNameError, 'did you mean "guess"?'),
        ({"method": {}}, (), ConfigError, "method.name is missing; expected one of compare, guess"),
        (GUESS, {"method.mask_rato": 1}, ConfigError, 'did you mean "mask_ratio"?'),
        (GUESS, {"method.norm": "batch"}, ConfigError, 'section "method" has no key "norm"'),
        (GUESS, {"method.patch": [1, 2]}, ConfigError, 'section "method" has no key "patch"'),
        (GUESS, {"pace.step": 1}, ConfigError, 'no key "step"; did you mean "steps"?'),
        (GUESS, {"pace.steps": "ten"}, ConfigError, "pace.steps is 'ten'; expected int"),
        (GUESS, {"pace.steps": 2.5}, ConfigError, "pace.steps is 2.5; expected int"),
        (GUESS, {"pace.limit": "no"}, ConfigError, "pace.limit is 'no'; expected float or null"),
        (GUESS, {"extra.name": "guess", "extra.norm": "x"}, ConfigError, "'batch', 'instance'"),
        ({**GUESS, "pace": 3}, (), ConfigError, 'section "pace" is 3; expected keys and values'),
        (GUESS, {"pace": 3}, ConfigError, "write section.key"),
        (GUESS, ["--pace.steps"], ConfigError, "--pace.steps has no value"),
        (GUESS, ["3"], ConfigError, '"3" belongs to no option'),
    ],
)
def test_a_mistake_is_named(config, overrides, kind, sentence):
    with pytest.raises(kind) as caught:
        load(config, overrides)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "voco_ct.yaml").write_text("")
    with pytest.raises(ConfigError, match=r'did you mean "voco_ct\.yaml"\?'):
        load(tmp_path / "voco_tc.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("method:\n name: guess\n  lr: 1", "line 3 is not YAML"),
        ("- a\n- b", "holds no sections"),
        ("method: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, text, sentence):
    file = tmp_path / "mae.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as caught:
        load(file)
    assert '"mae.yaml"' in str(caught.value)


def test_an_empty_section_has_the_defaults(tmp_path):
    file = tmp_path / "mae.yaml"
    file.write_text("method: {name: guess}\npace:\n")
    assert load(file).settings(Pace) == Pace()


def test_overrides_keep_lists_and_negative_numbers():
    assert parse_overrides(["--a.b", "-1", "--c.d", "1", "2"]) == {"a.b": "-1", "c.d": ["1", "2"]}


@pytest.mark.parametrize("kind", [DataConfig, OptimConfig, TrainerConfig])
def test_the_sections_of_a_run_survive_yaml(kind):
    name = kind.__name__
    found = load_configuration({}, {}, {name: kind})
    assert found.settings(kind) == kind()
    assert load_configuration(yaml.safe_load(found.to_yaml()), {}, {name: kind}) == found
