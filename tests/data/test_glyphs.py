"""The embedded data set."""

import unicodedata
from itertools import combinations

import numpy as np
import pytest
import torch

from fslib import data, files
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
