"""Write a trained network in the form that the drawing pad of the site reads.

Run as a command::

    python -m fslib.book.export results/omniglot/prototypical-seed0.safetensors fslib/book/figures/conv4.f16.bin
    python -m fslib.book.export results/omniglot/relation-frozen-seed0.safetensors fslib/book/figures/relation.f16.bin

Of a Relation Network the relation module is written, of any other classifier its Conv-4. The readers of the files are
``conv4.mjs`` and ``relation.mjs`` beside them.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fslib import files, storage
from fslib.backbones import Conv4
from fslib.methods import RelationNetwork, VectorRelation


def fold(block: Any) -> tuple[Tensor, Tensor]:
    """Weights and biases of the one layer that does what a layer and the batch norm after it do.

    In evaluation, batch norm maps each channel x to γ (x − μ) / √(σ² + ε) + β: a factor for the weights of the
    layer before it, and a shift for its biases (Ioffe and Szegedy, 2015, section 3.1).

    Args:
        block: a convolution or linear layer first, then its batch norm.

    Returns:
        Weights (out, in, ...) and biases (out,).
    """
    layer, norm = block[0], block[1]
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    weights = layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
    return weights, norm.bias + factor * (layer.bias - norm.running_mean)


def to_bytes(network: nn.Module) -> bytes:
    """The network as the page reads it: little-endian float16, layer by layer its weights, then its biases.

    Weights of a :class:`fslib.backbones.Conv4` are stored (3, 3, in, out), so that the inner loop of a convolution
    runs over neighbours in memory; those of a :class:`fslib.methods.VectorRelation` (out, in).

    Raises:
        ValueError: if the network is not one that the page runs, or a number is too large for float16.
    """
    # In float64, so that every machine rounds to the same halves.
    network = copy.deepcopy(network).cpu().double()
    numbers = _relation(network) if isinstance(network, VectorRelation) else _conv4(network)
    halves = torch.cat(numbers).detach().half()
    if not halves.isfinite().all():
        raise ValueError("A weight is not finite, or too large for float16.")
    return halves.numpy().astype("<f2").tobytes()


def _conv4(network: nn.Module) -> list[Tensor]:
    config = getattr(network, "config", {})
    wanted = Conv4().config
    if not isinstance(network, Conv4) or config != wanted:
        raise ValueError(
            f"The page runs a Conv4 with {wanted}, or a VectorRelation over it, "
            f"but this is a {type(network).__name__} with {config}."
        )
    numbers = []
    for block in list(network.children())[:4]:
        weights, biases = fold(block)
        numbers += [weights.permute(2, 3, 1, 0).flatten(), biases]
    return numbers


def _relation(module: VectorRelation) -> list[Tensor]:
    dim = Conv4().config["channels"]
    if module.config["dim"] != dim:
        raise ValueError(
            f"The page compares embeddings of {dim} numbers, but this relation module is for {module.config['dim']}."
        )
    weights, biases = fold(module)
    last: Any = module[3]
    return [weights.flatten(), biases, last.weight.flatten(), last.bias]


def _of_file(path: Path) -> bytes:
    """The network of a saved classifier, as the page reads it."""
    model: Any = storage.load(path)
    network = (
        model.relation_module if isinstance(model, RelationNetwork) else model.feature_extractor
    )
    try:
        return to_bytes(network)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _write(content: bytes, path: Path) -> None:
    """Write a file, unless it is a model, which somebody would miss."""
    if path.suffix == ".safetensors":
        raise ValueError(
            f"{path} is named like a model, not like a network of the page, *.f16.bin."
        )
    try:
        with files.atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}.") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fslib.book.export",
        description="Write a network for the drawing pad of the site.",
    )
    parser.add_argument("model", type=Path, help="a classifier that fslib.save has written")
    parser.add_argument("file", type=Path, help="the file to write")
    chosen = parser.parse_args(arguments)
    try:
        content = _of_file(chosen.model)
        _write(content, chosen.file)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    print(f"{chosen.file}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
