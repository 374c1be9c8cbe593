"""Pre-classifier alignment (Li, Liu and Bilen, 2021).

The paper is *Universal Representation Learning from Multiple Domains for Few-shot Classification*.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import whole
from fslib.methods.base import FewShotClassifier, at_least_float32, check_above_zero, one_hot
from fslib.methods.prototypical import prototypes
from fslib.metrics import cosine_similarity, full_precision

Form = Literal["full", "diagonal"]


class PreClassifierAlignment(FewShotClassifier):
    """Fit a linear map of the embeddings to every support set, then compare with the prototypes by the cosine.

    The map starts as the identity and takes steps of gradient descent down the cross-entropy of the support examples
    against their own prototypes, by s · cos(A x, c_k) with c_k the mean of A x over the examples of class k (Li, Liu
    and Bilen, 2021, where the steps are Adadelta's). All episodes of a stack are fitted at once.

    An example that is alone in its class is its own prototype and has nothing to teach; it is left out of the
    cross-entropy. So with one shot the map stays the identity, and the answers are those of the prototypes.

    The scores carry no gradient: the fit is made for embeddings that are trained already.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
        form: ``"full"`` for a map of d × d numbers, or ``"diagonal"`` for one factor a number of the embedding.
        learning_rate: of the steps. It is chosen on validation classes.
        steps: how many; none leaves the embeddings as they are.
        scale: s.
        leave_one_out: compare each example with the mean of the others of its class instead of a mean that it is part
            of, which is nearer to what a query meets.

    Example:
        >>> import torch
        >>> means, blurred = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[4.0, 0.0], [-1.0, 0.0]])
        >>> support, labels = (means[:, None] + blurred).flatten(0, 1), [0, 0, 1, 1]
        >>> query = torch.tensor([[-5.0, 1.0], [-5.0, -1.0]])
        >>> for steps in (0, 100):
        ...     scores = PreClassifierAlignment(torch.nn.Flatten(), steps=steps)(support, labels, query)
        ...     print(scores.softmax(-1).diagonal())     # of the right answers
        tensor([0.8110, 0.8110])
        tensor([0.9991, 0.9991])
    """

    def __init__(
        self,
        feature_extractor: nn.Module,
        form: Form = "full",
        learning_rate: float = 0.1,
        steps: int = 40,
        scale: float = 10.0,
        leave_one_out: bool = False,
    ):
        super().__init__(feature_extractor)
        if form not in ("full", "diagonal"):
            raise ValueError(f'form must be "full" or "diagonal", but is {form!r}.')
        check_above_zero("learning_rate", learning_rate)
        check_above_zero("scale", scale)
        self.form, self.learning_rate, self.steps = form, learning_rate, whole("steps", steps, least=0)
        self.scale, self.leave_one_out = scale, leave_one_out

    @torch.no_grad()
    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """Scaled cosines of each mapped query and each mapped prototype, (..., m, classes)."""
        support, labels, query = self._ready(support, support_labels, query)
        with full_precision(support):
            support, query = at_least_float32(support, query)
            aligned = self._fit(support, one_hot(labels, support.device).to(support.dtype))
            support, query = _mapped(support, aligned), _mapped(query, aligned)
            return self.scale * cosine_similarity(query, prototypes(support, labels))

    def _fit(self, support: Tensor, of_class: Tensor) -> Tensor:
        """The map of each episode, (..., d, d) or (..., 1, d), from embeddings (..., n, d) and (..., n, classes)."""
        d = support.shape[-1]
        with torch.inference_mode(False), torch.enable_grad():  # whoever calls
            support, of_class = support.clone(), of_class.clone()
            start = torch.eye(d).to(support) if self.form == "full" else torch.ones(1, d).to(support)
            aligned = start.repeat(*support.shape[:-2], 1, 1)
            for _ in range(self.steps):
                aligned.requires_grad_()
                (slope,) = torch.autograd.grad(self._loss(_mapped(support, aligned), of_class).sum(), aligned)
                aligned = (aligned - self.learning_rate * slope).detach()
            return aligned

    def _loss(self, support: Tensor, of_class: Tensor) -> Tensor:
        """Cross-entropy of mapped examples (..., n, d) against their prototypes, the mean of each episode, (...)."""
        sums, sizes = of_class.mT @ support, of_class.sum(-2)
        cosines = cosine_similarity(support, sums)  # a sum has the direction of the mean
        if self.leave_one_out:
            others = F.cosine_similarity(support, of_class @ sums - support, dim=-1)
            cosines = torch.where(of_class > 0, others[..., None], cosines)
        costs = -((self.scale * cosines).log_softmax(-1) * of_class).sum(-1)
        counted = (of_class @ (sizes > 1).to(costs.dtype)[..., None])[..., 0]
        return (costs * counted).sum(-1) / counted.sum(-1).clamp_min(1)

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time."""
        of_map = dim * (dim if self.form == "full" else 1)
        return super().memory_per_episode(way, shot, query, dim) + 4 * of_map + 8 * way * shot * (dim + way)


def _mapped(embeddings: Tensor, aligned: Tensor) -> Tensor:
    """A x of each embedding, by a map (..., d, d), or of factors (..., 1, d)."""
    return embeddings * aligned if aligned.shape[-2] == 1 else embeddings @ aligned.mT
