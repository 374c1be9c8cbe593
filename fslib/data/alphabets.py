"""Alphabets that were drawn on the pad of the book, and saved there: each a small file of strokes and pictures.

The file is JSON, so that other programs read it as well::

    {"format": "learning-to-compare alphabet", "version": 1, "writer": "Anna", "centred": true,
     "classes": [{"name": "A", "drawings": [{"strokes": [[[20.5, 31], [64, 80.2]]], "picture": "/////v79…"}]}]}

Strokes are lists of points in a frame of 105 × 105, see :mod:`fslib.data.strokes`. A picture is the base64 of 28 × 28
bytes, row by row, dark ink on white paper: what the pad made of the strokes. They must agree, so damage to either is
noticed.
"""

from __future__ import annotations

import base64
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fslib import files
from fslib.data import strokes
from fslib.data.image_set import ImageSet
from fslib.data.pictures import in_folder, warn_of
from fslib.data.transforms import SIDE

KIND, VERSION = "learning-to-compare alphabet", 1
LARGEST = 5_000_000  # bytes; a full pad takes a tenth of a million
FAR = 1e6  # where no pen goes


@dataclass(frozen=True, repr=False, eq=False)
class Alphabet:
    """Drawings of some characters by one writer.

    Attributes:
        classes: the drawings of each character, by its name: lists of strokes, each (points, 2).
        writer: who drew them, or ``""``.
        centred: whether each drawing is moved to the middle and brought to the usual size, before it is a picture.

    Raises:
        ValueError: if these are no drawings, a name is empty, or one comes twice.

    Example:
        >>> Alphabet({"slash": [[[(20, 80), (80, 20)]]]}, writer="Anna").save("anna.json")
        >>> read("anna.json")
        Alphabet by Anna: slash (1)
    """

    classes: Mapping[str, Sequence[strokes.Drawing]]
    writer: str = ""
    centred: bool = True

    def __post_init__(self) -> None:
        names = [_name(name) for name in self.classes]
        if "" in names or len(set(names)) < len(names):
            raise ValueError(f"Each character has a name of its own, but these are {', '.join(map(repr, names))}.")
        drawings = [[_drawing(each) for each in several] for several in self.classes.values()]
        object.__setattr__(self, "classes", dict(zip(names, drawings)))
        object.__setattr__(self, "writer", _name(self.writer))

    def __repr__(self) -> str:
        by = f" by {self.writer}" if self.writer else ""
        return f"Alphabet{by}: {', '.join(f'{name} ({len(drawings)})' for name, drawings in self.classes.items())}"

    def picture(self, drawing: strokes.Drawing) -> np.ndarray:
        """What the pad sees of a drawing, dark ink on white paper, uint8 (28, 28)."""
        ink = strokes.rasterize(strokes.centred(drawing) if self.centred else drawing)
        return np.rint(255 * (1 - ink)).astype(np.uint8)

    def save(self, path: str | Path) -> None:
        """Write the file that the pad opens."""
        about = {"format": KIND, "version": VERSION, "writer": self.writer, "centred": self.centred}
        classes = [
            {"name": name, "drawings": [self._stored(each) for each in drawings]}
            for name, drawings in self.classes.items()
        ]
        with files.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(about | {"classes": classes}, ensure_ascii=False), encoding="utf8")

    def _stored(self, drawing: strokes.Drawing) -> dict[str, Any]:
        rounded = [stroke.round(1) for stroke in drawing]  # a tenth of a pixel, from which the picture is made
        picture = base64.b64encode(self.picture(rounded).tobytes()).decode()
        return {"strokes": [stroke.tolist() for stroke in rounded], "picture": picture}


def read(path: str | os.PathLike) -> Alphabet:
    """Read the alphabet in a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no alphabet, is damaged, is far too large, or comes from a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no alphabet {path}.")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST // 10**6} MB, which no alphabet of the drawing pad is.")
    stored = path.read_bytes()
    try:
        content = json.loads(stored)
        version = content["version"]
        if content["format"] != KIND or type(version) is not int or version < 1:
            raise ValueError("this is something else")
        alphabet = _alphabet(content) if version <= VERSION else None
    except Exception as error:  # whatever a damaged or foreign file leads to
        raise ValueError(f"{path} is not an alphabet that the drawing pad has saved, or it is damaged.") from error
    if alphabet is None:
        raise ValueError(
            f"{path} was saved by a newer drawing pad (version {version}, this fslib reads up to {VERSION}); "
            "update fslib."
        )
    return alphabet


def from_alphabets(*places: str | os.PathLike) -> ImageSet:
    """The alphabets of one writer or of many as an image set, to train, evaluate or draw episodes of.

    Characters of one name are one class, whoever drew them.

    Args:
        places: files that the drawing pad has saved, or folders of them, at any depth.

    Returns:
        Images (n, 1, 28, 28), classes in the order of their names. ``domains`` holds the number of the writer, in the
        order of the files. Files with the same name of a writer are by one writer; one without a name is by a writer
        of its own.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if a file is refused, as :func:`read` says, or nothing is drawn.

    Warns:
        UserWarning: of files in a folder that were left out.
    """
    alphabets, left_out = _found(places)
    numbers: dict[Any, int] = {}
    pictures, labels, writers = [], [], []
    for place, alphabet in enumerate(alphabets):
        writer = numbers.setdefault(alphabet.writer or place, len(numbers))
        for name, drawings in alphabet.classes.items():
            pictures += [alphabet.picture(drawing) for drawing in drawings]
            labels += [name] * len(drawings)
            writers += [writer] * len(drawings)
    if not pictures:
        raise ValueError(" ".join(["There is no drawing in any of these alphabets.", *left_out[:1]]))
    warn_of(left_out)
    name = Path(places[0]).stem if len(places) == 1 else f"{len(alphabets)} alphabets"
    images, domains = torch.from_numpy(np.stack(pictures))[:, None], torch.tensor(writers)
    return ImageSet(name, images, labels, sorted(set(labels)), domains=domains)  # type: ignore[arg-type]


def _found(places: Sequence[str | os.PathLike]) -> tuple[list[Alphabet], list[str]]:
    """The alphabets in some places, and a sentence for each file in a folder that is none."""
    alphabets, left_out = [], []
    for place in places:
        if not os.path.isdir(place):
            alphabets.append(read(place))
            continue
        for path in in_folder(place):
            try:
                alphabets.append(read(path))
            except (OSError, ValueError) as error:
                left_out.append(str(error))
    return alphabets, left_out


def _alphabet(content: Mapping[str, Any]) -> Alphabet:
    """The alphabet of a file, whose pictures must be those of its strokes."""
    classes = {each["name"]: [one["strokes"] for one in each["drawings"]] for each in content["classes"]}
    if len(classes) < len(content["classes"]) or type(content["centred"]) is not bool:
        raise ValueError("a name comes twice, or centred is neither true nor false")
    alphabet = Alphabet(classes, content["writer"], content["centred"])
    pictures = [one["picture"] for each in content["classes"] for one in each["drawings"]]
    drawings = [one for several in alphabet.classes.values() for one in several]
    for stored, drawing in zip(pictures, drawings):
        picture = np.frombuffer(base64.b64decode(stored, validate=True), np.uint8).reshape(SIDE, SIDE)
        if abs(picture.astype(int) - alphabet.picture(drawing)).max() > 1:  # which is rounding
            raise ValueError("a picture is not that of its strokes")
    return alphabet


def _name(name: str) -> str:
    """A name as one may compare it: of the ways to write an accented letter, always the same."""
    if not isinstance(name, str):
        raise ValueError(f"A name is a text, but this is {name!r}.")
    return unicodedata.normalize("NFC", name).strip()


def _drawing(drawing: Any) -> list[np.ndarray]:
    """Strokes, each of at least one point."""
    said = "A drawing is a list of strokes, each a list of at least one point (x, y)"
    try:
        points = [np.array(stroke, np.float64) for stroke in drawing]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{said}: {error}.") from error
    for stroke in points:
        if stroke.ndim != 2 or stroke.shape[1] != 2 or not len(stroke):
            raise ValueError(f"{said}, but one stroke has shape {stroke.shape}.")
        if not (abs(stroke) < FAR).all():  # nor NaN
            raise ValueError(f"{said}, in a frame of {strokes.FRAME} × {strokes.FRAME}, but one lies far off.")
    if not points:
        raise ValueError(f"{said}, but this has none.")
    return points
