import pytest
import torch
from torch import nn

from medssl.errors import ConfigError
from medssl.parts.teacher import Teacher


@pytest.fixture
def student():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def moved(student):
    """Change every parameter and buffer of the student."""
    with torch.no_grad():
        for tensor in [*student.parameters(), *student.buffers()]:
            tensor.add_(1)
    return student


def test_teacher_equals_student_at_step_zero_and_shares_nothing(student):
    teacher = Teacher(student)
    for own, other in zip(
        teacher.module.state_dict().values(), student.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other)
        assert own.data_ptr() != other.data_ptr()


def test_a_student_that_moves_leaves_its_teacher_where_it_is(student):
    teacher = Teacher(student)
    before = {k: v.clone() for k, v in teacher.module.state_dict().items()}
    moved(student)
    assert all(torch.equal(v, before[k]) for k, v in teacher.module.state_dict().items())


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_parameters_follow_as_a_running_mean_and_buffers_are_copied(student, momentum):
    teacher = Teacher(student)
    before = {k: v.clone() for k, v in teacher.module.named_parameters()}
    teacher.update(moved(student), momentum)
    after = dict(teacher.module.named_parameters())
    for name, own in student.named_parameters():
        expected = momentum * before[name] + (1 - momentum) * own
        torch.testing.assert_close(after[name], expected)
    for own, other in zip(teacher.module.buffers(), student.buffers(), strict=True):
        assert torch.equal(own, other)


def test_no_gradient_reaches_a_teacher(student):
    teacher = Teacher(student)
    vectors = torch.randn(4, 3, requires_grad=True)
    assert not teacher(vectors).requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())


def test_a_teacher_stays_in_evaluation_when_its_parent_trains(student):
    parent = nn.ModuleDict({"student": student, "teacher": Teacher(student)}).train()
    assert student.training
    assert not any(m.training for m in parent["teacher"].modules())
    vectors = torch.randn(4, 3)
    assert torch.equal(parent["teacher"](vectors), parent["teacher"](vectors))


def test_a_teacher_travels_in_the_state_of_its_parent(student):
    teacher, other = Teacher(student), Teacher(student)
    teacher.update(moved(student), 0.5)
    other.load_state_dict(teacher.state_dict())
    vectors = torch.randn(4, 3)
    assert torch.equal(teacher(vectors), other(vectors))


@pytest.mark.parametrize("momentum", [-0.1, 1.01])
def test_a_momentum_outside_zero_and_one_is_refused(student, momentum):
    with pytest.raises(ConfigError, match="momentum was"):
        Teacher(student).update(student, momentum)


def test_another_module_is_no_student(student):
    with pytest.raises(ConfigError, match="made from"):
        Teacher(student).update(nn.Linear(3, 4), 0.9)
