"""What every method keeps to."""

import pytest
import torch
from torch import nn

import fslib
from fslib import evaluation, metrics
from fslib.backbones import Conv4
from fslib.episodes import EpisodeSampler
from fslib.evaluation import evaluate
from fslib.methods import (
    ContextMatchingNetwork,
    ConvRelation,
    MatchingNetwork,
    PrototypicalNetwork,
    RelationNetwork,
    VectorRelation,
)
from fslib.training import fit
from tests.test_evaluation import PeakMemory

METHODS = {
    "prototypical": lambda: PrototypicalNetwork(Conv4(8)),
    "relation on maps": lambda: RelationNetwork(Conv4(8, pools=3, maps=True), ConvRelation(8)),
    "relation on vectors": lambda: RelationNetwork(Conv4(8), VectorRelation(8), aggregate="score max"),
    "matching": lambda: MatchingNetwork(Conv4(8)),
    "matching, two networks": lambda: MatchingNetwork(Conv4(8), query_extractor=Conv4(8)),
    "matching in context": lambda: ContextMatchingNetwork(Conv4(8), dim=8, steps=2),
}
LABELS = torch.tensor([4, 9, 4, 1, 9, 1])


@pytest.fixture(params=METHODS)
def model(request):
    torch.manual_seed(0)
    model = METHODS[request.param]()
    model.train()(torch.rand(5, 1, 28, 28), torch.arange(5), torch.rand(9, 1, 28, 28))  # moves the batch statistics
    return model.eval()


def images(seed=1):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(6, 1, 28, 28, generator=random), torch.rand(7, 1, 28, 28, generator=random)


@torch.no_grad()
def test_permuting_the_classes_permutes_the_columns(model):
    support, query = images()
    names = torch.tensor([9, 1, 4])  # what 1, 4 and 9 are called now
    renamed = names[torch.searchsorted(LABELS.unique(), LABELS)]
    columns = names.argsort()
    torch.testing.assert_close(model(support, renamed, query), model(support, LABELS, query)[:, columns])


@torch.no_grad()
def test_permuting_the_support_changes_nothing(model):
    if isinstance(model, ContextMatchingNetwork):
        pytest.skip("full context embeddings read the support set in order")
    support, query = images()
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    torch.testing.assert_close(model(support[order], LABELS[order], query), model(support, LABELS, query))


@torch.no_grad()
def test_a_duplicated_support_set_changes_nothing(model):
    """Twice each example is twice its weight, which a mean, a maximum and a share of the votes do not see."""
    if isinstance(model, ContextMatchingNetwork):
        pytest.skip("full context embeddings read the support set in order")
    support, query = images()
    twice = model(support.repeat(2, 1, 1, 1), LABELS.repeat(2), query)
    torch.testing.assert_close(twice, model(support, LABELS, query), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_in_evaluation_mode_queries_do_not_see_each_other(model):
    support, query = images()
    alone = torch.cat([model(support, LABELS, one) for one in query.split(1)])
    torch.testing.assert_close(model(support, LABELS, query), alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_saved_and_loaded_it_answers_the_same(model, tmp_path):
    fslib.save(model, tmp_path / "model.safetensors")
    loaded = fslib.load(tmp_path / "model.safetensors")
    support, query = images()
    assert type(loaded) is type(model) and loaded.config.keys() == model.config.keys()
    assert torch.equal(loaded(support, LABELS, query), model(support, LABELS, query))


def test_evaluation_embeds_once_and_answers_as_one_episode_at_a_time(model, tiny):
    accuracy = evaluate(model, tiny, way=3, shot=2, query=4, episodes=12)
    sampler = EpisodeSampler(tiny, 3, 2, 4, 12, seed=0)
    with torch.no_grad():
        for expected, episode in zip(accuracy.per_episode, sampler):
            scores = model(tiny.inputs(episode.support), episode.support_labels, tiny.inputs(episode.query))
            assert abs((scores.argmax(1) == episode.query_labels).float().mean() - expected) < 1e-6


def test_it_trains(model, tiny):
    history = fit(model, tiny, way=4, shot=1, query=4, episodes=25, learning_rate=1e-2, progress=False)
    assert sum(history.loss[-5:]) < sum(history.loss[:5])


@torch.no_grad()
@pytest.mark.parametrize("shot", [1, 5])
def test_a_chunk_stays_within_its_memory(model, monkeypatch, shot):
    way, query = 20, 15
    monkeypatch.setattr(evaluation, "CHUNK_BYTES", 32 * 2**20)
    embeddings = model.embed(torch.rand(way, 1, 28, 28)).repeat_interleave(20, 0)
    dim = embeddings.shape[1:].numel()
    chunk = evaluation._chunk(model, way, shot, query, dim)
    stack = EpisodeSampler(torch.arange(way).repeat_interleave(20), way, shot, query, chunk)[:]
    with PeakMemory() as memory:
        model.compare(embeddings[stack.support], stack.support_labels, embeddings[stack.query])
    assert 0.2 * 32 * 2**20 < memory.peak < 1.1 * 32 * 2**20


def test_one_shot_prototypes_are_the_nearest_neighbour():
    torch.manual_seed(0)
    support, query = torch.randn(6, 8), torch.randn(50, 8)
    labels = torch.tensor([5, 3, 8, 1, 9, 2])
    scores = PrototypicalNetwork(nn.Identity())(support, labels, query)
    nearest = metrics.euclidean(query, support).argmin(1)
    assert torch.equal(labels.unique()[scores.argmax(1)], labels[nearest])


@pytest.mark.parametrize("name", METHODS)
def test_a_query_without_support_is_refused(name):
    with pytest.raises(ValueError):
        METHODS[name]()(torch.rand(6, 1, 28, 28), LABELS[:4], torch.rand(2, 1, 28, 28))
