"""Loading by name."""


import pytest

from fslib import data


@pytest.mark.parametrize(
    "name, split, said",
    [
        ("glyps", "train", "no data set 'glyps'; did you mean 'glyphs'?"),
        ("Omniglot", "train", "no data set 'Omniglot'; did you mean 'omniglot'?"),
        ("mnist", "train", "no data set 'mnist'"),
        ("qq", "train", "no data set 'qq'; there are glyphs, omniglot, digits."),
        ("glyphs", "testing", "no split 'testing'; did you mean 'test'?"),
        ("glyphs", "train+valid", "no split 'valid'; did you mean 'validation'?"),
        ("glyphs", "", "no split ''; there are train, validation, test."),
    ],
)
def test_unknown_name_or_split_is_refused_with_a_hint(name, split, said):
    with pytest.raises(ValueError) as raised:
        data.load(name, split)
    assert said in str(raised.value)


@pytest.mark.parametrize("name, split", [("glyphs", ["train"]), ("glyphs", 3), (3, "test"), (["glyphs"], "test")])
def test_what_is_no_name_is_refused(name, split):
    with pytest.raises(ValueError, match=r"(A split is a name|A data set has a name), .* but this is"):
        data.load(name, split)
