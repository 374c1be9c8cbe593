"""Relation Networks score every pair, on maps and on vectors, as a loop over pairs would."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fslib.backbones import Conv4
from fslib.methods import ConvRelation, RelationModule, RelationNetwork, VectorRelation
from fslib.methods.base import one_hot
from fslib.methods.matching import greatest_of_class
from tests.test_metrics import Largest

LABELS = torch.tensor([7, -2, 7, 300, -2, 7])
AGGREGATES = ("mean", "sum", "score mean", "score max")


def relation_on(kind: str) -> nn.Module:
    """A relation module with statistics of its own, in evaluation mode and double precision."""
    torch.manual_seed(0)
    modules = {
        "vectors": lambda: VectorRelation(dim=8, hidden=5),
        "maps": lambda: ConvRelation(channels=8, hidden=4),
        "any": lambda: nn.Sequential(nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 1), nn.Sigmoid()),
        "any maps": lambda: nn.Sequential(nn.Conv2d(16, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1), nn.Sigmoid()),
    }
    module = modules[kind]()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return module.double().eval()


def embeddings(kind, *leading, queries=4):
    shape = (8, 3, 3) if "maps" in kind else (8,)
    draw = lambda n: torch.randn(*leading, n, *shape, dtype=torch.float64)  # noqa: E731
    torch.manual_seed(1)
    return draw(len(LABELS)), draw(queries)


def loop_over_pairs(module, support, labels, query, aggregate):
    """Every query with every class, one pair at a time."""
    scores = torch.empty(len(query), len(labels.unique()), dtype=torch.float64)
    for (j, q), (k, c) in itertools.product(enumerate(query), enumerate(labels.unique())):
        of_class = [example for example, label in zip(support, labels) if label == c]
        if aggregate.startswith("score"):
            each = torch.stack([module(torch.cat([example, q])[None]).squeeze() for example in of_class])
            scores[j, k] = each.mean() if aggregate == "score mean" else each.max()
        else:
            total = sum(of_class)
            example = total / len(of_class) if aggregate == "mean" else total
            scores[j, k] = module(torch.cat([example, q])[None]).squeeze()
    return scores


@pytest.mark.parametrize("kind", ["vectors", "maps", "any", "any maps"])
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_scores_equal_a_loop_over_pairs(kind, aggregate):
    module = relation_on(kind)
    support, query = embeddings(kind)
    model = RelationNetwork(nn.Identity(), module, aggregate=aggregate).eval()
    expected = loop_over_pairs(module, support, LABELS, query, aggregate)
    torch.testing.assert_close(model(support, LABELS, query), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["vectors", "maps", "any", "any maps"])
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("shared", [True, False], ids=["shared labels", "labels of each episode"])
def test_a_batch_of_episodes_equals_a_loop_over_them(kind, aggregate, shared):
    support, query = embeddings(kind, 2, 3)
    labels = LABELS
    if not shared:
        labels = torch.stack([LABELS[torch.randperm(6)] for _ in range(6)]).reshape(2, 3, 6)
    model = RelationNetwork(nn.Identity(), relation_on(kind), aggregate=aggregate).eval()
    scores = model.compare(support, labels, query)
    assert scores.shape == (2, 3, 4, 3)
    for i, j in itertools.product(range(2), range(3)):
        alone = model.compare(support[i, j], labels if shared else labels[i, j], query[i, j])
        torch.testing.assert_close(scores[i, j], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("module", [VectorRelation(8, 5), ConvRelation(8, 4)], ids=["vectors", "maps"])
def test_the_split_of_the_first_layer_changes_nothing_in_training_either(module):
    torch.manual_seed(0)
    shape = (8, 4, 4) if isinstance(module, ConvRelation) else (8,)
    examples, query = torch.randn(3, *shape), torch.randn(5, *shape)
    pairs = torch.stack([torch.cat([e, q]) for q in query for e in examples])
    together = module.train().score_all(examples, query)
    torch.testing.assert_close(together, module(pairs).view(5, 3), rtol=1e-4, atol=1e-5)
    assert RelationModule.forward(module, pairs).shape == (15,)


def test_a_sequential_without_a_sigmoid_gets_one():
    bare = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 1))
    support, query = torch.randn(6, 8), 10 * torch.randn(4, 8)
    scores = RelationNetwork(nn.Identity(), bare)(support, LABELS, query)
    assert ((0 <= scores) & (scores <= 1)).all()
    with_one = RelationNetwork(nn.Identity(), nn.Sequential(*bare, nn.Sigmoid()))(support, LABELS, query)
    assert torch.equal(scores, with_one)


@pytest.mark.parametrize("criterion, error", [("mse", F.mse_loss), ("bce", F.binary_cross_entropy)])
def test_loss_compares_every_score_with_one_or_zero(criterion, error):
    scores, targets = torch.rand(2, 6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    right = torch.zeros(2, 6, 3)
    for m, k in enumerate(targets):
        right[:, m, k] = 1
    model = RelationNetwork(nn.Identity(), VectorRelation(8), criterion=criterion)
    torch.testing.assert_close(model.loss(scores, targets), error(scores, right))


def test_learns_from_maps_end_to_end():
    torch.manual_seed(0)
    model = RelationNetwork(Conv4(8, pools=3, pooling="none"), ConvRelation(8))
    images, labels = torch.rand(5, 1, 28, 28), torch.arange(5)
    scores = model(images, labels, torch.rand(10, 1, 28, 28))
    assert scores.shape == (10, 5)
    model.loss(scores, labels.repeat(2)).backward()
    assert all(w.grad.isfinite().all() for w in model.parameters())


@pytest.mark.parametrize(
    "module, says",
    [
        (VectorRelation(dim=7), r"relation module is for embeddings of shape \(7,\), but got \(8,\)"),
        (nn.Sequential(nn.Linear(15, 1), nn.Sigmoid()), r"takes no pairs of shape \(\d+, 16\)"),
        (nn.Sequential(nn.Linear(16, 2), nn.Sigmoid()), r"one score between 0 and 1 for each of the 12 pairs"),
    ],
)
def test_a_relation_module_for_other_embeddings_is_refused(module, says):
    with pytest.raises(ValueError, match=says):
        RelationNetwork(nn.Identity(), module)(torch.randn(6, 8), LABELS, torch.randn(4, 8))


def test_scores_outside_0_and_1_are_refused():
    class Twice(nn.Module):
        def forward(self, pairs):
            return 2 + pairs.sum(1).sigmoid()

    with pytest.raises(ValueError, match=r"must give one score between 0 and 1 .* and a Sigmoid"):
        RelationNetwork(nn.Identity(), Twice())(torch.randn(6, 8), LABELS, torch.randn(4, 8))


def test_support_and_query_of_two_shapes_are_refused():
    model = RelationNetwork(nn.Identity(), VectorRelation(8))
    with pytest.raises(ValueError, match=r"embedded to the same shape, but are \(8,\) and \(9,\)"):
        model.compare(torch.randn(6, 8), LABELS, torch.randn(4, 9))


@pytest.mark.parametrize("options", [dict(aggregate="max"), dict(criterion="hinge")])
def test_unknown_options_are_refused(options):
    with pytest.raises(ValueError, match="must be one of"):
        RelationNetwork(nn.Identity(), VectorRelation(8), **options)


def test_cross_entropy_is_that_of_the_logits_over_the_classes():
    torch.manual_seed(0)
    model = RelationNetwork(nn.Identity(), VectorRelation(8), criterion="cross-entropy")
    support, query, targets = torch.randn(6, 8), torch.randn(5, 8), torch.tensor([0, 1, 2, 0, 1])
    logits = model.logits(support, LABELS, query)
    loss, scores = model.episode_loss(support, LABELS, query, targets)
    naive = -sum(logits[i].softmax(0)[c].log() for i, c in enumerate(targets)) / len(targets)
    torch.testing.assert_close(loss, naive)
    torch.testing.assert_close(scores, model.compare(support, LABELS, query))
    torch.testing.assert_close(model.loss(scores, targets), naive)


@pytest.mark.parametrize("criterion, loss, slope", [("bce", 30.0, 1.0), ("mse", 1.0, None)])
def test_a_confident_mistake_still_has_a_gradient(criterion, loss, slope):
    """With a logit of 30 a score is 1 to the last digit, and yet the pair can be told to part."""
    module = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Sigmoid())
    nn.init.constant_(module[0].weight, 15.0)
    model = RelationNetwork(nn.Identity(), module, criterion=criterion)
    support, query = torch.ones(2, 1), torch.ones(1, 1, requires_grad=True)
    value, scores = model.episode_loss(support, torch.tensor([0, 1]), query, torch.tensor([0]))
    assert (scores == 1).all() and value.item() == pytest.approx(loss / 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(value, query)
    if slope:
        assert gradient.item() == pytest.approx(15.0 * slope / 2, rel=1e-3)


@pytest.mark.parametrize("criterion", ["mse", "bce", "cross-entropy"])
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("kind", ["vectors", "any"])
def test_the_loss_of_an_episode_is_that_of_its_scores(kind, aggregate, criterion):
    support, query = embeddings(kind)
    model = RelationNetwork(nn.Identity(), relation_on(kind), aggregate, criterion)
    targets = torch.tensor([0, 2, 1, 1])
    loss, scores = model.episode_loss(support, LABELS, query, targets)
    torch.testing.assert_close(scores, model.compare(support, LABELS, query))
    torch.testing.assert_close(loss, model.loss(scores, targets))


class Scoring(nn.Module):
    """A relation module that does not show its sigmoid."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, pairs):
        return self.layers(pairs).sigmoid()


@pytest.mark.parametrize(
    "module",
    [
        lambda: VectorRelation(8, 32),
        lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0)),
        Scoring,
    ],
    ids=["ours", "with a flatten at its end", "of one's own"],
)
def test_scores_are_not_rounded_under_autocast(module):
    torch.manual_seed(0)
    model = RelationNetwork(nn.Identity(), module()).eval()
    support, query = torch.randn(20, 8), torch.randn(30, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model.compare(support, torch.arange(20), query)
    assert scores.dtype == torch.float32 and len(scores.unique()) > 500  # bfloat16 would leave some hundred


def test_a_sigmoid_deep_inside_is_found():
    inner = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    module = nn.Sequential(nn.Sequential(nn.Linear(16, 4), nn.ReLU()), nn.Sequential(nn.Identity(), inner))
    support, query = embeddings("any")
    scores = RelationNetwork(nn.Identity(), module.double())(support, LABELS, query)
    expected = loop_over_pairs(module, support, LABELS, query, "mean")
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        dict(stride=2), dict(dilation=2), dict(padding=2), dict(padding="same"), dict(bias=False),
        dict(padding=1, padding_mode="reflect"), dict(padding=1, padding_mode="circular", stride=2),
        dict(padding=(1, 0), padding_mode="replicate", dilation=(1, 2)),
    ],
    ids=str,
)  # fmt: skip
def test_any_convolution_may_come_first(options):
    torch.manual_seed(0)
    layers = nn.Conv2d(8, 6, 3, **options), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    module = RelationModule(*layers, nn.Linear(6, 1), nn.Sigmoid()).eval()
    examples, query = torch.randn(3, 4, 9, 9), torch.randn(5, 4, 9, 9)
    slow = torch.stack([torch.stack([module(torch.cat([s, q])[None])[0] for s in examples]) for q in query])
    torch.testing.assert_close(module.score_all(examples, query), slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "first, says",
    [
        (lambda: nn.Conv2d(8, 6, 3, groups=2), "all channels together"),
        (lambda: nn.Linear(7, 2), "sees two embeddings joined"),
        (lambda: nn.Tanh(), "begins with nn.Linear or nn.Conv2d, but this one with Tanh"),
        (lambda: nn.ConvTranspose2d(8, 6, 3), "but this one with ConvTranspose2d"),
    ],
)
def test_a_relation_module_that_cannot_be_split_is_refused(first, says):
    with pytest.raises(ValueError, match=says):
        RelationModule(first(), nn.Sigmoid())


def test_a_relation_module_of_several_scores_a_pair_is_refused():
    with pytest.raises(ValueError, match="one score between 0 and 1 for each of the 12 pairs"):
        model = RelationNetwork(nn.Identity(), RelationModule(nn.Linear(16, 2), nn.Sigmoid()))
        model(torch.randn(6, 8), LABELS, torch.randn(4, 8))
    with pytest.raises(ValueError, match="must be a module from pairs"):
        RelationNetwork(nn.Identity(), lambda pairs: pairs.sum(1))


def test_the_greatest_score_of_each_class_takes_no_memory_for_all_classes():
    torch.manual_seed(0)
    logits = torch.randn(50, 120, requires_grad=True)
    of_class = one_hot(torch.arange(60).repeat(2))
    with Largest() as largest:
        found = greatest_of_class(logits, of_class)
    assert largest.numbers <= 120 * 60  # each class by itself takes 50 * 60 * 120
    assert torch.equal(found, logits.unflatten(1, (2, 60)).amax(1))
    found.sum().backward()
    assert torch.equal(logits.grad, (logits == found.repeat(1, 2)).float())
