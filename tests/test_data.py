"""Data sets are what they are said to be, come whole, and say what to do when they are not there."""

import io
import unicodedata
import zipfile
from itertools import combinations, product
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import utils

from fslib import data, files
from fslib.data import ImageSet, check_disjoint, omniglot, to_input
from fslib.data import glyphs as glyphs_module
from fslib.episodes import check_episodes, within_groups

# Loading by name --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, split, said",
    [
        ("glyps", "train", "no data set 'glyps'; did you mean 'glyphs'?"),
        ("Omniglot", "train", "no data set 'Omniglot'; did you mean 'omniglot'?"),
        ("mnist", "train", "no data set 'mnist'"),
        ("qq", "train", "no data set 'qq'; there are glyphs, omniglot."),
        ("glyphs", "testing", "no split 'testing'; did you mean 'test'?"),
        ("glyphs", "train+valid", "no split 'valid'; did you mean 'validation'?"),
        ("glyphs", "", "no split ''; there are train, validation, test."),
    ],
)
def test_unknown_name_or_split_is_refused_with_a_hint(name, split, said):
    with pytest.raises(ValueError) as raised:
        data.load(name, split)
    assert said in str(raised.value)


# Image sets -------------------------------------------------------------------------------------------------


def test_select_renumbers_classes_in_the_order_given(tiny):
    chosen = tiny.select([5, 2])
    assert len(chosen) == 24
    assert chosen.class_names == ["patch 5", "patch 2"]
    assert chosen.class_groups == ["right", "left"]
    for label, c in enumerate([5, 2]):
        assert torch.equal(chosen.images[chosen.labels == label], tiny.images[tiny.labels == c])
        assert torch.equal(chosen.domains[chosen.labels == label], tiny.domains[tiny.labels == c])


def test_select_does_without_groups_and_domains(tiny):
    chosen = ImageSet("Bare", tiny.images, tiny.labels, tiny.class_names).select([0])
    assert chosen.class_groups == () and chosen.domains is None


def test_an_item_is_input_and_label(tiny):
    image, label = tiny[30]
    assert torch.equal(image, 1 - tiny.images[30].float() / 255)
    assert label == 2


def test_a_data_loader_makes_batches(tiny):
    batches = list(DataLoader(tiny, batch_size=40))
    assert [images.shape for images, _ in batches] == [(40, 1, 28, 28), (40, 1, 28, 28), (16, 1, 28, 28)]
    assert torch.equal(torch.cat([images for images, _ in batches]), tiny.inputs())
    assert torch.equal(torch.cat([labels for _, labels in batches]), tiny.labels)


def test_a_set_says_what_it_holds(tiny):
    assert repr(tiny) == "Tiny: 96 images of 8 classes"


def test_sets_that_share_a_class_are_refused(tiny):
    check_disjoint(tiny.select([0, 1]), tiny.select([2, 3]), tiny.select([4]))
    with pytest.raises(ValueError, match="share 2 classes, patch 1 among them"):
        check_disjoint(tiny.select([0]), tiny.select([1, 2, 3]), tiny.select([2, 1, 7]))


# From pictures to input -------------------------------------------------------------------------------------


def picture(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_ink_is_one_and_paper_is_zero():
    drawn = np.full((28, 28), 255, dtype=np.uint8)
    drawn[3, 4], drawn[3, 5] = 0, 51
    expected = torch.zeros(1, 28, 28)
    expected[0, 3, 4], expected[0, 3, 5] = 1, 0.8
    torch.testing.assert_close(to_input(drawn), expected)


def test_arrays_tensors_and_pillow_images_agree():
    drawn = picture(28, 28)
    for same in (
        drawn,
        torch.from_numpy(drawn),
        Image.fromarray(drawn),
        Image.fromarray(drawn).convert("RGB"),
    ):
        assert torch.equal(to_input(same), 1 - torch.from_numpy(drawn)[None].float() / 255)


@pytest.mark.parametrize("side", [105, 29, 20])
def test_other_sizes_are_resized_by_pillow(side):
    drawn = picture(side, side)
    small = Image.fromarray(drawn).resize((28, 28), Image.Resampling.BILINEAR)
    expected = 1 - torch.from_numpy(np.array(small))[None].float() / 255
    assert torch.equal(to_input(drawn), expected)
    assert torch.equal(to_input(Image.fromarray(drawn)), expected)


@pytest.mark.parametrize("leading", [(1,), (3, 1), (2, 3, 1)])
@pytest.mark.parametrize("side", [28, 105])
def test_a_batch_is_converted_picture_by_picture(leading, side):
    batch = picture(*leading, side, side)
    inputs = to_input(batch)
    assert inputs.shape == (*leading, 28, 28) and inputs.dtype == torch.float32
    for index in np.ndindex(leading):
        assert torch.equal(inputs[index], to_input(batch[index])[0])


@pytest.mark.parametrize("wrong", [torch.rand(28, 28), np.zeros((28, 28)), torch.zeros(28, dtype=torch.uint8)])
def test_pictures_that_are_not_uint8_planes_are_refused(wrong):
    with pytest.raises(ValueError, match="Pictures must be uint8, dark ink on white paper") as raised:
        to_input(wrong)
    assert str(tuple(wrong.shape)) in str(raised.value)


# Glyphs -----------------------------------------------------------------------------------------------------


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
    assert all(name.startswith(group.upper()) for name, group in zip(images.class_names, images.class_groups))


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



@pytest.mark.parametrize("content", [b"", b"not an archive", "half"])
def test_damaged_cache_is_named(few_glyphs, content):
    data.load("glyphs", "validation")
    whole = few_glyphs.read_bytes()
    few_glyphs.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(OSError, match=rf"{few_glyphs.name} is damaged; delete it"):
        data.load("glyphs", "validation")


# Omniglot ---------------------------------------------------------------------------------------------------


def is_here(part):
    folder = files.data_dir() / "omniglot"
    return (folder / part).is_dir() or (folder / f"{part}.zip").is_file()


needs_omniglot = pytest.mark.skipif(
    not all(map(is_here, omniglot.PARTS)), reason="Omniglot is not in the data folder; see FSLIB_DATA"
)


@needs_omniglot
def test_omniglot_holds_as_many_classes_as_the_papers_say():
    for split, plain in [("train", 1028), ("validation", 172), ("test", 423)]:
        for rotations, classes in [(False, plain), (True, 4 * plain)]:
            images = data.load("omniglot", split, rotations=rotations)
            assert len(images.class_names) == len(set(images.class_names)) == classes
            assert (images.labels.bincount() == 20).all() and len(images) == 20 * classes
    turned = data.load("omniglot", "validation")  # a turned alphabet is another
    assert len(set(turned.class_groups)) == 4 * 5
    assert turned.class_groups[172 + 5] == f"{turned.class_groups[5]} turned 90°"
    for split, alphabets, classes in [("train+validation", 30, 964), ("validation", 5, 172), ("test", 20, 659)]:
        part = data.load("omniglot", split, protocol="lake", rotations=False)
        assert (len(set(part.class_groups)), len(part.class_names)) == (alphabets, classes)
    assert 0.03 < images.inputs().mean() < 0.12  # thin black lines on white
    assert set(images.class_groups) >= {"Tengwar", "Gurmukhi"}


@needs_omniglot
@pytest.mark.parametrize("split", ["validation", "test"])
def test_upright_alphabets_of_lake_give_episodes_within_alphabets(split):
    images = data.load("omniglot", split, protocol="lake", rotations=False)
    stack = within_groups(images, way=20, episodes=40)
    check_episodes(stack, images.labels)
    alphabets = [{images.class_groups[c] for c in episode.classes} for episode in stack]
    assert all(len(alphabet) == 1 for alphabet in alphabets)
    assert set().union(*alphabets) == set(images.class_groups)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A function that writes a tiny Omniglot, as archives or unpacked, and lets it be loaded."""
    monkeypatch.setattr(omniglot, "PARTS", {"images_background": 3, "images_evaluation": 2})
    monkeypatch.setattr(omniglot, "DRAWERS", 4)
    monkeypatch.setenv("FSLIB_DATA", str(tmp_path))
    folder = tmp_path / "omniglot"
    known = {
        "images_background": ["Latin/character01", "Latin/character02", "Hebrew/character07"],
        "images_evaluation": ["Keble/character01", "Gurmukhi/character42"],
    }

    def write(zipped: bool):
        folder.mkdir(exist_ok=True)
        random = np.random.default_rng(0)
        for part in known:
            with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
                for character, drawer in product(known[part], range(4)):
                    stream = io.BytesIO()
                    Image.fromarray(random.integers(0, 2, (105, 105)) > 0).save(stream, "png")
                    archive.writestr(f"{part}/{character}/0001_{drawer + 1:02}.png", stream.getvalue())
                if not zipped:
                    archive.extractall(folder)
            if not zipped:
                (folder / f"{part}.zip").unlink()
        omniglot._read_all.cache_clear()
        return folder

    yield write
    omniglot._read_all.cache_clear()


@pytest.mark.parametrize("zipped", [True, False])
def test_omniglot_pictures_are_shrunk_in_order(fake, zipped):
    folder = fake(zipped=False)
    expected = [
        np.array(Image.open(path).convert("L").resize((28, 28), Image.Resampling.BILINEAR))
        for part in omniglot.PARTS
        for path in sorted((folder / part).rglob("*.png"))
    ]
    if zipped:
        for part in omniglot.PARTS:
            (folder / part).rename(folder / f"{part} unpacked")
        fake(zipped=True)
    images = data.load("omniglot", "train+validation+test", rotations=False)
    assert np.array_equal(images.images.squeeze(1), expected)
    assert images.class_groups == ["Hebrew", "Latin", "Latin", "Gurmukhi", "Keble"]
    assert images.domains.tolist() == [0, 1, 2, 3] * 5


@pytest.mark.parametrize(
    "protocol, split, names",
    [
        ("vinyals", "train", ["Latin/character01", "Latin/character02"]),
        ("vinyals", "validation", ["Hebrew/character07"]),
        ("vinyals", "test", ["Gurmukhi/character42", "Keble/character01"]),
        ("lake", "train", ["Latin/character01", "Latin/character02"]),
        ("lake", "validation", ["Hebrew/character07"]),
        ("lake", "test", ["Gurmukhi/character42", "Keble/character01"]),
    ],
)
def test_protocols_divide_the_characters(fake, protocol, split, names):
    fake(zipped=True)
    assert data.load("omniglot", split, protocol=protocol, rotations=False).class_names == names


def test_rotated_classes_are_quarter_turns(fake):
    fake(zipped=True)
    upright, turned = (data.load("omniglot", "train", rotations=rotations) for rotations in (False, True))
    for c, k in product(range(2), range(4)):
        pictures = turned.images[turned.labels == 2 * k + c]
        assert torch.equal(pictures, torch.rot90(upright.images[upright.labels == c], k, (2, 3)))
        assert turned.class_names[2 * k + c] == upright.class_names[c] + (f" turned {90 * k}°" if k else "")


def test_omniglot_splits_share_no_class(fake):
    fake(zipped=True)
    check_disjoint(*(data.load("omniglot", split) for split in data.SPLITS))
    check_disjoint(*(data.load("omniglot", split, protocol="lake") for split in data.SPLITS))


def test_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="no protocol 'lakes'; there are 'vinyals' and 'lake'"):
        data.load("omniglot", "train", protocol="lakes")


def test_archive_that_is_cut_short_is_named(fake):
    archive = fake(zipped=True) / "images_evaluation.zip"
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(OSError, match=r"images_evaluation\.zip is damaged or cut short \(5,000 bytes"):
        data.load("omniglot", "test")


@pytest.mark.parametrize("missing", ["Latin/character02/0001_03.png", "Latin/character02"])
def test_folder_that_is_incomplete_is_named(fake, missing):
    path = fake(zipped=False) / "images_background" / missing
    for file in [path] if path.is_file() else path.iterdir():
        file.unlink()
    with pytest.raises(OSError, match="images_background should hold 3 characters of 4 drawings each"):
        data.load("omniglot", "test")


@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("File not found or corrupted.")])
def test_without_network_and_copy_it_says_where_to_put_one(tmp_path, monkeypatch, error):
    def download(url, root, filename, md5):
        (files.data_dir() / "omniglot" / filename).write_bytes(b"half of it")
        raise error

    monkeypatch.setenv("FSLIB_DATA", str(tmp_path))
    monkeypatch.setattr(utils, "download_url", download)
    with pytest.raises(FileNotFoundError, match=r"put images_background\.zip there, or set FSLIB_DATA") as raised:
        data.load("omniglot", "test")
    assert str(tmp_path / "omniglot") in str(raised.value) and str(error) in str(raised.value)
    assert not list(tmp_path.iterdir())  # nor an empty folder in what may be the wrong place


def test_missing_archive_is_downloaded_and_kept(fake, monkeypatch):
    folder = fake(zipped=True)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    asked = []

    def download(url, root, filename, md5):
        asked.append(url.rsplit("/", 1)[1])
        (folder / filename).write_bytes(whole[asked[-1]])

    (folder / "images_evaluation.zip").unlink()
    monkeypatch.setattr(utils, "download_url", download)
    assert len(data.load("omniglot", "test", rotations=False)) == 8
    assert asked == ["images_evaluation.zip"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
