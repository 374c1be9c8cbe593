"""Label spreading (Zhou, Bousquet, Lal, Weston and Schölkopf, *Learning with Local and Global Consistency*, 2004)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fslib.methods.base import FewShotClassifier, at_least_float32, check_above_zero, one_hot
from fslib.metrics import full_precision, squared_euclidean


class LabelSpreading(FewShotClassifier):
    """Let labels spread from the support set through the queries, from neighbour to neighbour. It is transductive.

    All examples of an episode make a graph, with weights W_ij = exp(−‖x_i − x_j‖²/τ) and nothing on its diagonal.
    F = (I − α S)⁻¹ Y, where S = D^{−1/2} W D^{−1/2}, D is the diagonal of the sums of rows, and Y holds a one for the
    class of each support example (Zhou et al., 2004). It is the sum of what comes by paths of any length, each step
    weighing α. Where classes are long and thin, a query may be far from its prototype and still have a path to it. With
    α near 1 labels come everywhere in a graph in which all are neighbours, and the best connected example wins.
    Transductive Propagation Networks (Liu et al., 2019) train through it, with a width of the graph that is learned.

    Args:
        feature_extractor: any module from images to embeddings, (n, ...) → (n, d).
        alpha: α, above 0 and below 1.
        temperature: τ, in units of squared distances.

    Example:
        >>> model = LabelSpreading(nn.Flatten(), alpha=0.99)
        >>> support, chain = torch.tensor([[0.0], [9.5]]), torch.tensor([[2.0], [4.0], [6.0]])
        >>> model(support, [0, 1], chain).argmax(1)     # 6 is nearer to 9.5, but has neighbours that lead to 0
        tensor([0, 0, 0])
    """

    transductive = True

    def __init__(self, feature_extractor: nn.Module, alpha: float = 0.5, temperature: float = 1.0):
        super().__init__(feature_extractor)
        check_above_zero("temperature", temperature)
        if isinstance(alpha, bool | str) or not 0 < alpha < 1:  # so that NaN is refused too
            raise ValueError(f"alpha is the weight of a step of spreading, above 0 and below 1, but is {alpha!r}.")
        self.alpha, self.temperature = alpha, temperature

    def compare(self, support: Tensor, support_labels: Tensor, query: Tensor) -> Tensor:
        """The logarithm of the share of each class in what reaches a query, (..., m, classes)."""
        support, labels, query = self._ready(support, support_labels, query)
        with full_precision(support):
            points = torch.cat(at_least_float32(support, query), -2)
            of_class = one_hot(labels, points.device).to(points.dtype).expand(*points.shape[:-2], -1, -1)
            known = torch.cat([of_class, of_class.new_zeros(*query.shape[:-1], of_class.shape[-1])], -2)
            reached = self.spread(points, known)[..., support.shape[-2] :, :]
            tiny = torch.finfo(points.dtype).tiny
            return (reached / reached.sum(-1, keepdim=True).clamp_min(tiny)).clamp_min(tiny).log()

    def spread(self, points: Tensor, known: Tensor) -> Tensor:
        """F of points (..., n, d), of whose classes Y is known, (..., n, classes); of the shape of Y."""
        itself = torch.eye(points.shape[-2], dtype=points.dtype, device=points.device)
        weights = (-squared_euclidean(points, points) / self.temperature).exp() * (1 - itself)
        root = weights.sum(-1).clamp_min(torch.finfo(points.dtype).tiny).rsqrt()
        normalized = root[..., :, None] * weights * root[..., None, :]
        return torch.linalg.solve_ex(itself - self.alpha * normalized, known).result

    def memory_per_episode(self, way: int, shot: int, query: int, dim: int) -> int:
        """Numbers that comparing one episode holds at a time."""
        return super().memory_per_episode(way, shot, query, dim) + 5 * (way * (shot + query)) ** 2
