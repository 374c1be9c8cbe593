"""How sure an answer must be, learned from classes that are neither trained on nor to be recognised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fslib.devices import evaluation_mode
from fslib.methods import FewShotClassifier

QUERIES = 4000  # pictures of known classes, and as many of others, that are classified to calibrate
OF_A_CLASS = 5  # of each class of a task, at most


@dataclass(frozen=True)
class Calibration:
    """What held-out classes say of scores; see :func:`calibrate`.

    Attributes:
        temperature: τ, by which scores are divided before the softmax.
        thresholds: by the number of examples of a class, the score below which that class is no answer.
        classes: how many were held out.
        kept: the share of their pictures that is kept if their class is among those to choose from.
        refused: the share that is refused if it is not.
    """

    temperature: float
    thresholds: dict[int, float]
    classes: int
    kept: float
    refused: float

    def threshold(self, examples: int) -> float:
        """The threshold of a class of so many examples; of more than were tried, that of the most."""
        return self.thresholds[max(k for k in self.thresholds if k <= max(examples, min(self.thresholds)))]

    def __str__(self) -> str:
        return (
            f"On {self.classes} held-out classes: of known ones {100 * self.kept:.0f} % of the pictures are kept, "
            f"of the others {100 * self.refused:.0f} % are refused."
        )


@torch.no_grad()
def calibrate(
    model: FewShotClassifier, embeddings: Tensor, labels: Tensor, shots: Sequence[int], keep: float = 0.95
) -> Calibration:
    """Calibrate the scores of a method on tasks of held-out classes.

    Each task is like the one to come: as many classes, at most half of those held out, with as many examples each, at
    most two thirds of what a class has. It is asked for further pictures of its classes, and for as many of other
    classes. The temperature is the one at which the former have the least cross-entropy (Guo et al., *On Calibration of
    Modern Neural Networks*, 2017). A threshold is the score that all but ``1 − keep`` of the former reach, apart for
    each number of examples, since the mean of few lies farther from a new picture than that of many.

    Args:
        model: the method that compares.
        embeddings: of held-out pictures, (n, d).
        labels: their classes, integers (n,).
        shots: examples of each class of the task to come.
        keep: share of the pictures of known classes to be kept.

    Raises:
        ValueError: if fewer than three classes with two pictures are held out, or ``keep`` is no share.
    """
    if isinstance(keep, bool | str) or not 0 < keep < 1:
        raise ValueError(f"keep is a share between 0 and 1, such as 0.95, but is {keep!r}.")
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    members = [each for each in members if len(each) > 1]
    if len(members) < 3:
        raise ValueError(
            f"At least three classes of two pictures must be held out to calibrate on, but there are {len(members)}."
        )
    way = max(2, min(len(shots), len(members) // 2))
    random, columns = torch.Generator().manual_seed(0), torch.arange(way)
    scores, right, examples = [], [], []
    for _ in range(max(20, QUERIES // (OF_A_CLASS * way))):
        support, queries, strangers = _task(members, shots, way, random)
        counts = torch.tensor([len(each) for each in support])
        asked = torch.cat(queries + strangers)
        with evaluation_mode(model):
            compared = model.compare(
                embeddings[torch.cat(support)], columns.repeat_interleave(counts), embeddings[asked]
            )
        scores.append(compared.cpu())
        answers = columns.repeat_interleave(torch.tensor([len(each) for each in queries]))
        right.append(F.pad(answers, (0, len(asked) - len(answers)), value=-1))
        examples.append(counts.expand(len(asked), way))
    return _calibration(torch.cat(scores), torch.cat(right), torch.cat(examples), keep, len(members))


def _task(
    members: Sequence[Tensor], shots: Sequence[int], way: int, random: torch.Generator
) -> tuple[list[Tensor], ...]:
    """Indices of the examples of some classes, of further pictures of each, and of those of other classes."""
    support, queries, strangers = [], [], []
    sizes = [shots[i] for i in torch.randperm(len(shots), generator=random)]
    for place, c in enumerate(torch.randperm(len(members), generator=random)[: 2 * way]):
        pictures = members[c][torch.randperm(len(members[c]), generator=random)]
        if place < way:
            examples = min(sizes[place], max(1, 2 * len(pictures) // 3))
            support.append(pictures[:examples])
            queries.append(pictures[examples:][:OF_A_CLASS])
        else:
            strangers.append(pictures[:OF_A_CLASS])
    return support, queries, strangers


def _calibration(scores: Tensor, right: Tensor, examples: Tensor, keep: float, classes: int) -> Calibration:
    """From scores (n, way), the right columns (n,), −1 where there is none, and the examples behind each score."""
    known = right >= 0
    temperatures = max(scores.std().item(), 1e-6) * 2.0 ** torch.linspace(-10, 4, 57)
    losses = [F.cross_entropy(scores[known] / each, right[known]) for each in temperatures]
    best, answers = scores.max(1)
    behind = examples.take_along_dim(answers[:, None], 1)[:, 0]
    thresholds = {
        int(k): best[known & (behind == k)].quantile(1 - keep).item() for k in behind[known].unique()
    }
    found = Calibration(temperatures[torch.stack(losses).argmin()].item(), thresholds, classes, 0.0, 0.0)
    enough = best >= torch.tensor([found.threshold(int(k)) for k in behind])
    kept, refused = enough[known].float().mean().item(), (~enough[~known]).float().mean().item()
    return replace(found, kept=kept, refused=refused)
