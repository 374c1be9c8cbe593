"""The loop: draw a batch, step down its loss, save."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fslib.config import Settings, described
from fslib.data import ImageSet
from fslib.deprecation import renamed
from fslib.devices import (
    default_device,
    has_fast_bfloat16,
    kept_memory,
    known_device,
    seeded,
    to_device,
    upload,
)
from fslib.episodes import EpisodeSampler
from fslib.methods import FewShotClassifier
from fslib.training.batches import Batches
from fslib.training.checkpoint import History, Run
from fslib.training.steps import Augment, Batch, Episodic, Loss, OnBatch, Step, as_step, innermost


@renamed(objective="step")
def fit(
    model: FewShotClassifier,
    data: ImageSet,
    step: Step | Loss | None = None,
    *,
    way: int = 20,
    shot: int = 1,
    query: int = 5,
    episodes: int = 600,
    learning_rate: float = 3e-3,
    whole_groups: bool = False,
    augment: Augment | None = None,
    optimizer: Callable[[list[nn.Parameter], float], Optimizer] | None = None,
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    bfloat16: bool | None = None,
    checkpoint: str | Path | None = None,
    save_every: int = 100,
    progress: bool = True,
) -> History:
    """Train a model: draw an episode, step down what the step lowers, save.

    By default that is the method's own loss on the queries, and the optimiser is Adam under a one-cycle learning rate
    (Smith and Topin, 2019). Images are held in ``channels_last`` order and embedded in bfloat16 where the device is
    fast at it, and so is a network that compares; distances and scores are in float32.

    Args:
        model: is moved to the device, and left there in evaluation mode, in which it answers each query on its own. It
            starts from the weights it comes with; ``torch.manual_seed`` before it is built repeats them.
        data: images of the training classes. The model sees what ``data.inputs`` makes of them.
        step: what to lower; default, :class:`Episodic`, the method's own loss. A loss, or any function of embeddings
            (n, d) and classes (n,), is lowered :class:`OnBatch`. :class:`Distilled`, :class:`Mixed` and
            :class:`Augmented` wrap another step.
        way: classes in an episode, at least 2.
        shot: support examples of each class.
        query: query examples of each class. A step on the batch sees ``shot + query`` images of each class.
        episodes: one optimiser step each.
        learning_rate: the highest of the cycle.
        whole_groups: take the classes of an episode from few groups of the data, which
            :class:`~fslib.episodes.EpisodeSampler` explains; default, from everywhere.
        augment: called on every episode's images, (n, c, h, w), as ``augment(images, generator=generator)``; without
            the generator if it takes none, as the transforms of ``torchvision.transforms.v2``.
        optimizer: makes one of the weights and the learning rate, as ``torch.optim.AdamW`` does; default, Adam. Further
            settings, such as weight decay, are given beforehand:
            ``functools.partial(torch.optim.AdamW, weight_decay=0.05)``.
        schedule: makes one of the optimiser and the number of steps; default, :func:`one_cycle`.
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
    step = as_step(step)
    _check(model, data, way, learning_rate, step)
    groups = data.class_groups if whole_groups else None
    sampler = EpisodeSampler(data, way, shot, query, episodes, seed, groups)
    device = known_device(device) or default_device()
    trained = _placed({"model": model, "step": step}, device)
    weights = list(dict.fromkeys(w for module in trained.values() for w in module.parameters()))
    if not weights:
        raise ValueError("There is nothing to train: neither the model nor the step has weights.")
    descent = (optimizer or torch.optim.Adam)(weights, learning_rate)
    rate = (schedule or one_cycle)(descent, episodes)
    run = Run({**trained, "optimizer": descent, "schedule": rate}, checkpoint, device, save_every)
    if bfloat16 is None:
        bfloat16 = run.precision == "bfloat16" if run.precision else has_fast_bfloat16(device)
    run.history.precision = "bfloat16" if bfloat16 else "float32"
    if checkpoint:
        numbers = dict(learning_rate=learning_rate, precision=run.history.precision)
        how = dict(optimizer=optimizer, schedule=schedule, augment=augment)
        run.settings = _settings(sampler, numbers, data=data, groups=groups, model=model, step=step, **how)
    batches = Batches(data, sampler, augment, device, bfloat16)
    with kept_memory(), seeded(seed, device), _training_mode(trained):
        run.resume()
        for i in run.steps(episodes, progress):
            batch = batches[i]
            loss = _lowered(step.step(model, batch), model, step)
            descent.zero_grad()
            loss.backward()
            descent.step()
            rate.step()
            run.note(loss, _accuracy(model, batch))
    return run.history


def one_cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Up to the optimiser's learning rate over the first ninth of the steps, then down to nothing."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        optimizer.defaults["lr"],
        total_steps=steps + 1,
        pct_start=0.11,  # 0.1 would divide by zero when nine steps are asked for
        cycle_momentum=False,
    )


@torch.no_grad()
def _accuracy(model: FewShotClassifier, batch: Batch) -> Tensor:
    """The share of the queries that are right, on the device, of scores that the step had or that are made now."""
    scores = batch.compare(model)
    targets = upload(batch.episode.query_labels, scores.device)
    return (scores.argmax(-1) == targets).float().mean()


def _lowered(loss: Any, model: FewShotClassifier, step: Step) -> Tensor:
    """The loss, if it is one number with a gradient."""
    plain = innermost(step)
    name = type(plain.loss).__name__ if isinstance(plain, OnBatch) else type(plain).__name__
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"A loss is one number in a tensor, but {name} gave one of {what}.")
    if loss.requires_grad:
        return loss.squeeze()
    if not isinstance(plain, Episodic):
        raise ValueError(f"There is nothing to train: what {name} gives carries no gradient.")
    raise ValueError(
        f"There is nothing to train: the scores of {type(model).__name__} over "
        f"{type(model.feature_extractor).__name__} carry no gradient. Train the network inside another method, or with "
        "a step on the batch."
    )


def _settings(sampler: EpisodeSampler, numbers: Mapping[str, Any], **parts: Any) -> Settings:
    """All that decides a training, but the weights it starts from."""
    drawn = ("way", "shot", "query", "episodes", "seed")
    settings = {name: str(getattr(sampler, name)) for name in drawn}
    settings |= {name: str(number) for name, number in numbers.items()}
    for name, part in parts.items():
        settings |= described(name, part)
    return settings


def _placed(parts: Mapping[str, Any], device: torch.device) -> dict[str, nn.Module]:
    """Those parts that are modules, on the device."""
    return {name: to_device(part, device) for name, part in parts.items() if isinstance(part, nn.Module)}


@contextmanager
def _training_mode(trained: Mapping[str, nn.Module]) -> Iterator[None]:
    """Training mode; and however the training ends, its models answer each query on its own afterwards."""
    try:
        for module in trained.values():
            module.train()
        yield
    finally:
        for module in trained.values():
            module.eval()


def _check(
    model: FewShotClassifier, data: ImageSet, way: int, learning_rate: float, step: Step
) -> None:
    """Raise unless the settings that nobody else checks make sense."""
    if not isinstance(model, FewShotClassifier):
        raise ValueError(
            f"fit trains a method of fslib.methods over a network, but got a {type(model).__name__}; "
            "methods.PrototypicalNetwork(network) makes one."
        )
    if way == 1:
        raise ValueError("With one class every answer is right; way must be at least 2.")
    if not isinstance(data, ImageSet):
        raise ValueError(
            f"fit trains on an ImageSet, as fslib.data.load gives, but got a {type(data).__name__}."
        )
    if not isinstance(learning_rate, int | float) or not 0 < learning_rate < math.inf:  # nor NaN
        raise ValueError(f"learning_rate must be above zero and finite, but is {learning_rate!r}.")
    loss = getattr(innermost(step), "loss", None)
    classes = getattr(loss, "classes", None)
    if isinstance(classes, int) and classes < len(data.class_names):
        raise ValueError(
            f"{type(loss).__name__} is for {classes} classes, but {data.name} has {len(data.class_names)}."
        )
