"""A check accepts right answers, however written, and says what is wrong with the usual wrong ones."""

import functools
import itertools
import math
import random
import re
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fslib.book import checks
from fslib.book.checks import exercise
from fslib.devices import default_device
from fslib.episodes import Episode
from fslib.metrics import cosine_similarity, squared_euclidean
from tests.pretend_gpu import MISSING, pretend_gpu


@pytest.fixture(params=range(3), autouse=True)
def seed(request, monkeypatch):
    monkeypatch.setattr(exercise, "_presses", itertools.count(100 * request.param))


def draw(
    labels, scripts, way, shot, query, several=None, same_class_twice=False, leak=False, shuffle=True, pool=torch.unique
):
    among = pool(scripts)
    script = among[torch.randint(len(among), ())]
    present = labels[scripts == script].unique()[:several]
    drawn = present[torch.randperm(len(present))[:way]]
    if same_class_twice:
        drawn[1] = drawn[0]
    rows = [(labels == c).nonzero().flatten() for c in drawn]
    rows = torch.stack([row[torch.randperm(len(row))] if shuffle else row for row in rows])
    queries = rows[:, :query] if leak else rows[:, shot : shot + query]
    return Episode(drawn, rows[:, :shot].flatten(), queries.flatten())


def covers(factor=1.96, power=0.5, queries=25):
    def shares(hits, size):
        parts = [part for part in hits.split(size) if len(part) == size]
        held = []
        for part in parts:
            off = (part.mean() - hits.mean()).abs()
            halves = part.mean(1).std() / size**power, part.std() / (size * queries) ** power
            held.append([off <= factor * half for half in halves])
        return tuple(torch.tensor(held).double().mean(0))

    return shares


def nearest(reduce=torch.amin, sign=-1.0, order=torch.unique, power=1.0):
    def scores(support, labels, query):
        distances = squared_euclidean(query, support) ** power
        return sign * torch.stack([reduce(distances[:, labels == k], 1) for k in order(labels)], 1)

    return scores


def by_appearance(labels):
    return list(dict.fromkeys(labels.tolist()))


def by_number(labels):
    return range(len(labels.unique()))


def shifted(move=lambda q, by: F.pad(q, (by, -by))):
    def accuracies(s, labels, q, truth, most):
        nearest = [(move(q, by)[:, None] - s).square().sum((2, 3, 4)).argmin(1) for by in range(most + 1)]
        return torch.stack([(labels[i] == truth).double().mean() for i in nearest])

    return accuracies


def hardest(itself=True, negative=torch.amin, fill=torch.inf):
    def find(d, labels):
        same = labels[:, None] == labels
        own = torch.eye(len(labels), dtype=torch.bool) & itself
        return d.masked_fill(~same | own, -torch.inf).amax(1), negative(d.masked_fill(same, fill), 1)

    return find


def n_pair(sign=-1, power=2):
    return lambda a, p: F.cross_entropy(sign * torch.cdist(a, p) ** power, torch.arange(len(a)))


def teaches(cost=lambda near, far, m: near - far + m > 0, itself=False):
    def share(d, labels, m):
        n = range(len(labels))
        triplets = [
            (d[a, p], d[a, i])
            for a, p, i in itertools.product(n, n, n)
            if labels[a] == labels[p] != labels[i] and (itself or a != p)
        ]
        near, far = torch.tensor(triplets).T
        return cost(near, far, m).double().mean()

    return share


def halves(biases=1, first=0):
    def apply(linear, classes, query):
        left, right = linear.weight.chunk(2, 1)[:: 1 if first == 0 else -1]
        return (classes @ left.T) + (query @ right.T)[:, None] + biases * linear.bias

    return apply


def turned(change=torch.abs, back=lambda a, b: torch.cat([b, a], 1), factor=1.96, power=0.5):
    def measured(relation, a, b):
        changes = change(relation(torch.cat([a, b], 1)) - relation(back(a, b)))
        return changes.mean(), factor * changes.std() / len(changes) ** power

    return measured


def above(threshold=lambda best, kept: best.quantile(1 - kept), best=lambda scores: scores.amax(1)):
    return lambda m, o, kept: (best(o) > threshold(best(m), kept)).float().mean()


def by_class(reduce, order=torch.unique):
    return lambda v, labels: torch.stack([reduce(v[:, labels == k], dim=1) for k in order(labels)], 1)


def fair_votes(log_attention, labels, order=torch.unique):
    shares = by_class(torch.mean, order)(log_attention.exp(), labels)
    return (shares / shares.sum(1, keepdim=True)).log()


def field(start=1, stride=True, skip=0, reach=lambda kernel, dilation: (kernel - 1) * dilation):
    def side(layers):
        size, step = start, 1
        for kernel, by, dilation in layers:
            late = step * by if skip else step
            size, step = size + reach(kernel, dilation) * late, step * by if stride else 1
        return size

    return side


def read(axis=1, power=0.5, similarity=lambda q, k: q @ k.T):
    def attend(q, k, v, real):
        scores = similarity(q, k) / q.shape[1] ** power
        return scores.masked_fill(~real, -torch.inf).softmax(axis) @ v

    return attend


def medians(middle=lambda group: group.median(0).values, order=torch.unique):
    return lambda s, labels: torch.stack([middle(s[labels == k]) for k in order(labels)])


def units(episodes=lambda a, b: (a - b).flatten(), trainings=lambda a, b: (a - b).mean(1), t=None, power=0.5):
    def halves(a, b, given):
        several = [(1.96, episodes(a, b)), (t or given, trainings(a, b))]
        return tuple(factor * each.std() / len(each) ** power for factor, each in several)

    return halves


def promise(errors=lambda n, m: 1 / n + 1 / m):
    return lambda a, t, m: t * a.std() * errors(len(a), m) ** 0.5


def flips(compare=torch.ge, length=torch.abs):
    def share(d):
        signs = 2 * (torch.arange(2 ** len(d))[:, None] >> torch.arange(len(d)) & 1) - 1
        return compare(length((signs * d).mean(1)), d.mean().abs()).double().mean()

    return share


def to_tell_apart(factor=1.96, same=lambda r: 2 * (1 - r), own=2, power=2):
    return lambda s, r, gap: tuple((v**0.5 * factor * s / gap) ** power for v in (same(r), own))


def partners(previous=lambda y: (y == y.roll(1)).float().mean(), permuted=lambda y: (y[:, None] == y).float().mean()):
    return lambda labels: (previous(labels), permuted(labels))


def own_ink(own=lambda x, box: x * (1 - box), other=lambda x, box: x * box, bare=None):
    def shares(x, partner, corners):
        top, left, bottom, right = corners
        box = F.pad(torch.ones(bottom - top, right - left), (left, 11 - right, top, 8 - bottom))
        a, b = (part.flatten(1).sum(1) for part in (own(x, box), other(x[partner], box)))
        area = 1 - box.mean().item() if bare is None else bare
        return (a / (a + b)).where(a + b > 0, torch.tensor(area))

    return shares


def in_mirror(both=True, own=True, first=0, place=lambda without, c: without.index(c)):
    def become(labels, classes, pairs):
        known = {a: b for a, b in pairs if own or a != b} | {b: a for a, b in pairs if both and a != b}
        without = [c for c in range(classes) if c not in known]
        becomes = [known[c] if c in known else classes + first + place(without, c) for c in range(classes)]
        return torch.tensor(becomes)[labels]

    return become


def pull(power=1, student=lambda s, t: F.softmax(s / t, 1), teacher=lambda s, t: F.softmax(s / t, 1)):
    return lambda s, told, t: t**power * (student(s, t) - teacher(told, t))


def pool(over=lambda real: real.sum(1), keep=lambda real: real):
    return lambda f, real: (f * keep(real)[..., None]).sum(1) / torch.as_tensor(over(real)).view(-1, 1)


def forgiving(own=F.cosine_similarity, other=1, half=1.96):
    def measure(embed, images, change):
        before, after = embed(images), embed(change(images))
        gains = own(before, after) - own(before, after.roll(-other, 0))
        return gains.mean(), half * gains.std() / len(gains) ** 0.5

    return measure


def left_out(scores=lambda a: a.log(), gone=-torch.inf, order=torch.unique):
    def votes(a, labels):
        rest = scores(a).scatter(1, a.argmax(1, keepdim=True), gone).softmax(1)
        return by_class(torch.sum, order)(rest, labels)

    return votes


def beyond(blind=lambda fitted, measured: (measured == fitted.mode().values).float().mean(), of=None):
    of = of or (lambda right, blind: (right - blind) / (1 - blind))
    return lambda fitted, measured, answers: of((measured == answers).float().mean(), blind(fitted, measured))


def erasing(read=lambda x, d: x.T.cov().inverse() @ d, unit=True, center=lambda x, q: x.mean(0), factor=1):
    def erase(x, z, q):
        d = x[z == 1].mean(0) - x[z == 0].mean(0)
        v = read(x, d)
        return q - factor * torch.outer((q - center(x, q)) @ v, d) / (v @ d if unit else 1)

    return erase


def meeting(
    q=lambda n, own, task: (n * own + task) / (n + 1), part=lambda x, y: x**0.5 / (x**0.5 + y**0.5), least=0, beta=1
):
    def position(a, b, added):
        task = torch.cat([a, b]).var(correction=1 - least)
        own = [each.var(correction=1 - least) if len(each) > 1 else 0 for each in (a, b)]
        x, y = (q(len(each), var, task) + beta * added for each, var in zip((a, b), own))
        return a.mean() + part(x, y) * (b.mean() - a.mean())

    return position


def taught(own=lambda square: square**0.5, query=lambda square, r: r / square**0.5, others=1, factor=1):
    def losses(way, shots, r, scale):
        square = 1 / shots + (1 - 1 / shots) * r
        cosines = own(square), query(square, r)
        return tuple(math.log(1 + (way - others) * math.exp(-factor * scale * c)) for c in cosines)

    return losses


def passing(let_in=lambda k, r, p: p * (1 - r), known=lambda k, r, p: (1 - p) * k, of=lambda a, b: a / (a + b)):
    return lambda *given: of(let_in(*given), known(*given))


def without_itself(length=lambda v: v @ v, itself=False, of_class=True):
    def distances(support, labels):
        n, found = range(len(labels)), []
        for i in n:
            others = [j for j in n if (j != i or itself) and (labels[j] == labels[i] or not of_class)]
            found.append(length(support[i] - support[others].mean(0)))
        return torch.stack(found)

    return distances


def in_class_order(support, labels):
    return without_itself()(support, labels)[labels.argsort(stable=True)]


def costing(cost=lambda let_in, lost, p, c: c * p * let_in + (1 - p) * lost, also=(-99.0,), best=min):
    def least(known, unknown, p, c):
        tried = [*also, *known.tolist(), *unknown.tolist()]
        shares = [[(d <= t).double().mean().item() for d in (unknown, known)] for t in tried]
        return best(cost(let_in, 1 - kept, p, c) for let_in, kept in shares)

    return least


RIGHT = [(each, answer) for each in checks.EXERCISES.values() for answer in (each.right, *each.also)]

WRONG = [
    (checks.receptive_field, field(skip=1), "only for the layers after it"),
    (checks.receptive_field, field(stride=False), "do not use the strides"),
    (checks.receptive_field, field(reach=lambda k, d: k * d), "two steps, not three"),
    (checks.receptive_field, field(reach=lambda k, d: k - 1), "do not use the dilations"),
    (checks.receptive_field, field(reach=lambda k, d: k * d - 1), "only between the locations"),
    (checks.receptive_field, field(start=0), "start with 1"),
    (checks.receptive_field, lambda layers: math.prod(s for _, s, _ in layers), "how far neighbours lie"),
    (checks.receptive_field, lambda layers: 28, "and yours is 28"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k + o, "a scale and a shift"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k, "the weights of the convolution"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k + 2 * o, "the convolution has a bias"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k + 5 * o, "measured, not learned"),
    (checks.block_parameters, lambda i, o, k: o * k * k + 3 * o, "all channels that come in"),
    (checks.block_parameters, lambda i, o, k: i * o * k + 3 * o, "square it"),
    (checks.block_parameters, lambda i, o, k: i * o * k * k + 3 * i, "channels that go out"),
    (checks.block_parameters, lambda i, o, k: 7, "and yours is 7"),
    (checks.self_attention, read(power=0), "do not divide"),
    (checks.self_attention, read(power=1), "not by the dimension"),
    (checks.self_attention, lambda q, k, v, real: read(power=0)(q, k, v, real) / 4, "divide the products before"),
    (checks.self_attention, lambda q, k, v, real: (q @ k.T / 4).softmax(1) @ v, "padding gets attention"),
    (checks.self_attention, lambda q, k, v, real: (q @ k.T / 4 * real).softmax(1) @ v, "still gets attention"),
    (checks.self_attention, lambda q, k, v, real: (q @ k.T / 4).softmax(1) * real @ v, "no longer sums to one"),
    (checks.self_attention, lambda q, k, v, real: read()(q, k, v, ~real), "read the padding alone"),
    (checks.self_attention, read(power=math.log(5) / math.log(256)), "not of the values"),
    (checks.self_attention, read(axis=0), "over the keys"),
    (checks.self_attention, lambda q, k, v, real: q @ k.T / 4 @ v, "take their softmax first"),
    (checks.self_attention, read(similarity=cosine_similarity), "not by cosines"),
    (checks.mean_of_real, pool(), "fill the padding"),
    (checks.mean_of_real, lambda f, real: f.mean(1), "over the padding too"),
    (checks.mean_of_real, pool(over=lambda real: [7.0] * 4), "number of real positions"),
    (checks.mean_of_real, pool(over=lambda real: [1.0] * 4), "those are sums"),
    (checks.mean_of_real, pool(over=lambda real: [real.sum() / 4] * 4), "by its own"),
    (checks.mean_of_real, pool(lambda real: (~real).sum(1), torch.logical_not), "leave out the text"),
    (checks.mean_of_real, lambda f, real: f[:, 0], "divide by their number"),
    (checks.constant_floor, lambda n: (0.5, math.log(2)), "as many pairs"),
    (checks.forgives, forgiving(lambda a, b: -torch.cdist(a, b).diag()), "not by distances"),
    (checks.forgives, forgiving(lambda a, b: torch.einsum("nd,nd->n", a, b)), "inner products"),
    (checks.forgives, forgiving(other=-1), "the next one is asked for"),
    (checks.forgives, forgiving(half=1), "that is the standard error"),
    (checks.forgives, forgiving(half=1.96 * 40**0.5), "spread of single images"),
    (checks.forgives, forgiving(half=2), "the mean is right; the half-width is"),
    (checks.forgives, lambda e, images, change: forgiving()(e, images, change)[0], "return two things"),
    (checks.forgives, forgiving(other=2), "less that with the next one's"),
    (checks.constant_floor, lambda n: (0.3, 0.25), "the best constant is their mean"),
    (checks.constant_floor, lambda n: (1 / n, (1 / n) * (1 - 1 / n)), "that is the squared error"),
    (checks.constant_floor, lambda n: (1 / n, -math.log(1 / n)), "one pair that belongs together"),
    (checks.constant_floor, lambda n: (1 / n, -math.log(1 / n) / n), "cost too"),
    (checks.constant_floor, lambda n: (1 / n, 1 - 1 / n**2), "take the mean"),
    (checks.linear_on_pairs, halves(biases=2), "the bias twice"),
    (checks.linear_on_pairs, halves(biases=0), "leave out the bias"),
    (checks.linear_on_pairs, halves(first=1), "belongs to the class"),
    (checks.linear_on_pairs, lambda linear, c, q: halves()(linear, c, q) + 1, "apply each half once"),
    (checks.asymmetry, turned(lambda change: change), "changes up and down cancel"),
    (checks.asymmetry, turned(torch.square), "those are squares"),
    (checks.asymmetry, turned(back=lambda a, b: torch.cat([a, b], 1).flip(1)), "swap its two halves"),
    (checks.asymmetry, turned(factor=1), "standard error"),
    (checks.asymmetry, turned(power=1), "the mean is right; the half-width is"),
    (checks.asymmetry, turned(factor=2), "the mean is right; the half-width is"),
    (checks.asymmetry, turned(lambda change: 1 + change.abs()), "over all pairs"),
    (checks.asymmetry, lambda *given: turned()(*given)[0], "return two things"),
    (checks.outsiders_let_in, above(lambda best, kept: best.quantile(kept)), "refuses the share of members"),
    (checks.outsiders_let_in, above(lambda best, kept: 0.5), "keeps another share"),
    (checks.outsiders_let_in, above(best=lambda scores: scores.flatten()), "by its best score"),
    (checks.outsiders_let_in, lambda m, o, kept: 1 - above()(m, o, kept), "that is refused"),
    (checks.outsiders_let_in, lambda *given: above()(*given) ** 2, "a quantile of the members"),
    (
        checks.nearest_neighbour,
        lambda s, labels, q: torch.cdist(q, s).argmin(1),
        "the position of the nearest",
    ),
    (
        checks.nearest_neighbour,
        lambda s, labels, q: labels[torch.cdist(q, s).argmax(1)],
        "the farthest",
    ),
    (checks.nearest_neighbour, lambda s, labels, q: labels[(q @ s.T).argmax(1)], "inner products"),
    (
        checks.nearest_neighbour,
        lambda s, labels, q: labels[(q[:, None] - s).sum(-1).argmin(1)],
        "squared before",
    ),
    (checks.weights_per_picture, 112_586, "divide it by the number of images"),
    (checks.weights_per_picture, 573, "with 32 channels"),
    (checks.weights_per_picture, 1146, "more than twice"),
    (checks.weights_per_picture, 2292, "grows fourfold"),
    (checks.weights_per_picture, 111_936 / 50, "the linear layer to ten classes"),
    (checks.weights_per_picture, 50 / 112_586, "the other way round"),
    (checks.weights_per_picture, 22_517.2, "those of one class"),
    (checks.weights_per_picture, 2260, "the number of all weights by"),
    (checks.zero_shot, lambda p, d: torch.cdist(p, d).argmax(1), "farthest"),
    (checks.by_shift, shifted(lambda q, by: q.roll(by, -1)), "comes in again at the left"),
    (checks.by_shift, shifted(lambda q, by: F.pad(q, (-by, by))), "to the left"),
    (checks.by_shift, shifted(lambda q, by: F.pad(q, (0, 0, by, -by))), "move down"),
    (checks.by_shift, lambda *given: shifted()(*given)[1:], "should be (5,), but is (4,)"),
    (checks.by_shift, lambda *given: 1 - shifted()(*given), "those are errors"),
    (checks.by_shift, lambda *given: 360 * shifted()(*given), "divide by the number"),
    (checks.by_shift, lambda *given: 0.9 * shifted()(*given), "once for each shift"),
    (checks.draw_episode, lambda *a: draw(*a, same_class_twice=True), "a class came twice"),
    (checks.draw_episode, lambda *a: draw(*a, leak=True), "in both support and query"),
    (
        checks.draw_episode,
        lambda *a: draw(*a, several=6),
        "some classes come more often",
    ),
    (checks.draw_episode, lambda *a: draw(*a, shuffle=False), "too often or too rarely"),
    (checks.draw_episode, lambda y, s, *a: draw(y, s[torch.randperm(len(s))], *a), "more than one script"),
    (checks.draw_episode, lambda *a: draw(*a, pool=lambda scripts: scripts), "scripts with many classes"),
    (checks.coverage, covers(factor=1), "one standard error wide"),
    (checks.coverage, covers(factor=2 * 1.96), "twice as wide"),
    (checks.coverage, covers(power=0), "nearly all intervals hold"),
    (checks.coverage, covers(power=1), "by its square root"),
    (checks.coverage, covers(queries=1), "size · queries queries"),
    (checks.coverage, lambda *given: covers()(*given)[::-1], "episodes come first"),
    (checks.coverage, lambda *given: tuple(1 - share for share in covers()(*given)), "that miss"),
    (checks.coverage, lambda *given: covers()(*given)[0], "return two things"),
    (checks.coverage, lambda *given: (covers()(*given)[0],) * 2, "is the mean of all within"),
    (checks.cosines, lambda x, y: x @ y.T, "inner products"),
    (checks.cosines, cosine_similarity, "seen from zero"),
    (checks.cosines, lambda x, y: cosine_similarity(x - x.mean(0), y - y.mean(0)), "its own mean"),
    (checks.cosines, lambda x, y: cosine_similarity(x - x.mean(0), y), "off both"),
    (checks.cosines, lambda x, y: checks.cosines.right(x, y).T, "other way round"),
    (checks.cosines, lambda x, y: 1 - cosine_similarity(x, y), "cosine distance"),
    (checks.cosines, lambda x, y: F.normalize(x - x.mean(0)) @ (y - x.mean(0)).T, "only one side"),
    (checks.cosines, lambda x, y: (x - x.mean(0)) @ F.normalize(y - x.mean(0)).T, "only one side"),
    (
        checks.cosines,
        lambda x, y: F.normalize(x - x.mean(0), dim=0) @ F.normalize(y - x.mean(0), dim=0).T,
        "over its row",
    ),
    (checks.shorter_detour, (0, 0, 1), "equally long"),
    (checks.shorter_detour, (0, 3, 1), "make the detour the shorter"),
    (checks.shorter_detour, (1, 0, 1), "no detour is shorter than no way"),
    (checks.before_storing, lambda v: v, "changed nothing"),
    (checks.before_storing, lambda v: v - v.mean(0), "changes their angles"),
    (checks.before_storing, lambda v: F.normalize(v, dim=0), "scale columns"),
    (checks.scale_needed, lambda n, loss: math.log((n - 1) / math.expm1(loss)), "divide by that"),
    (checks.scale_needed, lambda n, loss: math.log((n - 1) / math.expm1(loss)) / 2, "all be opposite"),
    (checks.n_pair_distances, lambda a, p: n_pair()(a, p).detach(), "cannot follow"),
    (checks.n_pair_distances, lambda a, p: n_pair()(a, p).item(), "cannot follow"),
    (checks.cosface_margin, lambda angle, m: m, "different units"),
    (checks.cosface_margin, lambda angle, m: math.cos(angle) - math.cos(angle - m), "larger, not smaller"),
    (checks.cosface_margin, lambda angle, m: 1 - math.cos(m), "at the angle zero"),
    (checks.cosface_margin, lambda angle, m: m * math.sin(angle), "that is the slope"),
    (checks.cosface_margin, lambda angle, m: math.cos(angle + m), "ArcFace's score"),
    (checks.cosface_margin, lambda angle, m: math.cos(angle + m) - math.cos(angle), "lowers the score"),
    (checks.teaching, teaches(itself=True), "its own positive"),
    (checks.teaching, teaches(lambda near, far, m: near > far), "leave out the margin"),
    (checks.teaching, teaches(lambda near, far, m: (near < far) & (far < near + m)), "the semi-hard ones"),
    (checks.teaching, teaches(lambda near, far, m: near + m <= far), "that teach nothing"),
    (checks.teaching, teaches(lambda near, far, m: (near - far + m).clamp(min=0)), "the mean loss"),
    (checks.teaching, lambda d, labels, m: teaches()(d, labels, m) * 20 * 9 / 900, "not by that of all threes"),
    (checks.stays, lambda *given: checks.stays.right(*given)[::-1], "Euclidean comes first"),
    (checks.stays, lambda *given: tuple(1 - each for each in checks.stays.right(*given)), "that change"),
    (checks.stays, lambda s, q, by: checks.stays.right(s, q, 1.0), "you multiply all numbers"),
    (checks.stays, lambda *given: checks.stays.right(*given)[0], "return two things"),
    (checks.stays, lambda *given: (0.5, 0.5), "before and after"),
    (checks.count_triplets, lambda n, k: n * k * k * (n * k - k), "its own positive"),
    (checks.count_triplets, lambda n, k: n * k * (k - 1) * (n * k - 1), "of another class"),
    (checks.count_triplets, lambda n, k: 17, "not 17"),
    (checks.hardest, lambda d, y: hardest()(d, y)[::-1], "positives come first"),
    (checks.hardest, lambda d, y: (d.argmax(1), d.argmin(1)), "those are positions"),
    (checks.hardest, lambda d, y: (d.amax(1), hardest()(d, y)[1]), "of the same class"),
    (checks.hardest, hardest(itself=False, negative=torch.amax, fill=-torch.inf), "the hardest is the nearest"),
    (checks.hardest, lambda d, y: (hardest()(d, y)[0], d.amin(1)), "to infinity"),
    (checks.n_pair_distances, n_pair(sign=1), "put a minus"),
    (checks.n_pair_distances, n_pair(power=1), "should be squared"),
    (checks.n_pair_distances, lambda a, p: F.cross_entropy(a @ p.T, torch.arange(6)), "inner products"),
    (checks.n_pair_distances, lambda a, p: n_pair()(p, a), "rows should be anchors"),
    (checks.episodes_needed, lambda s, h: math.ceil(1.96 * s / h), "must be squared"),
    (checks.expected_distance, lambda s, d, k: d * s**2, "the prototype scatters too"),
    (checks.expected_distance, lambda s, d, k: d * s**2 / k, "the query scatters too"),
    (checks.expected_distance, lambda s, d, k: d * s**2 * (1 - 1 / k), "even in a difference"),
    (checks.expected_distance, lambda s, d, k: s**2 * (k + 1) / k, "add up all of them"),
    (checks.expected_distance, lambda s, d, k: (d * s**2 * (k + 1) / k) ** 0.5, "that is the root"),
    (checks.expected_distance, lambda s, d, k: d * (s + s / k), "square of sigma"),
    (checks.expected_distance, lambda s, d, k: d * s**2 * 2, "that of the prototype add up"),
    (checks.position_of, lambda apart, p: 0.5 - math.log(p / (1 - p)) / (2 * apart), "the plain distance"),
    (checks.position_of, lambda apart, p: 0.5 + math.log(p / (1 - p)) / (2 * apart**2), "the other one"),
    (checks.position_of, lambda apart, p: 0.5 - math.log(p / (1 - p)) / apart**2, "falls by 2"),
    (checks.position_of, lambda apart, p: math.log(1 / p - 1) / (2 * apart**2), "from half-way"),
    (checks.position_of, lambda apart, p: 0.5 - math.log(p) / (2 * apart**2), "not log p but"),
    (checks.position_of, lambda apart, p: 1 - p, "solve for the position"),
    (checks.nearest_example, nearest(torch.mean), "you average the distances"),
    (checks.nearest_example, nearest(torch.amax), "you take the farthest"),
    (checks.nearest_example, nearest(sign=1.0), "near should score high"),
    (checks.nearest_example, nearest(order=by_appearance), "sort the labels"),
    (checks.nearest_example, nearest(order=by_number), "any integers"),
    (checks.nearest_example, nearest(lambda d, dim: d.min(dim).values, order=by_number), "any integers"),
    (checks.nearest_example, nearest(power=0.5), "square them"),
    (checks.temperature, lambda s, t: (s * t).softmax(-1), "yours are sharper"),
    (checks.temperature, lambda s, t: s.softmax(-1), "do not use the temperature"),
    (checks.temperature, lambda s, t: (s / t).softmax(0), "sum to one"),
    (checks.temperature, lambda s, t: s.nonsense, "raised AttributeError"),
    (checks.voters, lambda a: -(a * a.log()).nan_to_num().sum(1), "take its exponential"),
    (checks.voters, lambda a: (-(a * a.log()).sum(1)).exp(), "should count as 0"),
    (checks.voters, lambda a: (-(a * a.log2()).nan_to_num().sum(1)).exp(), "to the base 2"),
    (checks.voters, lambda a: (a * a.log()).nan_to_num().sum(1).exp(), "fewer than one"),
    (checks.voters, lambda a: a.amax(1) ** -1, "over the greatest share"),
    (checks.voters, lambda a: 1 / (a * a).sum(1), "sum of squares"),
    (checks.voters, lambda a: torch.special.entr(a).sum(0).exp(), "of each query"),
    (checks.voters, lambda a: (a > 0.1).sum(1), "then the exponential"),
    (checks.without_nearest, by_class(torch.sum), "nobody has left"),
    (checks.without_nearest, left_out(lambda a: a, 0), "no second softmax"),
    (checks.without_nearest, left_out(order=by_appearance), "sort the labels"),
    (checks.without_nearest, lambda a, y: left_out()(a, y) * (1 - a.amax(1))[:, None], "no longer sum to one"),
    (checks.without_nearest, lambda a, labels: left_out()(a, labels).log(), "set the greatest attention"),
    (checks.log_votes, by_class(torch.sum), "you sum the logarithms"),
    (checks.log_votes, by_class(torch.mean), "you average the logarithms"),
    (checks.log_votes, by_class(torch.amax), "all of a class should"),
    (checks.log_votes, by_class(torch.logsumexp, by_appearance), "sort the labels"),
    (checks.log_votes, by_class(torch.logsumexp, by_number), "any integers"),
    (checks.log_votes, lambda v, labels: by_class(torch.sum, by_number)(v.exp(), labels).log(), "any integers"),
    (checks.log_votes, lambda v, labels: by_class(torch.sum)(v.exp(), labels), "return their logarithms"),
    (checks.log_votes, lambda v, labels: by_class(torch.sum)(v.exp(), labels).log(), "look for a function"),
    (
        checks.log_votes,
        lambda v, labels: by_class(torch.sum)(v.exp(), labels).clamp(min=1e-30).log(),
        "inexact where it is tiny",
    ),
    (checks.fair_votes, by_class(torch.logsumexp), "still has most votes"),
    (checks.fair_votes, lambda v, labels: by_class(torch.mean)(v, labels).log_softmax(1), "average the logarithms"),
    (checks.fair_votes, lambda v, labels: by_class(torch.mean)(v.exp(), labels).log(), "each row a distribution"),
    (checks.fair_votes, lambda v, labels: fair_votes(v, labels).exp(), "return their logarithms"),
    (checks.fair_votes, by_class(torch.amax), "on average"),
    (checks.fair_votes, lambda v, labels: fair_votes(v, labels, by_appearance), "sort the labels"),
    (checks.fair_votes, lambda v, labels: fair_votes(v, labels, by_number), "any integers"),
    (checks.which_unit, lambda *given: units()(*given)[1], "return two things"),
    (checks.which_unit, lambda *given: units()(*given)[::-1], "other order"),
    (checks.which_unit, units(episodes=lambda a, b: (a - b).mean(0)), "average over the trainings first"),
    (checks.which_unit, units(trainings=lambda a, b: (a - b).flatten()), "no unit while"),
    (checks.which_unit, units(t=1.96), "1.96 is too small"),
    (checks.which_unit, units(power=0), "once that of the mean"),
    (checks.what_to_promise, promise(lambda n, m: 1 / n), "very many trainings"),
    (checks.what_to_promise, promise(lambda n, m: 1 + 1 / n), "one further training"),
    (checks.what_to_promise, promise(lambda n, m: 1 / m), "has an error too"),
    (checks.what_to_promise, promise(lambda n, m: (1 + 1 / n) / m), "1/n beside it stays"),
    (checks.what_to_promise, lambda a, t, m: a.mean() - promise()(a, t, m), "the lower end itself"),
    (checks.what_to_promise, promise(lambda n, m: 2 / n + 1 / m), "a difference of two means"),
    (checks.by_flips, flips(torch.gt), "counts that one too"),
    (checks.by_flips, flips(length=lambda mean: mean), "both sides"),
    (checks.by_flips, flips(torch.lt), "nearer to zero"),
    (checks.by_flips, lambda d: 2 * 0.5 ** len(d), "all of one sign"),
    (checks.by_flips, lambda d: flips()(d) ** 2, "under each pattern"),
    (checks.episodes_to_tell_apart, lambda *given: to_tell_apart()(*given)[0], "return two things"),
    (checks.episodes_to_tell_apart, lambda *given: to_tell_apart()(*given)[::-1], "other order"),
    (checks.episodes_to_tell_apart, to_tell_apart(own=1), "twice that of one"),
    (checks.episodes_to_tell_apart, to_tell_apart(same=lambda r: 1 - r, own=1), "both variances count"),
    (checks.episodes_to_tell_apart, to_tell_apart(same=lambda r: 2 - r), "once for each side"),
    (checks.episodes_to_tell_apart, to_tell_apart(power=1), "must be squared"),
    (checks.episodes_to_tell_apart, to_tell_apart(factor=1), "left out the 1.96"),
    (checks.episodes_to_tell_apart, to_tell_apart(own=3), "from equation 10.1"),
    (checks.class_medians, medians(lambda group: group.mean(0)), "those are means"),
    (checks.class_medians, medians(order=by_appearance), "sort the labels"),
    (checks.class_medians, medians(lambda g: g[torch.cdist(g, g).sum(1).argmin()]), "one example for all"),
    (checks.class_medians, medians(lambda group: group.median().expand(4)), "one for each number"),
    (checks.class_medians, medians(lambda group: group.amax(0)), "over its examples"),
    (checks.left_of_means, lambda w, n: 1 - w, "from nowhere"),
    (checks.left_of_means, lambda w, n: 1 - 2 * w, "one and the same class"),
    (checks.left_of_means, lambda w, n: w + w / (n - 1), "what is left?"),
    (checks.left_of_means, lambda w, n: 1 - w + w / (n - 1), "bring the two means together"),
    (checks.left_of_means, lambda w, n: 1 - w - w / n, "one fewer than all"),
    (checks.left_of_means, lambda w, n: (1 - w - w / (n - 1)) ** 2, "squared distances"),
    (checks.left_of_means, lambda w, n: w / n, "the weight of its own mean"),
    (checks.within_class, lambda y: partners()(y)[0], "return two things"),
    (checks.within_class, lambda y: partners()(y)[::-1], "the previous picture comes first"),
    (checks.within_class, partners(lambda y: (y.diff() == 0).float().mean()), "has a partner too"),
    (checks.within_class, partners(lambda y: (y.msort().diff() == 0).float().sum() / len(y)), "in one place only"),
    (checks.within_class, partners(permuted=lambda y: 1 / len(set(y.tolist()))), "of one size"),
    (checks.within_class, partners(permuted=lambda y: 0.5), "none need be drawn"),
    (checks.within_class, partners(lambda y: 0.5), "the second share is right"),
    (checks.within_class, lambda y: tuple(1 - share for share in partners()(y)), "are of two classes"),
    (checks.within_class, lambda y: (0.5, 0.5), "then with all labels"),
    (checks.ink_share, lambda x, *_: torch.ones(5), "own ink outside of the box"),
    (checks.ink_share, own_ink(lambda x, box: 0 * x + 1 - box, lambda x, box: 0 * x + box), "counts paper"),
    (checks.ink_share, lambda *given: 1 - own_ink()(*given), "the share of the partner"),
    (checks.ink_share, own_ink(other=lambda x, box: x * (1 - box)), "pasted is what lies inside"),
    (checks.ink_share, own_ink(lambda x, box: x * box, lambda x, box: x * (1 - box)), "is the other one"),
    (checks.ink_share, own_ink(own=lambda x, box: x), "does not show"),
    (checks.ink_share, own_ink(lambda x, box: (x > 0) * (1 - box), lambda x, box: (x > 0) * box), "count pixels"),
    (checks.ink_share, own_ink(bare=math.nan), "0 / 0"),
    (checks.ink_share, own_ink(bare=0.0), "take the share by area."),
    (checks.ink_share, own_ink(bare=1.0), "take the share by area."),
    (checks.ink_share, lambda *given: own_ink()(*given)[:, None], "should be (5,), but is (5, 1)"),
    (checks.mirrored_labels, lambda y, n, pairs: y, "looks like a q"),
    (checks.mirrored_labels, lambda y, n, pairs: y + n, "looks like q"),
    (checks.mirrored_labels, in_mirror(both=False), "a pair holds both ways"),
    (checks.mirrored_labels, in_mirror(own=False), "its own mirror"),
    (checks.mirrored_labels, in_mirror(first=1), "counted from 0"),
    (checks.mirrored_labels, in_mirror(place=lambda without, c: c), "belong to no class"),
    (checks.mirrored_labels, in_mirror(place=lambda without, c: 0), "as if it were one character"),
    (checks.mirrored_labels, in_mirror(place=lambda without, c: -without.index(c)), "the next that is free"),
    (checks.soft_gradient, pull(-1), "without the T²"),
    (checks.soft_gradient, pull(2), "leave out the chain rule"),
    (checks.soft_gradient, pull(0), "is not 1"),
    (checks.soft_gradient, lambda *given: -pull()(*given), "points downhill"),
    (checks.soft_gradient, pull(teacher=lambda s, t: s.softmax(1)), "at temperature T"),
    (checks.soft_gradient, pull(teacher=lambda s, t: (s == s.amax(1, keepdim=True)).float()), "best class alone"),
    (checks.soft_gradient, lambda *given: pull()(*given) / 6, "the mean over queries"),
    (checks.soft_gradient, lambda *given: pull()(*given).mean(0), "should be (6, 5), but is (5,)"),
    (checks.soft_gradient, pull(student=lambda s, t: F.softmax(s / t, 0)), "what is left of T²"),
    (checks.beyond_chance, beyond(lambda *_: 0), "how often is who sees no embedding"),
    (checks.beyond_chance, beyond(lambda fitted, measured: 1 / 3), "only if all values are as frequent"),
    (checks.beyond_chance, beyond(lambda f, m: (m == m.mode().values).float().mean()), "nobody knows which value"),
    (checks.beyond_chance, beyond(lambda f, m: (f == f.mode().values).float().mean()), "where it is measured"),
    (checks.beyond_chance, beyond(of=lambda right, blind: right - blind), "the distance from chance"),
    (checks.beyond_chance, beyond(of=lambda right, blind: right / blind), "how many times chance"),
    (checks.beyond_chance, beyond(of=lambda right, blind: right / blind - 1), "what it leaves to gain"),
    (checks.beyond_chance, lambda *given: 1 - beyond()(*given), "part of the errors"),
    (checks.beyond_chance, lambda *given: beyond()(*given).relu(), "let the number be negative"),
    (checks.beyond_chance, lambda *given: beyond()(*given) ** 2, "over one less the latter"),
    (checks.least_erasure, erasing(lambda x, d: d), "the orthogonal projection"),
    (checks.least_erasure, erasing(unit=False), "do not meet"),
    (checks.least_erasure, erasing(lambda x, d: x.T.cov() @ d), "do not multiply by"),
    (checks.least_erasure, erasing(lambda x, d: d / x.std(0) ** 2), "vary together"),
    (checks.least_erasure, erasing(center=lambda x, q: 0), "read from the origin"),
    (checks.least_erasure, erasing(lambda x, d: (x.T @ x / 60).inverse() @ d), "about the mean"),
    (checks.least_erasure, erasing(center=lambda x, q: q.mean(0)), "fit it on x alone"),
    (checks.least_erasure, erasing(factor=-1), "move apart"),
    (checks.least_erasure, erasing(factor=0.5), "with Σ v in the direction of d"),
    (checks.least_erasure, lambda x, z, q: erasing()(x, z, x), "should be (9, 4), but is (60, 4)"),
    (checks.scores_meet, meeting(part=lambda x, y: 1 / 2), "that is half-way"),
    (checks.scores_meet, meeting(q=lambda n, own, task: task), "that is half-way"),
    (checks.scores_meet, meeting(part=lambda x, y: x / (x + y)), "is a square"),
    (checks.scores_meet, meeting(part=lambda x, y: y**0.5 / (x**0.5 + y**0.5)), "reaches less far"),
    (checks.scores_meet, meeting(part=lambda x, y: 1 / (1 - (y / x) ** 0.5)), "beyond one of the prototypes"),
    (checks.scores_meet, meeting(q=lambda n, own, task: own), "leave out the variance of all"),
    (checks.scores_meet, meeting(q=lambda n, own, task: (own + n * task) / (n + 1)), "yours counts less"),
    (checks.scores_meet, meeting(least=1), "one less than the number of examples"),
    (checks.scores_meet, meeting(beta=0), "you leave out β"),
    (checks.scores_meet, meeting(beta=2), "the ratio of the roots"),
    (checks.scores_meet, lambda a, b, t: meeting()(a, b, t) * (1 if len(a) > 1 else math.nan), "0 / 0"),
    (checks.support_and_query_loss, lambda *given: taught()(*given)[0], "return two things"),
    (checks.support_and_query_loss, lambda *given: taught()(*given)[::-1], "of the query the loss is larger"),
    (checks.support_and_query_loss, taught(query=lambda square, r: square**0.5), "no part of the mean"),
    (checks.support_and_query_loss, taught(others=0), "one fewer than all"),
    (checks.support_and_query_loss, taught(lambda square: square, lambda square, r: r), "divide by its length"),
    (checks.support_and_query_loss, taught(lambda square: 1, lambda square, r: r / square), "take its root"),
    (checks.support_and_query_loss, taught(factor=2), "a mean that is shorter than one"),
    (checks.strangers_among_kept, passing(of=lambda a, b: a), "divide by the share that is accepted"),
    (checks.strangers_among_kept, lambda k, r, p: 1 - r, "how many of the strangers pass"),
    (checks.strangers_among_kept, passing(lambda k, r, p: 1 - r, lambda k, r, p: k), "if half of what is asked"),
    (checks.strangers_among_kept, passing(lambda k, r, p: p * r), "that are refused"),
    (checks.strangers_among_kept, passing(known=lambda k, r, p: 1 - p), "not all of the known"),
    (checks.strangers_among_kept, passing(lambda k, r, p: p), "if no stranger were refused"),
    (checks.strangers_among_kept, passing(of=lambda a, b: a / b), "for each known one"),
    (checks.strangers_among_kept, lambda *given: 1 - passing()(*given), "of the known among the accepted"),
    (checks.strangers_among_kept, passing(known=lambda k, r, p: (1 - p) * (1 - k)), "the known that are lost"),
    (checks.strangers_among_kept, lambda k, r, p: passing()(1 - k, 1 - r, p), "among the refused"),
    (checks.strangers_among_kept, lambda k, r, p: passing()(k, r, 1 - p), "not that of the known"),
    (checks.left_out_distances, without_itself(itself=True), "is in its mean"),
    (checks.left_out_distances, without_itself(length=torch.norm), "their squares are asked for"),
    (checks.left_out_distances, without_itself(length=lambda v: v.square().mean()), "not their mean"),
    (checks.left_out_distances, without_itself(of_class=False), "its own class alone"),
    (checks.left_out_distances, in_class_order, "in the order of the examples"),
    (checks.left_out_distances, lambda s, y: without_itself()(s, y).mean(), "should be (10,), but is ()"),
    (checks.least_cost, costing(lambda a, b, p, c: p * a + c * (1 - p) * b), "refusing a known one costs 1"),
    (checks.least_cost, costing(lambda a, b, p, c: p * a + (1 - p) * b), "cost differently"),
    (checks.least_cost, costing(lambda a, b, p, c: c * a + b), "weigh both shares"),
    (checks.least_cost, costing(lambda a, b, p, c: c * (1 - p) * a + p * b), "that of the known"),
    (checks.least_cost, costing(also=()), "cheapest to accept nothing"),
    (checks.least_cost, lambda k, u, p, c: costing()(k, u, len(u) / len([*k, *u]), c), "the third argument"),
    (checks.least_cost, lambda k, u, p, c: costing()(-k, -u, p, c), "what is far refused"),
    (checks.least_cost, costing(best=max), "the least"),
]


def named(value):
    return value.name if isinstance(value, checks.Exercise) else ""


@pytest.mark.parametrize("check, answer", RIGHT, ids=named)
def test_right_answers_pass(check, answer):
    verdict = check(answer)
    assert verdict and verdict.because == "right" and verdict.exercise == check.name, verdict
    assert verdict.message == "✓ Right." and str(verdict).splitlines()[0] == "✓ Right."


@pytest.mark.parametrize("check, answer, said", WRONG, ids=named)
def test_wrong_answers_are_told_what_is_wrong(check, answer, said, capsys):
    verdict = check(answer)
    assert not verdict and verdict.attempted and said in verdict.message
    assert verdict.message.startswith("✗ Not yet: ") and capsys.readouterr().out == ""


EXERCISES = list(checks.EXERCISES.values())


def test_exercises_are_numbered_in_order():
    numbers = [tuple(map(int, check.asks.partition(":")[0].split("."))) for check in EXERCISES]
    assert numbers == [
        (chapter, n + 1)
        for chapter, several in itertools.groupby(sorted(numbers), key=lambda number: number[0])
        for n, _ in enumerate(several)
    ]
    assert [f"ch{chapter:02}" for chapter, _ in numbers] == [check.name[:4] for check in EXERCISES]


def empty(*given): ...


def described(*given):
    """What is to be returned."""
    ...


UNTOUCHED = {"the stub": empty, "with its words": described, "three dots": lambda *_: ..., "not even a function": ...}


@pytest.mark.parametrize("check", EXERCISES, ids=named)
@pytest.mark.parametrize("stub", UNTOUCHED.values(), ids=UNTOUCHED)
def test_a_placeholder_is_left_in_peace(check, stub):
    verdict = check(... if check.given is None else stub)
    assert not verdict and not verdict.attempted
    assert verdict.because == "untouched" and str(verdict).startswith("○ Your turn: put your answer in")


@pytest.mark.parametrize("check", [each for each in EXERCISES if each.parts], ids=named)
def test_a_part_that_is_missing_is_a_placeholder_too(check):
    parts = (...,) * len(check.parts)
    assert not check(parts if check.given is None else lambda *_: parts).attempted


@pytest.mark.parametrize("check", [each for each in EXERCISES if each.given is not None], ids=named)
def test_a_forgotten_return_is_named(check):
    def forgotten(*given):
        _ = len(given)

    verdict = check(forgotten)
    assert not verdict and verdict.attempted and "returned None: is there a return?" in verdict.message


def test_what_is_returned_has_the_right_kind_and_shape():
    assert "should be a tensor, but is a float" in checks.cosines(lambda x, y: 3.0).message
    assert "should be (6, 5), but is (6, 6)" in checks.cosines(lambda x, y: x @ x.T).message
    assert "a number, but is a str" in checks.scale_needed(lambda n, loss: "large").message
    assert "nearest negatives: the shape should be (24,), but" in checks.hardest(lambda d, y: (d.amax(1), d)).message
    assert "two things, the farthest positives and the nearest" in checks.hardest(lambda d, y: (d, d, d)).message
    assert "three things, u, v and w." in checks.shorter_detour((1, 2)).message


STRANGE = {  # and what is said of it
    "a text for a number": (checks.episodes_needed, lambda s, h: "6147", "a number, but is a str"),
    "two numbers for one": (checks.episodes_needed, lambda s, h: torch.ones(2), "a number, but is a Tensor"),
    "a number in a row": (checks.scale_needed, lambda n, loss: torch.tensor([2.0]), "your scale is 2"),
    "numbers too large": (checks.shorter_detour, (0, 1e200, 1e308), "the squared distance from u to w"),
    "indices that are none": (checks.draw_episode, lambda y, *_: Episode(y[:3], y[:6] + 900, y[:9]), ""),
    "the result for the function": (checks.cosines, torch.eye(3), "give the check the function itself"),
    "a part that is missing": (checks.hardest, lambda d, y: (d.amax(1), None), "the nearest negatives: the answer"),
    "a way out": (checks.cosines, lambda x, y: sys.exit(), "raised SystemExit"),
}


@pytest.mark.parametrize("check, answer, said", STRANGE.values(), ids=STRANGE)
def test_strange_answers_get_a_verdict(check, answer, said):
    verdict = check(answer)
    assert not verdict and verdict.attempted and said in verdict.message


class Stub:
    def method(self, *given): ...


def unwritten(*given):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [Stub().method, functools.partial(empty), unwritten, None])
def test_other_stubs_are_stubs_too(stub):
    assert checks.cosines(stub).because == "untouched"


@pytest.mark.parametrize(
    "words, message",
    [
        ({"ch03.cosine": "x"}, "There is no text 'ch03.cosine'"),
        ({"shape": "Form {form}"}, "has a gap {form}, but the English one is: the shape"),
        ({"shape": "Form {"}, "is no text for a verdict"),
        ({"right": None}, "is no text for a verdict"),
    ],
)
def test_words_that_would_fail_later_are_refused(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        checks.speak(words)
    assert checks.cosines(checks.cosines.right).message == "✓ Right."


# Other words ----------------------------------------------------------------------------------------------------


def test_verdicts_are_said_in_the_words_of_another_language():
    english = checks.texts()
    gaps = re.compile(r"{[^}]*}")
    checks.speak({key: f"«{key}» {' '.join(gaps.findall(text))}" for key, text in english.items()})
    try:
        assert checks.cosines(checks.cosines.right).message == "«right» "
        assert "«ch03.cosines.distance»" in checks.cosines(lambda x, y: 1 - cosine_similarity(x, y)).message
        assert "«untouched»" in checks.cosines(empty).message
        assert "«parts» «count 2»  «and» «ch04.hardest.part 1»" in checks.hardest(lambda d, y: d).message
        assert "«part» «ch04.hardest.part 2»  «shape» (24,)" in checks.hardest(lambda d, y: (d.amax(1), d)).message
        assert "7" in checks.count_triplets(lambda n, k: 7).message
    finally:
        checks.speak({})
    assert checks.cosines(checks.cosines.right).message == "✓ Right."


def test_every_verdict_of_the_bank_is_in_the_table():
    keys = checks.texts()
    for check, answer, _ in WRONG:
        because = check(answer).because
        assert because in keys or f"{check.name}.{because}" in keys


# Names ----------------------------------------------------------------------------------------------------------


def test_an_exercise_goes_by_its_chapter_and_by_its_name_alone():
    assert checks.ch03.cosines is checks.cosines is checks.EXERCISES["ch03.cosines"]
    assert {"cosines", "texts", "ch03"} <= set(dir(checks))
    with pytest.raises(AttributeError, match="There is no exercise 'sines'"):
        _ = checks.sines


def test_a_name_of_several_chapters_needs_its_chapter(monkeypatch):
    monkeypatch.setitem(checks.EXERCISES, "ch99.cosines", checks.cosines)
    with pytest.raises(AttributeError, match=r"write checks.ch03.cosines or checks.ch99.cosines"):
        _ = checks.cosines


# What a check leaves alone --------------------------------------------------------------------------------------


def generators():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


CHECKS = dict(RIGHT)


@pytest.mark.parametrize("check, answer", CHECKS.items(), ids=named)
@pytest.mark.parametrize("wrong", ["right", "nothing", "raises"])
def test_a_check_leaves_the_generators_as_they_were(check, answer, wrong):
    """Whatever the answer draws, or seeds."""

    def drawing(*arguments):
        torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
        torch.randn(3), np.random.rand(), random.random()  # noqa: NPY002
        if wrong == "raises":
            raise RuntimeError("no answer")
        return answer(*arguments) if wrong == "right" else None

    before = generators()
    for _ in range(2):
        check(drawing if callable(answer) else answer)
        assert generators() == before


def test_each_press_draws_other_data():
    seen = []
    for _ in range(3):
        checks.cosines(lambda x, y: seen.append((x, torch.rand(1))))
    assert len({x.sum().item() for x, _ in seen}) == len({drawn.item() for _, drawn in seen}) == 3


def test_what_was_drawn_before_changes_nothing(monkeypatch):
    seen = []
    for before in range(2):
        torch.manual_seed(before)
        monkeypatch.setattr(exercise, "_presses", itertools.count())
        checks.cosines(lambda x, y: seen.append(x))
    assert torch.equal(*seen)


# Answers from a GPU ---------------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def moved(value):
    """The same on the GPU, and so is all that it holds."""
    if isinstance(value, Episode):
        return Episode(value.classes.cuda(), value.support.cuda(), value.query.cuda())
    if isinstance(value, tuple | list):
        return type(value)(map(moved, value))
    return value.cuda() if isinstance(value, torch.Tensor) else value


@on_gpu
@pytest.mark.parametrize(
    "check, answer, right",
    [(*pair, True) for pair in RIGHT] + [(check, answer, False) for check, answer, _ in WRONG],
    ids=named,
)
def test_an_answer_from_a_gpu_is_judged(check, answer, right):
    said = check(answer, seed=3)
    assert said.right is right
    with pretend_gpu():
        assert check((lambda *given: moved(answer(*given))) if callable(answer) else moved(answer), seed=3) == said


@on_gpu
def test_an_answer_may_be_found_on_a_gpu():
    with pretend_gpu():
        assert checks.cosines(lambda x, y: checks.cosines.right(x.cuda(), y.cuda()))
        assert checks.nearest_example(lambda s, labels, q: nearest()(s.cuda(), labels.cuda(), q.cuda()))


@on_gpu
def test_a_check_leaves_the_generator_of_the_gpu_as_it_was():
    with pretend_gpu():
        if default_device().type != "cuda":
            pytest.skip("The pretend GPU does not call itself cuda here, so its generator is not looked for.")
        torch.manual_seed(0)
        wanted = torch.rand(3, device="cuda").cpu()
        torch.manual_seed(0)
        checks.cosines(lambda x, y: torch.rand(6, 5, device="cuda"))
        assert torch.equal(torch.rand(3, device="cuda").cpu(), wanted)


def test_data_lie_on_the_cpu_whatever_the_default_device():
    found = []
    torch.set_default_device("meta")  # one where nothing can be computed
    try:
        right = checks.cosines(lambda x, y: found.append(x.device.type) or checks.cosines.right(x, y))
    finally:
        torch.set_default_device(None)
    assert right and set(found) == {"cpu"}


# Other forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.int32, torch.float32])
def test_labels_may_be_of_another_kind(kind):
    assert checks.nearest_neighbour(lambda s, labels, q: labels[torch.cdist(q, s).argmin(1)].to(kind))


def test_an_episode_must_be_one():
    verdict = checks.draw_episode(lambda *_: (torch.arange(6), torch.arange(9)))
    assert "should be an Episode, but is a tuple" in verdict.message
    assert not checks.draw_episode(lambda *_: Episode(..., *(torch.arange(n) for n in (6, 9)))).attempted


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_numbers_may_be_of_another_width(dtype):
    verdict = checks.cosines(lambda x, y: checks.cosines.right(x, y).to(dtype))
    assert verdict.right is (dtype == torch.float64) and "raised" not in verdict.message


@pytest.mark.parametrize(
    "error, said",
    [
        (None, "f: ✓ Right.\n"),
        (NotImplementedError("not written yet: f"), "f: ○ not written yet: f\n"),
        (AssertionError("it should be 3."), "f: ✗ Not yet: it should be 3.\n"),
    ],
)
def test_examples_say_how_they_came_out_and_stop_nothing(error, said, capsys):
    with checks.attempt("f"):
        if error:
            raise error
    assert capsys.readouterr().out == said


def test_any_other_error_in_an_example_is_shown_in_full():
    with pytest.raises(ZeroDivisionError), checks.attempt("f"):
        raise ZeroDivisionError
