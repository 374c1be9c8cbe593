"""The pictures of a target domain, with labels that nobody looks at or without any."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fslib.data import ImageSet

Target = ImageSet | Tensor


def check_target(target: Any) -> None:
    """Raise unless these are pictures of a domain, from which its statistics can be taken.

    Args:
        target: an image set, or network input, (n, ...), where nobody knows the classes.

    Raises:
        ValueError: if it is neither, holds fewer than two pictures, or a single class.
    """
    if not isinstance(target, Target):
        raise ValueError(
            "A target domain is an ImageSet, as fslib.data.load gives, or network input, (n, ...), "
            f"but this is a {type(target).__name__}."
        )
    name = target.name if isinstance(target, ImageSet) else "the target"
    if len(target) < 2:
        raise ValueError(f"A domain has statistics of two pictures or more, but {name} holds {len(target)}.")
    if isinstance(target, ImageSet) and len(target.labels.unique()) < 2:
        raise ValueError(
            f"All pictures of {name} are of one class, so their statistics are those of the class and not of the "
            "domain; if nobody knows the classes, give network input alone, target.inputs()."
        )


def inputs_of(target: Target, indices: Tensor) -> Tensor:
    """Network input for some pictures of a target."""
    return target.inputs(indices) if isinstance(target, ImageSet) else target[indices.to(target.device)]
