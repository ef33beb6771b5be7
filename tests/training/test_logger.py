import csv

from medssl.training.logger import MetricsCsv


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_and_late_columns(tmp_path):
    logger = MetricsCsv(tmp_path / "metrics.csv")
    logger.log_metrics({"loss": 1.0, "epoch": 0}, 0)
    logger.log_metrics({"loss": 0.5, "rankme": 7.0}, 1)
    logger.log_metrics({"loss": 0.4}, 2)
    assert rows(tmp_path / "metrics.csv") == [
        {"step": "0", "loss": "1.0", "rankme": ""},
        {"step": "1", "loss": "0.5", "rankme": "7.0"},
        {"step": "2", "loss": "0.4", "rankme": ""},
    ]


def test_second_call_completes_the_row_of_a_step(tmp_path):
    logger = MetricsCsv(tmp_path / "metrics.csv")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_metrics({"rankme": 3.0}, 0)
    assert rows(tmp_path / "metrics.csv") == [{"step": "0", "loss": "1.0", "rankme": "3.0"}]


def test_resume_drops_what_is_repeated_and_goes_on(tmp_path):
    path = tmp_path / "metrics.csv"
    first = MetricsCsv(path)
    for step in range(4):
        first.log_metrics({"loss": float(step)}, step)
    second = MetricsCsv(path, resume_step=2)
    second.log_metrics({"loss": 20.0}, 2)
    assert [row["loss"] for row in rows(path)] == ["0.0", "1.0", "20.0"]


def test_fresh_run_starts_an_empty_file(tmp_path):
    path = tmp_path / "metrics.csv"
    MetricsCsv(path).log_metrics({"loss": 1.0}, 0)
    MetricsCsv(path)
    assert rows(path) == []
