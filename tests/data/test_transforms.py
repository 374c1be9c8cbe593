"""From pictures to network input."""

import io
import os
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from fslib.data import to_input


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


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (105, 5), (7, 100), (1, 28), (28, 27)])
def test_a_picture_that_is_not_square_keeps_its_proportions(shape):
    drawn = picture(*shape)
    side = max(shape)
    around = np.full((side, side), 255, np.uint8)
    top, left = ((side - length) // 2 for length in shape)
    around[top : top + shape[0], left : left + shape[1]] = drawn
    rounding = 0 if shape[0] < shape[1] else 1.01 / 255  # Pillow goes along rows first, and rounds in between
    for given in (drawn, torch.from_numpy(drawn), Image.fromarray(drawn), drawn[None, None]):
        found = to_input(given).reshape(1, 28, 28)
        torch.testing.assert_close(found, to_input(around), rtol=0, atol=rounding)


@pytest.mark.parametrize("length, thick", [(20_000, 40), (100_000, 1), (30, 1), (57, 2)])
def test_a_long_strip_keeps_its_ink_and_takes_little_memory(length, thick):
    strip = np.zeros((thick, length), np.uint8)
    tracemalloc.start()
    lying, standing = to_input(strip), to_input(np.ascontiguousarray(strip.T))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * strip.size + 200_000
    assert torch.equal(lying, standing.mT)
    assert lying.sum(-2).allclose(torch.ones(28), atol=0.05)  # one pixel thick, from end to end
    assert lying[0, 12:16].sum() == lying.sum()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(OSError, match=f"{path} is not a file"):
            to_input(path)


def test_nothing_gives_nothing():
    for shape in [(0, 1, 28, 28), (0, 1, 105, 105), (0, 40, 60), (0, 28, 28, 3)]:
        given = torch.zeros(shape, dtype=torch.uint8)
        assert to_input(given).numel() == 0 and to_input(given).shape[-2:] == (28, 28)


RAMP = np.linspace(0, 65535, 28 * 28).round().astype(np.uint16).reshape(28, 28)
DEEP = 1 - torch.from_numpy(RAMP.astype(np.float64) / 65535)[None]


def stored(image, kind):
    stream = io.BytesIO()
    image.save(stream, kind)
    stream.seek(0)
    return Image.open(stream)


@pytest.mark.parametrize(
    "deep",
    [
        lambda: Image.fromarray(RAMP),
        lambda: stored(Image.fromarray(RAMP), "png"),
        lambda: stored(Image.fromarray(RAMP), "tiff"),
        lambda: Image.frombytes("I;16B", (28, 28), RAMP.astype(">u2").tobytes()),
        lambda: Image.fromarray(RAMP.astype(np.int32)),
        lambda: Image.fromarray((RAMP // 257).astype(np.int32)),
        lambda: Image.fromarray((RAMP / 65535).astype(np.float32)),
        lambda: Image.fromarray((RAMP / 257).astype(np.float32)),
        lambda: stored(Image.fromarray((RAMP / 65535).astype(np.float32)), "tiff"),
    ],
)
def test_deep_pictures_keep_their_greys(deep):
    torch.testing.assert_close(to_input(deep()).double(), DEEP, rtol=0, atol=1 / 255)


def test_deep_pictures_of_other_sizes_are_shrunk_too():
    large = np.repeat(np.repeat(RAMP, 4, 0), 4, 1)
    assert (to_input(Image.fromarray(large)).double() - DEEP).abs().mean() < 0.02


@pytest.mark.parametrize(
    "values, mode",
    [
        (np.float32([[0, np.nan]]), "F"), (np.float32([[0, 256]]), "F"), (np.float32([[-0.1, 1]]), "F"),
        (np.int32([[0, 65536]]), "I"), (np.int32([[-1, 200]]), "I"), (np.float32([[0, np.inf]]), "F"),
    ],
)  # fmt: skip
def test_greys_out_of_range_are_refused(values, mode):
    with pytest.raises(ValueError, match=f"greys from .* but in mode {mode} black is 0 .* convert it to mode L"):
        to_input(Image.fromarray(values))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_pillow_images_of_all_modes_are_ink_on_paper(mode):
    drawn = np.full((28, 28), 255, np.uint8)
    drawn[5:9, 3:20] = 0
    grey = Image.fromarray(drawn)
    through = {"PA": "P", "HSV": "RGB"}.get(mode, "L")  # Pillow has no straight way
    image = grey.convert(through).convert(mode)
    torch.testing.assert_close(to_input(image)[0], 1 - torch.from_numpy(drawn).float() / 255, rtol=0, atol=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_photographs_are_turned_upright(orientation, deep, tmp_path):
    upright = np.full((28, 28), 255, np.uint8)
    upright[3:6, 4:24] = 0  # a bar on top and a post on the left
    upright[3:25, 4:6] = 0
    turn = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, 3),
    }[orientation]  # fmt: skip
    held = np.ascontiguousarray(turn(upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(held.astype(np.uint16) * 257 if deep else held)
    image.save(tmp_path / "photograph.png", exif=exif)
    expected = 1 - torch.from_numpy(upright)[None].float() / 255
    assert torch.equal(to_input(tmp_path / "photograph.png"), expected)
    with Image.open(tmp_path / "photograph.png") as opened:
        assert torch.equal(to_input(opened), expected)


@pytest.mark.parametrize("size", [(28, 28), (105, 105), (40, 61)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", [np.array, lambda a: torch.from_numpy(np.array(a))])
def test_colours_last_become_grey_as_pillow_has_it(size, mode, kind):
    array = picture(*size, len(mode))
    given = kind(array)
    expected = to_input(Image.fromarray(array))
    assert torch.equal(to_input(given), expected) and expected.shape == (1, 28, 28)
    batch = to_input(kind(np.stack([array, 255 - array, array])))
    assert batch.shape == (3, 1, 28, 28)
    assert torch.equal(batch[2], expected) and torch.equal(batch[1], to_input(255 - array))
    assert to_input(kind(np.stack([array, array]))[:, None]).shape == (2, 1, 1, 28, 28)


def test_a_last_axis_of_one_is_a_channel_too():
    array = picture(5, 40, 40, 1)
    assert torch.equal(to_input(array), to_input(array.transpose(0, 3, 1, 2)))
    assert torch.equal(to_input(array[0]), to_input(array[0, :, :, 0]))


def test_a_list_may_hold_pictures_of_all_kinds_and_sizes(tmp_path):
    drawn, wide = picture(28, 28), picture(40, 60)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    given = [
        drawn, torch.from_numpy(drawn), drawn[None], picture(50, 50, 3),
        Image.fromarray(wide), tmp_path / "wide.png", str(tmp_path / "wide.png"),
    ]  # fmt: skip
    for same in (given, tuple(given)):
        inputs = to_input(same)
        assert inputs.shape == (7, 1, 28, 28)
        assert torch.equal(inputs, torch.cat([to_input(each)[None] for each in given]))


@pytest.mark.parametrize(
    "pictures, message",
    [
        ([], "A list must hold pictures, .* holds nothing"),
        ([picture(28, 28), picture(3, 28, 28)], r"this one holds \(1, 28, 28\), \(3, 28, 28\)"),
        ([picture(28, 28), np.zeros((28, 28))], "Of a list of pictures, number 1: Pictures must be uint8"),
        ([[0, 255], [255, 0]], "Of a list of pictures, number 0: .* Pictures must be uint8"),
    ],
)
def test_a_list_of_what_are_no_pictures_is_refused(pictures, message):
    with pytest.raises(ValueError, match=message):
        to_input(pictures)


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_path_is_a_picture(tmp_path, kind):
    for name, mode in [("a.png", "RGBA"), ("b.jpg", "L"), ("ä ö.gif", "P")]:
        Image.fromarray(picture(60, 60)).convert(mode).save(tmp_path / name)
        assert torch.equal(to_input(kind(tmp_path / name)), to_input(Image.open(tmp_path / name)))


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "half", "flipped", "folder"])
def test_a_file_that_is_no_picture_is_named(tmp_path, damage):
    path = tmp_path / "picture.png"
    Image.fromarray(picture(60, 60)).save(path)
    whole = path.read_bytes()
    path.unlink()
    flipped = bytearray(whole)
    flipped[60:90] = bytes(30)
    contents = dict(empty=b"", text=b"no picture", half=whole[: len(whole) // 2], flipped=bytes(flipped))
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(contents[damage])
    for given in (path, str(path), [path]):
        with pytest.raises(OSError, match=r"picture\.png( is not a (file|picture that can be read)|\.$)"):
            to_input(given)
    if damage in ("half", "flipped"):
        with Image.open(path) as opened, pytest.raises(OSError, match=r"picture\.png is not a picture"):
            to_input(opened)


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (np.zeros((28, 28), bool), "Make uint8 of 255 \\* pictures"),
        (torch.zeros(28, 28, dtype=torch.bool), "Make uint8 of 255 \\* pictures"),
        (np.zeros((28, 28), np.uint16), "Make uint8 of pictures // 257"),
        (np.zeros((28, 28), ">u2"), "Make uint8 of pictures // 257"),
        (torch.rand(28, 28), r"Make uint8 of \(255 \* pictures\).round\(\)"),
        (np.zeros((28, 28), np.float16), r"Make uint8 of \(255 \* pictures\).round\(\)"),
        (np.zeros((28, 28), np.int64), "these are int64 of shape"),
        (np.zeros((28, 0), np.uint8), r"these are uint8 of shape \(28, 0\)"),
        (np.uint8(3), r"these are uint8 of shape \(\)"),
        (None, "these are object"),
        (b"bytes", "these are"),
        (io.BytesIO(), "these are object"),
        ((p for p in []), "these are object"),
    ],
)
def test_what_are_no_pictures_is_refused_with_what_to_write(wrong, hint):
    with pytest.raises(ValueError, match=f"Pictures must be uint8, dark ink on white paper.*{hint}"):
        to_input(wrong)


@pytest.mark.parametrize("wrong", [torch.rand(28, 28), np.zeros((28, 28)), torch.zeros(28, dtype=torch.uint8)])
def test_pictures_that_are_not_uint8_planes_are_refused(wrong):
    with pytest.raises(ValueError, match="Pictures must be uint8, dark ink on white paper") as raised:
        to_input(wrong)
    assert str(tuple(wrong.shape)) in str(raised.value)
