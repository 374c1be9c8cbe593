"""The predictor, by scikit-learn's conventions."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fslib import files, storage
from fslib.backbones import Ensemble
from fslib.data.image_set import ImageSet
from fslib.data.pictures import warn_of
from fslib.data.transforms import drawing, photograph
from fslib.devices import default_device, evaluation_mode
from fslib.labels import as_labels
from fslib.methods import FewShotClassifier, PrototypicalNetwork
from fslib.methods.base import check_finite
from fslib.metrics import squared_euclidean
from fslib.predictor.calibration import Calibration, calibrate
from fslib.predictor.estimator import Estimator
from fslib.predictor.examples import (
    BATCH,
    Examples,
    Eye,
    Seen,
    batched,
    check_count,
    examples_of,
    labels_of,
    table_of,
)

FORMAT = 1  # of what a file holds beside the network; raise it when older versions cannot read a new one
# One knows pens, the other print: side by side they lose little on either, where each alone loses much on the other's.
CHARACTERS = ("omniglot/recipe-seed0", "glyphs/loss-supcon-seed0")
SAVED = ("unknown", "keep", "prepare")  # settings that a file keeps; of the others it keeps what came of them
PREPARED: dict[str, Callable[..., Tensor]] = {"drawing": drawing, "photograph": photograph}


def characters() -> PrototypicalNetwork:
    """The default network: the class means of two Conv-4 side by side, which come with the package.

    One was trained on Omniglot, drawn with a pen, the other on Glyphs, printed and warped.
    """
    members = [storage.load(files.came_with(f"{name}.safetensors")).feature_extractor for name in CHARACTERS]
    return PrototypicalNetwork(Ensemble(members)).eval().to(default_device())


def _held_out_characters() -> tuple[Tensor, Tensor]:
    """Embeddings by :func:`characters` of classes that it was not trained on, (n, d), and their classes, (n,)."""
    stored = torch.from_numpy(np.load(files.came_with("predictor/held-out.npy"))).float()
    return stored.flatten(0, 1), torch.arange(len(stored)).repeat_interleave(stored.shape[1])


@dataclass(frozen=True)
class Answer:
    """What a predictor says of one picture.

    Attributes:
        name: path or number of the picture.
        label: the class, as :meth:`FewShotPredictor.predict` has it: ``unknown`` of the predictor if it is refused.
        most_like: the class that fits best, refused or not.
        probability: of ``most_like``, if the picture is of one of the classes.
        known: whether it fits well enough to be of that class; ``None`` if nothing is calibrated.
        nearest: path or number of the example whose embedding is nearest.
        duplicate: path or number of an example that is nearly the same picture.
        problem: why the picture could not be read; then all else is ``None``.
    """

    name: str
    label: Any = None
    most_like: Any = None
    probability: float | None = None
    known: bool | None = None
    nearest: str | None = None
    duplicate: str | None = None
    problem: str | None = None


class FewShotPredictor(Estimator):
    """A few-shot classifier of one's own pictures, by the conventions of scikit-learn.

    It embeds the pictures it is fitted on with a network that was trained on other classes, and compares new ones with
    them. Nothing is trained, so a class is added in a moment. Pictures are read one at a time, and 64 are held.

    **Which pictures.** The default network knows characters: one on each picture, written or printed, dark on light or
    light on dark, on paper of any grey, anywhere in the picture (:func:`fslib.data.on_white`). It sees 28 ×
    28 pixels and no colours, cannot tell characters apart that differ in size or place alone, as a comma and an
    apostrophe, and knows nothing of words or things. For photographs of things there is
    ``PrototypicalNetwork(Pretrained("resnet50", side=224, photographs=True))``, which fetches ImageNet weights once.

    **What is unknown.** An answer is refused if its score, for the default network minus the squared distance to the
    mean of the class, is below a threshold. That comes from classes on which neither the network was trained nor the
    predictor fitted, by :func:`calibrate`: tasks like the one at hand are drawn from them, and the threshold lies where
    ``keep`` of their further pictures are still accepted. The few pictures at hand could not tell how far others of
    their classes may lie. For the default network the held-out classes are the 164 of the validation set of Glyphs
    (Greek, N'Ko, Ogham and Old Italic, printed and warped), twelve embeddings each, which come with the package. No
    network has seen these pictures, but one of the two was trained on handwriting of Greek and N'Ko. They are compared
    with one another alone, so a class of one's own among them does no harm. For other networks ``held_out`` gives them.
    Pictures of another kind than these may be kept and refused at other rates than ``calibration_`` says. The
    temperature of the probabilities comes from the same tasks.

    Args:
        model: a method of :mod:`fslib.methods`, the file of one, or a network, of which the class means are compared.
            Default, for pictures :func:`characters`; for rows of numbers, which are features, the class means of these.
        unknown: the label to give to what is refused, such as ``"unknown"`` or −1; default, every picture gets a class.
        keep: the share of pictures of known classes that the threshold is to keep.
        held_out: pictures of other classes: what :meth:`fit` takes alone, or a pair of pictures and labels. At least
            three classes of two pictures.
        prepare: from a Pillow image to network input: ``"drawing"``, ``"photograph"`` or a function. Default, what
            the network takes.

    Attributes:
        classes_: the labels, sorted.
        examples_: what is known of the pictures it was fitted on: :class:`Examples`, with the path of each.
        calibration_: how sure an answer must be, and what that costs; ``None`` if nothing is held out.
        n_features_in_: of rows of numbers, how many; pictures have no such number.
    """

    classes_: np.ndarray
    examples_: Examples
    calibration_: Calibration | None
    n_features_in_: int
    _eye: Eye
    _others: tuple[Tensor, Tensor] | None  # embeddings of held-out classes, and their classes
    _left_out: list[str]
    _columns: Tensor  # of each example, among the classes
    _counts: np.ndarray  # of each class's examples
    _thresholds: np.ndarray | None  # of each class

    def __init__(
        self,
        model: FewShotClassifier | nn.Module | str | os.PathLike | None = None,
        *,
        unknown: Any = None,
        keep: float = 0.95,
        held_out: Any = None,
        prepare: str | Callable[..., Tensor] | None = None,
    ):
        self.model, self.unknown, self.keep = model, unknown, keep
        self.held_out, self.prepare = held_out, prepare

    def fit(self, X: Any, y: Any = None) -> FewShotPredictor:
        """Remember some pictures of each class.

        Args:
            X: a folder that holds a folder for each class; an :class:`fslib.data.ImageSet`; a ``.json`` file, which is
                an alphabet that the drawing pad has saved; or, with ``y``, a list of pictures: paths, Pillow images,
                uint8 arrays (h, w), (c, h, w) or (h, w, c), of any sizes; or one array of several, (n, h, w),
                (n, c, h, w) or (n, h, w, c); or, with ``y``, rows of numbers, (n, d). A single picture goes into a
                list.
            y: the class of each, (n,), names or integers.

        Raises:
            FileNotFoundError, NotADirectoryError: if there is no such folder, file or weights.
            ValueError: on labels that do not fit, fewer than two classes that can be read, or settings that make no
                sense. The predictor stays as it was.

        Warns:
            UserWarning: if pictures were left out, or one is in two classes; :attr:`report_` tells which.
        """
        fitted = type(self)(**self.config)
        table = table_of(X)
        fitted._eye = fitted._seeing(features=None if table is None else table.shape[1])
        examples, fitted._left_out = fitted._eye.labelled(X, y)
        fitted._others = fitted._held_out(examples)
        fitted._settle(examples)
        vars(self).pop("n_features_in_", None)  # of another fit
        vars(self).update(vars(fitted))
        self._warn(self._left_out)
        return self

    def add_class(self, label: Any, X: Any) -> FewShotPredictor:
        """Remember pictures of one more class, or more pictures of one that is there.

        Args:
            label: its name or number.
            X: pictures of it, as for :meth:`predict`.

        Raises:
            ValueError: if none of them can be read, or the label is of another kind than the others.
        """
        self._check_fitted()
        as_labels([*self.classes_.tolist(), label])  # all names, or all integers
        seen = list(self._eye.embedded(X))
        left_out: list[str] = []
        self._settle(self.examples_ + examples_of(seen, np.full(len(seen), label), left_out))
        self._left_out = self._left_out + left_out
        self._warn(left_out)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of each picture; or ``unknown``, if there is such a label, where none fits.

        Args:
            X: pictures, an image set or rows as for :meth:`fit`, or a folder of pictures, at any depth, or one file. Of
                a folder, what by its name is no picture is left out.

        Raises:
            ValueError: if there is no picture, or one cannot be read, lest an answer stand beside another picture;
                :meth:`recognise` goes on past it.

        Warns:
            UserWarning: if pictures are nearly those that it was fitted on, for an accuracy on these shows nothing; and
                of what was left out.
        """
        return self._labels(self._scores(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """How probable each class is, if a picture is of one of them: (n, classes), in the order of ``classes_``.

        The softmax of the scores over the temperature of ``calibration_``; without one, over the method's own, and then
        nobody knows how sure it is.
        """
        return self._probabilities(self._scores(X))

    def recognise(self, X: Any) -> Iterator[Answer]:
        """An :class:`Answer` for each picture, one after the other, whether it can be read or not; of none, none."""
        self._check_fitted()
        return (answer for seen in batched(self._eye.embedded(X), BATCH) for answer in self._answers(seen))

    def embed(self, X: Any) -> np.ndarray:
        """Embeddings, (n, d), for neighbours, retrieval or a classifier of one's own."""
        self._check_fitted()
        return _joined([_readable(each).embedding.numpy()[None] for each in self._eye.embedded(X)])

    def score(self, X: Any, y: Any) -> float:
        """The share of pictures whose class is right.

        Raises:
            ValueError: if there are not as many labels as pictures, or they are of another kind than ``classes_``.
        """
        answers, right = self.predict(X), labels_of(y)
        check_count(len(answers), right)
        as_labels([*self.classes_.tolist(), *right.tolist()])  # all names, or all integers
        return float(np.mean(answers == right))

    @property
    def report_(self) -> list[str]:
        """A sentence for each picture that was left out, or is in two classes, and for classes of a single picture."""
        self._check_fitted()
        alone = ", ".join(map(repr, self.classes_[self._counts == 1].tolist()))
        said = f"Of {alone} there is a single picture, and one does not show how pictures of a class vary; add some."
        return [*self._left_out, *self.examples_.in_two_classes(), *([said] if alone else [])]

    def save(self, path: str | Path) -> None:
        """Save to one file: safetensors with a header in JSON, from which nothing is ever executed.

        A predictor that was saved there before is replaced.

        Raises:
            ValueError: if it is not fitted, or the network or the transform is not one of the package.
            FileExistsError, IsADirectoryError: if anything else is there.
            OSError: if it cannot be written there.
        """
        self._check_fitted()
        if self.prepare is not None and self.prepare not in PREPARED:
            raise ValueError(f"A function is not saved, only a transform that has a name: {', '.join(PREPARED)}.")
        facts = {name: getattr(self, name) for name in SAVED}
        facts |= {"default": self.model is None, "features": self._eye.features, "names": self.examples_.names}
        facts |= {"predictor": FORMAT, "classes": self.classes_.tolist(), "left_out": self._left_out}
        tensors = {"columns": self._columns, "embeddings": self.examples_.embeddings, "looks": self.examples_.looks}
        if self._others is not None:
            tensors |= {"others": self._others[0], "other_labels": self._others[1]}
        replaces(path)
        try:
            storage.save(self._eye.model, path, beside=facts | tensors)
        except OSError as error:
            raise type(error)(f"{path} cannot be written ({error.strerror or error}).") from error

    @classmethod
    def load(cls, path: str | Path) -> FewShotPredictor:
        """The predictor that :meth:`save` stored, on the CPU.

        Raises:
            FileNotFoundError, IsADirectoryError: if there is no such file.
            ValueError: if it holds no predictor, is damaged, or comes from a newer version.
        """
        if os.path.isdir(path):
            raise IsADirectoryError(f"{path} is a folder, and no saved predictor.")
        model, stored = storage.read(path, "predictor")
        version = stored.get("predictor")
        if type(version) is not int:
            raise ValueError(
                f"{path} holds a classifier and no predictor; FewShotPredictor({str(path)!r}).fit(…) makes one of it."
            )
        storage.check_version(path, version, FORMAT)
        try:
            settings = {name: stored[name] for name in SAVED}
            predictor = cls(None if stored["default"] else model, **settings)
            predictor._eye = replace(predictor._seeing(model), features=stored["features"])
            predictor._left_out = stored["left_out"]
            predictor._others = (stored["others"], stored["other_labels"]) if "others" in stored else None
            labels = np.array(stored["classes"])[stored["columns"].numpy()]
            examples = Examples(stored["names"], labels, stored["embeddings"], stored["looks"])
            if {len(each) for each in vars(examples).values()} != {len(labels)}:
                raise ValueError("names, labels, embeddings and looks differ in number")
            predictor._settle(examples)
            for embeddings in (examples.embeddings, *(predictor._others or ())[:1]):
                predictor._compared(check_finite(embeddings))
        except Exception as error:  # whatever a tampered file leads to
            raise ValueError(f"{path} is not a predictor that fslib has saved, or it is damaged.") from error
        return predictor

    # What it is built of ------------------------------------------------------------------------------------------

    def _seeing(self, model: Any = None, features: int | None = None) -> Eye:
        """The network and the transform that the settings name, or the network of a file."""
        model = self.model if model is None else model
        if model is None:
            model = PrototypicalNetwork(nn.Sequential()) if features else characters()
        elif isinstance(model, str | os.PathLike):
            if not os.path.isfile(model):
                raise FileNotFoundError(
                    f"There is no saved classifier {model}; if it holds pictures, it goes to fit: "
                    f"FewShotPredictor().fit({os.fspath(model)!r})."
                )
            model = storage.load(Path(model))
        if not isinstance(model, FewShotClassifier):
            model = PrototypicalNetwork(model)
        photographs = any(getattr(module, "photographs", False) for module in model.modules())
        transform = self.prepare or ("photograph" if photographs else "drawing")
        if not callable(transform) and transform not in PREPARED:
            raise ValueError(f"prepare is one of {', '.join(PREPARED)}, or a function, but is {transform!r}.")
        return Eye(model, transform if callable(transform) else PREPARED[transform], features)

    def _held_out(self, examples: Examples) -> tuple[Tensor, Tensor] | None:
        """Embeddings of other classes, and their classes; ``None`` if there are none."""
        if self.held_out is None:
            usual = self.model is None and self.prepare in (None, "drawing") and not self._eye.features
            return _held_out_characters() if usual else None
        alone = isinstance(self.held_out, str | os.PathLike | ImageSet)
        others, left_out = self._eye.labelled(*((self.held_out, None) if alone else self.held_out))
        self._left_out += left_out
        shared = set(others.labels.tolist()) & set(examples.labels.tolist())
        if shared and others.labels.dtype.kind == "U":  # numbers may count other classes there
            raise ValueError(f"Held-out classes are other ones, but {min(shared)!r} is to be recognised.")
        return others.embeddings, as_labels(others.labels)

    def _settle(self, examples: Examples) -> None:
        """Be fitted on these. What is wrong is told before anything changes."""
        classes, columns, counts = np.unique(examples.labels, return_inverse=True, return_counts=True)
        if len(classes) < 2:
            (alone,) = classes.tolist()
            if self._left_out:
                first, others = self._left_out[:5], len(self._left_out[5:])
                more = [f"And {others} more were left out."] if others else []
                raise ValueError(" ".join([f"Pictures can be read of {alone!r} alone.", *first, *more]))
            raise ValueError(
                f"A classifier tells classes apart, but there is one class, {alone!r}; pictures of anything else make "
                "a second one."
            )
        calibration = thresholds = None
        if self._others is not None:
            calibration = calibrate(self._eye.model, *self._others, counts.tolist(), self.keep)
            thresholds = np.array([calibration.threshold(count) for count in counts])
        elif self.unknown is not None:
            raise ValueError("To refuse what is unknown, give pictures of other classes to calibrate on: held_out=….")
        if self.unknown is not None:
            kind, such = ("names", "'unknown'") if isinstance(classes.tolist()[0], str) else ("integers", "-1")
            if isinstance(self.unknown, str) != (kind == "names"):
                raise ValueError(f"The classes are {kind}, so unknown is too, such as {such}, but is {self.unknown!r}.")
            as_labels([*classes.tolist(), self.unknown])
            if self.unknown in classes:
                raise ValueError(f"unknown is a label of its own, but {self.unknown!r} is one of the classes.")
        self.classes_, self.examples_, self.calibration_ = classes, examples, calibration
        self._columns, self._counts, self._thresholds = torch.from_numpy(columns), counts, thresholds
        if self._eye.features:
            self.n_features_in_ = self._eye.features

    def _warn(self, left_out: list[str]) -> None:
        """Of what was left out, and of the first picture that is in two classes."""
        warn_of(left_out)
        for said in self.examples_.in_two_classes()[:1]:
            warnings.warn(said, stacklevel=3)

    # How it answers -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _compared(self, embeddings: Tensor) -> np.ndarray:
        """Scores, (m, classes)."""
        with evaluation_mode(self._eye.model):
            return self._eye.model.compare(self.examples_.embeddings, self._columns, embeddings).cpu().numpy()

    def _scores(self, X: Any) -> np.ndarray:
        """Scores of all pictures, (n, classes)."""
        self._check_fitted()
        scores, twins = [], []
        for seen in batched(map(_readable, self._eye.embedded(X)), BATCH):
            scores.append(self._compared(torch.stack([each.embedding for each in seen])))
            alike = self.examples_.nearly(torch.stack([each.look for each in seen]))
            twins += [(each.name, twin) for each, twin in zip(seen, alike) if twin is not None]
        if twins:
            warnings.warn(
                f"Among the pictures are near copies of those it was fitted on, {len(twins)} in all, as {twins[0][0]} "
                f"of {twins[0][1]}; how often it is right on these shows nothing.",
                stacklevel=3,
            )
        return _joined(scores)

    def _known(self, scores: np.ndarray) -> np.ndarray | None:
        """Which pictures fit the class of their best score well enough, (n,); ``None`` if nothing is calibrated."""
        return None if self._thresholds is None else scores.max(1) >= self._thresholds[scores.argmax(1)]

    def _labels(self, scores: np.ndarray) -> np.ndarray:
        answers, known = self.classes_[scores.argmax(1)], self._known(scores)
        return answers if self.unknown is None or known is None else np.where(known, answers, self.unknown)

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        temperature = 1.0 if self.calibration_ is None else self.calibration_.temperature
        return torch.from_numpy(scores / temperature).softmax(1).numpy()

    def _answers(self, seen: list[Seen]) -> Iterator[Answer]:
        """The answers to a batch, broken pictures among it."""
        good = [each for each in seen if not each.problem]
        answers: Iterator[Answer] = iter(())
        if good:
            embeddings = torch.stack([each.embedding for each in good])
            scores = self._compared(embeddings)
            known = self._known(scores)
            near = squared_euclidean(embeddings, self.examples_.embeddings).argmin(1).tolist()
            answers = map(
                Answer,
                [each.name for each in good],
                self._labels(scores).tolist(),
                self.classes_[scores.argmax(1)].tolist(),
                self._probabilities(scores).max(1).tolist(),
                itertools.repeat(None) if known is None else known.tolist(),
                [self.examples_.names[i] for i in near],
                self.examples_.nearly(torch.stack([each.look for each in good])),
            )
        for each in seen:
            yield Answer(each.name, problem=each.problem) if each.problem else next(answers)


def replaces(path: str | Path) -> bool:
    """Whether to save a predictor at a path replaces one that is there.

    Raises:
        IsADirectoryError, FileExistsError: if what is there is anything else, which is never replaced.
        NotADirectoryError: if it would lie in a file.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder; name a file, as {path / 'my.model'}.")
    if files_above := [each for each in path.parents if os.path.isfile(each)]:
        raise NotADirectoryError(f"{path} cannot be written, for {files_above[0]} is a file and no folder.")
    if not os.path.exists(path):
        return False
    try:
        FewShotPredictor.load(path)
    except (ValueError, OSError) as error:
        raise FileExistsError(
            f"{path} is there and no predictor that fslib has saved, so it is not replaced; name another file."
        ) from error
    return True


def _joined(rows: list[np.ndarray]) -> np.ndarray:
    if not rows:
        raise ValueError("X holds no picture, but must hold one at least.")
    return np.concatenate(rows)


def _readable(seen: Seen) -> Seen:
    if seen.problem:
        raise ValueError(f"{seen.problem} recognise(…) goes on past it.")
    return seen
