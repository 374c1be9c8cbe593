"""The embedded data set."""

import unicodedata
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch

from fslib import data, files
from fslib.augmentation import mirrored, turned
from fslib.data import check_disjoint
from fslib.data import glyphs as glyphs_module


def characters(sets):
    return [unicodedata.lookup(name) for images in sets.values() for name in images.class_names]


def test_glyphs_splits_share_no_class_and_no_writing_system(glyphs):
    check_disjoint(*glyphs.values())
    for first, second in combinations(glyphs.values(), 2):
        assert not set(first.class_groups) & set(second.class_groups)


@pytest.mark.parametrize("split, fewest", [("train", 1000), ("validation", 100), ("test", 300)])
def test_glyphs_have_twenty_pictures_a_class(glyphs, split, fewest):
    images = glyphs[split]
    assert images.images.dtype == torch.uint8
    assert images.images.shape == (len(images.labels), 1, 28, 28) == (len(images.domains), 1, 28, 28)
    assert images.labels.unique().tolist() == list(range(len(images.class_names)))
    assert (images.labels.bincount() == 20).all()
    assert len(images.class_names) == len(images.class_groups) == len(set(images.class_names)) > fewest
    scripts = [group.upper().replace("'", "") for group in images.class_groups]
    assert all(name.startswith(script) for name, script in zip(images.class_names, scripts))


def test_writing_systems_are_named_as_they_are_written(glyphs):
    assert {"APL", "Latin"} < set(glyphs["train"].class_groups)
    assert {"N'Ko", "Old italic"} < set(glyphs["validation"].class_groups)


def test_glyphs_are_ink_on_paper_at_the_right_size(glyphs):
    inputs = glyphs["test"].inputs()
    ink = inputs.mean((1, 2, 3))
    assert 0.01 < ink.min() and ink.max() < 0.7
    border = torch.cat([inputs[..., [0, -1], :].flatten(1), inputs[..., [0, -1]].flatten(1)], 1)
    assert border.mean() < 0.05


def test_no_two_glyph_pictures_are_identical(glyphs):
    images = torch.cat([images.images for images in glyphs.values()]).flatten(1)
    assert len({picture.tobytes() for picture in images.numpy()}) == len(images)


def test_joined_splits_hold_the_classes_of_both(glyphs):
    both = data.load("glyphs", "validation+test")
    names = [*glyphs["validation"].class_names, *glyphs["test"].class_names]
    assert sorted(both.class_names) == sorted(names)
    assert len(both) == len(glyphs["validation"]) + len(glyphs["test"])


def test_no_glyph_is_an_accented_composition(glyphs):
    assert not [character for character in characters(glyphs) if unicodedata.decomposition(character)]


@pytest.mark.parametrize("lookalikes", ["AΑА", "BΒВ", "HΗН", "OΟО", "cс", "oοо", "xх"])
def test_letters_that_look_the_same_are_one_class(glyphs, lookalikes):
    assert len(set(characters(glyphs)) & set(lookalikes)) <= 1


@pytest.mark.parametrize("character", "éΆйﬁª①")
def test_compositions_and_presentation_forms_are_not_drawn(character):
    assert glyphs_module._wanted(ord("e")) and not glyphs_module._wanted(ord(character))


@pytest.mark.parametrize("lookalikes, kept", [("AΑА", "Α"), ("BΒВ", "Β"), ("AБ", "AБ"), ("лA", "Aл")])
def test_of_lookalikes_the_one_from_the_smaller_split_is_kept(lookalikes, kept):
    fonts = [glyphs_module._font("DejaVuSans")]
    assert [*map(chr, glyphs_module._distinct(fonts, [set(map(ord, lookalikes))]))] == list(kept)


def test_classes_of_different_splits_are_drawn_differently_in_every_face(glyphs):
    fonts = [glyphs_module._font(face) for face in glyphs_module.FACES]
    covers = [glyphs_module._covered(face) for face in glyphs_module.FACES]
    split_of = {unicodedata.lookup(name): split for split in glyphs for name in glyphs[split].class_names}
    for font, covered in zip(fonts, covers):
        drawn = {}
        for character in filter(lambda character: ord(character) in covered, split_of):
            drawn.setdefault(glyphs_module.draw(character, font).tobytes(), set()).add(split_of[character])
        assert all(len(splits) == 1 for splits in drawn.values())


@pytest.fixture
def few_glyphs(monkeypatch, tmp_path):
    """The path of a cache of one writing system, which is quickly made."""
    monkeypatch.setenv("FSLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(glyphs_module, "_cached", glyphs_module._cached.__wrapped__)
    monkeypatch.setattr(
        glyphs_module, "_wanted", lambda code: glyphs_module.script_of(chr(code)) in ("OGHAM", "OLD ITALIC")
    )
    return tmp_path / f"glyphs-{glyphs_module.VERSION}-matplotlib-{glyphs_module.matplotlib.__version__}.npz"


def test_glyphs_come_from_the_cache_as_they_were_made(few_glyphs, monkeypatch):
    made = data.load("glyphs", "validation")
    assert few_glyphs.exists()
    images, faces, codes = glyphs_module.make()
    monkeypatch.delattr(glyphs_module, "make")
    cached = data.load("glyphs", "validation")
    for read in (made, cached):
        assert np.array_equal(read.images.reshape(images.shape), images)
        assert np.array_equal(read.domains.reshape(faces.shape), faces)
        assert read.class_names == [unicodedata.name(chr(code)) for code in codes]


def test_the_face_of_a_glyph_has_that_character(few_glyphs):
    images = data.load("glyphs", "validation")
    covers = [glyphs_module._covered(face) for face in glyphs_module.FACES]
    for label, face in zip(images.labels.tolist(), images.domains.tolist()):
        assert ord(unicodedata.lookup(images.class_names[label])) in covers[face]


def test_interrupted_making_leaves_no_half_written_cache(few_glyphs, monkeypatch):
    def killed(stream, **arrays):
        stream.write(b"PK half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "savez", killed)
        data.load("glyphs", "validation")
    assert not list(few_glyphs.parent.iterdir())
    assert len(data.load("glyphs", "validation")) > 0



@pytest.mark.parametrize("content", [b"", b"not an archive", "half", "flipped", "array", "others", "shape", "folder"])
def test_a_damaged_cache_is_made_again(few_glyphs, content):
    expected = data.load("glyphs", "validation").digest
    whole = few_glyphs.read_bytes()
    few_glyphs.unlink()
    if content == "folder":
        few_glyphs.mkdir()
    elif content in ("array", "others", "shape"):
        with few_glyphs.open("wb") as stream:
            a = np.zeros((3, 20, 28, 28), np.uint8)
            if content == "array":
                np.save(stream, a)
            elif content == "others":
                np.savez(stream, images=a)
            else:
                np.savez(stream, images=a, faces=np.zeros((2, 20)), characters=np.zeros(3))
    elif content == "flipped":
        with few_glyphs.open("wb") as stream:
            a = np.random.default_rng(0).integers(0, 9, 9999)
            np.savez_compressed(stream, images=a, faces=a, characters=a)
        damaged = bytearray(few_glyphs.read_bytes())
        damaged[200:260] = bytes(60)
        few_glyphs.write_bytes(damaged)
    else:
        few_glyphs.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.warns(UserWarning, match="made again|could not be kept") as warned:
        assert data.load("glyphs", "validation").digest == expected
    assert f"{few_glyphs.name} is damaged" in str(warned[0].message)
    if content == "folder":  # in whose place nothing can be kept
        assert "could not be kept" in str(warned[1].message)
    else:
        assert few_glyphs.read_bytes() == whole


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
def test_glyphs_that_cannot_be_kept_are_given_all_the_same(few_glyphs, monkeypatch, error):
    expected = data.load("glyphs", "validation").digest
    few_glyphs.unlink()

    def denied(path):
        raise error

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="could not be kept .* set FSLIB_CACHE"):
        patch.setattr(files, "atomic_write", denied)
        assert data.load("glyphs", "validation").digest == expected
    assert not few_glyphs.exists()


def test_a_cache_that_nobody_can_make_is_no_hindrance(few_glyphs, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FSLIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="set FSLIB_CACHE"):
        assert len(data.load("glyphs", "validation"))


# Characters that a mirror or a turn makes another -------------------------------------------------------------------

CHANGES = {  # becomes another class, and stays what it is: fonts of other versions may differ by a few
    "left-right": (mirrored, 272, 327),
    "up-down": (lambda ink: turned(mirrored(ink), 2), 200, 179),
    "half a turn": (partial(turned, quarters=2), 263, 111),
    "a quarter": (partial(turned, quarters=1), 103, 4),
}


@pytest.mark.parametrize("name", CHANGES)
def test_so_many_characters_become_another_or_stay_what_they_are(name, glyphs):
    change, others, same = CHANGES[name]
    pairs = glyphs_module.look_alikes(change)
    known = {class_name for images in glyphs.values() for class_name in images.class_names}
    assert {each for pair in pairs for each in pair} <= known and len(pairs) == len(set(pairs))
    assert abs(len({old for old, new in pairs if old != new}) - others) <= 10
    assert abs(sum(old == new for old, new in pairs) - same) <= 10


def test_a_mirror_makes_q_of_p_and_a_turn_d_and_no_character_looks_like_another_as_it_is():
    pairs = glyphs_module.look_alikes(mirrored)
    assert ("LATIN SMALL LETTER P", "LATIN SMALL LETTER Q") in pairs
    assert all((new, old) in pairs for old, new in pairs)  # a mirror twice is none
    half = glyphs_module.look_alikes(partial(turned, quarters=2))
    assert ("LATIN SMALL LETTER P", "LATIN SMALL LETTER D") in half
    assert all(old == new for old, new in glyphs_module.look_alikes(lambda ink: ink))


@pytest.mark.parametrize(
    "change, one, other",
    [
        (mirrored, "LATIN SMALL LETTER P", "LATIN SMALL LETTER Q"),
        (mirrored, "LATIN SMALL LETTER C", "GREEK SMALL REVERSED LUNATE SIGMA SYMBOL"),
        (partial(turned, quarters=2), "ARMENIAN CAPITAL LETTER VO", "ARMENIAN CAPITAL LETTER SEH"),
        (partial(turned, quarters=1), "DOMINO TILE HORIZONTAL-00-01", "DOMINO TILE VERTICAL-01-00"),
    ],
)
def test_who_augments_by_it_gives_a_character_the_label_of_another(change, one, other):
    owners, ink = glyphs_module._masters()[0]
    here, there = (ink[owners.index(ord(unicodedata.lookup(name)))] for name in (one, other))
    changed = change(here[None, None])[0, 0]
    assert (changed - there).square().mean() < 0.5 * (changed - here).square().mean()


def test_a_map_of_ink_keeps_its_shape():
    with pytest.raises(ValueError, match=r"A map makes of ink as much of that shape, here \(\d+, 1, 32, 32\), but"):
        glyphs_module.look_alikes(lambda ink: ink[..., 1:])


# Attributes -------------------------------------------------------------------------------------------------


def test_attributes_are_those_in_the_name_of_the_face():
    found = glyphs_module.attributes(range(16))
    for face, name in enumerate(glyphs_module.FACES):
        family, weight, slant = (glyphs_module.ATTRIBUTES[of][found[of][face]] for of in ("family", "weight", "slant"))
        assert name.startswith(family.replace(" ", "")) and ("Mono" in name) == ("Mono" in family)
        assert ("Bol" in name) == (weight == "bold")
        assert ("Italic" in name or "Oblique" in name or name.endswith("Ita")) == (slant == "slanted")
    assert len(set(zip(*(values.tolist() for values in found.values())))) == 16


@pytest.mark.parametrize("split, classes", [("train", 306), ("validation", 51), ("test", 120)])
def test_balanced_holds_each_class_in_each_of_twelve_faces(glyphs, split, classes):
    """477 over all splits. Four more, Cyrillic, have twelve faces, but of STIX in the place of DejaVu Sans Mono."""
    images = glyphs[split]
    found = glyphs_module.balanced(images)
    assert len(found.class_names) == classes and len(found) == 12 * classes
    assert torch.equal(found.domains.view(-1, 12), torch.arange(12).expand(classes, 12))
    faces = {name: set() for name in images.class_names}
    where = {}
    for i, (label, face) in enumerate(zip(images.labels.tolist(), images.domains.tolist())):
        faces[images.class_names[label]].add(face)
        where.setdefault((images.class_names[label], face), images.images[i])
    assert found.class_names == [name for name, has in faces.items() if set(range(12)) <= has]
    for i in range(0, len(found), 97):
        name = found.class_names[found.labels[i]]
        assert torch.equal(found.images[i], where[name, int(found.domains[i])])
    groups = dict(zip(images.class_names, images.class_groups))
    assert list(found.class_groups) == [groups[name] for name in found.class_names]


def test_balanced_scripts_are_the_five_of_many_faces(glyphs):
    counts = {}
    for images in glyphs.values():
        for group in glyphs_module.balanced(images).class_groups:
            counts[group] = counts.get(group, 0) + 1
    assert counts == {"Latin": 230, "Cyrillic": 76, "Greek": 51, "Georgian": 43, "Armenian": 77}


def test_attributes_are_independent_of_each_other_and_of_the_class(glyphs):
    found = glyphs_module.balanced(glyphs["test"])
    values = glyphs_module.attributes(found.domains)
    cells = (values["family"] * 2 + values["weight"]) * 2 + values["slant"]
    assert (torch.bincount(found.labels * 12 + cells) == 1).all()


@pytest.mark.parametrize("faces", [[16], [-1, 3]])
def test_what_is_no_face_has_no_attributes(faces):
    with pytest.raises(ValueError, match="numbered 0 to 15, but these are"):
        glyphs_module.attributes(faces)


def test_data_without_faces_is_not_balanced(glyphs, tiny):
    with pytest.raises(ValueError, match="does not tell the face"):
        glyphs_module.balanced(replace(tiny, domains=None))
    with pytest.raises(ValueError, match="No class of"):
        lao = [i for i, script in enumerate(glyphs["test"].class_groups) if script == "Lao"]
        glyphs_module.balanced(glyphs["test"].select(lao))
