"""Chapter 12: what a comparison should ignore, and what it should adapt to its task.

The plan of compute, at most 40 trainings. Most arms train nothing: they put a fitted map or another comparison behind
a network of chapter 4, that of the best loss or a weaker one. What trains is the network of subspaces, its control, and
two small parts over a frozen network. A single training of each setting is measured on validation classes; three or
five of each arm on test classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fslib import data, nuisances
from fslib.backbones import Conv4, Coordinates, FrozenConv4
from fslib.book.experiments.ch11_sharpened import SUPCON, chosen, on_unit_vectors
from fslib.book.experiments.measures import (
    Measure,
    across_families,
    by_shots,
    named,
    on_tasks,
    within_families,
)
from fslib.book.experiments.networks import BATCHES
from fslib.book.experiments.registry import recipe
from fslib.book.experiments.running import Plan
from fslib.data import ImageSet, glyphs
from fslib.evaluation import embed_all
from fslib.losses import SupConLoss
from fslib.methods import (
    FEAT,
    FewShotClassifier,
    FiLMNetwork,
    MahalanobisClassifier,
    PreClassifierAlignment,
    PrototypicalNetwork,
    SubspaceNetwork,
)
from fslib.training import Objective, Subspaces

BEST = "glyphs/loss-supcon"
OWN_LOSS = "glyphs/loss-prototypical"

# Subspaces: coordinates for the character, and others for what face it is in -------------------------------------


@recipe("glyphs/subspaces", each=8, faces=1.0, balanced=False, **SUPCON)
@recipe("glyphs/subspaces-lightly", each=8, faces=0.1, balanced=False, **SUPCON)
def subspaces(run: Plan, each: int, faces: float, balanced: bool, temperature: float, **fit: Any) -> None:
    """Of 64 coordinates some for the family, the weight and the slant of the face, the others for the character.

    ``each`` says how many, and ``faces`` how much the loss of each of the three counts beside that of the character.
    """

    def load(split: str) -> ImageSet:
        images = data.load("glyphs", split)
        return glyphs.balanced(images) if balanced and split == "train" else images

    def objective(_: int) -> Objective:
        of = glyphs.attributes(load("train").domains)
        parts = {"character": (None, 64 - 3 * each)} | {name: (of[name], each) for name in glyphs.ATTRIBUTES}
        return Subspaces(parts, SupConLoss(temperature), dict.fromkeys(glyphs.ATTRIBUTES, faces))

    model = PrototypicalNetwork(Conv4())
    run.train(model, "train", objective=objective, load=load, **fit)
    run.save_weights(model, seeds=(0,) if faces == 1 else ())
    parts = {name: coordinates(model, *ends) for name, ends in ends_of_parts(each).items()}
    run.measure(model, on_tasks)
    for name in ("all coordinates", "character"):
        run.measure(parts[name], named(name, on_tasks), how=name)
        measure_faces(run, parts[name], name)
    measure_faces(run, parts["all coordinates"], "family erased", removing("leace"))
    measure_faces(run, parts["all coordinates"], "weight erased", removing("leace-of-weight"))
    for name in glyphs.ATTRIBUTES:
        measure_faces(run, parts[name], name, within=False)


@recipe("glyphs/fewer-coordinates", each=8, **SUPCON)
def fewer(run: Plan, each: int, temperature: float, **fit: Any) -> None:
    """As many coordinates as the character has there, and none for the face: the control."""
    model = on_unit_vectors(nn.Sequential(Conv4(), Coordinates(0, 64 - 3 * each, normalize=True)))
    run.train(model, "train", objective=lambda _: SupConLoss(temperature), **fit)
    run.measure(model, on_tasks)
    measure_faces(run, model)


def ends_of_parts(each: int) -> dict[str, tuple[int, int]]:
    """The first coordinate of the whole embedding and of each subspace, and the one after the last."""
    starts = range(64 - 3 * each, 64, each)
    faces = {name: (start, start + each) for name, start in zip(glyphs.ATTRIBUTES, starts)}
    return {"all coordinates": (0, 64), "character": (0, 64 - 3 * each)} | faces


def coordinates(model: FewShotClassifier, start: int, stop: int) -> FewShotClassifier:
    """A Prototypical Network over some coordinates of a network, scaled to length one."""
    return on_unit_vectors(nn.Sequential(model.feature_extractor, Coordinates(start, stop, normalize=True)))


# Removing what should not count, from the network of the best loss -----------------------------------------------


@recipe("glyphs/as-it-is", by="nothing")
@recipe("glyphs/leace", by="leace")
@recipe("glyphs/leace-of-weight", by="leace-of-weight")
@recipe("glyphs/leace-of-faces", by="leace-of-faces")
@recipe("glyphs/whitened", by="whitening")
@recipe("glyphs/projected", by="projection")
@recipe("glyphs/projected-at-random", by="random")
def removed(run: Plan, by: str) -> None:
    """The network of the best loss, and behind it a map that removes something, fitted on training classes."""
    model, removal = on_unit_vectors(run.network(BEST)), removing(by)
    run.measure(model, removal(on_tasks))
    measure_faces(run, model, removal=removal)


Removal = Callable[[Tensor, ImageSet], nuisances.AffineMap]
#: What fits a map to embeddings of a balanced part of Glyphs. LEACE of three families removes two directions, and so
#: do the projections.
REMOVALS: dict[str, Removal] = {
    "nothing": lambda x, images: nuisances.AffineMap(x.shape[1]),
    "leace": lambda x, images: nuisances.leace(x, glyphs.attributes(images.domains)["family"]),
    "leace-of-weight": lambda x, images: nuisances.leace(x, glyphs.attributes(images.domains)["weight"]),
    "leace-of-faces": lambda x, images: nuisances.leace(x, images.domains),
    "whitening": lambda x, images: nuisances.within_class_whitening(x, images.labels),
    "projection": lambda x, images: nuisances.nuisance_projection(x, images.labels, directions=2),
    "random": lambda x, images: random_projection(x.shape[1], directions=2),
}


def random_projection(dim: int, directions: int) -> nuisances.AffineMap:
    """A projection away from directions that were drawn at random, the same ones for every network: the control."""
    drawn = torch.randn(dim, directions, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(drawn).Q
    found = nuisances.AffineMap(dim)
    found.weight = torch.eye(dim) - basis @ basis.mT
    return found


def removing(by: str) -> Callable[[Measure], Measure]:
    """Measure with a map behind the network that is fitted on the balanced training classes, when it is measured."""
    fit = chosen(REMOVALS, by)

    def around(measure: Measure) -> Measure:
        def measured(model: FewShotClassifier, images: ImageSet) -> Any:
            train = glyphs.balanced(data.load("glyphs", "train"))
            seen = embed_all(model, train)
            removal = fit(seen, train).to(seen.device)
            yield from measure(on_unit_vectors(nn.Sequential(model.feature_extractor, removal)), images)

        return measured

    return around


def measure_faces(
    run: Plan,
    model: FewShotClassifier,
    of: str = "",
    removal: Callable[[Measure], Measure] = lambda measure: measure,
    within: bool = True,
) -> None:
    """Measure across families of faces, and within them."""
    measures = {"across families": across_families} | ({"within families": within_families} if within else {})
    for name, measure in measures.items():
        task = f"{of}, {name}" if of else name
        run.measure(model, removal(named(task, measure)), how=task)


# A part that knows the task, over the network of the best loss, which knows none -----------------------------------


@recipe("glyphs/prototypes", **{})
def prototypes(run: Plan) -> None:
    """No such part: prototypes, for comparison."""
    adapted(run, PrototypicalNetwork(run.network(BEST)))


@recipe("glyphs/aligned", form="diagonal", learning_rate=0.1, scale=10.0, leave_one_out=False)
@recipe("glyphs/aligned-fully", form="full", learning_rate=0.1, scale=10.0, leave_one_out=False)
def aligned(run: Plan, form: Any, learning_rate: float, scale: float, leave_one_out: bool) -> None:
    """A linear map fitted to each support set."""
    adapted(run, PreClassifierAlignment(run.network(BEST), form, learning_rate, 40, scale, leave_one_out))


@recipe("glyphs/covariances", beta=0.03)
def covariances(run: Plan, beta: float) -> None:
    """Covariances of each support set, those of Simple CNAPS."""
    adapted(run, MahalanobisClassifier(run.network(BEST), beta))


@recipe("glyphs/own-loss-prototypes", **{})
def own_loss_prototypes(run: Plan) -> None:
    """Prototypes over the weaker network, trained by a Prototypical Network's own loss."""
    adapted(run, PrototypicalNetwork(run.network(OWN_LOSS)))


@recipe("glyphs/own-loss-covariances", beta=1.0)
def own_loss_covariances(run: Plan, beta: float) -> None:
    """Covariances over that network, whose embeddings are of any length."""
    adapted(run, MahalanobisClassifier(run.network(OWN_LOSS), beta))


@recipe("glyphs/flats", **{})
def flats(run: Plan) -> None:
    """The flat through the examples of each class, that of Deep Subspace Networks."""
    adapted(run, SubspaceNetwork(run.network(BEST)))


@recipe("glyphs/feat", temperature=0.5, **BATCHES | dict(learning_rate=3e-4))
def feat(run: Plan, temperature: float, **fit: Any) -> None:
    """Self-attention over the prototypes, trained in episodes over the frozen network."""
    model = FEAT(FrozenConv4(normalize=True), temperature=temperature)
    run.train(model, "train", init_from=BEST, **fit)
    adapted(run, model)


@recipe("glyphs/film", temperature=16.0, **BATCHES | dict(learning_rate=3e-4))
def film(run: Plan, temperature: float, **fit: Any) -> None:
    """FiLM by the mean of the prototypes, trained in episodes over the frozen network; its embeddings of any length."""
    model = FiLMNetwork(FrozenConv4(pools=3, pooling="none"), temperature=temperature)
    run.train(model, "train", init_from=BEST, **fit)
    adapted(run, model)


def adapted(run: Plan, model: FewShotClassifier) -> None:
    """Measure by the number of shots, on Glyphs and on characters drawn by pen, which the network has not seen."""
    run.measure(model, named("by shots", by_shots), how="by shots")
    task = "on Omniglot"
    run.measure(model, named(task, by_shots), load=lambda split: data.load("omniglot", split), how=task)
