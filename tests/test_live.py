"""What is computed in the page is what fslib computes: the same functions, asked the same questions."""

import base64
import gzip
import io
import json
import re
import runpy
import statistics

import numpy as np
import pytest
import torch
from PIL import Image

from fslib import augmentation, data, load, losses, methods, metrics, mining
from fslib.backbones import Conv4
from fslib.book import export, figures, guesses, ledger
from fslib.book.figures import FIGURES
from fslib.data import alphabets
from fslib.data.glyphs import attributes, balanced
from fslib.data.strokes import centred, rasterize
from fslib.evaluation import ci95, embed_all
from fslib.nuisances import leace
from tests.page import LIVE, ROOT, chromium, painted, served

MODULES = sorted(path.name for path in LIVE.glob("*.mjs"))


@pytest.fixture(scope="module")
def page():
    with served(LIVE) as address, chromium() as browser:
        page = browser.new_page()
        page.goto(f"{address}/conv4.mjs")  # any page of the server, so that modules can be imported
        yield page


@pytest.fixture(scope="module")
def model():
    return load(ledger.folder() / "omniglot" / "prototypical-seed0.safetensors")


UNTIL = """const until = async (holds) => {
    for (let tries = 0; !holds(); tries++) {
        if (tries > 500) throw new Error("waited in vain");
        await new Promise((done) => setTimeout(done, 10));
    }
};"""


def call(page, module, code, *arguments):
    """The value of an expression in which `m` is a module and `a` the arguments; it may wait `until(…)`."""
    script = f"async (a) => {{ {UNTIL} const m = await import('./{module}.mjs'); return {code}; }}"
    return page.evaluate(script, list(arguments))


def files_of(module):
    return [path.name for path in LIVE.glob("*.bin") if f'"{path.name}"' in (LIVE / module).read_text(encoding="utf8")]


def scribbles(count, seed):
    """Drawings of two strokes that wander over the frame, and now and then off it."""
    random = np.random.default_rng(seed)
    return [
        [(random.uniform(0, 105, 2) + random.normal(0, 9, (12, 2)).cumsum(0)).tolist() for _ in range(2)]
        for _ in range(count)
    ]


# From strokes to pixels --------------------------------------------------------------------------


def test_the_rasteriser_agrees_with_its_twin(page):
    """Which is fslib.data.strokes; off the frame, too, and for a dot."""
    drawings = [*scribbles(20, seed=0), [[[50, 50]]], [[[10, 10], [10, 10], [90, 30]]]]
    for strokes in drawings:
        theirs = call(page, "raster", "Array.from(m.rasterize(a[0]))", strokes)
        np.testing.assert_allclose(np.reshape(theirs, (28, 28)), rasterize(strokes), atol=1e-6)
    theirs = call(page, "raster", "Array.from(m.rasterize(a[0], 8.5))", drawings[0])
    np.testing.assert_allclose(np.reshape(theirs, (28, 28)), rasterize(drawings[0], pen=8.5), atol=1e-6)


def test_shrinking_is_that_of_the_training_pictures(page):
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (105, 105)).astype(np.uint8)
    theirs = call(page, "raster", "Array.from(m.shrink(a[0]))", picture.flatten().tolist())
    ours = np.asarray(Image.fromarray(picture).resize((28, 28), Image.Resampling.BILINEAR))
    assert abs(np.reshape(theirs, (28, 28)) - ours).max() <= 1  # Pillow rounds twice to whole numbers


def test_centring_moves_and_scales(page):
    strokes = [[[10, 10], [30, 20]], [[12, 14]]]
    ((left, top), (right, bottom)), _ = call(page, "raster", "m.centred(a[0])", strokes)
    assert right - left == pytest.approx(70) and bottom - top == pytest.approx(35)
    assert (left + right) / 2 == pytest.approx(52) and (top + bottom) / 2 == pytest.approx(52)
    assert call(page, "raster", "m.centred(a[0])", [[[3, 4]]]) == [[[52, 52]]]
    for drawing in scribbles(5, seed=1):
        np.testing.assert_allclose(call(page, "raster", "m.centred(a[0])", drawing), centred(drawing), atol=1e-9)


# The network -------------------------------------------------------------------------------------

EMBED = """(async () => {
    const network = m.readConv4(await (await fetch('conv4.f16.bin')).arrayBuffer());
    const results = [], times = [];
    for (const picture of a[0]) {
        const start = performance.now();
        results.push(Array.from(m.embed(network, picture)));
        times.push(performance.now() - start);
    }
    return [results, times];
})()"""


def test_embeddings_are_those_of_pytorch(page, model, glyphs):
    pictures = glyphs["test"].inputs(torch.arange(0, 20 * 37, 37))
    with torch.no_grad():
        ours = model.embed(pictures)
    theirs, times = call(page, "conv4", f"await {EMBED}", pictures.flatten(1).tolist())
    difference = (torch.tensor(theirs) - ours).abs().max().item()
    print(f"largest difference {difference:.1e}, median {statistics.median(times):.1f} ms an embedding")
    assert len(ours) == 20 and difference < 2e-3


def test_float16_is_read_as_numpy_reads_it(page):
    halves = np.random.default_rng(0).integers(0, 2**16, 500).astype("<u2").view("<f2")
    halves = np.append(halves[np.isfinite(halves)], np.array([0, -0.0, 6e-8, 65504, 1], "<f2"))
    code = "Array.from(m.floats(Uint8Array.from(atob(a[0]), (c) => c.charCodeAt(0)).buffer))"
    theirs = call(page, "conv4", code, base64.b64encode(halves.tobytes()).decode())
    np.testing.assert_array_equal(theirs, halves.astype(float))


def test_a_file_cut_short_is_refused(page):
    for module, reader, name in (("conv4", "Conv4", "network"), ("relation", "Relation", "relation module")):
        refused = f"(() => {{ try {{ m.read{reader}(new ArrayBuffer(100)); }} catch (e) {{ return e.message; }} }})()"
        assert f"not the {name}" in call(page, module, refused)


# Comparing ---------------------------------------------------------------------------------------


@pytest.fixture
def episode():
    """A support set of three classes with one, two and three examples, and a query, in five dimensions."""
    support = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 2, 2, 2])
    nested = [support[labels == k].tolist() for k in range(3)]
    return support, labels, nested, torch.ones(5, dtype=torch.float64) / 2


@pytest.mark.parametrize(
    "theirs, ours",
    [
        ("squaredEuclidean", metrics.squared_euclidean),
        ("euclidean", metrics.euclidean),
        ("cosineSimilarity", metrics.cosine_similarity),
        ("cosineDistance", metrics.cosine_distance),
    ],
)
def test_metrics(page, episode, theirs, ours):
    support, _, _, query = episode
    values = call(page, "compare", f"a[0].map((s) => m.{theirs}(s, a[1]))", support.tolist(), query.tolist())
    np.testing.assert_allclose(values, ours(support, query[None])[:, 0], rtol=1e-9)


def test_mahalanobis(page):
    x, y = torch.randn(2, 7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    xx, xy, yy = 2.0, 0.7, 1.5
    code = "a[0].map((x, i) => m.mahalanobis(x, a[1][i], a[2]))"
    values = call(page, "compare", code, x.tolist(), y.tolist(), [xx, xy, yy])
    matrix = torch.tensor([[xx, xy], [xy, yy]], dtype=torch.float64)
    np.testing.assert_allclose(values, metrics.mahalanobis(x, y, matrix).diagonal(), rtol=1e-9)


def test_inverse_covariance(page):
    classes = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centred = (classes - classes.mean(1, keepdim=True)).flatten(0, 1)
    covariance = centred.T @ centred / (len(centred) - 3) + 0.1 * torch.eye(2, dtype=torch.float64)
    xx, xy, yy = call(page, "compare", "m.inverseCovariance(a[0])", classes.tolist())
    np.testing.assert_allclose([[xx, xy], [xy, yy]], torch.linalg.inv(covariance), rtol=1e-9)


def test_prototypical(page, episode):
    support, labels, nested, query = episode
    model = methods.PrototypicalNetwork(torch.nn.Identity())
    ours = model.compare(support, labels, query[None])[0]
    theirs = call(page, "compare", "m.prototypical(a[0], a[1])", nested, query.tolist())
    np.testing.assert_allclose(theirs, ours, rtol=1e-6)
    theirs = call(page, "compare", "m.softmax(a[0])", ours.tolist())
    np.testing.assert_allclose(theirs, ours.softmax(0), rtol=1e-6)


def test_matching(page, episode):
    support, labels, nested, query = episode
    attention = (10 * metrics.cosine_similarity(query[None], support)[0]).softmax(0)
    ours = torch.zeros(3, dtype=torch.float64).index_add(0, labels, attention)
    theirs = call(page, "compare", "m.matching(a[0], a[1], 10)", nested, query.tolist())
    np.testing.assert_allclose(theirs, ours, rtol=1e-9)


# Playgrounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("nearest", ["mean", "example"])
@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean", "cosine", "mahalanobis"])
def test_the_plane_of_metrics(page, metric, nearest):
    """Its scores are minus the distances of fslib, and its probabilities their softmax."""
    classes = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    query = torch.tensor([0.3, -0.4], dtype=torch.float64)
    state = dict(support=classes.tolist(), metric=metric, nearest=nearest, temperature=0.7)
    candidates = classes.mean(1, keepdim=True) if nearest == "mean" else classes
    centred = (classes - classes.mean(1, keepdim=True)).flatten(0, 1)
    covariance = centred.T @ centred / 9 + 0.1 * torch.eye(2, dtype=torch.float64)
    distance = {
        "euclidean": metrics.euclidean,
        "squared_euclidean": metrics.squared_euclidean,
        "cosine": metrics.cosine_distance,
        "mahalanobis": lambda x, y: metrics.mahalanobis(x, y, covariance.inverse()),
    }[metric]
    ours = torch.stack([-distance(query[None], some).min() for some in candidates])
    theirs = call(page, "plane", "[m.scores(a[0], a[1]), m.probabilities(a[0], a[1])]", query.tolist(), state)
    np.testing.assert_allclose(theirs, torch.stack([ours, (ours / 0.7).softmax(0)]), rtol=1e-8)


@pytest.mark.parametrize("kind", ["all", "batch_hard", "semi_hard_band", "semi_hard_nearest"])
@pytest.mark.parametrize("seed", range(3))
def test_mining_and_cost(page, kind, seed):
    points = torch.randn(8, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 1])  # the class 2 has no positive
    distances = metrics.euclidean(points, points)
    if kind == "all":
        a, p, n = mining.all_triplets(labels)
    elif kind == "semi_hard_band":
        a, p, n = mining.semi_hard_band(distances, labels, 0.6)
    else:
        a, p, n = getattr(mining, kind)(distances, labels)
    costs = losses.triplet(distances[a, p], distances[a, n], 0.6, reduction="none")
    ours = sorted(zip(a.tolist(), p.tolist(), n.tolist(), costs.tolist()))
    code = "m.mine(a[0], a[1], a[2], 0.6).map((t) => [...t, m.cost(a[0], t, 0.6)])"
    theirs = sorted(call(page, "margin", code, points.tolist(), labels.tolist(), kind))
    assert [row[:3] for row in theirs] == [list(row[:3]) for row in ours]
    np.testing.assert_allclose([row[3] for row in theirs], [row[3] for row in ours], atol=1e-9)


def test_episodes_are_answered_by_prototypes(page):
    drawn = call(page, "episodes", "[1, 2, 3].map((i) => m.episode({ way: 4, shot: 3, noise: 0.8 }, i))")
    assert drawn[0] != drawn[1]
    again = call(page, "episodes", "m.episode({ way: 4, shot: 3, noise: 0.8 }, 1)")
    assert again == drawn[0]
    model = methods.PrototypicalNetwork(torch.nn.Identity())
    for episode in drawn:
        support = torch.tensor(episode["support"], dtype=torch.float64).flatten(0, 1)
        query = torch.tensor([one["point"] for one in episode["query"]], dtype=torch.float64)
        labels = torch.tensor([one["label"] for one in episode["query"]])
        answers = model.compare(support, torch.arange(4).repeat_interleave(3), query).argmax(1)
        assert answers.tolist() == [one["answer"] for one in episode["query"]]
        assert (answers == labels).double().mean() == pytest.approx(episode["accuracy"])


def test_the_interval_of_episodes(page):
    """Once there are enough for 1.96 to stand in for Student's t."""
    accuracies = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = call(page, "episodes", "m.summary(a[0])", accuracies.tolist())
    assert theirs["mean"] == pytest.approx(accuracies.mean().item())
    assert theirs["half"] == pytest.approx(ci95(accuracies), rel=2e-3)


def test_distances_of_a_moved_character(page):
    state = dict(character=1, right=12, down=-3)
    theirs = call(page, "shift", "m.distances(a[0], Array.from)", state)
    first = call(page, "alphabet", "m.draw(1, 0)")
    others = [call(page, "alphabet", "m.draw(a[0], 0)", c) for c in (0, *range(2, 10))]
    pictures = [first, [[[x + 12, y - 3] for x, y in stroke] for stroke in first], *others]
    pixels = torch.tensor(np.stack([rasterize(strokes).flatten() for strokes in pictures]))
    ours = metrics.euclidean(pixels[:1], pixels[1:])[0]
    assert theirs["self"] == pytest.approx(ours[0].item(), rel=1e-5)
    assert theirs["distance"] == pytest.approx(ours[1:].min().item(), rel=1e-5)


CHARACTERS = "AEMNWZbdpq"


def augmented(page, *states):
    """What the network sees in states of the figure of chapter 11, (n, 1, 28, 28)."""
    code = "a.map((state) => Array.from(m.picture({ ...m.DEFAULTS, ...state })))"
    return torch.tensor(call(page, "augmentation", code, *states)).view(-1, 1, 28, 28)


def test_a_character_is_warped_by_one_map_of_the_plane(page):
    """Mirrored, slanted, scaled, turned against the clock, in a frame in which y points down."""
    code = "m.warped('N', { ...m.DEFAULTS, ...a[0] })"
    plain = np.array(call(page, "augmentation", code, {}))
    how = dict(mirror=True, slant=0.3, scale=0.8, turn=40)
    cos, sin = np.cos(np.radians(40)), np.sin(np.radians(40))
    map = 0.8 * np.array([[cos, sin], [-sin, cos]]) @ [[1, -0.3], [0, 1]] @ np.diag([-1, 1])
    np.testing.assert_allclose(call(page, "augmentation", code, how), (plain - 52) @ map.T + 52, atol=1e-9)


def test_augmentations_in_the_page_are_those_of_fslib(page):
    box = call(page, "augmentation", "m.pasted({ share: 0.5, box: [5, 40] })")
    corners = box["top"], box["left"], box["top"] + box["side"], box["left"] + box["side"]
    mix = dict(partner="Z", share=0.3)
    upright, other, *theirs = augmented(
        page, {}, dict(character="Z"), dict(turn=90), dict(mirror=True),
        mix | dict(mix="mixup"), dict(partner="Z", mix="cutmix", box=[5, 40]),
    )  # fmt: skip
    both, partner = torch.stack([upright, other]), torch.tensor([1, 0])
    ours = [
        augmentation.turned(both, 1)[0],
        augmentation.mirrored(both)[0],
        augmentation.mixup(both, partner, 0.3)[0],
        augmentation.cutmix(both, partner, corners)[0],
    ]
    for one, other in zip(theirs, ours, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert augmentation.kept_share(both, corners) == pytest.approx(0.5, abs=0.02)
    assert corners[1] == 0 and corners[2] == 28  # it stays inside


def test_thickness_is_in_pixels_on_every_side(page):
    strokes = call(page, "augmentation", "m.warped('W', m.DEFAULTS)")
    (theirs,) = augmented(page, dict(character="W", thickness=0.4))
    np.testing.assert_allclose(theirs[0], rasterize(strokes, pen=5 + 2 * 0.4 * 105 / 28), atol=1e-6)


@pytest.fixture
def nearest(page):
    """Distances to the ten examples, (n, 10), of all characters, or of some, in states of the figure of chapter 11."""
    code = """(async () => {
        const { readConv4, embed } = await import('./conv4.mjs');
        const network = readConv4(await (await fetch('conv4.f16.bin')).arrayBuffer()), examples = m.support(network);
        return a.map((state) => {
            const one = { ...m.DEFAULTS, ...state };
            const { distances } = m.compare(Array.from(embed(network, m.picture(one))), examples, one.character);
            return m.NAMES.map((name) => distances[name]);
        });
    })()"""

    def distances(*states):
        return torch.tensor(call(page, "augmentation", f"await {code}", *states))

    return distances


def test_distances_to_the_examples(page, model, nearest):
    states = [dict(character="M", turn=20, slant=0.2), dict(mix="mixup", partner="W")]
    with torch.no_grad():
        examples = model.embed(augmented(page, *(dict(character=name) for name in CHARACTERS)))
        ours = metrics.euclidean(model.embed(augmented(page, *states)), examples)
    torch.testing.assert_close(nearest(*states), ours, atol=5e-3, rtol=0)
    assert call(page, "augmentation", "m.NAMES.join('')") == CHARACTERS


def named(distances):
    """The names of the nearest, as one text."""
    return "".join(CHARACTERS[i] for i in distances.argmin(1))


def test_what_keeps_a_name_and_what_changes_it(nearest):
    """What chapter 11 invites the reader to find."""

    def all_ten(**how):
        return nearest(*(dict(character=name, **how) for name in CHARACTERS))

    small = [dict(turn=10), dict(turn=-10), dict(slant=0.2), dict(slant=-0.2), dict(scale=0.7), dict(scale=1.4)]
    assert all(named(all_ten(**how)) == CHARACTERS for how in small)
    mirrored = all_ten(mirror=True)
    assert mirrored[[0, 2, 4], [0, 2, 4]].max() < 1e-3 and named(mirrored[6:]) == "dbqp"
    assert named(all_ten(turn=90)[[3, 5]]) == "ZN" and named(all_ten(turn=180)[[2, 4, 6, 7, 8, 9]]) == "WMqpdb"
    assert all(name != CHARACTERS[i] for turn in (90, -90) for i, name in enumerate(named(all_ten(turn=turn))))
    thick, plain = all_ten(thickness=0.7), all_ten()
    next_to = (plain + plain.max() * torch.eye(10)).min(1).values
    moved = thick.diagonal() / next_to
    assert named(thick) == CHARACTERS and moved.median() > 0.7 and moved.max() > 1
    assert named(all_ten(thickness=-0.5)).count("N") >= 4


def test_a_half_of_each_is_often_neither(nearest):
    """Of the 45 pairs, mixed half and half by MixUp, about a quarter is nearest to a third character."""
    pairs = [(a, b) for i, a in enumerate(CHARACTERS) for b in CHARACTERS[i + 1 :]]
    at = {share: named(nearest(*(dict(character=a, partner=b, mix="mixup", share=share) for a, b in pairs)))
          for share in (0.2, 0.5, 0.8)}  # fmt: skip
    third = [name for name, pair in zip(at[0.5], pairs) if name not in pair]
    assert 8 <= len(third) <= 20 and set(third) == {"N"}
    assert at[0.8] == "".join(a for a, _ in pairs) and at[0.2] == "".join(b for _, b in pairs)


@pytest.mark.parametrize("weights, temperature", [([1, 1], 1), ([0.25, 0.25], 1), ([0.9, 0.3], 4), ([1, 0.05], 64)])
def test_what_a_block_teaches(page, weights, temperature):
    """As a Prototypical Network over weighed features: probabilities, losses, and gradients before the block."""
    support, query = 3 * torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    query, labels = query.requires_grad_(), torch.arange(3)
    model = methods.PrototypicalNetwork(Weigh(weights), temperature=temperature)
    scores = model(support, labels, query)
    costs = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    (gradients,) = torch.autograd.grad(costs.sum(), query)
    state = dict(support=support.tolist(), weights=weights, temperature=temperature)
    code = "a[0].map((q, label) => [m.probabilities(q, a[1]), m.lesson(q, label, a[1])])"
    answers = call(page, "block", code, query.tolist(), state)
    for (shares, lesson), *ours in zip(answers, scores.softmax(1), costs, gradients, strict=True):
        theirs = shares, lesson["loss"], lesson["gradient"]
        for values, expected in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(values, expected.detach(), atol=1e-9)
    parts = gradients.norm(dim=1) / gradients.norm(dim=1).sum()
    nested = state | dict(query=query[:, None].tolist())
    taught = call(page, "block", "m.lessons(a[0])", nested)
    np.testing.assert_allclose(taught["parts"], parts, atol=1e-9)
    assert taught["teachers"] == pytest.approx(1 / parts.square().sum().item())
    assert taught["loss"] == pytest.approx(costs.mean().item())
    assert taught["right"] == (scores.argmax(1) == labels).sum()


class Weigh(torch.nn.Module):
    """An attention block whose weights somebody has set."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.tensor(weights, dtype=torch.float64)

    def forward(self, features):
        return self.weights * features


def test_scale_is_what_equal_weights_gain_and_attention_what_unequal_ones_do(page):
    """What chapter 5 invites the reader to find."""
    code = "m.lessons({ ...m.FEATURES[a[0]], weights: a[1], temperature: a[2] })"

    def lessons(channel, weights, temperature=1):
        taught = call(page, "block", code, channel, weights, temperature)
        return taught["right"], taught["loss"], taught["teachers"]

    right, loss, teachers = lessons("tells", [1, 1])
    by_weights = lessons("tells", [0.25, 0.25])
    assert by_weights == pytest.approx(lessons("tells", [1, 1], 16))
    assert teachers < 2 and by_weights[2] > 7 and by_weights[1] < loss and by_weights[0] == right
    assert lessons("tells", [0.25, 0.25], 16)[1] > loss  # too much of it
    hidden = [lessons("clutter", [1, 1], 2**power)[0] for power in range(7)]
    assert len(set(hidden)) == 1 and lessons("clutter", [1, 0.05])[0] == 12 > hidden[0] + 2


@pytest.mark.parametrize("scale", [0.3, 10, 1000])
def test_votes_are_those_of_a_matching_network(page, scale):
    """In the plane, over minus squared distance; beside them, the nearest prototype and example at the same scale."""
    points = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    support, query, labels = points[:6], points[6:], torch.tensor([0, 1, 1, 2, 2, 2])
    votes = methods.MatchingNetwork(torch.nn.Identity(), similarity=lambda x, y: -metrics.squared_euclidean(x, y))
    votes.log_scale.data = torch.tensor(scale, dtype=torch.float64).log()
    mean = methods.PrototypicalNetwork(torch.nn.Identity(), lambda x, y: scale * metrics.squared_euclidean(x, y))
    with torch.no_grad():
        attention = votes.log_attention(support, query)[0].exp()
        by_votes = votes.compare(support, labels, query)[0].exp()
        by_mean = mean.compare(support, labels, query)[0].softmax(0)
        apart = metrics.squared_euclidean(query, support)[0]
        by_nearest = (-scale * torch.stack([apart[labels == k].min() for k in range(3)])).softmax(0)
    state = dict(support=[support[labels == k].tolist() for k in range(3)], scale=scale)
    code = """(() => {
        const attention = m.attention(a[0], a[1]);
        const by = (method) => m.probabilities(a[0], { ...a[1], method });
        return [attention.flat(), by("votes"), by("mean"), by("nearest")];
    })()"""
    theirs = call(page, "votes", code, query[0].tolist(), state)
    for values, ours in zip(theirs, (attention, by_votes, by_mean, by_nearest), strict=True):
        np.testing.assert_allclose(values, ours, atol=1e-9)
    voices = call(page, "compare", "m.voices(a[0])", attention.tolist())
    assert voices == pytest.approx(1 / attention.square().sum().item())


def some_wrong(count):
    """Labels of five examples of each of three classes, so many of which are the next class's."""
    order = [(c, i) for i in range(5) for c in range(3)]
    return [[(c + (order.index((c, i)) < count)) % 3 for i in range(5)] for c in range(3)]


@pytest.mark.parametrize("clumps", ["one", "two"])
@pytest.mark.parametrize("method", ["mean", "votes", "nearest"])
def test_answers_with_wrong_labels(page, method, clumps):
    """The same queries are right with fslib, where examples are what their labels say."""
    code = """(() => {
        const drawn = m.draw({ clumps: a[0], number: 3 });
        return [drawn, m.answers(drawn.query, { support: drawn.support, labels: a[1], scale: 3, method: a[2] })];
    })()"""
    labels = some_wrong(5)
    drawn, right = call(page, "noise", code, clumps, labels, method)
    assert drawn == call(page, "noise", "m.draw({ clumps: a[0], number: 3 })", clumps)
    support, query = (torch.tensor(drawn[key], dtype=torch.float64).flatten(0, 1) for key in ("support", "query"))
    given, identity = torch.tensor(labels).flatten(), torch.nn.Identity()
    if method == "nearest":
        answers = given[metrics.euclidean(query, support).argmin(1)]
    elif method == "mean":
        answers = methods.PrototypicalNetwork(identity).compare(support, given, query).argmax(1)
    else:
        model = methods.MatchingNetwork(identity, similarity=lambda x, y: -metrics.squared_euclidean(x, y))
        model.log_scale.data = torch.tensor(3.0, dtype=torch.float64).log()
        answers = model.compare(support, given, query).argmax(1)
    assert right == (answers == torch.arange(3).repeat_interleave(12)).view(3, 12).tolist()
    assert 0 < sum(map(sum, right)) < 36


def test_who_suffers_from_what(page):
    """What chapter 9 invites the reader to find, over fifty draws: labels hurt the nearest example, clumps the mean."""
    code = """Array.from({ length: 50 }, (_, number) => {
        const { support, query } = m.draw({ clumps: a[0], number });
        const right = (method) => m.answers(query, { support, labels: a[1], scale: 3, method }).flat();
        return ["mean", "votes", "nearest"].map(right);
    })"""

    def accuracies(clumps, wrong):
        return np.array(call(page, "noise", code, clumps, some_wrong(wrong))).mean((0, 2))

    clean, mislabelled, apart = accuracies("one", 0), accuracies("one", 3), accuracies("two", 0)
    assert min(clean) > 0.97
    mean, votes, nearest = clean - mislabelled
    assert mean < 0.03 < votes < nearest - 0.05
    mean, votes, nearest = clean - apart
    assert mean > 0.2 and max(votes, nearest) < 0.05


@pytest.fixture(scope="module")
def rings():
    """The names of the script that trained the relation module of the rings, and what it wrote."""
    script = runpy.run_path(str(ROOT / "book" / "_tools" / "make_rings.py"))
    return script, json.loads(script["WEIGHTS"].read_text().partition("export default")[2].rstrip(";\n"))


def test_the_rings_are_as_good_as_their_file_says(rings):
    """On other episodes than those that the script measured; untrained, they are at chance."""
    script, written = rings
    result = script["accuracy"](script["relation_network"](written["layers"]), seed=2)
    assert abs(result.mean - written["accuracy"]["mean"]) < 0.03 < 0.75 < result.mean
    assert abs(script["accuracy"](script["relation_network"]()).mean - 1 / 5) < 0.1


def test_relation_scores_of_the_rings(page, rings):
    """As PyTorch gives them, inside and outside of where the relation was trained."""
    script, written = rings
    support, query = 2 * torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = script["relation_network"](written["layers"]).compare(support, torch.arange(40), query)
    theirs = call(page, "rings", "a[1].map(m.relation(a[0]))", support.tolist(), query.tolist())
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    assert ours.std() > 0.02  # or agreeing would say little and query.norm(dim=1).max() > 3.5


@pytest.mark.parametrize("far", [1, 2.4])
def test_the_part_of_a_ring_that_a_class_gets(page, rings, far):
    """Counted again with fslib. Where the relation was trained, it is nearly all; far outside, scores give way."""
    script, written = rings
    networks = {
        "distance": methods.PrototypicalNetwork(torch.nn.Identity()),
        "relation": script["relation_network"](written["layers"]),
    }
    support = far * torch.tensor([[-0.6, 0.6], [1.5, 1.1], [-1.3, -2.1]])
    angle = torch.arange(180) * torch.pi / 90
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    theirs = call(page, "rings", "[0, 1, 2].map((c) => m.ownRing(a[0], c))", support.tolist())
    for c, parts in enumerate(theirs):
        with torch.no_grad():
            scores = {
                name: network.compare(support, torch.arange(3), support[c].norm() * circle)
                for name, network in networks.items()
            }
        ours = {name: (score.argmax(1) == c).float().mean().item() for name, score in scores.items()}
        ours["above"] = (scores["relation"][:, c] > 0.5).float().mean().item()
        assert parts == pytest.approx(ours, abs=1.5 / 180)  # a place on a border may go either way
        assert parts["relation"] > 0.9
    assert sum(parts["distance"] for parts in theirs) / 3 < 0.7
    above = min(parts["above"] for parts in theirs)
    assert above > 0.95 if far == 1 else above < 0.8


# What is turned down -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen():
    """The names of the script that wrote the data of the figure, its pictures, and what each network makes of them."""
    script = runpy.run_path(str(ROOT / "book" / "_tools" / "make_nuisances.py"))
    train, shown = script["pictures"]()
    models = script["networks"]()
    return script, shown, {name: Seen(model, train) for name, model in models.items()}


class Seen:
    """What the figure does with the embeddings of a network, with fslib and in its own space."""

    def __init__(self, model, train):
        self.model, self.of, self.x = model, attributes(train.domains), embed_all(model, train, "cpu").double()
        self.removals = {}

    def less(self, turned, y, labels):
        """What is taken away at level 0 from embeddings: a nuisance, or the classes of y."""
        if turned == "character":
            centred = torch.stack([y[labels == label].mean(0) for label in labels.unique()]) - y.mean(0)
            directions = torch.linalg.qr(centred[1:].mT).Q
            return lambda part: part @ directions @ directions.mT
        if turned not in self.removals:
            self.removals[turned] = leace(self.x, self.of[turned])
        return lambda part: part - self.removals[turned](part)

    def counts(self, shown, turned, level):
        """How many find theirs in another face, find it across values, and let their value be read."""
        attribute = "weight" if turned == "character" else turned
        asked, y = attributes(shown.domains)[attribute], embed_all(self.model, shown, "cpu").double()
        less, down = self.less(turned, y, shown.labels), 1 - max(level, 1e-4)  # so that means of values do not meet
        x, y = self.x - down * less(self.x), y - down * less(y)
        apart, found = metrics.euclidean(y, y), [0, 0]
        for i, label in enumerate(shown.labels):
            own, alike = shown.labels == label, asked == asked[i]
            for which, offered in enumerate((shown.domains != shown.domains[i], own != alike)):
                found[which] += (shown.labels[apart[i].masked_fill(~offered, torch.inf).argmin()] == label).item()
        means = torch.stack([x[self.of[attribute] == value].mean(0) for value in asked.unique()])
        return [*found, (metrics.squared_euclidean(y, means).argmin(1) == asked).sum().item()]


SCENES = "m.readScenes(await (await fetch('nuisances.f16.bin')).arrayBuffer())"


def test_the_scenes_are_those_of_the_networks(page, seen):
    """All rows of a network have the lengths and the angles that they have when they are made again."""
    script, shown, networks = seen
    written = np.fromfile(script["NUMBERS"], "<f2").astype(float).reshape(4, -1, 64)
    train, _ = script["pictures"]()
    for theirs, network in zip(written, networks.values(), strict=True):
        ours = script["scene"](network.model, train, shown).numpy()
        np.testing.assert_allclose(theirs @ theirs.T, ours @ ours.T, atol=2e-3 * np.square(ours).sum(1).max())
    text = script["ABOUT"].read_text("utf8").partition("export default")[2]
    told, about = json.loads(text.rstrip(";\n")), script["about"](shown)
    pictures = [Image.open(io.BytesIO(base64.b64decode(one.pop("sprite").partition(",")[2]))) for one in (told, about)]
    assert told == json.loads(json.dumps(about))
    np.testing.assert_array_equal(*[np.asarray(picture.convert("L")) for picture in pictures])
    refused = "(() => { try { m.readScenes(new ArrayBuffer(100)); } catch (e) { return e.message; } })()"
    assert "not the pictures of five characters" in call(page, "nuisances", refused)


@pytest.mark.parametrize("turned", ["weight", "family", "slant", "character"])
def test_what_is_turned_down_is_found_and_read_as_with_fslib(page, seen, turned):
    """In the space of each network, by LEACE. The page has numbers of 16 bits; a picture may lie on the border."""
    _, shown, networks = seen
    levels = [0, 0.5, 1, 1.5]
    code = f"(({{ scenes }}) => a[0].map((n) => a[2].map((l) => m.counts(scenes[n], a[1], l))))({{ scenes: {SCENES} }})"
    theirs = call(page, "nuisances", code, list(networks), turned, levels)
    for (name, network), counts in zip(networks.items(), theirs, strict=True):
        for level, count in zip(levels, counts, strict=True):
            assert list(count) == ["face", "across", "read"]
            ours = network.counts(shown, turned, level)
            np.testing.assert_allclose(list(count.values()), ours, atol=1, err_msg=f"{name} {level}")


def test_the_characters_of_the_figure_are_like_others(seen):
    """Its counts lie within 7 of 60 of their means over other choices of five test characters."""
    _, shown, networks = seen
    test = balanced(data.load("glyphs", "test"))
    random = torch.Generator().manual_seed(1)
    choices = [test.select(torch.randperm(len(test.class_names), generator=random)[:5].tolist()) for _ in range(30)]
    for network in networks.values():
        for level in (0, 1):
            usual = np.mean([network.counts(choice, "weight", level) for choice in choices], 0)
            np.testing.assert_allclose(network.counts(shown, "weight", level), usual, atol=7)


def test_what_chapter_12_lets_find(page):
    """Weight has a direction, which training leaves behind; family and slant hardly have one; a character is lost."""
    code = f"""(({{ scenes }}) => Object.fromEntries(Object.entries(scenes).map(([name, scene]) => [name,
        Object.fromEntries(["weight", "family", "slant", "character"].map((turned) =>
            [turned, [1, 0].map((level) => m.counts(scene, turned, level))]))])))({{ scenes: {SCENES} }})"""
    networks = call(page, "nuisances", code)
    for name, turned in networks.items():
        whole, without = turned["weight"]
        assert abs(without["read"] - 30) < 8 and abs(without["face"] - whole["face"]) < 4
        assert (whole["read"] > 45) == (name != "supcon")
        for attribute, chance in (("family", 20), ("slant", 30)):
            whole, without = turned[attribute]
            assert whole["read"] - chance < 10 and abs(without["across"] - whole["across"]) < 4
        whole, without = turned["character"]
        assert without["face"] < 20 and without["across"] < 15 and without["read"] >= whole["read"] - 4
    gain = {name: turned["weight"][1]["across"] - turned["weight"][0]["across"] for name, turned in networks.items()}
    assert min(gain["untrained"], gain["pixels"]) > 5 > gain["prototypical"] > gain["supcon"]
    chances = [call(page, "nuisances", "m.chances(a[0])", turned) for turned in ("weight", "family")]
    assert [list(chance.values()) for chance in chances] == [[12, 12, 30], [12, 20, 20]]


@pytest.fixture
def nuisances(page):
    """The figure, at its start, and a function that gives the columns of its table once they show."""
    call(page, "nuisances", "void document.body.replaceChildren(document.createElement('nuisance-slider'))")
    page.wait_for_selector("nuisance-slider[data-ready]")

    def columns():
        painted(page)
        cells = [cell.inner_text() for cell in page.locator("nuisance-slider td").all()]
        return [list(map(int, cells[column::3])) for column in range(3)]

    return columns


def test_a_nuisance_is_turned_by_keys(page, nuisances):
    """Its words and its table say the same; what was at 100 % stays there, and no mark leaves the drawing."""
    level, said = page.get_by_role("slider", name="Level"), page.locator("nuisance-slider .live > div > div > p")
    assert nuisances()[0] == nuisances()[1]
    whole = nuisances()[1]
    level.press("Home")
    now, still, chance = nuisances()
    assert still == whole and chance == [12, 12, 30] and now != whole
    assert said.inner_text().replace("\xa0", " ") == (
        f"The weight at 0 %: it can be read from {now[2]} of 60 pictures, by chance from 30. "
        f"{now[1]} find their character across weights; at 100 % it was {whole[1]}."
    )
    assert level.get_attribute("aria-valuetext") == "0\xa0%"
    code = "figure => [...figure.shadowRoot.querySelectorAll('[role=option]')].map((dot) => dot.style.transform)"
    for network in ("raw pixels", "untrained Conv-4", "Prototypical Network", "SupCon network"):
        page.get_by_label("Seen by").select_option(network)
        for turned in ("weight", "family", "slant", "the character"):
            page.get_by_role("combobox", name="Turn").select_option(turned)
            for key in ("Home", "End"):
                level.press(key)
                nuisances()
                drawn = page.locator("nuisance-slider").evaluate(code)
                places = [[float(v) for v in re.findall(r"-?[\d.]+", one)] for one in drawn]
                assert np.min(places) >= 8 and (np.max(places, 0) <= [472, 372]).all()
    page.get_by_role("button", name="Reset").click()
    assert nuisances()[0] == whole


def test_marks_show_values_and_pictures(page, nuisances):
    """Hollow, pale and full, as the legend has them; a mark that is chosen shows its picture and says its face."""
    marks = page.locator("nuisance-slider .dots [role=option]")
    for turned, values, named in (("weight", 2, "bold"), ("family", 3, "DejaVu Serif"), ("the character", 2, "bold")):
        page.get_by_role("combobox", name="Turn").select_option(turned)
        nuisances()
        looks = {(one.get_attribute("fill"), one.get_attribute("fill-opacity")) for one in marks.all()[:12]}
        legend = page.locator("nuisance-slider .legend")
        assert len(looks) == values and legend.locator("svg[role=img]").count() == 5 * values
        assert legend.get_by_text(named, exact=True).count() == 1
    marks.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    chosen = page.locator("nuisance-slider [aria-selected=true]")
    assert chosen.get_attribute("aria-label") == "Armenian small letter ja, bold, DejaVu Sans, upright"
    box = page.locator("nuisance-slider .dots g svg").get_attribute("viewBox")
    assert [float(v) for v in box.split()] == [28.5, 28.5, 27, 27]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_keep_to_the_contract_of_anywidget(page, name):
    """A default export whose `render({ model, el })` fills the element and gives back a way to stop; joined, too."""
    code = """(async () => {
        const { localModel } = await import('./playground.mjs');
        const joined = await import(URL.createObjectURL(new Blob([a[0]], { type: 'text/javascript' })));
        const files = Object.fromEntries(await Promise.all(a[1].map(async (file) =>
            [file, new DataView(await (await fetch(file)).arrayBuffer())])));
        const found = [];
        for (const { default: figure } of [m, joined]) {
            const el = document.createElement('div'), model = localModel({ state: {}, files });
            const stop = figure.render({ model, el });
            await until(() => 'ready' in el.dataset);
            const state = model.get('state');
            stop();
            found.push([Object.keys(figure), typeof stop, el.shadowRoot.querySelectorAll('p').length, state]);
        }
        return found;
    })()"""
    module = FIGURES[name].module
    direct, joined = call(page, module.removesuffix(".mjs"), f"await {code}", figures.joined(module), files_of(module))
    keys, stop, paragraphs, state = direct
    assert keys == ["render"] and stop == "function" and paragraphs >= 2
    assert sorted(state) == sorted(FIGURES[name].state)
    assert direct == joined


def test_a_guess_in_a_notebook_is_told_to_python_and_answered(page):
    """The module of the question, joined as anywidget takes it; what the cells below print, it does not know."""
    code = """(async () => {
        const { localModel } = await import('./playground.mjs');
        const { default: guess } = await import(URL.createObjectURL(new Blob([a[0]], { type: 'text/javascript' })));
        return a[1].map((question) => {
            const el = document.body.appendChild(document.createElement('div')), model = localModel({ question });
            guess.render({ model, el });
            const buttons = [...el.shadowRoot.querySelectorAll('button')];
            el.shadowRoot.querySelector('input[type=radio]')?.click();
            buttons[0].click();
            el.remove();
            const said = el.shadowRoot.querySelector('[tabindex]').textContent;
            return [buttons.map((one) => one.textContent), model.get('guess'), said];
        });
    })()"""
    questions = [guesses.QUESTIONS[name].asked() for name in ("scale-of-cosine", "learned-scale", "best-loss")]
    told = call(page, "guess", f"await {code}", figures.joined("guess.mjs"), questions)
    assert [buttons for buttons, _, _ in told] == 3 * [["That is my guess"]]
    assert [guess for _, guess, _ in told] == [15, 20.5, "contrastive"]
    number, unknown, choice = (said.replace("\xa0", " ") for _, _, said in told)
    assert re.fullmatch(r"You guessed 15 points; it is 23\.6 ± 0\.3 points\.", number)
    assert unknown == "You guessed 20.5." and choice == "✗ You chose “contrastive”; the answer is “SupCon”."


def test_guesses_are_counted_by_their_distance(page):
    """In lengths of the slider, beside its middle; and choices beside luck."""
    questions = [{"name": n, "low": 0, "high": high} for n, high in (("a", 10), ("b", 100))]
    questions += [{"name": "c", "options": list("xyzw")}, {"name": "d", "low": 0, "high": 1}]
    made = {"a": {"guess": 4, "truth": 6}, "b": {"guess": 50, "truth": 90}, "c": {"guess": "x", "truth": "x"}}
    said = call(page, "intuition", "m.summary(...a)", questions, made).replace("\xa0", " ")
    assert said == (
        "You have guessed 3 of 4. Your numbers lie, on average, 30 % of the slider's length from what came out; "
        "its middle lies 25 % away. Of 1 choice you got 1 right; blind luck gets 0.3."
    )


STATES = {  # of a figure, by its link; and what no link should do
    "learning-player": ("step=120", "step=-7.5"),
    "shift-player": ("right=1&down=0&character=3", "right=900&character=-7.5&down=x"),
    "augmentation-player": (
        "character=M&turn=90&mix=cutmix&partner=E&share=0.25&box=10,12",
        "character=toString&turn=900&scale=-1&mix=constructor&share=NaN&box=1",
    ),
    "episode-player": ("way=3&shot=2&noise=0.8&drawn=40", "way=99&drawn=-3&noise=NaN"),
    "metric-plane": (
        "metric=cosine&nearest=example&query=1,-0.5&preset=modes",
        "metric=toString&query=1e200,1e200&preset=constructor",
    ),
    "margin-plane": ("mining=batch_hard&margin=0.2&anchor=4", "mining=x&anchor=99&points=1,2,3"),
    "block-plane": (
        "channel=clutter&weights=0.5,0.2&temperature=4",
        "channel=constructor&weights=7,-1&temperature=0",
    ),
    "rings-plane": ("ruler=distance&support=1,1,-1,1,0,2", "ruler=x&support=,,,,,"),
    "votes-plane": ("scale=2&method=mean&query=0,0", "scale=-5&method=x"),
    "nuisance-slider": (
        "network=untrained&turned=character&level=0.35",
        "network=constructor&turned=toString&level=-7",
    ),
    "noise-plane": (
        "clumps=two&number=7&method=nearest",
        "clumps=constructor&number=Infinity&labels=9,9,9,9,9,9,9,9,9,9,9,9,9,9,9",
    ),
}


def opened(page, name, hash):
    """The state, the words and the link of a figure that a link has opened."""
    code = """(async () => {
        const { localModel } = await import('./playground.mjs');
        const el = document.body.appendChild(document.createElement('div'));
        const model = localModel({ state: {}, link: a[0], page: 'x' });
        m.default.render({ model, el });
        await until(() => 'ready' in el.dataset);
        const words = el.shadowRoot.querySelector('.live > div > div > p')?.textContent;
        [...el.shadowRoot.querySelectorAll('button')].find((one) => one.textContent === 'Copy link').click();
        const note = () => el.shadowRoot.querySelector('.tools .note a')?.getAttribute('href');
        await until(note);
        el.remove();
        return [model.get('state'), words, note().slice(1)];
    })()"""
    page.evaluate("() => { if (navigator.clipboard) navigator.clipboard.writeText = () => Promise.reject(); }")
    return call(page, FIGURES[name].module.removesuffix(".mjs"), f"await {code}", hash)


@pytest.mark.parametrize("name", STATES)
def test_a_link_holds_the_whole_state_of_a_figure(page, name):
    good, bad = STATES[name]
    state, words, link = opened(page, name, f"#{name}?{good}")
    usual, usual_words, plain = opened(page, name, f"#{name}")
    assert plain == f"#{name}" and words and words != usual_words
    for key, value in (part.split("=") for part in good.split("&")):
        numbers = re.fullmatch(r"[-\d.,]+", value)
        if numbers:
            assert np.ravel(state[key]) == pytest.approx([float(number) for number in value.split(",")])
        else:
            assert state[key] == value
    assert opened(page, name, link) == [state, words, link]
    mended, words, _ = opened(page, name, f"#{name}?{bad}")
    assert mended.keys() == usual.keys() and words and "NaN" not in words and "undefined" not in words


def test_a_link_of_another_figure_changes_nothing(page):
    assert opened(page, "metric-plane", "#margin-plane?margin=0.2") == opened(page, "metric-plane", "")


@pytest.fixture
def noise(page):
    """The playground of chapter 9, alive, and a function that gives its state once it shows."""
    call(page, "noise", "document.body.replaceChildren(document.createElement('noise-plane'))")
    page.wait_for_selector("noise-plane[data-ready]")

    def state(key):
        painted(page)
        return page.locator("noise-plane").evaluate("(element, key) => element.model.get('state')[key]", key)

    return state


def test_a_mark_is_touched_or_dragged_or_moved_by_keys(page, noise):
    """A touch, Enter and Space change a label, once each; a drag and an arrow move, and change none."""
    mark = page.get_by_role("button", name="Example 1 of the circles")
    box = mark.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def after():
        return noise("support")[0][0], noise("labels")[0]

    began, labels = after()
    assert labels == [0] * 5
    page.mouse.click(x, y)
    assert after() == (began, [1, 0, 0, 0, 0])
    assert "labelled as one of the squares" in mark.get_attribute("aria-label")
    mark.press("Enter")
    assert after() == (began, [2, 0, 0, 0, 0])
    mark.press("Space")
    assert after() == (began, [0] * 5)
    mark.press("ArrowLeft")
    (left, up), labels = after()
    assert left < began[0] and up == pytest.approx(began[1]) and labels == [0] * 5
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y + 40, steps=4)
    page.mouse.up()
    (right, down), labels = after()
    assert right > began[0] + 0.3 and down < began[1] - 0.2 and labels == [0] * 5


def test_a_finger_drags_a_mark_and_does_not_scroll(page):
    phone = page.context.browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    with phone:
        touched = phone.new_page()
        touched.goto(page.url)
        call(touched, "block", "void document.body.replaceChildren(document.createElement('block-plane'))")
        touched.wait_for_selector("block-plane[data-ready]")
        touched.evaluate("document.body.style.height = '3000px'")
        mark = touched.get_by_role("application", name="The example of the squares")
        before = mark.bounding_box()
        x, y = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
        fingers = phone.new_cdp_session(touched)
        for step in range(8):
            kind = "touchMove" if step else "touchStart"
            points = [{"x": x - 5 * step, "y": y - 6 * step}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        painted(touched)
        after = mark.bounding_box()
        assert touched.evaluate("scrollY") == 0
        assert after["x"] - before["x"] == pytest.approx(-35, abs=2)
        assert after["y"] - before["y"] == pytest.approx(-42, abs=2)


def test_every_query_that_is_asked_about_is_a_star(page):
    """Ten corners in both planes, and of no class's colour."""
    for module, name in (("plane", "metric-plane"), ("votes", "votes-plane")):
        call(page, module, f"void document.body.replaceChildren(document.createElement('{name}'))")
        page.wait_for_selector(f"{name}[data-ready]")
        query = page.get_by_role("application", name="The query")
        page.wait_for_function("part => part.hasAttribute('d')", arg=query.element_handle())
        assert query.get_attribute("d").count("L") == 9 and query.get_attribute("fill") == "currentColor"


def margin_state(page):
    painted(page)
    state = page.locator("margin-plane").evaluate("part => part.model.get('state')")
    return state["anchor"], state["points"]


def test_a_point_is_dragged_by_one_act_and_made_the_anchor_by_another(page):
    """To drag, to touch once, to reach with Tab and to move by arrows leave the anchor where it is."""
    call(page, "margin", "void document.body.replaceChildren(document.createElement('margin-plane'))")
    page.wait_for_selector("margin-plane[data-ready]")
    negative, chosen = page.get_by_role("button", name="Square 1"), page.get_by_role("combobox", name="Anchor")
    anchor, points = margin_state(page)
    assert anchor == 1 and chosen.input_value() == "1"
    assert page.get_by_role("button", name="Circle 2, the anchor").count() == 1
    box = negative.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y, steps=4)
    page.mouse.up()
    anchor, dragged = margin_state(page)
    assert anchor == 1 and dragged[3][0] > points[3][0] + 0.3
    page.mouse.click(x + 90, y)
    negative.press("ArrowUp")
    anchor, moved = margin_state(page)
    assert anchor == 1 and moved[3][1] > dragged[3][1]
    page.get_by_role("button", name="Square 1").dblclick()
    assert margin_state(page) == (3, moved) and chosen.input_value() == "3"
    page.get_by_role("button", name="Triangle 3").press("Enter")
    assert margin_state(page) == (8, moved)
    chosen.select_option("Circle 1")
    assert margin_state(page) == (0, moved)
    assert page.get_by_role("button", name="Circle 1, the anchor").count() == 1


def test_an_interval_is_held_against_the_one_before(page):
    """The same number of episodes of other settings; what a slider passes on its way is forgotten."""
    call(page, "episodes", "void document.body.replaceChildren(document.createElement('episode-player'))")
    page.wait_for_selector("episode-player[data-ready]")
    said, noise = page.locator("episode-player .live > div > div > p").first, page.get_by_label("Noise")
    page.get_by_role("button", name="100 more").click()
    said.filter(has_text="Mean of 101 episodes").wait_for()
    first = re.search(r": ([\d.]+\s%\s±\s[\d.]+\s%)", said.inner_text())[1]
    assert "it was" not in said.inner_text()
    for _ in range(3):
        noise.press("ArrowRight")
        painted(page)
    assert "Mean of 101 episodes" in said.inner_text() and f"With noise 0.4 it was {first}." in said.inner_text()
    bars, lines = (page.locator(f"episode-player .histogram {part}").count() for part in ("rect", "path"))
    assert bars == 26 + 1 and lines == 1 + 2  # the stripe; the axis and two intervals
    page.get_by_label("Shot").press("ArrowRight")
    said.filter(has_text="With shot 1 it was").wait_for()
    for _ in range(2):
        page.get_by_role("button", name="1000 more").click()
    said.filter(has_text="Mean of 2101 episodes").wait_for()
    page.get_by_label("Way").press("ArrowLeft")
    said.filter(has_text="Mean of 1000 episodes").wait_for()  # so many follow a slider's moves


def test_rings_say_what_the_threshold_leaves(page):
    far = "#rings-plane?support=-0.6,0.6,1.5,1.1,-4,-3.9"
    _, words, _ = opened(page, "rings-plane", far)
    _, near, _ = opened(page, "rings-plane", "#rings-plane")
    share = [int(re.search(r"above ½ on (\d+)", text)[1]) for text in (words, near)]
    assert share[0] < 95 < share[1]


def test_a_moved_character_is_nearer_or_another_is(page):
    _, near, _ = opened(page, "shift-player", "#shift-player?character=3&right=1")
    _, far, _ = opened(page, "shift-player", "#shift-player?character=3")
    own = "its own moved image is nearer than any other character."
    other = "another character is nearer than its own moved image."
    assert near == f"By pixels, {own} By a trained network, {own}"
    assert far == f"By pixels, {other} By a trained network, {own}"


def alone(page, name):
    """Put a figure into the page; gives a function that tells its state and its words once they show."""
    module = FIGURES[name].module.removesuffix(".mjs")
    call(page, module, f"void document.body.replaceChildren(document.createElement('{name}'))")
    page.wait_for_selector(f"{name}[data-ready]")

    def shown():
        painted(page)
        figure = page.locator(name)
        return figure.evaluate("figure => figure.model.get('state')"), figure.locator("p").first.inner_text()

    return shown


def test_a_character_is_pulled_by_keys_and_leaves_a_trail(page):
    shown, trail = alone(page, "augmentation-player"), page.locator("augmentation-player .plane circle")
    turn, thickness = (page.get_by_role("slider", name=name) for name in ("Turn", "Thickness"))
    assert shown()[1] == "The nearest example is b, its own. The embedding has not moved." and trail.count() == 1
    for key, count in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 3)):
        turn.press(key)
        assert "% of the distance between b and the character next to it, p." in shown()[1].replace("\xa0", " ")
        assert trail.count() == count
    turn.press("End")
    assert shown()[1].startswith("The nearest example is q, no longer b.")
    thickness.press("ArrowRight")
    shown()
    assert trail.count() == 2  # a new one, from the last place
    page.get_by_label("Character").select_option("M")
    page.get_by_role("button", name="Reset").click()
    state, _ = shown()
    assert state["character"] == "b" and state["turn"] == 0 and trail.count() == 1
    page.get_by_role("checkbox", name="Mirror").press("Space")
    assert shown()[1].startswith("The nearest example is d, no longer b.")
    bars = page.get_by_role("listitem")
    assert [one.inner_text().split()[0] for one in bars.all()] == list(CHARACTERS)


def test_a_box_is_pasted_where_it_is_dragged(page):
    """From where it is touched, however large it is; by arrow keys a pixel at a time; and only where there is one."""
    shown, box = alone(page, "augmentation-player"), page.get_by_role("application", name="The pasted box")
    mix, partner = page.get_by_label("Mixture"), page.get_by_label("Partner")
    assert not box.is_visible() and not partner.is_visible()
    mix.select_option("mixup")
    shown()
    assert not box.is_visible() and partner.is_visible()
    mix.select_option("cutmix")
    partner.select_option("W")
    shown()
    before, pixel = box.bounding_box(), page.locator("augmentation-player .plane").first.bounding_box()["width"] / 28
    x, y = before["x"] + before["width"] - 2 * pixel, before["y"] + 2 * pixel
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 5 * pixel, y + pixel, steps=4)
    page.mouse.up()
    state, words = shown()
    after = box.bounding_box()
    assert before["x"] - after["x"] == pytest.approx(5 * pixel, abs=0.5)
    assert before["y"] == pytest.approx(after["y"], abs=0.5)  # it was at the lower edge
    assert state["box"] == pytest.approx([13, 19], abs=0.2) and "The embedding has moved" in words
    box.press("ArrowUp")
    shown()
    assert after["y"] - box.bounding_box()["y"] == pytest.approx(pixel, abs=0.5)


def test_labels_are_made_wrong_until_all_are(page, noise):
    """A button that can do no more says so, and keeps the focus."""
    wrong, right = (page.get_by_role("button", name=name) for name in ("Make one label wrong", "Put all labels right"))
    noise("labels")
    assert right.get_attribute("aria-disabled") == "true" and wrong.get_attribute("aria-disabled") == "false"
    for _ in range(15):
        wrong.click()
    labels = noise("labels")
    assert all(label != c for c in range(3) for label in labels[c])
    assert "of 36 right" in page.get_by_role("button", name="Prototypes").inner_text()
    assert wrong.get_attribute("aria-disabled") == "true"
    wrong.press("Enter")
    assert noise("labels") == labels and wrong.evaluate("button => button.getRootNode().activeElement === button")
    right.click()
    assert noise("labels") == [[c] * 5 for c in range(3)]


def test_a_class_keeps_its_last_example(page, noise):
    before = [[0, 1, 1, 1, 1], [1, 1, 1, 1, 1], [2, 1, 1, 1, 1]]
    change = "(part, labels) => part.model.set('state', { ...part.model.get('state'), labels })"
    page.locator("noise-plane").evaluate(change, before)
    assert noise("labels") == before  # once it is built anew
    page.get_by_role("button", name="Example 1 of the circles").press("Enter")
    assert noise("labels") == before
    page.get_by_role("button", name="Make one label wrong").click()
    assert noise("labels") == [before[0], [2, 1, 1, 1, 1], before[2]]


def test_wrong_labels_and_the_chosen_mark_lie_on_top(page, noise):
    """As pictures of them: the marks themselves keep their turns with Tab."""
    marks = page.locator("noise-plane [role=button][d]")
    order = [mark.get_attribute("aria-label") for mark in marks.all()]
    page.get_by_role("button", name="Make one label wrong").click()
    page.get_by_role("button", name="Example 2 of the squares").focus()
    noise("labels")
    on_top = page.locator("noise-plane .plane g[pointer-events=none] path")
    chosen = [marks.nth(0), page.get_by_role("button", name="Example 2 of the squares")]
    assert [one.get_attribute("d") for one in on_top.all()] == [one.get_attribute("d") for one in chosen]
    after = [mark.get_attribute("aria-label") for mark in marks.all()]
    assert after == [f"{order[0]}, labelled as one of the squares", *order[1:]]


def test_the_large_picture_says_whose_it_is(page, noise):
    page.get_by_role("button", name="Nearest example").click()
    noise("method")
    assert page.locator("noise-plane p").first.inner_text() == "Nearest example"
    assert page.get_by_role("group", name="Nearest example: five examples").count() == 1
    assert page.get_by_role("slider", name="Scale of the votes", exact=True).count() == 1
    boxes = [box.bounding_box() for box in page.locator("noise-plane button .plane").all()]
    assert len({box["y"] for box in boxes}) == len({round(box["width"]) for box in boxes}) == 1


@pytest.mark.parametrize(
    "weights, temperature, said",
    [
        ([1, 1], 1, "change nothing"),
        ([0.25, 0.25], 1, "Equal weights of 0.25 divide all squared distances by 16."),
        ([1, 1], 4, "A temperature of 4 divides all squared distances by 4."),
        ([0.5, 0.5], 4, "Equal weights of 0.5 and a temperature of 4 together divide all squared distances by 16."),
        ([1, 0.5], 4, "Unequal weights turn the decision boundaries"),
    ],
)
def test_a_block_says_what_it_does(page, weights, temperature, said):
    """With the temperature, where it is not 1; to the eye at once, and to a screen reader when the hand rests."""
    call(page, "block", "void document.body.replaceChildren(document.createElement('block-plane'))")
    page.wait_for_selector("block-plane[data-ready]")
    told = page.locator("block-plane output[aria-live]")
    told.filter(has_text="change nothing").wait_for(state="attached")
    code = """async (part, [weights, temperature]) => {
        part.model.set("state", { ...part.model.get("state"), weights, temperature });
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        return ["p", "output"].map((name) => part.shadowRoot.querySelector(name).textContent);
    }"""
    seen, heard = page.locator("block-plane").evaluate(code, [weights, temperature])
    assert said in seen and "change nothing" in heard
    told.filter(has_text=said).wait_for(state="attached")
    slider = page.get_by_role("slider", name="Temperature", exact=True)
    assert slider.get_attribute("aria-valuetext") == str(temperature)


# An embedding while it is learned ----------------------------------------------------------------


def of_learning():
    """The data of the figure: parsed, and the places of its images, (moments, images, 2)."""
    told = json.loads((LIVE / "learning_data.mjs").read_text("utf8").partition("export default")[2].rstrip(";\n"))
    places = np.frombuffer(base64.b64decode(told["places"]), np.int8) / 100
    return told, places.reshape(len(told["steps"]), -1, 2)


@pytest.fixture
def player(page):
    """The figure, at its start, and a function that gives its step and its words once they show."""
    shown = alone(page, "learning-player")

    def step_and_words():
        state, words = shown()
        return state["step"], words

    return step_and_words


def test_each_moment_shows_its_places_and_count(page, player):
    """Slid through by keys; whatever is shown is what the data say, and no mark lies outside."""
    told, places = of_learning()
    assert player()[0] == told["steps"][0] == 0
    theirs = call(page, "learning", "a[0].map((_, at) => m.places(at))", told["steps"])
    np.testing.assert_allclose(theirs, places)
    slider = page.get_by_role("slider", name="Training tasks")
    figure = page.locator("learning-player")
    for step, count, where in zip(told["steps"], told["nearest"], places, strict=True):
        now, words = player()
        when = f"After {step} task{'s' * (step > 1)}" if step else "Before training"
        assert now == step and slider.get_attribute("aria-valuetext") == str(step)
        assert words.startswith(f"{when}, {count} of {len(where)} images have an image of their own character")
        assert "nearest neighbour, in all 64 dimensions" in words
        code = "figure => [...figure.shadowRoot.querySelectorAll('[role=option]')].map((dot) => dot.style.transform)"
        drawn = [[float(v) for v in re.findall(r"-?[\d.]+", one)] for one in figure.evaluate(code)]
        np.testing.assert_allclose(drawn, [240, 230] + where * [200, -200], atol=0.1)
        assert np.min(drawn) >= 6 and np.max(drawn, 0)[0] <= 474 and np.max(drawn, 0)[1] <= 454
        slider.press("ArrowRight")
    assert player()[0] == told["steps"][-1]


def test_it_plays_to_the_end_and_then_from_the_start(page, player):
    steps = of_learning()[0]["steps"]
    slider, play = page.get_by_role("slider", name="Training tasks"), page.get_by_role("button", name="Play")
    slider.press("End")
    slider.press("ArrowLeft")
    assert player()[0] == steps[-2]
    play.click()
    page.get_by_role("button", name="Pause").wait_for()
    play.wait_for()  # again, at the end
    assert player()[0] == steps[-1]
    play.click()
    page.get_by_role("button", name="Pause").click()
    paused = player()[0]
    assert paused in steps[: len(steps) // 2]  # however slow this machine is to press the second button
    page.wait_for_timeout(900)
    assert player()[0] == paused


def test_a_mark_that_is_chosen_shows_its_image(page, player):
    """One is in the turn of Tab; arrows go to the next image, or to the next character; a mouse is enough."""
    told, places = of_learning()
    each, shown = told["each"], page.locator("learning-player .dots g")
    marks = page.get_by_role("option")
    assert shown.get_attribute("visibility") == "hidden" and page.locator("learning-player [tabindex='0']").count() == 1
    marks.first.focus()
    for key, chosen in (("ArrowRight", 1), ("ArrowDown", 1 + each), ("ArrowLeft", each), ("ArrowUp", 0)):
        page.keyboard.press(key)
        one = page.get_by_role("option", selected=True)
        name = f"{told['names'][chosen // each]}, image {chosen % each + 1} of {each}"
        assert one.get_attribute("aria-label") == name
        assert shown.get_attribute("visibility") == "visible"
        box = [float(v) for v in shown.locator("svg").get_attribute("viewBox").split()]
        assert box == [28 * (chosen % each) + 0.5, 28 * (chosen // each) + 0.5, 27, 27]
    one.evaluate("one => one.blur()")
    assert shown.get_attribute("visibility") == "hidden"
    page.get_by_role("slider", name="Training tasks").press("End")
    player()
    page.wait_for_timeout(500)
    farthest = int(places[-1][:, 1].argmax())  # which no other mark is near to
    box = marks.nth(farthest).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert marks.nth(farthest).get_attribute("aria-selected") == "true"
    page.mouse.move(1, 1)
    assert shown.get_attribute("visibility") == "hidden"


# Links and hands ---------------------------------------------------------------------------------


OLD_LINK = "#alphabet-AQIBAQFkUAAAu7Y"


def board(seed=0):
    strokes = scribbles(7, seed)
    clipped = [[[[min(105, max(0, v)) for v in p] for p in s] for s in d] for d in strokes]
    return dict(ways=3, shots=2, support=[clipped[:2], clipped[2:4], [[], clipped[5]]], query=clipped[6])


def test_a_link_brings_the_board_back(page):
    sent = board()
    hash = call(page, "share", "m.toHash(a[0])", sent)
    got = call(page, "share", "m.fromHash(a[0])", hash)
    assert (got["ways"], got["shots"]) == (3, 2) and got["support"][2][0] == []
    for before, after in zip([*sent["support"][0], sent["query"]], [*got["support"][0], got["query"]]):
        assert abs(rasterize(before) - rasterize(after)).max() < 0.2  # half a pixel of 105
        assert len(after) == len(before)
    assert call(page, "share", "m.fromHash(a[0])", "") is None
    assert call(page, "share", "m.fromHash(a[0])", "#exercises") is None


@pytest.mark.parametrize("method, centring", [(0, True), (0, False), (2, True), (1, False)])
def test_a_link_brings_the_settings_back(page, method, centring):
    got = call(page, "share", "m.fromHash(m.toHash(a[0]))", board() | dict(method=method, centring=centring))
    assert (got["method"], got["centring"]) == (method, centring)


def test_a_link_from_before_it_had_settings_is_read(page):
    """Two characters, one of which has a point, and no new drawing: as toHash wrote it then."""
    got = call(page, "share", "m.fromHash(a[0])", OLD_LINK)
    assert got == dict(ways=2, shots=1, support=[[[[[50, 40]]]], [[]]], query=[], method=0, centring=True)


def test_a_damaged_link_says_so(page):
    hash = call(page, "share", "m.toHash(a[0])", board())
    read = "(() => { try { return m.fromHash(a[0]); } catch (e) { return e.message; } })()"
    at = next(i for i in range(40, len(hash)) if hash[i] != hash[i + 1])
    swapped = hash[:at] + hash[at + 1] + hash[at] + hash[at + 2 :]
    foreign = hash[:20] + "é" + hash[21:]
    for damaged in (hash[:-5], hash[:50] + hash[54:], swapped, foreign, "#alphabet-", "#alphabet-%%%"):
        assert "This link is damaged" in call(page, "share", read, damaged), damaged


def test_a_long_stroke_fits_into_a_link(page):
    angle = np.linspace(0, 60, 3000)
    spiral = np.stack([52 + 0.8 * angle * np.cos(angle), 52 + 0.8 * angle * np.sin(angle)], 1).tolist()
    sent = dict(ways=2, shots=1, support=[[[spiral]], [[]]], query=[])
    got = call(page, "share", "m.fromHash(m.toHash(a[0]))", sent)
    assert abs(rasterize([spiral]) - rasterize(got["support"][0][0])).mean() < 0.05


def test_a_pen_that_turns_back_on_its_line_keeps_where_it_turned(page):
    """A link leaves out what lies on a line, and this lies on it, but beyond its end."""
    down_and_up, there_and_back = [[50, 20], [50, 90], [50, 30]], [[20, 50], [60, 50], [20, 50]]
    for stroke in (down_and_up, there_and_back):
        assert call(page, "share", "m.thinned(a[0])", stroke) == stroke
    assert call(page, "share", "m.thinned(a[0])", [[0, 0], [5, 0.2], [9, 0]]) == [[0, 0], [9, 0]]


def test_each_hand_draws_a_little_differently_and_always_the_same(page):
    first, again, other = (call(page, "alphabet", "m.draw(a[0], a[1])", 3, hand) for hand in (1, 1, 2))
    assert first == again != other
    count = call(page, "alphabet", "m.COUNT")
    for character in range(count):
        points = np.concatenate(call(page, "alphabet", "m.draw(a[0], 5)", character))
        assert points.min() > 2.5 and points.max() < 102.5


def test_relation(page, glyphs):
    """Scores of the page's relation module over five prototypes of three examples each."""
    model = load(ledger.folder() / "omniglot" / "relation-frozen-seed0.safetensors")
    with torch.no_grad():
        embeddings = model.embed(glyphs["test"].inputs(torch.arange(0, 25 * 37, 37)))
        support, query = embeddings[:15], embeddings[15:]
        ours = model.compare(support, torch.arange(5).repeat_interleave(3), query)
    code = """await (async () => {
        const module = m.readRelation(await (await fetch('relation.f16.bin')).arrayBuffer());
        return a[1].map((query) => a[0].map((prototype) => m.relate(module, prototype, query)));
    })()"""
    prototypes = support.reshape(5, 3, -1).mean(1)
    theirs = call(page, "relation", code, prototypes.tolist(), query.tolist())
    torch.testing.assert_close(torch.tensor(theirs), ours, atol=2e-3, rtol=0)
    assert ours.std() > 0.02  # or agreeing would say little


# Files -------------------------------------------------------------------------------------------


def alphabet(seed=0):
    """Characters with drawings, as the page has them before they are saved; one name is typed in two signs."""
    support = board(seed)["support"]
    names = ["alif", "e\u0301", "hook"]
    classes = [{"name": name, "drawings": [d for d in drawn if d]} for name, drawn in zip(names, support)]
    return dict(writer=" Anna ", centring=bool(seed % 2), classes=classes)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_alphabet_of_the_page_is_read_by_python(page, tmp_path, seed):
    """Its pictures are those that both make of the strokes, which are as in the page but for a third of a pixel."""
    sent, file = alphabet(seed), tmp_path / "anna.json"
    file.write_text(call(page, "alphabet_file", "m.toText(a[0])", sent), encoding="utf8")
    read = alphabets.read(file)
    assert (read.writer, read.centred) == ("Anna", sent["centring"])
    assert list(read.classes) == ["alif", "\u00e9", "hook"]
    for ours, theirs in zip(read.classes.values(), sent["classes"], strict=True):
        for drawing, drawn in zip(ours, theirs["drawings"], strict=True):
            assert abs(rasterize(drawing) - rasterize(drawn)).max() < 0.15
    images = data.from_alphabets(file)
    stored = [one["picture"] for each in json.loads(file.read_text("utf8"))["classes"] for one in each["drawings"]]
    theirs = np.stack([np.frombuffer(base64.b64decode(one), np.uint8).reshape(28, 28) for one in stored])
    assert len(images) == len(theirs) == 5
    ours = [images.images[images.labels == images.class_names.index(name), 0] for name in read.classes]
    assert abs(torch.cat(ours).numpy().astype(int) - theirs).max() <= 1


def test_an_alphabet_of_python_opens_in_the_page(page, tmp_path):
    drawing = [[[10.5, 20], [30, 44.1]], [[50, 50]]]
    alphabets.Alphabet({"é": [drawing], "b": []}, writer="Zoë", centred=False).save(tmp_path / "zoe.json")
    got = call(page, "alphabet_file", "m.fromText(a[0])", (tmp_path / "zoe.json").read_text("utf8"))
    classes = [dict(name="é", drawings=[drawing]), dict(name="b", drawings=[])]
    assert got == dict(writer="Zoë", centring=False, classes=classes)


def test_a_foreign_damaged_or_newer_alphabet_is_refused_in_the_page(page):
    whole = call(page, "alphabet_file", "m.toText(a[0])", alphabet())

    def changed(path, value):
        content = place = json.loads(whole)
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return json.dumps(content)

    read = "(() => { try { return m.fromText(a[0]); } catch (e) { return e.message; } })()"
    drawing = ("classes", 0, "drawings", 0)
    damaged = [
        "", "null", "{}", "[]", "no JSON", "[" * 100_000, whole[:-1], whole[:700], changed(("format",), "another"),
        changed(("version",), "1"), changed(("version",), 0), changed(("writer",), None), changed(("centred",), 1),
        changed(("centred",), True), changed(("classes", 0, "name"), "hook"), changed(("classes", 0, "name"), ""),
        changed((*drawing, "strokes"), []), changed((*drawing, "strokes", 0), []),
        changed((*drawing, "strokes", 0, 0), [40, None]), changed((*drawing, "strokes", 0, 0), [52, 3]),
        changed((*drawing, "picture"), "AA=="),
    ]  # fmt: skip
    for text in damaged:
        said = "This is not an alphabet that a drawing pad has saved, or it is damaged."
        assert call(page, "alphabet_file", read, text) == said, text[:200]
    newer = call(page, "alphabet_file", read, changed(("version",), 2))
    assert newer.startswith("This was saved by a newer drawing pad; open it")


def unfolded(page):
    """Put the pad into the page, its files unfolded; gives a function that tells the result and what was said."""
    shown, pad = alone(page, "few-shot-pad"), page.locator("few-shot-pad")
    pad.locator("summary").click()

    def told():
        shown()
        return pad.evaluate("pad => pad.result ?? null"), pad.locator("details [role=status]").inner_text()

    return told


def chosen(page, name, file):
    """Press a button that asks for a file, and give it one; waits until something is said of it, and shows."""
    status = page.locator("few-shot-pad details [role=status]")
    status.evaluate("one => (one.textContent = '')")
    with page.expect_file_chooser() as asked:
        page.get_by_role("button", name=name).press("Enter")
    asked.value.set_files(file)
    status.filter(has_text=re.compile(".")).wait_for()
    painted(page)


def test_an_alphabet_goes_out_by_a_button_and_comes_back(page, tmp_path):
    told, state = unfolded(page), "pad => pad.model.get('state')"
    pad, save = page.locator("few-shot-pad"), page.get_by_role("button", name="Save alphabet")
    page.get_by_label("Your name").fill("Anna Müller")
    page.get_by_label("Names of the letters").fill("alif, ba, ta")
    page.get_by_label("Names of the letters").press("Tab")
    with page.expect_download() as download:
        save.press("Enter")
    assert download.value.suggested_filename == "alphabet-anna-müller.json"
    assert told()[1].startswith("alphabet-anna-müller.json is saved")
    download.value.save_as(tmp_path / "anna.json")
    images = data.from_alphabets(tmp_path / "anna.json")
    assert images.class_names == ["alif", "ba", "ta"] and len(images) == 3
    drawn = page.evaluate("async () => (await import('./alphabet.mjs')).draw(0, 0)")
    np.testing.assert_allclose(images.inputs([0])[0, 0], rasterize(centred(drawn)), atol=0.15)

    told = unfolded(page)
    page.get_by_label("Characters").select_option("5")
    page.get_by_role("button", name="Clear all").click()
    chosen(page, "Open alphabet", tmp_path / "anna.json")
    now = pad.evaluate(state)
    assert (now["ways"], now["shots"], now["writer"]) == (3, 1, "Anna Müller")
    assert now["names"] == ["alif", "ba", "ta", *7 * [""]]
    assert page.get_by_role("application", name="example 1 of character ba: one stroke").count() == 1
    assert page.get_by_label("Your name").input_value() == "Anna Müller"
    page.get_by_role("button", name="Draw one for me").click()
    result, said = told()
    assert result["names"] == ["alif", "ba", "ta"] and said.startswith("anna.json is open.")
    for _ in range(2):
        page.get_by_role("button", name="Undo").click()
    painted(page)
    assert pad.evaluate(state)["ways"] == 5 and page.get_by_label("Names of the").input_value() == "A, B, C, D, E"


def test_what_cannot_be_saved_or_opened_is_told(page, tmp_path):
    """In a sentence, and nothing changes; a larger alphabet than the pad opens as far as there is room."""
    told = unfolded(page)
    before = page.locator("few-shot-pad").evaluate("pad => JSON.stringify(pad.model.get('state'))")
    for name, content in {"cut.json": b'{"format"', "huge.json": b" " * 5_000_001, "empty.json": b""}.items():
        (tmp_path / name).write_bytes(content)
        chosen(page, "Open alphabet", tmp_path / name)
        wanted = "This is larger than 5 MB" if name == "huge.json" else "This is not an alphabet that a drawing pad has"
        assert told()[1].startswith(f"{name}: {wanted}")
    assert page.locator("few-shot-pad").evaluate("pad => JSON.stringify(pad.model.get('state'))") == before
    page.get_by_label("Names of the").fill("a,b, a")
    page.get_by_label("Names of the").press("Enter")
    page.get_by_role("button", name="Save alphabet").click()
    assert told()[1].startswith("Two characters are called a; give each")
    page.get_by_role("button", name="Clear all").click()
    page.get_by_label("Names of the").fill("")
    page.get_by_role("button", name="Save alphabet").click()
    assert told()[1].startswith("There is nothing to save yet")
    dot = [[[(50, 50)]]]
    alphabets.Alphabet({str(number): 7 * dot for number in range(12)}).save(tmp_path / "many.json")
    chosen(page, "Open alphabet", tmp_path / "many.json")
    assert "has room for 10 characters of 5 examples, so the others were left out" in told()[1]
    alphabets.Alphabet({"one": dot}).save(tmp_path / "one.json")
    chosen(page, "Open alphabet", tmp_path / "one.json")
    assert page.get_by_role("application", name="example 1 of character one: one stroke").count() == 1


def test_a_network_of_ones_own_answers_in_the_pad(page, tmp_path):
    """Trained in a notebook, written by Python, opened by a button: its distances are PyTorch's, until Reset."""
    told = unfolded(page)
    torch.manual_seed(0)
    model = methods.PrototypicalNetwork(Conv4()).eval()
    export.write(model, tmp_path / "mine.f16.bin")
    page.get_by_role("button", name="Draw one for me").click()
    ours = told()[0]
    assert page.get_by_text("The network of this book answers.").is_visible()
    chosen(page, "Open network", tmp_path / "mine.f16.bin")
    result, said = told()
    assert said == "mine.f16.bin answers now, in place of the network of this book."
    assert page.get_by_text("Your network answers: mine.f16.bin.").is_visible()
    drawings = page.evaluate("""async () => {
        const { support, query } = document.querySelector('few-shot-pad').model.get('state');
        return [...support.slice(0, 3).map(([first]) => first), query];
    }""")
    pictures = torch.tensor(np.stack([rasterize(centred(each)) for each in drawings]))[:, None]
    with torch.no_grad():
        embeddings = model.embed(pictures)
    wanted = metrics.squared_euclidean(embeddings[3:], embeddings[:3])[0]
    np.testing.assert_allclose(result["measures"], wanted, rtol=2e-2, atol=1e-3)
    page.get_by_label("Compare by").select_option("relation")
    told()
    assert page.get_by_text("The relation module does not know it").is_visible()
    page.get_by_label("Compare by").select_option("prototypical")
    page.get_by_role("button", name="The book's network").click()
    assert told() == (ours, "The network of this book answers again.")
    chosen(page, "Open network", tmp_path / "mine.f16.bin")
    page.get_by_role("button", name="Reset").click()
    told()
    assert page.get_by_text("The network of this book answers.").is_visible()


def test_a_network_of_another_shape_is_refused(page, tmp_path):
    told = unfolded(page)
    page.get_by_role("button", name="Draw one for me").click()
    before, size = told()[0], (LIVE / "conv4.f16.bin").stat().st_size
    found = {
        "relation.f16.bin": ((LIVE / "relation.f16.bin").read_bytes(), "222,848 bytes, but this has 16,642."),
        "odd.bin": (b"\0" * 777, "222,848 bytes, but this has 777."),
        "empty.bin": (b"", "222,848 bytes, but this has 0."),
        "noise.bin": (b"\xff" * size, "some of its weights are no numbers."),
        "huge.bin": (b"\0" * 5_000_001, "This is larger than 5 MB, which no file for this pad is."),
    }
    for name, (content, said) in found.items():
        (tmp_path / name).write_bytes(content)
        chosen(page, "Open network", tmp_path / name)
        result, words = told()
        assert words.startswith(f"{name}: This is ") and words.endswith(said) and result == before
        assert page.get_by_text("The network of this book answers.").is_visible()


# Weight ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_small(name):
    assert len(gzip.compress((LIVE / name).read_bytes())) <= 15_000


def test_the_pad_is_light():
    """Everything that the pad loads, as a server sends it."""
    loaded = [figures.joined("pad.mjs").encode(), *((LIVE / name).read_bytes() for name in files_of("pad.mjs"))]
    assert len(loaded) == 3 and sum(len(gzip.compress(one)) for one in loaded) <= 260_000
