"""Every metric equals its definition, in every shape, precision and corner."""

import numpy as np
import pytest
import torch

from fslib import metrics

DEFINITIONS = {
    metrics.squared_euclidean: lambda a, b: sum((a - b) ** 2),
    metrics.euclidean: lambda a, b: sum((a - b) ** 2) ** 0.5,
    metrics.cosine_similarity: lambda a, b: sum(a * b) / (sum(a * a) * sum(b * b)) ** 0.5,
    metrics.cosine_distance: lambda a, b: 1 - sum(a * b) / (sum(a * a) * sum(b * b)) ** 0.5,
}
each_metric = pytest.mark.parametrize("metric", DEFINITIONS, ids=lambda metric: metric.__name__)


def double_loop(metric, x, y):
    leading = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (z.expand(*leading, *z.shape[-2:]).double() for z in (x, y))
    values = torch.empty(*leading, x.shape[-2], y.shape[-2], dtype=torch.float64)
    for *episode, i, j in np.ndindex(*values.shape):
        values[*episode, i, j] = DEFINITIONS[metric](x[*episode, i], y[*episode, j])
    return values


def random_shapes(seed):
    """Shapes of x and y whose leading axes broadcast: some are 1, some are missing."""
    random = np.random.default_rng(seed)
    leading, (n, m, d) = random.integers(1, 4, size=seed % 4), random.integers(1, 7, size=3)
    x, y = (np.where(random.random(len(leading)) < 0.3, 1, leading)[random.integers(2) :] for _ in "xy")
    return (*x, n, d), (*y, m, d)


@pytest.mark.parametrize("seed", range(12))
@each_metric
def test_metric_equals_a_double_loop(metric, seed):
    torch.manual_seed(seed)
    x, y = (torch.randn(*map(int, shape), dtype=torch.float64) for shape in random_shapes(seed))
    torch.testing.assert_close(metric(x, y), double_loop(metric, x, y), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["squared_euclidean", "euclidean", "cosine_similarity"])
def test_float32_keeps_its_digits_far_from_the_origin(name):
    torch.manual_seed(0)
    metric = getattr(metrics, name)
    x, y = 100 + torch.randn(50, 1600), 100 + torch.randn(20, 1600)
    torch.testing.assert_close(metric(x, y).double(), metric(x.double(), y.double()), rtol=1e-5, atol=0)


def test_squared_distance_is_never_negative():
    torch.manual_seed(0)
    x = torch.randn(200, 64) * 1e3
    assert metrics.squared_euclidean(x, x[:50]).min() >= 0


@each_metric
def test_gradient_is_finite_where_vectors_coincide(metric):
    torch.manual_seed(0)
    x = torch.randn(4, 8, requires_grad=True)
    y = torch.cat([x.detach()[:2], torch.zeros(1, 8)]).requires_grad_()
    metric(x, y).sum().backward()
    assert x.grad.isfinite().all() and y.grad.isfinite().all()


def test_euclidean_gradient_is_zero_at_zero_distance():
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    metrics.euclidean(x, x.detach().clone()).sum().backward()
    assert (x.grad == 0).all()


@each_metric
def test_gradient_is_the_slope(metric):
    torch.manual_seed(0)
    x, y = (torch.randn(2, n, 5, dtype=torch.float64, requires_grad=True) for n in (3, 4))
    assert torch.autograd.gradcheck(metric, (x, y))


@each_metric
def test_autocast_costs_no_digits(metric):
    torch.manual_seed(0)
    x, y = torch.randn(30, 64), torch.randn(10, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = metric(x, y)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), metric(x.double(), y.double()), rtol=1e-5, atol=1e-5)


@each_metric
def test_bfloat16_vectors_are_compared_in_float32(metric):
    torch.manual_seed(0)
    x, y = torch.randn(30, 64).bfloat16(), torch.randn(10, 64).bfloat16()
    torch.testing.assert_close(metric(x, y), metric(x.float(), y.float()), rtol=0, atol=0)


@pytest.mark.parametrize("x, y", [((4, 3), (5, 2)), ((3,), (5, 3)), ((4, 3), (3,))])
@each_metric
def test_shapes_that_do_not_match_are_named(metric, x, y):
    with pytest.raises(ValueError, match=f"{metric.__name__} compares .* but got") as raised:
        metric(torch.zeros(x), torch.zeros(y))
    assert str(raised.value).endswith(f"{x} and {y}.")
