"""From pictures, or rows of numbers, to embeddings."""

from __future__ import annotations

import itertools
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fslib.data.alphabets import from_alphabets
from fslib.data.image_set import ImageSet
from fslib.data.pictures import Read, in_classes, pictures_in, read, warn_of
from fslib.devices import evaluation_mode
from fslib.labels import as_labels
from fslib.methods import FewShotClassifier
from fslib.methods.base import check_finite
from fslib.metrics import directions

BATCH = 64  # pictures that are held, and embedded, at a time
ALIKE = 0.97  # correlation of two pictures, at 32 × 32 pixels, from which they are nearly the same
NOTHING = torch.empty(0, dtype=torch.uint8)


class Seen(NamedTuple):
    """One picture after it was embedded, or could not be read.

    Attributes:
        name: its path, or its number among the others.
        embedding: (d,).
        look: the picture at 32 × 32 pixels, uint8 (1024,); (0,) of a row of numbers.
        problem: why it could not be read; then the others are empty.
    """

    name: str
    embedding: Tensor
    look: Tensor
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Examples:
    """The pictures of known classes that others are compared with.

    Attributes:
        names: the path of each, or its number.
        labels: the class of each, (n,).
        embeddings: (n, d).
        looks: each at 32 × 32 pixels, uint8 (n, 1024); (n, 0) of rows of numbers.
    """

    names: list[str]
    labels: np.ndarray
    embeddings: Tensor
    looks: Tensor

    def __add__(self, other: Examples) -> Examples:
        return Examples(
            self.names + other.names,
            np.concatenate([self.labels, other.labels]),
            torch.cat([self.embeddings, other.embeddings]),
            torch.cat([self.looks, other.looks]),
        )

    def in_two_classes(self) -> list[str]:
        """A sentence for each picture that looks the same as one of another class."""
        if not self.looks.numel():
            return []
        first: dict[bytes, tuple[str, Any]] = {}
        said = []
        for name, label, look in zip(self.names, self.labels.tolist(), self.looks.numpy()):
            other, its = first.setdefault(look.tobytes(), (name, label))
            if its != label:
                said.append(f"{other} in class {its!r} and {name} in class {label!r} are the same picture.")
        return said

    def nearly(self, looks: Tensor) -> list[str | None]:
        """For each of some looks, (m, 1024), the name of an example that is nearly the same picture."""
        if not looks.numel():
            return [None] * len(looks)
        theirs, mine = (directions(each - each.mean(1, keepdim=True)) for each in (looks.float(), self.looks.float()))
        alike, which = (theirs @ mine.T).max(1)
        return [self.names[i] if same >= ALIKE else None for same, i in zip(alike.tolist(), which.tolist())]


@dataclass(frozen=True)
class Eye:
    """A network, and how it is shown what it embeds.

    Attributes:
        model: a method over the network.
        transform: from a Pillow image to network input.
        features: numbers in a row, of which tables are embedded; ``None`` for pictures.
    """

    model: FewShotClassifier
    transform: Callable[[Image.Image], Tensor]
    features: int | None = None

    def embedded(self, X: Any) -> Iterator[Seen]:
        """Each of some pictures, of a folder or set of them, or of the rows of a table; 64 are held at a time.

        Warns:
            UserWarning: of files in a folder that by their names are no pictures.
        """
        if isinstance(X, ImageSet):
            X = X.images
        table = table_of(X)
        found = None if table is None else table.shape[1]
        if found != self.features and self.features is None:
            raise ValueError("X is a table, but must be pictures; a single picture goes into a list, [picture].")
        if found != self.features:
            raise ValueError(
                f"X has {found or 'no'} features, but FewShotPredictor is expecting {self.features} features as input."
            )
        reads: Iterable[Read]
        left_out: list[str] = []
        if table is not None:
            reads = (Read(f"row {i}", row, NOTHING) for i, row in enumerate(table))
        else:
            reads = read(pictures_in(X, left_out) if isinstance(X, str | os.PathLike) else X, self.transform)
        for batch in batched(reads, BATCH):
            embeddings = iter(self._embed([each.input for each in batch if not each.problem]))
            for each in batch:
                embedding = NOTHING if each.problem else next(embeddings)
                yield Seen(each.name, embedding, NOTHING if each.look is None else each.look, each.problem)
        warn_of(left_out)

    def labelled(self, X: Any, y: Any) -> tuple[Examples, list[str]]:
        """Pictures with the class of each, and a sentence for each that was left out."""
        left_out: list[str] = []
        if isinstance(X, str | os.PathLike | ImageSet):
            if y is not None:
                raise ValueError("A folder or an image set brings its classes, so labels beside it are too much.")
            X, y, left_out = _with_classes(X)
        labels = labels_of(y)
        if isinstance(X, Sized):
            check_count(len(X), labels)
        seen = list(self.embedded(X))
        check_count(len(seen), labels)
        return examples_of(seen, labels, left_out), left_out

    @torch.no_grad()
    def _embed(self, inputs: Sequence[Any]) -> Tensor:
        """The embeddings of some inputs, (n, d), on the CPU."""
        if len(shapes := {tuple(each.shape) for each in inputs}) > 1:
            raise ValueError(f"A transform gives inputs of one shape, but this one gives {sorted(shapes)}.")
        if not inputs:
            return torch.empty(0, 0)
        images = torch.stack(list(inputs))
        weight = next(self.model.parameters(), images)
        with evaluation_mode(self.model):
            return check_finite(self.model.embed(images.to(weight.dtype))).cpu()


def _with_classes(X: str | os.PathLike | ImageSet) -> tuple[Any, list[str], list[str]]:
    """What brings its own classes: pictures, the class of each, and a sentence for each that was left out."""
    if not isinstance(X, ImageSet):
        if Path(X).suffix.lower() != ".json":
            return in_classes(X)
        X = from_alphabets(X)
    return X.images, [X.class_names[c] for c in X.labels.tolist()], []


def examples_of(seen: Sequence[Seen], labels: np.ndarray, left_out: list[str]) -> Examples:
    """Those that could be read; a sentence for each other one, and for each class lost, goes to ``left_out``.

    Raises:
        ValueError: if none could be read.
    """
    problems = [each.problem for each in seen if each.problem]
    good = [i for i, each in enumerate(seen) if not each.problem]
    if not good:
        raise ValueError(" ".join(["There is no picture that can be read.", *problems[:1]]))
    lost = sorted(set(labels.tolist()) - set(labels[good].tolist()))
    left_out[:0] = [f"Of {label!r} no picture can be read, so there is no such class." for label in lost]
    left_out.extend(problems)
    return Examples(
        [seen[i].name for i in good],
        labels[good],
        torch.stack([seen[i].embedding for i in good]),
        torch.stack([seen[i].look for i in good]),
    )


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of so many items, the last one of what is left; as ``itertools.batched`` of later Pythons."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def table_of(X: Any) -> Tensor | None:
    """Rows of numbers as float64, (n, d); ``None`` if these are pictures, or where pictures are.

    Raises:
        ValueError: on one picture where several are meant, and on a table that nobody can compare.
    """
    if isinstance(X, Image.Image) or (getattr(X, "ndim", 0) == 3 and X.shape[2] in (1, 3, 4)):  # colours are last
        raise ValueError("X is a single picture, but must be several; one goes into a list, [picture].")
    if isinstance(X, str | os.PathLike | Iterator | ImageSet) or getattr(X, "ndim", 0) > 2:
        return None
    if hasattr(X, "toarray"):
        raise ValueError("A sparse table is not compared here; X.toarray() makes it dense.")
    if isinstance(X, list | tuple):
        if not X or isinstance(X[0], str | os.PathLike | Image.Image) or np.ndim(X[0]) > 1:
            return None
    array = X.detach().cpu().numpy() if isinstance(X, Tensor) else np.asarray(X)
    if array.ndim == 0:
        raise ValueError(
            "X must be pictures in a list, a folder of them, an image set or rows of numbers, but is "
            f"{reprlib.repr(X)}."
        )
    if array.dtype.kind in "US" or (array.dtype == object and array.ndim == 1 and array.size):
        return None
    if array.dtype.kind == "c":
        raise ValueError("Complex data not supported; only real numbers are compared.")
    if array.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {array.ndim}D array instead. Reshape your data: pictures stand in a list, numbers "
            "in rows, (n, d)."
        )
    for axis, what in enumerate(("sample", "feature")):
        if not array.shape[axis]:
            raise ValueError(f"Found array with 0 {what}(s) (shape={array.shape}) while a minimum of 1 is required.")
    table = torch.from_numpy(np.array(array, dtype=np.float64))
    if not table.isfinite().all():
        raise ValueError("Input X contains NaN or infinity; leave such rows out.")
    return table


def labels_of(y: Any) -> np.ndarray:
    """Labels as an array, (n,), of integers or names.

    Raises:
        ValueError: on anything else.
    """
    if y is None:
        raise ValueError(
            "FewShotPredictor requires y to be passed, but the target y is None; only a folder or an image set brings "
            "its own classes."
        )
    labels = np.asarray(y.cpu() if isinstance(y, Tensor) else y)
    if labels.dtype == object and (unlabelled := [i for i, label in enumerate(labels.flat) if label is None]):
        raise ValueError(f"Labels must be known, but label {unlabelled[0]} is None; leave its picture out.")
    if labels.dtype.kind == "f" and np.isfinite(labels).all():
        if (labels != labels.round()).any():
            raise ValueError("Labels are integers or names, but these are continuous.")
        labels = labels.astype(np.int64)
    as_labels(y if labels.dtype.kind in "USO" else labels)  # says what is wrong
    return labels


def check_count(pictures: int, labels: np.ndarray) -> None:
    """Raise unless there is a label for each picture."""
    if pictures != len(labels):
        raise ValueError(f"There are {pictures} pictures, but {len(labels)} labels; each picture has one.")
