"""A bibliography in which an entry is found as the text cites it: by names and year, and in that order."""

from collections import Counter

from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.template import field, href, words


def label(entry) -> str:
    """*Snell et al., 2017*; two authors have both their names, and what has none goes by its title."""
    persons = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [" ".join([*person.prelast_names, *person.last_names]).strip("{}") for person in persons]
    names = names or [entry.fields.get("title", entry.key).replace("{", "").replace("}", "")]
    who = f"{names[0]} et al." if len(names) > 2 or names[-1] == "others" else " and ".join(names)
    return f"{who}, {entry.fields.get('year', 'n.d.')}"


class Labels(BaseLabelStyle):
    """Labels of entries; those that would be the same get letters."""

    def format_labels(self, sorted_entries):
        labels = [label(entry) for entry in sorted_entries]
        number, seen = Counter(labels), Counter()
        for one in labels:
            seen[one] += 1
            yield one + (chr(96 + seen[one]) if number[one] > 1 else "")


class AuthorYear(Plain):
    """The plain style, with these labels; an address is shown as one."""

    default_label_style = Labels
    default_sorting_style = "author_year_title"

    def format_url(self, e):
        """A link whose text is the address without its scheme: of all of it the theme would make a short name."""
        address = field("url", raw=True)
        return words["URL:", href(address)[field("url", raw=True, apply_func=lambda url: url.partition("//")[2])]]


def setup(app):
    register_plugin("pybtex.style.formatting", "author_year", AuthorYear)
    app.config.bibtex_default_style = "author_year"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
