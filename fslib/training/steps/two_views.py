"""A step that asks no label: two views of a picture belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from fslib.losses import NTXentLoss
from fslib.methods import FewShotClassifier
from fslib.training.steps.augmented import Augment, augmented, check_augment
from fslib.training.steps.batch import Batch


class TwoViews(nn.Module):
    """Contrastive learning without labels: two augmented views of every picture of a batch, and a loss on both.

    With :class:`fslib.losses.NTXentLoss` it is SimCLR (Chen, Kornblith, Norouzi and Hinton, *A Simple Framework for
    Contrastive Learning of Visual Representations*, 2020): tell the other view of one's own picture from all other
    pictures. What an augmentation changes, the embedding learns to overlook. All views go through the network in one
    batch, and share its batch-norm statistics.

    Labels are not looked at; but the batches of :func:`fslib.training.fit` are drawn class by class, and a picture of
    one's own class counts as another picture. :func:`fslib.clustering.at_random` makes a data set of which batches are
    drawn from everywhere. The accuracies in the history are those of the first views, in the episodes of the batch.

    Args:
        augment: called on the pictures of the batch, once for each view, as the ``augment`` of ``fit`` is, but that it
            draws from PyTorch's own generators, which ``fit`` seeds.
        loss: of the embeddings of both views, (n, d) each; default, ``NTXentLoss()``.
        head: from embeddings to what is compared, (m, d) → (m, any dimension). It is trained, and left behind: SimCLR's
            is a perceptron of one hidden layer. Default, none.

    Example:
        >>> from fslib.augmentation import random_warp
        >>> head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
        >>> step = TwoViews(random_warp, NTXentLoss(0.1), head)     # for fit(model, data, step)
    """

    def __init__(
        self,
        augment: Augment,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        head: nn.Module | None = None,
    ):
        super().__init__()
        check_augment(augment)
        if loss is not None and not callable(loss):
            raise ValueError(f"A loss of two views is called with the embeddings of both, but this is {loss!r}.")
        self.augment, self.loss = augment, loss or NTXentLoss()
        self.head = check_head(head)

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of two views of each picture."""
        views = replace(batch, images=torch.cat(two_views(batch.images, self.augment)))
        embeddings = views.embed(model)
        batch.embeddings = embeddings.chunk(2)[0]
        return self.loss(*self.head(embeddings).chunk(2))


def two_views(images: Tensor, augment: Augment) -> tuple[Tensor, Tensor]:
    """Two views of pictures, each with its own draws.

    Raises:
        ValueError: unless both are of one shape.
    """
    first, second = augmented(images, augment, None), augmented(images, augment, None)
    if first.shape != second.shape:
        raise ValueError(
            f"Two views are pictures of one shape, but {augment} gave {tuple(first.shape)} and {tuple(second.shape)}."
        )
    return first, second


def check_head(head: nn.Module | None) -> nn.Module:
    """The head, or none that does anything."""
    if head is not None and not isinstance(head, nn.Module):
        raise ValueError(f"A head is a module from embeddings to what is compared, but this is {head!r}.")
    return nn.Identity() if head is None else head
