"""Importing is quick, quiet and brings nothing along."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import time

import pytest

import medssl

HEAVY = ("torch", "monai", "lightning", "numpy", "scipy", "sklearn", "pydicom", "matplotlib")
NEVER = ("torchvision", "timm", "lightly")


def in_new_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def seconds(*command: str) -> float:
    """Return the best of three: what it costs on an idle machine."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return min(taken)


def test_import_is_light_and_quiet():
    done = in_new_process(f"import sys, medssl; print([m for m in {HEAVY} if m in sys.modules])")
    assert done.returncode == 0
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_import_and_help_are_quick():
    nothing = seconds("-c", "pass")
    assert seconds("-c", "import medssl") - nothing < 0.3
    assert seconds("-m", "medssl", "--help") < 0.7


def test_the_whole_package_needs_no_torchvision():
    for module in pkgutil.walk_packages(medssl.__path__, "medssl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert not [name for name in NEVER if name in sys.modules]


@pytest.mark.parametrize("name", sorted(set(medssl.__all__)))
def test_every_public_name_exists(name):
    assert getattr(medssl, name) is not None


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="indx"):
        medssl.indx  # noqa: B018 - the access is the test
