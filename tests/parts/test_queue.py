import pytest
import torch

from medssl.errors import ConfigError
from medssl.parts.queue import Queue


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 2).contiguous()


def held(queue):
    return sorted(queue.rows[queue.filled][:, 0].tolist())


def test_the_oldest_make_room():
    queue = Queue(4, 2)
    for step in range(4):
        queue.stage(rows(2 * step, 2 * step + 1))
        queue.advance()
        assert held(queue) == [float(n) for n in range(max(0, 2 * step - 2), 2 * step + 2)]


def test_staging_changes_nothing_until_the_step_is_over():
    queue = Queue(4, 2)
    queue.stage(rows(1, 2))
    queue.stage(rows(3))
    assert not queue.filled.any()
    queue.advance()
    assert held(queue) == [1, 2, 3]
    queue.advance()
    assert held(queue) == [1, 2, 3]


def test_more_than_there_is_room_for_leaves_the_latest():
    queue = Queue(3, 2)
    for first in range(0, 50, 2):
        queue.stage(rows(first, first + 1))
    assert sum(map(len, queue._staged)) <= 4
    queue.advance()
    assert held(queue) == [47, 48, 49]


def test_a_resumed_queue_goes_on_where_it_was():
    queue, resumed = Queue(3, 2), Queue(3, 2)
    queue.stage(rows(1, 2))
    queue.advance()
    resumed.load_state_dict(queue.state_dict())
    for each in (queue, resumed):
        each.stage(rows(3, 4))
        each.advance()
    assert torch.equal(queue.rows, resumed.rows)


def test_no_gradient_is_kept():
    queue = Queue(3, 2)
    queue.stage(rows(1).requires_grad_())
    queue.advance()
    assert not queue.rows.requires_grad


def test_a_queue_has_room():
    with pytest.raises(ConfigError, match="at least 1"):
        Queue(0, 2)
