"""One short loop that trains any method on episodes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from fslib import files
from fslib.data import ImageSet, to_input
from fslib.devices import autocast, default_device, kept_memory, place
from fslib.episodes import Episode, EpisodeSampler
from fslib.methods import FewShotClassifier

Augment = Callable[..., Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]


@dataclass
class History:
    """What happened in training: one entry an episode.

    Attributes:
        loss: of each episode.
        accuracy: fraction of its queries that were right.
        seconds: time spent in the loop, all runs of a resumed training together.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0


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
    bfloat16 where the device is fast at it, and so is a network that compares; distances stay in float32.

    Args:
        model: is moved to the device and left in training mode.
        data: images of the training classes.
        way: classes in an episode.
        shot: support examples of each class.
        query: query examples of each class.
        episodes: one optimiser step each.
        learning_rate: the highest of the cycle.
        whole_groups: take the classes of an episode from few groups of the data, which
            :class:`~fslib.episodes.EpisodeSampler` explains; default, from everywhere.
        augment: called as ``augment(images, generator=generator)`` on every episode's images.
        objective: what to lower instead of the model's own loss on the queries. It gets the embeddings of the whole
            episode, (n, d), and the classes of these images in the data set, (n,): an episode is then a batch of
            ``way`` classes with ``shot + query`` images each. Weights of its own, if it is a module, are trained too.
        seed: of the episodes, the augmentation, and whatever the model draws.
        device: default, a GPU if there is one.
        bfloat16: embed in bfloat16; default, where the device multiplies it faster than float32.
        checkpoint: a file to save to while training. If it is there already, training goes on from it, and ends
            with the weights that an uninterrupted run would have had.
        save_every: episodes from one save to the next.
        progress: show a bar.

    Returns:
        The history of losses and accuracies.

    Raises:
        ValueError: if the checkpoint belongs to other settings, or the loss stops being a number.
    """
    device = torch.device(device or default_device())
    place(model, device).train()
    images = data.images.to(device)
    groups = data.class_groups if whole_groups else None
    sampler = EpisodeSampler(data, way, shot, query, episodes, seed, groups)
    trained: dict[str, nn.Module] = {"model": model}
    if isinstance(objective, nn.Module):
        trained["objective"] = objective.to(device).train()
    weights = [weight for module in trained.values() for weight in module.parameters()]
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        learning_rate,
        total_steps=episodes + 1,
        pct_start=0.11,  # 0.1 would divide by zero when nine episodes are asked for
        cycle_momentum=False,
    )
    settings = dict(
        data=data.name,
        way=way,
        shot=shot,
        query=query,
        episodes=episodes,
        learning_rate=learning_rate,
        **({"whole_groups": True} if whole_groups else {}),
        augment=_name(augment),
        objective=_name(objective),
        seed=seed,
    )
    history = History()
    state = {**trained, "optimizer": optimizer, "schedule": schedule}
    with kept_memory(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if checkpoint and Path(checkpoint).exists():
            history = _restore(Path(checkpoint), settings, state)
        before, start = history.seconds, time.perf_counter()
        bar = tqdm(
            range(len(history.loss), episodes),
            initial=len(history.loss),
            total=episodes,
            disable=not progress,
        )
        for i in bar:
            episode = sampler[i]
            drawn = torch.cat([episode.support, episode.query])
            batch = to_input(images[drawn.to(device)])
            if augment:
                batch = augment(
                    batch, generator=torch.Generator(device).manual_seed(seed * 1_000_003 + i)
                )
            embeddings, loss, accuracy = _answer(model, batch, episode, bfloat16)
            if objective:
                loss = objective(embeddings, data.labels[drawn].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            history.loss.append(loss.item())
            history.accuracy.append(accuracy.item())
            history.seconds = before + time.perf_counter() - start
            if not loss.isfinite():
                raise ValueError(
                    f"The loss became {loss.item()} at episode {i}; lower the learning rate."
                )
            if checkpoint and ((i + 1) % save_every == 0 or i + 1 == episodes):
                _save(Path(checkpoint), settings, state, history)
            if i % 10 == 0:
                bar.set_postfix(
                    loss=f"{history.loss[-1]:.3f}", accuracy=f"{history.accuracy[-1]:.0%}"
                )
    return history


def _name(function: Callable | None) -> str | None:
    """What a checkpoint calls an augmentation or an objective, the same in every process."""
    if isinstance(function, functools.partial):
        return f"{_name(function.func)}{function.args}{function.keywords}"
    return (
        None if function is None else getattr(function, "__qualname__", type(function).__qualname__)
    )


def _answer(
    model: FewShotClassifier, images: Tensor, episode: Episode, bfloat16: bool | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of one episode, its images given support first, and the loss and accuracy of its queries."""
    with autocast(images.device, bfloat16):
        embeddings = model.embed(images.contiguous(memory_format=torch.channels_last))
        support, query = embeddings.split([len(episode.support), len(episode.query)])
        scores = model.compare(support, episode.support_labels.to(images.device), query)
    targets = episode.query_labels.to(images.device)
    accuracy = (scores.argmax(-1) == targets).float().mean()
    return embeddings, model.loss(scores, targets), accuracy


def _save(path: Path, settings: dict[str, Any], state: dict[str, Any], history: History) -> None:
    saved = {name: part.state_dict() for name, part in state.items()}
    saved |= {"settings": settings, "history": vars(history), "random": torch.get_rng_state()}
    with files.atomic_write(path) as temporary:
        torch.save(saved, temporary)


def _restore(path: Path, settings: dict[str, Any], state: dict[str, Any]) -> History:
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
        was = saved["settings"]
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint that can be read; delete it to start anew."
        ) from error
    if differs := [
        f"{key} was {was.get(key)} and is now {settings[key]}"
        for key in settings
        if was.get(key) != settings[key]
    ]:
        raise ValueError(
            f"{path} belongs to another training ({', '.join(differs)}); delete it, or choose another file."
        )
    try:
        for name, part in state.items():
            part.load_state_dict(saved[name])
    except RuntimeError as error:
        raise ValueError(f"{path} belongs to another network; choose another file.") from error
    torch.set_rng_state(saved["random"])
    return History(**saved["history"])
