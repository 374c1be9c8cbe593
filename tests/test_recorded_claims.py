"""What chapters say of recorded results, read from the records: no run of a notebook can change it.

Each function is of one sentence, its docstring, on the page of the chapter that its name begins with.
"""

import inspect
import itertools
import re
import sys
from pathlib import Path

import nbformat
import pytest
import torch

from fslib.book import ledger
from fslib.evaluation import student95
from tests.test_claims import read

CHAPTERS = Path(__file__).parents[1] / "chapters"
TASKS = [(way, shot) for way in (5, 20) for shot in (1, 5)]


def means(method, way, shot, dataset="glyphs", **keys):
    """The accuracy of each recorded run, in points, on the test classes."""
    keys |= dict(method=method, way=way, shot=shot, dataset=dataset, split="test")
    return [100 * record["mean"] for record in ledger.find(**keys)]


def mean(method, way, shot):
    """That of all runs together."""
    runs = means(method, way, shot)
    return sum(runs) / len(runs)


def test_06_temperature():
    """In the table, the temperature alone draws level with the plain distance."""
    for way in (5, 20):
        squared, tempered, plain = (
            mean(f"prototypical{name}", way, 1) for name in ("", "-tempered", "-unsquared")
        )
        assert tempered > squared + 3 and abs(tempered - plain) < 2


def test_06_cosine():
    """The cosine is no better than the bare square here, in one run and at a scale that nobody tuned."""
    for task in TASKS:
        (cosine,) = means("cosine", *task)
        assert (
            cosine < max(means("prototypical", *task))
            and cosine < mean("prototypical-tempered", *task) - 1
        )


def test_06_equal_episodes():
    """More ways win by far, even in the 5-way tests, for which the first row was trained."""
    for task in TASKS:
        few, more, most = (means(f"prototypical{name}", *task) for name in ("-5way", "", "-60way"))
        assert max(few) + 5 < min(more) and max(more) + 1 < min(most)


def test_06_equal_images():
    """With as many images, most of the lead that 20 ways had in the 5-way tests is gone."""
    for shot in (1, 5):
        episodes = mean("prototypical", 5, shot) - mean("prototypical-5way", 5, shot)
        images = mean("prototypical-tempered", 5, shot) - mean(
            "prototypical-tempered-5way", 5, shot
        )
        assert 0 < images < episodes / 2


ON_MAPS = ("relation", "relation-cross-entropy", "prototypical-tempered", "relation-long", "prototypical-long")


def test_07_short():
    """After 400 episodes the Relation Network stays far behind, with either loss."""
    for task in TASKS:
        alone, over, tempered, *_ = (means(method, *task, seeds=[0])[0] for method in ON_MAPS)
        assert max(alone, over) + 3 < tempered


def test_07_loss():
    """Such a loss asks what the test asks, that the right class score highest."""
    for task in TASKS:
        assert means("relation-cross-entropy", *task)[0] > means("relation", *task)[0] + 1


def test_07_long():
    """After 6,000 it is ahead of the Prototypical Network of 400, and within two points of one"""
    for task in TASKS:
        _, _, tempered, long, beside = (means(method, *task, seeds=[0])[0] for method in ON_MAPS)
        assert tempered < long < beside < long + 2


def test_07_omniglot():
    """It came out level at 5-way and a little behind at 20-way."""
    leads = []
    for way in (5, 20):
        given = means("prototypical", way, 1, dataset="omniglot")
        (learned,) = means("relation", way, 1, dataset="omniglot")
        leads.append(sum(given) / len(given) - learned)
    assert 0 < leads[0] < 0.3 < leads[1] < 0.7


def test_08_scale():
    """Held at 1, the loss stays above its bound, and the network is the worse for it."""
    (good,) = means("matching", 5, 1)
    assert good > max(*means("matching-held-at-1", 5, 1), *means("matching-from-1", 5, 1)) + 20


def test_08_two_networks():
    """Twice the weights, in our code two passes over every image, and in this run a worse network on all four tasks."""
    for task in TASKS:
        (one,), (two,) = means("matching", *task), means("matching-two-networks", *task)
        assert one > two + 2


def test_08_votes_on_glyphs():
    """On `glyphs` the mean with a temperature is ahead in every column."""
    for task in TASKS:
        (votes,), runs = means("matching", *task), means("prototypical-tempered", *task)
        (first,) = means("prototypical-tempered", *task, seeds=[0])
        assert max(runs) - min(runs) < first - votes < 2.5


def test_08_votes_on_omniglot():
    """On Omniglot the votes are, by less than half a point; with one run of each, treat them as equal."""
    for task in TASKS:
        votes, means_ = (
            means(method, *task, dataset="omniglot", seeds=[0])[0]
            for method in ("matching", "prototypical")
        )
        assert 0 < votes - means_ < 0.5


def on_validation(method, **keys):
    """The accuracy of a run that chose settings, in points, 20-way 1-shot."""
    (record,) = ledger.find(method=method, dataset="glyphs", split="validation", way=20, shot=1, **keys)
    return 100 * record["mean"]


def test_09_untuned():
    """Left at a scale of ten, votes would have lost by several points,"""
    at_10 = on_validation("matching", train_scale=10)
    assert on_validation("prototypical-tuned", train_temperature=16, train_learning_rate=0.003) > at_10 + 3


def test_09_tuned():
    """Tuned like its rival, the Matching Network closes nine tenths of the gap."""
    at_10, tuned = on_validation("matching", train_scale=10), on_validation("matching-tuned", train_learning_rate=0.01)
    rival = on_validation("prototypical-tuned", train_temperature=16, train_learning_rate=0.003)
    assert tuned < rival and rival - tuned < (rival - at_10) / 8


def test_09_five_trainings():
    """The table has the mean of five trainings, on 10,000 episodes each, with the interval *over the trainings*."""
    for method in ("prototypical-tuned", "matching-tuned", "relation-tuned"):
        assert all(len(means(method, *task)) == 5 for task in TASKS)


def test_09_means_and_votes():
    """Means are ahead of votes on each task, by about a point at most;"""
    for task in TASKS:
        assert 0 < mean("prototypical-tuned", *task) - mean("matching-tuned", *task) < 1.2


def test_09_learned():
    """The learned comparison lies behind both, by more than either interval:"""
    for way, shot in TASKS:
        task = dict(dataset="glyphs", split="test", way=way, shot=shot)
        votes, learned = (
            ledger.over_seeds(ledger.find(**task, method=f"{name}-tuned")) for name in ("matching", "relation")
        )
        assert learned[0] + learned[1] < votes[0] - votes[1]


def detectable():
    """Points that two means of three trainings must lie apart, as chapter 11 computes it."""
    kinds = "loss-supcon", "augmented", "augmented-mirrors", "new-classes", "distilled-warped", "longer"
    runs = torch.tensor([means(kind, 20, 1) for kind in kinds])
    return student95(2 * len(kinds)) * runs.var(1).mean().sqrt().item() * (2 / 3) ** 0.5


def test_11_mirrors():
    """Four points are lost to an augmentation that many programs apply without a thought;"""
    lost = mean("loss-supcon", 20, 1) - mean("augmented-mirrors", 20, 1)
    assert 3.5 < lost < 5 and max(means("augmented-mirrors", 20, 1)) + 3 < min(means("loss-supcon", 20, 1))


def test_11_new_classes():
    """the same mirrored pictures as new classes gain most of a point instead."""
    gain = mean("new-classes", 20, 1) - mean("loss-supcon", 20, 1)
    assert detectable() < gain < 1


def test_11_warps():
    """Gentle warps by themselves: no difference seen."""
    assert abs(mean_at("recipe", 0) - mean("loss-supcon", 20, 1)) < detectable()


def test_11_taken_back():
    """mirroring all characters but those that would become others costs as much, in a single run"""
    nothing, mirrors = (on_validation("augmented", train_by=by) for by in ("nothing", "mirrors"))
    assert abs(on_validation("augmented-but") - mirrors) < 0.5 < 2.5 < nothing - on_validation("augmented-but")


def test_11_small():
    """The small student gains two points from its teacher's relations."""
    gains = [taught - alone for taught, alone in zip(means("distilled-small", 20, 1), means("small", 20, 1))]
    assert min(gains) > 1 and 1.5 < sum(gains) / 3 < 2.5


def test_11_one_look():
    """Of the look that was taught by sixteen there is no difference seen,"""
    assert abs(mean("distilled-warped", 20, 1) - mean("augmented", 20, 1)) < detectable()


def test_11_own_loss():
    """And a Prototypical Network's own loss gains more than a point from the scores of a better teacher,"""
    taught, alone = means("distilled-own-loss", 20, 1), means("loss-prototypical", 20, 1)
    assert min(taught) > max(alone) + 1 and max(taught) < min(means("loss-supcon", 20, 1))


def test_11_longer():
    """training twice as long gains two points."""
    assert 1.5 < on_validation("longer", train_episodes=2000) - on_validation("augmented", train_by="nothing") < 2.5


def test_11_best():
    """Three trainings on test classes gain most of a point by them, as in the short training, and sixteen looks gain
    more than a point beyond."""
    longer, best, looks = mean("longer", 20, 1), mean_at("best", 0), mean_at("best", 16)
    assert detectable() < best - longer < 1.2 and 1 < looks - best < 2.5


def test_11_longer_on_test():
    """On test classes, too, the longer training leads, by one and a half points."""
    assert 1.25 < mean("longer", 20, 1) - mean("loss-supcon", 20, 1) < 1.75


def test_11_without_labels():
    """Relations alone come within two points of labels at 64 channels, and within four at 16:"""
    told = dict(train_teacher="ensemble", train_by="relations", train_weight=1.0)
    nothing = on_validation("augmented", train_by="nothing")
    assert 1 < nothing - on_validation("distilled", **told) < 2
    assert 3 < on_validation("small") - on_validation("distilled-small", **told) < 4


def test_11_best_not_seen():
    """The single runs had seen nothing of new classes and warps in one look."""
    alone = on_validation("longer", train_episodes=2000)
    assert abs(on_validation("best", train_by="mirrors", views=0) - alone) < 0.3


def test_11_time_for_looks():
    """What sixteen looks brought to the short training, at seventeen embeddings for each image, a training of twice the
    length brings in one look."""
    assert abs(mean("longer", 20, 1) - mean_at("recipe", 16)) < detectable()


def mean_at(method, views):
    """The mean of all runs, 20-way 1-shot, with so many looks."""
    runs = means(method, 20, 1, views=views)
    return sum(runs) / len(runs)


def test_11_classifier():
    """loses sixteen points by MixUp and almost thirty by CutMix, in single runs"""
    alone = on_validation("softmax", train_mixed="nothing", train_smoothing=0.0)
    assert 15.5 < alone - on_validation("softmax", train_mixed="mixup") < 16.5
    assert 28.5 < alone - on_validation("softmax", train_mixed="cutmix") < 30


def test_11_queries():
    """A Prototypical Network's own loss can mix its queries, and loses ten points."""
    assert 9.5 < on_validation("loss-prototypical") - on_validation("queries-mixed") < 10.5


def test_11_ensemble():
    """The ensemble is almost three points better than one of its members,"""
    assert 2.4 < on_validation("teacher") - on_validation("augmented", train_by="nothing") < 3


def lead(ours, theirs, split, shot=1, of_ours=""):
    """Points by which one method leads another, 20-way, over the trainings of both, and the half-width of 95 %."""
    task = dict(dataset="glyphs", metric="accuracy", way=20, shot=shot)

    def by_seeds(method, of):
        found = ledger.find(**task, method=method, split=f"test, {of}{split}".rstrip(", "))
        return {tuple(record["seeds"]): record for record in found}

    first, second = by_seeds(ours, of_ours), by_seeds(theirs, "")
    both = sorted(first.keys() & second.keys())
    gain = ledger.lead([first[seeds] for seeds in both], [second[seeds] for seeds in both])
    return 100 * gain.mean, 100 * gain.ci95


def helps(points_and_half):
    points, half = points_and_half
    return points > half


def hurts(points_and_half):
    points, half = points_and_half
    return points < -half


def probed(attribute, method="as-it-is", of="", probe="linear"):
    """How often a probe is right, %, and its interval over trainings."""
    split = f"test, {of}across families"
    found = ledger.find(dataset="glyphs", method=method, split=split, metric=f"{attribute}, {probe}")
    return [100 * x for x in ledger.over_seeds(found)]


def test_12_probes():
    """The family can be read more often than by guessing, though less than half of the time. The weight is easier, and
    of the slant there is little left."""
    family, weight, slant = (probed(name) for name in ("family", "weight", "slant"))
    assert 100 / 3 + family[1] < family[0] < 50 - family[1] and 50 + 10 < weight[0]
    assert 50 + slant[1] < slant[0] < 60


def test_12_parts():
    """The weight is read nearly always from its own subspace. The slant, too, is read best from its own, but not well,
    and the family stays hard even there:"""
    parts = "character", "family", "weight", "slant"
    known = {a: {part: probed(a, "subspaces", f"{part}, ") for part in parts} for a in parts[1:]}
    assert known["weight"]["weight"][0] > 95 and known["family"]["family"][0] < 60 and known["slant"]["slant"][0] < 70
    for attribute, of in known.items():
        own = of.pop(attribute)
        assert all(own[0] > other[0] for other in of.values())


def test_12_subspaces():
    """A place of its own for the face does not help the character; it costs several points. Forty coordinates instead
    of 64 explain a part of that."""
    own = lead("subspaces", "as-it-is", "across families", of_ours="character, ")
    fewer = lead("fewer-coordinates", "as-it-is", "across families")
    assert own[0] + own[1] < -3 < fewer[0] < 0 and hurts(lead("fewer-coordinates", "as-it-is", ""))


def test_12_lightly():
    """If each term of the face counts a tenth, the character loses far less, and the weight is read from its subspace
    nearly as well"""
    alike, lightly = (
        lead(name, "as-it-is", "across families", of_ours="character, ")
        for name in ("subspaces", "subspaces-lightly")
    )
    assert lightly[0] > alike[0] / 2 and probed("weight", "subspaces-lightly", "weight, ")[0] > 92


def test_12_all_coordinates():
    """*All coordinates* is worst:"""
    everything = lead("subspaces", "as-it-is", "across families", of_ours="all coordinates, ")
    assert everything[0] + everything[1] < lead("subspaces", "as-it-is", "across families", of_ours="character, ")[0]


def test_12_erased():
    """And the task gains nothing. It even loses a little by the family,"""
    splits = "across families", "within families", ""
    assert all(hurts(lead("leace", "as-it-is", split)) for split in splits)
    assert all(abs(lead("leace-of-weight", "as-it-is", split)[0]) < 0.3 for split in splits)
    assert probed("family", "leace")[0] == pytest.approx(100 / 3, abs=1e-3)
    assert probed("family", "leace", probe="neighbours")[0] > 35


def test_12_erased_where_it_counts():
    """The weight was in every distance, and erasing it brings points back; erasing the family does not."""
    for split in ("across families", "within families"):
        leads = {}
        for name in ("weight", "family"):
            task = dict(dataset="glyphs", metric="accuracy", way=20, method="subspaces")
            erased, kept = (
                ledger.find(**task, split=f"test, {of}, {split}") for of in (f"{name} erased", "all coordinates")
            )
            leads[name] = ledger.lead(erased, kept)
        assert leads["weight"].mean > leads["weight"].ci95 and leads["family"].mean < 0


PLACES = "by shots", "on Omniglot"


def test_12_covariances():
    """Covariances help from five shots on, in both places, with no step of gradient descent; with one shot they do
    not, and on `glyphs` they cost a little."""
    for place in PLACES:
        assert all(helps(lead("covariances", "prototypes", place, shot)) for shot in (5, 10))
        assert not helps(lead("covariances", "prototypes", place))
    assert hurts(lead("covariances", "prototypes", "by shots"))


def test_12_settings():
    """0.01 gains a little more from five shots on and loses more with one. The learning rate of the alignment is of the
    paper's order; a tenth of it gained nothing there, either."""

    def on_validation_by(shot, method, place, **settings):
        task = dict(dataset="glyphs", way=20, shot=shot, method=method, split=f"validation, {place}")
        (record,) = ledger.find(**task, **settings)
        return 100 * record["mean"]

    for place in PLACES:
        small, ours = (
            [on_validation_by(shot, "covariances", place, train_beta=beta) for shot in (1, 5, 10)]
            for beta in (0.01, 0.03)
        )
        assert ours[0] > small[0] and all(0 < small[i] - ours[i] < 0.5 for i in (1, 2))
        for method, shot in itertools.product(("aligned", "aligned-fully"), (5, 10)):
            tenth = on_validation_by(shot, method, place, train_learning_rate=0.01)
            assert tenth < on_validation_by(shot, "prototypes", place)


def test_12_alignment():
    """Alignment helps nowhere here, and the fuller the map, the more it costs at five shots."""
    for place in PLACES:
        full, diagonal = (
            [lead(name, "prototypes", place, shot) for shot in (1, 5, 10)] for name in ("aligned-fully", "aligned")
        )
        assert not any(map(helps, full + diagonal)) and full[1][0] < diagonal[1][0] < 0


def test_12_weaker_network():
    """On the weaker network they help as much."""
    weaker, better = (
        lead(f"{of}covariances", f"{of}prototypes", "by shots", 5) for of in ("own-loss-", "")
    )
    assert helps(weaker) and abs(weaker[0] - better[0]) < weaker[1] + better[1]


def test_12_others():
    """LEACE of all twelve faces, whitening and the projection cost points: what a class varies in is what tells classes
    apart, too. Two directions drawn at random cost next to nothing, so of the projection it is not their number."""
    cost = [lead(name, "as-it-is", "across families") for name in ("leace-of-faces", "whitened", "projected")]
    assert all(points + half < -1 for points, half in cost)
    assert abs(lead("projected-at-random", "as-it-is", "across families")[0]) < 0.5


def test_12_flats():
    """The flats gain nothing sure on `glyphs`; attention and factors lose."""
    assert not helps(lead("flats", "prototypes", "by shots", 5))
    assert all(hurts(lead(name, "prototypes", "by shots")) for name in ("feat", "film"))


CLAIMS = [
    function
    for name, function in inspect.getmembers(sys.modules[__name__], inspect.isfunction)
    if re.match(r"test_\d", name)
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_the_sentence_stands_on_the_page(claim):
    (chapter,) = CHAPTERS.glob(f"{claim.__name__.split('_')[1]}_*.ipynb")
    cells = nbformat.read(chapter, as_version=4).cells
    assert read(claim.__doc__) in read("\n".join(cell.source for cell in cells))
