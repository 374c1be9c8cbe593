"""Data sets are what they are said to be, come whole, and say what to do when they are not there."""

import copy
import io
import os
import pickle
import tracemalloc
import unicodedata
import zipfile
from dataclasses import replace
from itertools import combinations, product
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler
from torchvision.datasets import utils

from fslib import data, files
from fslib.data import ImageSet, check_disjoint, omniglot, to_input
from fslib.data import glyphs as glyphs_module
from fslib.episodes import check_episodes, within_groups


def picture(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


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


@pytest.mark.parametrize("name, split", [("glyphs", ["train"]), ("glyphs", None), (3, "test"), (["glyphs"], "test")])
def test_what_is_no_name_is_refused(name, split):
    with pytest.raises(ValueError, match=r"(A split is a name|A data set has a name), .* but this is"):
        data.load(name, split)


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


def test_samplers_may_hand_over_tensors(tiny):
    some = torch.tensor([3, 95, 0, 41])
    for loader in (
        DataLoader(Subset(tiny, some), batch_size=4),
        DataLoader(tiny, batch_size=4, sampler=SubsetRandomSampler(some)),
        DataLoader(tiny, batch_size=4, sampler=some.numpy()),
    ):
        ((images, labels),) = loader
        order = labels.argsort(stable=True)
        expected = sorted(some.tolist())
        assert images.shape == (4, 1, 28, 28) and labels[order].tolist() == tiny.labels[expected].tolist()
        assert {*map(hash_of, images)} == {hash_of(tiny[i][0]) for i in expected}


def hash_of(image):
    return image.numpy().tobytes()


@pytest.mark.parametrize(
    "kind", [int, np.int64, np.uint8, np.int16, torch.tensor, lambda i: torch.tensor(i, dtype=torch.uint8)]
)
def test_an_index_may_be_a_whole_number_of_any_kind(tiny, kind):
    image, label = tiny[kind(41)]
    assert image.shape == (1, 28, 28) and label == 3
    assert torch.equal(image, tiny.inputs()[41])
    assert torch.equal(tiny.inputs(kind(41)), image)


def test_negative_indices_count_from_the_end(tiny):
    assert torch.equal(tiny[-1][0], tiny[95][0]) and tiny[-96][1] == tiny[0][1]
    assert torch.equal(tiny.inputs([-1, 0]), tiny.inputs([95, 0]))


@pytest.mark.parametrize("index", [96, -97, 10**9, torch.tensor(96), np.int64(-97)])
def test_an_index_out_of_range_is_named(tiny, index):
    for ask in (tiny.__getitem__, tiny.inputs, lambda index: tiny.inputs([0, index])):
        with pytest.raises(IndexError, match=f"Image {int(index)} was asked for, but Tiny holds 96"):
            ask(index)


def test_a_set_can_be_walked_through(tiny):
    assert [label for _, label in tiny] == tiny.labels.tolist()


@pytest.mark.parametrize("index", [2.0, "3", None, slice(3), [1, 2], torch.tensor([1, 2]), torch.tensor(2.0)])
def test_what_is_no_index_is_refused(tiny, index):
    with pytest.raises(TypeError, match="One image has a whole number, but this is"):
        tiny[index]


ROWS = [5, 0, 41, 5]


@pytest.mark.parametrize(
    "rows",
    [
        ROWS, tuple(ROWS), np.array(ROWS), torch.tensor(ROWS),
        [torch.tensor(i) for i in ROWS], [np.uint8(i) for i in ROWS],
        *(np.array(ROWS).astype(kind) for kind in ("uint8", "int8", "uint16", "uint32", "uint64", ">i4")),
        *(torch.tensor(ROWS).to(kind) for kind in (torch.uint8, torch.int16, torch.int32)),
        np.array(ROWS[::-1])[::-1],
    ],
)  # fmt: skip
def test_inputs_are_asked_for_by_whole_numbers_of_any_kind(tiny, rows):
    expected = torch.stack([tiny[int(i)][0] for i in np.asarray([int(i) for i in rows])])
    assert torch.equal(tiny.inputs(rows), expected)


def test_inputs_are_asked_for_by_ranges_slices_masks_and_grids(tiny):
    inputs = tiny.inputs()
    assert torch.equal(tiny.inputs(range(3, 20, 4)), inputs[3:20:4])
    assert torch.equal(tiny.inputs(slice(-5, None)), inputs[-5:])
    mask = tiny.labels == 2
    for same in (mask, mask.numpy(), mask.tolist()):
        assert torch.equal(tiny.inputs(same), inputs[24:36])
    grid = torch.tensor([[1, 2, 3], [7, 8, 9]])
    for same in (grid, grid.numpy(), grid.tolist()):
        assert torch.equal(tiny.inputs(same), inputs[grid])
    for nothing in ([], torch.tensor([]).long(), np.array([]), range(0)):
        assert tiny.inputs(nothing).shape == (0, 1, 28, 28)


@pytest.mark.parametrize("wrong", [2.0, "3", None, [1.5], torch.rand(3), [[1], [2, 3]], np.array(["a"]), [None], [1j]])
def test_what_asks_for_no_inputs_is_refused(tiny, wrong):
    with pytest.raises(ValueError, match="asked for by whole numbers, a slice or a mask, but these are"):
        tiny.inputs(wrong)


def test_a_mask_has_one_value_an_image(tiny):
    with pytest.raises(IndexError, match=r"A mask has shape \(96,\) here, but this one \(95,\)"):
        tiny.inputs(torch.ones(95, dtype=torch.bool))


def halves(images):
    return images.float() / 510


class Colour(ImageSet):
    """As in benchmarks/against_easyfsl.py."""

    def inputs(self, indices=slice(None)):
        return self.images[indices].float() / 255


def in_colour(kind=ImageSet, **options):
    images = torch.from_numpy(picture(12, 3, 32, 32))
    return kind("Colours", images, torch.arange(4).repeat(3), list("abcd"), list("xxyy"), torch.arange(12), **options)


@pytest.mark.parametrize("kind, options, white", [(ImageSet, dict(transform=halves), 510), (Colour, {}, 255)])
def test_what_a_network_sees_belongs_to_the_set(kind, options, white):
    colours = in_colour(kind, **options)
    sent = pickle.loads(pickle.dumps(colours))  # as to the workers of a loader
    for same in (colours, colours.to("cpu"), copy.copy(colours), replace(colours, name="x"), sent):
        assert type(same) is kind
        assert torch.equal(same.inputs(), same.images.float() / white)
        assert torch.equal(same[5][0], same.images[5].float() / white)
    chosen = colours.select([3, 1])
    assert type(chosen) is kind and chosen.labels.tolist() == [1, 0] * 3
    assert torch.equal(chosen.inputs([0]), colours.images[[1]].float() / white)


def test_a_copy_keeps_what_a_subclass_added():
    class Files(ImageSet):
        def __init__(self, folder):
            super().__init__("Files", picture(4, 1, 28, 28), [0, 0, 1, 1], ["a", "b"])
            object.__setattr__(self, "folder", folder)

    files = Files("here")
    assert files.to("cpu").folder == files.select([1]).folder == "here"


def test_by_default_a_set_is_turned_by_to_input():
    colours = in_colour()
    assert torch.equal(colours.inputs([2, 3]), to_input(colours.images[[2, 3]]))


def test_to_moves_the_images_alone(tiny):
    there = tiny.to("meta")
    assert there.images.device.type == "meta" and there.inputs([0, 1]).device.type == "meta"
    assert there.labels.device.type == there.domains.device.type == "cpu"


def test_a_set_is_equal_to_itself_alone(tiny):
    other = replace(tiny)
    assert tiny == tiny and tiny != other and tiny not in [other] and len({tiny, other}) == 2


KINDS = [
    list, tuple, np.array, torch.tensor,
    *(lambda x, kind=kind: np.array(x, dtype=kind) for kind in ("uint8", "int8", "uint16", "uint64")),
    *(lambda x, kind=kind: torch.tensor(x, dtype=kind) for kind in (torch.uint8, torch.int32)),
    lambda x: [torch.tensor(i) for i in x], lambda x: [np.int16(i) for i in x],
    lambda x: ["abcd"[i] for i in x], lambda x: np.array(["abcd"[i] for i in x]),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_labels_may_be_integers_or_names_of_any_kind(kind):
    numbers = [2, 0, 3, 1, 1, 2]
    made = ImageSet("Made", picture(6, 1, 28, 28), kind(numbers), np.array(list("abcd")))
    assert made.labels.dtype == torch.int64 and made.labels.tolist() == numbers
    assert made[3][1] == 1 and made.class_names == list("abcd")
    assert made.digest == ImageSet("Other", made.images, torch.tensor(numbers), list("abcd")).digest
    chosen = made.select(kind([2, 1]))
    assert chosen.labels.tolist() == [0, 1, 1, 0] and chosen.class_names == ["c", "b"]


def test_names_are_numbered_as_the_set_lists_them():
    made = ImageSet("Made", picture(3, 1, 28, 28), ["z", "a", "z"], ["z", "m", "a"])
    assert made.labels.tolist() == [0, 2, 0]
    assert made.select(["a"]).class_names == ["a"]


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_domains_may_be_of_any_kind(kind):
    made = ImageSet("Made", picture(3, 1, 28, 28), [0, 1, 1], ["a", "b"], domains=kind([7, 5, 7]))
    assert made.domains.dtype == torch.int64 and made.domains.tolist() == [7, 5, 7]
    assert made.select([1]).domains.tolist() == [5, 7]


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a[:, :, ::-1, ::-1], lambda a: a.transpose(0, 1, 3, 2), lambda a: np.asfortranarray(a),
        lambda a: (a.setflags(write=False), a)[1], lambda a: a[::2],
    ],
)  # fmt: skip
def test_arrays_lie_in_memory_as_they_like(make):
    array = make(picture(6, 1, 28, 28))
    made = ImageSet("Made", array, [0] * len(array), ["a"])
    assert np.array_equal(made.images.numpy(), array) and made.inputs().dtype == torch.float32
    assert torch.equal(to_input(array), made.inputs())
    assert made.digest == ImageSet("Made", torch.from_numpy(array.copy()), [0] * len(array), ["a"]).digest


def test_a_set_may_be_empty():
    empty = ImageSet("Empty", torch.zeros(0, 1, 28, 28, dtype=torch.uint8), [], ["a"])
    assert len(empty) == 0 and list(empty) == [] and empty.inputs().shape == (0, 1, 28, 28) and empty.digest


GOOD = dict(name="d", images=picture(4, 1, 28, 28), labels=[0, 1, 1, 0], class_names=["a", "b"])


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(labels=[0, 1, 1]), "one label for each of the 4 images, but there are 3"),
        (dict(labels=[0, 1, 1, 0, 1]), "one label for each of the 4 images, but there are 5"),
        (dict(labels=[1, 2, 2, 1]), "Labels are places in the list of 2 class names, 0 to 1, but these are 1 to 2"),
        (dict(labels=[-1, 0, 0, 1]), "0 to 1, but these are -1 to 1"),
        (dict(labels=torch.rand(4)), "Labels must be integers"),
        (dict(labels=[True, False, True, True]), "Labels must be integers"),
        (dict(labels=torch.eye(4).long()), r"shape \(n,\), but have shape \(4, 4\)"),
        (dict(labels=3), "Labels are one integer an example"),
        (dict(labels=None), "Labels are a tensor, an array or a list"),
        (dict(labels=["a", "b", "z", "a"]), "'z' is not among the class names"),
        (dict(labels=["a", 0, "b", "a"]), "0 is not among the class names"),
        (dict(labels=list("abba"), class_names=["a", "b", "b"]), "Some class names come twice"),
        (dict(class_names=[]), "Labels are places in the list of 0 class names"),
        (dict(class_names="ab"), "class_names is a list of one name a class, but is 'ab'"),
        (dict(class_names=2), "class_names is a list of one name a class, but is 2"),
        (dict(class_groups=["x"]), "one group for each of the 2 classes, but there are 1"),
        (dict(class_groups="xy"), "class_groups is a list of one name a class"),
        (dict(domains=[1, 2, 3]), "one domain for each of the 4 images, but there are 3"),
        (dict(domains=torch.rand(4)), "Domains are numbered as labels are: Labels must be integers"),
        (dict(images=torch.rand(4, 1, 28, 28)), r"uint8 of shape \(n, channels, h, w\), but these are float32 of"),
        (dict(images=np.zeros((4, 1, 28, 28), bool)), "but these are bool of"),
        (dict(images=np.zeros((4, 28, 28), np.uint8)), r"of \(4, 28, 28\)\. images\[:, None\] adds"),
        (dict(images=np.zeros((4, 28, 32, 3), np.uint8)), r"colours last; .*permute\(0, 3, 1, 2\) puts them first"),
        (dict(images=np.zeros((4, 1, 0, 28), np.uint8)), r"uint8 of shape"),
        (dict(images=[[1, 2], [3]]), "uint8 of shape"),
        (dict(images=None), "uint8 of shape"),
        (dict(images=[Image.new("L", (28, 28))] * 4), "uint8 of shape"),
        (dict(transform=3), "A transform is a function"),
    ],
)
def test_a_set_that_does_not_go_together_is_refused(change, message):
    ImageSet(**GOOD)
    with pytest.raises(ValueError, match=message):
        ImageSet(**GOOD | change)


@pytest.mark.parametrize(
    "classes, message",
    [
        ([], "At least one class is selected"),
        ([1, 1], "none twice"),
        ([0, 8], "Tiny has the classes 0 to 7, but 0 to 8 are asked for"),
        ([-1], "Tiny has the classes 0 to 7, but -1 to -1"),
        (torch.arange(8) < 3, "this is a mask"),
        ([True] * 8, "this is a mask"),
        (3, r"as in select\(\[2, 0\]\)"),
        ("patch 3", r"as in select\(\[2, 0\]\)"),
        (["patch 3", "patch 9"], "'patch 9' is not among the class names"),
        ([0.0, 1.0], r"as in select\(\[2, 0\]\)"),
        ({1, 2}, r"as in select\(\[2, 0\]\)"),
        (torch.tensor([[1, 2]]), r"as in select\(\[2, 0\]\)"),
    ],
)
def test_what_selects_no_classes_is_refused(tiny, classes, message):
    with pytest.raises(ValueError, match=message):
        tiny.select(classes)


def test_a_set_says_what_it_holds(tiny):
    assert repr(tiny) == "Tiny: 96 images of 8 classes"


def test_sets_that_share_a_class_are_refused(tiny):
    check_disjoint(tiny.select([0, 1]), tiny.select([2, 3]), tiny.select([4]))
    with pytest.raises(ValueError, match="share 2 classes, patch 1 among them"):
        check_disjoint(tiny.select([0]), tiny.select([1, 2, 3]), tiny.select([2, 1, 7]))


# From pictures to input -------------------------------------------------------------------------------------


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


def two_classes(**options):
    white = torch.full((4, 1, 28, 28), 255, dtype=torch.uint8)
    return ImageSet("Two", white, [0, 0, 1, 1], ["one", "two"], **options)


@pytest.mark.parametrize(
    "transform, message",
    [
        (lambda images: images, "gives floats, one input an image, but this one torch.uint8"),
        (lambda images: images.numpy(), "gives floats, one input an image, but this one uint8"),
        (lambda images: None, "gives floats, one input an image, but this one NoneType"),
        (lambda images: list(images.float()), "gives floats, one input an image, but this one list"),
        (lambda images: images.float().mean(), r"images \(2, 1, 28, 28\) this one makes \(\)"),
        (lambda images: images.float()[:1], r"this one makes \(1, 1, 28, 28\)"),
    ],
)
def test_a_transform_gives_floats(transform, message):
    with pytest.raises(ValueError, match=f"A transform gives .*{message}|A transform {message}"):
        two_classes(transform=transform).inputs([0, 2])


@pytest.mark.parametrize("transform", [torch.Tensor.double, lambda x: x.numpy() / 1.0, lambda x: np.float16(x.numpy())])
def test_floats_of_a_transform_become_those_of_networks(transform):
    data_set = two_classes(transform=transform)
    assert data_set.inputs().dtype == data_set[0][0].dtype == torch.float32
    assert data_set.inputs(3).shape == (1, 28, 28)
