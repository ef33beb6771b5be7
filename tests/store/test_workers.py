"""The same work here, in child processes, or by a crew that is lent."""

import os

import pytest

from medssl.cohort.crew import Crew, open_crew
from medssl.errors import InputError
from medssl.io.sandbox import SandboxFault
from medssl.store.workers import each


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def refuse(number: int) -> int:
    raise InputError(f"not {number}")


def die(number: int) -> int:
    os._exit(number)


def squared(run, number):
    (result,) = run(square, [number])
    return result


def refused(run, number):
    (result,) = run(refuse, [number])
    return result


def died(run, number):
    (result,) = run(die, [number])
    return result


def test_one_process_works_here_and_only_when_asked():
    results = each(squared, iter([3, 1, 2]), 3, workers=0)
    assert next(results) == (0, (9, os.getpid()))
    assert [(number, value) for number, (value, _) in results] == [(1, 1), (2, 4)]


def test_several_processes_number_their_results():
    results = dict(each(squared, range(6), 6, workers=2))
    assert {number: value for number, (value, _) in results.items()} == {
        number: number * number for number in range(6)
    }
    assert os.getpid() not in {process for _, process in results.values()}


def test_a_crew_that_is_lent_does_all_of_it():
    results = dict(each(squared, range(3), 3, workers=2, crew=Crew()))
    assert {process for _, process in results.values()} == {os.getpid()}


def test_little_work_is_not_worth_processes():
    results = each(squared, range(20), 20)
    assert {process for _, (_, process) in results} == {os.getpid()}


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_to_do_is_nothing(workers):
    assert list(each(squared, [], 0, workers=workers)) == []


def test_items_are_asked_for_as_they_are_worked_on():
    asked = []

    def items():
        for number in range(1000):
            asked.append(number)
            yield number

    with open_crew(1) as crew:
        results = each(squared, items(), 1000, crew=crew)
        next(results)
        assert len(asked) < 20
        results.close()


def test_a_child_that_dies_costs_its_item_alone():
    with open_crew(1) as crew:
        assert list(each(died, [1], 1, crew=crew)) == [(0, SandboxFault("crash"))]


def test_an_error_of_the_work_is_raised_here():
    with pytest.raises(InputError, match="not 7"):
        list(each(refused, [7], 1, workers=2))
