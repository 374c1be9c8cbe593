"""Refined prototypes are those of a naive loop, of scikit-learn in the hard limit, and say what they have seen."""

import math
import warnings

import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from fslib import evaluation
from fslib.episodes import unbalanced, with_unlabelled
from fslib.evaluation import compare_models, evaluate
from fslib.methods import (
    BalancedSoftKMeans,
    MaskedSoftKMeans,
    PrototypicalNetwork,
    PseudoLabels,
    SoftKMeans,
    SoftKMeansWithCluster,
)
from tests.test_evaluation import PeakMemory

FORMS = {
    "soft": SoftKMeans,
    "cluster": lambda *options, **more: SoftKMeansWithCluster(*options, **more, radius=3.0),
    "masked": MaskedSoftKMeans,
    "pseudo-labels": lambda *options, **more: PseudoLabels(*options, **more, threshold=0.6),
}
each_form = pytest.mark.parametrize("form", FORMS)
LABELS = torch.tensor([4, 9, 4, 1, 9, 1, 4])  # one class has an example more
PLAIN = PrototypicalNetwork(nn.Identity())


def built(form, use="unlabelled", **options):
    torch.manual_seed(0)
    model = FORMS[form](nn.Identity(), use, **options).double()
    with torch.no_grad():
        for weight in model.parameters():  # a mask that has something to say
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def points(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive_shares(form, model, x, centers):
    """How much one point counts for each class, in Python's numbers; a mask is applied elsewhere."""
    logits = [-(x - p).square().sum() / model.temperature for p in centers]
    if form == "cluster":
        radius = model.log_radius.exp()
        logits.append(-x.square().sum() / (radius**2 * model.temperature) - radius.log())
    powers = [logit.exp() for logit in logits]
    shares = [power / sum(powers) for power in powers][: len(centers)]
    if form == "pseudo-labels":
        likeliest = max(range(len(shares)), key=lambda c: shares[c].item())
        shares = [torch.tensor(float(c == likeliest and shares[c] >= 0.6)).double() for c in range(len(shares))]
    return shares


def naive_masks(model, unlabelled, centers):
    """The mask of each point and class."""
    masks = []
    for p in centers:
        distances = torch.stack([(x - p).square().sum() for x in unlabelled])
        d = distances / distances.mean()
        variance = ((d - d.mean()) ** 2).mean()
        scaled = (d - d.mean()) / (variance + 1e-6).sqrt()
        told = torch.stack([d.min(), d.max(), variance, (scaled**3).mean(), (scaled**4).mean() - 3])
        threshold, slope = model.mask(told)
        masks.append([1 / (1 + (slope * (each - threshold)).exp()) for each in d])
    return masks


def naive(form, model, support, labels, query, unlabelled):
    """Scores of one episode, with a loop over steps, classes and examples."""
    own = [support[labels == c] for c in labels.unique()]
    centers = [each.mean(0) for each in own]
    for _ in range(model.steps):
        shares = [naive_shares(form, model, x, centers) for x in unlabelled]
        if form == "masked":
            masks = naive_masks(model, unlabelled, centers)
            shares = [[z * masks[c][j] for c, z in enumerate(each)] for j, each in enumerate(shares)]
        centers = [
            (each.sum(0) + sum(shares[j][c] * x for j, x in enumerate(unlabelled)))
            / (len(each) + sum(shares[j][c] for j in range(len(unlabelled))))
            for c, each in enumerate(own)
        ]
    return torch.stack([torch.stack([-(q - p).square().sum() / model.temperature for p in centers]) for q in query])


def check_against_the_loop(form, model):
    """Raise where scores or gradients part from those of the naive loop."""
    sides = [points(n, 3, seed=n).requires_grad_() for n in (len(LABELS), 5, 8)]
    support, query, unlabelled = sides
    beside = {} if model.transductive else {"unlabelled": unlabelled}
    found = model.compare(support, LABELS, query, **beside)
    expected = naive(form, model, support, LABELS, query, beside.get("unlabelled", query))
    torch.testing.assert_close(found, expected)
    weights = [part for part in (*sides, *model.parameters()) if part is not unlabelled or beside]
    slopes = [torch.autograd.grad(each.tanh().sum(), weights) for each in (found, expected)]
    for mine, other in zip(*slopes):
        torch.testing.assert_close(mine, other)


@each_form
@pytest.mark.parametrize("use", ["unlabelled", "queries"])
@pytest.mark.parametrize("steps, temperature", [(1, 1.0), (3, 2.5)])
def test_scores_and_gradients_are_those_of_a_naive_loop(form, use, steps, temperature):
    check_against_the_loop(form, built(form, use, steps=steps, temperature=temperature))


class LosesTheLabelled(SoftKMeans):
    def refine(self, prototypes, sizes, points):
        return super().refine(prototypes, 0 * sizes, points)


class ForgetsHowManyAreLabelled(SoftKMeans):
    def refine(self, prototypes, sizes, points):
        return super().refine(prototypes, torch.ones_like(sizes), points)


class SharesOfTheWrongAxis(SoftKMeans):
    def shares(self, points, centers):
        return (-torch.cdist(points, centers).square()).softmax(-2)


class StopsTheGradient(SoftKMeans):
    """As the authors' code does at the shares of this form."""

    def shares(self, points, centers):
        return super().shares(points, centers).detach()


class MasksTwice(MaskedSoftKMeans):
    """As the authors' code does."""

    def shares(self, points, centers):
        once = super().shares(points, centers)
        return once.square() / SoftKMeans.shares(self, points, centers)


@pytest.mark.parametrize(
    "mistake", [LosesTheLabelled, ForgetsHowManyAreLabelled, SharesOfTheWrongAxis, StopsTheGradient, MasksTwice]
)
def test_a_planted_mistake_is_found(mistake):
    form = "masked" if issubclass(mistake, MaskedSoftKMeans) else "soft"
    torch.manual_seed(0)
    with pytest.raises(AssertionError):
        check_against_the_loop(form, mistake(nn.Identity()).double())


@each_form
def test_episodes_are_refined_each_by_its_own(form):
    model = built(form)
    support, query, unlabelled = (points(2, 3, n, 4, seed=n) for n in (len(LABELS), 5, 6))
    together = model.compare(support, LABELS, query, unlabelled)
    for i, j in ((0, 0), (1, 2)):
        one = model.compare(support[i, j], LABELS, query[i, j], unlabelled[i, j])
        torch.testing.assert_close(together[i, j], one)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_without_support_and_in_the_hard_limit_it_is_k_means(steps):
    """As scikit-learn does it, from the same start, with no class left empty."""
    cloud, start = points(60, 3), points(4, 3, seed=1)
    model = SoftKMeans(nn.Identity(), steps=steps, temperature=1e-9)
    found = model.refine(start, torch.zeros(4, dtype=torch.float64), cloud)
    means = KMeans(4, init=start.numpy(), n_init=1, max_iter=steps, algorithm="lloyd", tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        means.fit(cloud.numpy())
    torch.testing.assert_close(found, torch.from_numpy(means.cluster_centers_))
    hard = PseudoLabels(nn.Identity(), steps=steps, threshold=0)
    torch.testing.assert_close(hard.refine(start, torch.zeros(4).double(), cloud), found)


@each_form
def test_without_unlabelled_examples_it_is_the_prototypical_network(form):
    support, query = points(len(LABELS), 4), points(6, 4, seed=1)
    assert torch.equal(built(form).compare(support, LABELS, query), PLAIN.compare(support, LABELS, query))


@each_form
def test_images_are_embedded_in_one_batch_with_the_unlabelled(form):
    model = FORMS[form](nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12)))
    support, query, unlabelled = (points(n, 1, 3, 4, seed=n).float() for n in (len(LABELS), 5, 6))
    embedded = model.embed(torch.cat([support, query, unlabelled])).split([len(LABELS), 5, 6])
    expected = model.compare(embedded[0], LABELS, *embedded[1:])
    torch.testing.assert_close(model(support, LABELS, query, unlabelled), expected)


# What it sees is said -------------------------------------------------------------------------------------------------


@each_form
def test_of_the_queries_it_is_transductive_and_of_an_unlabelled_set_it_is_not(form):
    support, query, unlabelled = points(len(LABELS), 4), points(6, 4, seed=1), points(5, 4, seed=2)
    seeing, beside = built(form, "queries"), built(form)
    assert (seeing.transductive, seeing.uses_unlabelled) == (True, False)
    assert (beside.transductive, beside.uses_unlabelled) == (False, True)
    alone = torch.cat([beside.compare(support, LABELS, one, unlabelled) for one in query.split(1)])
    torch.testing.assert_close(beside.compare(support, LABELS, query, unlabelled), alone)
    replaced = torch.cat([query[:1], query[1:] + 1])  # and with others beside it, a query is answered otherwise
    assert not torch.allclose(seeing.compare(support, LABELS, query)[0], seeing.compare(support, LABELS, replaced)[0])


def test_results_say_what_was_seen(tiny):
    stack = with_unlabelled(tiny, 3, 1, 2, unlabelled=4, distractors=2, episodes=20)
    embeddings = points(len(tiny), 4).float()
    models = {
        "plain": PLAIN,
        "refined": SoftKMeans(nn.Identity()),
        "by queries": SoftKMeans(nn.Identity(), "queries"),
    }
    found = compare_models(models, tiny, episodes=stack, embeddings=embeddings)
    assert str(found["plain"]).endswith("(20 episodes)")
    assert str(found["refined"]).endswith("(20 episodes, with 20 unlabelled)")
    assert str(found["by queries"]).endswith("(20 episodes, transductive)")
    assert str(found["refined"] - found["plain"]).endswith("(20 paired episodes, with 20 unlabelled)")


@each_form
@pytest.mark.parametrize("chunk", [3, None])
def test_an_evaluation_hands_over_the_unlabelled_set_of_each_episode(form, chunk, tiny):
    stack = with_unlabelled(tiny, 3, 2, 2, unlabelled=4, distractors=2, episodes=9)
    model, embeddings = built(form, temperature=20.0), points(len(tiny), 4)
    found = evaluate(model, tiny, episodes=stack, embeddings=embeddings, chunk=chunk).per_episode
    for right, episode in zip(found, stack):
        sides = (embeddings[side] for side in (episode.support, episode.query, episode.unlabelled))
        support, query, unlabelled = sides
        scores = naive(form, model, support, episode.support_labels, query, unlabelled)
        assert right == (scores.argmax(1) == episode.query_labels).float().mean()


def test_an_evaluation_without_the_unlabelled_set_that_is_wanted_is_refused(tiny):
    model = SoftKMeans(nn.Sequential(nn.Flatten(), nn.Linear(784, 4)))
    for episodes in (20, unbalanced(tiny, 4, 1, 2, episodes=20)):
        with pytest.raises(ValueError, match="SoftKMeans uses an unlabelled set, but these episodes have none"):
            evaluate(model, tiny, query=2, way=4, episodes=episodes)


# Distractors, outliers, scale -----------------------------------------------------------------------------------------

SUPPORT, THREE = 2 * torch.eye(3, dtype=torch.float64), torch.arange(3)


def moved(model, unlabelled):
    """How far the prototypes of one-shot classes at a distance of 2√2 go."""
    return (model.refine(SUPPORT, torch.ones(3).double(), unlabelled) - SUPPORT).norm(dim=1).max()


def near(count=9):
    return SUPPORT.repeat(count // 3, 1) + 0.3 * points(count, 3)


def test_only_the_plain_form_follows_an_outlier():
    cloud = torch.cat([near(), torch.tensor([[0.0, 0.0, 1000.0]])])
    plain, cluster, masked = (
        each(nn.Identity()).double() for each in (SoftKMeans, SoftKMeansWithCluster, MaskedSoftKMeans)
    )
    assert moved(plain, cloud) > 100
    assert moved(cluster, cloud) < 1 and moved(masked, cloud) < 1


def test_of_distractors_alone_the_cluster_takes_most():
    """The plain form lets them into its classes in full."""
    cloud = points(12, 3) - 5
    plain, cluster = SoftKMeans(nn.Identity()), SoftKMeansWithCluster(nn.Identity()).double()
    assert plain.shares(cloud, SUPPORT).sum() == pytest.approx(12)
    assert cluster.shares(cloud, SUPPORT).sum() < 0.01 and moved(cluster, cloud) < 0.01 < 1 < moved(plain, cloud)


def test_what_distractors_cost_and_what_each_form_saves():
    """Of 40 classes in 16 dimensions: half the unlabelled are distractors, and then all of them."""
    centers = 1.2 * points(40, 16)
    space = centers.repeat_interleave(20, 0) + points(800, 16, seed=1)
    stack = with_unlabelled(torch.arange(40).repeat_interleave(20), 5, 1, 5, 5, 5, episodes=500)
    alone = stack.unlabelled[:, 25:]  # of the distractor classes
    right = {}
    for name, kind in (("soft", SoftKMeans), ("masked", MaskedSoftKMeans), ("cluster", SoftKMeansWithCluster)):
        model = kind(nn.Identity(), temperature=10.0).double().eval()
        sides = space[stack.support], stack.support_labels, space[stack.query]
        for unlabelled in (None, space[stack.unlabelled], space[alone]):
            with torch.no_grad():
                answers = model.compare(*sides, unlabelled).argmax(-1)
            right.setdefault(name, []).append((answers == stack.query_labels).double().mean().item())
    (plain, soft, soft_alone), (_, masked, masked_alone), (_, cluster, cluster_alone) = right.values()
    assert plain < soft < masked and soft < cluster  # half of them distractors, they help still
    assert soft_alone < masked_alone < cluster_alone < plain  # all of them, they harm
    assert plain - cluster_alone < 0.05 < plain - soft_alone


def test_a_wide_cluster_begins_where_the_logarithm_of_its_radius_ends():
    model = SoftKMeansWithCluster(nn.Identity(), radius=1e6).double()
    reach = math.sqrt(math.log(1e6))
    inside, outside = (SUPPORT[:1] * (1 + half * reach) for half in (0.49, 0.51))  # from a prototype of length two
    assert model.shares(inside, SUPPORT).sum() > 0.5 > model.shares(outside, SUPPORT).sum()


@pytest.mark.parametrize("form", ["soft", "cluster", "masked"])
def test_distances_a_hundred_times_as_large_do_not_make_it_hard_in_silence(form):
    model, cloud = FORMS[form](nn.Identity(), "queries").double().eval(), points(20, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compare(SUPPORT, THREE, cloud)
        with pytest.raises(UserWarning, match=r"share of (1\.0000|0\.99\d\d), so the soft k-means is hard"):
            model.compare(100 * SUPPORT, THREE, 100 * cloud)
        model.train().compare(100 * SUPPORT, THREE, 100 * cloud)  # which waits for nothing
        tempered = FORMS[form](nn.Identity(), "queries", temperature=1e4).double().eval()
        if form == "soft":  # which has no other scale
            scores = tempered.compare(100 * SUPPORT, THREE, 100 * cloud)
            torch.testing.assert_close(scores, model.eval().compare(SUPPORT, THREE, cloud))


def test_balanced_shares_are_the_plain_ones_but_for_factors_of_rows_and_columns():
    """By Sinkhorn's theorem there is one such matrix."""
    model = BalancedSoftKMeans(nn.Identity(), temperature=2.0, rounds=200)
    x, centers = points(12, 3), points(4, 3, seed=1)
    shares = model.shares(x, centers)
    assert torch.allclose(shares.sum(1), torch.ones(12).double())
    assert torch.allclose(shares.sum(0), torch.full((4,), 3.0).double())
    factors = shares.log() - SoftKMeans(nn.Identity(), temperature=2.0).shares(x, centers).log()
    assert torch.allclose(factors, factors[:1] + factors[:, :1] - factors[0, 0])


def test_what_counts_on_balance_gains_with_it_and_loses_without():
    """Classes at 0 and 3: queries in equal numbers, and nearly all of the first."""
    models = [kind(nn.Identity(), "queries") for kind in (SoftKMeans, BalancedSoftKMeans)]
    support, spread = torch.tensor([[-0.8], [2.2]]), torch.linspace(-1, 1, 20)[:, None]
    for share, better in ((10, True), (19, False)):
        query = torch.cat(
            [spread[:share] - spread[:share].mean(), 3 + spread[share:] - spread[share:].mean()]
        )
        truth = (torch.arange(20) >= share).long()
        soft, balanced = (model(support, [0, 1], query) for model in models)
        wrong = [
            (scores[:, 0] - scores[:, 1]).mul(1 - 2 * truth).min() for scores in (soft, balanced)
        ]
        assert (wrong[1] > wrong[0]) == better


def test_pseudo_labels_count_from_the_threshold_on_and_in_full():
    support, between = torch.tensor([[0.0], [2.0]]).double(), torch.tensor([[0.2], [0.9], [1.7]]).double()
    sure = torch.tensor([0.2, 0.9, 1.7]).double().mul(4).sub(4).abs().sigmoid()  # the larger of two probabilities
    for threshold in (0.0, 0.55, 0.8, float(sure[2]), 1.0):
        shares = PseudoLabels(nn.Identity(), threshold=threshold).shares(between, support)
        kept = sure >= threshold - 1e-12
        assert shares.tolist() == [[kept[0], 0], [kept[1], 0], [0, kept[2]]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 2])
def test_one_unlabelled_example_is_enough_and_its_gradient_is_finite(form, count):
    model = built(form)
    support = points(len(LABELS), 4).requires_grad_()
    model.compare(support, LABELS, points(3, 4, seed=1), support[:count]).sum().backward()
    assert support.grad.isfinite().all()


@torch.no_grad()
@each_form
@pytest.mark.parametrize("way, query", [(5, 30), (20, 10)])
def test_memory_is_what_an_evaluation_counts_on(form, way, query):
    model = FORMS[form](nn.Identity(), "queries").eval()
    chunk = evaluation._chunk(model, way, 1, query, 64)
    support, queries = torch.randn(chunk, way, 64), torch.randn(chunk, way * query, 64)
    with PeakMemory() as memory:
        model.compare(support, torch.arange(way), queries)
    assert memory.peak < 1.1 * evaluation.CHUNK_BYTES


# What makes no sense --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unlabelled, says",
    [
        (torch.rand(0, 4), "unlabelled set is empty; leave it out"),
        (torch.rand(6, 5), r"\('any number', 4\), but this is \(6, 5\)"),
        (torch.rand(2, 6, 4), r"\('any number', 4\), but this is \(2, 6, 4\)"),
        ([[1.0] * 4], r"but this is list"),
    ],
)
def test_an_unlabelled_set_of_another_shape_is_refused(unlabelled, says):
    with pytest.raises(ValueError, match=says):
        SoftKMeans(nn.Identity()).compare(torch.rand(7, 4), LABELS, torch.rand(2, 4), unlabelled)


def test_an_unlabelled_set_is_refused_where_the_queries_are_used():
    with pytest.raises(ValueError, match="built to use the queries, and has no use for an unlabelled set"):
        SoftKMeans(nn.Identity(), "queries").compare(torch.rand(7, 4), LABELS, torch.rand(2, 4), torch.rand(3, 4))
    with pytest.raises(ValueError, match="Support and unlabelled images must have the same shape"):
        SoftKMeans(nn.Flatten())(torch.rand(7, 4), LABELS, torch.rand(2, 4), torch.rand(3, 5))


@pytest.mark.parametrize(
    "kind, options, says",
    [
        (SoftKMeans, dict(use="both"), "use=\"unlabelled\" or \"queries\", not 'both'"),
        (SoftKMeans, dict(steps=0), "steps must be a whole number, at least 1"),
        (SoftKMeans, dict(temperature=0), "temperature must be above zero"),
        (MaskedSoftKMeans, dict(temperature=-1.0), "temperature must be above zero"),
        (MaskedSoftKMeans, dict(hidden=0), "hidden must be a whole number"),
        (SoftKMeansWithCluster, dict(radius=0), "radius must be above zero"),
        (PseudoLabels, dict(threshold=1.5), "threshold is a probability"),
        (PseudoLabels, dict(threshold=float("nan")), "threshold is a probability"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(kind, options, says):
    with pytest.raises(ValueError, match=says):
        kind(nn.Identity(), **options)
