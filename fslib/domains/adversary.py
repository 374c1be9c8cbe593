"""Adversarial alignment by gradient reversal (Ganin et al., *Domain-Adversarial Training of Neural Networks*, 2016)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fslib.config import whole
from fslib.domains.moments import check_embeddings
from fslib.metrics import full_precision


def reverse_gradient(x: Tensor, strength: float | Tensor = 1.0) -> Tensor:
    """What it is given, on the way forward; on the way back, the gradient times −λ.

    So one descent serves two ends: what comes after learns to lower a loss, and what comes before to raise it. It is
    the gradient of no function, and ``torch.autograd.gradcheck`` must fail.

    Args:
        x: of any shape.
        strength: λ, a number or a tensor with one. At zero nothing goes back.

    Example:
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> reverse_gradient(x, 0.5).square().backward()
        >>> x.grad
        tensor([-3.])
    """
    return _Reversed.apply(x, strength)


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float | Tensor) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * slope, None


class DomainDiscriminator(nn.Sequential):
    """A small network that tells target from source: one hidden layer, and a logit, above zero for the target.

    Args:
        dim: d of the embeddings.
        hidden: width of the hidden layer.

    Shape:
        embeddings (n, d) → logits (n,).
    """

    def __init__(self, dim: int = 64, hidden: int = 64):
        dim, hidden = whole("dim", dim), whole("hidden", hidden)
        super().__init__(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.dim, self.hidden = dim, hidden

    def forward(self, embeddings: Tensor) -> Tensor:
        """A logit for each embedding, in full precision."""
        if embeddings.shape[-1] != self.dim:
            raise ValueError(
                f"This discriminator is for embeddings of {self.dim} numbers, but these have {embeddings.shape[-1]}."
            )
        with full_precision(embeddings):
            return super().forward(embeddings.to(next(self.parameters()).dtype)).squeeze(-1)


class Adversary(nn.Module):
    """A loss that falls as a discriminator tells the domains apart, through embeddings that learn to prevent it.

    It is the mean cross-entropy of the two domains, which count alike. Its gradient trains the discriminator, and
    goes on into the embeddings reversed, times −λ. At a loss of log 2 the discriminator guesses. Nothing may be left
    to tell, or it may have learned nothing: another one, fitted on embeddings that stay as they are, says which.

    Embeddings that mean nothing yet are better left alone. So with a ``ramp`` λ grows from zero as in the paper, as
    2 / (1 + exp(−10 p)) − 1, where p is the part of the ramp that is behind.

    Args:
        dim: d of the embeddings.
        hidden: width of the hidden layer of the discriminator.
        strength: λ, in the end.
        ramp: steps in which λ grows, mostly all that are trained; default, it is there from the first.

    Attributes:
        discriminator: a :class:`DomainDiscriminator`.
        steps: in training so far, a buffer, so that a run which is resumed goes on along the ramp.

    Example:
        >>> adversary = Adversary(dim=2, strength=0.5, ramp=1000)
        >>> loss = adversary(torch.randn(8, 2), torch.randn(9, 2))
        >>> adversary.steps, adversary.now     # the next one
        (tensor(1.), tensor(0.0025))
    """

    steps: Tensor

    def __init__(self, dim: int = 64, hidden: int = 64, strength: float = 1.0, ramp: int | None = None):
        super().__init__()
        if not isinstance(strength, int | float) or not 0 <= strength < math.inf:
            raise ValueError(f"The strength of a reversal is a number, 0 or more, but is {strength!r}.")
        self.discriminator = DomainDiscriminator(dim, hidden)
        self.strength, self.ramp = strength, None if ramp is None else whole("ramp", ramp)
        self.register_buffer("steps", torch.zeros(()))

    @property
    def now(self) -> float | Tensor:
        """λ of the next step."""
        if self.ramp is None:
            return self.strength
        return self.strength * torch.tanh(5 * self.steps / self.ramp)  # 2 / (1 + exp(−10 p)) − 1

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """The loss of embeddings of the two domains, (n, d) and (m, d)."""
        check_embeddings(source, target)
        of_source, of_target = (self.discriminator(reverse_gradient(x, self.now)) for x in (source, target))
        if self.training:
            self.steps += 1
        return (F.softplus(of_source).mean() + F.softplus(-of_target).mean()) / 2
