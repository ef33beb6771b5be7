"""A small cohort on disk, and the store that is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medssl.cohort.cohort import Cohort
from medssl.cohort.scan import index_sources
from medssl.io.nifti import write_nifti
from medssl.store.prepare import prepare_cohort
from medssl.store.recipe import Recipe
from medssl.store.store import Store

RECIPE = Recipe(spacing_mm=(2.0, 2.0, 2.0))


def write_scans(folder: Path, count: int = 3) -> None:
    """Write CT-like volumes of several shapes, orientations and spacings."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    for number in range(count):
        data = np.full((40 + 6 * number, 44, 30), -1000, np.int16)
        data[8:-8, 8:-8] = chance.integers(-150, 900, (24 + 6 * number, 28, 30))
        affine = np.diag([-1.5, 1.5, 2.0 + number, 1.0])
        write_nifti(folder / f"subject{number}_ct.nii.gz", data, affine)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Three volumes of three patients."""
    folder = tmp_path_factory.mktemp("cohort")
    write_scans(folder / "scans")
    (folder / "cohort").mkdir()
    return index_sources([folder / "scans"], folder / "cohort")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cohort: Cohort) -> Store:
    """A store of the cohort; not to be changed."""
    return prepare_cohort(cohort, tmp_path_factory.mktemp("stores") / "store", RECIPE)
