"""Labels of every kind become the same integers, and what are no labels is refused in a sentence."""

import numpy as np
import pytest
import torch

from fslib.labels import as_labels

NUMBERS = [3, 0, 7, 3, 120, 7]


@pytest.mark.parametrize(
    "kind",
    [
        list, tuple, np.array, torch.tensor, lambda x: np.array(x[::-1])[::-1],
        lambda x: [torch.tensor(i) for i in x], lambda x: [np.uint8(i) for i in x],
        *(lambda x, t=t: np.array(x, t) for t in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64")),
        lambda x: np.array(x, dtype=object), lambda x: np.ma.array(x, mask=False),
        lambda x: [torch.tensor([i]) for i in x],
        *(lambda x, t=t: torch.tensor(x, dtype=t) for t in (torch.int8, torch.uint8, torch.int16, torch.int32)),
    ],
)  # fmt: skip
def test_integers_of_any_kind(kind):
    labels = as_labels(kind(NUMBERS))
    assert labels.dtype == torch.int64 and labels.tolist() == NUMBERS


def test_integers_of_int64_are_not_copied():
    labels = torch.tensor(NUMBERS)
    assert as_labels(labels).data_ptr() == labels.data_ptr()


def test_negative_labels_and_ranges_are_labels():
    assert as_labels([-5, 2]).tolist() == [-5, 2]
    assert as_labels(range(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda x: np.array(x, dtype=object)])
def test_names_are_numbered_in_sorted_order(kind):
    assert as_labels(kind(["dog", "cat", "owl", "cat"])).tolist() == [1, 0, 2, 0]
    assert as_labels(kind([["b", "a"], ["a", "c"]]), axes=None).tolist() == [[1, 0], [0, 2]]


@pytest.mark.parametrize("kind", [list, np.array])
def test_names_are_refused_where_numbers_mean_classes(kind):
    with pytest.raises(ValueError, match="These labels are names, but integers are wanted here"):
        as_labels(kind(["cat", "dog"]), names=False)


def test_axes():
    grid = torch.arange(6).view(2, 3)
    assert as_labels(grid, axes=None).shape == as_labels(grid, axes=2).shape == (2, 3)
    assert as_labels([]).shape == as_labels(np.array([])).shape == (0,)
    assert as_labels([]).dtype == torch.int64


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(3), [0.5, 1.5], np.array([1.0]), torch.tensor([True, False]), [True, False], np.array([True]),
        torch.eye(3).long(), [[1, 0], [0, 1]], 3, torch.tensor(3), np.int64(3), None, "cat", b"cat", {1, 2}, {"a": 1},
        [1, [2, 3]], [None, 1], [1 + 2j], torch.tensor([1j]), np.array(["2020-01-01"], dtype="datetime64[D]"), object(),
        [2**70], (i for i in range(3)), ["a", "b", float("nan")], ["a", None], ["1", 1], [1, float("nan")], ["a", b"a"],
        np.ma.array([1, 2, 3], mask=[0, 1, 0]), np.ma.array(["a", "b"], mask=[0, 1]), [torch.ones(2).long()] * 2,
        [torch.ones(2).long(), torch.tensor(1)], torch.tensor([1, 2]).to_sparse(), [torch.tensor([1, 2]).to_sparse()],
        np.array([0, 1, None], dtype=object), np.array(["a", 1], dtype=object), np.array([True], dtype=object),
    ],
)  # fmt: skip
def test_what_are_no_labels_is_refused(wrong):
    with pytest.raises(ValueError, match=r"^(Labels|These labels) (are|must be) "):
        as_labels(wrong)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["a", float("nan")], "Labels must be all names or all integers, but nan is among names"),
        (["1", 1], "but 1 is among names"),
        ([["a", "b"], ["c", None]], "but None is among names"),
        ([0, float("nan")], "Labels must be known, but one is nan"),
        (np.ma.array([0, 1], mask=[True, False]), "some are masked; leave those examples out"),
        (torch.tensor([1, 2]).to_sparse(), r"must be dense, .* labels.to_dense\(\) is"),
    ],
)
def test_the_sentence_says_what_is_wrong(wrong, message):
    with pytest.raises(ValueError, match=message):
        as_labels(wrong, axes=None)
