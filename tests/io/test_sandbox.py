from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import broken_readers
import pytest

from medssl.errors import InputError
from medssl.io.read import find_file_reader
from medssl.io.sandbox import Sandbox, SandboxFault


@pytest.fixture
def sandbox():
    with Sandbox(memory_bytes=2**30, seconds=1.0) as lent:
        yield lent


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds=20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_values_come_in_order_from_one_child_that_stays(sandbox):
    assert list(sandbox.map(len, ["a", "bcd", ""])) == [1, 3, 0]
    (first,) = sandbox.map(broken_readers.child_of, [0])
    (second,) = sandbox.map(broken_readers.child_of, [0])
    assert first == second != os.getpid()
    assert list(sandbox.map(len, [])) == []


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        ("crash", "crash"),
        ("exit", "crash"),
        ("killed", "memory"),  # as the system does where memory runs out
        ("hang", "timeout"),
        ("swell", "memory"),
    ],
)
def test_a_fault_costs_its_own_item_alone(sandbox, order, kind):
    orders = ["one", "two", order, "three", order, order, "four"]
    fault = SandboxFault(kind)
    outcomes = list(sandbox.map(broken_readers.read, orders))
    assert outcomes == [fault if one == order else one for one in orders]
    assert list(sandbox.map(len, ["four"])) == [4]


def test_what_a_function_is_made_of_does_not_count(tmp_path):
    with Sandbox(memory_bytes=2**28) as small:
        assert list(small.map(len, ["a"])) == [1]  # a child without numpy, which needs more
        (reader,) = small.map(find_file_reader, [tmp_path / "a.nii"])
        assert reader.format == "nifti"


def test_an_error_of_the_function_is_raised_here_and_leaves_nothing_behind(sandbox):
    with pytest.raises(ValueError, match="of a file"):
        list(sandbox.map(broken_readers.read, ["one", "fail", "two"]))
    with pytest.raises(RuntimeError, match="LocalError"):
        list(sandbox.map(broken_readers.fail_unpicklably, ["secret"]))
    assert list(sandbox.map(broken_readers.read, ["three"])) == ["three"]


def test_a_batch_that_is_left_halfway_does_not_answer_the_next(sandbox):
    outcomes = sandbox.map(broken_readers.read, ["one", "two", "three"])
    assert next(outcomes) == "one"
    outcomes.close()
    assert list(sandbox.map(broken_readers.read, ["four"])) == ["four"]


def test_a_child_that_died_between_batches_is_replaced(sandbox):
    (process,) = sandbox.map(broken_readers.child_of, [0])
    os.kill(process, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(process))
    assert list(sandbox.map(len, ["a"])) == [1]


def test_a_child_says_nothing_dumps_nothing_and_has_one_thread(sandbox, capfd):
    assert list(sandbox.map(broken_readers.read, ["speak"])) == ["speak"]
    ((core, threads, session),) = sandbox.map(broken_readers.limits, [0])
    assert (core, threads) == (0, "1")
    assert session != os.getsid(0)
    said = capfd.readouterr()
    assert "Zzyzx" not in said.out + said.err


def test_another_thread_can_stop_it(sandbox, tmp_path):
    begun = tmp_path / "begun"
    patient = Sandbox(seconds=600)
    caught: list[BaseException] = []

    def work() -> None:
        try:
            list(patient.map(broken_readers.begin_and_hang, [str(begun), str(begun)]))
        except InputError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert wait_until(lambda: begun.exists() and begun.read_text() != "")
    patient.stop()
    thread.join(20.0)
    assert not thread.is_alive()
    assert len(caught) == 1
    patient.close()


def test_a_child_ends_with_its_parent(tmp_path):
    begun = tmp_path / "begun"
    program = f"""
        import broken_readers
        from medssl.io.sandbox import Sandbox
        list(Sandbox(seconds=600).map(broken_readers.begin_and_hang, [{str(begun)!r}]))
    """
    path = os.pathsep.join([str(Path(broken_readers.__file__).parent), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env={**os.environ, "PYTHONPATH": path}
    )
    assert wait_until(lambda: begun.exists() and begun.read_text() != "")
    child = int(begun.read_text())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not is_alive(child))
