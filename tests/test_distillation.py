"""Distillation losses equal torch's own and plain loops, in value and gradient; who has learned all pays nothing."""

import math

import pytest
import torch
import torch.nn.functional as F

from fslib import distillation
from tests.test_losses import assert_agree, with_gradients

each_seed = pytest.mark.parametrize("seed", range(3))


def drawn(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Scores -----------------------------------------------------------------------------------------------------


@each_seed
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_targets_are_torch_s_divergence_and_the_formula(seed, temperature):
    student, teacher = 5 * drawn(seed, 6, 4), 5 * drawn(seed + 10, 6, 4)

    def ours(s):
        return distillation.soft_targets(s, teacher, temperature)

    def torch_s_own(s):
        log_q, p = F.log_softmax(s / temperature, 1), F.softmax(teacher / temperature, 1)
        return F.kl_div(log_q, p, reduction="batchmean") * temperature**2

    def loop(s):
        rows = []
        for t, s_row in zip(teacher, s):
            p, q = ((z / temperature).exp() / (z / temperature).exp().sum() for z in (t, s_row))
            rows.append(sum(p[k] * (p[k] / q[k]).log() for k in range(4)))
        return temperature**2 * torch.stack(rows).mean()

    assert_agree(ours, torch_s_own, loop, at=(student,))
    assert torch.autograd.gradcheck(ours, student.requires_grad_())


@each_seed
def test_the_gradient_is_that_of_the_cross_entropy_with_soft_targets(seed):
    student, teacher = drawn(seed, 5, 7), drawn(seed + 10, 5, 7)
    entropy = torch.distributions.Categorical(logits=teacher / 3).entropy().mean()

    def ours(s):
        return distillation.soft_targets(s, teacher, 3.0) + 9 * entropy

    assert_agree(ours, lambda s: 9 * F.cross_entropy(s / 3, (teacher / 3).softmax(1)), at=(student,))


def test_a_stack_of_episodes_is_the_mean_of_its_episodes():
    student, teacher = drawn(0, 3, 6, 5), drawn(1, 3, 6, 5)
    apart = [distillation.soft_targets(s, t) for s, t in zip(student, teacher)]
    torch.testing.assert_close(distillation.soft_targets(student, teacher), torch.stack(apart).mean())


@each_seed
def test_a_constant_added_to_all_scores_of_a_row_changes_nothing(seed):
    student, teacher = drawn(seed, 6, 4), drawn(seed + 10, 6, 4)
    constants = 100 * drawn(seed + 20, 2, 6, 1)
    moved = distillation.soft_targets(student + constants[0], teacher + constants[1])
    torch.testing.assert_close(moved, distillation.soft_targets(student, teacher))


def test_with_the_temperature_the_loss_tends_to_half_a_squared_distance_of_centred_scores():
    student, teacher = drawn(0, 6, 5), drawn(1, 6, 5)
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = centred.square().sum(1).mean() / (2 * 5)
    torch.testing.assert_close(distillation.soft_targets(student, teacher, 1e4), limit, rtol=1e-3, atol=0)


def test_the_gradient_keeps_its_size_whatever_the_temperature():
    student, teacher = drawn(0, 6, 5), drawn(1, 6, 5)
    sizes = [
        with_gradients(lambda s, t=t: distillation.soft_targets(s, teacher, t), student)[1].norm()
        for t in (4.0, 8.0, 64.0)
    ]
    assert max(sizes) < 1.5 * min(sizes)


# Embeddings -------------------------------------------------------------------------------------------------


@each_seed
def test_embeddings_are_compared_by_the_cosine(seed):
    student, teacher = drawn(seed, 6, 4), drawn(seed + 10, 6, 4)

    def ours(s):
        return distillation.embeddings(s, teacher)

    assert_agree(ours, lambda s: (1 - F.cosine_similarity(s, teacher)).mean(), at=(student,))
    assert torch.autograd.gradcheck(ours, student.requires_grad_())


# Relations --------------------------------------------------------------------------------------------------


def relations_by_loops(student, teacher):
    def potentials(x):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
        distances = [((x[i] - x[j]) @ (x[i] - x[j])).sqrt() for i, j in pairs if not torch.equal(x[i], x[j])]
        mean = sum(distances) / len(distances)
        return {(i, j): (x[i] - x[j]).norm() / mean for i, j in pairs}

    def huber(x):
        return x.square() / 2 if x.abs() <= 1 else x.abs() - 0.5

    of_student, of_teacher = potentials(student), potentials(teacher)
    return torch.stack([huber(of_student[pair] - of_teacher[pair]) for pair in of_student]).mean()


@each_seed
@pytest.mark.parametrize("dim", [1, 4, 9])
def test_relations_are_those_of_the_paper_whatever_the_dimensions(seed, dim):
    student, teacher = drawn(seed, 6, 4), drawn(seed + 10, 6, dim) ** 3  # some beyond 1
    teacher[2] = teacher[4]  # the same picture twice

    def ours(s):
        return distillation.relations(s, teacher)

    assert_agree(ours, lambda s: relations_by_loops(s, teacher), at=(student,))
    assert torch.autograd.gradcheck(ours, student.requires_grad_())


@each_seed
def test_relations_of_a_teacher_that_is_turned_moved_and_enlarged_are_the_same(seed):
    teacher = drawn(seed, 6, 4)
    turn = torch.linalg.qr(drawn(seed + 10, 4, 4)).Q
    student = (3 * teacher @ turn + 5).requires_grad_()
    loss = distillation.relations(student, teacher)
    loss.backward()
    assert loss < 1e-20 and student.grad.abs().max() < 1e-12


def test_equal_points_leave_a_finite_gradient():
    teacher = drawn(0, 6, 3)
    for student in (torch.zeros(6, 3), torch.ones(6, 3), torch.ones(6, 3).index_fill(0, torch.tensor([2]), 0)):
        for loss in (distillation.embeddings, distillation.relations):
            value, slope = with_gradients(lambda s, loss=loss: loss(s, teacher), student)
            assert value.isfinite() and slope.isfinite().all()
        value, slope = with_gradients(lambda s: distillation.relations(s, torch.ones(6, 3)), student)
        assert value.isfinite() and slope.isfinite().all()


# What they share --------------------------------------------------------------------------------------------

LOSSES = [distillation.soft_targets, distillation.embeddings, distillation.relations]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


@each_loss
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_who_gives_what_the_teacher_gives_has_learned_all(loss, kind):
    teacher = drawn(0, 8, 5).to(kind)
    value, slope = with_gradients(lambda s: loss(s, teacher), teacher)
    assert value == 0 and slope.abs().max() < (1e-6 if kind == torch.float32 else 1e-14)


@each_loss
def test_no_gradient_reaches_the_teacher(loss):
    student, teacher = drawn(0, 8, 5).requires_grad_(), drawn(1, 8, 5).requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.abs().max() > 0 and teacher.grad is None


@each_loss
def test_half_precision_is_computed_in_full(loss):
    student, teacher = drawn(0, 8, 5).bfloat16(), drawn(1, 8, 5).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(student.double(), teacher.double()).float())


@each_loss
def test_of_nothing_and_of_no_tensors(loss):
    with pytest.raises(TypeError, match=f"{loss.__name__} takes tensors"):
        loss([[1.0, 2.0]], torch.ones(1, 2))
    if loss is not distillation.relations:
        assert loss(torch.zeros(0, 4), torch.zeros(0, 4)) == 0


@each_loss
def test_what_is_no_number_is_not_hidden(loss):
    student = drawn(0, 8, 5)
    student[3, 2] = math.nan
    assert loss(student, drawn(1, 8, 5)).isnan()


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: distillation.soft_targets(torch.ones(3, 4), torch.ones(3, 5)),
         r"over the same classes, \(..., n, classes\), but their scores have shapes \(3, 4\) and \(3, 5\)"),
        (lambda: distillation.soft_targets(torch.ones(4), torch.ones(4)), "the same classes"),
        (lambda: distillation.soft_targets(torch.ones(3, 4), torch.ones(3, 4), 0), "temperature must be above zero"),
        (lambda: distillation.embeddings(torch.ones(3, 4), torch.ones(3, 5)),
         r"in 4 dimensions and the teacher in 5, .* can, by distillation\.relations"),
        (lambda: distillation.embeddings(torch.ones(3, 4), torch.ones(2, 4)), "must embed the same images"),
        (lambda: distillation.relations(torch.ones(3, 4), torch.ones(2, 4)), "must embed the same images"),
        (lambda: distillation.relations(torch.ones(1, 4), torch.ones(1, 4)), "two images or more, but there is 1"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said(call, says):
    with pytest.raises(ValueError, match=says):
        call()
