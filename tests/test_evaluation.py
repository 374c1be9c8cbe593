"""A measurement equals the slow way of making it, fits into memory, and its interval holds the truth."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fslib import evaluation
from fslib.backbones import Conv4
from fslib.episodes import EpisodeSampler
from fslib.evaluation import Accuracy, ci95, embed_all, evaluate
from fslib.methods import PrototypicalNetwork

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
