"""Every metric equals its definition, in every shape, precision and corner."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch.utils._python_dispatch import TorchDispatchMode

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


@each_metric
def test_arrays_that_are_no_tensors_are_refused(metric):
    with pytest.raises(TypeError, match="compares tensors, but got ndarray and Tensor"):
        metric(np.zeros((4, 3)), torch.zeros(5, 3))


# Local similarity -------------------------------------------------------------------------------


@pytest.mark.parametrize("side, reach", [(1, 0), (2, 1), (3, 1), (4, 2), (3, 5)])
def test_local_similarity_is_its_formula(side, reach):
    torch.manual_seed(side)
    x, y = (torch.randn(*shape, 2, side, side, dtype=torch.float64) for shape in [(3, 1, 4), (2, 5)])
    similarities = metrics.local_similarity(x.flatten(-3), y.flatten(-3), side, reach)
    assert similarities.shape == (3, 2, 4, 5)
    places = list(np.ndindex(side, side))
    near = [(p, q) for p in places for q in places if max(abs(np.subtract(p, q))) <= reach]
    for a, b, i, j in np.ndindex(*similarities.shape):
        one, other = x[a, 0, i] / x[a, 0, i].norm(), y[b, j] / y[b, j].norm()
        product = {(p, q): one[:, *p] @ other[:, *q] for p, q in near}
        there = sum(max(product[p, q] for p_, q in near if p_ == p) for p in places)
        back = sum(max(product[p, q] for p, q_ in near if q_ == q) for q in places)
        torch.testing.assert_close(similarities[a, b, i, j], (there + back) / 2)


def test_without_reach_it_is_the_cosine():
    torch.manual_seed(0)
    x, y = torch.randn(2, 6, 3 * 49), torch.randn(5, 3 * 49)
    torch.testing.assert_close(metrics.local_similarity(x, y, reach=0), metrics.cosine_similarity(x, y))
    torch.testing.assert_close(metrics.local_distance(x, y, reach=0), metrics.cosine_distance(x, y))


def test_among_themselves_is_as_with_others_the_same():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3 * 49, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 5, 5, dtype=torch.float64)
    one, other = metrics.local_similarity(x, x), metrics.local_similarity(x, x.clone())
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad((weights * s).sum(), x)[0] for s in (one, other)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-12)


def test_a_pattern_that_moved_within_reach_is_the_same():
    maps = torch.zeros(1, 3, 7, 7)
    maps[..., 2:5, 2:5] = torch.rand(3, 3, 3)
    moved, far = (maps.roll(steps, (-2, -1)).flatten(1) for steps in ((1, -1), (0, 3)))
    maps = maps.flatten(1)
    assert metrics.local_similarity(maps, moved) >= 1 > metrics.cosine_similarity(maps, moved)
    assert metrics.local_similarity(maps, far) < 1


def test_local_similarity_has_a_gradient_and_full_precision():
    torch.manual_seed(0)
    x = torch.randn(4, 2 * 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: metrics.local_similarity(z, z.flip(0), side=3), x)
    zero = torch.zeros(2, 2 * 49, requires_grad=True)
    metrics.local_distance(zero, torch.randn(3, 2 * 49)).sum().backward()
    assert zero.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert metrics.local_similarity(torch.randn(2, 98).bfloat16(), torch.randn(3, 98)).dtype == torch.float32


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(side=3), "Vectors of 98 numbers are not maps of 3 × 3, flattened"),
        (dict(side=0), "The side must be a whole number, at least 1, but is 0"),
        (dict(reach=-1), "The reach must be a whole number, at least 0, but is -1"),
        (dict(reach=0.5), "The reach must be a whole number, at least 0, but is 0.5"),
    ],
)
def test_vectors_that_are_no_maps_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        metrics.local_similarity(torch.zeros(2, 98), torch.zeros(2, 98), **settings)
    with pytest.raises(TypeError, match="local_similarity compares tensors, but got list and Tensor"):
        metrics.local_similarity([0.0], torch.zeros(2, 98))


# Mahalanobis ------------------------------------------------------------------------------------


def positive_matrix(dim, rank=None):
    """A random M, symmetric and positive semi-definite."""
    factor = torch.randn(rank or dim, dim, dtype=torch.float64)
    return factor.T @ factor


def learnable(dim, rank=None, **options):
    """A Mahalanobis distance that has left its start."""
    metric = metrics.Mahalanobis(dim, rank, **options).double()
    torch.nn.init.normal_(metric.factor)
    return metric


@pytest.mark.parametrize("rank", [5, 2])
@pytest.mark.parametrize("seed", range(3))
def test_mahalanobis_is_that_of_scipy(seed, rank):
    torch.manual_seed(seed)
    x, y = torch.randn(7, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    matrix, learned = positive_matrix(5, rank), learnable(5, rank)
    for ours, theirs in [
        (metrics.mahalanobis(x, y, matrix), cdist(x, y, "mahalanobis", VI=matrix)),
        (learned(x, y).detach(), cdist(x, y, "mahalanobis", VI=learned.matrix.detach())),
    ]:
        torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-10)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_mahalanobis_of_any_shape_is_a_double_loop(seed, squared):
    torch.manual_seed(seed)
    x, y = (torch.randn(*map(int, shape), dtype=torch.float64) for shape in random_shapes(seed))
    learned = learnable(x.shape[-1], squared=squared)
    matrix = learned.matrix.detach()
    leading = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    loop = torch.empty(*leading, x.shape[-2], y.shape[-2], dtype=torch.float64)
    for *episode, i, j in np.ndindex(*loop.shape):
        a, b = (z.expand(*leading, *z.shape[-2:])[*episode] for z in (x, y))
        value = (a[i] - b[j]) @ matrix @ (a[i] - b[j])
        loop[*episode, i, j] = value if squared else value.sqrt()
    for ours in (metrics.mahalanobis(x, y, matrix, squared=squared), learned(x, y).detach()):
        torch.testing.assert_close(ours, loop, rtol=0, atol=1e-10)


def test_with_the_identity_it_is_euclidean():
    torch.manual_seed(0)
    x, y = torch.randn(6, 4), torch.randn(3, 4)
    for squared, metric in [(False, metrics.euclidean), (True, metrics.squared_euclidean)]:
        for ours in (
            metrics.mahalanobis(x, y, torch.eye(4), squared=squared),
            metrics.Mahalanobis(4, squared=squared)(x, y),
        ):
            torch.testing.assert_close(ours, metric(x, y))


@pytest.mark.parametrize("squared", [False, True])
def test_gradient_of_mahalanobis_is_the_slope(squared):
    torch.manual_seed(0)
    x, y = (torch.randn(2, n, 4, dtype=torch.float64, requires_grad=True) for n in (3, 2))
    factor = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    learned = metrics.Mahalanobis(4, 3, squared=squared)
    assert torch.autograd.gradcheck(
        lambda x, y, factor: torch.func.functional_call(learned, {"factor": factor}, (x, y)),
        (x, y, factor),
    )
    # M moves as LᵀL, so that it stays symmetric while it is moved
    assert torch.autograd.gradcheck(
        lambda x, y, factor: metrics.mahalanobis(x, y, factor.T @ factor, squared), (x, y, factor)
    )


@pytest.mark.parametrize("squared", [False, True])
def test_gradient_of_mahalanobis_is_finite_where_vectors_coincide(squared):
    torch.manual_seed(0)
    x = torch.randn(4, 8, requires_grad=True)
    y = torch.cat([x.detach()[:2], torch.zeros(1, 8)]).requires_grad_()
    matrix = positive_matrix(8, 3).float().requires_grad_()
    learned = metrics.Mahalanobis(8, 3, squared=squared)
    metrics.mahalanobis(x, y, matrix, squared=squared).sum().backward()
    learned(x, y).sum().backward()
    learned(x, x.detach()).diagonal().sum().backward()
    for leaf in (x, y, matrix, learned.factor):
        assert leaf.grad.isfinite().all()


def test_a_vector_is_at_distance_zero_from_itself():
    x = torch.randn(1, 8)
    assert metrics.euclidean(x, x) == metrics.mahalanobis(x, x, torch.eye(8)) == 0
    assert metrics.Mahalanobis(8, 3)(x, x) == 0


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_learnable_matrix_has_the_rank_of_its_factor(rank):
    torch.manual_seed(0)
    learned = metrics.Mahalanobis(6, rank)
    assert [name for name, _ in learned.named_parameters()] == ["factor"]
    assert learned.factor.shape == (rank, 6) and learned.matrix.shape == (6, 6)
    torch.testing.assert_close(learned.factor @ learned.factor.T, torch.eye(rank))
    torch.testing.assert_close(learned.matrix, learned.factor.T @ learned.factor)
    assert torch.linalg.matrix_rank(learned.matrix) == rank
    assert (learned.matrix == torch.eye(6)).all() == (rank == 6)


def test_learning_reaches_the_factor():
    """A step of descent makes the distance that it descends on smaller."""
    torch.manual_seed(0)
    x, y = torch.randn(5, 4), torch.randn(3, 4)
    learned = metrics.Mahalanobis(4, 2)
    before = learned(x, y).mean()
    before.backward()
    assert (learned.factor.grad != 0).all()
    torch.optim.SGD(learned.parameters(), lr=0.1).step()
    assert learned(x, y).mean() < before


@pytest.mark.parametrize("rank", [0, -1, 5])
def test_rank_is_at_most_the_dimension(rank):
    with pytest.raises(ValueError, match=f"between 1 and the dimension 4, but is {rank}"):
        metrics.Mahalanobis(4, rank)


@pytest.mark.parametrize("x, y", [((4, 3), (5, 2)), ((3,), (5, 3)), ((4, 3), (3,))])
def test_mahalanobis_names_shapes_that_do_not_match(x, y):
    for name, metric in [
        ("mahalanobis", lambda x, y: metrics.mahalanobis(x, y, torch.eye(3))),
        ("Mahalanobis", metrics.Mahalanobis(3)),
    ]:
        with pytest.raises(ValueError, match=f"{name} compares .* but got") as raised:
            metric(torch.zeros(x), torch.zeros(y))
        assert str(raised.value).endswith(f"{x} and {y}.")


def test_mahalanobis_is_for_vectors_of_one_dimension():
    with pytest.raises(ValueError, match="for vectors of 3 numbers, not 4"):
        metrics.Mahalanobis(3)(torch.zeros(2, 4), torch.zeros(2, 4))


NOT_SYMMETRIC = torch.tensor([[1.0, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize(
    "matrix, message",
    [
        (torch.eye(3), r"of shape \(2, 2\) for vectors of 2 numbers, but is \(3, 3\)"),
        (torch.ones(2), r"of shape \(2, 2\) for vectors of 2 numbers, but is \(2,\)"),
        (torch.eye(2)[None], r"of shape \(2, 2\) for vectors of 2 numbers, but is \(1, 2, 2\)"),
        (NOT_SYMMETRIC, "must be symmetric"),
        (1e-6 * NOT_SYMMETRIC, "must be symmetric"),
        (torch.diag(torch.tensor([1.0, -0.5])), r"semi-definite, but has the eigenvalue -0\.5"),
        (torch.diag(torch.tensor([0.0, -1e-6])), "semi-definite, but has the eigenvalue -1e-06"),
        (torch.tensor([[0.0, 1.0], [1.0, 0.0]]), "semi-definite, but has the eigenvalue -1"),
        (torch.eye(2) * torch.nan, "M must"),
    ],
)
def test_matrix_that_gives_no_distance_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        metrics.mahalanobis(torch.zeros(3, 2), torch.zeros(4, 2), matrix)


def test_rounding_makes_no_matrix_indefinite():
    """Nor does it make a distance of a matrix of low rank negative, nor its root NaN."""
    torch.manual_seed(0)
    x = torch.randn(40, 64)
    for matrix in (positive_matrix(64, 2).float(), torch.zeros(64, 64)):
        values = metrics.mahalanobis(x, x, matrix, squared=True)
        assert values.min() >= 0 and metrics.mahalanobis(x, x, matrix).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_matrix_of_another_type(dtype):
    torch.manual_seed(0)
    x, y = torch.randn(5, 3), torch.randn(4, 3)
    values = metrics.mahalanobis(x, y, (2 * torch.eye(3)).to(dtype))
    torch.testing.assert_close(values, 2**0.5 * metrics.euclidean(x, y))


def every_metric(dim):
    """The metrics without weights, a Mahalanobis distance, and one of few directions to learn."""
    torch.manual_seed(0)
    matrix = positive_matrix(dim).float()
    learned = metrics.Mahalanobis(dim, dim // 50)
    return [*DEFINITIONS, lambda x, y: metrics.mahalanobis(x, y, matrix), learned]


def test_mahalanobis_under_autocast_and_in_bfloat16_costs_no_digits():
    for metric in every_metric(100)[-2:]:
        x, y = torch.randn(30, 100).bfloat16(), torch.randn(10, 100).bfloat16()
        exact = metric(x.double(), y.double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = metric(x.float(), y.float())
        for values in (cast, metric(x, y)):
            assert values.dtype == torch.float32
            torch.testing.assert_close(values.double(), exact, rtol=1e-5, atol=1e-5)


# Long vectors -----------------------------------------------------------------------------------


def worst(metric, x, y):
    """The largest relative error in float32."""
    exact = metric(x.double(), y.double())
    return ((metric(x, y).double() - exact).abs() / exact.abs()).max().item()


@pytest.mark.parametrize("center", [1, 10, 100])
def test_float32_keeps_its_digits_in_1600_dimensions(center):
    measured = every_metric(1600)
    x, y = center + torch.randn(50, 1600), center + torch.randn(30, 1600)
    errors = [worst(metric, x, y) for metric in measured]
    assert max(errors) < 1e-5, errors
    if center == 100:
        assert worst(torch.cdist, x, y) > 1e-3  # what PyTorch does unless told not to


class Largest(TorchDispatchMode):
    """Notes the most numbers that any tensor holds, forward and backward."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        for part in result if isinstance(result, list | tuple) else [result]:
            if isinstance(part, torch.Tensor):
                self.numbers = max(self.numbers, part.numel())
        return result


def test_no_tensor_holds_all_differences():
    n, m, d = 60, 70, 50
    x, y = torch.randn(n, d, requires_grad=True), torch.randn(m, d, requires_grad=True)
    for metric in every_metric(d):
        with Largest() as largest:
            metric(x, y).sum().backward()
        assert n * m <= largest.numbers <= max(n * m, n * d, m * d)
    with Largest() as largest:
        (x[:, None] - y).square().sum()
    assert largest.numbers == n * m * d  # the mode would see it
