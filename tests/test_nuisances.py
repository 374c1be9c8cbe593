"""Each removal does what its definition says, against other libraries where they have it."""

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

import fslib
from fslib.backbones import Conv4
from fslib.methods import PrototypicalNetwork
from fslib.metrics import squared_euclidean
from fslib.nuisances import AffineMap, leace, nuisance_projection, within_class_whitening


def drawn(n=400, d=8, values=3, classes=6, seed=0):
    """Embeddings of unequal spread, moved by what their nuisance is and what their class is; both of unequal shares."""
    random = torch.Generator().manual_seed(seed)
    nuisance = torch.randint(0, values, (n,), generator=random)
    labels = torch.randint(0, classes, (n,), generator=random)
    mixed = torch.randn(d, d, generator=random, dtype=torch.float64)
    x = torch.randn(n, d, generator=random, dtype=torch.float64) @ mixed
    x += 3 * torch.randn(values, d, generator=random, dtype=torch.float64)[nuisance]
    x += 3 * torch.randn(classes, d, generator=random, dtype=torch.float64)[labels]
    return x + 5, nuisance, labels


def means(x, labels):
    return torch.stack([x[labels == value].mean(0) for value in labels.unique()])


def move(before, after):
    return (after - before).square().sum(1).mean()


# LEACE ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_after_leace_all_values_of_the_nuisance_have_one_mean(values, seed):
    x, nuisance, _ = drawn(values=values, seed=seed)
    removal = leace(x, nuisance)
    after = removal(x)
    torch.testing.assert_close(means(after, nuisance), x.mean(0).expand(values, -1), rtol=0, atol=1e-9)
    assert torch.linalg.matrix_rank(torch.eye(8, dtype=x.dtype) - removal.weight) == values - 1


def test_after_leace_least_squares_finds_nothing():
    """Not even where integers for labels would leave much: of five values on a line four directions must go."""
    x, nuisance, _ = drawn(values=5)
    with_one = torch.cat([leace(x, nuisance)(x), torch.ones(len(x), 1, dtype=x.dtype)], 1)
    targets = nn.functional.one_hot(nuisance).double()
    fitted = with_one @ torch.linalg.lstsq(with_one, targets, driver="gelsd").solution
    torch.testing.assert_close(fitted, targets.mean(0).expand_as(fitted), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_map_that_equals_the_means_moves_less(seed):
    x, nuisance, _ = drawn(seed=seed)
    removal = leace(x, nuisance)
    least = move(x, removal(x))
    # The orthogonal projection that does the same.
    apart = torch.linalg.svd((means(x, nuisance) - means(x, nuisance).mean(0)).mT, full_matrices=False).U[:, :2]
    orthogonal = x - (x - x.mean(0)) @ apart @ apart.mT
    assert means(orthogonal, nuisance).std(0).max() < 1e-9 and least < move(x, orthogonal)
    # And whatever else is made of the erased ones.
    random = torch.Generator().manual_seed(seed)
    for size in (1e-3, 1e-1, 1.0):
        other = torch.eye(8, dtype=x.dtype) + size * torch.randn(8, 8, generator=random, dtype=x.dtype)
        moved = removal(x) @ other.mT + size * torch.randn(8, generator=random, dtype=x.dtype)
        assert means(moved, nuisance).std(0).max() < 1e-8 and least < move(x, moved)


def test_leace_is_that_of_its_authors():
    erasure = pytest.importorskip("concept_erasure")  # in the extra `oracles`, which `make units` installs
    x, nuisance, _ = drawn()
    options = dict(shrinkage=False, constrain_cov_trace=False, svd_tol=1e-10)
    theirs = erasure.LeaceEraser.fit(x, nn.functional.one_hot(nuisance).double(), **options)
    torch.testing.assert_close(leace(x, nuisance)(x), theirs(x), rtol=0, atol=1e-10)


def test_leace_leaves_what_has_no_variance_alone():
    """As a channel of a network that is always zero."""
    x, nuisance, _ = drawn()
    x[:, 3] = 0
    after = leace(x, nuisance)(x)
    assert after.isfinite().all() and after[:, 3].abs().max() < 1e-12 and means(after, nuisance).std(0).max() < 1e-9


def test_leace_of_what_is_not_there_is_the_identity():
    x = drawn(n=200)[0].repeat(2, 1)
    removal = leace(x, torch.arange(2).repeat_interleave(200))
    torch.testing.assert_close(removal.weight, torch.eye(8, dtype=x.dtype), rtol=0, atol=1e-9)


# Whitening and projection ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["svd", "eigen"])
def test_distances_after_whitening_are_those_of_discriminant_analysis(solver):
    x, _, classes = drawn(classes=12)  # enough for it to keep all dimensions
    theirs = LinearDiscriminantAnalysis(solver=solver).fit(x.numpy(), classes.numpy()).transform(x.numpy())
    ours = within_class_whitening(x, classes)(x)
    expected = squared_euclidean(torch.from_numpy(theirs), torch.from_numpy(theirs))
    torch.testing.assert_close(squared_euclidean(ours, ours), expected, rtol=1e-8, atol=1e-8)


def test_after_whitening_a_class_spreads_alike_in_all_directions():
    x, _, classes = drawn()
    after = within_class_whitening(x, classes)(x)
    differences = after - means(after, classes)[classes]
    identity = torch.eye(8, dtype=x.dtype)
    torch.testing.assert_close(differences.mT @ differences / len(x), identity, rtol=0, atol=1e-9)


def test_whitening_drops_directions_without_spread():
    x, _, classes = drawn()
    x[:, 3] = classes.double()
    found = within_class_whitening(x, classes)
    assert found.weight.isfinite().all() and found.weight[3].abs().max() < 1e-9


@pytest.mark.parametrize("directions", [1, 3, 7])
def test_nuisance_projection_is_an_orthogonal_projection(directions):
    x, _, classes = drawn()
    found = nuisance_projection(x, classes, directions)
    p = found.weight
    torch.testing.assert_close(p @ p, p, rtol=0, atol=1e-12)
    torch.testing.assert_close(p, p.mT, rtol=0, atol=1e-12)
    assert round(p.trace().item(), 9) == 8 - directions and not found.bias.any()


def test_nuisance_projection_leaves_less_spread_than_any_other():
    x, _, classes = drawn()
    differences = x - means(x, classes)[classes]
    spread = (differences @ nuisance_projection(x, classes, 3).weight).square().sum()
    variances = torch.linalg.svdvals(differences).square()
    torch.testing.assert_close(spread, variances[3:].sum())
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        other = torch.linalg.qr(torch.randn(8, 5, generator=random, dtype=x.dtype)).Q
        assert spread <= (differences @ other).square().sum()


# The map --------------------------------------------------------------------------------------------------------

FITS = {
    "leace": lambda x, labels: leace(x, labels),
    "whitening": lambda x, labels: within_class_whitening(x, labels),
    "projection": lambda x, labels: nuisance_projection(x, labels, 2),
}


@pytest.fixture(params=FITS)
def fit(request):
    return FITS[request.param]


def test_blended_goes_from_nothing_to_all(fit):
    x, nuisance, _ = drawn()
    found = fit(x, nuisance)
    assert torch.equal(found.blended(0)(x), x)
    torch.testing.assert_close(found.blended(1)(x), found(x))
    torch.testing.assert_close(found.blended(0.25)(x), 0.75 * x + 0.25 * found(x))
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="strength must lie between 0 and 1"):
            found.blended(wrong)


def test_labels_may_be_names_and_their_numbers_do_not_matter(fit):
    x, nuisance, _ = drawn()
    expected = fit(x, nuisance).weight
    for labels in (1000 * nuisance - 7, [f"pen {n}" for n in nuisance.tolist()], nuisance.numpy().astype("uint8")):
        torch.testing.assert_close(fit(x, labels).weight, expected)


def test_a_map_takes_any_leading_axes_in_full_precision(fit):
    x, nuisance, _ = drawn()
    found = fit(x.float(), nuisance)
    assert found.weight.dtype == torch.float32
    stacked = x.float().view(4, 10, 10, 8)
    torch.testing.assert_close(found(stacked).view(-1, 8), found(x.float()))
    half = x[:5].bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(found(half), found(half.float()), rtol=0, atol=0)
    with pytest.raises(ValueError, match="embeddings of 8 numbers, but these have 7"):
        found(x[:, :7])


def test_no_training_changes_a_map(fit):
    x, nuisance, _ = drawn()
    found = fit(x.float().requires_grad_(), nuisance)
    assert not list(found.parameters()) and not any(buffer.requires_grad for buffer in found.buffers())
    y = x.float().requires_grad_()
    found(y).sum().backward()  # but what is before it is trained through it
    torch.testing.assert_close(y.grad, found.weight.sum(0).expand_as(y))


@torch.no_grad()
def test_behind_a_network_it_is_stored_with_it(fit, tmp_path):
    torch.manual_seed(0)
    network = Conv4(8).eval()
    images = torch.rand(60, 1, 28, 28)
    removal = fit(network(images), torch.arange(60) % 3)
    model = PrototypicalNetwork(nn.Sequential(network, removal)).eval()
    fslib.save(model, tmp_path / "model.safetensors")
    loaded = fslib.load(tmp_path / "model.safetensors")
    episode = images[:6], torch.arange(6) % 3, images[6:]
    assert torch.equal(loaded(*episode), model(*episode))
    assert torch.equal(loaded.feature_extractor[1].weight, removal.weight)
    model.feature_extractor.append(nn.ReLU())
    with pytest.raises(ValueError, match="but this has a ReLU"):
        fslib.save(model, tmp_path / "model.safetensors")


@torch.no_grad()
def test_one_network_twice_is_stored_once(tmp_path):
    both = nn.Sequential(network := AffineMap(4), AffineMap(4), network)
    network.weight.mul_(2)
    model = PrototypicalNetwork(both).eval()
    fslib.save(model, tmp_path / "model.safetensors")
    loaded = fslib.load(tmp_path / "model.safetensors").feature_extractor
    assert loaded[0] is loaded[2] and torch.equal(loaded(torch.eye(4)), both(torch.eye(4)))


# Refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda x, z, c: leace(x, 0 * z), "All embeddings have one nuisance"),
        (lambda x, z, c: leace(x, z[:-1]), "one nuisance for each of the 400 embeddings, but there are 399"),
        (lambda x, z, c: leace(x[:8], z[:8]), "takes more than 8 embeddings, but there are 8"),
        (lambda x, z, c: leace(x[0], z[:8]), r"tensor \(n, d\), but these are \(8,\)"),
        (lambda x, z, c: leace(x.tolist(), z), r"tensor \(n, d\), but these are list"),
        (lambda x, z, c: leace(x / 0, z), "NaN or infinity"),
        (lambda x, z, c: leace(x, z.float()), "must be integers"),
        (lambda x, z, c: within_class_whitening(x, 0 * c), "All embeddings have one class"),
        (lambda x, z, c: within_class_whitening(x[:8], [0, 1] * 4), "8 embeddings of 2 classes .* 8 are needed"),
        (lambda x, z, c: within_class_whitening(x.tolist(), c), "but these are list"),
        (lambda x, z, c: within_class_whitening(means(x, c)[c], c), "no spread to whiten"),
        (lambda x, z, c: nuisance_projection(x, c, 8), "at most 7 can be removed, or nothing is left"),
        (lambda x, z, c: nuisance_projection(x, c, 0), "directions must be a whole number"),
        (lambda x, z, c: nuisance_projection(x[:8], [*range(6), 0, 1], 3), "at most 2 directions, but 3 are needed"),
        (lambda x, z, c: AffineMap(0), "dim must be a whole number"),
    ],
)  # fmt: skip
def test_what_nothing_can_be_fitted_to_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call(*drawn())
