"""Prototypes refined by examples without labels: soft k-means in four forms, and pseudo-labels.

The first three are of Ren et al., *Meta-Learning for Semi-Supervised Few-Shot Classification*, 2018. All differ in one
thing, by how much an unlabelled example counts for each class.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import whole
from fslib.methods.base import FewShotClassifier, at_least_float32, check_above_zero, one_hot
from fslib.methods.prototypical import prototypes
from fslib.metrics import full_precision, squared_euclidean

_HARD = 0.999


class SoftKMeans(FewShotClassifier):
    """Soft k-means that starts from the prototypes: unlabelled examples move them, each class by its share.

    z_jc = softmax over c of −‖x_j − p_c‖²/τ is the share of class c in the unlabelled example j, and
    p_c ← (Σ own examples + Σ_j z_jc x_j) / (n_c + Σ_j z_jc) (Ren et al., 2018, equation 3). Labelled examples stay with
    their classes. Queries are then compared with the refined prototypes. Without unlabelled examples it is the
    Prototypical Network. The paper's τ is 1; where distances are large against τ, a share is 0 or 1, and the soft
    k-means hard.

    It has no weights of its own, so it may refine what another method trained. To train with it, there is
    :class:`fslib.training.SemiSupervised`.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
        use: ``"unlabelled"``, an unlabelled set beside the queries, as :func:`fslib.episodes.with_unlabelled` draws it;
            or ``"queries"``, the queries of an episode for one, which is transductive.
        steps: of refinement; the paper's are 1.
        temperature: τ, by which distances are divided, for the shares and for the scores.

    Example:
        >>> model = SoftKMeans(nn.Flatten())
        >>> support, query = torch.tensor([[0.0], [8.0]]), torch.tensor([[5.0]])
        >>> model(support, [0, 1], query), model(support, [0, 1], query, unlabelled=torch.tensor([[4.0], [9.0]]))
        (tensor([[-25.,  -9.]]), tensor([[-13.4444,  -6.7600]]))
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        use: Literal["unlabelled", "queries"] = "unlabelled",
        steps: int = 1,
        temperature: float = 1.0,
    ):
        super().__init__(feature_extractor)
        if use not in ("unlabelled", "queries"):
            raise ValueError(f'What refines prototypes is use="unlabelled" or "queries", not {use!r}.')
        check_above_zero("temperature", temperature)
        self.use, self.steps, self.temperature = use, whole("steps", steps), temperature
        self.transductive, self.uses_unlabelled = use == "queries", use == "unlabelled"

    def forward(
        self, support: Tensor, support_labels: Tensor, query: Tensor, unlabelled: Tensor | None = None
    ) -> Tensor:
        """Embed all images in one batch, then compare; see :meth:`compare`.

        Args:
            support: images (n, ...).
            support_labels: (n,), any distinct integers or names.
            query: images (m, ...).
            unlabelled: images (u, ...).
        """
        if unlabelled is None:
            return super().forward(support, support_labels, query)
        labels, *sides = self._embedded(support_labels, support, query=query, unlabelled=unlabelled)
        return self.compare(sides[0], labels, *sides[1:])

    def compare(
        self, support: Tensor, support_labels: Tensor, query: Tensor, unlabelled: Tensor | None = None
    ) -> Tensor:
        """Minus the squared distance of each query to each refined prototype, over the temperature, (..., m, classes).

        Args:
            support: (..., n, d)
            support_labels: (n,) or (..., n)
            query: (..., m, d)
            unlabelled: (..., u, d); without any, prototypes stay as they are.

        Raises:
            ValueError: if the unlabelled set is empty or of another shape, or is given where the queries are used.
        """
        support, labels, query = self._ready(support, support_labels, query)
        points = query if self.transductive else unlabelled
        with full_precision(support):
            support, query = at_least_float32(support, query)
            centers = prototypes(support, labels)
            if unlabelled is not None:
                self._check(unlabelled, support)
            if points is not None:
                sizes = one_hot(labels, support.device).to(support.dtype).sum(-2)
                centers = self.refine(centers, sizes, self._here(points).to(support.dtype))
            return -squared_euclidean(query, centers) / self.temperature

    def refine(self, prototypes: Tensor, sizes: Tensor, points: Tensor) -> Tensor:
        """Prototypes moved by unlabelled points.

        Args:
            prototypes: the means of the labelled examples, (..., classes, d).
            sizes: how many labelled examples each class has, (..., classes); zeros make it plain k-means.
            points: (..., u, d).

        Returns:
            Refined prototypes, (..., classes, d).
        """
        centers = prototypes
        for _ in range(self.steps):
            shares = self.shares(points, centers)
            total = (sizes + shares.sum(-2))[..., None]
            centers = (sizes[..., None] * prototypes + shares.mT @ points) / total
        return centers

    def shares(self, points: Tensor, centers: Tensor) -> Tensor:
        """By how much each point, (..., u, d), counts for each class, by the centers (..., classes, d).

        Returns:
            Numbers from 0 to 1, (..., u, classes).
        """
        shares = (-squared_euclidean(points, centers) / self.temperature).softmax(-1)
        self._warn_if_hard(shares)
        return shares

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time; ``query`` counts unlabelled examples too."""
        return super().memory_per_episode(way, shot, query, dim) + 4 * way * query * way + 2 * way * dim

    def _check(self, unlabelled: Any, support: Tensor) -> None:
        """Raise unless this is an unlabelled set that goes with the support set."""
        if self.transductive:
            raise ValueError(
                f"{type(self).__name__} is built to use the queries, and has no use for an unlabelled set; build it "
                'with use="unlabelled".'
            )
        shape = tuple(unlabelled.shape) if isinstance(unlabelled, Tensor) else type(unlabelled).__name__
        wanted = (*support.shape[:-2], support.shape[-1])
        if not isinstance(unlabelled, Tensor) or (*unlabelled.shape[:-2], unlabelled.shape[-1]) != wanted:
            raise ValueError(
                "Unlabelled embeddings have the shape of the support set but for their number, "
                f"{(*wanted[:-1], 'any number', wanted[-1])}, but this is {shape}."
            )
        if not unlabelled.shape[-2]:
            raise ValueError("The unlabelled set is empty; leave it out, and prototypes stay as they are.")

    def _warn_if_hard(self, shares: Tensor) -> None:
        """Say so, if nothing is soft in shares (..., u, classes) of 1; but not in training, which waits for nothing."""
        if self.training or torch.compiler.is_compiling():
            return
        if (mean := shares.amax(-1).mean().item()) > _HARD:
            warnings.warn(
                f"One class has of an unlabelled example a mean share of {mean:.4f}, so the soft k-means is hard; a "
                "higher temperature makes it soft.",
                stacklevel=5,
            )


class SoftKMeansWithCluster(SoftKMeans):
    """Soft k-means with one more cluster, at the origin and wide, which takes in what is of no class.

    The logits of the shares are −‖x − p_c‖²/τ for the classes, and −‖x‖²/(τ r²) − log r for the cluster of distractors
    (Ren et al., 2018, equation 5, where the classes have width 1). So a wide cluster takes in what is farther from all
    prototypes than log r, in squares over τ. r is learned, as the exponential of a weight.

    Args:
        feature_extractor, use, steps, temperature: see :class:`SoftKMeans`.
        radius: r at the start of training; the authors' is 100.
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        use: Literal["unlabelled", "queries"] = "unlabelled",
        steps: int = 1,
        temperature: float = 1.0,
        radius: float = 100.0,
    ):
        super().__init__(feature_extractor, use, steps, temperature)
        check_above_zero("radius", radius)
        self.radius = radius
        self.log_radius = nn.Parameter(torch.tensor(math.log(radius)))

    def shares(self, points: Tensor, centers: Tensor) -> Tensor:
        """By how much each point counts for each class, (..., u, classes); what is missing to 1 the cluster has."""
        of_classes = -squared_euclidean(points, centers) / self.temperature
        spread = points.square().sum(-1, keepdim=True) / self.temperature
        of_cluster = -spread * (-2 * self.log_radius).exp() - self.log_radius
        self._warn_if_hard(of_classes.softmax(-1))
        return torch.cat([of_classes, of_cluster], -1).softmax(-1)[..., :-1]


class MaskedSoftKMeans(SoftKMeans):
    """Soft k-means in which each class masks what is too far from it, by a threshold that its neighbourhood sets.

    d̃_jc is the squared distance of example j and class c, over the mean for that class. A small network reads the least
    and the greatest, the variance, the skewness and the kurtosis of those of a class, and gives a threshold β_c and a
    slope γ_c; the share counts by σ(−γ_c(d̃_jc − β_c)) (Ren et al., 2018, equations 6 to 8). In a new model these are 1
    and 10 for all, so that about what is nearer than the mean stays; training makes more of it.

    Args:
        feature_extractor, use, steps, temperature: see :class:`SoftKMeans`.
        hidden: width of the hidden layer of the network; the paper's is 20.
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        use: Literal["unlabelled", "queries"] = "unlabelled",
        steps: int = 1,
        temperature: float = 1.0,
        hidden: int = 20,
    ):
        super().__init__(feature_extractor, use, steps, temperature)
        self.hidden = whole("hidden", hidden)
        last = nn.Linear(self.hidden, 2)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor([1.0, 10.0]))
        self.mask = nn.Sequential(nn.Linear(5, self.hidden), nn.Tanh(), last)

    def shares(self, points: Tensor, centers: Tensor) -> Tensor:
        """By how much each point counts for each class, masked, (..., u, classes)."""
        distances = squared_euclidean(points, centers)
        shares = (-distances / self.temperature).softmax(-1)
        self._warn_if_hard(shares)
        mean = distances.mean(-2, keepdim=True)
        relative = distances / mean.where(mean > 0, 1)
        told = self.mask(_moments(relative).to(next(self.mask.parameters()).dtype)).to(relative.dtype)
        threshold, slope = told[..., None, :, 0], told[..., None, :, 1]
        return shares * (-slope * (relative - threshold)).sigmoid()


class BalancedSoftKMeans(SoftKMeans):
    """Soft k-means that takes for granted that all classes have as many unlabelled examples.

    The shares z_jc of :class:`SoftKMeans` are scaled, row by row and class by class in turns, until each example adds
    up to 1 and all classes to the same. That is Sinkhorn's scaling, as in PT-MAP (Hu, Gripon and Pateux, *Leveraging
    the Feature Distribution in Transfer-Based Few-Shot Learning*, 2021). Where classes are not balanced, it forces
    examples of the large ones upon the small ones.

    Args:
        feature_extractor, use, steps, temperature: see :class:`SoftKMeans`.
        rounds: of scaling; each ends with the examples.
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        use: Literal["unlabelled", "queries"] = "unlabelled",
        steps: int = 1,
        temperature: float = 1.0,
        rounds: int = 20,
    ):
        super().__init__(feature_extractor, use, steps, temperature)
        self.rounds = whole("rounds", rounds)

    def shares(self, points: Tensor, centers: Tensor) -> Tensor:
        """By how much each point counts for each class, all classes alike, (..., u, classes)."""
        logits = (-squared_euclidean(points, centers) / self.temperature).log_softmax(-1)
        self._warn_if_hard(logits.exp())
        for _ in range(self.rounds):
            logits = (logits - logits.logsumexp(-2, keepdim=True)).log_softmax(-1)
        return logits.exp()


class PseudoLabels(SoftKMeans):
    """Unlabelled examples of which one class is sure join it as if they were labelled; the others do not count.

    It is :class:`SoftKMeans` with a rule of confidence for the shares: 1 for the likeliest class if its probability is
    at least θ, else 0. The probability is among the classes of the episode, so it cannot reject a distractor that is
    much nearer to one of them than to the others (Lee, *Pseudo-Label*, 2013, has the rule without θ).

    Args:
        feature_extractor, use, steps, temperature: see :class:`SoftKMeans`.
        threshold: θ, 0 … 1. At 0 all examples count, as in hard k-means.
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        use: Literal["unlabelled", "queries"] = "unlabelled",
        steps: int = 1,
        temperature: float = 1.0,
        threshold: float = 0.9,
    ):
        super().__init__(feature_extractor, use, steps, temperature)
        if isinstance(threshold, bool | str) or not 0 <= threshold <= 1:  # so that NaN is refused too
            raise ValueError(f"threshold is a probability, 0 … 1, but is {threshold!r}.")
        self.threshold = threshold

    def shares(self, points: Tensor, centers: Tensor) -> Tensor:
        """One for the class of a point that is sure enough, else zero, (..., u, classes)."""
        probabilities = (-squared_euclidean(points, centers) / self.temperature).softmax(-1)
        best, likeliest = probabilities.max(-1)
        labels = F.one_hot(likeliest, probabilities.shape[-1]).to(points.dtype)
        return labels * (best >= self.threshold)[..., None]


def _moments(x: Tensor) -> Tensor:
    """Least, greatest, variance, skewness, excess kurtosis over points, (..., u, classes) → (..., classes, 5)."""
    central = x - x.mean(-2, keepdim=True)
    variance = central.square().mean(-2)
    scaled = central / (variance + 1e-6).sqrt()[..., None, :]  # of a single point nothing but zeros
    return torch.stack(
        [x.amin(-2), x.amax(-2), variance, scaled.pow(3).mean(-2), scaled.pow(4).mean(-2) - 3], -1
    )
