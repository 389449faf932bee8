from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medssl_bench.methods.parts.teacher import Teacher


def test_after_k_steps_the_teacher_equals_the_closed_form():
    torch.manual_seed(0)
    student = nn.Linear(3, 2)
    teacher = Teacher(network=student)
    momenta = [0.5, 0.9, 0.99, 0.996]
    weights = [student.weight.detach().double().clone()]
    for momentum in momenta:
        with torch.no_grad():
            student.weight.normal_()
        weights.append(student.weight.detach().double().clone())
        teacher.follow(momentum, network=student)
    # t_k = (prod m) w_0 + sum_i (1 - m_i) (prod_{j>i} m_j) w_i
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for index, weight in enumerate(weights):
        share = 1.0 if index == 0 else 1.0 - momenta[index - 1]
        for momentum in momenta[index:]:
            share *= momentum
        expected += share * weight
    torch.testing.assert_close(teacher["network"].weight.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("momentum", "same_as"), [(1.0, "teacher"), (0.0, "student")])
def test_momentum_one_keeps_and_zero_copies(momentum, same_as):
    torch.manual_seed(0)
    student = nn.Linear(3, 2)
    teacher = Teacher(network=student)
    before = copy.deepcopy(teacher["network"])
    with torch.no_grad():
        student.weight.normal_()
    teacher.follow(momentum, network=student)
    expected = before if same_as == "teacher" else student
    assert torch.equal(teacher["network"].weight, expected.weight)


def test_it_starts_as_a_copy_without_gradient_in_eval_mode():
    student = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    teacher = Teacher(network=student)
    for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.data_ptr() != theirs.data_ptr()
        assert not mine.requires_grad
    nn.ModuleList([teacher, student]).train()
    assert student.training
    assert not any(module.training for module in teacher.modules())


def test_running_statistics_follow_the_student():
    student = nn.BatchNorm1d(2)
    teacher = Teacher(network=student)
    student(torch.randn(8, 2))
    teacher.follow(0.9, network=student)
    assert torch.equal(teacher["network"].running_mean, student.running_mean)
    assert teacher["network"].num_batches_tracked == 1
