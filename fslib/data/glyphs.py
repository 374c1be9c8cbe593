"""Glyphs: a data set of some 1,900 characters, made from the fonts that come with Matplotlib.

No download and no licence question. Each character is drawn in up to sixteen faces and bent by random affine and
elastic maps until it looks written by hand: twenty pictures a class, grouped by writing system.
"""

from __future__ import annotations

import functools
import io
import os
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fslib import files
from fslib.augmentation import random_warp
from fslib.data.image_set import ImageSet
from fslib.data.transforms import SIDE
from fslib.labels import as_labels
from fslib.metrics import squared_euclidean

VERSION = 2  # raise it when the pictures change, so that old caches are left alone
EXAMPLES = 20

# Writing systems by split, each named as in the Unicode names of its characters.
SCRIPTS = {
    "train": (
        "LATIN", "CANADIAN SYLLABICS", "CYRILLIC", "ARABIC", "DOMINO TILE", "APL", "HEXAGRAM", "PLAYING CARD",
    ),
    "validation": ("GREEK", "NKO", "OLD ITALIC", "OGHAM"),
    "test": ("GEORGIAN", "ARMENIAN", "LAO", "TIFINAGH", "HEBREW", "LISU"),
}  # fmt: skip
_NAMES = {"APL": "APL", "NKO": "N'Ko"}  # where the capital letters of a name are not just its first

FACES = [
    f"{family}{style}"
    for family, styles in {
        "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
        "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
        "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
        "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
    }.items()
    for style in styles
]

#: What a face is made of, by the names of the values that :func:`attributes` numbers.
ATTRIBUTES = {
    "family": ("DejaVu Sans", "DejaVu Sans Mono", "DejaVu Serif", "STIX"),
    "weight": ("regular", "bold"),
    "slant": ("upright", "slanted"),
}
_BALANCED = range(12)  # the faces of DejaVu: three families × two weights × two slants

_DRAWN, _FRAME, _MASTER = (
    44,
    64,
    32,
)  # longer side of a glyph, of the frame around it, of the frame averaged
_SAME = 0.002  # mean squared difference of two masters below which two characters look the same


def load(splits: Sequence[str]) -> ImageSet:
    """Load Glyphs; the first call on a machine makes the pictures, later ones read them from the cache.

    Args:
        splits: any of ``"train"``, ``"validation"``, ``"test"``.

    Returns:
        Images (n, 1, 28, 28); ``domains`` holds the face, an index into ``FACES``.
    """
    images, faces, characters = _all()
    scripts = [script_of(chr(code)) or "" for code in characters]
    kept = [
        i for i, script in enumerate(scripts) if any(script in SCRIPTS[split] for split in splits)
    ]
    return ImageSet(
        name=f"Glyphs {'+'.join(splits)}",
        images=images[kept].reshape(-1, 1, SIDE, SIDE),
        labels=torch.arange(len(kept)).repeat_interleave(EXAMPLES),
        class_names=[unicodedata.name(chr(characters[i])) for i in kept],
        class_groups=[named(scripts[i]) for i in kept],
        domains=faces[kept].flatten(),
    )


def attributes(domains: Any) -> dict[str, Tensor]:
    """Family, weight and slant of faces, as numbers of their values in :data:`ATTRIBUTES`.

    Args:
        domains: faces, indices into ``FACES``, (n,), as the ``domains`` of Glyphs.

    Returns:
        ``"family"``, ``"weight"`` and ``"slant"``, each int64 (n,).

    Raises:
        ValueError: if one is no face.

    Example:
        >>> of = attributes([FACES.index("DejaVuSerif-BoldItalic")])
        >>> {name: ATTRIBUTES[name][value.item()] for name, value in of.items()}
        {'family': 'DejaVu Serif', 'weight': 'bold', 'slant': 'slanted'}
    """
    faces = as_labels(domains, names=False)
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(FACES):
        raise ValueError(
            f"Faces of Glyphs are numbered 0 to {len(FACES) - 1}, but these are {faces.min()} to {faces.max()}."
        )
    return {"family": faces // 4, "weight": faces % 2, "slant": faces // 2 % 2}


def balanced(data: ImageSet) -> ImageSet:
    """One picture in each of twelve faces, three families × two weights × two slants, of the classes that have them.

    In all of Glyphs a face tells something of the script, and so of the class, for many characters are in few faces
    only. Here each class has each value of an attribute equally often, with each value of the others.

    Args:
        data: Glyphs, or some classes of it.

    Returns:
        Twelve pictures a class, in the order of the faces; of all splits together 477 classes, in five scripts.

    Raises:
        ValueError: if the data does not tell the faces, or no class has them all.

    Example:
        >>> from fslib import data
        >>> balanced(data.load("glyphs", "validation"))
        Glyphs validation, balanced: 612 images of 51 classes
    """
    if data.domains is None:
        raise ValueError(f"{data.name} does not tell the face of each picture (domains); Glyphs does.")
    first = torch.full((len(data.class_names), len(FACES)), len(data))
    attributes(data.domains)  # which refuses what is no face
    cells = data.labels * len(FACES) + data.domains
    first.view(-1).scatter_reduce_(0, cells, torch.arange(len(data)), "amin")
    pictures = first[:, _BALANCED.start : _BALANCED.stop]
    complete = (pictures < len(data)).all(1)
    if not complete.any():
        raise ValueError(f"No class of {data.name} has the faces 0 to {_BALANCED.stop - 1}.")
    kept, classes = pictures[complete].flatten(), complete.nonzero().flatten().tolist()
    return replace(
        data,
        name=f"{data.name}, balanced",
        images=data.images[kept.to(data.images.device)],
        labels=torch.arange(len(classes)).repeat_interleave(len(_BALANCED)),
        class_names=[data.class_names[c] for c in classes],
        class_groups=[data.class_groups[c] for c in classes] if data.class_groups else (),
        domains=data.domains[kept],
    )


def script_of(character: str) -> str | None:
    """The writing system of a character, or None if it is in none of ours."""
    name = unicodedata.name(character, "")
    return next(
        (
            script
            for scripts in SCRIPTS.values()
            for script in scripts
            if name.startswith(script + " ")
        ),
        None,
    )


def named(script: str) -> str:
    """A writing system as people write it: ``"Greek"`` for ``"GREEK"``."""
    return _NAMES.get(script, script.capitalize())


def look_alikes(change: Callable[[Tensor], Tensor]) -> list[tuple[str, str]]:
    """Which characters a map makes of which: of p a mirror makes q, and of o it makes o.

    They are compared as the fonts have them, before any warp: two characters look alike if in one face, any of
    ``FACES``, the first as the map makes it and the second differ by less than the mean squared difference below
    which this data set takes two characters for one.

    Args:
        change: from ink (n, 1, 32, 32) to as much of that shape, as :func:`fslib.augmentation.mirrored`.

    Returns:
        Pairs of class names, of all splits, a class and what becomes of it; itself if it stays what it is.

    Example:
        >>> from fslib.augmentation import mirrored
        >>> ("LATIN SMALL LETTER P", "LATIN SMALL LETTER Q") in look_alikes(mirrored)
        True
    """
    pairs = set()
    for owners, ink in _masters():
        changed = change(ink[:, None])
        if not isinstance(changed, Tensor) or changed.shape != ink[:, None].shape:
            what = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise ValueError(
                f"A map makes of ink as much of that shape, here {tuple(ink[:, None].shape)}, but this one {what}."
            )
        apart = squared_euclidean(changed.flatten(1), ink.flatten(1)) / ink[0].numel()
        pairs |= {(owners[i], owners[j]) for i, j in (apart < _SAME).nonzero().tolist()}
    return [(unicodedata.name(chr(code)), unicodedata.name(chr(other))) for code, other in sorted(pairs)]


@functools.cache
def _masters() -> list[tuple[list[int], Tensor]]:
    """Of each face, the code points of the characters that it has, and their ink, (n, 32, 32)."""
    masters = []
    for face in FACES:
        font, covered = _font(face), _covered(face)
        drawn = {code: draw(chr(code), font) for code in _all()[2] if code in covered}
        inked = {code: master for code, master in drawn.items() if master is not None}
        masters.append((list(inked), torch.from_numpy(np.stack(list(inked.values())))))
    return masters


def _all() -> tuple[Tensor, Tensor, list[int]]:
    """Images, faces and code points of all classes, from the cache of this machine."""
    return _cached(files.cache_dir() / f"glyphs-{VERSION}-matplotlib-{matplotlib.__version__}.npz")


@functools.cache
def _cached(path: Path) -> tuple[Tensor, Tensor, list[int]]:
    """Images (classes, 20, 28, 28), faces (classes, 20) and code points, read from ``path`` or made there."""
    kept = _read(path) if os.path.exists(path) else None
    images, faces, characters = kept or make()
    if not kept:
        try:
            with files.atomic_write(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, images=images, faces=faces, characters=characters)
        except OSError as error:
            warnings.warn(
                f"Glyphs could not be kept for the next time ({error}); set FSLIB_CACHE to a folder that can be "
                "written.",
                stacklevel=2,
            )
    return torch.from_numpy(images), torch.from_numpy(faces), characters.tolist()


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """What :func:`make` made, from the file in which it was kept; ``None``, with a warning, of a damaged one."""
    try:
        with np.load(path) as stored:
            images, faces, characters = (stored[name] for name in ("images", "faces", "characters"))
        shape = len(characters), EXAMPLES
        if (images.dtype, images.shape, faces.shape) != (np.uint8, (*shape, SIDE, SIDE), shape):
            raise ValueError("other arrays")
    except PermissionError:  # names the file
        raise
    except Exception as error:  # zipfile, zlib, NumPy and Python each have their own
        warnings.warn(
            f"The cached data set {path} is damaged ({error}); it is made again.", stacklevel=2
        )
        return None
    return images, faces, characters


def make() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make all pictures: images (classes, 20, 28, 28), faces (classes, 20), code points (classes,)."""
    fonts = [_font(face) for face in FACES]
    covers = [_covered(face) for face in FACES]
    masters: list[np.ndarray] = []
    owners: list[int] = []  # the class of each master
    drawn_in: list[int] = []  # and its face
    characters: list[int] = []
    for code, drawn in _distinct(fonts, covers).items():
        for face, master in drawn.items():
            masters.append(master)
            owners.append(len(characters))
            drawn_in.append(face)
        characters.append(code)
    which = _in_turn(np.array(owners))
    ink = torch.from_numpy(np.stack(masters))[:, None]
    random = torch.Generator().manual_seed(0)
    images = [
        random_warp(ink[part], 14, 0.17, 0.25, 0.07, elastic=0.10, size=SIDE, generator=random)
        for part in torch.from_numpy(which.flatten()).split(4000)
    ]
    paper = 255 - (torch.cat(images).clamp(0, 1) * 255).round().to(torch.uint8)
    return (
        paper.reshape(-1, EXAMPLES, SIDE, SIDE).numpy(),
        np.array(drawn_in)[which],
        np.array(characters),
    )


def draw(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray | None:
    """Ink of one character, cropped, fitted into its frame and averaged, (32, 32) in [0, 1]; None if blank."""
    left, top, right, bottom = font.getbbox(character)
    picture = Image.new("L", (max(1, int(right - left)), max(1, int(bottom - top))))
    ImageDraw.Draw(picture).text((-left, -top), character, fill=255, font=font)
    inked = picture.getbbox()
    if inked is None:
        return None
    picture = picture.crop(inked)
    ratio = _DRAWN / max(picture.size)
    width, height = (max(1, round(ratio * side)) for side in picture.size)
    frame = Image.new("L", (_FRAME, _FRAME))
    corner = (_FRAME - width) // 2, (_FRAME - height) // 2
    frame.paste(picture.resize((width, height), Image.Resampling.BILINEAR), corner)
    return np.asarray(frame.reduce(_FRAME // _MASTER), dtype=np.float32) / 255


def _font(face: str) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf")
    # Basic layout draws one glyph a character and gives the same pictures with or without a shaping library.
    return ImageFont.truetype(
        io.BytesIO(path.read_bytes()), 48, layout_engine=ImageFont.Layout.BASIC
    )


def _covered(face: str) -> set[int]:
    """Code points that a face has a glyph for."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf")
    return set(matplotlib.ft2font.FT2Font(str(path)).get_charmap())


def _distinct(
    fonts: list[ImageFont.FreeTypeFont], covers: list[set[int]]
) -> dict[int, dict[int, np.ndarray]]:
    """Characters that are not blank and do not look like one before them; for each, its masters by face."""
    drawn: dict[int, dict[int, np.ndarray]] = {}
    for code in sorted(filter(_wanted, set().union(*covers)), key=_keeping_order):
        masters = {
            face: draw(chr(code), font) for face, font in enumerate(fonts) if code in covers[face]
        }
        inked = {face: master for face, master in masters.items() if master is not None}
        if inked:
            drawn[code] = inked
    codes = list(drawn)
    apart = torch.full((len(codes), len(codes)), torch.inf)
    for face in set().union(*drawn.values()):
        rows = torch.tensor([i for i, code in enumerate(codes) if face in drawn[code]])
        ink = torch.from_numpy(np.stack([drawn[codes[i]][face] for i in rows])).flatten(1)
        pairs = rows[:, None], rows[None, :]
        apart[pairs] = apart[pairs].minimum(squared_euclidean(ink, ink) / ink.shape[1])
    return {code: drawn[code] for i, code in enumerate(codes) if (apart[i, :i] > _SAME).all()}


def _wanted(code: int) -> bool:
    """Letters, numbers and signs of our writing systems; no accented compositions, no presentation forms."""
    character = chr(code)
    return (
        script_of(character) is not None
        and unicodedata.category(character)[0] in "LNS"
        and not unicodedata.decomposition(character)
    )


def _keeping_order(code: int) -> tuple[int, int]:
    """Test scripts first: of two characters that look the same, the one a new script needs is kept."""
    split = next(
        i
        for i, s in enumerate(("test", "validation", "train"))
        if script_of(chr(code)) in SCRIPTS[s]
    )
    return split, code


def _in_turn(owners: np.ndarray) -> np.ndarray:
    """For each class, which masters its 20 pictures come from: its faces in turn, (classes, 20)."""
    first = np.searchsorted(owners, np.arange(owners[-1] + 1))
    count = np.bincount(owners)
    return first[:, None] + np.arange(EXAMPLES) % count[:, None]
