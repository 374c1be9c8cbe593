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
    FEAT,
    ContextMatchingNetwork,
    ConvRelation,
    CosineClassifier,
    FiLMNetwork,
    FineTunedNetwork,
    LogisticRegression,
    MahalanobisClassifier,
    MatchingNetwork,
    PreClassifierAlignment,
    PrototypicalNetwork,
    RelationNetwork,
    SubspaceNetwork,
    VectorRelation,
)
from fslib.training import fit
from tests.test_evaluation import PeakMemory

METHODS = {
    "prototypical": lambda: PrototypicalNetwork(Conv4(8)),
    "relation on maps": lambda: RelationNetwork(Conv4(8, pools=3, pooling="none"), ConvRelation(8)),
    "relation on vectors": lambda: RelationNetwork(Conv4(8), VectorRelation(8), aggregate="score max"),
    "matching": lambda: MatchingNetwork(Conv4(8)),
    "matching, two networks": lambda: MatchingNetwork(Conv4(8), query_extractor=Conv4(8)),
    "matching in context": lambda: ContextMatchingNetwork(Conv4(8), dim=8, steps=2),
    "subspaces": lambda: SubspaceNetwork(Conv4(8)),
    "covariances": lambda: MahalanobisClassifier(Conv4(8)),
    "alignment": lambda: PreClassifierAlignment(Conv4(8), steps=5),
    "FEAT": lambda: FEAT(Conv4(8), dim=8),
    "FiLM": lambda: FiLMNetwork(Conv4(8, pools=3, pooling="none"), channels=8),
    "fine-tuned layers": lambda: FineTunedNetwork(Conv4(8), layers=2, steps=3),
    "fine-tuned residual": lambda: FineTunedNetwork(Conv4(8), tuned="residual", steps=3),
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
    if isinstance(model, MahalanobisClassifier):
        pytest.skip("a covariance counts its examples")
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
    if isinstance(model, PreClassifierAlignment | FineTunedNetwork):
        pytest.skip("its fit gives no gradient")
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


@torch.no_grad()
@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(), LABELS.numpy(), LABELS.to(torch.uint8), LABELS.numpy().astype("uint64"), LABELS.int(),
        ["d", "j", "d", "a", "j", "a"], tuple("djdaja"), list(LABELS),
    ],
    ids=["list", "NumPy", "uint8", "uint64", "int32", "names", "tuple of names", "list of tensors"],
)  # fmt: skip
def test_labels_may_be_of_any_kind(model, labels):
    support, query = images()
    assert torch.equal(model(support, labels, query), model(support, LABELS, query))


@pytest.mark.parametrize(
    "labels, says",
    [
        (LABELS.float(), "must be integers"), (LABELS > 4, "must be integers"), ([1.5] * 6, "must be integers"),
        (nn.functional.one_hot(LABELS), "argmax"), ([[1, 2], [3]], "one an example"), (None, "one an example"),
        ([None] * 6, "one an example"), (LABELS[:5], "one label for each of the 6"), (LABELS[0], "one integer an"),
    ],
    ids=str,
)  # fmt: skip
def test_labels_that_are_none_are_refused_in_a_sentence(model, labels, says):
    with pytest.raises(ValueError, match=says):
        model(*images()[:1], labels, images()[1])


@pytest.mark.parametrize("pictures", [[1, 2], None, torch.zeros(6, 1, 28, 28).numpy()], ids=["list", "None", "NumPy"])
def test_images_that_are_no_network_input_are_refused_in_a_sentence(model, pictures):
    with pytest.raises(ValueError, match="to_input makes one"):
        model(pictures, LABELS, torch.rand(2, 1, 28, 28))


def test_an_empty_support_set_is_refused(model):
    with pytest.raises(ValueError, match="support set is empty"):
        model(torch.rand(0, 1, 28, 28), LABELS[:0], torch.rand(2, 1, 28, 28))


def test_inductive_methods_say_so(model):
    assert model.transductive is False


@torch.no_grad()
@pytest.mark.parametrize("way", [5, 7], ids="{}-way".format)
def test_maps_are_compared_as_vectors(way):
    torch.manual_seed(0)
    flat, maps = Conv4(8, pools=2).eval(), Conv4(8, pools=2, pooling="none").eval()
    maps.load_state_dict(flat.state_dict())
    support, query = torch.rand(way, 1, 28, 28), torch.rand(6, 1, 28, 28)
    for method in (PrototypicalNetwork, MatchingNetwork, LogisticRegression, CosineClassifier):
        scores = [method(network).eval()(support, torch.arange(way), query) for network in (maps, flat)]
        assert scores[0].shape == (6, way) and torch.equal(*scores)


@pytest.mark.parametrize(
    "build, says",
    [
        (lambda: PrototypicalNetwork(nn.Identity(), metrics.cosine_similarity), "cosine_distance is a distance"),
        (lambda: PrototypicalNetwork(nn.Identity(), metric=3), "takes a distance of fslib.metrics"),
        (lambda: PrototypicalNetwork(nn.Identity(), metrics.local_similarity), "local_distance is a distance"),
        (lambda: MatchingNetwork(nn.Identity(), similarity=metrics.euclidean), "cosine_similarity is a similarity"),
        (lambda: MatchingNetwork(nn.Identity(), similarity=metrics.Mahalanobis(4)), "takes a similarity"),
        (lambda: MatchingNetwork(nn.Identity(), scale=float("nan")), "scale must be above zero and finite"),
        (lambda: PrototypicalNetwork(nn.Identity(), temperature=float("nan")), "temperature must be above zero"),
        (lambda: PrototypicalNetwork(nn.Identity(), temperature=float("inf")), "temperature must be above zero"),
        (lambda: PrototypicalNetwork(lambda images: images), "built over a network"),
    ],
)  # fmt: skip
def test_what_would_turn_or_spoil_every_answer_is_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()


@torch.no_grad()
def test_a_metric_of_one_s_own_is_trusted():
    x = 3 * torch.eye(6) + 0.1 * torch.randn(6, 6)
    model = PrototypicalNetwork(nn.Identity(), torch.cdist)
    assert (model(x, torch.arange(6), x).argmax(1) == torch.arange(6)).all()


EXPORTED = {
    "prototypical": lambda: PrototypicalNetwork(nn.Identity()),
    "prototypical, cosine": lambda: PrototypicalNetwork(nn.Identity(), metrics.cosine_distance),
    "matching": lambda: MatchingNetwork(nn.Identity()),
    "relation": lambda: RelationNetwork(nn.Identity(), VectorRelation(8)),
    "logistic regression": lambda: LogisticRegression(nn.Identity(), steps=3),
    "over a network": lambda: PrototypicalNetwork(nn.Sequential(nn.Linear(8, 4), nn.ReLU())),
}


@torch.no_grad()
@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 8),
    reason="torch.export follows a number of classes that depends on the labels since 2.8",
)
@pytest.mark.parametrize("name", EXPORTED)
def test_a_classifier_is_exported_as_one_graph(name):
    torch.manual_seed(0)
    model = EXPORTED[name]().eval()
    support, labels, query = torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2]), torch.randn(5, 8)
    graph = torch.export.export(model, (support, labels, query)).module()
    for answers in (labels, labels.flip(0), torch.tensor([9, 4, 4, 4, 9, 9])):  # other labels, other classes
        torch.testing.assert_close(graph(support, answers, query), model(support, answers, query))
