"""How much time the design saves, and what it adds: ratios, each measured side by side in one run.

    python benchmarks/speed.py

*Evaluation*: 10,000 Omniglot 5-way 1-shot episodes by `evaluate`, which embeds each image once, against a loop that
embeds each episode. The loop is timed on the first 200 of the same episodes. *Training*: one step with the defaults of
`fit` against one in float32 and the usual order of memory; and, for machines without fast bfloat16, the step of `fit`
in float32 against the same. Equal results are asserted before anything is timed. *Overhead*: the step of `fit` against
what its network takes forward and backward on one batch, in the same type and order of memory.
"""

import time
from functools import partial

import torch
from ratios import DEVICE, enter, side_by_side, timed

from fslib import data
from fslib.backbones import Conv4
from fslib.book import ledger
from fslib.devices import autocast, has_fast_bfloat16, kept_memory, place
from fslib.episodes import EpisodeSampler
from fslib.evaluation import evaluate
from fslib.methods import PrototypicalNetwork
from fslib.training import fit


def looped(model, images, sampler):
    """Accuracy of each episode, embedding each anew."""
    model.eval()
    accuracies = []
    with torch.no_grad():
        for episode in sampler:
            support, query = (
                images.inputs(part).to(DEVICE) for part in (episode.support, episode.query)
            )
            answers = model(support, episode.support_labels.to(DEVICE), query).argmax(-1).cpu()
            accuracies.append((answers == episode.query_labels).float().mean())
    return torch.stack(accuracies)


def evaluation(rounds=3, some=200, episodes=10_000):
    """Ratios of time, loop over `evaluate`."""
    images = data.load("omniglot", "test")
    model = ledger_model()
    first = EpisodeSampler(images, 5, 1, 15, episodes=some, seed=0)
    assert torch.equal(
        looped(model, images, first), evaluate(model, images, episodes=some).per_episode
    )
    return side_by_side(
        lambda: timed(looped, model, images, first) * episodes / some,
        lambda: timed(evaluate, model, images, episodes=episodes),
        rounds,
    )


def training(way, bfloat16, rounds=5, steps=10):
    """Ratios of time, plain step over `fit`'s step."""
    images = data.load("glyphs", "train")
    first = plain_training(images, way, 3)[0]
    ours = our_training(images, way, 3, bfloat16).loss[0]
    assert abs(first / ours - 1) < (1e-3 if bfloat16 is False else 1e-2), (first, ours)
    return side_by_side(
        lambda: timed(plain_training, images, way, steps),
        lambda: timed(our_training, images, way, steps, bfloat16),
        rounds,
    )


def overhead(way, rounds=5, steps=10):
    """Ratios of time, `fit`'s step over what its network alone takes."""
    images = data.load("glyphs", "train")
    bare_training(images, way, 3)  # warms up
    return side_by_side(
        lambda: our_training(images, way, steps).seconds,
        lambda: bare_training(images, way, steps),
        rounds,
    )


def our_training(images, way, steps, bfloat16=None):
    """History of some steps of `fit`."""
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4())
    return fit(model, images, way=way, episodes=steps, bfloat16=bfloat16, progress=False)


def bare_training(images, way, steps):
    """Seconds of the network forward and backward on one batch, in the type and order of memory that `fit` takes."""
    network = place(Conv4(), DEVICE).train()
    episode = EpisodeSampler(images, way, 1, 5, episodes=1)[0]
    batch = images.inputs(torch.cat([episode.support, episode.query]))
    batch = batch.to(DEVICE, memory_format=torch.channels_last)
    with kept_memory():
        start = time.perf_counter()
        for _ in range(steps):
            network.zero_grad()
            with autocast(DEVICE):
                loss = network(batch).mean()
            loss.backward()
        loss.item()  # waits for a GPU, as `fit` does at the end
        return time.perf_counter() - start


def plain_training(images, way, steps):
    """The same, in float32 and the order of memory that PyTorch starts with."""
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4()).to(DEVICE).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=steps + 1, pct_start=0.11, cycle_momentum=False
    )
    losses = []
    for episode in EpisodeSampler(images, way, 1, 5, episodes=steps, seed=0):
        support, query = (
            images.inputs(part).to(DEVICE) for part in (episode.support, episode.query)
        )
        scores = model(support, episode.support_labels.to(DEVICE), query)
        loss = model.loss(scores, episode.query_labels.to(DEVICE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def ledger_model():
    """The trained Omniglot network of the book."""
    from fslib import load

    return place(load(ledger.folder() / "omniglot" / "prototypical-seed0.safetensors"), DEVICE)


def measured(name, dataset, measure, way, query, episodes):
    """Measure ratios, and enter them."""
    began = time.perf_counter()
    ratios = measure()
    enter(
        ratios,
        time.perf_counter() - began,
        id=f"{dataset}/{name}",
        command="python benchmarks/speed.py",
        method=name,
        dataset=dataset,
        split="test" if dataset == "omniglot" else "train",
        way=way,
        shot=1,
        query=query,
        episodes=episodes,
        bfloat16=has_fast_bfloat16(DEVICE),
    )


if __name__ == "__main__":
    for way in (20, 60):
        measured(f"speed-training-{way}way", "glyphs", partial(training, way, None), way, 5, 10)
        measured(
            f"speed-training-float32-{way}way", "glyphs", partial(training, way, False), way, 5, 10
        )
        measured(f"speed-training-overhead-{way}way", "glyphs", partial(overhead, way), way, 5, 10)
    measured("speed-evaluation", "omniglot", evaluation, 5, 15, 10_000)
