"""A set of labelled images."""

from __future__ import annotations

import copy
import hashlib
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fslib.data.transforms import as_array, tensor_of, to_input
from fslib.devices import upload
from fslib.labels import as_labels


@dataclass(frozen=True, repr=False, eq=False)  # equal only to itself: compare digests
class ImageSet(torch.utils.data.Dataset):
    """Images of some classes, held in memory.

    What a network sees of them, in training and evaluation alike, is what :meth:`inputs` gives: each set brings its own
    ``transform``, or a subclass its own ``inputs``.

    Attributes:
        name: of the data set and the split.
        images: uint8, dark ink on white paper, (n, 1, h, w); other transforms may want colours, (n, 3, h, w).
        labels: class of each image, 0 … classes − 1, (n,), on the CPU. Made of integers of any kind, or of names that
            stand in ``class_names``.
        class_names: one name a class.
        class_groups: the writing system each class belongs to.
        domains: who or what made each image (the writer, the face of the font), (n,).
        transform: from uint8 images, (..., c, h, w), to network input, floats (..., any shape) in a tensor or an
            array, those of float64 made float32; by default, :func:`to_input`.

    Raises:
        ValueError: if these do not go together.

    Warns:
        UserWarning: if the default transform would take colours for ink.

    Example:
        >>> white, colours = torch.full((2, 3, 32, 32), 255, dtype=torch.uint8), lambda images: images.float() / 255
        >>> ImageSet("Blank", white, [0, 1], ["one", "two"], transform=colours).inputs([1]).shape
        torch.Size([1, 3, 32, 32])
    """

    name: str
    images: Tensor
    labels: Tensor
    class_names: Sequence[str]
    class_groups: Sequence[str] = ()
    domains: Tensor | None = None
    transform: Callable[[Tensor], Tensor] = to_input

    def __post_init__(self) -> None:
        names = _names(self.class_names, "class_names")
        groups = _names(self.class_groups, "class_groups")
        images, labels = _images(self.images), _labels(self.labels, names)
        domains = None if self.domains is None else _domains(self.domains)
        _check_count("label", labels, len(images), "images")
        if domains is not None:
            _check_count("domain", domains, len(images), "images")
        if groups:
            _check_count("group", groups, len(names), "classes")
        if not callable(self.transform):
            raise ValueError("A transform is a function from uint8 images to network input.")
        own = self.transform is not to_input or type(self).inputs is not ImageSet.inputs
        if images.shape[1] == 3 and not own:
            warnings.warn(
                "Colour images with the default transform are taken for dark ink on white paper, made grey, inverted "
                "and scaled to 28 × 28. Others want their own, as transform=lambda images: images.float() / 255.",
                stacklevel=3,
            )
        self._set(images=images, labels=labels, domains=domains)
        self._set(class_names=names, class_groups=groups or ())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image as network input, by default (1, 28, 28), and its label."""
        try:
            number = operator.index(index)
        except TypeError as error:
            raise TypeError(
                f"One image has a whole number, but this is {type(index).__name__}; inputs(…) gives several."
            ) from error
        if not -len(self) <= number < len(self):
            raise IndexError(f"Image {number} was asked for, but {self.name} holds {len(self)}.")
        return self.inputs([number])[0], int(self.labels[number])

    def inputs(self, indices: Any = slice(None)) -> Tensor:
        """Network input for some images, as the ``transform`` of this set gives it, on their device.

        Args:
            indices: a number, a slice, whole numbers of any shape in a tensor on any device, an array, a list or a
                range, or a mask, (n,); default, all.

        Returns:
            Network input, by default (..., 1, 28, 28); see :func:`to_input`.

        Raises:
            IndexError: if there is no such image.
            ValueError: if these are no indices, or the ``transform`` gives no floats, or not one for each image.
        """
        images = self.images[self._positions(indices)]
        inputs = self.transform(images)
        if isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f":
            inputs = tensor_of(inputs.astype(np.float32)).to(images.device)
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            kind = getattr(inputs, "dtype", type(inputs).__name__)
            raise ValueError(f"A transform gives floats, one input an image, but this one {kind}.")
        if inputs.shape[: images.ndim - 3] != images.shape[:-3]:
            raise ValueError(
                f"A transform gives one input an image, but of images {tuple(images.shape)} this one makes "
                f"{tuple(inputs.shape)}."
            )
        return inputs.float() if inputs.dtype == torch.float64 else inputs

    def _positions(self, indices: Any) -> slice | Tensor:
        """Indices of any kind as PyTorch takes them, on the device of the images."""
        if isinstance(indices, slice):
            return indices
        indices = _whole_numbers_or_mask(indices)
        if indices.dtype == torch.bool:
            if indices.shape != (len(self),):
                raise IndexError(
                    f"A mask has shape ({len(self)},) here, but this one {tuple(indices.shape)}."
                )
        elif indices.device.type == "cpu" and indices.numel():  # a GPU would have to be waited for
            first, last = (end.item() for end in indices.aminmax())
            if first < -len(self) or last >= len(self):
                wrong = first if first < -len(self) else last
                raise IndexError(f"Image {wrong} was asked for, but {self.name} holds {len(self)}.")
        return upload(indices, self.images.device)

    @property
    def digest(self) -> str:
        """First 16 digits of the SHA-256 of images and labels. Other data, or another order, has another digest."""
        digest = hashlib.sha256(f"{tuple(self.images.shape)}".encode())
        for part in (self.images, self.labels):
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def to(self, device: torch.device | str) -> ImageSet:
        """The same data set with its images on a device; labels and domains stay on the CPU."""
        return self._with(images=self.images.to(device))

    def select(self, classes: Sequence[int] | Sequence[str]) -> ImageSet:
        """The same data set with only some classes, renumbered in the order given.

        Args:
            classes: their numbers or their names.

        Raises:
            ValueError: if there is no such class, none is asked for, or one comes twice.
        """
        chosen = self._classes(classes)
        number = torch.full((len(self.class_names),), -1)
        number[chosen] = torch.arange(len(chosen))
        labels = number[self.labels]
        kept = labels >= 0
        return self._with(
            name=f"{self.name}, {len(chosen)} classes",
            images=self.images[kept.to(self.images.device)],
            labels=labels[kept],
            class_names=[self.class_names[c] for c in chosen],
            class_groups=[self.class_groups[c] for c in chosen] if self.class_groups else (),
            domains=None if self.domains is None else self.domains[kept],
        )

    def relabelled(self, labels: Any, name: str) -> ImageSet:
        """The same data set under labels that were made up, as by clustering.

        Args:
            labels: of each image, (n,), integers; images with a negative one are left out. Classes are numbered anew,
                in their order.
            name: of what the labels are, which is added to the name of the set and names the classes.

        Raises:
            ValueError: if there is not one label for each image, or all are left out.

        Example:
            >>> pair = ImageSet("Pair", torch.zeros(3, 1, 2, 2, dtype=torch.uint8), [0, 0, 0], ["a"])
            >>> pair.relabelled([7, -1, 5], "cluster").class_names
            ['cluster 5', 'cluster 7']
        """
        labels = as_labels(labels, names=False).cpu()
        _check_count("label", labels, len(self), "images")
        kept = labels >= 0
        if not kept.any():
            raise ValueError("All labels are negative, and no image would be left.")
        found, numbers = labels[kept].unique(return_inverse=True)
        return self._with(
            name=f"{self.name}, {name}",
            images=self.images[kept.to(self.images.device)],
            labels=numbers,
            class_names=[f"{name} {label}" for label in found.tolist()],
            class_groups=(),
            domains=None if self.domains is None else self.domains[kept],
        )

    def with_new_classes(
        self,
        maps: Mapping[str, Callable[[Tensor], Tensor]],
        but: Sequence[int] | Sequence[str] = (),
    ) -> ImageSet:
        """The same data set, and each class once more by each map: a turned character as a character of its own.

        Santoro et al. (2016) and Vinyals et al. (2016) make more classes of Omniglot by turns. With k maps there are
        k + 1 times as many; under map number k, counted from 1, class c has the label c + k · classes, if no class is
        left out.

        Args:
            maps: from uint8 images (n, c, h, w) to as many of that shape, by a name that is added to that of the class
                and of its group.
            but: classes, by their numbers or names, of which no new ones are made, because a map makes of them a class
                that is there already, or leaves them what they are.

        Raises:
            ValueError: if there is no such class, or a map makes anything else of the images.

        Example:
            >>> from fslib.augmentation import mirrored
            >>> bar = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
            >>> left = ImageSet("Bars", bar, [0], ["bar"])
            >>> left.with_new_classes({"mirrored": mirrored}).class_names
            ['bar', 'bar mirrored']
        """
        count = len(self.class_names)
        without = set(self._classes(but) if len(but) else ())
        chosen = [c for c in range(count) if c not in without]
        number = torch.full((count,), -1)
        number[chosen] = torch.arange(len(chosen))
        kept = number[self.labels] >= 0
        old, own = self.images[kept.to(self.images.device)], number[self.labels][kept]
        domains = self.domains
        if domains is not None:
            domains = torch.cat([domains, *(domains[kept] for _ in maps)])
        return self._with(
            images=torch.cat([self.images, *(_mapped(name, maps[name], old) for name in maps)]),
            labels=torch.cat([self.labels, *(count + k * len(chosen) + own for k in range(len(maps)))]),
            class_names=[*self.class_names, *_renamed(self.class_names, chosen, maps)],
            class_groups=[*self.class_groups, *_renamed(self.class_groups, chosen, maps)] or (),
            domains=domains,
        )

    def _classes(self, classes: Any) -> list[int]:
        """Numbers of classes that were asked for by number or name."""
        array, kind = as_array(classes)
        if kind == "bool" and array.ndim == 1:
            raise ValueError(
                "Classes are selected by a list of their numbers or names, but this is a mask; "
                "torch.as_tensor(mask).nonzero().flatten() gives the numbers."
            )
        try:
            chosen = _numbers(classes, self.class_names).tolist()
        except ValueError as error:
            raise ValueError(
                f"Classes are selected by a list of their numbers or names, as in select([2, 0]): {error}"
            ) from error
        count = len(self.class_names)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError("At least one class is selected, and none twice.")
        if min(chosen) < 0 or max(chosen) >= count:
            raise ValueError(
                f"{self.name} has the classes 0 to {count - 1}, but {min(chosen)} to {max(chosen)} are asked for."
            )
        return chosen

    def _with(self, **changes: Any) -> ImageSet:
        """A copy with some attributes changed; of the same subclass, with whatever that added."""
        changed = copy.copy(self)
        changed._set(**changes)
        return changed

    def _set(self, **attributes: Any) -> None:
        """Set attributes, which are frozen for everybody else."""
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"{self.name}: {len(self):,} images of {len(self.class_names):,} classes"


def _mapped(name: str, change: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What a map makes of images, which must be as many of that shape."""
    new = change(images)
    if not isinstance(new, Tensor) or new.dtype != torch.uint8 or new.shape != images.shape:
        what = f"{new.dtype} {tuple(new.shape)}" if isinstance(new, Tensor) else type(new).__name__
        raise ValueError(
            f"A map makes of uint8 images as many of that shape, here {tuple(images.shape)}, but {name!r} made {what}."
        )
    return new


def _renamed(names: Sequence[str], chosen: Sequence[int], maps: Iterable[str]) -> list[str]:
    """The names of some classes, or of their groups, under each map."""
    return [f"{names[c]} {name}" for name in maps for c in chosen] if names else []


def _whole_numbers_or_mask(indices: Any) -> Tensor:
    """Indices as a tensor of int64 or bool, on the device they were on."""
    if isinstance(indices, (list, tuple)):  # perhaps of tensors
        indices = [each.tolist() if isinstance(each, Tensor) else each for each in indices]
    array, kind = as_array(indices)
    if kind == "bool":
        return tensor_of(array)
    if isinstance(array, np.ndarray) and not array.size:
        return torch.empty(array.shape, dtype=torch.long)
    if not kind.startswith(("int", "uint")):
        raise ValueError(
            f"Images are asked for by whole numbers, a slice or a mask, but these are {kind}."
        )
    return array.long() if isinstance(array, Tensor) else tensor_of(array.astype(np.int64))


def _names(names: Any, what: str) -> list[str]:
    if names is None:
        return []
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"{what} is a list of one name a class, but is {names!r}.")
    return list(names)


def _images(images: Any) -> Tensor:
    """Images as a tensor, refused unless uint8 (n, c, h, w)."""
    array, kind = as_array(images)
    shape = tuple(array.shape)
    if kind != "uint8" or len(shape) != 4 or not all(shape[1:]):
        axis = " images[:, None] adds the axis of the channel." if len(shape) == 3 else ""
        raise ValueError(
            f"Images are uint8 of shape (n, channels, h, w), but these are {kind} of {shape}.{axis}"
        )
    if shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4):
        raise ValueError(
            f"Images have shape (n, channels, h, w), but these, {shape}, have their colours last; "
            "torch.as_tensor(images).permute(0, 3, 1, 2) puts them first."
        )
    return tensor_of(array)


def _check_count(what: str, found: Sequence[Any] | Tensor, count: int, of: str) -> None:
    if len(found) != count:
        raise ValueError(
            f"There must be one {what} for each of the {count} {of}, but there are {len(found)}."
        )


def _labels(labels: Any, names: Sequence[str]) -> Tensor:
    """Labels as numbers of classes, int64, on the CPU."""
    numbers = _numbers(labels, names).cpu()
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(names)):
        raise ValueError(
            f"Labels are places in the list of {len(names)} class names, 0 to {len(names) - 1}, "
            f"but these are {numbers.min()} to {numbers.max()}."
        )
    return numbers


def _numbers(labels: Any, names: Sequence[str]) -> Tensor:
    """Labels as integers; where they are names, as their places among ``names``."""
    if isinstance(labels, (list, tuple, np.ndarray)) and any(
        isinstance(each, str) for each in labels
    ):
        place = {name: number for number, name in enumerate(names)}
        if len(place) < len(names):
            raise ValueError("Some class names come twice, so names do not tell the classes.")
        if unknown := [each for each in labels if each not in place]:
            raise ValueError(f"{unknown[0]!r} is not among the class names.")
        labels = [place[each] for each in labels]
    return as_labels(labels, names=False)


def _domains(domains: Any) -> Tensor:
    try:
        return as_labels(domains).cpu()
    except ValueError as error:
        raise ValueError(f"Domains are numbered as labels are: {error}") from error


def check_disjoint(*sets: ImageSet) -> None:
    """Raise if two sets share a class; a class seen in training says nothing about new classes."""
    for i, first in enumerate(sets):
        for second in sets[i + 1 :]:
            shared = set(first.class_names) & set(second.class_names)
            if shared:
                raise ValueError(
                    f"{first.name} and {second.name} share {len(shared)} classes, {min(shared)} among them; "
                    "training and evaluation need different classes."
                )


def halves(data: ImageSet) -> tuple[ImageSet, ImageSet]:
    """The pictures of each class in two halves, of all classes each: one to adapt to, the other to measure on.

    What looks at pictures of the classes it is measured on, with or without their labels, must not look at the
    queries. The first half of a class are the pictures that come first; of pictures that stand in the order of their
    writers, the halves are mostly by other people.

    Raises:
        ValueError: if a class has a single picture.

    Example:
        >>> from fslib import data
        >>> halves(data.load("digits"))
        (Digits test, first half: 901 images of 10 classes, Digits test, second half: 896 images of 10 classes)
    """
    order, sizes = data.labels.argsort(stable=True), data.labels.bincount(minlength=len(data.class_names))
    if lone := [name for name, size in zip(data.class_names, sizes.tolist()) if size == 1]:
        raise ValueError(f"{lone[0]} has a single picture, of which there are no two halves.")
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    first = 2 * rank < sizes[data.labels]
    return _part(data, first, "first half"), _part(data, ~first, "second half")


def _part(data: ImageSet, kept: Tensor, name: str) -> ImageSet:
    """Those pictures that a mask tells, (n,), of the same classes."""
    return data._with(
        name=f"{data.name}, {name}",
        images=data.images[kept.to(data.images.device)],
        labels=data.labels[kept],
        domains=None if data.domains is None else data.domains[kept],
    )
