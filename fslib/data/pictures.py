"""Pictures as people have them: files of all sizes and kinds in folders, a broken one among them.

Nothing is lost on the way: what cannot be read is told in a sentence that names it, and the rest goes on. Pictures are
read one at a time, so a million of them take no more memory than one.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fslib.data.image_set import ImageSet
from fslib.data.transforms import as_array, drawing, grey, opened, photograph, to_input

READ_AT = 512  # pixels a side that suffice of a large JPEG
# How names end of what lies beside pictures, left by people and by systems; all else is tried.
NO_PICTURES = {
    ".csv", ".db", ".doc", ".docx", ".html", ".ini", ".json", ".md", ".mov", ".mp4", ".pdf", ".txt", ".xml", ".zip",
}  # fmt: skip


class Found(NamedTuple):
    """What :func:`in_classes` finds.

    Attributes:
        files: the pictures, class after class, in the order of their names.
        labels: the class of each.
        left_out: a sentence for each thing that is no picture of a class.
    """

    files: list[Path]
    labels: list[str]
    left_out: list[str]


@dataclass(frozen=True)
class Read:
    """One picture that was read, or could not be.

    Attributes:
        name: its path, or its number among the others.
        input: network input; ``None`` if it could not be read.
        look: the whole of it at 32 × 32 pixels, uint8 (1024,), by which copies are found.
        problem: why it could not be read.
    """

    name: str
    input: Tensor | None = None
    look: Tensor | None = None
    problem: str = ""


def in_classes(folder: str | os.PathLike) -> Found:
    """The files of a folder that holds a folder for each class, as ``letters/alpha/1.png``.

    A class is named like its folder, in which pictures may lie at any depth. Hidden files are passed over, and what by
    its name is no picture is left out. Links are followed, but not back to a folder that is being looked through.

    Raises:
        FileNotFoundError, NotADirectoryError: if there is no such folder.
        ValueError: if it holds no class with a file, or its one folder holds those of the classes.
    """
    root = _folder(folder)
    found = Found([], [], [])
    entries = _entries(root, found.left_out)
    places = [place for place in entries if os.path.isdir(place)]
    found.left_out.extend(f"{entry} lies in no folder of a class." for entry in entries if entry not in places)
    inside = {_identity(place) for place in (root, *places)}
    for place in places:
        files = list(_by_name(_walk(place, inside - {_identity(place)}, found.left_out), found.left_out))
        found.files.extend(files)
        found.labels.extend([place.name] * len(files))
        if not files:
            found.left_out.append(f"{place} holds no picture, so there is no class {place.name!r}.")
    if not found.files:
        raise ValueError(
            f"{root} holds no folder with pictures; put those of each class into a folder of its own, as in "
            f"{Path(root.name, 'alpha', '1.png')}."
        )
    folders = {str(file.parent) for file in found.files}
    above = os.path.commonpath(folders)
    if len(set(found.labels)) == 1 and len(folders) > 1 and above not in folders:
        raise ValueError(f"{root} holds a single folder with pictures; the folders of classes lie in {above}.")
    return found


def in_folder(place: str | os.PathLike) -> Iterator[Path]:
    """All files in a folder, at any depth, in the order of their names; a file is itself.

    Raises:
        FileNotFoundError: if there is neither.

    Warns:
        UserWarning: of a folder in it that cannot be opened.
    """
    if Path(place).is_file():
        yield Path(place)
        return
    left_out: list[str] = []
    yield from _walk(_folder(place), set(), left_out)
    warn_of(left_out)


def pictures_in(place: str | os.PathLike, left_out: list[str]) -> Iterator[Path]:
    """As :func:`in_folder`, but in a folder a file that by its name is no picture is told to ``left_out`` instead."""
    yield from _by_name(in_folder(place), left_out) if os.path.isdir(place) else in_folder(place)


def read(pictures: Iterable[Any], transform: Callable[[Image.Image], Tensor]) -> Iterator[Read]:
    """Read pictures one after the other, whatever they are.

    Args:
        pictures: paths, Pillow images, or uint8 arrays or tensors, (h, w), (c, h, w) or (h, w, c).
        transform: from a Pillow image to network input.

    Raises:
        TypeError: if one is nothing of the kind, which is a mistake in the program and no broken picture.
    """
    for number, picture in enumerate(pictures):
        name = os.fsdecode(picture) if isinstance(picture, str | os.PathLike) else f"picture {number}"
        try:
            image = _image(picture, name)
            yield Read(name, transform(image), look(image))
        except (OSError, ValueError) as error:
            yield Read(name, problem=str(error))


def look(picture: Image.Image) -> Tensor:
    """A picture at 32 × 32 pixels of grey, uint8 (1024,), whatever its proportions."""
    greys = picture if picture.mode in ("L", "RGB") else Image.fromarray(grey(picture))
    return torch.from_numpy(np.array(greys.resize((32, 32), Image.Resampling.BOX).convert("L"))).flatten()


def from_folder(folder: str | os.PathLike, photographs: bool = False, side: int = 84) -> ImageSet:
    """The pictures in a folder of class folders as an image set, to train, evaluate or draw episodes of.

    Args:
        folder: as :func:`fslib.data.pictures.in_classes` has it.
        photographs: keep colours and proportions; default, make drawings of 28 × 28 of them, as
            :func:`fslib.data.on_white` does.
        side: of the square in whose middle a photograph lies.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: as there, or if no picture can be read.

    Warns:
        UserWarning: of what was left out.

    Example:
        >>> for name in ("ring", "bar"):
        ...     Path("signs", name).mkdir(parents=True)
        ...     Image.new("L", (40, 60)).save(f"signs/{name}/1.png")
        >>> from_folder("signs")
        signs: 2 images of 2 classes
    """
    found = in_classes(folder)
    taken = read(found.files, (lambda picture: photograph(picture, side)) if photographs else drawing)
    images, labels, left_out = [], [], found.left_out
    for each, label in zip(taken, found.labels):
        if each.input is None:
            left_out.append(each.problem)
            continue
        ink = each.input if photographs else 1 - each.input
        images.append((255 * ink).round().to(torch.uint8))
        labels.append(label)
    warn_of(left_out)
    if not images:
        raise ValueError(f"{folder} holds no picture that can be read.")
    transform = colours if photographs else to_input
    return ImageSet(
        Path(folder).name, torch.stack(images), labels, sorted(set(labels)), transform=transform  # type: ignore[arg-type]
    )


def colours(images: Tensor) -> Tensor:
    """Network input of photographs, uint8 (..., 3, h, w): black = 0, white = 1."""
    return images.float() / 255


def warn_of(left_out: Sequence[str]) -> None:
    """Warn that pictures were left out, in one sentence, with the first reason."""
    if left_out:
        others = f" And {len(left_out) - 1} more were left out." if len(left_out) > 1 else ""
        warnings.warn(f"Left out: {left_out[0]}{others}", stacklevel=3)


def _image(picture: Any, name: str) -> Image.Image:
    """A picture of any kind as a Pillow image that is wholly read."""
    if isinstance(picture, str | os.PathLike):
        return opened(picture, READ_AT)
    if isinstance(picture, Image.Image):
        try:
            picture.load()
        except Exception as error:  # Pillow raises many kinds
            raise OSError(f"{name} is not a picture that can be read ({error}).") from error
        return picture
    array, kind = as_array(picture)
    array = np.asarray(array.cpu() if isinstance(array, Tensor) else array)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if kind != "uint8" or not array.size or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,), (4,)):
        found = f"{kind} of shape {array.shape}" if array.ndim else type(picture).__name__
        advice = "; Image.open(BytesIO(…)) makes a picture of them" if isinstance(picture, bytes) else ""
        raise TypeError(
            f"{name} must be a path, a Pillow image or uint8 of shape (h, w), (c, h, w) or (h, w, c), but is "
            f"{found}{advice}."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _folder(folder: str | os.PathLike) -> Path:
    path = Path(folder)
    if not path.exists():
        raise FileNotFoundError(f"There is no folder {path}.")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, and not a folder that holds a folder for each class.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be opened; you have no right to look into it.")
    return path


def _entries(folder: Path, left_out: list[str]) -> list[Path]:
    """What lies in a folder and is not hidden, in the order of the names."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        left_out.append(f"{folder} cannot be opened ({error.strerror}).")
        return []


def _walk(folder: Path, seen: set[tuple[int, int]], left_out: list[str]) -> Iterator[Path]:
    """The files in a folder at any depth; ``seen`` are the folders that were, or will be, looked through."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        if os.path.isdir(place):
            if _identity(place) not in seen:
                seen.add(_identity(place))
                waiting.extend(reversed(_entries(place, left_out)))
        else:
            yield place


def _by_name(files: Iterable[Path], left_out: list[str]) -> Iterator[Path]:
    """Those of some files that may be pictures; a sentence for each other one goes to ``left_out``."""
    for file in files:
        if file.suffix.lower() in NO_PICTURES:
            left_out.append(f"{file} is no picture, as its name says.")
        else:
            yield file


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder, by whatever path it is reached."""
    status = folder.stat()
    return status.st_dev, status.st_ino
