"""Write a trained network in the form that the drawing pad of the site reads.

Run as a command::

    python -m fslib.export results/omniglot/prototypical-seed0.safetensors book/_static/live/conv4.f16.bin

The reader of the file is ``book/_static/live/conv4.mjs``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fslib import files, storage
from fslib.backbones import Conv4


def fold(block: Any) -> tuple[Tensor, Tensor]:
    """Weights and biases of the one convolution that does what a block's convolution and batch norm do.

    In evaluation, batch norm maps each channel x to γ (x − μ) / √(σ² + ε) + β: a factor for the weights of the
    convolution before it, and a shift for its biases (Ioffe and Szegedy, 2015, section 3.1).

    Args:
        block: of :class:`fslib.backbones.Conv4`, its convolution first, then its batch norm.

    Returns:
        Weights (out, in, 3, 3) and biases (out,).
    """
    convolution, norm = block[0], block[1]
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    weights = convolution.weight * factor[:, None, None, None]
    return weights, norm.bias + factor * (convolution.bias - norm.running_mean)


def to_bytes(network: nn.Module) -> bytes:
    """The network as the page reads it: little-endian float16, for each block its weights, then its biases.

    Weights are stored (3, 3, in, out), so that the inner loop of a convolution runs over neighbours in memory.

    Raises:
        ValueError: if the network is not the one that the page runs, or a number is too large for float16.
    """
    config = getattr(network, "config", {})
    wanted = Conv4().config
    if not isinstance(network, Conv4) or config != wanted:
        raise ValueError(
            f"The page runs a Conv4 with {wanted}, but this is {type(network).__name__} with {config}."
        )
    numbers = []
    for block in list(network.children())[:4]:
        weights, biases = fold(block)
        numbers += [weights.permute(2, 3, 1, 0).flatten(), biases]
    halves = torch.cat(numbers).detach().cpu().half()
    if not halves.isfinite().all():
        raise ValueError("A weight is not finite, or too large for float16.")
    return halves.numpy().astype("<f2").tobytes()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fslib.export",
        description="Write a network for the drawing pad of the site.",
    )
    parser.add_argument("model", type=Path, help="a classifier that fslib.save has written")
    parser.add_argument("file", type=Path, help="the file to write")
    chosen = parser.parse_args(arguments)
    try:
        content = to_bytes(storage.load(chosen.model).feature_extractor)
        with files.atomic_write(chosen.file) as temporary:
            temporary.write_bytes(content)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    print(f"{chosen.file}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
