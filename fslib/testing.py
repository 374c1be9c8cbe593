"""Does a method keep the contract? Ours do; try it on one of your own."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fslib import storage
from fslib.devices import default_device, device_of
from fslib.methods import FewShotClassifier

LABELS = torch.tensor([4, 9, 4, 1, 9, 1, 4])  # three classes, one of them with an example more
CLASSES = 3


def check_method(model: FewShotClassifier, shape: tuple[int, ...] = (1, 28, 28)) -> None:
    """Raise unless a method keeps what every method of :mod:`fslib.methods` promises.

    Scores are (queries, classes), with columns in the order of the sorted labels, whatever the labels are called. The
    order of the support set plays no part, unless ``reads_in_order`` says so; nor do the other queries, unless
    ``transductive`` does; nor the order of an unlabelled set, where ``uses_unlabelled`` asks for one. ``compare`` takes
    any number of leading episode axes. Scores that carry a gradient carry a finite one. Pictures may lie on any device.
    A classifier of ours comes back from a file as it was, and any other is refused.

    Args:
        model: the method, over any network; tried on a copy.
        shape: of one image of its network input, (c, h, w).

    Raises:
        AssertionError: with a line for each promise that is not kept.

    Example:
        >>> from torch import nn
        >>> from fslib.methods import PrototypicalNetwork
        >>> check_method(PrototypicalNetwork(nn.Flatten()))
    """
    if not isinstance(model, FewShotClassifier):
        raise AssertionError(f"A method is a FewShotClassifier, but this is a {type(model).__name__}.")
    broken = []
    for check in _CHECKS:
        tried, generator = copy.deepcopy(model).eval(), torch.Generator().manual_seed(0)
        support, query = (torch.rand(n, *shape, generator=generator) for n in (len(LABELS), 5))
        try:
            wrong = check(tried, support, query)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            broken.append(f"{(check.__doc__ or '').rstrip('.')}: {wrong}")
    if broken:
        raise AssertionError(f"{type(model).__name__} breaks a promise.\n" + "\n".join(broken))


def _scores_for_each_query_and_class(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """Scores are finite, one for each query and class."""
    scores = model(support, LABELS, query)
    if scores.shape != (len(query), CLASSES):
        return f"they have shape {tuple(scores.shape)} for {len(query)} queries and {CLASSES} classes"
    return "" if scores.isfinite().all() else "some are NaN or infinite"


@torch.no_grad()
def _columns_in_order_of_labels(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """Columns stand in the order of the sorted labels."""
    renamed = torch.tensor([9, 1, 4])[torch.searchsorted(LABELS.unique(), LABELS)]
    columns = torch.tensor([9, 1, 4]).argsort()
    expected = model(support, LABELS, query)[:, columns]
    return _apart(model(support, renamed, query), expected, "other names give other scores")


@torch.no_grad()
def _labels_of_any_kind(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """Labels may be any integers, or names."""
    expected = model(support, LABELS, query)
    for labels in (LABELS - 5, 1000 * LABELS, LABELS.tolist(), [f"class {n}" for n in LABELS.tolist()]):
        if wrong := _apart(model(support, labels, query), expected, f"not with {labels}"):
            return wrong
    return ""


@torch.no_grad()
def _order_of_support(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """The order of the support set plays no part, unless reads_in_order says so."""
    order = torch.tensor([3, 1, 6, 0, 5, 4, 2])
    if model.reads_in_order:
        return ""
    found = model(support[order], LABELS[order], query)
    return _apart(found, model(support, LABELS, query), "it does")


@torch.no_grad()
def _one_query_alone(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """In evaluation mode a query is answered as if it were alone, unless transductive says so."""
    if model.transductive:
        return ""
    alone = torch.cat([model(support, LABELS, one) for one in query.split(1)])
    return _apart(alone, model(support, LABELS, query), "other queries change the answer")


@torch.no_grad()
def _unlabelled_set(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """An unlabelled set, if there is to be one, is a set, has episode axes, and leaves each query alone."""
    if not model.uses_unlabelled:
        return ""
    s, q, u = model.embed(support), model.embed(query), model.embed(torch.cat([query.flip(-1), support.flip(-1)]))

    def told_by(unlabelled: Tensor, s: Tensor = s, q: Tensor = q) -> Tensor:
        return model.compare(s, LABELS, q, **{"unlabelled": unlabelled})

    expected, others = told_by(u), told_by(-u)
    alone = torch.cat([told_by(u, q=one) for one in q.split(1)])
    stacked = told_by(torch.stack([u, -u]), s.expand(2, *s.shape), q.expand(2, *q.shape))
    return (
        _apart(told_by(u.flip(0)), expected, "its order plays a part")
        or _apart(alone, expected, "with it, other queries change the answer")
        or _apart(stacked, torch.stack([expected, others]), "not in a stack")
    )


@torch.no_grad()
def _episode_axes(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """Episodes stacked along leading axes are compared as one at a time."""
    s, q = model.embed(support), model.embed(query)
    orders = [torch.roll(torch.arange(len(s)), k) for k in range(6)]
    stacked = torch.stack([s[o] for o in orders]).unflatten(0, (2, 3))
    labels = torch.stack([LABELS[o] for o in orders]).unflatten(0, (2, 3))
    queries = q.expand(2, 3, *q.shape)
    for shared in (False, True):
        scores = model.compare(stacked, LABELS if shared else labels, queries)
        for i, order in enumerate(orders):
            one = model.compare(s[order], LABELS if shared else LABELS[order], q)
            if wrong := _apart(scores[i // 3, i % 3], one, f"not episode {i}"):
                return wrong
    return ""


def _gradients(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """Scores that carry a gradient carry a finite one to every weight they reach."""
    scores = model.train()(support, LABELS, query)
    if not scores.requires_grad:
        return ""
    model.loss(scores, torch.arange(len(query)) % CLASSES).backward()
    reached = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
    broken = [name for name, gradient in reached.items() if not gradient.isfinite().all()]
    return f"that of {broken[0]} is NaN or infinite" if broken else ""


@torch.no_grad()
def _asking_changes_nothing(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """In evaluation mode, to ask changes neither weights nor statistics."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(support, LABELS, query)
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    return f"it changed {changed[0]}" if changed else ""


@torch.no_grad()
def _devices(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """Pictures and labels may lie on another device than the model, whose device the answer has."""
    expected, device = model(support, LABELS, query), default_device()
    model.to(device)
    for s, labels in ((support, LABELS), (support.to(device), LABELS), (support, LABELS.to(device))):
        scores = model(s, labels, query)
        if scores.device != (device_of(model) or s.device):
            return f"the answer is on {scores.device}"
        if wrong := _apart(scores.cpu(), expected, f"on {device} the scores are others"):
            return wrong
    return ""


@torch.no_grad()
def _save_and_load(model: FewShotClassifier, support: Tensor, query: Tensor) -> str:
    """A classifier comes back from a file as it was, or is refused when it is saved."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        try:
            storage.save(model, path)
        except ValueError:
            return ""
        loaded = storage.load(path)
    return _apart(loaded(support, LABELS, query), model(support, LABELS, query), "it answers otherwise")


def _apart(found: Tensor, expected: Tensor, otherwise: str) -> str:
    if found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-4):
        return ""
    return otherwise


_CHECKS: tuple[Callable[[FewShotClassifier, Tensor, Tensor], str], ...] = (
    _scores_for_each_query_and_class,
    _columns_in_order_of_labels,
    _labels_of_any_kind,
    _order_of_support,
    _one_query_alone,
    _unlabelled_set,
    _episode_axes,
    _gradients,
    _asking_changes_nothing,
    _devices,
    _save_and_load,
)
