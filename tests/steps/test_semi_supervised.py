"""An episode loses labels, and the rest of it is told by what the model makes of the others."""

import pytest
import torch
from torch import nn

from fslib.episodes import check_episodes, hide_labels
from fslib.methods import MaskedSoftKMeans, PrototypicalNetwork, SoftKMeans, SoftKMeansWithCluster
from fslib.training import SemiSupervised, fit
from tests.steps.test_plain import SHORT, drawn, network


def refined(kind=SoftKMeans):
    torch.manual_seed(0)
    return kind(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))


@pytest.mark.parametrize("unlabelled, distractors", [(1, 0), (1, 2)])
def test_the_loss_is_that_of_the_episode_without_those_labels(tiny, unlabelled, distractors):
    model, batch = refined(), drawn(tiny)
    expected = hide_labels(batch.episode, unlabelled, distractors)
    loss = SemiSupervised(unlabelled, distractors).step(model, batch)
    support, query, unseen = (
        model.embed(tiny.inputs(side)) for side in (expected.support, expected.query, expected.unlabelled)
    )
    scores = model.compare(support, expected.support_labels, query, unseen)
    torch.testing.assert_close(batch.scores, scores)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(scores, expected.query_labels))
    check_episodes(type(batch.episode)(*(part[None] for part in vars(batch.episode).values())), tiny.labels)
    assert torch.equal(batch.episode.query, expected.query)


def test_labels_that_were_taken_off_are_not_seen(tiny):
    """The loss is the same whatever the classes of the unlabelled examples, and of distractors, are called."""
    model, found = refined(), []
    for renamed in (0, 100):
        batch = drawn(tiny)
        batch.episode.classes[2:] += renamed
        found.append(SemiSupervised(1, 2).step(model, batch))
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", [SoftKMeans, SoftKMeansWithCluster, MaskedSoftKMeans])
def test_it_trains_what_refines_too(tiny, kind):
    model = refined(kind)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    task = SHORT | {"episodes": 40, "way": 5, "query": 4}
    history = fit(model, tiny, SemiSupervised(2, distractors=2), **task)
    assert sum(history.loss[-10:]) < sum(history.loss[:10]) and len(history.accuracy) == 40
    unmoved = [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]
    assert unmoved == []


def test_what_makes_no_sense_is_refused(tiny):
    with pytest.raises(ValueError, match=r"PrototypicalNetwork uses no unlabelled set; methods\.SoftKMeans"):
        fit(network(), tiny, SemiSupervised(1), **SHORT)
    with pytest.raises(ValueError, match="SoftKMeans uses no unlabelled set"):
        fit(SoftKMeans(network().feature_extractor, "queries"), tiny, SemiSupervised(1), **SHORT)
    with pytest.raises(ValueError, match="Of the 3 classes of an episode 3 are to be distractors, and none is left"):
        fit(refined(), tiny, SemiSupervised(1, 3), **SHORT)
    with pytest.raises(ValueError, match="Of the 2 queries of a class 2 are to be unlabelled, and none is left"):
        fit(refined(), tiny, SemiSupervised(2), **SHORT)
    with pytest.raises(ValueError, match="unlabelled must be a whole number, at least 1"):
        SemiSupervised(0)
    assert PrototypicalNetwork.uses_unlabelled is False
