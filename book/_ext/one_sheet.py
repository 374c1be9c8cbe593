"""One style sheet for the whole site, in place of the ten that themes and extensions bring.

No page is painted before its style sheets are there, and no icon before its font is. But the pages use a tenth of the
rules and a dozen of 2000 icons: the one sheet has only these, with the icons in it.
"""

import logging
import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from itertools import groupby
from os.path import relpath
from pathlib import Path

import tinycss2
from fontTools import subset
from fontTools.ttLib import TTFont

SHEET = re.compile(r'<link [^>]*?href="([^"?]+\.css)[^"]*"[^>]*>\s*')
SCRIPT = re.compile(r'<script [^>]*?src="([^"?]+)')
PUT_TOGETHER = {"bs-tooltip-auto"}  # names that stand in no script as they are
PARENTHESES = re.compile(r":[\w-]+\([^()]*\)|\[[^]]*\]")  # the innermost, and brackets
NAME = re.compile(r"[.#]((?:[\w-]|\\.)+)")
FONT_FACE = re.compile(r"(@font-face\{[^}]*src:)[^}]*/([\w-]+)\.woff2[^}]*\}")
ICON = re.compile("[\ue000-\uf8ff]")  # the private use of a font


def read(path: Path) -> str:
    return path.read_text(encoding="utf8")


def words(site: Path, pages: dict[Path, str]) -> set[str]:
    """All words of the pages and their scripts: a class or an id that is not among them is nowhere."""
    named = ((page.parent / url).resolve() for page in pages for url in SCRIPT.findall(pages[page]))
    scripts = map(read, {*named, *site.glob("_static/live/*.mjs")})
    texts = [*pages.values(), *scripts]
    return PUT_TOGETHER.union(*(re.findall(r"[\w-]+", text) for text in texts))


def may_match(selector: str, known: set[str]) -> bool:
    """Whether it asks for known classes and ids alone; what it excludes or leaves to choose, it does not ask for."""
    while selector != (simpler := PARENTHESES.sub("", selector)):
        selector = simpler
    return known.issuperset(NAME.findall(selector))


def used(sheet: str | list, folder: Path, known: set[str]) -> Iterator[str]:
    """The rules of a sheet that something on the site may match; licences stay."""
    for rule in tinycss2.parse_rule_list(sheet, skip_whitespace=True):
        if rule.type == "qualified-rule":
            parts = groupby(rule.prelude, lambda token: token == ",")
            selectors = [tinycss2.serialize(part).strip() for comma, part in parts if not comma]
            if selectors := [one for one in selectors if may_match(one, known)]:
                yield f"{','.join(selectors)}{{{tinycss2.serialize(rule.content)}}}"
        elif rule.type == "at-rule" and rule.at_keyword == "media":
            if inside := "".join(used(rule.content, folder, known)):
                yield f"@media{tinycss2.serialize(rule.prelude)}{{{inside}}}"
        elif rule.type == "at-rule" and rule.at_keyword == "import":
            (url,) = (token.value for token in rule.prelude if token.type == "string")
            yield from used(read(folder / url), folder, known)
        elif rule.type == "at-rule" and rule.at_keyword != "charset":
            yield rule.serialize()
        elif rule.type == "comment" and rule.value.startswith("!"):
            yield rule.serialize()


def with_icons(sheet: str, site: Path) -> str:
    """The sheet with the fonts of its icons in it, each with no others."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports each table
    shown = "".join(ICON.findall(sheet))

    def embed(face: re.Match) -> str:
        (path,) = site.rglob(f"{face[2]}.ttf")
        font, file = TTFont(path, recalcTimestamp=False), BytesIO()
        subsetter = subset.Subsetter(subset.Options(hinting=False, layout_features=[]))
        subsetter.populate(text=shown)
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(file)
        return f"{face[1]}url(data:font/woff;base64,{b64encode(file.getvalue()).decode()})}}"

    return FONT_FACE.sub(embed, sheet)


def one_sheet(app, exception) -> None:
    """Write the sheet, and let it stand in every page where the first of the others stood."""
    if exception or app.builder.format != "html":
        return
    site = Path(app.outdir)
    target = site / "_static" / "site.css"
    pages = {page: read(page) for page in site.rglob("*.html") if "_static" not in page.parts}
    found = ((page.parent / url).resolve() for page in pages for url in SHEET.findall(pages[page]))
    sheets = [sheet for sheet in dict.fromkeys(found) if sheet != target]
    if not sheets:  # no page was written anew
        return
    known = words(site, pages)
    text = "\n".join(rule for sheet in sheets for rule in used(read(sheet), sheet.parent, known))
    sources = ", ".join(path.relative_to(site).as_posix() for path in sheets)
    text = f'@charset "utf-8";\n/* What the pages use of {sources} */\n{with_icons(text, site)}\n'
    target.write_text(text, encoding="utf8")
    version = sha256(text.encode()).hexdigest()[:8]
    for page, old in pages.items():
        if first := SHEET.search(old):
            link = f'<link rel="stylesheet" href="{relpath(target, page.parent)}?v={version}" />\n'
            new = old[: first.start()] + link + SHEET.sub("", old[first.end() :])
            page.write_text(new, encoding="utf8")


def setup(app):
    app.connect("build-finished", one_sheet, priority=900)  # after the pages have lost scripts
    return {"parallel_read_safe": True, "parallel_write_safe": True}
