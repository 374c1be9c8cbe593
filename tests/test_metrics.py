"""Every metric equals its definition, in every shape, precision and corner."""

import functools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch.utils._python_dispatch import TorchDispatchMode

from fslib import metrics
from tests.pretend_gpu import MISSING, pretend_gpu

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
    torch.testing.assert_close(metrics.local_similarity(x, y, max_displacement=0), metrics.cosine_similarity(x, y))
    torch.testing.assert_close(metrics.local_distance(x, y, max_displacement=0), metrics.cosine_distance(x, y))


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
        (dict(side=0), "side must be a whole number, at least 1, but is 0"),
        (dict(max_displacement=-1), "max_displacement must be a whole number, at least 0, but is -1"),
        (dict(max_displacement=0.5), "max_displacement must be a whole number, at least 0, but is 0.5"),
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
        assert n * m <= largest.numbers <= 2 * max(n * m, n * d, m * d)  # and n * m * d is far more
    with Largest() as largest:
        (x[:, None] - y).square().sum()
    assert largest.numbers == n * m * d  # the mode would see it


# Digits -----------------------------------------------------------------------------------------

DISTANCES = {
    "squared_euclidean": metrics.squared_euclidean,
    "euclidean": metrics.euclidean,
    "cosine_distance": metrics.cosine_distance,
    "mahalanobis": lambda x, y: metrics.mahalanobis(x, y, 2 * torch.eye(x.shape[-1])),
    "Mahalanobis": metrics.Mahalanobis(64),
}
each_distance = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)


def far_clusters(apart, classes=12, members=6):
    """Vectors of a few classes, half of them far from the others in one feature."""
    torch.manual_seed(0)
    x = 0.2 * torch.randn(classes, 64).repeat_interleave(members, 0)
    x = x + 0.03 * torch.randn(classes * members, 64)
    x[: len(x) // 2, 0] += apart
    return x


def assert_exact(distance, x, y, close=5e-4):
    """Values and gradients are those of float64."""
    weights = torch.rand(x.shape[-2], y.shape[-2])
    results = []
    for dtype in (torch.float32, torch.float64):
        a, b = x.to(dtype).requires_grad_(), y.to(dtype).requires_grad_()
        values = distance(a, a if y is x else b)
        inputs = [a] if y is x else [a, b]
        results.append((values, *torch.autograd.grad((weights.to(dtype) * values).sum(), inputs)))
    (ours, *slopes), (exact, *true) = results
    torch.testing.assert_close(ours.double(), exact, rtol=close, atol=0)
    for a, b in zip(slopes, true):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4 * b.abs().max().item())


@pytest.mark.parametrize("apart", [10, 500, 5000, 1e6])
@each_distance
def test_far_clusters_keep_the_distances_within_them(distance, apart):
    x = far_clusters(apart)
    assert_exact(distance, x, x)
    assert_exact(distance, x[::2], x[1::2])
    assert_exact(distance, x[:7], x[7:9].clone())


def test_the_nearest_is_found_however_far_the_rest_is():
    x = far_clusters(5000)
    distances = metrics.euclidean(x, x).fill_diagonal_(torch.inf)
    assert (distances.argmin(1) // 6 == torch.arange(72) // 6).all()


@each_distance
def test_a_stack_of_far_clusters(distance):
    x = torch.stack([far_clusters(5000), torch.randn(72, 64)])[:, None]
    y = torch.stack([x[0, 0] + 0.1, x[1, 0], x[0, 0]])
    values = distance(x, y)
    assert values.shape == (2, 3, 72, 72)
    for i, j in np.ndindex(2, 3):
        torch.testing.assert_close(values[i, j], distance(x[i, 0], y[j]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("same", [True, False])
@each_distance
def test_everything_is_at_distance_zero_from_itself(distance, same):
    for x in (torch.randn(50, 64), far_clusters(5000), 100 + torch.randn(50, 64), torch.ones(9, 64)):
        x = x.requires_grad_()
        values = distance(x, x if same else x.detach().clone())
        assert values.diagonal().max() <= (0 if same else 1e-7 * x.abs().max())
        values.diagonal().sum().backward()
        assert x.grad.abs().max() < (1e-3 if same else 2)


@pytest.mark.parametrize("size", [1e-30, 1e-25, 1e-12, 1e12, 1e25, 1e37])
@pytest.mark.parametrize("name", ["euclidean", "cosine_distance", "mahalanobis", "Mahalanobis"])
def test_tiny_and_huge_vectors(name, size):
    torch.manual_seed(0)
    x, y = size * torch.randn(8, 64), size * torch.randn(5, 64)
    assert_exact(DISTANCES[name], x, y)
    assert_exact(DISTANCES[name], x, x)
    exact = metrics.cosine_similarity(x.double(), y.double())
    torch.testing.assert_close(metrics.cosine_similarity(x, y).double(), exact, rtol=1e-5, atol=1e-6)


def test_tiny_beside_huge_vectors():
    x = torch.randn(6, 64) * torch.tensor([1e-25, 1e-25, 1, 1, 1e25, 1e25])[:, None]
    assert_exact(metrics.euclidean, x, x)
    exact = metrics.cosine_similarity(x.double(), x.double())
    torch.testing.assert_close(metrics.cosine_similarity(x, x).double(), exact, rtol=1e-5, atol=1e-6)
    squared = metrics.squared_euclidean(x, x)
    assert squared[0, 2].isfinite() and squared[4, 5] == torch.inf and (squared.diagonal() == 0).all()


@pytest.mark.parametrize("longer", [1, 3])
@pytest.mark.parametrize("angle", [1e-2, 1e-4, 3e-7])
def test_small_angles(angle, longer):
    torch.manual_seed(0)
    x = torch.randn(20, 64)
    y = longer * (x + angle * torch.randn(20, 64))
    off = metrics.cosine_distance(x, y).double() / metrics.cosine_distance(x.double(), y.double()) - 1
    assert off.abs().max() < (1e-5 if longer == 1 else max(1e-5, 1e-7 / angle))


@pytest.mark.parametrize("n", [2, 500])
def test_cosines_keep_their_bounds(n):
    torch.manual_seed(n)
    x = torch.randn(n, 64)
    for y in (x, x.clone(), -x, 3 * x):
        cosines, distances = metrics.cosine_similarity(x, y), metrics.cosine_distance(x, y)
        assert cosines.abs().max() <= 1 and not cosines.acos().isnan().any()
        assert 0 <= distances.min() and distances.max() <= 2


def test_a_cosine_at_its_bound_has_its_slope():
    torch.manual_seed(0)
    x = torch.randn(300, 64)
    y = x + 1e-4 * torch.randn(300, 64)
    slopes = []
    for dtype in (torch.float32, torch.float64):
        z = x.detach().to(dtype).requires_grad_()
        metrics.cosine_similarity(z, y.to(dtype)).diagonal().sum().backward()
        slopes.append(z.grad.double())
    torch.testing.assert_close(*slopes, rtol=0, atol=3e-7)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_local_similarity_keeps_its_bounds(reach):
    torch.manual_seed(0)
    spike = torch.zeros(1, 5, 5)
    spike[0, 2, 2] = 1.0
    x = torch.cat([torch.randn(50, 25), spike.flatten(1), torch.ones(1, 25), torch.zeros(1, 25)])
    for y in (x, -x):
        values = metrics.local_similarity(x, y, side=5, max_displacement=reach)
        assert values.max() <= 2 * reach + 1 and values.min() >= -1
        assert (values >= metrics.cosine_similarity(x, y) - 1e-6).all()
    assert (metrics.local_similarity(x, torch.zeros(1, 25), side=5, max_displacement=reach) == 0).all()


def test_what_is_no_number_stays_so_and_leaves_the_others_alone():
    for metric in (*DEFINITIONS, *DISTANCES.values()):
        for bad in (torch.nan, torch.inf):
            x, y = torch.randn(6, 64), torch.randn(4, 64)
            x[2, 3] = bad
            values = metric(x, y)
            assert not (values[2].isfinite()).any()
            assert values[[0, 1, 3, 4, 5]].isfinite().all()
            assert not metric(x, x)[2].isfinite().any()


# Blocks -----------------------------------------------------------------------------------------


@each_distance
def test_blocks_hold_no_more_than_they_may(distance, monkeypatch):
    """Where all pairs must be subtracted, values and gradients are the same, and no tensor holds all differences."""
    x = torch.stack([far_clusters(5000), far_clusters(300)])
    weights = torch.rand(72, 72)
    results = []
    for numbers in (metrics.BLOCK, 72 * 64 * 10, 1000):
        monkeypatch.setattr(metrics, "BLOCK", numbers)
        z = x.clone().requires_grad_()
        with Largest() as largest:
            values = distance(z, x)
            (weights * values).sum().backward()
        results.append((values.detach(), z.grad))
        assert largest.numbers <= max(numbers, 3 * 2 * 72 * 72) or numbers == 2**22  # three places a pair
    for values, slopes in results[1:]:
        torch.testing.assert_close(values, results[0][0])
        torch.testing.assert_close(slopes, results[0][1])


@pytest.mark.parametrize("size", [1e3, 1e6, 1e20])
def test_an_outlier_does_not_make_all_pairs_lost(size):
    torch.manual_seed(0)
    x = 0.1 * torch.randn(300, 16)
    x[0] += size
    _, lost = metrics._expanded(x, x)
    assert lost is None or len(lost) < 2 * len(x)  # its row and its column
    assert_exact(metrics.euclidean, x, x)


@pytest.mark.parametrize("outliers", [0, 1])
def test_two_far_clusters_take_memory_for_a_block_at_a_time(outliers, monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(200, 16)
    x[100:] += 1e4
    x[:outliers] += 1e20
    monkeypatch.setattr(metrics, "BLOCK", 50_000)
    with Largest() as largest:
        metrics.euclidean(x.clone().requires_grad_(), x).sum().backward()
    assert largest.numbers <= 3 * 200 * 200  # three places a pair
    assert_exact(metrics.euclidean, x, x)


def test_directions_are_kept_at_any_size():
    torch.manual_seed(0)
    x = torch.randn(5, 4, 3)
    for dim in (-1, 1):
        expected = torch.nn.functional.normalize(x, dim=dim)
        for size in (1e-30, 1e-12, 1.0, 1e25):
            torch.testing.assert_close(metrics.directions(size * x, dim), expected)
    assert metrics.directions(x.half()).dtype == torch.float32 and not metrics.directions(0 * x).any()


def test_gradients_of_gradients_in_blocks(monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", 20)
    x = torch.tensor([[0.0, 0.1], [0.1, 0.3], [1e6, 0.1], [1e6, 0.3]], dtype=torch.float64)
    x, y = x.requires_grad_(), (x.detach() + torch.tensor([0.03, 0.02])).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, y: metrics.squared_euclidean(x, y) / 1e6, (x, y))


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("float64", [True, False])
@pytest.mark.parametrize(
    "metric",
    [*DEFINITIONS, *DISTANCES.values(), functools.partial(metrics.local_similarity, side=2)],
    ids=lambda metric: getattr(metric, "__name__", type(metric).__name__),
)
def test_on_a_gpu_the_same_without_waiting(metric, float64):
    if isinstance(metric, torch.nn.Module):
        metric = metrics.Mahalanobis(64)
    for x, y in [(torch.randn(9, 64), torch.randn(2, 5, 64)), (far_clusters(5000), far_clusters(5000)[:7])]:
        x = x.requires_grad_()
        here = metric(x, y)
        (slope,) = torch.autograd.grad(here.sum(), x)
        matrix = 2 * torch.eye(64)
        with pretend_gpu(float64=float64) as gpu:
            a, b, there = x.detach().cuda().requires_grad_(), y.cuda(), metric
            if metric is DISTANCES["mahalanobis"]:
                matrix = matrix.cuda()
                there = functools.partial(metrics.mahalanobis, matrix=matrix)
            elif isinstance(metric, torch.nn.Module):
                there = metrics.Mahalanobis(64).cuda()
            before = len(gpu.waits)
            values = there(a, b)
            values.sum().backward()
            there(a, a)
            assert values.is_cuda and gpu.waits[before:] == []
            values, gradient = values.detach().cpu(), a.grad.cpu()
        torch.testing.assert_close(values, here.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-3 * slope.abs().max().item())


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_devices_do_not_mix():
    with pretend_gpu():
        x, y = torch.randn(3, 4), torch.randn(2, 4)
        with pytest.raises(ValueError, match=r"on one device, but x is on cuda:0 and y on cpu; y\.to"):
            metrics.euclidean(x.cuda(), y)
        learned = metrics.Mahalanobis(4).cuda()
        assert learned(x, y).is_cuda  # as a module answers on its own device
        assert metrics.mahalanobis(x.cuda(), y.cuda(), torch.eye(4)).is_cuda


# Other ways to call -----------------------------------------------------------------------------

EVERYWHERE = {**DISTANCES, "cosine_similarity": metrics.cosine_similarity}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_metrics_under_vmap_and_in_exported_graphs(name):
    metric = EVERYWHERE[name]
    torch.manual_seed(0)
    x, y = torch.randn(3, 4, 64), torch.randn(3, 5, 64)
    torch.testing.assert_close(torch.vmap(metric)(x, y), metric(x, y), rtol=1e-4, atol=1e-5)
    slopes = torch.vmap(torch.func.grad(lambda a, b: metric(a, b).sum()))(x, y)
    x.requires_grad_()
    (true,) = torch.autograd.grad(metric(x, y).sum(), x)
    torch.testing.assert_close(slopes, true, rtol=1e-4, atol=1e-5)

    class Both(torch.nn.Module):
        learned = metric if isinstance(metric, torch.nn.Module) else None

        def forward(self, x, y):
            return metric(x, y), metric(x, x)

    x = x.detach()
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        pytest.skip("The exporter of an old torch cannot leave autocast.")
    graph = torch.export.export(Both(), (x, y)).module()
    for ours, theirs in zip(graph(x + 1, y), Both()(x + 1, y)):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)


def test_nothing_to_compare():
    for metric in (*DEFINITIONS, *DISTANCES.values()):
        for n, m in [(0, 3), (3, 0), (0, 0)]:
            assert metric(torch.zeros(2, n, 64), torch.zeros(m, 64)).shape == (2, n, m)


@pytest.mark.parametrize("x, y", [((2, 4, 3), (3, 5, 3)), ((2, 2, 4, 3), (3, 1, 5, 3))])
@each_metric
def test_leading_axes_that_do_not_broadcast_are_named(metric, x, y):
    with pytest.raises(ValueError, match=r"leading axes .* must be the same, or 1, or missing") as raised:
        metric(torch.zeros(x), torch.zeros(y))
    assert str(raised.value).endswith(f"{x} and {y}.")


def test_integers_are_compared_and_complex_numbers_are_not():
    x, y = torch.randint(-5, 5, (4, 3)), torch.randint(-5, 5, (2, 3))
    for metric in DEFINITIONS:
        assert torch.equal(metric(x, y), metric(x.float(), y.float()))
        with pytest.raises(ValueError, match="compares real vectors"):
            metric(x.to(torch.complex64), y)


# Kinds ------------------------------------------------------------------------------------------


def test_a_metric_knows_what_it_is():
    for metric in (*DISTANCES.values(), metrics.local_distance, metrics.mahalanobis, metrics.Mahalanobis):
        assert metrics.kind(metric) in ("distance", None)
    for metric in (metrics.squared_euclidean, metrics.euclidean, metrics.cosine_distance, metrics.local_distance):
        assert metrics.kind(metric) == metric.kind == "distance"
    for metric in (metrics.cosine_similarity, metrics.local_similarity):
        assert metrics.kind(metric) == metric.kind == "similarity"
    learned = metrics.Mahalanobis(4)
    matrix = functools.partial(functools.partial(metrics.mahalanobis, squared=True), matrix=torch.eye(4))
    assert metrics.kind(learned) == metrics.kind(matrix) == "distance"
    for unknown in (torch.cdist, lambda x, y: x @ y.mT, torch.nn.Linear(2, 2), 3, None):
        assert metrics.kind(unknown) is None


@pytest.mark.parametrize(
    "metric, wanted, says",
    [
        (metrics.cosine_similarity, "distance", "cosine_similarity is a similarity; cosine_distance is a distance"),
        (
            functools.partial(metrics.local_similarity, max_displacement=2),
            "distance",
            "local_similarity is a similarity; local_distance is a distance",
        ),
        (metrics.euclidean, "similarity", "euclidean is a distance; cosine_similarity is a similarity"),
        (metrics.cosine_distance, "similarity", "cosine_distance is a distance; cosine_similarity is a"),
        (metrics.Mahalanobis(3), "similarity", "Mahalanobis is a distance; cosine_similarity is a similarity"),
    ],
)
def test_the_wrong_kind_is_refused_with_what_to_use(metric, wanted, says):
    with pytest.raises(ValueError, match=f"^Method takes a {wanted}, but {says}"):
        metrics.expect(metric, wanted, "Method")


def test_the_right_kind_and_ones_own_are_taken():
    metrics.expect(metrics.euclidean, "distance", "Method")
    metrics.expect(metrics.Mahalanobis(3), "distance", "Method")
    metrics.expect(metrics.cosine_similarity, "similarity", "Method")
    metrics.expect(lambda x, y: -metrics.euclidean(x, y), "similarity", "Method")
    for wrong in ("euclidean", None, metrics.Mahalanobis):
        with pytest.raises(ValueError, match=r"a distance of fslib\.metrics or a function of x and y, but got"):
            metrics.expect(wrong, "distance", "Method")
