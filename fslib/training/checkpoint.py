"""A training as it goes: what its steps came to, and the file from which it goes on after an interruption."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from fslib import files
from fslib.config import Settings, differences, whole
from fslib.devices import random_state, set_random_state


@dataclass
class History:
    """What happened in training: one entry an episode.

    Attributes:
        loss: of each episode.
        accuracy: fraction of its queries that were right.
        seconds: time spent in the loop, all runs of a resumed training together.
        precision: ``"float32"`` or ``"bfloat16"``, in which images were embedded.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0
    precision: str = "float32"


READ_EVERY = 10  # steps; to read what they came to is to wait for the device


class Run:
    """The state of a training: all that has a ``state_dict``, every generator, and the history.

    What a step came to stays on the device until it is read, for to read is to wait for the device.

    Args:
        parts: models, optimiser and schedule, by name.
        path: of the checkpoint; ``None`` for a run that is not kept.
        device: on which it trains.
        save_every: steps from one save to the next.

    Raises:
        ValueError: if there is a file that is no checkpoint, or ``save_every`` is no whole number.
    """

    def __init__(
        self,
        parts: dict[str, Any],
        path: str | Path | None,
        device: torch.device,
        save_every: int = 100,
    ):
        self.parts, self.device, self.save_every = parts, device, whole("save_every", save_every)
        self.path = Path(path) if path else None
        if self.path:
            _check_writable(self.path)  # before the training, not after hours of it
        self.saved = _load(self.path) if self.path and self.path.exists() else None
        self.history, self.settings = History(), Settings()
        self._unread: list[Tensor] = []
        self._began = time.perf_counter()

    @property
    def precision(self) -> str | None:
        """Of the checkpoint that is there, if there is one."""
        return self.saved["history"].get("precision") if self.saved else None

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            ValueError: if it belongs to another training.
        """
        self._began = time.perf_counter()
        if self.saved is None:
            return
        if differs := differences(self.saved["settings"], self.settings):
            raise ValueError(
                f"{self.path} belongs to another training ({', '.join(differs[:5])}"
                f"{f' and {len(differs) - 5} more' if len(differs) > 5 else ''}); "
                "delete it, or choose another file."
            )
        try:
            for name, part in self.parts.items():
                part.load_state_dict(self.saved[name])
            set_random_state(self.saved["random"], self.device)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path} is not a checkpoint that can be read; delete it to start anew."
            ) from error
        self.history = History(**self.saved["history"])
        self._began -= self.history.seconds
        self.saved = None

    def steps(self, total: int, progress: bool) -> Iterator[int]:
        """The numbers of the steps that are left, with a bar; what they noted is read and saved between them."""
        done = len(self.history.loss)
        with tqdm(initial=done, total=total, disable=not progress) as bar:
            for i in range(done, total):
                yield i
                last = i + 1 == total
                if i % READ_EVERY == 0 or last:
                    self.read()
                    loss, accuracy = self.history.loss[-1], self.history.accuracy[-1]
                    bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.0%}")
                if (i + 1) % self.save_every == 0 or last:
                    self.save()
                bar.update()

    def note(self, loss: Tensor, accuracy: Tensor) -> None:
        """Keep what a step came to, unread."""
        self._unread.append(torch.stack([loss.detach().float(), accuracy.float()]))

    def read(self) -> History:
        """The history, with all steps so far.

        Raises:
            ValueError: if a loss was no number.
        """
        for loss, accuracy in torch.stack(self._unread).tolist() if self._unread else []:
            if not math.isfinite(loss):
                raise ValueError(
                    f"The loss became {loss} at episode {len(self.history.loss)}; lower the learning rate."
                )
            self.history.loss.append(loss)
            self.history.accuracy.append(accuracy)
        self._unread.clear()
        self.history.seconds = time.perf_counter() - self._began
        return self.history

    def save(self) -> None:
        """Write the checkpoint, if the run is kept."""
        if self.path is None:
            return
        saved = {name: part.state_dict() for name, part in self.parts.items()}
        saved |= {
            "settings": self.settings,
            "history": vars(self.read()),
            "random": random_state(self.device),
        }
        with files.atomic_write(self.path) as temporary:
            torch.save(saved, temporary)


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a checkpoint is a file in one.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(
            f"No checkpoint can be written to {path} ({error.strerror or error}); choose another file."
        ) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
        History(**saved["history"])
        if not all(isinstance(saved[part], dict) for part in ("settings", "random", "model")):
            raise TypeError
    except Exception as error:
        raise ValueError(
            f"{path} is not a checkpoint that can be read; delete it to start anew."
        ) from error
    return saved
