"""Characters by their Unicode names, and a graph of which is a relative of which: what is known before any picture.

A name such as ``GREEK SMALL LETTER ALPHA WITH TONOS`` tells script, case, base letter and modifiers, and Python's own
``unicodedata`` has the names of all. It tells more than a character's decomposition, which ``ƀ``, a ``b`` with a
stroke, does not have. A name is of a sound or a use, too: the letters ``KA`` of two scripts need not look alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fslib.data.glyphs import named, script_of

#: How two characters can be related, the nearest first. They are the same but for the modifiers, the same but for the
#: case, or of one script.
RELATIONS = ("modifier", "case", "script")

#: Relatives of each class, by relation.
Graph = Mapping[str, Mapping[str, Sequence[str]]]

_LETTER = re.compile(r"(?:(?P<case>CAPITAL|SMALL) )?LETTER (?:(?P<late>SMALL CAPITAL) )?(?P<base>.+)")


@dataclass(frozen=True)
class Character:
    """What the Unicode name of a character tells.

    Attributes:
        script: the writing system, as in the ``class_groups`` of Glyphs.
        case: ``"capital"``, ``"small"``, ``"small capital"``, or ``None`` if there is none.
        base: the letter that is modified, or the whole of a name that is of no letter.
        modifiers: what is added to it, in the order of the name.
    """

    script: str
    case: str | None
    base: str
    modifiers: tuple[str, ...] = ()

    def relation(self, other: Character) -> str | None:
        """The nearest of :data:`RELATIONS` in which another character stands to this one; ``None`` if in none."""
        if self.script != other.script or self == other:
            return None
        if self.base == other.base and self.case == other.case:
            return "modifier"
        if self.base == other.base and self.modifiers == other.modifiers:
            return "case"
        return "script"


def character(name: str) -> Character:
    """The parts of a Unicode name.

    Raises:
        ValueError: if it is the name of no character, or of one in none of the scripts of Glyphs.

    Example:
        >>> character("GREEK SMALL LETTER ALPHA WITH TONOS")
        Character(script='Greek', case='small', base='alpha', modifiers=('tonos',))
        >>> character("PLAYING CARD ACE OF SPADES")
        Character(script='Playing card', case=None, base='ace of spades', modifiers=())
    """
    try:
        script = script_of(unicodedata.lookup(name))
    except KeyError as error:
        raise ValueError(f"Unicode has no character of the name {name!r}.") from error
    if script is None:
        raise ValueError(f"{name} is in none of the scripts of Glyphs.")
    rest = name.removeprefix(script + " ")
    letter = _LETTER.fullmatch(rest)
    case = (letter["case"] or letter["late"]) if letter else None
    base, _, modifiers = (letter["base"] if letter else rest).partition(" WITH ")
    return Character(
        named(script),
        case and case.lower(),
        base.lower(),
        tuple(modifiers.lower().split(" and ")) if modifiers else (),
    )


def graph(names: Sequence[str], known: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """The relatives that classes have among others, by the nearest relation that holds between two.

    Args:
        names: classes, by their Unicode names; of those that are to be learned from a few examples.
        known: classes of which there are many examples, those of training.

    Returns:
        Of each name, by each of :data:`RELATIONS` in which it has any, the relatives among those known.

    Raises:
        ValueError: if one is no Unicode name, as that of a class made by a turn.

    Example:
        >>> known = ["LATIN SMALL LETTER B", "LATIN SMALL LETTER Q", "LAO LETTER O"]
        >>> graph(["LATIN SMALL LETTER B WITH STROKE"], known)["LATIN SMALL LETTER B WITH STROKE"]
        {'modifier': ['LATIN SMALL LETTER B'], 'script': ['LATIN SMALL LETTER Q']}
    """
    others = {name: character(name) for name in known}
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        one = character(name)
        relations = {other: one.relation(parts) for other, parts in others.items()}
        by_relation = {each: [other for other in known if relations[other] == each] for each in RELATIONS}
        found[name] = {relation: relatives for relation, relatives in by_relation.items() if relatives}
    return found
