"""Training with a teacher."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from fslib import distillation
from fslib.config import weights_digest
from fslib.devices import device_of, to_device, upload
from fslib.losses import check_above_zero
from fslib.methods import FewShotClassifier
from fslib.training.steps.batch import Batch, Loss, Step
from fslib.training.steps.plain import as_step


class Distilled(nn.Module):
    """Distillation: (1 − weight) · the loss of a step + weight · what the student has still to learn of a teacher.

    The teacher is any trained method, of another size, an ensemble, one that looks at each picture several times; it
    sees the images that the student sees, augmented and mixed as they are. The step keeps a copy of it that stays in
    evaluation mode, is not trained, and is moved to the device of the batch. Its weights count among what decides a
    training, so that a checkpoint is refused to another teacher.

    Args:
        step: what to lower beside; a step, a loss on the batch, or ``None`` for the method's own.
        teacher: a method of :mod:`fslib.methods`, trained.
        by: what the student is given: ``"scores"`` of the queries over the classes of the episode
            (:func:`fslib.distillation.soft_targets`), ``"embeddings"`` of all images, of the same dimension
            (:func:`~fslib.distillation.embeddings`), or their ``"relations"`` (:func:`~fslib.distillation.relations`).
        weight: of the teacher, 0 … 1.
        temperature: of the scores.
        remembered: what the teacher makes of each image of the data set, (images, d), as
            :func:`fslib.evaluation.embed_all` gives it, for a teacher that is slow to ask. These are its answers to the
            images as they are, also where the student's are warped, which then teaches the student to see through the
            warp; not for images that are mixed.

    Raises:
        ValueError: if a setting makes no sense; in the step, if teacher and student do not go together, or the teacher
            remembers fewer images than there are.

    Example:
        >>> from fslib.backbones import Conv4, Ensemble
        >>> from fslib.losses import SupConLoss
        >>> from fslib.methods import PrototypicalNetwork
        >>> teacher = PrototypicalNetwork(Ensemble([Conv4(64), Conv4(64)]))     # trained, of course
        >>> step = Distilled(SupConLoss(), teacher, by="relations")
        >>> len(list(step.parameters()))     # the teacher's are not trained
        0
    """

    wrapped: Step

    def __init__(
        self,
        step: Step | Loss | None,
        teacher: FewShotClassifier,
        by: Literal["scores", "embeddings", "relations"] = "scores",
        weight: float = 0.5,
        temperature: float = 4.0,
        remembered: Tensor | None = None,
    ):
        super().__init__()
        if not isinstance(teacher, FewShotClassifier):
            raise ValueError(
                f"A teacher is a method of fslib.methods over a trained network, but got a {type(teacher).__name__}; "
                "methods.PrototypicalNetwork(network) makes one."
            )
        if by not in ("scores", "embeddings", "relations"):
            raise ValueError(f'by must be "scores", "embeddings" or "relations", but is {by!r}.')
        if not 0 <= weight <= 1:  # so that NaN is refused too
            raise ValueError(f"The weight of the teacher is between 0 and 1, but is {weight}.")
        check_above_zero("temperature", temperature)
        if remembered is not None and (remembered.ndim != 2 or not remembered.is_floating_point()):
            raise ValueError(
                "A teacher remembers an embedding for each image, floats (images, d), but this is "
                f"{remembered.dtype} {tuple(remembered.shape)}."
            )
        self.wrapped, self.teacher = as_step(step), _Teacher(teacher)
        self.by, self.weight, self.temperature, self.remembered = by, weight, temperature, remembered

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the batch, the teacher's part in it."""
        own = self.wrapped.step(model, batch)
        told = self._told(batch)
        if self.by == "scores":
            learned = distillation.soft_targets(batch.compare(model), told, self.temperature)
        else:
            loss = distillation.embeddings if self.by == "embeddings" else distillation.relations
            learned = loss(batch.embed(model) if batch.embeddings is None else batch.embeddings, told)
        if torch.is_grad_enabled() and not learned.requires_grad:
            raise ValueError(
                f"No {self.by} can be taught to {type(model).__name__} over "
                f"{type(model.feature_extractor).__name__}: they carry no gradient."
            )
        return (1 - self.weight) * own + self.weight * learned

    @torch.no_grad()
    def _told(self, batch: Batch) -> Tensor:
        """What the teacher says of a batch: scores of the queries, or embeddings of all images."""
        teacher = self.teacher.on(batch.images.device)
        asked = replace(batch, embeddings=self._recalled(batch), scores=None)
        if self.by == "scores":
            return asked.compare(teacher)
        return asked.embed(teacher) if asked.embeddings is None else asked.embeddings

    def _recalled(self, batch: Batch) -> Tensor | None:
        """The embeddings of a batch that the teacher remembers, if it does."""
        if self.remembered is None:
            return None
        drawn = torch.cat([batch.episode.support, batch.episode.query])
        if drawn.max() >= len(self.remembered):
            raise ValueError(
                f"The teacher remembers {len(self.remembered)} images, but is asked of image {int(drawn.max())}; it "
                "must have seen those that are trained on."
            )
        return upload(self.remembered[drawn.to(self.remembered.device)], batch.images.device)


class _Teacher:
    """A copy of a classifier that is asked and never trained. It is no module, lest a step train it among its own."""

    def __init__(self, model: FewShotClassifier):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    def on(self, device: torch.device) -> FewShotClassifier:
        """The classifier, on a device."""
        if device_of(self.model) not in (device, None):
            to_device(self.model, device)
        return self.model

    @property
    def digest(self) -> str:
        """First digits of a hash of all weights, by which a training with another teacher is told."""
        return weights_digest(self.model)
