"""Sets of labelled images."""

import copy
import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler

from fslib.augmentation import inverted, mirrored, turned
from fslib.data import ImageSet, check_disjoint, halves, to_input


def picture(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


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


def half_as_bright(images):
    return images.float() / 510


class Colour(ImageSet):
    """As in benchmarks/against_easyfsl.py."""

    def inputs(self, indices=slice(None)):
        return self.images[indices].float() / 255


def in_colour(kind=ImageSet, **options):
    images = torch.from_numpy(picture(12, 3, 32, 32))
    return kind("Colours", images, torch.arange(4).repeat(3), list("abcd"), list("xxyy"), torch.arange(12), **options)


@pytest.mark.parametrize("kind, options, white", [(ImageSet, dict(transform=half_as_bright), 510), (Colour, {}, 255)])
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


def test_colours_that_would_be_taken_for_ink_are_told(recwarn):
    in_colour(transform=half_as_bright), in_colour(Colour)
    assert not recwarn
    with pytest.warns(UserWarning, match="taken for dark ink on white paper"):
        in_colour()


def test_a_copy_keeps_what_a_subclass_added():
    class Files(ImageSet):
        def __init__(self, folder):
            super().__init__("Files", picture(4, 1, 28, 28), [0, 0, 1, 1], ["a", "b"])
            object.__setattr__(self, "folder", folder)

    files = Files("here")
    assert files.to("cpu").folder == files.select([1]).folder == "here"


def test_by_default_a_set_is_turned_by_to_input():
    with pytest.warns(UserWarning):
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


# New classes --------------------------------------------------------------------------------------------------

MAPS = {f"turned {90 * k}°": partial(turned, quarters=k) for k in (1, 2, 3)}


def test_new_classes_are_the_old_ones_as_the_maps_make_them(tiny):
    more = tiny.with_new_classes(MAPS)
    assert len(more.class_names) == 4 * 8 and len(more) == 4 * len(tiny) and more.name == tiny.name
    for k in range(4):
        part = slice(k * len(tiny), (k + 1) * len(tiny))
        assert torch.equal(more.images[part], tiny.images.rot90(k, (-2, -1)))
        assert torch.equal(more.labels[part], tiny.labels + 8 * k)
        assert torch.equal(more.domains[part], tiny.domains)
    assert more.class_names[17] == "patch 1 turned 180°" and more.class_groups[17] == "left turned 180°"
    assert len(set(more.class_names)) == 32 and more.digest != tiny.digest


@pytest.mark.parametrize("but", [[2, 5], ["patch 5", "patch 2"]])
def test_of_some_classes_no_new_ones_are_made(tiny, but):
    more = tiny.with_new_classes({"mirrored": mirrored, "inverted": inverted}, but)
    assert len(more.class_names) == 8 + 2 * 6 and (more.labels.bincount() == 12).all()
    assert more.class_names[8:14] == [f"patch {c} mirrored" for c in (0, 1, 3, 4, 6, 7)]
    of_four = more.labels == more.class_names.index("patch 4 inverted")
    assert torch.equal(more.images[of_four], 255 - tiny.images[tiny.labels == 4])
    assert not any(f"patch {c} " in name for c in (2, 5) for name in more.class_names[8:])


def test_new_classes_of_a_set_without_groups_and_domains(tiny):
    plain = ImageSet("Plain", tiny.images, tiny.labels, tiny.class_names)
    more = plain.with_new_classes({"mirrored": mirrored})
    assert list(more.class_groups) == [] and more.domains is None and len(more.class_names) == 16
    everything = plain.with_new_classes({"mirrored": mirrored}, but=range(8))
    assert torch.equal(everything.images, plain.images) and everything.class_names == plain.class_names


@pytest.mark.parametrize(
    "maps, but, says",
    [
        ({"halved": lambda images: images[..., ::2]}, (), r"of that shape, here \(96, 1, 28, 28\), but 'halved' made"),
        ({"grey": lambda images: images / 2}, (), "but 'grey' made torch.float32"),
        ({"lost": lambda images: None}, (), "but 'lost' made NoneType"),
        ({"mirrored": mirrored}, [9], "has the classes 0 to 7, but 9 to 9 are asked for"),
        ({"mirrored": mirrored}, ["patch 9"], "'patch 9' is not among the class names"),
        ({"mirrored": mirrored}, [1, 1], "none twice"),
    ],
)  # fmt: skip
def test_what_makes_no_new_classes_is_said(tiny, maps, but, says):
    with pytest.raises(ValueError, match=says):
        tiny.with_new_classes(maps, but)


def test_halves_share_no_picture_and_miss_none_and_hold_all_classes(tiny):
    shuffled = torch.randperm(len(tiny), generator=torch.Generator().manual_seed(0))[:-1]  # one class has eleven
    whole = replace(tiny, images=tiny.images[shuffled], labels=tiny.labels[shuffled], domains=tiny.domains[shuffled])
    first, second = halves(whole)
    for c in range(8):
        of_class = whole.labels == c
        joined = [torch.cat([getattr(half, part)[half.labels == c] for half in (first, second)])
                  for part in ("images", "domains")]  # fmt: skip
        assert torch.equal(joined[0], whole.images[of_class]) and torch.equal(joined[1], whole.domains[of_class])
        assert (first.labels == c).sum() - (second.labels == c).sum() in (0, 1)
    assert first.class_names == second.class_names == whole.class_names


def test_of_a_single_picture_there_are_no_halves(tiny):
    lone = ImageSet("Lone", tiny.images[:3], [0, 1, 0], ["patch", "other patch"])
    with pytest.raises(ValueError, match="other patch has a single picture, of which there are no two halves"):
        halves(lone)
