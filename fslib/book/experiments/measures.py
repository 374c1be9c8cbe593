"""What a recipe measures: each way to measure yields one result after the other, under the name of its task.

A new one is a new function: it gets a trained model and the images of the test classes, or of the validation classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fslib import data
from fslib.augmentation import TestTimeAugmentation
from fslib.book import ledger
from fslib.data import ImageSet, glyphs
from fslib.episodes import across_domains, within_groups
from fslib.evaluation import Accuracy, embed_all, evaluate, recall_at_1
from fslib.methods import FewShotClassifier
from fslib.probes import ProbeSet, linear_probe, neighbour_probe

# The name of a task, what its record says of it, and what it came to.
Result = tuple[str, ledger.Record, Accuracy]
Measure = Callable[[FewShotClassifier, ImageSet], Iterator[Result]]

TASKS = ((5, 1), (5, 5), (20, 1), (20, 5))


def on_tasks(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
    """The four usual tasks, 10,000 episodes of each, from all classes."""
    yield from _on_tasks(model, images, embed_all(model, images))


def on_tasks_and_recall(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
    """The four tasks, and how often the nearest neighbour of an image is of its class."""
    embeddings = embed_all(model, images)
    yield from _on_tasks(model, images, embeddings)
    none = dict.fromkeys(("way", "shot", "query", "episodes"))
    yield "recall@1", none | {"metric": "recall@1"}, recall_at_1(embeddings, images.labels)


def _on_tasks(model: FewShotClassifier, images: ImageSet, embeddings: Tensor) -> Iterator[Result]:
    for way, shot in TASKS:
        settings: dict[str, Any] = dict(way=way, shot=shot, query=15, episodes=10_000)
        accuracy = evaluate(model, images, **settings, seed=0, embeddings=embeddings)
        yield f"{way}way-{shot}shot", settings | {"metric": "accuracy"}, accuracy


def within_alphabets(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
    """2,000 episodes of :func:`fslib.episodes.within_groups`: one writer's characters, of one alphabet."""
    embeddings = embed_all(model, images)
    trials = within_groups(images, way=20, episodes=2000)
    settings: dict[str, Any] = dict(way=20, shot=1, query=1)
    accuracy = evaluate(model, images, **settings, episodes=trials, embeddings=embeddings)
    yield "20way-1shot", settings | dict(episodes=len(trials), metric="accuracy"), accuracy


def within_scripts(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
    """5-way 1-shot within each group of classes, 10,000 episodes of each, the same for every model."""
    embeddings = embed_all(model, images)
    settings: dict[str, Any] = dict(way=5, shot=1, query=15, episodes=10_000)
    for script in dict.fromkeys(images.class_groups):
        classes = [number for number, group in enumerate(images.class_groups) if group == script]
        its = torch.isin(images.labels, torch.tensor(classes))
        accuracy = evaluate(model, images.select(classes), **settings, seed=0, embeddings=embeddings[its])
        yield f"5way-1shot-{script}", settings | {"metric": "accuracy", "script": script}, accuracy


def with_test_time_augmentation(measure: Measure, *copies: int) -> Measure:
    """Measure several times, each picture beside so many warped copies; with 0 copies, the picture alone."""

    def measured(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
        network = model.feature_extractor
        try:
            for number in copies:
                model.feature_extractor = TestTimeAugmentation(network, number) if number else network
                for task, settings, accuracy in measure(model, images):
                    yield f"{task}-views{number}", settings | {"views": number}, accuracy
        finally:
            model.feature_extractor = network

    return measured


def across_families(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
    """20-way 1-shot, each class by one face family and asked for in another; and how well a face can be read.

    Of a balanced part of Glyphs. The probes are fitted on the balanced part of its training classes.
    """
    test = glyphs.balanced(images)
    embeddings = embed_all(model, test)
    yield _one_shot(model, test, embeddings, same=False)
    train = glyphs.balanced(data.load("glyphs", "train"))
    seen, of_test, of_train = embed_all(model, train), *(glyphs.attributes(each.domains) for each in (test, train))
    none = dict.fromkeys(("way", "shot", "query", "episodes"))
    for attribute in glyphs.ATTRIBUTES:
        fitted, measured = ProbeSet(train, seen, of_train[attribute]), ProbeSet(test, embeddings, of_test[attribute])
        for how, probe in (("linear", linear_probe), ("neighbours", neighbour_probe)):
            read = probe(fitted, measured)
            yield f"{attribute}-{how}", none | dict(metric=f"{attribute}, {how}", chance=round(read.chance, 6)), read


def within_families(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
    """20-way 1-shot as in :func:`across_families`, but asked for in the family of the example."""
    test = glyphs.balanced(images)
    yield _one_shot(model, test, embed_all(model, test), same=True)


def _one_shot(model: FewShotClassifier, images: ImageSet, embeddings: Tensor, same: bool) -> Result:
    settings: dict[str, Any] = dict(way=20, shot=1, query=3)
    family = glyphs.attributes(images.domains)["family"]
    stack = across_domains(images, **settings, episodes=5000, domains=family, same=same)
    accuracy = evaluate(model, images, **settings, episodes=stack, embeddings=embeddings)
    return "20way-1shot", settings | dict(episodes=len(stack), metric="accuracy"), accuracy


def by_shots(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
    """20-way with one, five and ten shots, 1,000 episodes of each, for methods that take long over an episode."""
    embeddings = embed_all(model, images)
    for shot in (1, 5, 10):
        settings: dict[str, Any] = dict(way=20, shot=shot, query=5, episodes=1000)
        accuracy = evaluate(model, images, **settings, seed=0, embeddings=embeddings)
        yield f"20way-{shot}shot", settings | {"metric": "accuracy"}, accuracy


def named(task: str, measure: Measure) -> Measure:
    """Measure under another name, that of a task that is not the usual one: records tell it, and so do their ids."""

    def measured(model: FewShotClassifier, images: ImageSet) -> Iterator[Result]:
        for name, settings, accuracy in measure(model, images):
            yield f"{name}-{task.replace(', ', '-').replace(' ', '-')}", settings | {"task": task}, accuracy

    return measured
