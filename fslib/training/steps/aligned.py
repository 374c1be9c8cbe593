"""Training on one domain with an eye on another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from fslib.devices import upload
from fslib.domains.batch_norm import batch_statistics
from fslib.domains.target import Target, check_target, inputs_of
from fslib.methods import FewShotClassifier
from fslib.training.steps.batch import Batch, Loss, Step
from fslib.training.steps.plain import as_step

Alignment = Callable[[Tensor, Tensor], Tensor]


class Aligned(nn.Module):
    """The loss of a step on the source + weight · how unlike pictures of a target domain are embedded.

    Each step draws as many pictures of the target as the batch has, or all if there are fewer. Their labels are not
    looked at. The two are embedded apart, and batch norm normalises each by its own statistics; those it keeps are of
    the source alone. So with a weight of zero the training is that of the step, bit by bit, and a network trained
    so is measured on the target in the context of :func:`fslib.domains.adabn`, as it was trained.

    Alignment of all pictures of two domains means well where both hold the same classes in the same shares. Where they
    do not, it draws classes to each other that are none the same.

    Args:
        step: what to lower on the source; a step, a loss on the batch, or ``None`` for the method's own.
        target: pictures of the target, an image set or network input, (n, ...), none of which is measured on.
        alignment: of embeddings (n, d) and (m, d), as :func:`fslib.domains.coral`, :func:`fslib.domains.mmd`, or a
            :class:`fslib.domains.Adversary`, whose discriminator is trained beside the network.
        weight: of the alignment, 0 or more.

    Raises:
        ValueError: if a setting makes no sense, or the target is no domain: fewer than two pictures, or one class.

    Example:
        >>> from fslib import data, domains
        >>> seen, _ = data.halves(data.load("digits"))
        >>> step = Aligned(None, seen, domains.coral, weight=10.0)     # for fit(model, data.load("glyphs"), step)
    """

    wrapped: Step

    def __init__(self, step: Step | Loss | None, target: Target, alignment: Alignment, weight: float = 1.0):
        super().__init__()
        check_target(target)
        if not callable(alignment):
            raise ValueError(
                "An alignment is called with embeddings of the source and of the target, as fslib.domains.coral is, "
                f"but this is a {type(alignment).__name__}."
            )
        if not isinstance(weight, int | float) or not 0 <= weight < math.inf:  # nor NaN
            raise ValueError(f"The weight of an alignment is a number, 0 or more, but is {weight!r}.")
        self.wrapped, self.target, self.alignment, self.weight = as_step(step), target, alignment, weight

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the batch, with the alignment of its embeddings with those of the target."""
        own = self.wrapped.step(model, batch)
        source = batch.embed(model) if batch.embeddings is None else batch.embeddings
        chosen = torch.randperm(len(self.target))[: len(source)]
        images = upload(inputs_of(self.target, chosen), batch.images.device)
        with batch_statistics(model):
            target = replace(batch, images=images, embeddings=None, scores=None).embed(model)
        return own + self.weight * self.alignment(source, target)
