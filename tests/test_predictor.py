"""The predictor: right where it can be checked, told in a sentence where it cannot, and at home in scikit-learn."""

import doctest
import gc
import importlib
import json
import pickle
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import save as serialize
from scipy.stats import chi2
from torch import nn

import fslib
from fslib import data, files, storage
from fslib.backbones import Conv4, Pretrained
from fslib.data.alphabets import Alphabet
from fslib.data.transforms import drawing
from fslib.methods import MatchingNetwork, PrototypicalNetwork
from fslib.metrics import squared_euclidean
from fslib.predictor import FewShotPredictor, calibrate, characters, few_shot

STROKES = {
    "cross": [[(0, 0.5), (1, 0.5)], [(0.5, 0), (0.5, 1)]],
    "vee": [[(0, 0), (0.5, 1), (1, 0)]],
    "box": [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]],
    "comb": [[(0, 0), (0, 1), (1, 1), (1, 0)], [(0.5, 1), (0.5, 0)]],
}


def drawn(name, seed, side=90, mode="L"):
    """A character by an unsteady hand, on grey paper of any size."""
    random = np.random.default_rng(seed)
    paper = Image.new("L", (side + int(random.integers(60)), side), 200)
    corner = random.uniform(10, 20, 2)
    for stroke in STROKES[name]:
        points = [tuple(corner + (side - 40) * (np.array(p) + random.uniform(-0.05, 0.05, 2))) for p in stroke]
        ImageDraw.Draw(paper).line(points, 40, width=5)
    return paper.convert(mode)


def pictures(names, count, start=0):
    return [drawn(name, start + i) for name in names for i in range(count)], [n for n in names for _ in range(count)]


@pytest.fixture(scope="module")
def predictor():
    """Of three classes of four pictures, with the fourth character unknown."""
    return FewShotPredictor(unknown="unknown").fit(*pictures(["cross", "vee", "box"], 4))


@pytest.fixture
def letters(tmp_path):
    for name in ("cross", "vee", "box"):
        (tmp_path / "letters" / name).mkdir(parents=True)
        for i in range(4):
            drawn(name, i, side=70 + 20 * i).save(tmp_path / "letters" / name / f"{i}.png")
    return tmp_path / "letters"


def table(classes=5, each=12, dim=8, seed=0, spread=1.0):
    """Gaussian clusters, far apart."""
    random = np.random.default_rng(seed)
    centres = random.normal(0, 10, (classes, 1, dim))
    return (centres + random.normal(0, spread, (classes, each, dim))).reshape(-1, dim), np.arange(classes).repeat(each)


# What it answers ----------------------------------------------------------------------------------------------


def test_new_pictures_get_their_class(predictor):
    queries, right = pictures(["cross", "vee", "box"], 10, start=50)
    assert predictor.classes_.tolist() == ["box", "cross", "vee"]
    assert predictor.score(queries, right) >= 0.9 and "unknown" not in predictor.classes_
    probabilities = predictor.predict_proba(queries)
    assert probabilities.shape == (30, 3) and np.allclose(probabilities.sum(1), 1)


def test_the_answer_is_the_nearest_class_mean(predictor):
    queries, _ = pictures(["cross", "comb"], 3, start=20)
    support, labels = pictures(["cross", "vee", "box"], 4)
    network = characters().cpu()
    with torch.no_grad():
        embedded, asked = (network.embed(torch.stack([drawing(p) for p in each])) for each in (support, queries))
    means = torch.stack([embedded[[label == c for label in labels]].mean(0) for c in predictor.classes_])
    distances = ((asked[:, None] - means) ** 2).sum(-1)
    answers = predictor.set_params(unknown=None).predict(queries)
    predictor.set_params(unknown="unknown")
    assert answers.tolist() == predictor.classes_[distances.argmin(1)].tolist()
    tau = predictor.calibration_.temperature
    np.testing.assert_allclose(predictor.predict_proba(queries), (-distances / tau).softmax(1), rtol=1e-3, atol=1e-5)
    refused = (-distances).max(1).values < predictor.calibration_.thresholds[4]
    assert (predictor.predict(queries) == "unknown").tolist() == refused.tolist()
    np.testing.assert_allclose(predictor.embed(queries), asked, atol=1e-5)


def test_files_folders_images_and_arrays_are_the_same(letters):
    names = sorted(path.parent.name for path in letters.rglob("*.png"))
    paths = sorted(letters.rglob("*.png"))
    given = [
        (letters, None), (str(letters), None), (paths, names), (np.array(list(map(str, paths))), np.array(names)),
        ([Image.open(path) for path in paths], names), ([np.asarray(Image.open(path)) for path in paths], names),
        (iter(paths), names),
    ]  # fmt: skip
    fitted = [FewShotPredictor().fit(X, y) for X, y in given]
    for each in fitted:
        assert each.classes_.tolist() == ["box", "cross", "vee"]
        torch.testing.assert_close(each.examples_.embeddings, fitted[0].examples_.embeddings)
    assert fitted[0].examples_.names == list(map(str, paths))
    expected = [path.parent.name for path in paths]
    with pytest.warns(UserWarning, match="near copies of those it was fitted on, 12 in all"):
        assert fitted[0].predict(letters).tolist() == expected
    with pytest.warns(UserWarning, match=r"near copies .*, 1 in all, as .*0\.png of .*0\.png"):
        assert fitted[0].predict(letters / "vee" / "0.png").tolist() == ["vee"]


def test_pictures_of_one_array(predictor):
    images = np.stack([np.asarray(drawn(name, 7).resize((64, 64))) for name in ("cross", "vee")])
    answers = predictor.predict(images).tolist()
    for same in (torch.from_numpy(images), images[:, None], images[..., None], np.stack([images] * 3, -1)):
        assert predictor.predict(same).tolist() == answers == ["cross", "vee"]


def test_labels_may_be_numbers(letters):
    queries, _ = pictures(["vee"], 1, start=9)
    X, y = pictures(["cross", "vee"], 3)
    numbers = [7 if label == "vee" else 3 for label in y]
    for labels in (numbers, np.array(numbers), torch.tensor(numbers), np.array(numbers, np.float32)):
        fitted = FewShotPredictor(unknown=-1).fit(X, labels)
        assert fitted.predict(queries).tolist() == [7] and fitted.classes_.tolist() == [3, 7]


def test_recognise_says_what_is_behind_an_answer(letters, tmp_path):
    predictor = FewShotPredictor().fit(letters)
    (tmp_path / "broken.png").write_text("no picture")
    drawn("vee", 30).save(tmp_path / "new.png")
    Image.open(letters / "box" / "1.png").convert("RGB").resize((140, 100)).save(tmp_path / "again.jpg", quality=60)
    names = [tmp_path / "new.png", tmp_path / "broken.png", tmp_path / "again.jpg"]
    new, broken, again = predictor.recognise(names)
    assert (new.name, new.label, new.known, new.problem, new.duplicate) == (str(names[0]), "vee", True, None, None)
    assert Path(new.nearest).parent.name == "vee" and 0.5 < new.probability <= 1
    assert broken.label is None and "broken.png is not a picture that can be read" in broken.problem
    assert again.duplicate == again.nearest == str(letters / "box" / "1.png") and again.label == "box"
    with pytest.raises(ValueError, match=r"broken\.png is not a picture .* recognise\(…\) goes on past it"):
        predictor.predict(names)


# What is unknown ----------------------------------------------------------------------------------------------


def test_what_is_of_no_class_is_refused():
    (X, y), (others, other_labels) = table(3), table(40, seed=1)
    fitted = FewShotPredictor(unknown=-1, held_out=(others, other_labels)).fit(X, y)
    strangers = table(30, seed=2)[0]
    assert (fitted.predict(strangers) == -1).mean() > 0.9
    answers = list(fitted.recognise(strangers))
    assert [each.label for each in answers] == fitted.predict(strangers).tolist()
    assert {each.most_like for each in answers} <= {0, 1, 2}
    assert all(each.known is (each.label != -1) for each in answers)
    assert all(each.label == each.most_like for each in fitted.set_params(unknown=None).recognise(strangers))
    fitted.set_params(unknown=-1)
    assert (fitted.predict(table(3)[0]) == y).mean() > 0.9
    wanted = "On 40 held-out classes: of known ones 95 % of the pictures are kept, of the others 100 % are refused."
    assert str(fitted.calibration_) == wanted


def identity():
    return PrototypicalNetwork(nn.Sequential())


def gaussians(classes, each, dim, spread=20.0):
    random = torch.Generator().manual_seed(3)
    centres = spread * torch.randn(classes, 1, dim, generator=random)
    drawn = (centres + torch.randn(classes, each, dim, generator=random)).flatten(0, 1)
    return drawn, torch.arange(classes).repeat_interleave(each)


@pytest.mark.parametrize("keep", [0.8, 0.95])
def test_thresholds_are_where_theory_puts_them(keep):
    """Of clusters far apart, the squared distance to the mean of k is (1 + 1/k) χ² of as many degrees as dimensions."""
    found = calibrate(identity(), *gaussians(60, 40, 6), shots=[1, 1, 5, 5, 20], keep=keep)
    assert list(found.thresholds) == [1, 5, 20]
    for k, threshold in found.thresholds.items():
        assert -threshold == pytest.approx((1 + 1 / k) * chi2.ppf(keep, 6), rel=0.1)
    assert found.kept == pytest.approx(keep, abs=0.01) and found.refused > 0.99
    assert [found.threshold(k) for k in (1, 4, 5, 19, 20, 500)] == [found.thresholds[k] for k in (1, 1, 5, 5, 20, 20)]


def test_the_temperature_is_the_best_there_is():
    """Of Gaussian clusters the posterior of the right class is the softmax of minus half the squared distance."""
    found = calibrate(identity(), *gaussians(100, 40, 3, spread=1.5), shots=[20] * 10)
    assert found.temperature == pytest.approx(2, rel=0.25)


def test_few_or_small_held_out_classes():
    held_out, labels = gaussians(3, 2, 4)
    assert calibrate(identity(), held_out, labels, shots=[5] * 9).thresholds.keys() == {1}
    for classes, each in ((2, 9), (9, 1)):
        with pytest.raises(ValueError, match="At least three classes of two pictures must be held out"):
            calibrate(identity(), *gaussians(classes, each, 4), shots=[1, 1])
    for keep in (0, 1, 95, "0.9", True):
        with pytest.raises(ValueError, match=r"keep is a share between 0 and 1, such as 0\.95, but is"):
            calibrate(identity(), held_out, labels, [1, 1], keep)


def test_calibration_draws_no_random_numbers_of_ours():
    before = torch.get_rng_state()
    first, second = (calibrate(identity(), *gaussians(9, 6, 4), shots=[2, 3]) for _ in range(2))
    assert first == second and torch.equal(torch.get_rng_state(), before)


def test_a_method_that_does_not_measure_distances_is_calibrated_too():
    found = calibrate(MatchingNetwork(nn.Sequential()), *gaussians(20, 12, 6), shots=[3] * 4)
    assert found.kept == pytest.approx(0.95, abs=0.01) and max(found.thresholds.values()) <= 0


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(unknown=-1), "To refuse what is unknown, give pictures of other classes to calibrate on: held_out="),
        (dict(unknown=2, held_out=table(9)), "unknown is a label of its own, but 2 is one of the classes"),
        (dict(unknown="no", held_out=table(9)), "The classes are integers, so unknown is too, such as -1, but is 'no'"),
        (dict(held_out=table(2)), "At least three classes of two pictures must be held out"),
        (dict(keep=95, held_out=table(9)), "keep is a share between 0 and 1, such as 0.95, but is 95"),
        (dict(prepare="photo"), "prepare is one of drawing, photograph, or a function, but is 'photo'"),
        (dict(model=3), "A method is built over a network"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        FewShotPredictor(**settings).fit(*table())


def test_held_out_classes_are_others(letters):
    with pytest.raises(ValueError, match="Held-out classes are other ones, but 'box' is to be recognised"):
        FewShotPredictor(held_out=letters).fit(letters)


def test_the_shipped_embeddings_are_of_the_default_network(glyphs):
    sys.path.insert(0, str(Path(fslib.__file__).parents[1] / "book" / "_tools"))
    held_out = importlib.import_module("held_out")
    shipped, labels = few_shot._held_out_characters()
    again = torch.from_numpy(held_out.embedded()).float().flatten(0, 1)
    torch.testing.assert_close(shipped, again, rtol=0, atol=3e-3)
    assert len(labels) == 164 * held_out.EACH
    assert shipped.norm(dim=1).allclose(torch.ones(()), atol=1e-2)


def test_the_default_network_does_not_depend_on_where_records_are(monkeypatch, tmp_path):
    monkeypatch.setenv("FSLIB_RESULTS", str(tmp_path))
    assert files.came_with("predictor/held-out.npy").is_file() and characters()


# Few pictures, and broken ones --------------------------------------------------------------------------------


def test_unequal_classes_and_one_of_a_single_picture():
    X = [*pictures(["cross"], 6)[0], *pictures(["vee"], 1)[0], *pictures(["box"], 3)[0]]
    fitted = FewShotPredictor(unknown="?").fit(X, ["cross"] * 6 + ["vee"] + ["box"] * 3)
    assert fitted.calibration_.thresholds.keys() == {1, 3, 6}
    (said,) = fitted.report_
    assert said.startswith("Of 'vee' there is a single picture") and "one does not show how" in said
    assert fitted.predict([drawn("vee", 77)]).tolist() == ["vee"]


def test_an_alphabet_of_the_pad_is_a_folder_of_pictures(tmp_path):
    """As a file, as a set of several writers, and as classes held out; scans of the same characters are recognised."""
    alphabet = {
        name: [[80 * np.array(stroke) + 12 + i for stroke in STROKES[name]] for i in range(2)] for name in STROKES
    }
    Alphabet({"cross": alphabet["cross"], "vee": alphabet["vee"]}, writer="Anna").save(tmp_path / "anna.json")
    Alphabet({"cross": alphabet["cross"], "box": alphabet["box"]}, writer="Ben").save(tmp_path / "ben.json")
    fitted = FewShotPredictor(unknown="unknown").fit(tmp_path / "anna.json")
    assert fitted.classes_.tolist() == ["cross", "vee"] and len(fitted.examples_.labels) == 4
    both = data.from_alphabets(tmp_path)
    fitted = FewShotPredictor(unknown="unknown").fit(both)
    assert fitted.classes_.tolist() == ["box", "cross", "vee"] and len(fitted.examples_.labels) == 8
    queries, right = pictures(["cross", "vee", "box"], 3, start=40)
    assert fitted.predict(queries).tolist() == right
    with pytest.warns(UserWarning, match="near copies"):
        assert (fitted.predict(both) == fitted.examples_.labels).all()
    np.testing.assert_allclose(fitted.embed(both), fitted.examples_.embeddings, atol=1e-5)
    others = FewShotPredictor(Conv4(), held_out=both).fit([drawn("comb", 0), 255 - np.eye(30, dtype=np.uint8)], [0, 1])
    assert others.calibration_.classes == 3
    (tmp_path / "ben.json").write_text("{")
    with pytest.raises(ValueError, match=r"ben\.json is not an alphabet"):
        FewShotPredictor().fit(tmp_path / "ben.json")
    with pytest.raises(ValueError, match="brings its classes"):
        FewShotPredictor().fit(both, both.labels)


def test_broken_pictures_are_left_out_and_told(letters):
    (letters / "vee" / "0.png").write_text("no picture")
    (letters / "box" / "1.png").write_bytes((letters / "box" / "2.png").read_bytes()[:-40])
    with pytest.warns(UserWarning, match=r"Left out: .*box.1\.png is not a picture .* And 1 more"):
        fitted = FewShotPredictor().fit(letters)
    assert [Path(each.split(" is not")[0]).name for each in fitted.report_] == ["1.png", "0.png"]
    assert len(fitted.examples_.names) == 10 and (fitted.examples_.labels == "vee").sum() == 3
    paths = sorted(letters.rglob("*.png"))
    with pytest.warns(UserWarning, match="Left out"):
        again = FewShotPredictor().fit(paths, [path.parent.name for path in paths])
    assert again.examples_.names == fitted.examples_.names


def test_a_class_that_cannot_be_read_at_all_is_told(letters):
    for i in range(4):
        (letters / "vee" / f"{i}.png").write_text("no picture")
    with pytest.warns(UserWarning, match=r"Left out: Of 'vee' no picture can be read, so .* And 4 more were left out"):
        fitted = FewShotPredictor().fit(letters)
    assert fitted.classes_.tolist() == ["box", "cross"] and "vee/0.png is not a picture" in fitted.report_[1]
    for path in (letters / "box").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(ValueError, match=r"^Pictures can be read of 'cross' alone\. Of 'vee' no .* And 5 more"):
        FewShotPredictor().fit(letters)


def test_what_is_no_picture_by_its_name_is_left_out_of_a_folder(predictor, tmp_path):
    (tmp_path / "Thumbs.db").write_text("no picture")
    drawn("vee", 33).save(tmp_path / "x.png")
    for call in (predictor.predict, predictor.embed, lambda place: list(predictor.recognise(place))):
        with pytest.warns(UserWarning, match=r"Left out: .*Thumbs\.db is no picture, as its name says\.$"):
            assert len(call(tmp_path)) == 1
    (tmp_path / "y.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"y\.png is not a picture that can be read"):
        predictor.predict(tmp_path)


def test_wrong_pictures_and_labels(letters, tmp_path):
    X, y = pictures(["cross", "vee"], 2)
    (tmp_path / "empty").mkdir()
    wrong = [
        ((X, y[:3]), "There are 4 pictures, but 3 labels"),
        ((iter(X), y[:3]), "There are 4 pictures, but 3 labels"),
        ((X, None), "requires y to be passed, but the target y is None"),
        ((X, ["cross"] * 4), "tells classes apart, but there is one class, 'cross'; pictures of anything else"),
        ((X, [0.5, 1, 2, 3]), "Labels are integers or names, but these are continuous"),
        ((X, ["a", "b", None, "a"]), "Labels must be known, but label 2 is None; leave its picture out"),
        ((X, [None] * 4), "Labels must be known, but label 0 is None"),
        ((X, ["a", "b", 3, "a"]), "Labels must be all names or all integers"),
        ((letters, y), "A folder or an image set brings its classes, so labels beside it are too much"),
        ((tmp_path / "empty", None), "holds no folder with pictures"),
        (([], []), "There is no picture that can be read"),
        (([__file__, __file__], ["a", "b"]), "There is no picture that can be read.* is not a picture"),
    ]
    kept = FewShotPredictor().fit(X, y)
    for given, message in wrong:
        with pytest.raises(ValueError, match=message):
            kept.fit(*given)
    assert kept.examples_.names == ["picture 0", "picture 1", "picture 2", "picture 3"]  # nothing lost
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        kept.fit(tmp_path / "gone")


def test_one_picture_and_what_is_none_are_refused_where_several_are_meant(predictor, tmp_path):
    picture = drawn("cross", 8)
    colours, single = np.asarray(picture.convert("RGB")), r"X is a single picture, .* goes into a list, \[picture\]\."
    wrong = [
        (picture, single), (picture.convert("RGB"), single), (colours, single), (torch.tensor(colours), single),
        (np.asarray(picture)[..., None], single),
        (np.asarray(picture), r"X is a table, but must be pictures; a single picture goes into a list"),
        (None, "X must be pictures in a list, a folder of them, .* but is None"), ({}, r"X must be .* but is \{\}"),
        ([], "X holds no picture, but must hold one at least"), (iter([]), "X holds no picture"),
        (np.empty((0, 28, 28), np.uint8), "X holds no picture"), (tmp_path, "X holds no picture"),
    ]  # fmt: skip
    for given, message in wrong:
        for call in (predictor.predict, predictor.embed, lambda X: predictor.score(X, [])):
            with pytest.raises(ValueError, match=message):
                call(given)
    with pytest.raises(ValueError, match=single):
        FewShotPredictor().fit(colours, ["cross"] * len(colours))
    with pytest.raises(TypeError, match=r"picture 0 must be a path, .* but is bytes; Image\.open\(BytesIO\(…\)\) m"):
        predictor.predict([b"\x89PNG"])
    with pytest.raises(TypeError, match=r"picture 1 must be a path, .* but is NoneType\."):
        predictor.predict([picture, None])
    assert list(predictor.recognise([])) == []
    assert predictor.predict([picture]).tolist() == predictor.predict([colours]).tolist() == ["cross"]
    assert predictor.embed([colours]).shape == (1, predictor.examples_.embeddings.shape[1])


def test_a_score_is_of_as_many_labels_as_pictures(predictor):
    queries, right = pictures(["cross", "vee"], 2, start=90)
    answers = predictor.predict(queries)
    assert predictor.score(queries, ["vee"] * 4) == np.mean([each == "vee" for each in answers])
    for labels in (["cross"], [*right, "vee"], []):
        with pytest.raises(ValueError, match=f"There are 4 pictures, but {len(labels)} labels; each picture has one"):
            predictor.score(queries, labels)
    for labels, message in (([1, 2, 3, 4], "all names or all integers"), (None, "y is None"), ([right], "shape")):
        with pytest.raises(ValueError, match=message):
            predictor.score(queries, labels)


def test_nothing_is_predicted_before_it_is_fitted():
    for call in (lambda p: p.predict(["a.png"]), lambda p: p.recognise([]), lambda p: p.save("x"), lambda p: p.report_):
        with pytest.raises(ValueError, match="This FewShotPredictor is not fitted yet"):
            call(FewShotPredictor())
    with pytest.raises(AttributeError, match="This FewShotPredictor is not fitted yet; call fit first"):
        print(FewShotPredictor().classes_)
    with pytest.raises(AttributeError, match="A FewShotPredictor has no 'clases'"):
        print(FewShotPredictor().clases)
    with pytest.raises(AttributeError, match="A FewShotPredictor has no 'n_features_in_'"):
        print(FewShotPredictor().fit(*pictures(["cross", "vee"], 1)).n_features_in_)


def test_pictures_are_no_model(letters):
    for place in (letters, str(letters), "gone"):
        with pytest.raises(FileNotFoundError, match=r"no saved classifier .* to fit: FewShotPredictor\(\)\.fit\('"):
            FewShotPredictor(place).fit(letters)
    with pytest.raises(IsADirectoryError, match="letters is a folder, and no saved predictor"):
        FewShotPredictor.load(letters)


def test_the_same_picture_in_two_classes_is_told(letters):
    (letters / "box" / "9.png").write_bytes((letters / "vee" / "2.png").read_bytes())
    said = r"box.9\.png in class 'box' and .*vee.2\.png in class 'vee' are the same picture\.$"
    with pytest.warns(UserWarning, match=said):
        fitted = FewShotPredictor().fit(letters)
    assert len(fitted.report_) == 1 and "9.png" in fitted.report_[0]
    with pytest.warns(UserWarning, match="are the same picture"):
        FewShotPredictor().fit([drawn("vee", 1)] * 2, [0, 1])
    with warnings.catch_warnings(action="error"):
        FewShotPredictor().fit([drawn("vee", 1)] * 3 + [drawn("box", 1)], [0, 0, 0, 1])
        FewShotPredictor().fit(np.zeros((4, 3)), [0, 0, 1, 1])  # rows have no looks


def test_unknown_is_of_the_kind_of_the_classes():
    with pytest.raises(ValueError, match="The classes are names, so unknown is too, such as 'unknown', but is -1"):
        FewShotPredictor(unknown=-1).fit(*pictures(["cross", "vee"], 1))


def test_a_class_is_added(letters):
    more, _ = pictures(["comb"], 4)
    added = FewShotPredictor(unknown="?").fit(letters).add_class("comb", more)
    paths = [Image.open(path) for path in sorted(letters.rglob("*.png"))]
    labels = ["box"] * 4 + ["cross"] * 4 + ["vee"] * 4 + ["comb"] * 4
    whole = FewShotPredictor(unknown="?").fit(paths + more, labels)
    queries, right = pictures(list(STROKES), 3, start=60)
    assert added.classes_.tolist() == ["box", "comb", "cross", "vee"] and added.calibration_ == whole.calibration_
    np.testing.assert_allclose(added.predict_proba(queries), whole.predict_proba(queries), rtol=1e-4, atol=1e-6)
    assert (added.predict(queries) == right).mean() > 0.9
    added.add_class("vee", [drawn("vee", 99)])  # one more of it
    assert (added.examples_.labels == "vee").sum() == 5


def test_a_class_that_cannot_be_added_changes_nothing(letters, tmp_path):
    predictor = FewShotPredictor(unknown="?").fit(letters)
    before = pickle.dumps(predictor)
    wrong = [("new", [__file__]), (3, [drawn("vee", 1)]), ("?", [drawn("vee", 1)]), ("new", [])]
    for label, given in wrong:
        with pytest.raises(ValueError):
            predictor.add_class(label, given)
    assert pickle.dumps(predictor) == before


# Memory -------------------------------------------------------------------------------------------------------


class Alive:
    """Counts how many of what it was shown are held at once."""

    def __init__(self):
        self.now = self.most = self.seen = 0

    def watch(self, thing):
        self.now, self.seen = self.now + 1, self.seen + 1
        self.most = max(self.most, self.now)
        weakref.finalize(thing, self.forget)
        return thing

    def forget(self):
        self.now -= 1


@pytest.mark.parametrize("ask", ["predict", "predict_proba", "recognise", "fit"])
def test_ten_thousand_pictures_stream_in_constant_memory(ask):
    read, held = Alive(), Alive()

    def stream(count):
        for _ in range(count):
            yield read.watch(Image.new("L", (4, 4)))

    def prepare(picture):
        return held.watch(torch.zeros(1, 4, 4))

    predictor = FewShotPredictor(nn.Flatten(), prepare=prepare).fit(
        [Image.new("L", (4, 4), white) for white in (0, 255)], ["a", "b"]
    )
    with warnings.catch_warnings(action="ignore"):
        if ask == "fit":
            predictor.fit(stream(10_000), ["a", "b"] * 5_000)
        else:
            assert sum(1 for _ in getattr(predictor, ask)(stream(10_000))) == 10_000
    gc.collect()
    assert read.seen == 10_000 and held.seen == 10_002
    assert read.most <= 2 and held.most <= 2 * few_shot.BATCH + 2


# Files --------------------------------------------------------------------------------------------------------


def test_it_comes_back_as_it_was(predictor, tmp_path):
    predictor.save(tmp_path / "mine.model")
    loaded = FewShotPredictor.load(str(tmp_path / "mine.model"))
    queries, _ = pictures(list(STROKES), 3, start=40)
    assert loaded.predict(queries).tolist() == predictor.predict(queries).tolist()
    np.testing.assert_allclose(loaded.predict_proba(queries), predictor.predict_proba(queries), rtol=1e-4, atol=1e-6)
    assert loaded.classes_.tolist() == predictor.classes_.tolist() and loaded.classes_.dtype == predictor.classes_.dtype
    assert loaded.calibration_ == predictor.calibration_ and repr(loaded) == "FewShotPredictor(unknown='unknown')"
    assert next(loaded.recognise(queries)).nearest.startswith("picture ")
    assert loaded.add_class("comb", pictures(["comb"], 3)[0]).score(*pictures(["comb"], 3, 70)) == 1
    assert (tmp_path / "mine.model").stat().st_size < 3_000_000


@pytest.mark.parametrize("labels", [[5, -3], ["ä\n", "\udcff"], [2**40, 1]], ids=str)
def test_labels_come_back_of_their_kind(labels, tmp_path):
    X, _ = table(2, 2)
    fitted = FewShotPredictor(held_out=table(9)).fit(X, np.array(labels).repeat(2))
    fitted.save(tmp_path / "m")
    loaded = FewShotPredictor.load(tmp_path / "m")
    assert loaded.predict(X).tolist() == fitted.predict(X).tolist() and loaded.n_features_in_ == 8
    assert loaded.classes_.dtype.kind == fitted.classes_.dtype.kind


def test_a_photograph_network_of_torchvision_works_and_comes_back(tmp_path):
    """With first weights: of accuracy nothing is claimed."""
    torch.manual_seed(0)
    seen = []
    network = PrototypicalNetwork(Pretrained("resnet18", weights=None, side=64, photographs=True))
    network.feature_extractor.network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    colours = {"red": (220, 20, 20), "blue": (20, 20, 220)}
    X = [Image.new("RGB", size, colours[name]) for name in colours for size in ((90, 60), (60, 90), (64, 64))]
    fitted = FewShotPredictor(network).fit(X, ["red"] * 3 + ["blue"] * 3)
    mean, std = (np.array(each) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    shown = seen[0][0, :, 32, 32].numpy() * std + mean  # red stays red
    np.testing.assert_allclose(shown, np.array(colours["red"]) / 255, atol=0.02)
    np.testing.assert_allclose(seen[0][0, :, 2, 32], 0, atol=0.02)  # above a wide one lies ImageNet's mean
    assert fitted.predict(X[:1]).tolist() == ["red"]  # one colour all over is like nothing, and no copy
    assert fitted.calibration_ is None and next(fitted.recognise(X[:1])).known is None
    network.feature_extractor.network._forward_pre_hooks.clear()
    fitted.save(tmp_path / "m")
    loaded = FewShotPredictor.load(tmp_path / "m")
    np.testing.assert_allclose(loaded.embed(X), fitted.embed(X), atol=1e-4)
    with pytest.raises(ValueError, match="To refuse what is unknown, give pictures of other classes"):
        FewShotPredictor(network, unknown="?").fit(X, ["red"] * 3 + ["blue"] * 3)


@pytest.mark.parametrize("model", [lambda: MatchingNetwork(Conv4(8)), lambda: Conv4(8)], ids=["method", "network"])
def test_any_method_compares(model, tmp_path):
    torch.manual_seed(0)
    X, y = pictures(["cross", "vee", "box"], 3)
    held_out = ([drawn(name, 100 + i) for name in STROKES for i in range(5)], np.arange(4).repeat(5))
    fitted = FewShotPredictor(model(), unknown="?", held_out=held_out).fit(X, y)
    assert fitted.calibration_.classes == 4
    fitted.save(tmp_path / "m")
    assert FewShotPredictor.load(tmp_path / "m").predict(X[:2]).tolist() == fitted.predict(X[:2]).tolist()
    storage.save(fitted._eye.model, tmp_path / "c.safetensors")
    assert FewShotPredictor(tmp_path / "c.safetensors").fit(X, y).classes_.tolist() == ["box", "cross", "vee"]
    assert isinstance(fslib.load(tmp_path / "m"), type(fitted._eye.model))


def rewritten(path, change):
    """Change what a file says, and its digest with it, as somebody who means harm can."""
    with safe_open(path, "pt") as stored:
        content = json.loads(stored.metadata()["fslib"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}
    change(content["beside"], tensors)
    text = json.dumps(content)
    path.write_bytes(serialize(tensors, metadata={"fslib": text, "sha256": storage._digest(text, tensors)}))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "m.model"
    FewShotPredictor(held_out=table(9)).fit(*table(3, 2)).save(path)
    return path


TAMPERED = {
    "fewer names": lambda facts, tensors: facts["names"].pop(),
    "no classes": lambda facts, tensors: facts.update(classes=[]),
    "one class": lambda facts, tensors: tensors.update({"beside.columns": tensors["beside.columns"] * 0}),
    "a class too many": lambda facts, tensors: tensors.update({"beside.columns": tensors["beside.columns"] + 1}),
    "no embeddings": lambda facts, tensors: tensors.pop("beside.embeddings"),
    "embeddings NaN": lambda facts, tensors: tensors["beside.embeddings"].fill_(torch.nan),
    "embeddings of another network": lambda facts, tensors: tensors.update(
        {"beside.embeddings": tensors["beside.embeddings"][:, :3].contiguous()}
    ),
    "no prepare": lambda facts, tensors: facts.pop("prepare"),
    "another prepare": lambda facts, tensors: facts.update(prepare="os.system"),
    "keep": lambda facts, tensors: facts.update(keep="all"),
    "features": lambda facts, tensors: facts.update(predictor=1, names=None),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_file_is_refused_in_a_sentence(what, saved):
    rewritten(saved, TAMPERED[what])
    with pytest.raises(ValueError, match=r"m\.model is not a predictor that fslib has saved, or it is damaged\.$"):
        FewShotPredictor.load(saved)


def test_a_changed_byte_or_a_missing_half_is_noticed(saved):
    whole = saved.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"m\.model (is not a|was written by|holds a)"):
            FewShotPredictor.load(saved)
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"m\.model is not a predictor that fslib has saved, or it is dam"):
            FewShotPredictor.load(saved)


def test_other_files_are_refused_in_a_sentence(saved, tmp_path):
    rewritten(saved, lambda facts, tensors: facts.update(predictor=2))
    with pytest.raises(ValueError, match=r"written by a newer fslib \(format 2, this one reads up to 1\); update"):
        FewShotPredictor.load(saved)
    storage.save(PrototypicalNetwork(Conv4(4)), tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"holds a classifier and no predictor; FewShotPredictor.* makes one of it"):
        FewShotPredictor.load(tmp_path / "c.safetensors")
    with pytest.raises(FileNotFoundError, match=r"There is no saved predictor .*gone"):
        FewShotPredictor.load(tmp_path / "gone")


def test_what_cannot_be_saved_is_said_and_nothing_is_written(tmp_path):
    X, y = pictures(["cross", "vee"], 1)
    own = FewShotPredictor(nn.Flatten(), prepare=drawing).fit(X, y)
    with pytest.raises(ValueError, match="A function is not saved, only a transform that has a name: drawing, photog"):
        own.save(tmp_path / "m")
    with pytest.raises(ValueError, match="this has a Flatten; save its state_dict instead"):
        FewShotPredictor(nn.Flatten()).fit(X, y).save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_what_is_no_predictor_is_never_replaced(predictor, tmp_path):
    drawn("vee", 1).save(tmp_path / "1.png")
    storage.save(PrototypicalNetwork(Conv4(4)), tmp_path / "c.safetensors")
    for name in ("1.png", "c.safetensors"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(FileExistsError, match=f"{name} is there and no predictor .*; name another file"):
            predictor.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(IsADirectoryError, match=r"is a folder; name a file, as .*my\.model\.$"):
        predictor.save(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"m cannot be written, for .*1\.png is a file and no folder\.$"):
        predictor.save(tmp_path / "1.png" / "m")
    with pytest.raises(OSError, match=r"xxx cannot be written \(File name too long\)\.$"):
        predictor.save(tmp_path / ("x" * 300))
    for _ in range(2):
        predictor.save(tmp_path / "m")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.png", "c.safetensors", "m"]


def test_the_examples_of_its_page_are_true(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    page = Path(fslib.__file__).parents[1] / "book" / "api" / "predictor.md"
    with warnings.catch_warnings(action="error"):
        tried = doctest.testfile(str(page), module_relative=False, encoding="utf8")
    assert tried.attempted > 15 and tried.failed == 0


# scikit-learn -------------------------------------------------------------------------------------------------

# What of scikit-learn's checks does not apply, and why.
NOT_APPLICABLE = {
    "check_supervised_y_2d": "labels in a column, (n, 1), are a mistake here, and not made one axis with a warning",
}


def test_scikit_learn_finds_an_estimator_in_order():
    pytest.importorskip("sklearn", minversion="1.6", reason="older ones cannot be told what does not apply")
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings(action="ignore"):
        check_estimator(FewShotPredictor(), expected_failed_checks=NOT_APPLICABLE, on_skip=None)


def test_settings_by_name():
    from sklearn.base import clone, is_classifier

    predictor = FewShotPredictor(unknown="?", keep=0.9)
    assert predictor.get_params() == dict(model=None, unknown="?", keep=0.9, held_out=None, prepare=None)
    assert repr(clone(predictor)) == "FewShotPredictor(unknown='?', keep=0.9)" and is_classifier(predictor)
    with pytest.raises(ValueError, match="There is no setting 'shots'; there are model, unknown, keep"):
        predictor.set_params(shots=3)


def test_in_a_pipeline_and_cross_validated():
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = table(4, spread=3.0)
    assert cross_val_score(make_pipeline(StandardScaler(), FewShotPredictor()), X, y, cv=3).mean() > 0.9
    predictor = FewShotPredictor(unknown=-1, held_out=table(9, seed=5))
    search = GridSearchCV(predictor, {"keep": [0.5, 0.99]}, cv=3).fit(X, y)
    assert search.best_params_ == {"keep": 0.99}
    assert pickle.loads(pickle.dumps(search.best_estimator_)).predict(X).tolist() == search.predict(X).tolist()


def test_pictures_are_cross_validated(letters):
    from sklearn.model_selection import cross_val_score

    paths = sorted(map(str, letters.rglob("*.png")))
    labels = [Path(path).parent.name for path in paths]
    assert cross_val_score(FewShotPredictor(), paths, labels, cv=2).mean() > 0.8


def test_class_means_are_scikit_learns():
    from sklearn.neighbors import NearestCentroid

    X, y = table(6, spread=12.0)
    ours, theirs = (each.fit(X, y).predict(table(6, seed=4)[0]) for each in (FewShotPredictor(), NearestCentroid()))
    assert ours.tolist() == theirs.tolist()


def test_it_works_without_scikit_learn(tmp_path):
    told = """
import sys
sys.modules["sklearn"] = None
import numpy as np
from fslib.predictor import FewShotPredictor
try:
    FewShotPredictor().predict([[1.0]])
except ValueError as error:
    print(type(error).__name__, error)
print(FewShotPredictor().fit(np.eye(4), list("abab")).predict(np.eye(4)[:1])[0])
"""
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == [
        "NotFittedError This FewShotPredictor is not fitted yet; call fit first.", "a",
    ], done.stderr  # fmt: skip


def test_to_import_it_imports_nothing_of_scikit_learn():
    told = "import sys, fslib.predictor, fslib.command; print('sklearn' in sys.modules, 'torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout == "False False\n"


def test_embeddings_serve_retrieval(predictor):
    """Recall at k and neighbours are scikit-learn's and the package's own."""
    X, y = pictures(["cross", "vee", "box"], 5, start=30)
    embeddings, labels = torch.from_numpy(predictor.embed(X)), np.array(y)
    distances = squared_euclidean(embeddings, embeddings).fill_diagonal_(torch.inf)
    for k in (1, 3):
        near = labels[distances.topk(k, largest=False).indices]
        assert (near == labels[:, None]).any(1).mean() > 0.8
    assert fslib.evaluation.recall_at_1(embeddings, y).mean > 0.8
