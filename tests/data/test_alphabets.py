"""Alphabets in files: what was drawn comes back, several are a data set with writers, and what is none is told."""

import json
import os
import warnings

import numpy as np
import pytest
import torch

from fslib import data, episodes
from fslib.data import alphabets, strokes
from fslib.data.alphabets import Alphabet

SLASH, HOOK, DOT = [[(20, 80), (80, 20)]], [[(20, 20), (20, 80), (60, 80)], [(70, 30), (75, 31)]], [[(50, 50)]]


def trembling(drawing, seed):
    random = np.random.default_rng(seed)
    return [np.array(stroke) + random.uniform(-4, 4, (len(stroke), 2)) for stroke in drawing]


@pytest.fixture
def anna(tmp_path):
    """A file of two characters, of which Anna drew two examples and one."""
    path = tmp_path / "anna.json"
    Alphabet({"slash": [SLASH, trembling(SLASH, 0)], "hook": [HOOK]}, writer="Anna").save(path)
    return path


def test_what_was_drawn_comes_back(anna):
    """To a tenth of a pixel of 105, with the names in their order."""
    read = alphabets.read(anna)
    assert repr(read) == "Alphabet by Anna: slash (2), hook (1)"
    assert list(read.classes) == ["slash", "hook"] and read.writer == "Anna" and read.centred
    np.testing.assert_array_equal(read.classes["hook"][0][0], HOOK[0])
    np.testing.assert_allclose(read.classes["slash"][1][0], trembling(SLASH, 0)[0], atol=0.05001)


@pytest.mark.parametrize("centred", [True, False])
def test_a_set_holds_what_the_pad_sees(tmp_path, centred):
    """Dark ink on white paper; as network input, within a grey, what the strokes are drawn into."""
    Alphabet({"slash": [SLASH], "dot": [DOT, [[(20, 30), (40, 50)]]]}, centred=centred).save(tmp_path / "a.json")
    images = data.from_alphabets(tmp_path / "a.json")
    assert repr(images) == "a: 3 images of 2 classes" and images.class_names == ["dot", "slash"]
    assert images.labels.tolist() == [1, 0, 0] and images.domains.tolist() == [0, 0, 0]
    assert images.images.dtype == torch.uint8 and images.images[:, 0, 0, 0].tolist() == [255] * 3
    drawing = [[(20, 30), (40, 50)]]
    wanted = strokes.rasterize(strokes.centred(drawing) if centred else drawing)
    np.testing.assert_allclose(images.inputs([2])[0, 0], wanted, atol=0.51 / 255)


def test_several_writers_are_one_data_set(tmp_path, anna):
    """A character of one name is one class; files by one name are by one writer, those without are by others."""
    for number, (writer, names) in enumerate(
        [("Ben", ["hook", "dot"]), ("", ["slash"]), ("Anna", ["dot"]), ("", ["slash"])]
    ):
        shapes = {"hook": HOOK, "dot": DOT, "slash": SLASH}
        drawn = {name: [trembling(shapes[name], number)] for name in names}
        Alphabet(drawn, writer=writer).save(tmp_path / f"{number}.json")
    images = data.from_alphabets(anna, *(tmp_path / f"{number}.json" for number in range(4)))
    assert images.name == "5 alphabets" and images.class_names == ["dot", "hook", "slash"]
    assert [images.class_names[c] for c in images.labels] == [
        "slash", "slash", "hook", "hook", "dot", "slash", "dot", "slash",
    ]  # fmt: skip
    assert images.domains.tolist() == [0, 0, 0, 1, 1, 2, 0, 3]
    assert data.from_alphabets(tmp_path).digest  # the same files, as a folder
    sampler = episodes.EpisodeSampler(images, way=2, shot=1, query=1)
    assert len(sampler[0].query_labels) == 2


def test_a_name_is_the_same_however_it_was_typed(tmp_path):
    """With its accent as one sign, or as two, as another system has it; and a space before it."""
    Alphabet({"\u00e9": [SLASH]}).save(tmp_path / "one.json")
    Alphabet({" e\u0301": [SLASH]}).save(tmp_path / "two.json")
    assert data.from_alphabets(tmp_path).class_names == ["\u00e9"]


def test_the_rest_of_a_folder_is_read(tmp_path, anna):
    (tmp_path / "notes.txt").write_text("not an alphabet")
    (tmp_path / "cut.json").write_bytes(anna.read_bytes()[:300])
    with pytest.warns(UserWarning, match=r"Left out: .*cut\.json is not an alphabet .* And 1 more were left out\."):
        assert len(data.from_alphabets(tmp_path)) == 3


def changed(anna, change):
    content = json.loads(anna.read_text("utf8"))
    change(content)
    anna.write_text(json.dumps(content), encoding="utf8")


DRAWING = ("classes", 0, "drawings", 0)
POINT = (*DRAWING, "strokes", 0, 0)


@pytest.mark.parametrize(
    "place, value",
    [
        (("format",), "another"),
        (("version",), 0),
        (("version",), True),
        (("version",), "1"),
        (("writer",), 7),
        (("centred",), "yes"),
        (("centred",), False),  # the pictures are others then
        (("classes",), None),
        (("classes",), [7]),
        (("classes", 0, "name"), ""),
        (("classes", 0, "name"), "hook"),  # twice there
        (("classes", 0, "name"), ["slash"]),
        ((*DRAWING, "strokes"), []),
        ((*DRAWING, "strokes"), [[]]),
        ((*DRAWING, "picture"), ""),
        ((*DRAWING, "picture"), "%%%%"),
        ((*DRAWING, "picture"), 7),
        (POINT, [1]),
        (POINT, [40, 80]),  # a stroke that is another, beside the old picture
        (POINT, [1e9, 3]),
        (POINT, [float("nan"), 3]),
        (POINT, [10**400, 3]),
        (POINT, ["x", 3]),
    ],
)
def test_a_damaged_file_is_refused(anna, place, value):
    def change(content):
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    alphabets.read(anna)
    changed(anna, change)
    with pytest.raises(ValueError, match=r"anna\.json is not an alphabet that the drawing pad has saved, or it is"):
        data.from_alphabets(anna)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"no JSON", b"\x89PNG\r\n\x1a\n\0", b"\xff\xfe{", b"[" * 100_000, b"9" * 10_000],
)
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json is not an alphabet") as refused:
        alphabets.read(tmp_path / "x.json")
    assert "\n" not in str(refused.value)


def test_a_file_cut_anywhere_is_refused(anna):
    whole = anna.read_bytes()
    for length in range(0, len(whole), 97):
        anna.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is not an alphabet"):
            alphabets.read(anna)


def test_a_newer_file_is_refused_and_says_so(anna):
    changed(anna, lambda content: content.update(version=2, classes="of another form"))
    with pytest.raises(ValueError, match=r"anna\.json was saved by a newer drawing pad \(version 2, .*1\); update"):
        alphabets.read(anna)


def test_a_huge_file_is_refused_unread(tmp_path):
    with open(tmp_path / "huge.json", "wb") as file:
        os.truncate(file.fileno(), 10**12) if os.name == "posix" else file.truncate(10**7)
    with pytest.raises(ValueError, match=r"huge\.json is larger than 5 MB, which no alphabet of the drawing pad is"):
        alphabets.read(tmp_path / "huge.json")


def test_nothing_there_and_nothing_drawn_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no alphabet .*none\.json"):
        data.from_alphabets(tmp_path / "none.json")
    for places in ([], [tmp_path]):
        with pytest.raises(ValueError, match="There is no drawing in any of these alphabets"):
            data.from_alphabets(*places)
    Alphabet({"A": []}).save(tmp_path / "empty.json")
    with warnings.catch_warnings(), pytest.raises(ValueError, match="There is no drawing in any"):
        warnings.simplefilter("error")
        data.from_alphabets(tmp_path / "empty.json")


@pytest.mark.parametrize(
    "classes, said",
    [
        ({"": [SLASH]}, "Each character has a name of its own"),
        ({"a": [SLASH], "a ": [SLASH]}, "Each character has a name of its own"),
        ({7: [SLASH]}, "A name is a text, but this is 7"),
        ({"a": [SLASH[0]]}, r"but one stroke has shape \(2,\)"),
        ({"a": [[[]]]}, r"but one stroke has shape \(0,\)"),
        ({"a": [[]]}, "but this has none"),
        ({"a": [[[(1, 2), (3,)]]]}, "a list of at least one point"),
        ({"a": [[[(1, np.inf)]]]}, "one lies far off"),
    ],
)
def test_what_is_no_alphabet_is_told_before_it_is_saved(classes, said):
    with pytest.raises(ValueError, match=said):
        Alphabet(classes)
