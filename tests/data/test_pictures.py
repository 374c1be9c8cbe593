"""Pictures as people have them: every one is read, or told in a sentence, and nothing else is lost."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fslib import data, episodes
from fslib.data import pictures
from fslib.data.transforms import drawing, on_white, photograph


def bar(standing=False, size=(40, 40)):
    greys = np.full(size[::-1], 255, np.uint8)
    greys[size[1] // 3 : size[1] // 2, 4:-4] = 0
    return Image.fromarray(greys.T.copy() if standing else greys)


@pytest.fixture
def letters(tmp_path):
    """A folder of two classes of two pictures."""
    for name, standing in (("lying", False), ("ständing", True)):
        (tmp_path / "letters" / name).mkdir(parents=True)
        for number in (1, 2):
            bar(standing).save(tmp_path / "letters" / name / f"{number}.png")
    return tmp_path / "letters"


def inside(folder):
    found = pictures.in_classes(folder)
    return [path.relative_to(folder).as_posix() for path in found.files], found.labels, found.left_out


# Folders ------------------------------------------------------------------------------------------------------


def test_each_folder_is_a_class(letters):
    files, labels, left_out = inside(letters)
    assert files == ["lying/1.png", "lying/2.png", "ständing/1.png", "ständing/2.png"]
    assert labels == ["lying", "lying", "ständing", "ständing"] and left_out == []


def test_pictures_lie_at_any_depth_and_what_is_hidden_is_passed_over(letters):
    (letters / "lying" / "of" / "mine").mkdir(parents=True)
    bar().save(letters / "lying" / "of" / "mine" / "0.png")
    for name in (".DS_Store", "lying/.hidden.png", ".git/config"):
        (letters / name).parent.mkdir(exist_ok=True)
        (letters / name).write_text("hidden")
    files, labels, left_out = inside(letters)
    assert files[:3] == ["lying/1.png", "lying/2.png", "lying/of/mine/0.png"] and len(labels) == 5 and left_out == []


def test_what_lies_in_no_class_is_told(letters):
    bar().save(letters / "loose.png")
    (letters / "empty").mkdir()
    assert inside(letters)[2] == [
        f"{letters / 'loose.png'} lies in no folder of a class.",
        f"{letters / 'empty'} holds no picture, so there is no class 'empty'.",
    ]


def test_what_is_no_picture_by_its_name_is_left_out(letters):
    for name in ("lying/Thumbs.db", "lying/notes.TXT", "lying/of/me.pdf", "third/desktop.ini", "lying/no ending"):
        (letters / name).parent.mkdir(exist_ok=True)
        (letters / name).write_text("no picture")
    files, _, left_out = inside(letters)
    others = ["lying/Thumbs.db", "lying/notes.TXT", "lying/of/me.pdf", "third/desktop.ini"]
    said = [f"{letters / name} is no picture, as its name says." for name in others]
    assert left_out == [*said, f"{letters / 'third'} holds no picture, so there is no class 'third'."]
    left_out = []
    assert [path for path in pictures.pictures_in(letters, left_out)] == [letters / file for file in files]
    assert left_out == said and "lying/no ending" in files  # what is in it may be a picture
    assert list(pictures.pictures_in(letters / "lying" / "notes.TXT", [])) == [letters / "lying" / "notes.TXT"]


def test_a_folder_one_level_too_high_is_refused_with_the_right_one(letters, tmp_path):
    (tmp_path / "wrap" / "more").mkdir(parents=True)
    letters.rename(tmp_path / "wrap" / "more" / "letters")
    right = tmp_path / "wrap" / "more" / "letters"
    (right / "Thumbs.db").write_text("no picture")
    for place in (tmp_path, tmp_path / "wrap", tmp_path / "wrap" / "more"):
        with pytest.raises(ValueError, match=rf"^{place} holds a single .*; the folders of classes lie in {right}\.$"):
            pictures.in_classes(place)
    assert len(pictures.in_classes(right).files) == 4


@pytest.mark.parametrize("content", ["nothing", "pictures alone", "empty folders"])
def test_a_folder_without_classes_is_refused_with_what_would_be_right(tmp_path, content):
    if content == "pictures alone":
        bar().save(tmp_path / "1.png")
    if content == "empty folders":
        (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match=r"holds no folder with pictures; .* as in .*alpha.1\.png\.$"):
        pictures.in_classes(tmp_path)


def test_a_folder_that_is_none_is_refused(letters):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*gone"):
        pictures.in_classes(letters / "gone")
    with pytest.raises(NotADirectoryError, match=r"1\.png is a file, and not a folder"):
        pictures.in_classes(letters / "lying" / "1.png")


def test_links_lead_to_pictures_but_not_round_and_round(letters, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bar().save(elsewhere / "3.png")
    (letters / "lying" / "linked").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "back").symlink_to(letters / "lying", target_is_directory=True)
    (letters / "lying" / "all").symlink_to(letters, target_is_directory=True)  # would be all classes in one
    (letters / "lying" / "other").symlink_to(letters / "ständing", target_is_directory=True)
    (letters / "lying" / "self").symlink_to(letters / "lying" / "self")
    (letters / "lying" / "dangling.png").symlink_to(letters / "gone.png")
    (letters / "third").symlink_to(elsewhere, target_is_directory=True)
    files, labels, _ = inside(letters)
    assert [file for file, label in zip(files, labels) if label == "lying"] == [
        "lying/1.png", "lying/2.png", "lying/dangling.png", "lying/self",
    ]  # fmt: skip
    assert [file for file, label in zip(files, labels) if label == "third"] == ["third/3.png"]
    links = [letters / "lying" / name for name in ("self", "dangling.png")]
    problems = [each.problem for each in pictures.read(links, drawing)]
    assert all(problems) and "There is no picture" in problems[1]


def test_a_linked_folder_that_is_no_class_is_gone_through(letters, tmp_path):
    (tmp_path / "more").mkdir()
    bar().save(tmp_path / "more" / "3.png")
    (letters / "lying" / "more").symlink_to(tmp_path / "more", target_is_directory=True)
    assert "lying/more/3.png" in inside(letters)[0]


def test_a_folder_that_cannot_be_opened_is_told(letters, monkeypatch):
    listed = os.listdir

    def refuse(place):
        if Path(place).name == "lying":
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "listdir", refuse)
    files, _, left_out = inside(letters)
    assert files == ["ständing/1.png", "ständing/2.png"]
    assert left_out[0] == f"{letters / 'lying'} cannot be opened (Permission denied)."
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="letters cannot be opened; you have no right"):
        pictures.in_classes(letters)


def test_names_may_be_long_and_of_any_alphabet(tmp_path):
    names = ["字", "é" * 100, "a b'\"&;", "x" * 250]
    for name in names:
        (tmp_path / name).mkdir()
        bar().save(tmp_path / name / f"{name[:200]}.png")
    files, labels, left_out = inside(tmp_path)
    assert sorted(labels) == sorted(names) and left_out == []
    assert all(each.input is not None for each in pictures.read([tmp_path / file for file in files], drawing))


@pytest.mark.skipif(os.name != "posix", reason="names are texts elsewhere")
def test_a_name_that_is_no_text_is_a_name(letters):
    try:
        os.rename(os.fsencode(letters / "lying"), os.fsencode(letters) + b"/\xff")
    except OSError:
        pytest.skip("this file system takes no such names")
    assert os.fsencode(inside(letters)[1][-1]) == b"\xff"


def test_a_flat_folder_gives_its_files_and_a_file_itself(letters, monkeypatch):
    assert [path.name for path in pictures.in_folder(letters)] == ["1.png", "2.png"] * 2
    assert list(pictures.in_folder(letters / "lying" / "1.png")) == [letters / "lying" / "1.png"]
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*gone"):
        list(pictures.in_folder(letters / "gone"))


# Files --------------------------------------------------------------------------------------------------------


def png_header(width, height):
    """A file that says it is a picture of this size, and holds no more."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def broken(tmp_path):
    """Files that are no pictures, by what a sentence says of them."""
    bar().save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    contents = {
        "text.png": (b"no picture", "is not a picture that can be read"),
        "empty.jpg": (b"", "is not a picture that can be read"),
        "cut.png": (whole[:-60], "is not a picture that can be read"),
        "large.png": (png_header(20_000, 20_000), "has more than 100 million pixels; shrink it first"),
        "rather_large.png": (png_header(11_000, 10_000), "has more than 100 million pixels; shrink it first"),
        "phone.heic": (b"\0\0\0\x18ftypheic", "is not a picture that can be read"),
    }
    for name, (content, _) in contents.items():
        (tmp_path / name).write_bytes(content)
    return {tmp_path / name: said for name, (_, said) in contents.items()}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_broken_picture_is_told_in_a_sentence_and_the_rest_goes_on(tmp_path):
    expected = broken(tmp_path)
    mixed = [tmp_path / "whole.png", *expected, tmp_path / "missing.png", tmp_path / "whole.png"]
    reads = list(pictures.read(mixed, drawing))
    assert [each.name for each in reads] == list(map(str, mixed))
    assert torch.equal(reads[0].input, reads[-1].input) and reads[0].problem == ""
    for each, said in zip(reads[1:-2], expected.values()):
        assert each.input is None and said in each.problem and each.name in each.problem
        assert each.problem.endswith(".") and "\n" not in each.problem
    assert reads[-2].problem == f"There is no picture {tmp_path / 'missing.png'}."


def test_pictures_of_all_kinds_are_the_same_drawing(tmp_path):
    drawn = bar(size=(60, 40))
    turned = Image.Exif()
    turned[0x0112] = 6
    transparent = Image.new("RGBA", drawn.size, (0, 0, 0, 0))
    transparent.putalpha(drawn.point(lambda grey: 255 - grey))
    deep = Image.fromarray(np.asarray(drawn).astype(np.uint16) * 257)
    kept = {
        "grey.png": drawn, "colours.png": drawn.convert("RGB"), "print.tif": drawn.convert("CMYK"),
        "transparent.png": transparent, "deep.png": deep, "palette.gif": drawn.convert("P"),
        "lines.bmp": drawn.convert("1"),
    }  # fmt: skip
    for name, picture in kept.items():
        picture.save(tmp_path / name)
    drawn.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "held.png", exif=turned)
    drawn.save(tmp_path / "moving.gif", save_all=True, append_images=[bar(True)])
    reads = list(pictures.read([tmp_path / name for name in (*kept, "held.png", "moving.gif")], drawing))
    for each in reads:
        assert each.problem == ""
        torch.testing.assert_close(each.input, reads[0].input, rtol=0, atol=0.01, msg=each.name)
        if each.name.split("/")[-1] != "held.png":
            torch.testing.assert_close(each.look, reads[0].look, rtol=0, atol=2, msg=each.name)


def test_arrays_and_tensors_are_pictures_too(tmp_path):
    greys = np.asarray(bar())
    colours = np.stack([greys] * 3, -1)
    bar().save(tmp_path / "bar.png")
    given = [
        str(tmp_path / "bar.png"), tmp_path / "bar.png", bar(), greys, torch.from_numpy(greys.copy()), greys[None],
        greys[..., None], colours, colours.transpose(2, 0, 1), np.dstack([colours, np.full_like(greys, 255)]),
    ]  # fmt: skip
    inputs = [each.input for each in pictures.read(given, drawing)]
    assert all(torch.equal(each, inputs[0]) for each in inputs)
    assert [each.name for each in pictures.read(given, drawing)][2:4] == ["picture 2", "picture 3"]


@pytest.mark.parametrize(
    "wrong", [np.zeros((28, 28)), np.zeros((2, 28, 28, 3), np.uint8), 3, None, [[0, 255]]], ids=type
)
def test_what_is_no_picture_at_all_is_a_mistake(wrong):
    with pytest.raises(TypeError, match=r"picture 1 must be a path, a Pillow image or uint8 of shape"):
        list(pictures.read([bar(), wrong], drawing))


def test_of_a_large_picture_one_sentence_is_said(tmp_path):
    (tmp_path / "large.png").write_bytes(png_header(11_000, 10_000))
    with warnings.catch_warnings(action="error"):
        (large,) = pictures.read([tmp_path / "large.png"], drawing)
    assert "has more than 100 million pixels; shrink it first" in large.problem


def test_a_picture_at_a_time_is_read(letters):
    taken = []

    def counted():
        for file in inside(letters)[0]:
            taken.append(file)
            yield letters / file

    reads = pictures.read(counted(), drawing)
    for number in range(1, 5):
        next(reads)
        assert len(taken) == number


# As an image set ----------------------------------------------------------------------------------------------


def test_a_folder_is_an_image_set(letters):
    (letters / "lying" / "notes.txt").write_text("no picture")
    with pytest.warns(UserWarning, match=r"Left out: .*notes\.txt is no picture"):
        found = data.from_folder(letters)
    assert repr(found) == "letters: 4 images of 2 classes" and found.class_names == ["lying", "ständing"]
    assert found.images.shape == (4, 1, 28, 28) and found.labels.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(found.inputs([2])[0], drawing(bar(True)))
    assert episodes.EpisodeSampler(found, way=2, shot=1, query=1)[0].way == 2


def test_photographs_keep_colours_and_proportions(tmp_path):
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (80, 40), colour).save(tmp_path / name / "1.png")
    with warnings.catch_warnings(action="error"):
        found = data.from_folder(tmp_path, photographs=True, side=32)
    assert found.images.shape == (2, 3, 32, 32) and found.class_names == ["blue", "red"]
    inputs = found.inputs()
    torch.testing.assert_close(inputs[1, :, 16, 16], torch.tensor([200, 30, 30]) / 255)
    assert (inputs[:, :, :8] == inputs[0, :, :1, :1]).all() and not (inputs[:, :, 9] == inputs[0, :, :1, 0]).all()


def test_a_folder_of_broken_pictures_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_text("text")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="holds no picture that can be read"):
        data.from_folder(tmp_path)


# How they become input ----------------------------------------------------------------------------------------


def on_paper(greys, paper=0.75, shade=0.3, grain=4.0):
    """A drawing as a telephone sees it."""
    width = greys.shape[1]
    light = paper * (1 + shade * (np.arange(width) / width - 0.5))
    noise = np.random.default_rng(0).normal(0, grain, greys.shape)
    return Image.fromarray((greys * light + noise).clip(0, 255).astype(np.uint8))


def cross(side=200, arm=60):
    greys = np.full((side, side), 255, np.uint8)
    middle = side // 2
    greys[middle - 3 : middle + 3, middle - arm : middle + arm] = 30
    greys[middle - arm : middle + arm, middle - 3 : middle + 3] = 30
    return greys


def test_paper_of_any_grey_becomes_white_and_ink_black():
    clean = torch.from_numpy(on_white(Image.fromarray(cross())).copy()).float()
    for photographed in (on_paper(cross()), on_paper(cross(), 0.5, 0.5, 2)):
        seen = torch.from_numpy(on_white(photographed).copy()).float()
        assert seen.median() == 255 and seen.min() < 30
        torch.testing.assert_close(drawing(photographed), drawing(Image.fromarray(cross())), rtol=0, atol=0.35)
        assert np.corrcoef(drawing(photographed).flatten(), drawing(Image.fromarray(cross())).flatten())[0, 1] > 0.97
    assert clean.min() == 0


def test_light_on_dark_is_turned_to_dark_on_light():
    there, back = (drawing(Image.fromarray(each)) for each in (cross(), 255 - cross()))
    assert np.corrcoef(there.flatten(), back.flatten())[0, 1] > 0.97


@pytest.mark.parametrize("place", [(10, 10), (100, 250), (380, 30)])
def test_the_frame_closes_in_wherever_the_drawing_lies(place):
    sheet = Image.new("L", (500, 400), "white")
    sheet.paste(Image.fromarray(cross()[30:170, 30:170]).resize((70, 70)), place[::-1] if place[0] < 200 else place)
    found = drawing(sheet)
    assert found.sum() > 20
    torch.testing.assert_close(found, drawing(Image.fromarray(cross())), rtol=0, atol=0.6)
    rows = (found[0] > 0.3).any(1).nonzero()
    assert 15 <= rows.max() - rows.min() + 1 <= 19  # six tenths of 28


def test_a_drawing_that_fills_its_frame_stays_as_it_is():
    greys = np.full((50, 50), 255, np.uint8)
    greys[5:45, 22:28] = 0
    assert (on_white(Image.fromarray(greys)) == np.roll(greys, 0, 1)).all()


def test_thin_lines_on_a_large_sheet_are_not_lost():
    greys = np.full((2000, 2000), 255, np.uint8)
    greys[1000, 200:1800] = 0
    assert drawing(Image.fromarray(greys)).max() > 0.5


@pytest.mark.parametrize("grey", [0, 128, 200, 255])
def test_a_blank_sheet_is_white(grey):
    assert drawing(Image.new("L", (80, 60), grey)).sum() == 0
    assert drawing(on_paper(np.full((60, 80), 255, np.uint8))).sum() < 28  # grain is no ink


def test_a_photograph_lies_whole_in_the_middle_and_is_not_inverted():
    wide = Image.new("RGB", (300, 100), (255, 0, 0))
    found = photograph(wide, 90)
    assert found.shape == (3, 90, 90)
    torch.testing.assert_close(found[:, 45, 45], torch.tensor([1.0, 0, 0]))
    red = (found[0] - found[1]) > 0.5
    assert red.any(1).sum() == 30 and red.any(0).all()
    assert photograph(Image.new("L", (50, 50), 255)).shape == (3, 224, 224)
    assert photograph(Image.new("L", (50, 50), 255)).min() == 1 and photograph(Image.new("I;16", (5, 5))).max() == 0
    with pytest.raises(ValueError, match="side must be a whole number"):
        photograph(wide, 0)


def test_large_jpegs_are_read_as_finely_as_needed(tmp_path):
    Image.fromarray(cross(3000, 900)).save(tmp_path / "large.jpg")
    (found,) = pictures.read([tmp_path / "large.jpg"], lambda picture: torch.tensor(picture.size))
    assert 512 <= found.input[0] < 1024
    whole, draft = drawing(Image.open(tmp_path / "large.jpg")), next(pictures.read([tmp_path / "large.jpg"], drawing))
    assert np.corrcoef(whole.flatten(), draft.input.flatten())[0, 1] > 0.99
