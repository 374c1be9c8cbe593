"""A measurement or comparison equals the slow way of making it, fits into memory, and its interval holds the truth."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from easyfsl.methods import PrototypicalNetworks
from easyfsl.utils import evaluate_on_one_task
from scipy import stats
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fslib import evaluation, metrics, storage
from fslib.backbones import Conv4
from fslib.data import ImageSet
from fslib.episodes import EpisodeSampler
from fslib.evaluation import Accuracy, ci95, compare_models, embed_all, evaluate
from fslib.methods import MatchingNetwork, PrototypicalNetwork

TASK = dict(way=5, shot=2, query=3, seed=1)


def network(backbone=None) -> PrototypicalNetwork:
    torch.manual_seed(0)
    return PrototypicalNetwork(backbone or nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.BatchNorm1d(4)))


class Remembering(PrototypicalNetwork):
    def __init__(self, backbone):
        super().__init__(backbone)
        self.predicted = []

    def compare(self, *task):
        scores = super().compare(*task)
        self.predicted.append(scores.argmax(-1))
        return scores


def test_equals_a_loop_that_embeds_every_episode(tiny):
    torch.manual_seed(0)
    model = Remembering(Conv4(channels=8))
    accuracy = evaluate(model, tiny, **TASK, episodes=30, device="cpu")
    at_once = torch.cat(model.predicted)
    model.eval()
    for i, episode in enumerate(EpisodeSampler(tiny, **TASK, episodes=30)):
        scores = model(tiny.inputs(episode.support), episode.support_labels, tiny.inputs(episode.query))
        right = (scores.argmax(1) == episode.query_labels).float().mean()
        assert torch.equal(at_once[i], scores.argmax(1))
        assert accuracy.per_episode[i] == pytest.approx(right.item())
    assert len(at_once.unique()) == 5  # or the comparison would say little


def test_equals_easyfsl(tiny):
    model = network()
    accuracy = evaluate(model, tiny, **TASK, episodes=100, device="cpu")
    embeddings, theirs = embed_all(model, tiny, "cpu"), PrototypicalNetworks()
    for right, episode in zip(accuracy.per_episode, EpisodeSampler(tiny, **TASK, episodes=100)):
        support, query = embeddings[episode.support], embeddings[episode.query]
        hits, of = evaluate_on_one_task(theirs, support, episode.support_labels, query, episode.query_labels)
        assert right == pytest.approx(hits / of)


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
def test_chunk_changes_nothing(tiny, chunk):
    whole = evaluate(network(), tiny, **TASK, episodes=50, device="cpu")
    parts = evaluate(network(), tiny, **TASK, episodes=50, device="cpu", chunk=chunk)
    assert torch.equal(whole.per_episode, parts.per_episode)


def test_embeddings_can_be_reused(tiny):
    model = network()
    expected = evaluate(model, tiny, **TASK, episodes=50, device="cpu")
    embeddings = embed_all(model, tiny, "cpu")
    model.feature_extractor = None
    reused = evaluate(model, tiny, **TASK, episodes=50, embeddings=embeddings)
    assert torch.equal(reused.per_episode, expected.per_episode)


def test_embeddings_of_another_number_are_refused(tiny):
    with pytest.raises(ValueError, match="one embedding for each of the 96 images, but there are 95"):
        evaluate(network(), tiny, **TASK, embeddings=torch.zeros(95, 4))


@pytest.mark.parametrize("chunk", [None, 7])
def test_a_stack_of_episodes_stands_for_drawing_them(tiny, chunk):
    drawn = evaluate(network(), tiny, **TASK, episodes=50, device="cpu")
    stack = EpisodeSampler(tiny, **TASK, episodes=50)[:]
    task = dict(way=5, shot=2, query=3, chunk=chunk, device="cpu")
    assert torch.equal(evaluate(network(), tiny, **task, episodes=stack).per_episode, drawn.per_episode)
    sampler = EpisodeSampler(tiny, **TASK, episodes=50)
    assert torch.equal(evaluate(network(), tiny, **task, episodes=sampler).per_episode, drawn.per_episode)
    some = evaluate(network(), tiny, **task, episodes=stack[[40, 3]])  # any of them, in any order
    assert torch.equal(some.per_episode, drawn.per_episode[[40, 3]])


def test_a_stack_of_another_kind_or_data_set_is_refused(tiny):
    stack = EpisodeSampler(tiny, **TASK, episodes=5)[:]
    with pytest.raises(ValueError, match="have way=5, shot=2 and query=3, but shot=1, query=15 is asked for"):
        evaluate(network(), tiny, shot=1, query=15, episodes=stack)
    with pytest.raises(ValueError, match="but the data set has 0 to 35"):
        evaluate(network(), tiny.select(range(3)), way=5, episodes=stack)


def test_a_chunk_holds_an_episode_and_embeddings_are_numbers(tiny):
    with pytest.raises(ValueError, match="chunk must be a whole number, at least 1, but is -1"):
        evaluate(network(), tiny, **TASK, chunk=-1)
    with pytest.raises(ValueError, match="96 of 96 embeddings hold NaN or infinity"):
        evaluate(network(), tiny, **TASK, embeddings=torch.full((96, 4), torch.nan))


def test_batch_size_changes_no_embedding(tiny):
    one, other = (embed_all(network(), tiny, "cpu", batch) for batch in (7, 512))
    torch.testing.assert_close(one, other)
    assert one.shape == (96, 4)


@pytest.mark.parametrize("broken", [False, True], ids=["after success", "after an exception"])
def test_every_module_gets_its_own_mode_back(tiny, broken):
    model = network().train()
    model.feature_extractor[2].eval()  # frozen batch norm
    modes = [module.training for module in model.modules()]
    if broken:
        nn.init.constant_(model.feature_extractor[1].bias, torch.nan)
        with pytest.raises(ValueError, match="96 of 96 embeddings hold NaN or infinity"):
            evaluate(model, tiny, **TASK, episodes=5, device="cpu")
    else:
        evaluate(model, tiny, **TASK, episodes=5, device="cpu")
    assert [module.training for module in model.modules()] == modes
    assert len(set(modes)) == 2


def test_measuring_changes_no_weight_and_no_buffer(tiny):
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, tiny, **TASK, episodes=5, device="cpu")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_interval_is_students():
    values = torch.tensor([0.2, 0.4, 0.9, 0.5])
    mean = values.sum() / 4
    spread = math.sqrt(((values - mean) ** 2).sum() / 3)
    assert ci95(values) == pytest.approx(3.1824 * spread / 2)
    assert Accuracy(values).mean == pytest.approx(0.5)
    assert str(Accuracy(values)) == "50.00 % ± 46.84 (4 episodes)"


def test_students_t_is_scipys():
    for freedom in (*range(1, 40), 599, 9999):
        assert evaluation.student95(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)


def test_recall_looks_for_the_nearest_other_image():
    embeddings = torch.tensor([[0.0], [0.1], [1.0], [1.3], [1.32], [5.0]])
    labels = torch.tensor([7, 7, 3, 3, 9, 9])
    assert evaluation.recall_at_1(embeddings, labels).per_episode.tolist() == [0.5, 1.0, 0.5]  # of 3, 7, 9
    torch.manual_seed(0)
    embeddings, labels = torch.randn(700, 3), torch.randint(0, 5, (700,))
    found = []
    for i in range(700):
        others = [j for j in range(700) if j != i]
        nearest = min(others, key=lambda j: (embeddings[i] - embeddings[j]).square().sum())
        found.append((labels[i] == labels[nearest]).item())
    naive = [sum(f for f, y in zip(found, labels) if y == c) / (labels == c).sum() for c in range(5)]
    torch.testing.assert_close(evaluation.recall_at_1(embeddings, labels).per_episode, torch.stack(naive))


def test_one_episode_says_nothing_of_the_spread():
    assert ci95(torch.tensor([0.5])) == math.inf


def test_interval_covers_the_truth_95_times_in_100():
    random = torch.Generator().manual_seed(0)
    truth = 0.2 + 0.7 * torch.rand(2000, 200, generator=random)  # tasks are easy or hard, 0.55 on average
    measured = torch.binomial(torch.full_like(truth, 75), truth, generator=random) / 75
    covered = [abs(values.mean() - 0.55) <= ci95(values) for values in measured]
    assert 0.93 <= sum(covered) / len(covered) <= 0.97


def test_four_times_the_episodes_halve_the_interval(tiny):
    few, many = (evaluate(network(), tiny, **TASK, episodes=n, device="cpu").ci95 for n in (200, 800))
    assert many / few == pytest.approx(0.5, rel=0.15)


def models(tiny) -> dict[str, PrototypicalNetwork]:
    """A network, the same by another method, and another network."""
    first = network()
    torch.manual_seed(1)
    other = PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(784, 6)))
    return {"means": first, "votes": MatchingNetwork(first.feature_extractor), "other": other}


def test_a_comparison_is_two_measurements_and_a_paired_t_interval(tiny):
    task = dict(**TASK, episodes=60, device="cpu")
    comparison = compare_models(models(tiny), tiny, **task)
    assert list(comparison) == ["means", "votes", "other"]
    for name, model in models(tiny).items():
        assert torch.equal(comparison[name].per_episode, evaluate(model, tiny, **task).per_episode)
    assert list(comparison.differences) == ["votes", "other"]
    for name, difference in comparison.differences.items():
        pairs = (comparison[name].per_episode.double(), comparison["means"].per_episode.double())
        low, high = stats.ttest_rel(*pairs).confidence_interval()
        assert difference.mean == pytest.approx((low + high) / 2)
        assert difference.ci95 == pytest.approx((high - low) / 2, rel=1e-3)
    any_pair = comparison["other"] - comparison["votes"]
    differences = comparison.differences
    assert any_pair.mean == pytest.approx(differences["other"].mean - differences["votes"].mean)


def test_a_model_differs_from_itself_by_nothing(tiny):
    comparison = compare_models({"one": network(), "again": network()}, tiny, **TASK, episodes=50, device="cpu")
    assert (comparison.differences["again"].mean, comparison.differences["again"].ci95) == (0, 0)
    assert comparison["one"].ci95 > 0


def test_a_comparison_prints_as_a_table():
    values = {"means": [0.5, 0.8, 0.5], "vote": [0.6, 0.9, 0.7], "odd": [0.5, 0.5, 0.5]}
    comparison = evaluation.Comparison({name: Accuracy(torch.tensor(v)) for name, v in values.items()})
    assert repr(comparison).splitlines() == [
        "means         60.00 % ± 43.03 (3 episodes)",
        "vote          73.33 % ± 37.95 (3 episodes)",
        "odd           50.00 % ± 0.00 (3 episodes)",
        "vote − means  +13.33 ± 14.34 points (3 paired episodes)",
        "odd − means   -10.00 ± 43.03 points (3 paired episodes)",
    ]


def test_pairing_narrows_the_interval_of_a_small_change(tiny):
    model = network()
    embeddings = slightly_changed(model, tiny)
    comparison = compare_models(dict.fromkeys("ab", model), tiny, **TASK, episodes=200, embeddings=embeddings)
    apart = math.hypot(*(accuracy.ci95 for accuracy in comparison.values()))
    assert 0 < comparison.differences["b"].ci95 < 0.7 * apart


def slightly_changed(model, tiny):
    embeddings = embed_all(model, tiny, "cpu")
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(embeddings.shape, generator=random)
    return {"a": embeddings, "b": embeddings + 0.1 * embeddings.std() * noise}


def test_embeddings_are_given_for_all_models_or_by_name(tiny):
    both, task = models(tiny), dict(**TASK, episodes=30, device="cpu")
    expected = compare_models(both, tiny, **task)
    embeddings = {name: embed_all(model, tiny, "cpu") for name, model in both.items()}
    partly = compare_models(both, tiny, **task, embeddings={"other": embeddings["other"]})
    alike = {name: both[name] for name in ("means", "votes")}
    shared = compare_models(alike, tiny, **task, embeddings=embeddings["means"])
    for comparison in (partly, shared):
        assert all(torch.equal(a.per_episode, expected[name].per_episode) for name, a in comparison.items())


def test_what_cannot_be_compared_is_refused(tiny):
    model = network()
    for too_few in ({}, {"alone": model}, [model, model]):
        with pytest.raises(ValueError, match="needs two models or more, with names"):
            compare_models(too_few, tiny)
    pair = {"one": model, "two": model}
    with pytest.raises(ValueError, match="embeddings of 'tow', but the models are one, two"):
        compare_models(pair, tiny, embeddings={"tow": torch.zeros(96, 4)})
    with pytest.raises(ValueError, match="each of the 96 images, but there are 95"):
        compare_models(pair, tiny, **TASK, embeddings={"one": torch.zeros(96, 4), "two": torch.zeros(95, 4)})
    with pytest.raises(ValueError, match="episode by episode, but these are of 3 episodes and 4 episodes"):
        Accuracy(torch.zeros(3)) - Accuracy(torch.zeros(4))


class PeakMemory(TorchDispatchMode):
    """The most bytes that tensors made inside it held at one time."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(result)):
            storage = tensor.untyped_storage()
            self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result


@pytest.mark.parametrize("way, shot, dim", [(20, 1, 64), (20, 5, 64), (20, 5, 8), (5, 1, 1600)])
def test_a_chunk_stays_within_its_memory(monkeypatch, way, shot, dim):
    monkeypatch.setattr(evaluation, "CHUNK_BYTES", 8 * 2**20)
    chunk = evaluation._chunk(network(), way, shot, 15, dim)
    embeddings = torch.randn(way * 20, dim)
    stack = EpisodeSampler(torch.arange(way).repeat_interleave(20), way, shot, 15, chunk)[:]
    with PeakMemory() as memory, torch.no_grad():
        network().compare(embeddings[stack.support], stack.support_labels, embeddings[stack.query])
    assert 0.3 * 8 * 2**20 < memory.peak < 1.05 * 8 * 2**20


def test_a_comparison_on_ten_thousand_20_way_episodes_stays_within_the_memory_of_a_chunk():
    labels = torch.arange(25).repeat_interleave(16)
    data = ImageSet("Blank", torch.zeros(400, 1, 28, 28, dtype=torch.uint8), labels, [str(c) for c in range(25)])
    embeddings = torch.randn(400, 8)
    stack = EpisodeSampler(data, way=20, shot=1, query=15, episodes=100)[:][torch.arange(10_000) % 100]
    with PeakMemory() as memory:
        comparison = compare_models(
            {"one": network(), "two": network()}, data, way=20, episodes=stack, embeddings=embeddings
        )
    assert len(comparison.differences["two"].per_episode) == 10_000
    stored = sum(part.nbytes for part in vars(stack).values())
    assert memory.peak < evaluation.CHUNK_BYTES + 4 * stored  # to check the stack takes some too


ON_MANY_EPISODES = """
import torch
from fslib.data import ImageSet
from fslib.evaluation import evaluate
from fslib.methods import PrototypicalNetwork
torch.set_num_threads(1)
labels = torch.arange(1692).repeat_interleave(20)
images = torch.randint(0, 256, (len(labels), 1, 28, 28), dtype=torch.uint8)
data = ImageSet("Noise", images, labels, [str(c) for c in range(1692)])
model = PrototypicalNetwork(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten()))
print(len(evaluate(model, data, way=20, shot=5, episodes=10_000, device="cpu").per_episode))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux")
def test_ten_thousand_20_way_episodes_fit_into_2_gb():
    printed = subprocess.check_output([sys.executable, "-c", ON_MANY_EPISODES], text=True)
    episodes, kilobytes = map(int, printed.split())
    assert episodes == 10_000
    assert kilobytes < 2e6


# What a result says of itself -----------------------------------------------------------------------


def test_accuracies_of_other_episodes_are_not_subtracted(tiny):
    task = dict(**TASK, episodes=20)
    one, again = (evaluate(network(), tiny, **task) for _ in range(2))
    assert (one - again).mean == 0
    for other in (
        evaluate(network(), tiny, **task | {"seed": 2}),
        evaluate(network(), tiny, **task | {"way": 4}),
        evaluate(network(), tiny, **task | {"shot": 1}),
        evaluate(network(), tiny.select([1, 0, 2, 3, 4, 5, 6, 7]), **task),
    ):
        with pytest.raises(ValueError, match="these 20 episodes are not the same ones; measure both with the same"):
            one - other
    recall = evaluation.recall_at_1(embed_all(network(), tiny), tiny.labels)
    turned = evaluation.recall_at_1(embed_all(network(), tiny), tiny.labels.roll(1))
    with pytest.raises(ValueError, match="these 8 classes are not the same ones"):
        recall - turned
    with pytest.raises(ValueError, match="of 20 episodes and 8 classes"):
        one - evaluation.recall_at_1(embed_all(network(), tiny), tiny.labels)
    with pytest.raises(TypeError):
        one - 0.5


def test_the_same_episodes_are_known_however_they_come(tiny):
    task = dict(way=5, shot=2, query=3)
    by_number = evaluate(network(), tiny, **task, seed=1, episodes=20, chunk=3)
    by_stack = evaluate(network(), tiny, episodes=EpisodeSampler(tiny, **TASK, episodes=20)[:])
    by_sampler = evaluate(network(), tiny, episodes=EpisodeSampler(tiny, **TASK, episodes=20))
    assert (by_number - by_stack).mean == (by_number - by_sampler).mean == 0


def test_a_result_says_what_it_is_over_and_whether_queries_were_seen(tiny):
    class Seeing(PrototypicalNetwork):
        transductive = True

    inductive = evaluate(network(), tiny, **TASK, episodes=20)
    seeing = evaluate(Seeing(network().feature_extractor), tiny, **TASK, episodes=20)
    assert str(inductive).endswith("(20 episodes)") and not inductive.transductive
    assert str(seeing).endswith("(20 episodes, transductive)") and seeing.transductive
    assert str(seeing - inductive).endswith("(20 paired episodes, transductive)")
    assert str(evaluation.recall_at_1(embed_all(network(), tiny), tiny.labels)).endswith("(8 classes)")


def test_results_are_compared_by_what_they_hold():
    one, same, other = Accuracy(torch.ones(5)), Accuracy(torch.ones(5)), Accuracy(torch.zeros(5))
    assert one == same and hash(one) == hash(same) and one != other
    assert one != Accuracy(torch.ones(5), unit="classes") and one != evaluation.Difference(torch.ones(5))
    assert one in [other, same] and one != 1.0


# What is measured stays as it is -----------------------------------------------------------------------


def test_embeddings_can_be_trained_on_and_changed(tiny):
    embeddings = embed_all(network(), tiny)
    head = nn.Linear(4, 8)
    nn.functional.cross_entropy(head(embeddings), tiny.labels).backward()
    assert head.weight.grad.abs().sum() > 0 and not embeddings.requires_grad
    embeddings -= embeddings.mean(0)
    evaluate(network(), tiny, **TASK, episodes=5, embeddings=embeddings)
    head(embeddings).sum().backward()  # not by measuring on them either


# What is no answer is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compare_, says",
    [
        (lambda s, y, q: torch.full((*q.shape[:-1], 5), torch.nan), "Some scores are NaN"),
        (lambda s, y, q: (q @ s.mT)[..., :5].where(torch.arange(q.shape[-2])[:, None] > 0, torch.nan), "are NaN"),
        (lambda s, y, q: q @ s.mT, r"\(20, 15, 5\): episodes, queries, classes; but it gave \(20, 15, 10\)"),
        (lambda s, y, q: (q @ s.mT)[..., 0], "a score for each query and class"),
        (lambda s, y, q: (q @ s.mT).argmax(-1), "a score for each query and class"),
        (lambda s, y, q: (q @ s.mT)[..., :5].mT, "a score for each query and class"),
        (lambda s, y, q: None, "gave NoneType"),
        (lambda s, y, q: torch.full((*q.shape[:-1], 5), -torch.inf), "infinite for several classes at once"),
        (lambda s, y, q: torch.ones(*q.shape[:-1], 5, dtype=torch.bool), "torch.bool"),
    ],
)  # fmt: skip
def test_scores_that_are_no_answers_are_refused(tiny, compare_, says):
    class Mine(PrototypicalNetwork):
        def compare(self, support, labels, query):
            return compare_(support, labels, query)

    with pytest.raises(ValueError, match=says):
        evaluate(Mine(network().feature_extractor), tiny, **TASK, episodes=20)


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(way=1), "way must be at least 2"),
        (dict(way=5.0), "way must be a whole number"),
        (dict(episodes=0), "episodes must be a whole number, at least 1"),
        (dict(seed=-1), "seed"),
        (dict(chunk=2.5), "chunk must be a whole number"),
        (dict(device="gpu"), "There is no device 'gpu' here"),
        (dict(embeddings=torch.zeros(96)), r"must be of shape \(n, d\)"),
        (dict(embeddings=[[0.0]] * 96), "must be a tensor"),
        (dict(embeddings=torch.full((96, 4), torch.inf)), "hold NaN or infinity"),
    ],
)
def test_what_cannot_be_measured_is_said(tiny, options, says):
    with pytest.raises(ValueError, match=says):
        evaluate(network(), tiny, **TASK | options)


@torch.no_grad()
def test_one_infinite_score_is_an_answer(tiny):
    class Sure(PrototypicalNetwork):
        def compare(self, *episode):
            scores = super().compare(*episode)
            return scores.where(scores == scores.amax(-1, keepdim=True), -torch.inf)

    model = network()
    sure = evaluate(Sure(model.feature_extractor), tiny, **TASK, episodes=10)
    assert sure == evaluate(model, tiny, **TASK, episodes=10)


def test_a_seed_beside_drawn_episodes_is_refused(tiny):
    sampler = EpisodeSampler(tiny, **TASK, episodes=5)
    for drawn in (sampler, sampler[:]):
        with pytest.raises(ValueError, match="a seed changes nothing"):
            evaluate(network(), tiny, episodes=drawn, seed=3)


def test_a_bare_network_is_refused(tiny):
    with pytest.raises(ValueError, match=r"method of fslib\.methods over a network, but this is a Conv4"):
        embed_all(Conv4(4), tiny)


# Recall -------------------------------------------------------------------------------------------------


def test_a_class_of_one_image_is_left_out_of_recall():
    embeddings = torch.tensor([[0.0], [0.1], [5.0], [5.1], [9.0]])
    assert evaluation.recall_at_1(embeddings, [0, 0, 1, 1, 2]).per_episode.tolist() == [1, 1]
    assert evaluation.recall_at_1(embeddings, list("aabbc")).mean == 1
    with pytest.raises(ValueError, match="Each class has a single image"):
        evaluation.recall_at_1(embeddings, range(5))


@pytest.mark.parametrize(
    "arguments, says",
    [
        ((torch.zeros(4, 2), [0, 0, 1]), "3 labels"),
        ((torch.zeros(4), [0, 0, 1, 1]), "takes embeddings"),
        ((torch.zeros(0, 2), []), "no image"),
        ((torch.full((4, 2), torch.nan), [0, 0, 1, 1]), "NaN"),
        ((torch.zeros(4, 2), [0, 0, 1, 1], metrics.cosine_similarity), "takes a distance"),
    ],
)
def test_recall_refuses_in_a_sentence(arguments, says):
    with pytest.raises(ValueError, match=says):
        evaluation.recall_at_1(*arguments)


AFTER_TRAINING = """
import torch
from fslib.backbones import Conv4
from fslib.data import ImageSet
from fslib.evaluation import evaluate
from fslib.methods import PrototypicalNetwork
from fslib.training import fit

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

torch.set_num_threads(1)
labels = torch.arange(360).repeat_interleave(20)
images = torch.randint(0, 256, (len(labels), 1, 28, 28), dtype=torch.uint8)
data = ImageSet("Noise", images, labels, [str(c) for c in range(360)])
fit(PrototypicalNetwork(Conv4()), data, way=20, episodes=10, progress=False, device="cpu")
before = peak()
evaluate(PrototypicalNetwork(torch.nn.Flatten()), data, way=10, shot=5, episodes=10_000)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux")
def test_nothing_small_lies_scattered_in_memory_that_a_training_left():
    assert int(subprocess.check_output([sys.executable, "-c", AFTER_TRAINING], text=True)) < 300_000


# The command --------------------------------------------------------------------------------------


def test_command_measures_a_saved_classifier(tmp_path, capsys, glyphs):
    torch.manual_seed(3)
    model = MatchingNetwork(Conv4(channels=8))
    storage.save(model, tmp_path / "model.safetensors")
    task = dict(way=3, shot=2, query=4, episodes=50, seed=1)
    options = [word for name, value in task.items() for word in (f"--{name}", str(value))]
    evaluation.main([str(tmp_path / "model.safetensors"), *options])
    expected = evaluate(model, glyphs["test"], **task)
    assert capsys.readouterr().out == f"{glyphs['test'].name}, 3-way 2-shot: {expected}\n"


@pytest.mark.parametrize("method", ["prototypical", "matching"])
def test_command_measures_what_is_not_trained(method, capsys):
    evaluation.main([method, "--episodes", "20"])
    assert "5-way 1-shot" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["relation"], "An untrained relation module only guesses; give the file"),
        (["none.safetensors"], "There is no saved classifier none.safetensors"),
        (["prototypical", "--data", "glyph"], "did you mean 'glyphs'"),
        (["prototypical", "--way", "5000"], "5000"),
    ],
)
def test_command_refuses_in_a_sentence(arguments, says):
    with pytest.raises(SystemExit) as refused:
        evaluation.main(arguments)
    assert says in refused.value.code and "\n" not in refused.value.code
