"""CORAL and MMD are those of plain loops and of other libraries, and each convention is the one that is named."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from fslib.domains import coral, mmd
from tests.test_losses import assert_agree, with_gradients

pairwise = pytest.importorskip("sklearn.metrics.pairwise")
each_seed = pytest.mark.parametrize("seed", range(3))
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def drawn(seed, n=9, d=4):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# CORAL ------------------------------------------------------------------------------------------------------------


def coral_by_loops(source, target):
    def covariance(x, i, j):
        mean = x.sum(0) / len(x)
        return sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in x) / (len(x) - 1)

    d = source.shape[1]
    return sum(
        (covariance(source, i, j) - covariance(target, i, j)) ** 2 for i in range(d) for j in range(d)
    ) / (4 * d * d)


@each_seed
@pytest.mark.parametrize("n, m, d", [(9, 5, 4), (4, 9, 7), (2, 3, 1)])  # never as many rows as columns
def test_coral_is_the_formula_and_numpy_s_covariance(seed, n, m, d):
    source, target = drawn(seed, n, d), 2 * drawn(seed + 10, m, d) + 1
    assert_agree(coral, coral_by_loops, at=(source, target))
    numpy_s = [np.atleast_2d(np.cov(x.numpy(), rowvar=False)) for x in (source, target)]
    expected = np.linalg.norm(numpy_s[0] - numpy_s[1]) ** 2 / (4 * d * d)
    assert coral(source, target).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(coral, (source.requires_grad_(), target.requires_grad_()))


@each_seed
def test_coral_sees_neither_means_nor_order_but_the_scale(seed):
    source, target = drawn(seed), drawn(seed + 10, 6)
    value = coral(source, target)
    torch.testing.assert_close(coral(source + 100 * drawn(1, 1), target.flip(0)), value)
    torch.testing.assert_close(coral(3 * source, 3 * target), 3**4 * value)
    turn = torch.linalg.qr(drawn(seed + 20, 4, 4)).Q
    torch.testing.assert_close(coral(source @ turn, target @ turn), value)


# MMD --------------------------------------------------------------------------------------------------------------


def mmd_by_loops(source, target, unit, unbiased=False):
    def kernel(x, y):
        return sum((-((x - y) @ (x - y)) / (2 * (w * unit) ** 2)).exp() for w in WIDTHS) / len(WIDTHS)

    def mean(pairs):
        return sum(kernel(x, y) for x, y in pairs) / len(pairs)

    def within(x):
        return mean([(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if not (unbiased and i == j)])

    return within(source) + within(target) - 2 * mean([(s, t) for s in source for t in target])


@each_seed
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("n, m, d", [(9, 5, 4), (4, 6, 7), (2, 2, 1)])
def test_mmd_is_the_formula(seed, unbiased, n, m, d):
    source, target = drawn(seed, n, d), 2 * drawn(seed + 10, m, d) + 1
    ours = partial(mmd, unit=1.5, unbiased=unbiased)
    assert_agree(ours, lambda s, t: mmd_by_loops(s, t, 1.5, unbiased), at=(source, target))
    assert torch.autograd.gradcheck(ours, (source.requires_grad_(), target.requires_grad_()))


@each_seed
def test_mmd_is_by_the_kernel_of_scikit_learn(seed):
    source, target = drawn(seed), drawn(seed + 10, 6) + 1

    def kernel(x, y):
        return np.mean([pairwise.rbf_kernel(x, y, gamma=1 / (2 * w**2)) for w in WIDTHS], 0)

    s, t = source.numpy(), target.numpy()
    expected = kernel(s, s).mean() + kernel(t, t).mean() - 2 * kernel(s, t).mean()
    assert mmd(source, target, unit=1.0).item() == pytest.approx(expected)
    n, m = len(s), len(t)
    within = [(k.sum() - len(k)) / (len(k) * (len(k) - 1)) for k in (kernel(s, s), kernel(t, t))]
    assert mmd(source, target, unit=1.0, unbiased=True).item() == pytest.approx(
        sum(within) - 2 * kernel(s, t).sum() / (n * m)
    )


@each_seed
def test_the_unit_is_the_median_distance_of_two_points_and_has_no_gradient(seed):
    source, target = drawn(seed), drawn(seed + 10, 6) + 1
    both = torch.cat([source, target])
    unit = torch.pdist(both).sort().values[(15 * 14 // 2 - 1) // 2].item()
    assert_agree(mmd, lambda s, t: mmd(s, t, unit=unit), at=(source, target))
    torch.testing.assert_close(mmd(7 * source, 7 * target), mmd(source, target))


def test_unbiased_it_is_zero_in_the_mean_and_at_times_below_and_biased_it_never_is():
    found = {
        unbiased: torch.stack([mmd(drawn(2 * i, 8, 3), drawn(2 * i + 1, 8, 3), unbiased=unbiased) for i in range(300)])
        for unbiased in (False, True)
    }
    assert found[False].min() >= 0 and found[False].mean() > 0.05
    assert found[True].min() < 0 and found[True].mean().abs() < 3 * found[True].std() / math.sqrt(300)


def test_mmd_sees_what_mean_and_covariance_do_not():
    """Two bumps against one, of the same mean and variance."""
    one = drawn(0, 400, 1)
    two = 0.3 * drawn(1, 400, 1) + torch.tensor([[-1.0], [1.0]], dtype=torch.float64).repeat(200, 1)
    one, two = ((x - x.mean()) / x.std() for x in (one, two))
    same = (drawn(2, 400, 1) - drawn(2, 400, 1).mean()) / drawn(2, 400, 1).std()
    assert coral(one, two) < 1e-12
    assert mmd(one, two, unbiased=True) > 10 * mmd(one, same, unbiased=True).abs()


def test_points_that_are_all_one_leave_finite_numbers():
    for source, target in ((torch.zeros(4, 3), torch.zeros(5, 3)), (torch.zeros(4, 3), torch.ones(5, 3))):
        value, slope = with_gradients(lambda s, t=target: mmd(s, t), source)
        assert value.isfinite() and slope.isfinite().all()


# Both -------------------------------------------------------------------------------------------------------------

each_loss = pytest.mark.parametrize("loss", [coral, mmd], ids=lambda loss: loss.__name__)


@each_loss
def test_a_domain_is_like_itself(loss):
    x = drawn(0).float()
    value, slope = with_gradients(lambda s: loss(s, x), x)
    assert value.abs() < 1e-7 and slope.abs().max() < 1e-6
    torch.testing.assert_close(loss(x, 2 * x + 1), loss(2 * x + 1, x))


@each_loss
def test_lowering_it_brings_another_domain_near(loss):
    torch.manual_seed(0)
    source, target = drawn(0, 60, 3), drawn(1, 60, 3) * torch.tensor([3.0, 1.0, 0.2]) + 1
    moved, before = target.clone().requires_grad_(), loss(source, target)
    descent = torch.optim.Adam([moved], 0.05)
    for _ in range(100):
        descent.zero_grad()
        loss(source, moved).backward()
        descent.step()
    assert loss(source, moved) < 0.1 * before


@each_loss
def test_half_precision_is_computed_in_full(loss):
    source, target = drawn(0).bfloat16(), drawn(1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(source, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(source.double(), target.double()).float(), rtol=1e-4, atol=1e-6)


@each_loss
@pytest.mark.parametrize(
    "source, target, says",
    [
        (torch.ones(3, 4), torch.ones(3, 5), "embedded in 4 dimensions and the target in 5, so they cannot be alike"),
        (torch.ones(1, 4), torch.ones(3, 4), "two embeddings or more, but the source has 1 and the target 3"),
        (torch.ones(3, 4), torch.ones(0, 4), "but the source has 3 and the target 0"),
        (torch.ones(4), torch.ones(3, 4), r"\(n, d\) and \(m, d\), but these have shapes \(4,\) and \(3, 4\)"),
    ],
)
def test_what_cannot_be_compared_is_said(loss, source, target, says):
    with pytest.raises(ValueError, match=says):
        loss(source, target)


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(widths=[]), "widths is empty"),
        (dict(widths=[1.0, 0.0]), "Each of the widths must be above zero"),
        (dict(unit=-1.0), "unit must be above zero"),
    ],
)
def test_a_kernel_makes_sense(options, says):
    with pytest.raises(ValueError, match=says):
        mmd(torch.ones(3, 2), torch.ones(3, 2), **options)


# Mistakes that these tests find ------------------------------------------------------------------------------------


def wrong_axis(source, target):
    return (torch.cov(source) - torch.cov(target)).square().sum() / (4 * source.shape[1] ** 2)


def biased(source, target):
    apart = torch.cov(source.mT, correction=0) - torch.cov(target.mT, correction=0)
    return apart.square().sum() / (4 * source.shape[1] ** 2)


def without_the_quarter(source, target):
    return 4 * coral(source, target)


def second_moments(source, target):
    apart = source.mT @ source / (len(source) - 1) - target.mT @ target / (len(target) - 1)
    return apart.square().sum() / (4 * source.shape[1] ** 2)


@pytest.mark.parametrize("wrong", [wrong_axis, biased, without_the_quarter, second_moments])
def test_a_covariance_of_another_kind_would_be_found(wrong):
    source, target = drawn(0, 9, 4), 2 * drawn(10, 9, 4) + 1
    with pytest.raises(AssertionError):
        assert_agree(wrong, coral_by_loops, at=(source, target))


def laplace(source, target):
    def kernel(x, y):
        return sum((-torch.cdist(x, y) / w).exp() for w in WIDTHS) / len(WIDTHS)

    return kernel(source, source).mean() + kernel(target, target).mean() - 2 * kernel(source, target).mean()


def summed(source, target):
    return len(WIDTHS) * mmd(source, target, unit=1.0)


@pytest.mark.parametrize("wrong", [laplace, summed, partial(mmd, unit=1.0, unbiased=True), mmd])
def test_a_kernel_of_another_kind_would_be_found(wrong):
    source, target = drawn(0, 9, 4), 2 * drawn(10, 5, 4) + 1
    with pytest.raises(AssertionError):
        assert_agree(wrong, lambda s, t: mmd_by_loops(s, t, 1.0), at=(source, target))
