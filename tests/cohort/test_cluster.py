"""The same cohort whoever reads: children of this process, or workers of a Dask cluster."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import broken_readers
import numpy as np
import pytest

from medssl.cohort.crew import Crew, default_workers, machine_bytes, open_crew
from medssl.cohort.scan import index_sources
from medssl.errors import InputError, UsageError
from medssl.io.nifti import write_nifti

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
MR = np.random.default_rng(0).integers(0, 900, (8, 9, 7)).astype(np.int16)
TABLES = ("volumes.parquet", "quarantine.csv", "summary.json")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for name in range(8):
        (folder / f"sub-{name}").mkdir(parents=True)
        write_nifti(folder / f"sub-{name}" / "a_T1w.nii.gz", MR + name % 6, AFFINE)
    (folder / "sub-0" / "page.nii").write_text("<html>")
    return folder


def cohort_of(scans, folder, crew, **options) -> list[bytes]:
    folder.mkdir()
    index_sources([scans], folder, crew=crew, **options)
    return [(folder / name).read_bytes() for name in TABLES]


def read_all(run, orders):
    return [getattr(outcome, "kind", outcome) for outcome in run(broken_readers.read, orders)]


def ask_children(run, _):
    return next(iter(run(broken_readers.child_of, [0])))


def test_children_find_what_this_process_finds(scans, tmp_path):
    here = cohort_of(scans, tmp_path / "here", Crew())
    with open_crew(2) as crew:
        assert cohort_of(scans, tmp_path / "children", crew) == here


def test_faults_cost_their_item_and_children_end_with_the_crew():
    orders = [("a", ["one", "crash"]), ("b", ["swell", "two"]), ("c", ["exit", "exit", "three"])]
    with open_crew(2, memory_bytes=2**28, seconds=20) as crew:
        done = dict(crew.each(read_all, orders))
        children = {process for _, process in crew.each(ask_children, enumerate(range(4)))}
    assert done == {
        "a": ["one", "crash"],
        "b": ["memory", "two"],
        "c": ["crash", "crash", "three"],
    }
    assert 1 <= len(children) <= 2
    assert not any(map(is_alive, children))


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_only_a_few_tasks_are_under_way_at_a_time():
    taken = []

    def tasks():
        for number in range(30):
            taken.append(number)
            yield number, ["x"]

    with open_crew(1) as crew:
        most = max(len(taken) - place for place, _ in enumerate(crew.each(read_all, tasks())))
    assert most <= crew.ahead + 1


def test_leaving_early_does_not_wait_for_a_file_that_hangs():
    start = time.monotonic()
    with open_crew(2, seconds=60) as crew:
        key, _ = next(crew.each(read_all, [("slow", ["hang"]), ("fast", ["x"])]))
        assert key == "fast"
    assert time.monotonic() - start < 10


def test_the_machine_is_shared_out():
    assert 1 <= default_workers() <= 8
    assert machine_bytes() > 2**28


def test_without_dask_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(UsageError, match=r'pip install "medssl\[cluster\]"'),
        open_crew(scheduler="tcp://127.0.0.1:1"),
    ):
        pass


@pytest.fixture
def cluster():
    """Lend a cluster of two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as lent:
        yield lent


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", ""])
def test_a_scheduler_that_does_not_answer_is_said_soon(address):
    pytest.importorskip("distributed")
    start = time.monotonic()
    with pytest.raises(InputError, match="--scheduler"), open_crew(scheduler=address):
        pass
    assert time.monotonic() - start < 15


def test_a_cluster_of_threads_finds_the_same(scans, tmp_path):
    distributed = pytest.importorskip("distributed")
    here = cohort_of(scans, tmp_path / "here", Crew())
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address=None,
            host="127.0.0.1",
            protocol="tcp://",
        ) as cluster,
        cluster.get_client() as client,
    ):
        crew = Crew(client.get_executor(pure=False), None, ahead=3)
        assert cohort_of(scans, tmp_path / "cluster", crew) == here


@pytest.mark.slow
def test_a_cluster_of_processes_finds_the_same(scans, tmp_path, cluster):
    here = cohort_of(scans, tmp_path / "here", Crew())
    with open_crew(scheduler=cluster.scheduler_address) as crew:
        assert cohort_of(scans, tmp_path / "cluster", crew) == here
        children = {process for _, process in crew.each(ask_children, enumerate(range(4)))}
    assert not any(map(is_alive, children))


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(scans, tmp_path, cluster):
    for name in range(8, 120):
        write_nifti(scans / f"sub-{name % 8}" / f"{name}_T1w.nii", MR + name, AFFINE)
    here = cohort_of(scans, tmp_path / "here", Crew())
    left = [worker.process.process.pid for worker in cluster.workers.values()]
    killed = []

    def kill_halfway(items, *, total, unit, doing):
        for number, item in enumerate(items):
            if doing == "reading" and number == total // 2:
                killed.append(left.pop())
                os.kill(killed[0], signal.SIGKILL)
            yield item

    with open_crew(scheduler=cluster.scheduler_address) as crew:
        assert cohort_of(scans, tmp_path / "cluster", crew, progress=kill_halfway) == here
    assert len(killed) == 1


class KilledWorker(Exception):  # noqa: N818 - as Dask names it
    pass


class GivesUp:
    """A cluster at its worst: every task is lost with its workers."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_exception(KilledWorker())
        return future


def test_what_a_cluster_gives_up_on_is_done_here(scans, tmp_path):
    here = cohort_of(scans, tmp_path / "here", Crew())
    assert cohort_of(scans, tmp_path / "lost", Crew(GivesUp(), None, ahead=2)) == here


def test_an_error_of_a_task_ends_the_run(scans):
    def fail(run, task):
        raise ZeroDivisionError

    with open_crew(1) as crew, pytest.raises(ZeroDivisionError):
        list(crew.each(fail, [("a", 1)]))


def test_limits_reach_the_child():
    with open_crew(1, seconds=0.5) as crew:
        assert dict(crew.each(read_all, [("a", ["hang", "x"])])) == {"a": ["timeout", "x"]}
