"""A step that asks no label and remembers the pictures of earlier batches: MoCo."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import whole
from fslib.devices import upload
from fslib.losses import check_above_zero
from fslib.methods import FewShotClassifier
from fslib.metrics import directions
from fslib.training.steps.augmented import Augment, check_augment
from fslib.training.steps.batch import Batch
from fslib.training.steps.two_views import check_head, two_views


class MoCo(nn.Module):
    """Momentum contrast: tell the other view of one's own picture from a queue of pictures of earlier batches.

    The query q is one view, embedded by the network; its key k₊ is the other, embedded by a slow copy of the network,
    θ_k ← m θ_k + (1 − m) θ_q. The loss is −log( exp(q·k₊/τ) / (exp(q·k₊/τ) + Σ over the queue of exp(q·k/τ)) ), with
    vectors of length one (He, Fan, Wu, Xie and Girshick, *Momentum Contrast for Unsupervised Visual Representation
    Learning*, 2020, equations 1 and 2). Keys carry no gradient. They enter the queue after the loss, and push out the
    oldest; because the copy is slow, old keys are still of use. So there are many negatives, whatever the batch.

    Three things are this step's own. The queue starts empty, and grows, and the loss with it; the paper's starts as
    noise. An earlier key of one's own picture is no negative. The length of the queue need be no multiple of the batch.

    Batch norm could tell a key by the statistics of the batch that it shares with its query. The paper shuffles keys
    among GPUs; here they are embedded in a few groups, in random order, each with its own statistics.

    Queue and slow copy are part of a checkpoint. Labels are not looked at, as in
    :class:`~fslib.training.TwoViews`.

    Args:
        model: that is trained; the slow copy starts from its weights.
        augment: called on the pictures of the batch, once for each view, as that of :class:`~fslib.training.TwoViews`.
        dim: of what is compared: of the embeddings, or of what the head makes of them.
        queue: K, how many keys are kept; at least a batch. Beside a data set of n pictures, K below n.
        momentum: m, 0 … 1.
        temperature: τ.
        head: from embeddings to what is compared, trained and left behind; it has a slow copy, too. Default, none.
        groups: in which keys are embedded; for batch norm, of several pictures each.

    Raises:
        ValueError: if a setting makes no sense; in the step, if the batch is longer than the queue, or ``dim`` is
            another.

    Example:
        >>> from fslib.augmentation import random_warp
        >>> from fslib.backbones import Conv4
        >>> from fslib.methods import PrototypicalNetwork
        >>> model = PrototypicalNetwork(Conv4())
        >>> step = MoCo(model, random_warp, dim=64, queue=1024)     # for fit(model, data, step)
    """

    queue: Tensor
    pictures: Tensor
    written: Tensor

    def __init__(
        self,
        model: FewShotClassifier,
        augment: Augment,
        dim: int = 64,
        queue: int = 1024,
        momentum: float = 0.99,
        temperature: float = 0.1,
        head: nn.Module | None = None,
        groups: int = 2,
    ):
        super().__init__()
        if not isinstance(model, FewShotClassifier):
            raise ValueError(
                f"MoCo copies the method that is trained, of fslib.methods, but got a {type(model).__name__}."
            )
        check_augment(augment)
        check_above_zero("temperature", temperature)
        self.augment, self.temperature, self.head = augment, temperature, check_head(head)
        self.groups = whole("groups", groups)
        self.slow_model, self.slow_head = SlowCopy(model, momentum), SlowCopy(self.head, momentum)
        dim, queue = whole("dim", dim), whole("queue", queue)
        self.register_buffer("queue", torch.zeros(queue, dim))
        self.register_buffer("pictures", torch.full((queue,), -1))  # of which picture of the data set each key is
        self.register_buffer("written", torch.tensor(0))  # keys so far; on the device, lest anybody wait for it

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the batch against the queue, which then takes in the batch."""
        pictures = upload(torch.cat([batch.episode.support, batch.episode.query]), batch.images.device)
        self._check(len(pictures))
        first, second = two_views(batch.images, self.augment)
        self.slow_model.follow(model)
        self.slow_head.follow(self.head)
        batch.embeddings = replace(batch, images=first).embed(model)
        queries = directions(self.head(batch.embeddings))
        keys = self.keys(batch, second)
        loss = self.loss(queries, keys, pictures)
        self.enqueue(keys, pictures)
        return loss

    @torch.no_grad()
    def keys(self, batch: Batch, images: Tensor) -> Tensor:
        """What the slow copy makes of pictures, (n, dim), of length one."""
        order = torch.randperm(len(images))
        groups = [images[upload(at, images.device)] for at in order.chunk(self.groups)]
        embeddings = [replace(batch, images=each).embed(self.slow_model.module) for each in groups]  # type: ignore[arg-type]
        keys = directions(self.slow_head.module(torch.cat(embeddings)))
        return keys[upload(order.argsort(), images.device)]

    def loss(self, queries: Tensor, keys: Tensor, pictures: Tensor) -> Tensor:
        """Cross-entropy of each query, (n, dim), for its own key among that and the queue.

        Args:
            queries: (n, dim)
            keys: (n, dim)
            pictures: of which picture of the data set they are, (n,).
        """
        if queries.shape[1] != self.queue.shape[1]:
            raise ValueError(
                f"This queue holds keys of {self.queue.shape[1]} numbers, but {queries.shape[1]} are compared; "
                f"give dim={queries.shape[1]}."
            )
        own = (queries * keys).sum(1, keepdim=True)
        others = queries @ self.queue.mT
        no_negative = (self.pictures < 0) | (self.pictures == pictures[:, None])
        scores = torch.cat([own, others], 1) / self.temperature
        scores = scores.masked_fill(F.pad(no_negative, (1, 0)), torch.finfo(scores.dtype).min)
        return F.cross_entropy(scores, torch.zeros_like(pictures))

    def enqueue(self, keys: Tensor, pictures: Tensor) -> None:
        """Let keys in, in the place of the oldest."""
        at = (self.written + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        # New tensors, since the gradient still wants the old queue.
        self.queue = self.queue.index_copy(0, at, keys.to(self.queue.dtype))
        self.pictures = self.pictures.index_copy(0, at, pictures)
        self.written = self.written + len(keys)

    def _check(self, batch: int) -> None:
        if batch > len(self.queue):
            raise ValueError(
                f"A queue of {len(self.queue)} keys is shorter than a batch of {batch}, which would push out itself; "
                f"give queue={batch} or more."
            )


class SlowCopy(nn.Module):
    """A copy of a module whose weights follow it slowly, θ ← m θ + (1 − m) θ', and are never trained.

    Batch norm of the copy has its own statistics, those of what the copy sees.

    Args:
        module: to copy.
        momentum: m, 0 … 1.
    """

    def __init__(self, module: nn.Module, momentum: float):
        super().__init__()
        if isinstance(momentum, bool | str) or not 0 <= momentum <= 1:  # so that NaN is refused too
            raise ValueError(f"The momentum is a share of the old, 0 … 1, but is {momentum!r}.")
        self.momentum = momentum
        self.module = copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """Come a step nearer."""
        for mine, its in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(its, 1 - self.momentum)
