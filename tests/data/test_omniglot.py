"""Omniglot, from an archive, a folder or the network."""

import io
import zipfile
from itertools import product
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import utils

from fslib import data, files
from fslib.data import check_disjoint, omniglot
from fslib.episodes import check_episodes, within_groups


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
                for character, writer in product(known[part], range(4)):
                    stream = io.BytesIO()
                    Image.fromarray(random.integers(0, 2, (105, 105)) > 0).save(stream, "png")
                    archive.writestr(f"{part}/{character}/0001_{writer + 1:02}.png", stream.getvalue())
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


def flip(path, start, count=40):
    damaged = bytearray(path.read_bytes())
    for i in range(start, start + count):
        damaged[i] ^= 0xFF
    path.write_bytes(damaged)


@pytest.mark.parametrize("seed", range(6))
def test_archive_that_is_damaged_is_named(fake, seed):
    archive = fake(zipped=True) / "images_evaluation.zip"
    with zipfile.ZipFile(archive) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    random = np.random.default_rng(seed)
    flip(archive, 100 + int(random.integers(archive.stat().st_size - 200)), int(random.integers(4, 60)))
    with pytest.raises(OSError, match=r"images_evaluation(\.zip)?( is damaged| should hold|/.* is damaged)"):
        data.load("omniglot", "test")


@pytest.mark.parametrize("content", [b"", b"text", "half", "flipped"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_drawing_is_named(fake, content, zipped):
    folder = fake(zipped=False)
    name = "images_background/Latin/character02/0001_03.png"
    if content == "half":
        content = (folder / name).read_bytes()[:150]
    elif content == "flipped":
        flip(folder / name, 50, 30)
        content = (folder / name).read_bytes()
    (folder / name).write_bytes(content)
    if zipped:
        with zipfile.ZipFile(folder / "images_background.zip", "w") as archive:
            for path in sorted((folder / "images_background").rglob("*.png")):
                archive.write(path, path.relative_to(folder))
        (folder / "images_background").rename(folder / "elsewhere")
    with pytest.raises(OSError, match=r"images_background.*Latin/character02/0001_03\.png is damaged; copy"):
        data.load("omniglot", "test")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_systems_and_people_leave_lying_is_passed_over(fake, zipped):
    folder = fake(zipped=False)
    whole = data.load("omniglot", "train+validation+test").digest
    part = folder / "images_background"
    for stray in (
        ".DS_Store", "Thumbs.db", "notes.txt", "Latin/._character01", "Latin/character01/._0001_01.png",
        "Latin/character01/.DS_Store", "Latin/character01/0001_01 (1).png", "cover.png", "Latin/character01/cover.png",
        "__MACOSX/Latin/character01/0001_01.png",
    ):  # fmt: skip
        (part / stray).parent.mkdir(parents=True, exist_ok=True)
        (part / stray).write_bytes(b"junk")
    (part / "Latin" / "character01" / "9999_01.png").mkdir()
    for path in sorted((part / "Hebrew").rglob("*.png")):
        path.rename(path.with_suffix(".PNG"))
    if zipped:
        with zipfile.ZipFile(folder / "images_background.zip", "w") as archive:
            for path in sorted(part.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
                    archive.writestr(f"__MACOSX/{path.relative_to(folder)}", b"junk")
        part.rename(folder / "elsewhere")
    omniglot._read_all.cache_clear()
    assert data.load("omniglot", "train+validation+test").digest == whole


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
