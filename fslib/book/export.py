"""Write what figures of the site read: a trained network, or a network's embeddings while it is trained.

Run as a command::

    python -m fslib.book.export results/omniglot/prototypical-seed0.safetensors fslib/book/figures/conv4.f16.bin
    python -m fslib.book.export results/omniglot/relation-frozen-seed0.safetensors fslib/book/figures/relation.f16.bin
    python -m fslib.book.export --learning fslib/book/figures/learning_data.mjs

Of a Relation Network the relation module is written, of any other classifier its Conv-4. The readers of the files are
``conv4.mjs`` and ``relation.mjs`` beside them. The drawing pad opens a Conv-4 of one's own, too; :func:`write` makes
its file in a notebook. With ``--learning`` a network is trained by a recipe, in a minute or two, and what
``learning.mjs`` shows is written: where its embeddings of some test images are, time and again.
"""

from __future__ import annotations

import argparse
import base64
import copy
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from fslib import data, files, metrics, storage
from fslib.backbones import Conv4
from fslib.book.experiments.registry import find
from fslib.book.experiments.running import Training
from fslib.methods import FewShotClassifier, RelationNetwork, VectorRelation
from fslib.training import Batch, Episodic

RECIPE = "glyphs/prototypical"
#: Tasks trained on before each look at the embedding: denser at the start, where it changes most.
MOMENTS = (0, 1, 3, 8, 12, 20, 30, 40, 50, 65, 80, 100, 120, 150, 180, 250, 320, 400)
CHARACTERS, IMAGES = 10, 12  # so many, and of each so many


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


def write(model: nn.Module, file: str | Path) -> None:
    """Write the network behind a model to a file that the drawing pad opens, under *Files*, in place of its own.

    Args:
        model: a classifier over a Conv-4 of the usual size, however it was trained, or the Conv-4 alone.
        file: to write, ``mine.f16.bin`` say.

    Raises:
        ValueError: if the pad does not run the network, or the file is named like a model.
        OSError: if the file cannot be written.
    """
    _write(to_bytes(getattr(model, "feature_extractor", model)), Path(file))


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


class Watched(Episodic):
    """The method's own loss, and before each step a look at the model: ``look(model, steps so far)``."""

    def __init__(self, look: Callable[[FewShotClassifier, int], None]):
        self.look = look
        self.taken = 0

    def step(self, model: FewShotClassifier, batch: Batch) -> Tensor:
        """The loss of the queries of the episode."""
        self.look(model, self.taken)
        self.taken += 1
        return super().step(model, batch)


class _Watching(Training):
    """A training that a recipe describes, step by step the same, looked at on its way."""

    def __init__(self, look: Callable[[FewShotClassifier, int], None], runs: Path):
        super().__init__(find(RECIPE), 0, None, RECIPE, validate=False, runs=runs)
        self.look = look

    def train(self, model: FewShotClassifier, split: str, **settings: Any) -> None:
        watched: Any = Watched(self.look)
        super().train(model, split, objective=lambda _: watched, **settings)


def watch(images: Tensor, moments: Sequence[int] = MOMENTS) -> list[Tensor]:
    """Train by the recipe, with seed 0, and embed images at some moments.

    Each embedding is that of evaluation, in which batch norm goes by its running statistics: what the network would
    answer with, if its training ended there.

    Args:
        images: network input, (n, 1, 28, 28).
        moments: numbers of tasks trained on, from 0 to the number of the recipe.

    Returns:
        For each moment the embeddings, (n, d).
    """
    found: dict[int, Tensor] = {}

    def look(model: FewShotClassifier, taken: int) -> None:
        if taken in moments:
            found[taken] = embedded(model, images)

    with tempfile.TemporaryDirectory() as runs:
        training = _Watching(look, Path(runs))
        training.carry_out()
    look(training.models[-1], training.recipe.settings["episodes"])
    return [found[moment] for moment in moments]


@torch.no_grad()
def embedded(model: FewShotClassifier, images: Tensor) -> Tensor:
    """Embeddings in evaluation, (n, d), of a model that stays in the mode in which it was."""
    was = model.training
    model.eval()
    try:
        return model.embed(images.to(next(model.parameters()).device)).float().cpu()
    finally:
        model.train(was)


def with_own_nearest(embeddings: Tensor, labels: Tensor) -> int:
    """How many of the points (n, d) have one of their own class as nearest neighbour, by Euclidean distance."""
    distances = metrics.squared_euclidean(embeddings, embeddings).fill_diagonal_(torch.inf)
    return int((labels[distances.argmin(1)] == labels).sum())


def in_a_plane(moments: Sequence[Tensor]) -> list[Tensor]:
    """All embeddings in one plane: that of the first two principal components of the last one.

    The scale of an embedding grows in training, so each is first moved to its own centre, and divided by the mean
    distance of its points to it.

    Args:
        moments: embeddings of the same images, each (n, d).

    Returns:
        For each, the places in the plane, (n, 2).
    """
    centred = [embeddings - embeddings.mean(0) for embeddings in moments]
    scaled = [points / points.norm(dim=1).mean() for points in centred]
    axes = torch.linalg.svd(scaled[-1].double(), full_matrices=False).Vh[:2]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = axes * largest.sign()  # of two mirror images, always the same
    return [points.double() @ axes.T for points in scaled]


def chosen_images() -> tuple[data.ImageSet, Tensor]:
    """The test images of the recipe's data set, and which of them the figure shows: a random choice of classes.

    Returns:
        The set, and positions of the first images of each class chosen, (characters, images).
    """
    images = data.load(find(RECIPE).dataset, "test")
    random = torch.Generator().manual_seed(0)
    classes = torch.randperm(len(images.class_names), generator=random)[:CHARACTERS].sort().values
    return images, torch.stack([torch.nonzero(images.labels == c)[:IMAGES, 0] for c in classes])


def sprite(images: Tensor) -> bytes:
    """Images (rows, columns, side, side), 0 where there is ink, as one small PNG of white, grey and black."""
    rows, columns, side, _ = images.shape
    whole = images.permute(0, 2, 1, 3).reshape(rows * side, columns * side)
    shades = Image.fromarray((whole.float() / 127.5).round().to(torch.uint8).numpy())
    shades.putpalette([value for shade in (0, 128, 255) for value in 3 * [shade]])
    stream = io.BytesIO()
    shades.save(stream, "PNG", bits=2, optimize=True)
    return stream.getvalue()


def learning() -> bytes:
    """The module of data that ``learning.mjs`` shows; it trains first."""
    images, chosen = chosen_images()
    moments = watch(images.inputs(chosen.flatten()))
    labels = images.labels[chosen.flatten()]
    picture = base64.b64encode(sprite(images.images[chosen, 0])).decode()
    hundredths = (100 * torch.stack(in_a_plane(moments))).round().clamp(-127, 127).to(torch.int8)
    content = {
        "dimensions": moments[-1].shape[1],
        "names": [images.class_names[c].capitalize() for c in images.labels[chosen[:, 0]].tolist()],
        "each": IMAGES,
        "steps": list(MOMENTS),
        "nearest": [with_own_nearest(embeddings, labels) for embeddings in moments],
        "sprite": f"data:image/png;base64,{picture}",
        "places": base64.b64encode(hundredths.numpy().tobytes()).decode(),
    }
    lines = [
        f'"{key}": {json.dumps(value, separators=(",", ":"))}' for key, value in content.items()
    ]
    said = f"""// What learning.mjs shows: {RECIPE}, seed 0, trained and written by
//     python -m fslib.book.export --learning fslib/book/figures/learning_data.mjs
// For each step: how many images have one of their own character nearest, and where each image is in the plane, x and y
// as signed bytes, in hundredths. The sprite has a row for each character.
"""
    return (said + "export default {\n" + ",\n".join(lines) + "\n};\n").encode()


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
        description="Write a network for the drawing pad of the site, or how one was trained for another figure.",
    )
    parser.add_argument(
        "model", type=Path, nargs="?", help="a classifier that fslib.save has written"
    )
    parser.add_argument("file", type=Path, help="the file to write")
    parser.add_argument(
        "--learning",
        action="store_true",
        help=f"train {RECIPE} and write its embeddings on the way",
    )
    chosen = parser.parse_args(arguments)
    if chosen.learning == bool(chosen.model):
        parser.error("give a model, or --learning and none")
    try:
        content = learning() if chosen.learning else _of_file(chosen.model)
        _write(content, chosen.file)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    print(f"{chosen.file}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
