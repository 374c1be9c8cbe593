"""What all methods share: embed, then compare."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import Configured
from fslib.deprecation import renamed_in
from fslib.devices import device_of, upload
from fslib.labels import as_labels


class FewShotClassifier(Configured, nn.Module):
    """Embed images without knowing the task; compare queries with a support set.

    A method is a subclass that writes :meth:`compare`, and keeps each of its arguments in an attribute of that name.
    Because :meth:`embed` knows no task, an evaluation embeds every image once and compares thousands of episodes in a
    few tensor operations.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d). Feature maps are flattened.

    Attributes:
        transductive: whether the answer to a query depends on the other queries of its episode. Results say so.
        uses_unlabelled: whether :meth:`compare` takes an unlabelled set too, as ``unlabelled=`` (..., u, d).
        reads_in_order: whether the answer depends on the order in which the support set is given.
        compares_by_network: whether a network compares, which training may run in bfloat16; anything else that
            compares is given float32.
        knows_classes: whether evaluation tells ``compare`` which classes of the data set its columns are, as
            ``classes``, (..., classes), so that it finds what is known of them beforehand.
    """

    transductive = False
    uses_unlabelled = False
    reads_in_order = False
    compares_by_network = False
    knows_classes = False

    def __init__(self, feature_extractor: nn.Module):
        super().__init__()
        if not isinstance(feature_extractor, nn.Module):
            raise ValueError(
                "A method is built over a network, a module from images to embeddings, "
                f"but got a {type(feature_extractor).__name__}."
            )
        self.feature_extractor = feature_extractor

    def embed(self, images: Tensor) -> Tensor:
        """Embed images, (n, ...) → (n, d), each on its own, on the device of the model."""
        check_images(images)
        return vectors(self.feature_extractor(self._here(images)))

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Score embedded queries against an embedded support set, for any number of leading episode axes.

        Args:
            support: (..., n, d)
            support_labels: (n,) where all episodes share them, else (..., n); any distinct integers, or names. On the
                CPU they cost no waiting, wherever the embeddings are.
            query: (..., m, d)

        Returns:
            Scores, higher is closer, shape (..., m, classes), columns in the order of the sorted labels.
        """
        raise NotImplementedError

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of scores (..., m, classes) against target columns (m,) or (..., m): cross-entropy."""
        targets = upload(targets, scores.device).expand(scores.shape[:-1])
        return F.cross_entropy(scores.flatten(0, -2), targets.flatten())

    def episode_loss(
        self, support: Tensor, support_labels: Tensor, query: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss of embedded episodes and the scores of their queries, as training wants them.

        A method whose loss keeps more digits of something else than the scores computes both from that.
        """
        scores = self.compare(support, support_labels, query)
        return self.loss(scores, targets), scores

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time.

        An evaluation compares as many episodes at once as fit into its memory by this count. Here it is gathered
        embeddings of ``dim`` numbers, their copies, and scores.
        """
        return 3 * way * (shot + query) * dim + 4 * way * query * way

    def forward(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Embed both sets of images in one batch, then compare.

        One batch matters in training: batch norm sees the whole episode instead of a handful of support images.

        Args:
            support: images (n, ...), on any device
            support_labels: (n,), any distinct integers or names
            query: images (m, ...), on any device

        Returns:
            Scores (m, classes), columns in the order of the sorted distinct labels, on the device of the model.

        Raises:
            ValueError: on images that do not match, labels that are not one integer or name an image, or embeddings
                that are not finite.
        """
        labels, support, query = self._embedded(support_labels, support, query=query)
        return self.compare(support, labels, query)

    def _embedded(self, labels: Any, support: Tensor, **others: Tensor) -> tuple[Tensor, ...]:
        """The labels, and embeddings of the support set and of others, all of them embedded in one batch."""
        for images in (support, *others.values()):
            check_images(images)
        for name, images in others.items():
            if support.shape[1:] != images.shape[1:]:
                raise ValueError(
                    f"Support and {name} images must have the same shape, "
                    f"but are {tuple(support.shape[1:])} and {tuple(images.shape[1:])}."
                )
        labels = check_labels(labels, len(support), axes=1)
        sides = [self._here(images) for images in (support, *others.values())]
        embeddings = check_finite(self.embed(torch.cat(sides)))
        return labels, *embeddings.split([len(side) for side in sides])

    def _ready(
        self, support: Tensor, support_labels: Any, query: Tensor, axes: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Both sets on the device of the model, and labels that are one a support example.

        An embedding has one axis, or, as feature maps, three.
        """
        if min(support.ndim, query.ndim) <= axes:
            raise ValueError(
                "Embeddings of several examples are compared, a row or a stack of maps each, "
                f"but these have shapes {tuple(support.shape)} and {tuple(query.shape)}."
            )
        labels = check_labels(support_labels, support.shape[-1 - axes])
        return self._here(support), labels, self._here(query)

    def _here(self, tensor: Tensor) -> Tensor:
        """A tensor on the device of the model."""
        return upload(tensor, device_of(self) or tensor.device)


def check_images(images: Any) -> None:
    """Raise if these are pictures that no network can take."""
    if not isinstance(images, Tensor):
        raise ValueError(
            f"Images must be a tensor of network input, but are a {type(images).__name__}; "
            "fslib.data.to_input makes one of pictures."
        )
    if images.dtype == torch.uint8:
        raise ValueError(
            "These are pictures, uint8, and not network input; fslib.data.to_input makes it of them."
        )


def at_least_float32(*embeddings: Tensor) -> tuple[Tensor, ...]:
    """Embeddings in float32; those in float64 stay in it."""
    return tuple(x.to(torch.promote_types(x.dtype, torch.float32)) for x in embeddings)


def vectors(embeddings: Tensor) -> Tensor:
    """Embeddings as vectors: feature maps (n, c, h, w) flattened to (n, c · h · w)."""
    if not isinstance(embeddings, Tensor) or embeddings.ndim < 2:
        what = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise ValueError(
            f"A network must give embeddings (n, d), one row an image, but gave {what}."
        )
    return embeddings.flatten(1)


def relabel(labels: Tensor) -> Tensor:
    """Labels as 0 … classes − 1, in the order of the sorted distinct labels of an episode: [7, 3, 7] → [1, 0, 1].

    Args:
        labels: integers, (..., n). Every episode must hold the same number of distinct labels.

    Returns:
        Integers of the same shape.
    """
    ordered, order = labels.sort(-1)
    steps = (ordered.diff(dim=-1) != 0).cumsum(-1)
    ranks = F.pad(steps, (1, 0))
    if ranks.ndim > 1 and (ranks[..., -1] != ranks[..., -1].flatten()[0]).any():
        raise ValueError(
            "Every episode of a batch must have the same number of classes, but they differ."
        )
    return torch.zeros_like(ranks).scatter(-1, order, ranks)


def one_hot(labels: Tensor, device: torch.device | None = None) -> Tensor:
    """The class of each example as ones and zeros: labels (..., n) → (..., n, classes), in float32.

    The classes are counted where the labels are, and the result is on ``device``. So labels on the CPU keep no other
    device waiting.
    """
    if labels.ndim == 1:
        classes = labels.unique()
        torch._check(classes.shape[0] > 0)  # so that an exported graph knows
        found = labels[:, None] == classes
    else:
        columns = relabel(labels)
        found = columns[..., None] == torch.arange(int(columns.max()) + 1, device=labels.device)
    return upload(found.float(), device or labels.device)


def by_class(support: Tensor, support_labels: Tensor) -> tuple[Tensor, Tensor]:
    """The examples of each class side by side.

    Args:
        support: embeddings, (..., n, d).
        support_labels: integers, (n,) or (..., n).

    Returns:
        Examples, (..., classes, k, d), k those of the largest class and zeros where a class has fewer; and ones where
        an example is, (..., classes, k).
    """
    present, order = one_hot(support_labels).mT.sort(dim=-1, descending=True, stable=True)
    largest = int(present.sum(-1).max())
    present, order = (upload(part[..., :largest], support.device) for part in (present, order))
    order = order.expand(*support.shape[:-2], *order.shape[-2:])
    present = present.to(support.dtype)
    return support.unsqueeze(-3).take_along_dim(order[..., None], -2) * present[..., None], present


def check_labels(labels: Any, examples: int, axes: int | None = None) -> Tensor:
    """The labels as integers; raise unless there is one for each of ``examples`` support examples.

    Args:
        labels: of any kind that :func:`fslib.labels.as_labels` takes, (n,) or, with leading episode axes, (..., n).
        examples: n.
        axes: of the labels, if only so many will do.
    """
    labels = as_labels(labels, axes)
    if labels.shape[-1] != examples:
        raise ValueError(
            f"There must be one label for each of the {examples} support examples, "
            f"but the labels have shape {tuple(labels.shape)}."
        )
    if examples == 0:
        raise ValueError("The support set is empty; each class needs an example.")
    return labels


def check_finite(embeddings: Tensor) -> Tensor:
    """Raise if an embedding, a row of (n, d), holds NaN or infinity; else give the embeddings back."""
    if torch.compiler.is_compiling():  # a graph answers with NaN instead
        return embeddings
    broken = (~embeddings.isfinite()).flatten(1).any(1).sum().item()
    if broken:
        raise ValueError(
            f"{broken} of {len(embeddings)} embeddings hold NaN or infinity: "
            "look for NaN in the images, or train with a lower learning rate."
        )
    return embeddings


def check_above_zero(name: str, value: float) -> None:
    """Raise unless a setting is a number above zero and finite."""
    if isinstance(value, bool | str) or not 0 < value < math.inf:  # so that NaN is refused too
        raise ValueError(f"{name} must be above zero and finite, but is {value}.")


__getattr__ = renamed_in(__name__, globals(), members="one_hot", class_positions="relabel")
