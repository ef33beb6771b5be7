"""The habits of this code base that a linter does not know."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import docstring_parser
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "medssl"
MODULES = sorted(PACKAGE.rglob("*.py"))
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in MODULES}

LONGEST_FILE = 300
LONGEST_METHOD_FILE = 200
LONGEST_FUNCTION = 60
ALLOWED_LONG: dict[str, str] = {}
"""File or file:function that is longer, and why it has to be."""

SAYING_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "base2"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node


def test_files_are_short():
    limits = {name: LONGEST_METHOD_FILE if "/methods/" in name else LONGEST_FILE for name in TREES}
    lengths = {name: (ROOT / name).read_text("utf-8").count("\n") for name in TREES}
    long = {n: k for n, k in lengths.items() if k > limits[n] and n not in ALLOWED_LONG}
    assert not long


def lines_of_code(node: Function) -> int:
    """Count without the docstring: that of a command is its help, and may be as long as it must."""
    first = node.body[0]
    text = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
    return node.end_lineno - node.lineno + 1 - text


def test_functions_fit_a_screen():
    lengths = {
        f"{name}:{node.name}": lines_of_code(node)
        for name, tree in TREES.items()
        for node in functions(tree)
    }
    long = {place: lines for place, lines in lengths.items() if lines > LONGEST_FUNCTION}
    assert not {place: lines for place, lines in long.items() if place not in ALLOWED_LONG}


def test_only_commands_print():
    speaking = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        if not name.startswith(("medssl/commands/", "medssl/cli.py"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not speaking


def test_the_package_raises_and_never_asserts():
    asserts = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert not asserts


def test_torch_load_has_one_home():
    homes = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    }
    assert len(homes) <= 1


def test_one_method_a_file():
    several = {}
    for name, tree in TREES.items():
        if name.startswith("medssl/methods/") and not name.endswith(("__init__.py", "base.py")):
            several[name] = [
                node.name
                for node in classes(tree)
                if any("Method" in ast.unparse(base) for base in node.bases)
            ]
    assert all(len(found) == 1 for found in several.values()), several


def test_no_class_has_a_dictionary_twin():
    names = {node.name for tree in TREES.values() for node in classes(tree)}
    twins = [name for name in names if name[-1] in "dD" and name[:-1] in names]
    assert not twins


def test_no_file_says_nothing():
    assert not [path for path in MODULES if path.stem.strip("_") in SAYING_NOTHING]


def test_every_public_name_is_documented():
    silent = [
        f"{name}:{node.name}"
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, Function | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent


def documented(node: ast.AST) -> set[str]:
    text = docstring_parser.parse(
        inspect.cleandoc(ast.get_docstring(node) or ""), docstring_parser.Style.GOOGLE
    )
    return {entry.arg_name.strip("*") for entry in text.params if entry.args[0] == "param"}


def accepted(node: Function) -> tuple[set[str], set[str]]:
    """Return the names that must be documented, and the further ones that may be."""
    spec = node.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    names = {argument.arg for argument in every} - {"self", "cls"}
    rest = {argument.arg for argument in (spec.vararg, spec.kwarg) if argument is not None}
    return {name for name in names if not name.startswith("_")}, rest


@pytest.mark.parametrize("name", sorted(TREES))
def test_documented_arguments_are_those_of_the_signature(name):
    wrong = {}
    for node in functions(TREES[name]):
        told = documented(node)
        must, may = accepted(node)
        if told and not must <= told <= must | may:
            wrong[node.name] = sorted(told ^ must)
    for node in classes(TREES[name]):
        told = documented(node)
        init = next(
            (m for m in node.body if isinstance(m, Function) and m.name == "__init__"), None
        )
        if told and init is not None:
            must, may = accepted(init)
            if not must <= told <= must | may:
                wrong[node.name] = sorted(told ^ must)
    assert not wrong
