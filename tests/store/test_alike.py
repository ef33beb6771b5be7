"""Near-duplicates by what an encoder says of them."""

import itertools

import numpy as np
import pytest

from medssl.errors import UsageError
from medssl.store.alike import Vectors, find_alike_vectors


def rows_of(count, **columns):
    plain = {"modality": "ct", "shape": [9, 9, 9]}
    return [
        {"id": f"v{n}", "patient": f"p{n // 2}", **plain, **{k: v[n] for k, v in columns.items()}}
        for n in range(count)
    ]


def alike_slowly(vectors, least):
    """The greedy rule, pair by pair."""
    kept, gone = [], {}
    for number, vector in enumerate(vectors.astype(float)):
        for first in kept:
            other = vectors[first].astype(float)
            if vector @ other >= least * np.linalg.norm(vector) * np.linalg.norm(other):
                gone[number] = first
                break
        else:
            kept.append(number)
    return gone


@pytest.mark.parametrize("least", [0.5, 0.8, 0.95])
def test_what_goes_is_what_the_slow_rule_says(least):
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(12, 8))
    vectors = centres[chance.integers(12, size=80)] + chance.normal(0, 0.25, (80, 8))
    vectors = (vectors * chance.uniform(0.5, 3, (80, 1))).astype(np.float32)
    removed = find_alike_vectors(rows_of(80), vectors, least)
    assert {entry.id: entry.kept for entry in removed} == {
        f"v{number}": f"v{first}" for number, first in alike_slowly(vectors, least).items()
    }
    left = [n for n in range(80) if f"v{n}" not in {entry.id for entry in removed}]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert all(unit[a] @ unit[b] < least + 1e-5 for a, b in itertools.combinations(left, 2))


def test_equal_vectors_are_alike_at_any_threshold():
    vectors = np.random.default_rng(0).normal(size=(1, 512)).astype(np.float32)
    scaled = np.concatenate([vectors, 3 * vectors])
    (entry,) = find_alike_vectors(rows_of(2), scaled, 1.0)
    assert (entry.id, entry.kept, entry.same_patient) == ("v1", "v0", True)
    assert 0 <= entry.distance < 1e-5


@pytest.mark.parametrize(
    "columns", [{"modality": ["ct", "mr"]}, {"shape": [[9, 9, 9], [9, 9]]}, {}]
)
def test_other_kinds_and_volumes_without_a_vector_stay(columns):
    vectors = np.ones((2, 4), np.float32)
    if not columns:
        vectors[1] = np.nan
    assert find_alike_vectors(rows_of(2, **columns), vectors) == []


@pytest.mark.parametrize("least", [0.0, 1.5, float("nan")])
def test_a_similarity_that_is_none_is_refused(least):
    with pytest.raises(UsageError, match="threshold"):
        find_alike_vectors(rows_of(1), np.ones((1, 2), np.float32), least)


def test_vectors_outlive_the_process_and_belong_to_ids_and_weights(tmp_path):
    vectors = Vectors(tmp_path, ["a", "b", "c"], "sum")
    assert vectors.missing() == [0, 1, 2]
    assert np.isnan(vectors.all()).all()
    vectors.put(1, np.arange(4, dtype=np.float32))
    again = Vectors(tmp_path, ["a", "b", "c"], "sum")
    assert again.missing() == [0, 2]
    assert again.all()[1].tolist() == [0, 1, 2, 3]
    assert Vectors(tmp_path, ["a", "b", "d"], "sum").missing() == [0, 1, 2]
    assert Vectors(tmp_path, ["a", "b", "c"], "other").missing() == [0, 1, 2]
    (tmp_path / "embedding.json").write_text("{")
    assert Vectors(tmp_path, ["a", "b", "c"], "sum").missing() == [0, 1, 2]
    again.forget()
    assert list(tmp_path.iterdir()) == []
