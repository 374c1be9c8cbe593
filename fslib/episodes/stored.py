"""Episodes in a file that any program can read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fslib import files
from fslib.data import ImageSet
from fslib.episodes.episode import Episode, check_episodes
from fslib.episodes.sampler import EpisodeSampler
from fslib.episodes.unbalanced import UnbalancedEpisode
from fslib.episodes.unlabelled import SemiSupervisedEpisode

_KINDS = SemiSupervisedEpisode, UnbalancedEpisode, Episode  # the plain one last: the others have its parts, too


def save(episodes: Episode | EpisodeSampler, path: str | Path, data: ImageSet) -> None:
    """Store episodes in a file that any program with NumPy can read.

    It is an ``.npz`` with the arrays ``classes``, ``support`` and ``query`` of :class:`Episode`, what other kinds of
    episodes add to these, and ``about``, a JSON text that says which data set they are of and how many there are.

    Args:
        episodes: a sampler, whose seed is noted too, or a stack.
        path: by custom ending in ``.npz``. An interrupted write leaves the old file as it was.
        data: the data set that the indices are of.

    Raises:
        ValueError: if these are no episodes, or not well-formed; see :func:`check_episodes`.

    Example:
        >>> from fslib import data, episodes
        >>> test = data.load("glyphs", "test")
        >>> episodes.save(EpisodeSampler(test, way=5, shot=1, query=15, episodes=100), "test.npz", test)
        >>> len(episodes.load("test.npz", test))
        100
    """
    if not isinstance(episodes, (Episode, EpisodeSampler)):
        raise ValueError(f"What is saved is a sampler or a stack of episodes, not {episodes!r}.")
    stack = episodes if isinstance(episodes, Episode) else episodes[:]
    check_episodes(stack, data.labels)
    about = _identity(data) | dict(
        way=stack.way,
        shot=stack.shot,
        query=stack.n_query,
        episodes=len(stack),
        seed=getattr(episodes, "seed", None),
    )
    arrays = {name: array.cpu().numpy().astype(np.int32) for name, array in vars(stack).items()}
    with files.atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=json.dumps(about), **arrays)


def load(path: str | Path, data: ImageSet) -> Episode:
    """The stack of episodes that :func:`save` stored.

    Args:
        path: of the file.
        data: the data set that they are of; the same images in the same order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no episodes, those of other data, or broken ones; see :func:`check_episodes`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file of episodes {path}.")
    try:
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            was = {key: about[key] for key in ("data", "images", "digest")}
            kind = next(kind for kind in _KINDS if _parts(kind) <= {*stored.files})
            arrays = {name: stored[name] for name in _parts(kind)}
        if any(array.dtype.kind not in "iu" for array in arrays.values()):
            raise ValueError("not integers")
        stack = kind(**{name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()})
    except PermissionError:  # names the file
        raise
    except Exception as error:  # zipfile, zlib, json, NumPy and Python each have their own
        raise ValueError(
            f"{path} is not a file that fslib.episodes.save has written, or it is damaged."
        ) from error
    if was != _identity(data):
        told = "{data}, {images} images, digest {digest}".format_map
        raise ValueError(
            f"{path} holds episodes of other data: of {told(was)}; this is {told(_identity(data))}."
        )
    try:
        check_episodes(stack, data.labels)
    except ValueError as error:
        raise ValueError(f"{path} holds broken episodes: {error}") from error
    return stack


def _parts(kind: type[Episode]) -> set[str]:
    """The names of the parts of a kind of episodes."""
    return {field.name for field in dataclasses.fields(kind)}


def _identity(data: ImageSet) -> dict[str, Any]:
    """What tells a data set from others."""
    return dict(data=data.name, images=len(data), digest=data.digest)
