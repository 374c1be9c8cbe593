"""Distillation: losses by which a student learns what a trained teacher makes of the same images.

What is handed on is what the teacher's answer says beyond the right class: which wrong ones it holds for likely, or
which images it sees close to which. No gradient reaches the teacher. All is computed in float32 or better, under
autocast too.

=====================  ===============  =========================
the student is given   alike must be    loss
=====================  ===============  =========================
scores of classes      the classes      :func:`soft_targets`
embeddings             the dimension    :func:`embeddings`
distances of images    nothing          :func:`relations`
=====================  ===============  =========================

>>> teacher = torch.tensor([[2.0, 1.0, 0.0]])
>>> soft_targets(teacher + 5, teacher)     # the same probabilities
tensor(0.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.losses import check_above_zero, in_full_precision
from fslib.metrics import directions, euclidean


@in_full_precision
def soft_targets(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Ask of the student the probabilities that the teacher gives to the classes (Hinton, Vinyals and Dean, 2015).

    T² · KL(softmax(t/T) ‖ softmax(s/T)), the mean over rows. The higher the temperature T, the more the likelihoods of
    wrong classes count. The gradient of the divergence falls as 1/T², which the factor makes up for.

    Args:
        student: scores s, (..., n, classes).
        teacher: scores t, of the same shape, in the same order of classes.
        temperature: T.

    Example:
        >>> soft_targets(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 4.0]]), temperature=4.0).round(decimals=4)
        tensor(1.7751)
    """
    check_above_zero("temperature", temperature)
    if student.shape != teacher.shape or student.ndim < 2:
        raise ValueError(
            "Student and teacher must score the same queries over the same classes, (..., n, classes), "
            f"but their scores have shapes {tuple(student.shape)} and {tuple(teacher.shape)}."
        )
    log_p = (teacher.detach() / temperature).log_softmax(-1)
    log_q = (student / temperature).log_softmax(-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1)
    return temperature**2 * _mean(divergence)


@in_full_precision
def embeddings(student: Tensor, teacher: Tensor) -> Tensor:
    """Ask of the student the directions of the teacher's embeddings: 1 − cos(s, t), the mean over images.

    For vectors of length one it is half the squared distance, and is computed as such: so it is zero where they agree.

    Args:
        student: embeddings s, (n, d).
        teacher: embeddings t of the same images, (n, d).

    Example:
        >>> embeddings(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [4.0, 0.0]]))
        tensor(0.5000)
    """
    _check_images(student, teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            f"The student embeds in {student.shape[1]} dimensions and the teacher in {teacher.shape[1]}, so their "
            "embeddings cannot agree; their distances can, by distillation.relations."
        )
    return _mean((directions(student) - directions(teacher.detach())).square().sum(1) / 2)


@in_full_precision
def relations(student: Tensor, teacher: Tensor) -> Tensor:
    """Ask of the student the distances between images that the teacher sees (Park et al., *RKD*, 2019), up to scale.

    Both sides are all distances between two images, divided by the mean of those above zero. What is between the two
    sides is taken by the Huber loss, ½x² as far as ``|x|`` = 1 and ``|x|`` − ½ beyond, the mean over pairs. It is the
    paper's distance-wise loss, which may come with another one of angles. The authors' code averages over the zeros of
    the diagonal too, which makes it smaller by a factor of (n − 1)/n.

    Args:
        student: embeddings, (n, d), two images at least.
        teacher: embeddings of the same images, (n, any dimension).

    Example:
        >>> teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> relations(4 * teacher, teacher), relations(torch.tensor([[0.0], [1.0], [2.0]]), teacher)
        (tensor(0.), tensor(0.1075))
    """
    _check_images(student, teacher)
    if len(student) < 2:
        raise ValueError(f"Relations are between two images or more, but there is {len(student)}.")
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher.detach()))


def _relative_distances(embeddings: Tensor) -> Tensor:
    """Distances of the pairs, (n(n − 1)/2,), in units of the mean of those above zero."""
    first, second = torch.triu_indices(len(embeddings), len(embeddings), 1, device=embeddings.device)
    distances = euclidean(embeddings, embeddings)[first, second]
    positive = (distances > 0).sum().clamp_min(1)
    mean = distances.sum() / positive
    return distances / mean.where(mean > 0, 1)


def _check_images(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(
            "Student and teacher must embed the same images, (n, d) each, "
            f"but their embeddings have shapes {tuple(student.shape)} and {tuple(teacher.shape)}."
        )


def _mean(costs: Tensor) -> Tensor:
    """The mean, and zero over nothing."""
    return costs.sum() / max(1, costs.numel())
