"""Training on mixtures of two pictures with two labels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Beta

from fslib import augmentation
from fslib.devices import upload
from fslib.losses import check_above_zero
from fslib.methods import FewShotClassifier
from fslib.training.steps.batch import Batch, Loss, Step
from fslib.training.steps.plain import Episodic, OnBatch, as_step


class Mixed(nn.Module):
    """MixUp (Zhang et al., 2018) or CutMix (Yun et al., 2019): pictures of two classes, and the loss for both.

    λ ~ Beta(α, α), one for the batch, is the share of the picture itself; with CutMix, λ is then what is left of its
    area. The loss is λ·ℓ(labels) + (1 − λ)·ℓ(labels of the partners). For a cross-entropy it is that of soft labels,
    since the cross-entropy is linear in them. A partner is any picture of the batch, by a random permutation; the next
    one would most often be of the same class, since batches are sorted by class.

    With a loss on the batch all pictures are mixed. It must be one with a weight vector for each class, such as
    :class:`~fslib.losses.SoftmaxLoss`: one that compares pictures asks which are of one class, and a mixture is of two.
    With the method's own loss, the queries are mixed among themselves, and the support set is left as it is. The
    accuracies in the history are those of mixtures under the first of their labels, and so far below 1.

    Args:
        step: a loss on the batch, or ``None`` for the method's own. Other steps may be wrapped around this one.
        how: ``"mixup"`` or ``"cutmix"``.
        alpha: α. At 1 all shares are as likely; the smaller, the more mixtures are nearly one picture.

    Raises:
        ValueError: if a setting makes no sense, or the loss compares pictures; in the step, if there is one picture.
    """

    wrapped: Episodic | OnBatch

    def __init__(
        self,
        step: Step | Loss | None = None,
        how: Literal["mixup", "cutmix"] = "mixup",
        alpha: float = 1.0,
    ):
        super().__init__()
        if how not in ("mixup", "cutmix"):
            raise ValueError(f'how must be "mixup" or "cutmix", but is {how!r}.')
        check_above_zero("alpha", alpha)
        self.wrapped, self.how, self.alpha = _check(as_step(step)), how, alpha

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the batch, mixed."""
        of_queries = isinstance(self.wrapped, Episodic)
        first = len(batch.episode.support) if of_queries else 0
        kept, mixed = batch.images[:first], batch.images[first:]
        if len(mixed) < 2:
            raise ValueError(f"A mixture is of two pictures, but there is {len(mixed)} to mix.")
        partner = torch.randperm(len(mixed))
        mixed, share = self._mixture(mixed, partner)
        batch.images = torch.cat([kept, mixed])
        losses = self._of_queries if of_queries else self._of_batch
        own, other = losses(model, batch, partner)
        return share * own + (1 - share) * other

    def _mixture(self, images: Tensor, partner: Tensor) -> tuple[Tensor, float]:
        """Mixtures, and the share of the picture itself in each."""
        share = Beta(self.alpha, self.alpha).sample().item()
        if self.how == "mixup":
            return augmentation.mixup(images, partner, share), share
        box = augmentation.random_box(images, share)
        return augmentation.cutmix(images, partner, box), augmentation.kept_share(images, box)

    def _of_queries(
        self, model: FewShotClassifier, batch: Batch, partner: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The method's loss under the labels of the queries, and under those of their partners."""
        support, labels, query = batch.sides(model)
        targets = batch.episode.query_labels
        with batch.comparing(model):
            own, batch.scores = model.episode_loss(support, labels, query, targets)
            other, _ = model.episode_loss(support, labels, query, targets[partner])
        return own, other

    def _of_batch(
        self, model: FewShotClassifier, batch: Batch, partner: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss under the labels of the pictures, and under those of their partners."""
        embeddings, labels = batch.embed(model), batch.labels
        own, other = (
            self.wrapped.loss(embeddings, upload(each, embeddings.device))  # type: ignore[union-attr]
            for each in (labels, labels[partner])
        )
        return own, other


def _check(step: Step) -> Episodic | OnBatch:
    """The step, if mixtures mean something to it."""
    if isinstance(step, Episodic) or (isinstance(step, OnBatch) and hasattr(step.loss, "classes")):
        return step
    of = step.loss if isinstance(step, OnBatch) else step
    name = getattr(of, "__name__", type(of).__name__)
    raise ValueError(
        "A mixture has two labels, for a loss with a weight vector for each class, such as SoftmaxLoss, or a method's "
        f"own loss on its queries; {name} is neither."
    )
