"""What the project promises in its files: layers, versions, schema, configurations."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINNED = dict(
    re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
)
PIPELINES = sorted((ROOT / "pipelines").glob("*/*.yaml"))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_imports_go_down_only(monkeypatch, capsys):
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    monkeypatch.chdir(ROOT)
    status = lint_imports(no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize(
    "text", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
)
def test_every_bound_admits_the_tested_version(text):
    requirement = Requirement(text)
    assert any(s.operator == ">=" for s in requirement.specifier), "a lower bound"
    assert requirement.specifier.contains(PINNED[canonical(requirement.name)])


def test_every_dependency_has_a_reason():
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    entries = [line for line in lines if re.match(r'\s+"[\w.\[\]-]+>=[\d.]+",', line)]
    assert len(entries) >= len(PROJECT["dependencies"])
    assert not [line for line in entries if "#" not in line]


def test_the_version_has_one_source():
    assert version("medssl") == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_schema_is_that_of_the_code():
    from medssl.weights.manifest import schema

    assert json.loads((ROOT / "model_zoo" / "schema.json").read_text("utf-8")) == schema()


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_pipeline_is_a_valid_configuration(path):
    from medssl.commands.configuration import (
        finetune_sections,
        load_configuration,
        pretrain_sections,
    )

    sections = finetune_sections() if path.parent.name == "finetune" else pretrain_sections()
    configuration = load_configuration(path, {}, sections)
    assert load_configuration(configuration.to_dict(), {}, sections) == configuration
