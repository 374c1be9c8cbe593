"""How our times compare with easyfsl's: ratios, each measured side by side in one run.

    python benchmarks/against_easyfsl.py

*Evaluation* of 10,000 episodes by a Prototypical Network, against easyfsl in three ways: `images`, as in its notebooks,
each episode embedded anew, timed on the first 200; `features`, its fast way, each image embedded once and then the
episodes of features one by one; and `compare`, these episodes alone, the embedding left out on both sides. Omniglot is
5-way 1-shot with the trained network of the book. `colour` is 5-way 5-shot on noise of the size and number of the test
pictures of CIFAR-FS, with a network that is not trained. *Training*: one step of easyfsl, in float32 with support and
query embedded apart, against the step of `fit` with its defaults and in float32; both with Adam.

Weights, pictures and episodes are the same; the pictures lie in memory, easyfsl's as ready network input. That all
answers are the same, ties within rounding aside, is asserted before anything is timed.
"""

import copy
import time
from functools import partial
from importlib.metadata import version

import torch
import torch.nn.functional as F
from easyfsl.datasets import FeaturesDataset
from easyfsl.methods import PrototypicalNetworks
from easyfsl.samplers import TaskSampler
from easyfsl.utils import evaluate as their_evaluate
from easyfsl.utils import predict_embeddings
from ratios import DEVICE, enter, side_by_side, timed
from speed import ledger_model, our_training
from torch.utils.data import DataLoader

from fslib import data
from fslib.backbones import Conv4
from fslib.book import ledger
from fslib.devices import has_fast_bfloat16, place
from fslib.episodes import EpisodeSampler
from fslib.evaluation import embed_all, evaluate
from fslib.methods import PrototypicalNetwork

WAY, QUERY = 5, 15
VERSIONS = f"{ledger.circumstances(DEVICE)['versions']}, easyfsl {version('easyfsl')}"


class Replay(TaskSampler):
    """Our episodes in the place of those that easyfsl would draw."""

    def __init__(self, stack):  # not the parent's, which hands torch an argument that is gone
        self.n_way, self.n_shot, self.n_query = stack.way, stack.shot, stack.queries
        self.n_tasks, shape = len(stack), (len(stack), stack.way, -1)
        sides = [stack.support.reshape(shape), stack.query.reshape(shape)]
        self.rows = torch.cat(sides, -1).flatten(1).tolist()  # of each class, support then query

    def __iter__(self):
        return iter(self.rows)


def tasks(values, labels, stack):
    """A loader of easyfsl's tasks from pictures or features, (n, ...)."""
    sampler = Replay(stack)
    dataset = FeaturesDataset(labels.tolist(), values, labels.unique().tolist())
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)


def their_model(network):
    """The classifier of easyfsl with a copy of the network, in the order of memory that PyTorch starts with."""
    return PrototypicalNetworks(copy.deepcopy(network).to(memory_format=torch.contiguous_format))


def their_answers(model, loader):
    """The class that each query is given, as its label in the data set, (episodes, queries)."""
    answers = []
    with torch.no_grad():
        for support, support_labels, query, _, classes in loader:
            model.process_support_set(support.to(DEVICE), support_labels.to(DEVICE))
            answers.append(torch.tensor(classes)[model(query.to(DEVICE)).argmax(1).cpu()])
    return torch.stack(answers)


def assert_same_answers(theirs, model, features, stack):
    """Our answers from features are theirs; where not, the two nearest prototypes are equally far to 3 digits."""
    with torch.no_grad():
        scores = [
            model.compare(
                features[part.support], part.support_labels.to(DEVICE), features[part.query]
            )
            for part in (stack[i : i + 100] for i in range(0, len(stack), 100))
        ]
    ours = stack.classes.gather(1, torch.cat(scores).argmax(-1).cpu())
    differ = (ours != theirs).nonzero()
    assert len(differ) < 1e-3 * ours.numel(), f"{len(differ)} of {ours.numel()} answers differ"
    for episode, query in differ:
        support = features[stack.support[episode]].double().unflatten(0, (stack.way, stack.shot))
        distances = (
            (features[stack.query[episode, query]] - support.mean(1)).norm(dim=1).sort().values
        )
        assert distances[1] - distances[0] < 1e-3 * distances[0], distances


def evaluation(images, model, shot, rounds=3, some=200, episodes=10_000):
    """Ratios of time, easyfsl over `evaluate`, of each of the three ways."""
    stack = EpisodeSampler(images, WAY, shot, QUERY, episodes, seed=0)[:]
    task = dict(way=WAY, shot=shot, query=QUERY, episodes=stack)
    pictures, labels, features = images.inputs(), images.labels, embed_all(model, images)
    theirs, on_features = their_model(model.feature_extractor).eval(), PrototypicalNetworks()
    anew, compared = tasks(pictures, labels, stack[:some]), tasks(features.cpu(), labels, stack)
    assert_same_answers(their_answers(theirs, anew), model, features, stack[:some])
    assert_same_answers(their_answers(on_features, compared), model, features, stack)

    def embed_and_compare():
        loader = DataLoader(FeaturesDataset(labels.tolist(), pictures, []), batch_size=128)
        frame = predict_embeddings(loader, theirs.backbone, DEVICE)
        dataset = FeaturesDataset.from_dataframe(frame)
        loader = tasks(dataset.embeddings, torch.tensor(dataset.labels), stack)
        their_evaluate(on_features, loader, DEVICE, use_tqdm=False)

    ours = partial(timed, evaluate, model, images, **task)
    return {
        "images": side_by_side(
            lambda: timed(their_evaluate, theirs, anew, DEVICE, use_tqdm=False) * episodes / some,
            ours,
            rounds,
        ),
        "features": side_by_side(partial(timed, embed_and_compare), ours, rounds),
        "compare": side_by_side(
            partial(timed, their_evaluate, on_features, compared, DEVICE, use_tqdm=False),
            partial(ours, embeddings=features),
            rounds,
        ),
    }


class Colour(data.ImageSet):
    """Pictures that keep their size and colours."""

    def inputs(self, indices=slice(None)):
        """Network input, from 0 to 1."""
        return self.images[indices].float() / 255


def colour():
    """Twenty classes of 600 pictures, 3 × 32 × 32: noise, a quarter of which a class has in common."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(20).repeat_interleave(600)
    common, own = (torch.rand(n, 3, 32, 32, generator=random) for n in (20, len(labels)))
    images = (255 * (common[labels] + 3 * own) / 4).to(torch.uint8)
    return Colour("Colour noise", images, labels, [f"noise {c}" for c in range(20)])


def colour_model():
    """A network for them, not trained."""
    torch.manual_seed(0)
    return place(PrototypicalNetwork(Conv4(in_channels=3)).eval(), DEVICE)


def training(way, bfloat16, rounds=5, steps=10):
    """Ratios of time, easyfsl's step over `fit`'s."""
    images = data.load("glyphs", "train").select(range(100))
    torch.manual_seed(0)
    model = place(PrototypicalNetwork(Conv4()).eval(), DEVICE)
    stack = EpisodeSampler(images, way, 1, 5, steps, seed=0)[:]
    loader = tasks(images.inputs(), images.labels, stack)
    answers = their_answers(their_model(model.feature_extractor), loader)
    assert_same_answers(answers, model, embed_all(model, images), stack)
    their_training(loader), our_training(images, way, 3, bfloat16)  # warm up
    return side_by_side(
        lambda: their_training(loader),
        lambda: our_training(images, way, steps, bfloat16).seconds,
        rounds,
    )


def their_training(loader):
    """Seconds of training steps as in easyfsl's notebook on episodic training."""
    torch.manual_seed(0)
    model = PrototypicalNetworks(Conv4()).to(DEVICE).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    start = time.perf_counter()
    for support, support_labels, query, query_labels, _ in loader:
        optimizer.zero_grad()
        model.process_support_set(support.to(DEVICE), support_labels.to(DEVICE))
        loss = F.cross_entropy(model(query.to(DEVICE)), query_labels.to(DEVICE))
        loss.backward()
        optimizer.step()
        loss.item()
    return time.perf_counter() - start


def enter_all(measure, dataset, **keys):
    """Measure ratios by name, and enter each."""
    began = time.perf_counter()
    for name, ratios in measure().items():
        enter(
            ratios,
            time.perf_counter() - began,
            id=f"{dataset}/easyfsl-{name}",
            command="python benchmarks/against_easyfsl.py",
            method=f"easyfsl-{name}",
            dataset=dataset,
            bfloat16=has_fast_bfloat16(DEVICE),
            versions=VERSIONS,
            **keys,
        )


if __name__ == "__main__":
    for way in (20, 60):
        enter_all(
            lambda way=way: {
                f"training-{way}way": training(way, None),
                f"training-float32-{way}way": training(way, False),
            },
            "glyphs", split="train", way=way, shot=1, query=5, episodes=10,
        )  # fmt: skip
    test = dict(split="test", way=WAY, query=QUERY, episodes=10_000)
    omniglot = data.load("omniglot", "test")
    enter_all(lambda: evaluation(omniglot, ledger_model(), 1), "omniglot", shot=1, **test)
    enter_all(lambda: evaluation(colour(), colour_model(), 5), "colour", shot=5, **test)
