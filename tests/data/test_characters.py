"""Names are taken apart as a person would, and relatives are those of a loop over the names."""

import unicodedata

import pytest

from fslib.data.characters import RELATIONS, Character, character, graph


@pytest.mark.parametrize(
    "of, script, case, base, modifiers",
    [
        ("ά", "Greek", "small", "alpha", ("tonos",)),
        ("ᾄ", "Greek", "small", "alpha", ("psili", "oxia", "ypogegrammeni")),
        ("Α", "Greek", "capital", "alpha", ()),
        ("ƀ", "Latin", "small", "b", ("stroke",)),  # which has no decomposition
        ("ᴊ", "Latin", "small capital", "j", ()),
        ("א", "Hebrew", None, "alef", ()),
        ("Ҁ", "Cyrillic", "capital", "koppa", ()),
        ("ݙ", "Arabic", None, "dal", ("two dots vertically below", "small tah")),
        ("ߊ", "N'Ko", None, "a", ()),
        ("🂡", "Playing card", None, "ace of spades", ()),
    ],
)
def test_a_name_tells_script_case_base_and_modifiers(of, script, case, base, modifiers):
    assert character(unicodedata.name(of)) == Character(script, case, base, modifiers)


def test_case_and_script_are_those_of_unicode_and_of_glyphs(glyphs):
    """By its categories, which say which letters are capital; and by the groups of the data set."""
    for images in glyphs.values():
        for name, group in zip(images.class_names, images.class_groups):
            found, category = character(name), unicodedata.category(unicodedata.lookup(name))
            assert found.script == group and found.base
            if found.case in ("capital", "small"):
                assert category == {"capital": "Lu", "small": "Ll"}[found.case], name


def test_of_a_decomposition_the_base_and_the_marks_are_those_of_the_name():
    """Where a character has one, which those of Glyphs have not."""
    checked = 0
    for code in range(0x00C0, 0x1FFF):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        name, base = unicodedata.name(chr(code)), chr(int(parts[0], 16))
        if not name.startswith(("LATIN ", "GREEK ")) or " LETTER " not in name or not base.isalpha():
            continue
        if " WITH " in name and name.partition(" WITH ")[0] == unicodedata.name(base).partition(" WITH ")[0]:
            checked += 1
            whole, of_base = character(name), character(unicodedata.name(base))
            assert whole.relation(of_base) == "modifier"
            assert len(of_base.modifiers) < len(whole.modifiers)  # one is tonos here and oxia there
    assert checked > 400


@pytest.mark.parametrize(
    "one, other, relation",
    [
        ("LATIN SMALL LETTER B WITH STROKE", "LATIN SMALL LETTER B", "modifier"),
        ("LATIN SMALL LETTER B WITH STROKE", "LATIN SMALL LETTER B WITH HOOK", "modifier"),
        ("LATIN SMALL LETTER B WITH HOOK", "LATIN CAPITAL LETTER B WITH HOOK", "case"),
        ("LATIN SMALL LETTER B WITH HOOK", "LATIN CAPITAL LETTER B", "script"),
        ("LATIN SMALL LETTER B", "LATIN SMALL LETTER Q", "script"),
        ("GREEK SMALL LETTER ALPHA", "LATIN SMALL LETTER ALPHA", None),
        ("NKO LETTER KA", "LAO LETTER KO", None),
        ("LAO LETTER KO", "LAO LETTER KO", None),
    ],
)
def test_the_nearest_relation_of_two_characters_is_the_same_from_both(one, other, relation):
    assert character(one).relation(character(other)) == character(other).relation(character(one)) == relation


def test_the_graph_is_that_of_a_loop_over_names(glyphs):
    names = [name for name in glyphs["train"].class_names if name.startswith(("LATIN", "CYRILLIC"))]
    marked, plain = ([n for n in names if (" WITH " in n) == with_modifier] for with_modifier in (True, False))
    found = graph(marked, plain)
    assert list(found) == marked
    for name in marked[::10]:
        base = name.partition(" WITH ")[0]
        assert found[name].get("modifier", []) == [other for other in plain if other == base]
        assert "case" not in found[name]  # of what is plain, none has the modifiers
        script = [other for other in plain if other.split()[0] == name.split()[0] and other != base]
        assert found[name]["script"] == script
    assert sum("modifier" in relatives for relatives in found.values()) > 80
    assert all(set(relatives) <= set(RELATIONS) for relatives in found.values())


def test_scripts_of_the_test_classes_have_no_relatives_in_training(glyphs):
    assert not any(graph(glyphs["test"].class_names, glyphs["train"].class_names).values())


@pytest.mark.parametrize("name", ["LATIN SMALL LETTER B turned 90°", "patch 3", ""])
def test_what_is_no_name_of_a_character_is_said(name):
    with pytest.raises(ValueError, match=f"no character of the name '{name}'"):
        graph([name], [])
    with pytest.raises(ValueError, match="PLUS SIGN is in none of the scripts of Glyphs"):
        character("PLUS SIGN")
