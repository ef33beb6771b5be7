"""The same work in one process or in several."""

import os

import pytest

from medssl.errors import StoreError
from medssl.store.workers import each


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def die(number: int) -> int:
    os._exit(number)


def test_one_process_works_here_and_only_when_asked():
    results = each(square, [3, 1, 2], workers=0)
    assert next(results) == (9, os.getpid())
    assert [value for value, _ in results] == [1, 4]


def test_several_processes_keep_the_order():
    results = list(each(square, list(range(6)), workers=2))
    assert [value for value, _ in results] == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {process for _, process in results}


def test_little_work_is_not_worth_processes():
    assert {process for _, process in each(square, list(range(20)))} == {os.getpid()}


def test_nothing_to_do_is_nothing():
    assert list(each(square, [], workers=2)) == []


def test_a_worker_that_dies_is_reported():
    with pytest.raises(StoreError, match="memory"):
        list(each(die, [1], workers=2))
