"""Tables of targets, probabilities and features."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl.errors import InputError
from medssl.evaluation.tables import read_classes, read_features, read_targets


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_targets_are_found_by_id_or_by_image(tmp_path: Path) -> None:
    by_id = read_targets(table(tmp_path / "a.csv", "id,target,patient\ns1,ill,p1\ns2,well,p1\n"))
    assert by_id.target == {"s1": "ill", "s2": "well"}
    assert by_id.patient == {"s1": "p1", "s2": "p1"}
    by_image = read_targets(table(tmp_path / "b.csv", "image,target\nscans/s1.nii.gz,1\n"))
    assert by_image.target == {"s1": "1"}
    assert by_image.patient == {"s1": "s1"}


def test_few_whole_numbers_are_classes_and_measurements_are_numbers(tmp_path: Path) -> None:
    grades = read_targets(
        table(tmp_path / "a.csv", "id,target\n" + "".join(f"s{i},{i % 3}\n" for i in range(9)))
    )
    assert grades.numbers() is None
    ages = read_targets(table(tmp_path / "b.csv", "id,target\ns1,61.5\ns2,43\n"))
    assert ages.numbers() == {"s1": 61.5, "s2": 43.0}


def test_class_columns_carry_the_names_of_classes(tmp_path: Path) -> None:
    found = read_classes(
        table(tmp_path / "p.csv", "id,prediction,probability_a,probability_b\ns1,a,0.7,0.3\n")
    )
    assert found.classes == ("a", "b")
    assert found.values.tolist() == [[0.7, 0.3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,targte\ns1,1\n", 'no column "target"; did you mean "targte"'),
        ("name,target\ns1,1\n", 'neither a column "id" nor "image"'),
        ("id,target\ns1,1\ns1,2\n", "s1 occurs twice"),
        ("id,target\n", "no rows"),
    ],
)
def test_tables_that_can_not_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_targets(table(tmp_path / "t.csv", text))


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table"):
        read_features(tmp_path / "absent.parquet")
    with pytest.raises(InputError, match="not a table"):
        read_features(table(tmp_path / "broken.parquet", "x"))
    with pytest.raises(InputError, match="class probabilities"):
        read_classes(table(tmp_path / "t.csv", "id,target\ns1,1\n"))
