"""The loop: draw an episode, embed it, compare, and step down the loss."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from fslib.config import Settings, described
from fslib.data import ImageSet
from fslib.devices import (
    autocast,
    default_device,
    has_fast_bfloat16,
    kept_memory,
    place,
    seeded,
    upload,
)
from fslib.episodes import Episode, EpisodeSampler
from fslib.losses import ContrastiveLoss, NPairLoss, NTXentLoss, TripletLoss
from fslib.methods import FewShotClassifier
from fslib.training.checkpoint import History, Run

Augment = Callable[..., Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]

READ_EVERY = 10  # steps; to read what they came to is to wait for the device


def fit(
    model: FewShotClassifier,
    data: ImageSet,
    *,
    way: int = 20,
    shot: int = 1,
    query: int = 5,
    episodes: int = 600,
    learning_rate: float = 3e-3,
    whole_groups: bool = False,
    augment: Augment | None = None,
    objective: Objective | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    bfloat16: bool | None = None,
    checkpoint: str | Path | None = None,
    save_every: int = 100,
    progress: bool = True,
) -> History:
    """Train a model on episodes: draw one, embed it, compare, and step down the loss.

    The optimiser is Adam under a one-cycle learning rate (Smith and Topin, 2019): up to ``learning_rate`` over the
    first ninth of the episodes, then down to nothing. Images are held in ``channels_last`` order and embedded in
    bfloat16 where the device is fast at it, and so is a network that compares; distances and scores are in float32.

    Args:
        model: is moved to the device, and left there in evaluation mode, in which it answers each query on its own. It
            starts from the weights it comes with; ``torch.manual_seed`` before it is built repeats them.
        data: images of the training classes. The model sees what ``data.inputs`` makes of them.
        way: classes in an episode, at least 2.
        shot: support examples of each class.
        query: query examples of each class.
        episodes: one optimiser step each.
        learning_rate: the highest of the cycle.
        whole_groups: take the classes of an episode from few groups of the data, which
            :class:`~fslib.episodes.EpisodeSampler` explains; default, from everywhere.
        augment: called on every episode's images, (n, c, h, w), as ``augment(images, generator=generator)``; without
            the generator if it takes none, as the transforms of ``torchvision.transforms.v2``.
        objective: what to lower instead of the model's own loss on the queries. It gets the embeddings of the whole
            episode, (n, d), and the classes of these images in the data set, (n,): an episode is then a batch of
            ``way`` classes with ``shot + query`` images each. Weights of its own, if it is a module, are trained too.
        seed: of the episodes, the augmentation, and whatever the model draws.
        device: default, a GPU if there is one.
        bfloat16: embed in bfloat16; default, as the checkpoint did, else where the device multiplies it faster than
            float32.
        checkpoint: a file to save to while training. If it is there already, training goes on from it, and ends
            with the weights that an uninterrupted run would have had.
        save_every: episodes from one save to the next.
        progress: show a bar.

    Returns:
        The history of losses and accuracies.

    Raises:
        ValueError: if a setting makes no sense, there is nothing to train, the checkpoint belongs to another training,
            or the loss stops being a number.
    """
    _check(model, data, way, learning_rate, save_every, objective)
    groups = data.class_groups if whole_groups else None
    sampler = EpisodeSampler(data, way, shot, query, episodes, seed, groups)
    device = torch.device(device or default_device())
    trained: dict[str, nn.Module] = {"model": place(model, device).train()}
    if isinstance(objective, nn.Module):
        trained["objective"] = objective.to(device).train()
    optimizer, schedule = _optimizer(trained, learning_rate, episodes)
    run = Run({**trained, "optimizer": optimizer, "schedule": schedule}, checkpoint, device)
    if bfloat16 is None:
        bfloat16 = run.precision == "bfloat16" if run.precision else has_fast_bfloat16(device)
    run.history.precision = "bfloat16" if bfloat16 else "float32"
    if checkpoint:
        numbers = dict(learning_rate=learning_rate, precision=run.history.precision)
        parts = dict(groups=groups and " ".join(groups), model=model, objective=objective, augment=augment)
        run.settings = _settings(sampler, data, numbers, **parts)
    images, draw = data.to(device), _augmentation(augment, seed, device)
    targets = upload(sampler[0].query_labels, device)
    with kept_memory(), seeded(seed, device), _in_evaluation_mode_at_last(trained):
        run.resume()
        done = len(run.history.loss)
        bar = tqdm(range(done, episodes), initial=done, total=episodes, disable=not progress)
        for i in bar:
            episode = sampler[i]
            drawn = torch.cat([episode.support, episode.query])
            batch = draw(images.inputs(upload(drawn, device)), i)
            loss, scores = _loss(model, objective, batch, episode, targets, data.labels[drawn], bfloat16)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            run.note(loss, (scores.argmax(-1) == targets).float().mean())
            if i % READ_EVERY == 0 or i + 1 == episodes:
                last = run.read()
                bar.set_postfix(loss=f"{last.loss[-1]:.3f}", accuracy=f"{last.accuracy[-1]:.0%}")
            if (i + 1) % save_every == 0 or i + 1 == episodes:
                run.save()
    return run.history


def _loss(
    model: FewShotClassifier,
    objective: Objective | None,
    images: Tensor,
    episode: Episode,
    targets: Tensor,
    classes: Tensor,
    bfloat16: bool,
) -> tuple[Tensor, Tensor]:
    """What to lower on one episode, its images given support first, and the scores of its queries."""
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    with autocast(images.device, bfloat16):
        embeddings = model.embed(images)
    # What compares is not rounded, unless it is a network itself.
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    support, query = embeddings.split([len(episode.support), len(episode.query)])
    with autocast(images.device, bfloat16 and model.compares_by_network):
        if objective is None:
            loss, scores = model.episode_loss(support, episode.support_labels, query, targets)
        else:  # the scores are only to be seen
            with torch.no_grad():
                scores = model.compare(support, episode.support_labels, query)
    if objective is not None:
        loss = objective(embeddings, upload(classes, images.device))
    if not loss.requires_grad:
        raise ValueError(
            f"There is nothing to train: what {type(objective).__name__} gives carries no gradient."
            if objective is not None
            else f"There is nothing to train: the scores of {type(model).__name__} over "
            f"{type(model.feature_extractor).__name__} carry no gradient. Train the network inside another method, "
            "or with an objective."
        )
    return loss, scores


def _optimizer(trained: dict[str, nn.Module], learning_rate: float, episodes: int) -> tuple[Any, Any]:
    """Adam over all weights, and its one-cycle learning rate."""
    weights = [weight for module in trained.values() for weight in module.parameters()]
    if not weights:
        raise ValueError("There is nothing to train: neither the model nor an objective has weights.")
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        learning_rate,
        total_steps=episodes + 1,
        pct_start=0.11,  # 0.1 would divide by zero when nine episodes are asked for
        cycle_momentum=False,
    )
    return optimizer, schedule


def _augmentation(
    augment: Augment | None, seed: int, device: torch.device
) -> Callable[[Tensor, int], Tensor]:
    """The augmentation as a function of the images and the number of their episode."""
    if augment is None:
        return lambda images, i: images
    call = augment.forward if isinstance(augment, nn.Module) else augment
    parameters = inspect.signature(call).parameters
    if "generator" not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return lambda images, i: augment(images)

    def drawn(images: Tensor, i: int) -> Tensor:
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + i)
        return augment(images, generator=generator)

    return drawn


def _settings(sampler: EpisodeSampler, data: ImageSet, numbers: dict[str, Any], **parts: Any) -> Settings:
    """All that decides a training, but the weights it starts from."""
    drawn = ("way", "shot", "query", "episodes", "seed")
    settings = {name: str(getattr(sampler, name)) for name in drawn}
    settings |= {name: str(number) for name, number in numbers.items()}
    settings |= {"optimizer": "Adam, one cycle"}
    for name, part in dict(data=data, **parts).items():
        settings |= described(name, part)
    return settings


@contextmanager
def _in_evaluation_mode_at_last(trained: dict[str, nn.Module]) -> Iterator[None]:
    """However the training ends, its models answer each query on its own afterwards."""
    try:
        yield
    finally:
        for module in trained.values():
            module.eval()


def _check(
    model: FewShotClassifier,
    data: ImageSet,
    way: int,
    learning_rate: float,
    save_every: int,
    objective: Objective | None,
) -> None:
    """Raise unless the settings that nobody else checks make sense."""
    if not isinstance(model, FewShotClassifier):
        raise ValueError(
            f"fit trains a method of fslib.methods over a network, but got a {type(model).__name__}; "
            "methods.PrototypicalNetwork(network) makes one."
        )
    if way == 1:
        raise ValueError("With one class every answer is right; way must be at least 2.")
    if not 0 < learning_rate < math.inf:  # so that NaN is refused too
        raise ValueError(f"learning_rate must be above zero and finite, but is {learning_rate}.")
    if not isinstance(save_every, int) or save_every < 1:
        raise ValueError(f"save_every must be a whole number, at least 1, but is {save_every}.")
    if isinstance(objective, ContrastiveLoss | TripletLoss | NPairLoss | NTXentLoss):
        raise ValueError(
            f"An objective is called with the embeddings of a batch and their classes, but {type(objective).__name__} "
            "takes pairs or triplets; the functions of fslib.objectives choose them from a batch."
        )
    classes = getattr(objective, "classes", None)
    if isinstance(classes, int) and classes < len(data.class_names):
        raise ValueError(
            f"{type(objective).__name__} is for {classes} classes, but {data.name} has {len(data.class_names)}."
        )
