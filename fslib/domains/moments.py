"""Losses that make the distributions of two sets of embeddings alike, by their covariance or by a kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fslib.losses import check_above_zero, in_full_precision
from fslib.metrics import squared_euclidean


@in_full_precision
def coral(source: Tensor, target: Tensor) -> Tensor:
    """Correlation alignment: how far apart the covariances of two domains are (Sun and Saenko, *Deep CORAL*, 2016).

    ‖C_s − C_t‖² / (4d²), the squared Frobenius norm, equation 1 of the paper. Covariances are unbiased, divided by
    n − 1. Where a library leaves out the 1/(4d²), the same weight counts 4d² times as much.

    The means play no part, so that one domain may lie anywhere beside the other. The scale does: beside a loss that
    sees cosines alone, embeddings of any length could please by being short, and are better normalised.

    Args:
        source: embeddings, (n, d), two at least.
        target: embeddings, (m, d), two at least.

    Example:
        >>> flat, steep = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[5.0, 0.0], [5.0, 2.0]])
        >>> coral(flat, flat + 7), coral(flat, steep)
        (tensor(0.), tensor(0.5000))
    """
    check_embeddings(source, target)
    apart = _covariance(source) - _covariance(target)
    return apart.square().sum() / (4 * source.shape[1] ** 2)


@in_full_precision
def mmd(
    source: Tensor,
    target: Tensor,
    widths: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
    unit: float | None = None,
    unbiased: bool = False,
) -> Tensor:
    """The squared maximum mean discrepancy of two domains, with Gaussian kernels of several widths.

    E k(s, s′) + E k(t, t′) − 2 E k(s, t), where k(x, y) is the mean of exp(−‖x − y‖² / 2σ²) over the widths σ. It is
    zero for one distribution alone (Gretton et al., 2012); several widths, as Long et al. (*DAN*, 2015) combine them,
    spare the choice of one. They learn the weights of the kernels, and estimate by pairs that are not all; here the
    weights are equal and all pairs count.

    Biased, over all pairs and each point with itself, it is never below zero, but of two samples of one distribution
    it is above. Unbiased, without the points with themselves, it is zero in the mean, and so at times below.

    Args:
        source: embeddings, (n, d), two at least.
        target: embeddings, (m, d), two at least.
        widths: σ, in units of ``unit``.
        unit: of the widths; default, the median distance of two points of both domains together, taken as a constant
            that has no gradient.
        unbiased: leave out the points with themselves.

    Example:
        >>> near, far = torch.tensor([[0.0], [1.0]]), torch.tensor([[9.0], [10.0]])
        >>> mmd(near, near, unit=1.0), mmd(near, far, widths=[1.0], unit=1.0)     # the latter (1 + exp(−½)) at most
        (tensor(0.), tensor(1.6065))
    """
    check_embeddings(source, target)
    both = torch.cat([source, target.to(source.dtype)])
    apart = squared_euclidean(both, both)
    if unit is not None:
        check_above_zero("unit", unit)
    squared_unit = _median(apart.detach()) if unit is None else unit**2
    kernels = [(apart / (-2 * width**2 * squared_unit)).exp() for width in _checked(widths)]
    kernel, n = torch.stack(kernels).mean(0), len(source)
    within = _mean(kernel[:n, :n], unbiased) + _mean(kernel[n:, n:], unbiased)
    return within - 2 * kernel[:n, n:].mean()


def check_embeddings(source: Tensor, target: Tensor) -> None:
    """Raise unless these are embeddings of two domains, in one space, two of each at least."""
    if source.ndim != 2 or target.ndim != 2:
        raise ValueError(
            "Source and target are embeddings, (n, d) and (m, d), "
            f"but these have shapes {tuple(source.shape)} and {tuple(target.shape)}."
        )
    if source.shape[1] != target.shape[1]:
        raise ValueError(
            f"The source is embedded in {source.shape[1]} dimensions and the target in {target.shape[1]}, so they "
            "cannot be alike; embed both by one network."
        )
    if min(len(source), len(target)) < 2:
        raise ValueError(
            "A distribution is of two embeddings or more, "
            f"but the source has {len(source)} and the target {len(target)}."
        )


def _covariance(embeddings: Tensor) -> Tensor:
    """Unbiased, (n, d) → (d, d); that of PyTorch itself keeps a GPU waiting."""
    centred = embeddings - embeddings.mean(0)
    return centred.mT @ centred / (len(embeddings) - 1)


def _median(squared: Tensor) -> Tensor:
    """The median of the squared distances of two points, (n, n) → (); 1 where it is zero."""
    first, second = torch.triu_indices(len(squared), len(squared), 1, device=squared.device)
    median = squared[first, second].median()
    return median.where(median > 0, 1)


def _mean(kernel: Tensor, unbiased: bool) -> Tensor:
    """The mean over pairs, (n, n) → (), with or without each point with itself."""
    n = len(kernel)
    return (kernel.sum() - kernel.trace()) / (n * (n - 1)) if unbiased else kernel.mean()


def _checked(widths: Sequence[float]) -> Sequence[float]:
    if not len(widths):
        raise ValueError("A kernel has a width, but widths is empty.")
    for width in widths:
        check_above_zero("Each of the widths", width)
    return widths
