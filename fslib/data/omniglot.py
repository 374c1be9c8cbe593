"""Omniglot: 1,623 characters of 50 alphabets, each drawn once by 20 people (Lake et al., 2015)."""

from __future__ import annotations

import functools
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fslib import files
from fslib.augmentation import turned
from fslib.data.image_set import ImageSet
from fslib.data.transforms import shrink

PARTS = {"images_background": 964, "images_evaluation": 659}
DRAWERS = 20

# The split by Vinyals et al. (2016), whose lists the authors of Prototypical Networks published.
_TEST = {
    "Kannada", "Keble", "Malayalam", "Manipuri", "Mongolian", "Old_Church_Slavonic_(Cyrillic)", "Oriya", "Sylheti",
    "Syriac_(Serto)", "Tengwar", "Tibetan", "ULOG",
}  # fmt: skip
_TEST_GURMUKHI = {f"Gurmukhi/character{number}" for number in (42, 43, 44, 45)}
_VALIDATION = {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}


def load(splits: Sequence[str], protocol: str = "vinyals", rotations: bool = True) -> ImageSet:
    """Load Omniglot at 28 × 28.

    Args:
        splits: any of ``"train"``, ``"validation"``, ``"test"``.
        protocol: ``"vinyals"`` mixes both published parts and divides 1,623 characters into 1,028 for training,
            172 for validation and 423 for testing, mostly by alphabet; it is what the papers' tables use.
            ``"lake"`` keeps the parts apart, as they were published: the 20 evaluation alphabets are for testing, and
            of the 30 background alphabets the five that Vinyals et al. validate on are for validation here too, so
            that ``"train+validation"`` is the whole background part.
        rotations: let each character turned by 90°, 180° and 270° be three more classes, as the papers do.

    Returns:
        Images (n, 1, 28, 28); ``class_groups`` holds the alphabets, a turned one being another, and ``domains`` the
        number of the writer within the alphabet, 0 … 19.
    """
    if protocol not in ("vinyals", "lake"):
        raise ValueError(f"There is no protocol {protocol!r}; there are 'vinyals' and 'lake'.")
    images, characters = _read_all(files.data_dir() / "omniglot")
    split_of = _vinyals if protocol == "vinyals" else _lake
    kept = [i for i, character in enumerate(characters) if split_of(character) in splits]
    names = [characters[i].split("/", 1)[1] for i in kept]
    upright = ImageSet(
        name=f"Omniglot {'+'.join(splits)} ({protocol})",
        images=images[kept].flatten(0, 1)[:, None],
        labels=torch.arange(len(names)).repeat_interleave(DRAWERS),
        class_names=names,
        class_groups=[name.split("/")[0] for name in names],
        domains=torch.arange(DRAWERS).repeat(len(names)),
    )
    if not rotations:
        return upright
    turns = {f"turned {90 * k}°": functools.partial(turned, quarters=k) for k in (1, 2, 3)}
    return upright.with_new_classes(turns)


def _vinyals(character: str) -> str:
    _, alphabet, number = character.split("/")
    if alphabet in _TEST or f"{alphabet}/{number}" in _TEST_GURMUKHI:
        return "test"
    return "validation" if alphabet in _VALIDATION else "train"


def _lake(character: str) -> str:
    part, alphabet, _ = character.split("/")
    if part == "images_evaluation":
        return "test"
    return "validation" if alphabet in _VALIDATION else "train"


@functools.cache
def _read_all(folder: Path) -> tuple[Tensor, list[str]]:
    """All pictures, uint8 (1623, 20, 28, 28), and the characters as part/alphabet/characterNN."""
    images: list[np.ndarray] = []
    characters: list[str] = []
    for part, count in PARTS.items():
        found = _read_part(folder, part)
        wrong = [name for name, drawings in found.items() if len(drawings) != DRAWERS]
        if len(found) != count or wrong:
            holds = f"{wrong[0]} has {len(found[wrong[0]])}" if wrong else f"there are {len(found)}"
            raise OSError(
                f"{folder / part} should hold {count} characters of {DRAWERS} drawings each, but {holds}; "
                "delete it and load again, or copy it again."
            )
        characters += found
        images += [shrink(drawings) for drawings in found.values()]
    return torch.from_numpy(np.stack(images)), characters


def _read_part(folder: Path, part: str) -> dict[str, list[np.ndarray]]:
    """Drawings of each character of one part, in order, from ``part/`` or ``part.zip``, whichever is there."""
    if (folder / part).is_dir():
        source = folder
        found = {p.relative_to(folder).as_posix(): p for p in (folder / part).rglob("*")}
        pictures = {
            name: path.read_bytes()
            for name, path in found.items()
            if _is_drawing(name, part) and path.is_file()
        }
    else:
        source = _archive(folder, part)
        pictures = _unzip(source, part)
    drawings: dict[str, list[np.ndarray]] = {}
    for name in sorted(pictures):
        try:
            picture = np.array(Image.open(io.BytesIO(pictures[name])).convert("L"))
        except Exception as error:  # Pillow raises many kinds, and cannot know the file
            raise OSError(
                f"{source / name} is damaged; copy Omniglot again, or delete it and load again."
            ) from error
        drawings.setdefault(name.rsplit("/", 1)[0], []).append(picture)
    return drawings


def _is_drawing(name: str, part: str) -> bool:
    """Whether a file is one of Omniglot's, and not one that a system or a person has left there."""
    return bool(re.fullmatch(rf"{part}/[^/]+/character\d+/\d+_\d+\.png", name, re.IGNORECASE))


def _unzip(archive: Path, part: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if _is_drawing(name, part)]
            return {name: opened.read(name) for name in names}
    except PermissionError:  # names the file
        raise
    except Exception as error:  # zipfile, zlib and struct each have their own
        raise OSError(
            f"{archive} is damaged or cut short ({archive.stat().st_size:,} bytes); delete it and load again."
        ) from error


def _archive(folder: Path, part: str) -> Path:
    """The local archive of one part, downloaded and checked by torchvision if it is not there yet."""
    archive = folder / f"{part}.zip"
    if not archive.exists():
        from torchvision.datasets import Omniglot  # slow to import, and seldom needed
        from torchvision.datasets.utils import download_url

        checksum = Omniglot.zips_md5[part]
        try:
            with files.atomic_write(archive) as temporary:
                address = f"{Omniglot.download_url_prefix}/{part}.zip"
                download_url(address, str(temporary.parent), filename=temporary.name, md5=checksum)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"Omniglot is not in {folder} and could not be downloaded ({error}); put {part}.zip there, "
                "or set FSLIB_DATA to the folder that holds omniglot/."
            ) from error
    return archive
