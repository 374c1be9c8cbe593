"""Augmentation of a part of a batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fslib.devices import upload
from fslib.labels import as_labels
from fslib.methods import FewShotClassifier
from fslib.training.steps.batch import Batch, Loss, Step
from fslib.training.steps.plain import as_step

Augment = Callable[..., Tensor]


class Augmented(nn.Module):
    """A step on a batch of which only a part is augmented: one side of the episodes, or all but some classes.

    In episodes, to augment the support set is one thing, and to augment the queries another (Ni et al., 2021). And what
    is no augmentation for some classes, as a mirror that makes q of p, can be kept from them. Where a map is to make a
    new class, alike in support set and queries, :meth:`fslib.data.ImageSet.with_new_classes` makes it beforehand. All
    pictures alike are augmented by the ``augment`` of :func:`fslib.training.fit`.

    Args:
        step: what to lower; a step, a loss on the batch, or ``None`` for the method's own.
        augment: called on the images of that part, as the ``augment`` of :func:`fslib.training.fit` is, but that it
            draws from PyTorch's own generators, which ``fit`` seeds.
        of: ``"support"``, ``"queries"`` or ``"both"``.
        but: numbers of classes in the data set whose pictures are left as they are.

    Raises:
        ValueError: if there is no such part, or, in the step, ``augment`` gives anything but floats of the shape of
            what it got.
    """

    wrapped: Step

    def __init__(
        self,
        step: Step | Loss | None,
        augment: Augment,
        of: Literal["support", "queries", "both"] = "both",
        but: Sequence[int] = (),
    ):
        super().__init__()
        check_augment(augment)
        if of not in ("support", "queries", "both"):
            raise ValueError(f'What is augmented is of="support", "queries" or "both", not {of!r}.')
        self.wrapped, self.augment, self.of = as_step(step), augment, of
        self.but = as_labels(list(but), names=False).tolist()

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the batch, a part of it augmented."""
        chosen = ~torch.isin(batch.labels, torch.tensor(self.but, dtype=torch.long))
        support = len(batch.episode.support)
        if self.of == "support":
            chosen[support:] = False
        elif self.of == "queries":
            chosen[:support] = False
        if chosen.any():  # labels lie on the CPU, so nothing waits
            at = upload(chosen.nonzero()[:, 0], batch.images.device)
            part = batch.images[at]
            new = augmented(part, self.augment, None)
            if new.shape != part.shape:
                raise ValueError(
                    f"An augmentation of a part of a batch keeps the shape of its pictures, {tuple(part.shape[1:])}, "
                    f"but {self.augment} gave {tuple(new.shape[1:])}."
                )
            batch.images = batch.images.index_copy(0, at, new.to(part.dtype))
        return self.wrapped.step(model, batch)


def augmented(images: Tensor, augment: Augment, generator: torch.Generator | None) -> Tensor:
    """What an augmentation makes of images, given a generator if it takes one.

    Raises:
        ValueError: unless it gives floats, as many images as it got.
    """
    new = augment(images, generator=generator) if _takes_generator(augment) else augment(images)
    if isinstance(new, Tensor) and len(new) == len(images) and new.is_floating_point():
        return new
    what = f"{new.dtype} {tuple(new.shape)}" if isinstance(new, Tensor) else type(new).__name__
    raise ValueError(
        f"An augmentation gives as many images as it gets, here {len(images)}, as floats, but {augment} gave {what}."
    )


def check_augment(augment: Any) -> None:
    """Raise unless this can be called with images."""
    if not callable(augment):
        raise ValueError(f"An augmentation is called with images, but this is {augment!r}.")


def _takes_generator(augment: Augment) -> bool:
    """Whether a function has an argument ``generator``; the transforms of torchvision have none."""
    try:
        call = augment.forward if isinstance(augment, nn.Module) else augment
        parameters = inspect.signature(call).parameters
    except ValueError:  # a function built into PyTorch
        return False
    return "generator" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
