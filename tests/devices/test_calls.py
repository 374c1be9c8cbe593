"""Every public call gives the same whatever device its parts are on: model, pictures or embeddings, and labels."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import fslib
from fslib import (
    attention,
    augmentation,
    backbones,
    clustering,
    data,
    distillation,
    domains,
    episodes,
    evaluation,
    losses,
    methods,
    metrics,
    mining,
    nuisances,
    objectives,
    probes,
    training,
)
from fslib.book import export, plots
from fslib.data import ImageSet
from fslib.methods.base import one_hot, relabel
from fslib.predictor import FewShotPredictor
from tests.book.test_checks import RIGHT
from tests.devices.gpus import REAL
from tests.pretend_gpu import CPU, MISSING, pretend_gpu

Call = Callable[["On"], Any]


class On:
    """Where the parts of a call are: ``on.model(module)`` puts one there; so do ``on.pictures``, ``on.labels``."""

    def __init__(self, model: torch.device, pictures: torch.device, labels: torch.device):
        self.devices = model, pictures, labels

    def model(self, part: Any) -> Any:
        return part.to(self.devices[0])

    def pictures(self, part: Tensor) -> Tensor:
        return part.to(self.devices[1])

    def labels(self, part: Tensor) -> Tensor:
        return part.to(self.devices[2])

    def data(self) -> ImageSet:
        images = torch.full((8, 6, 1, 28, 28), 255, dtype=torch.uint8)
        for c in range(8):
            images[c, :, :, 3 : 9 + c, 3 * c : 3 * c + 4] = (
                40 * torch.arange(6, dtype=torch.uint8)[:, None, None, None]
            )
        return ImageSet(
            "Bars", self.pictures(images.flatten(0, 1)), self.labels(torch.arange(8).repeat_interleave(6)),
            [f"bar {c}" for c in range(8)], ["left"] * 4 + ["right"] * 4, self.labels(torch.arange(6).repeat(8)),
        )  # fmt: skip

    def __str__(self) -> str:
        names = ("model", "pictures", "labels")
        return ", ".join(f"{name} on {device.type}" for name, device in zip(names, self.devices))


# What is compared -------------------------------------------------------------------------------------------------


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


EMBEDDINGS, OTHERS, IMAGES = drawn(12, 8), drawn(12, 8, seed=1), drawn(12, 1, 28, 28).sigmoid()
LABELS = torch.tensor([7, 3, 3, 9, 7, 1, 1, 9, 7, 3, 1, 9])
CLASSES = LABELS.unique(return_inverse=True)[1]
MATRIX = EMBEDDINGS.T @ EMBEDDINGS


def built(make: Callable[[], Any]) -> Any:
    """With the same weights every time."""
    torch.manual_seed(0)
    return make()


def conv(**options: Any) -> nn.Module:
    return backbones.Conv4(channels=8, **options)


def maps() -> nn.Module:
    return conv(pools=3, pooling="none")


def twice() -> nn.Module:
    return augmentation.TestTimeAugmentation(conv(), copies=2)


def of_pairs(dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid())


METHODS: dict[str, Callable[[], methods.FewShotClassifier]] = {
    "prototypical": lambda: methods.PrototypicalNetwork(conv()),
    "prototypical, learned metric": lambda: methods.PrototypicalNetwork(conv(), metrics.Mahalanobis(8)),
    "prototypical, test-time augmentation": lambda: methods.PrototypicalNetwork(twice()),
    "matching": lambda: methods.MatchingNetwork(conv()),
    "matching, two networks": lambda: methods.MatchingNetwork(conv(), conv()),
    "matching in context": lambda: methods.ContextMatchingNetwork(conv(), 8, steps=2),
    "relation": lambda: methods.RelationNetwork(conv(), methods.VectorRelation(8)),
    "relation of maps": lambda: methods.RelationNetwork(maps(), methods.ConvRelation(8)),
    "relation, sum and bce": lambda: methods.RelationNetwork(conv(), methods.VectorRelation(8), "sum", "bce"),
    "relation, mean of scores": lambda: methods.RelationNetwork(conv(), methods.VectorRelation(8), "score mean"),
    "relation, highest score": lambda: methods.RelationNetwork(conv(), methods.VectorRelation(8), "score max"),
    "relation of one's own": lambda: methods.RelationNetwork(conv(), of_pairs(16)),
    "logistic regression": lambda: methods.LogisticRegression(conv(), steps=5),
    "cosine classifier": lambda: methods.CosineClassifier(conv(), steps=5),
    "subspaces": lambda: methods.SubspaceNetwork(conv()),
    "covariances": lambda: methods.MahalanobisClassifier(conv()),
    "alignment": lambda: methods.PreClassifierAlignment(conv(), steps=3),
    "FEAT": lambda: methods.FEAT(conv(), 8, dropout=0.0),
    "FiLM": lambda: methods.FiLMNetwork(maps(), 8),
    "guided": lambda: methods.GuidedPrototypicalNetwork(conv(), EMBEDDINGS[:8]),
    "fine-tuned layers": lambda: methods.FineTunedNetwork(conv(), steps=3),
    "fine-tuned residual": lambda: methods.FineTunedNetwork(conv(), 2, "residual", steps=3),
    "soft k-means": lambda: methods.SoftKMeans(conv(), "queries", steps=2),
    "soft k-means with a cluster": lambda: methods.SoftKMeansWithCluster(conv(), "queries"),
    "masked soft k-means": lambda: methods.MaskedSoftKMeans(conv(), "queries"),
    "label spreading": lambda: methods.LabelSpreading(conv()),
    "balanced soft k-means": lambda: methods.BalancedSoftKMeans(conv(), "queries", rounds=3),
    "pseudo-labels": lambda: methods.PseudoLabels(conv(), "queries", threshold=0.3),
}  # fmt: skip
TRAINED = {
    name: make
    for name, make in METHODS.items()
    if name not in ("logistic regression", "cosine classifier", "alignment", "fine-tuned layers", "fine-tuned residual")
}

LOSSES: dict[str, Callable[[], Any]] = {
    "objectives.contrastive": lambda: objectives.contrastive,
    "objectives.triplet_all": lambda: objectives.triplet_all,
    "objectives.triplet_hard": lambda: objectives.triplet_hard,
    "objectives.triplet_semi_hard": lambda: objectives.triplet_semi_hard,
    "objectives.n_pair": lambda: objectives.n_pair,
    "losses.SupConLoss": losses.SupConLoss,
    "losses.SoftmaxLoss": lambda: losses.SoftmaxLoss(8, 8),
    "losses.NormalizedSoftmaxLoss": lambda: losses.NormalizedSoftmaxLoss(8, 8),
    "losses.CosFaceLoss": lambda: losses.CosFaceLoss(8, 8),
    "losses.ArcFaceLoss": lambda: losses.ArcFaceLoss(8, 8),
}  # fmt: skip

ALIGNMENTS: dict[str, Callable[[], Any]] = {
    "coral": lambda: domains.coral,
    "mmd": lambda: domains.mmd,
    "Adversary": lambda: domains.Adversary(8, 4, ramp=3),
}  # fmt: skip

STEPS: dict[str, Callable[[], Any]] = {
    **{
        f"distilled by {by}": lambda by=by: training.Distilled(
            losses.SupConLoss(), METHODS["prototypical, test-time augmentation"](), by
        )
        for by in ("scores", "embeddings", "relations")
    },
    "MixUp": lambda: training.Mixed(losses.SoftmaxLoss(8, 8, label_smoothing=0.1)),
    "CutMix of queries": lambda: training.Mixed(how="cutmix"),
    "augmented support": lambda: training.Augmented(None, augmentation.mirrored, "support", but=[2, 3]),
    **{
        f"aligned by {name}": lambda make=make: training.Aligned(None, IMAGES, make())
        for name, make in ALIGNMENTS.items()
    },
    "SimCLR": lambda: training.TwoViews(augmentation.random_thickness, head=nn.Linear(8, 4)),
    "MoCo": lambda: training.MoCo(METHODS["prototypical"](), augmentation.mirrored, dim=8, queue=20),
    "each picture a class": lambda: training.ProtoTransfer(augmentation.mirrored, queries=2),
    "subspaces": lambda: training.Subspaces(
        {"class": (None, 5), "place": (torch.arange(6).repeat(8) % 2, 3)}, losses.SupConLoss()
    ),
}


def with_slope(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """A loss, and its gradient."""
    x = x.clone().requires_grad_()
    value = loss(x)
    value.backward()
    return value.detach(), x.grad


def each(part: Any, names: Iterable[str], call: Callable[..., Any]) -> dict[str, Call]:
    """The same call of several functions of a module."""
    title = part.__name__.removeprefix("fslib.")
    return {f"{title}.{name}": functools.partial(call, getattr(part, name)) for name in names}


def forward(make: Callable[[], Any]) -> Call:
    def call(on: On) -> Tensor:
        model = on.model(built(make))
        scores = model(on.pictures(IMAGES), on.labels(LABELS), on.labels(IMAGES[:5]))
        assert scores.device == next(model.parameters()).device, (
            "forward answers on the device of the model"
        )
        return scores

    return call


def embed(make: Callable[[], Any]) -> Call:
    return lambda on: on.model(built(make)).embed(on.pictures(IMAGES))


def compare(make: Callable[[], Any]) -> Call:
    def call(on: On) -> Tensor:
        model = built(make).eval()
        with torch.no_grad():
            embedded = model.embed(IMAGES)
        return on.model(model).compare(
            on.pictures(embedded), on.labels(LABELS), on.pictures(embedded[:5])
        )

    return call


def loss_of(make: Callable[[], Any]) -> Call:
    scores, targets = drawn(5, 4).sigmoid(), torch.tensor([0, 3, 1, 2, 2])
    return lambda on: with_slope(
        lambda x: on.model(built(make)).loss(x, on.labels(targets)), on.pictures(scores)
    )


def fit(make: Callable[[], Any], **options: Callable[[], Any]) -> Call:
    """Losses of a short training of a model that comes from elsewhere."""

    def call(on: On) -> list[float]:
        model = on.labels(built(make))
        made = {name: built(option) for name, option in options.items()}
        history = training.fit(
            model,
            on.data(),
            way=4,
            query=2,
            episodes=3,
            device=on.devices[0],
            bfloat16=False,
            progress=False,
            **made,
        )
        assert next(model.parameters()).device.type == on.devices[0].type and not model.training
        return history.loss

    return call


def embed_all(on: On) -> Tensor:
    model = on.model(built(METHODS["prototypical"]))
    before = [(weight, weight.device) for weight in model.parameters()]
    found = evaluation.embed_all(model, on.data())
    assert [(weight, weight.device) for weight in model.parameters()] == before, (
        "embed_all moves no model"
    )
    trained = on.model(nn.Linear(8, 2)).to(found.device)
    trained(found).sum().backward()  # and what it gives can be trained on
    return found


def evaluate(make: Callable[[], Any]) -> Call:
    def call(on: On) -> list[Tensor]:
        model, bars = on.model(built(make)), on.data()
        before = next(model.parameters()).device
        embedded = on.pictures(evaluation.embed_all(model, bars))
        accuracies = [
            evaluation.evaluate(
                model, bars, way=4, query=3, episodes=20, embeddings=given
            ).per_episode
            for given in (None, embedded)
        ]
        assert next(model.parameters()).device == before, "evaluate moves no model"
        return accuracies

    return call


def compare_models(on: On) -> list[Tensor]:
    models = {name: on.model(built(METHODS[name])) for name in ("prototypical", "matching")}
    return [
        a.per_episode
        for a in evaluation.compare_models(models, on.data(), way=4, query=3, episodes=20).values()
    ]


NUISANCES: list[tuple[Any, ...]] = [
    (nuisances.leace,), (nuisances.within_class_whitening,), (nuisances.nuisance_projection, 3),
]  # fmt: skip


def of_nuisance(fit: Any, *options: Any) -> Call:
    """Fitted where the embeddings are, and used where the model is."""

    def call(on: On) -> Tensor:
        embeddings = torch.cat([EMBEDDINGS, OTHERS])
        found = fit(on.pictures(embeddings), on.labels(CLASSES.repeat(2)), *options)
        assert found.weight.device == on.pictures(embeddings).device
        return on.model(found.blended(0.5))(on.model(embeddings))

    return call


def probe(read: Any, on: On) -> Tensor:
    bars, embeddings = on.data(), on.pictures(drawn(24, 8))
    first, second = (probes.ProbeSet(bars.select(c), embeddings, on.labels(CLASSES.repeat(2)))
                     for c in (range(4), range(4, 8)))  # fmt: skip
    return read(first, second).per_episode


def saved_and_loaded(tmp_path: Any) -> Call:
    def call(on: On) -> Tensor:
        fslib.save(on.model(built(METHODS["relation of maps"])), tmp_path / "model.safetensors")
        return fslib.load(tmp_path / "model.safetensors")(IMAGES, LABELS, IMAGES)

    return call


def episodes_saved_and_loaded(tmp_path: Any) -> Call:
    def call(on: On) -> Any:
        bars, file = on.data(), tmp_path / "episodes.npz"
        episodes.save(episodes.EpisodeSampler(bars, 4, 1, 2, 5), file, bars)
        loaded = episodes.load(file, bars)
        stack = episodes.Episode(*(on.labels(part) for part in vars(loaded).values()))
        episodes.check_episodes(stack, on.labels(bars.labels))
        episodes.save(stack, file, bars)
        accuracy = evaluation.evaluate(
            on.model(built(METHODS["prototypical"])), bars, way=4, query=2, episodes=stack
        )
        return vars(stack), vars(episodes.load(file, bars)), accuracy.per_episode

    return call


def predicted(on: On) -> list[Any]:
    bars = on.data()
    parts = [(bars.images[part], bars.labels[part]) for part in (slice(0, 24), slice(24, 48))]
    fitted = FewShotPredictor(on.model(built(METHODS["prototypical"])), held_out=parts[1]).fit(*parts[0])
    answers = [(each.label, each.nearest) for each in fitted.recognise(bars.images[:3])]
    return [torch.from_numpy(fitted.predict_proba(bars.images[24:30])), answers]


def figures(on: On) -> None:
    bars = on.data()
    plots.show_images(bars.images[:3])
    plots.show_images(bars.inputs([0, 1]))
    plots.show_episode(bars, episodes.EpisodeSampler(bars, 4, 1, 2)[0])
    near = metrics.squared_euclidean
    points = on.pictures(EMBEDDINGS[:, :2])
    centers = on.model(EMBEDDINGS[:4, :2].clone())
    plots.show_regions(
        plt.subplots()[1],
        lambda x: -near(x.to(centers.device), centers),
        points,
        on.labels(CLASSES),
    )
    plots.show_accuracies(
        {"a": evaluation.Accuracy(on.pictures(EMBEDDINGS[0].sigmoid()))}, "Title", 0.2
    )
    plt.close("all")


def checked(on: On) -> list[bool]:
    """Whether the checks take the right answers, from functions that answer on some device."""

    def elsewhere(answer: Any) -> Any:
        def move(part: Tensor) -> Tensor:
            return on.labels(part.float() if part.dtype == torch.float64 else part)

        return lambda *parts: pytree.tree_map_only(Tensor, move, answer(*parts))

    return [check(elsewhere(answer) if callable(answer) else answer) for check, answer in RIGHT]


def of_metric(metric: Any, on: On) -> Any:
    return with_slope(
        lambda x: metric(x, on.pictures(OTHERS)).square().sum(), on.pictures(EMBEDDINGS)
    )


def of_maps(metric: Any, on: On) -> Any:
    return metric(on.pictures(EMBEDDINGS), on.pictures(OTHERS), side=2)


def of_triplets(choose: Any, on: On, *options: Any) -> Any:
    return choose(
        on.pictures(metrics.euclidean(EMBEDDINGS, EMBEDDINGS)), on.labels(LABELS), *options
    )


def of_a_batch(loss: Any, on: On, **options: Any) -> Any:
    return with_slope(
        lambda x: loss(x.tanh(), on.labels(CLASSES), **options), on.pictures(drawn(12, 12))
    )


def of_a_matrix(loss: Any, on: On) -> Any:
    return with_slope(loss, on.pictures(drawn(12, 12)))


def of_vectors(make: Any, on: On) -> Any:
    return make()(on.pictures(EMBEDDINGS), on.pictures(OTHERS))


def of_classes(make: Callable[[], Any]) -> Call:
    """A loss whose weights, if it has any, are where the embeddings are."""

    def call(on: On) -> Any:
        loss = built(make)
        loss = on.model(loss) if isinstance(loss, nn.Module) else loss
        return with_slope(lambda x: loss(x, on.labels(CLASSES)), on.model(EMBEDDINGS))

    return call


def of_domains(make: Callable[[], Any]) -> Call:
    """An alignment whose weights, if it has any, are where the embeddings are."""

    def call(on: On) -> Any:
        loss = built(make)
        loss = on.model(loss) if isinstance(loss, nn.Module) else loss
        return with_slope(lambda x: loss(x, on.model(OTHERS)), on.model(EMBEDDINGS))

    return call


def adapted(on: On) -> Tensor:
    model = on.model(built(METHODS["prototypical"])).eval()
    with torch.no_grad(), domains.adabn(model, on.data()):
        return model.embed(on.pictures(IMAGES))


CALLS: dict[str, Call] = {
    **each(
        metrics,
        ("squared_euclidean", "euclidean", "cosine_similarity", "cosine_distance"),
        of_metric,
    ),
    **each(metrics, ("local_similarity", "local_distance"), of_maps),
    "metrics.mahalanobis": lambda on: metrics.mahalanobis(
        on.pictures(EMBEDDINGS), on.pictures(OTHERS), on.model(MATRIX)
    ),
    "metrics.Mahalanobis": lambda on: on.model(metrics.Mahalanobis(8))(
        on.model(EMBEDDINGS), on.model(OTHERS)
    ),
    "metrics far apart": lambda on: metrics.euclidean(
        on.pictures(EMBEDDINGS + 1e6 * CLASSES[:, None]), on.pictures(OTHERS)
    ),
    "mining.all_pairs": lambda on: mining.all_pairs(on.labels(LABELS)),
    "mining.all_triplets": lambda on: mining.all_triplets(on.labels(LABELS)),
    **each(mining, ("batch_hard", "semi_hard_nearest"), of_triplets),
    "mining.semi_hard_band": lambda on: of_triplets(mining.semi_hard_band, on, 1.0),
    "mining.semi_hard_nearest, farthest": lambda on: of_triplets(
        mining.semi_hard_nearest, on, "farthest"
    ),
    "losses.contrastive": lambda on: with_slope(
        lambda x: losses.contrastive(x, on.labels(LABELS > 3)), on.pictures(EMBEDDINGS[:, 0])
    ),
    "losses.triplet": lambda on: with_slope(
        lambda x: losses.triplet(x, on.pictures(OTHERS[0])), on.pictures(EMBEDDINGS[0])
    ),
    **each(
        losses, ("triplet_all", "normalized_softmax", "cosface", "arcface", "supcon"), of_a_batch
    ),
    **each(losses, ("n_pair", "nt_xent"), of_a_matrix),
    "losses.ContrastiveLoss": lambda on: losses.ContrastiveLoss()(
        on.pictures(EMBEDDINGS), on.pictures(OTHERS), on.labels(LABELS > 3)
    ),
    "losses.TripletLoss": lambda on: losses.TripletLoss()(
        *map(on.pictures, (EMBEDDINGS, OTHERS, OTHERS + 1))
    ),
    **each(losses, ("NPairLoss", "NTXentLoss"), of_vectors),
    **{name: of_classes(make) for name, make in LOSSES.items()},
    "methods.prototypes": lambda on: methods.prototypes(on.pictures(EMBEDDINGS), on.labels(LABELS)),
    "methods.base": lambda on: (relabel(on.labels(LABELS)), one_hot(on.labels(LABELS))),
    **{f"nuisances.{fit.__name__}": of_nuisance(fit, *options) for fit, *options in NUISANCES},
    **{f"forward: {name}": forward(make) for name, make in METHODS.items()},
    **{f"embed: {name}": embed(make) for name, make in METHODS.items()},
    **{f"compare: {name}": compare(make) for name, make in METHODS.items()},
    **{
        f"loss: {name}": loss_of(METHODS[name])
        for name in ("matching", "relation", "relation, sum and bce")
    },
    **{f"fit: {name}": fit(make) for name, make in TRAINED.items()},
    **{
        f"fit: {name}": fit(METHODS["prototypical"], step=make)
        for name, make in LOSSES.items()
    },
    **{f"fit: {name}": fit(METHODS["prototypical"], step=make) for name, make in STEPS.items()},
    "fit: semi-supervised": fit(
        lambda: methods.SoftKMeans(conv()), step=lambda: training.SemiSupervised(1, distractors=2)
    ),
    "fit with warps": fit(METHODS["prototypical"], augment=lambda: augmentation.random_warp),
    "evaluation.embed_all": embed_all,
    **{f"evaluate: {name}": evaluate(make) for name, make in METHODS.items()},
    "evaluation.compare_models": compare_models,
    "evaluation.recall_at_1": lambda on: (
        evaluation.recall_at_1(on.pictures(EMBEDDINGS), on.labels(LABELS)).per_episode
    ),
    "evaluation.Accuracy": lambda on: [
        getattr(evaluation.Accuracy(on.pictures(EMBEDDINGS[0].sigmoid())), name)
        for name in ("mean", "ci95")
    ],
    **each(probes, ("linear_probe", "neighbour_probe"), probe),
    "episodes.EpisodeSampler": lambda on: vars(
        episodes.EpisodeSampler(on.labels(LABELS), 4, 1, 2)[:3]
    ),
    "clustering.kmeans": lambda on: clustering.kmeans(on.pictures(EMBEDDINGS), 3),
    "clustering": lambda on: [
        (made.labels, made.images)
        for made in (
            clustering.clusters_as_classes(on.data(), on.pictures(drawn(48, 8)), 3, least=2),
            clustering.at_random(on.data(), 5),
        )
    ],
    "episodes.within_groups": lambda on: vars(episodes.within_groups(on.data(), way=4, episodes=3)),
    "episodes.with_unlabelled": lambda on: vars(
        episodes.with_unlabelled(on.data(), 4, query=2, unlabelled=2, distractors=1, episodes=3)
    ),
    "episodes.unbalanced": lambda on: vars(episodes.unbalanced(on.data(), 4, query=2, episodes=3)),
    "episodes.across_domains": lambda on: vars(episodes.across_domains(on.data(), way=4, episodes=3)),
    "data.to_input": lambda on: [
        data.to_input(
            on.pictures(
                torch.arange(side * side).remainder(256).to(torch.uint8).view(1, side, side)
            )
        )
        for side in (28, 40)
    ],
    "ImageSet.inputs": lambda on: [
        on.data().inputs(indices)
        for indices in (
            on.labels(torch.tensor([5, 40])),
            on.labels(torch.arange(48) == 7),
            [3, 4],
            slice(2, 5),
        )
    ],
    "ImageSet": lambda on: [
        (bars.digest, bars[3], repr(bars), bars.labels, bars.images)
        for bars in (on.data(), on.data().select([5, 2]))
    ],
    "augmentation.random_warp": lambda on: augmentation.random_warp(
        on.pictures(IMAGES),
        elastic=0.05,
        size=20,
        generator=torch.Generator(on.devices[1]).manual_seed(0),
    ),
    "augmentation.turned and mirrored": lambda on: [
        augmentation.turned(on.pictures(IMAGES), on.labels(LABELS % 4)),
        augmentation.mirrored(on.pictures(IMAGES), on.labels(LABELS > 3)),
    ],
    "augmentation.random_…": lambda on: [
        change(on.pictures(IMAGES), generator=torch.Generator().manual_seed(0))
        for change in (augmentation.random_turn, augmentation.random_mirror, augmentation.random_thickness)
    ],
    "augmentation.thickened": lambda on: augmentation.thickened(
        on.pictures(IMAGES), on.labels(LABELS / 4 - 1)
    ),
    "augmentation.mixup and cutmix": lambda on: [
        augmentation.mixup(on.pictures(IMAGES), on.labels(torch.arange(12).roll(1)), 0.3),
        augmentation.cutmix(on.pictures(IMAGES), on.labels(torch.arange(12).roll(1)), (2, 3, 20, 9)),
    ],
    "ImageSet.with_new_classes": lambda on: vars(
        on.data().with_new_classes({"mirrored": augmentation.mirrored}, but=[1])
    ),
    **{
        f"distillation.{loss.__name__}": lambda on, loss=loss: with_slope(
            lambda x: loss(x, on.pictures(OTHERS)), on.pictures(EMBEDDINGS)
        )
        for loss in (distillation.soft_targets, distillation.embeddings, distillation.relations)
    },
    **{f"domains.{name}": of_domains(make) for name, make in ALIGNMENTS.items()},
    "domains.adabn": adapted,
    "augmentation.TestTimeAugmentation": lambda on: on.model(built(twice))(on.model(IMAGES)),
    **{
        f"backbones: {name}": lambda on, make=make: on.model(built(make))(on.model(IMAGES[:2]))
        for name, make in {
            "Conv4": conv,
            "normalized": lambda: conv(normalize=True),
            "FrozenConv4": lambda: backbones.FrozenConv4(8),
            "ResNet12": lambda: backbones.ResNet12((4, 8, 8, 8)),
            "Coordinates": lambda: nn.Sequential(conv(), backbones.Coordinates(2, 5)),
            "Ensemble": lambda: backbones.Ensemble([conv(), conv()]),
            "Pretrained": lambda: backbones.Pretrained("resnet18", None, 32),
            **{block: lambda block=block: conv(block=block) for block in attention.BLOCKS},
        }.items()
    },
    "predictor.FewShotPredictor": predicted,
    "export.to_bytes": lambda on: [
        export.to_bytes(on.model(built(make)).eval())
        for make in (backbones.Conv4, methods.VectorRelation)
    ],
    "plots": figures,
    "checks": checked,
}
WITH_FILES = {"storage": saved_and_loaded, "episodes.save and load": episodes_saved_and_loaded}


# On every device --------------------------------------------------------------------------------------------------


def everywhere(gpu: Any) -> list[On]:
    """Places in which, with the CPU for everything, any two parts lie in all the ways in which two can lie."""
    both = gpu.device, CPU
    return [
        On(gpu.device, gpu.device, gpu.device),
        *(On(a, b, c) for a in both for b in both for c in both if (a, b, c).count(CPU) == 1),
    ]


@functools.cache
def on_the_cpu(call: Call) -> Any:
    return call(On(CPU, CPU, CPU))


def check(call: Call, places: list[On]) -> None:
    """Raise with what was wrong and where, unless the call gives at all places what it gives on the CPU."""
    wrong = []
    for on in places:
        try:
            assert_same(call(on), on_the_cpu(call))
        except Exception as error:
            wrong.append(
                f"{on}: {type(error).__name__}: {str(error).strip().splitlines()[0]} ({where(error)})"
            )
    assert not wrong, "\n" + "\n".join(wrong)


def assert_same(found: Any, expected: Any) -> None:
    for ours, theirs in zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True):
        if isinstance(theirs, (Tensor, float)):
            ours, theirs = (
                part.detach().cpu() if isinstance(part, Tensor) else part for part in (ours, theirs)
            )
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        else:
            assert ours == theirs


def where(error: BaseException) -> str:
    """The innermost line of the package that an error came through."""
    lines = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "fslib" in frame.filename
    ]
    return f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else "in the test"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_gives_the_same_on_every_device(gpu, call):
    check(call, everywhere(gpu))


@pytest.mark.parametrize("make", WITH_FILES.values(), ids=WITH_FILES)
def test_what_is_stored_is_the_same_from_every_device(gpu, make, tmp_path):
    check(make(tmp_path), everywhere(gpu))


@pytest.mark.skipif(REAL or bool(MISSING), reason=MISSING or "A real GPU has float64.")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_call_needs_float64(call):
    with pretend_gpu(float64=False, bfloat16=False) as gpu:
        check(call, [On(gpu.device, gpu.device, gpu.device)])
