"""Rows that wait on the disk until the table is written."""

import pyarrow.parquet as pq
import pytest

from medssl.store.table import Rows


def test_rows_come_back_in_the_order_of_their_numbers_with_gaps_closed(tmp_path):
    with Rows(tmp_path, 5) as rows:
        for number in (4, 0, 2):
            rows.put(number, {"id": str(number), "share": number / 3})
        assert len(rows) == 3
        assert list(rows) == [{"id": str(n), "share": n / 3} for n in (0, 2, 4)]
        assert list(rows) == list(rows)
    assert list(tmp_path.iterdir()) == []


def test_what_only_later_rows_have_is_a_column_too(tmp_path):
    with Rows(tmp_path, 2500) as rows:
        for number in range(2500):
            row = {"id": str(number), "fixes": [] if number < 2000 else ["lossy"], "split": None}
            rows.put(number, row if number < 1500 else {**row, "mask": "sum", "split": "train"})
        rows.write_parquet(tmp_path / "volumes.parquet")
    table = pq.read_table(tmp_path / "volumes.parquet")
    assert table["id"].to_pylist() == [str(number) for number in range(2500)]
    assert table["mask"].to_pylist() == [None] * 1500 + ["sum"] * 1000
    assert table["fixes"].to_pylist() == [[]] * 2000 + [["lossy"]] * 500
    assert table["split"].null_count == 1500
    assert (tmp_path / "volumes.parquet").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("count", [0, 2])
def test_a_table_of_text_has_a_head_and_the_wanted_columns(tmp_path, count):
    with Rows(tmp_path, count) as rows:
        for number in range(count):
            rows.put(number, {"detail": "why, so", "id": f"v{number}", "more": 1})
        rows.write_csv(tmp_path / "left.csv", ("id", "detail"))
    lines = (tmp_path / "left.csv").read_text().splitlines()
    assert lines == ["id,detail", *(f'v{number},"why, so"' for number in range(count))]
