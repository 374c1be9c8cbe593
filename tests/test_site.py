"""The built site is whole, and needs nothing from elsewhere."""

import json
import os
import re
import runpy
import subprocess
import tomllib
from base64 import b64decode
from functools import cache
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from PIL import Image
from pybtex.database import parse_string

from fslib.book import checks
from fslib.book.guesses import QUESTIONS

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "html"
if not (SITE / "index.html").exists():
    pytest.skip("no site is built: `make book` first", allow_module_level=True)

PAGES = sorted(p for p in SITE.rglob("*.html") if "_static" not in p.parts and p != SITE / "index.html")
WRITTEN = [page for page in PAGES if {SITE / "book", SITE / "chapters"} & {*page.parents}]  # Sphinx makes the others
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]["urls"]
ADDRESS = URLS["Documentation"].rstrip("/") + "/"
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(SITE).as_posix())
each_written_page = pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)


@cache
def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf8"), "html.parser")


@cache
def anchors(page: Path) -> set[str]:
    return {tag["id"] for tag in soup(page).find_all(id=True)} | {""}


def links(page: Path):
    """Everything a page names by src or href."""
    for tag in soup(page).find_all(["a", "img", "link", "script", "source", "iframe", "video"]):
        yield from ((tag.name, tag[key]) for key in ("href", "src") if tag.get(key))


def address_of(page: Path) -> str:
    """Where the page will stand once it is published."""
    return ADDRESS + page.relative_to(SITE).as_posix()


def source_of(page: Path) -> str:
    """The file that a written page is made from, as the repository names it."""
    (source,) = ROOT.glob(f"{page.relative_to(SITE).with_suffix('')}.[im]*")
    return source.relative_to(ROOT).as_posix()


def meta(page: Path) -> dict[str, str]:
    """What a page says of itself to search engines and to sites that show a card beside a link."""
    tags = soup(page).find_all("meta", content=True)
    return {tag.get("property") or tag.get("name"): tag["content"] for tag in tags}


def front_door() -> Path:
    (url,) = re.findall(r"url=([^\"]+)", (SITE / "index.html").read_text(encoding="utf8"))
    return SITE / url


def test_front_door_leads_to_the_first_page_and_is_shared_as_it():
    assert front_door().exists()
    assert meta(SITE / "index.html")["og:image"] == meta(front_door())["og:image"]
    assert soup(SITE / "index.html").find("link", rel="canonical")["href"] == address_of(front_door())


def test_next_and_previous_lead_through_the_whole_book():
    walk, page = [], front_door()
    while page:
        walk.append(page)
        following = soup(page).select_one(".prev-next-area a.right-next")
        page = following and (page.parent / following["href"]).resolve()
        if page:
            back = soup(page).select_one(".prev-next-area a.left-prev")["href"]
            assert (page.parent / back).resolve() == walk[-1]
    assert sorted(walk) == WRITTEN


@each_page
def test_has_a_title(page):
    title = soup(page).title.get_text(strip=True)
    assert title and title.count("Learning to Compare") == 1


@each_written_page
def test_a_link_to_it_shows_a_card(page):
    says = meta(page)
    assert says["og:site_name"] == "Learning to Compare" and says["og:url"] == address_of(page)
    number, name, *_ = ["", *soup(page).select_one("article h1").find_all(string=True)][-3:]
    assert says["og:title"] == number + name
    assert 40 <= len(says["og:description"]) and "CPU seconds" not in says["og:description"]
    assert says["og:image"].startswith(ADDRESS) and len(says["og:image:alt"]) >= 60
    picture = Image.open(SITE / says["og:image"].removeprefix(ADDRESS))
    assert picture.size == (int(says["og:image:width"]), int(says["og:image:height"]))


def test_sitemap_lists_what_is_worth_finding():
    listed = [place.text for place in ElementTree.parse(SITE / "sitemap.xml").iter() if place.tag.endswith("}loc")]
    assert {address_of(page) for page in WRITTEN} <= set(listed)
    assert not [url for url in listed if url.endswith(("404.html", "search.html"))]
    assert all((SITE / url.removeprefix(ADDRESS)).exists() for url in listed)


def test_what_stands_in_for_a_missing_page_holds_at_any_depth():
    """A browser reads its addresses from the root of the site, whatever address it was shown for."""
    base = soup(SITE / "404.html").find("base")["href"]
    assert urljoin(ADDRESS + "chapters/no/such/page.html", base) == ADDRESS + "404.html"
    first = soup(SITE / "404.html").find(lambda tag: tag.name in ("base", "link", "script", "a") and tag.attrs)
    assert first.name == "base"  # what stands before it would not be read so


@each_written_page
def test_edit_button_opens_its_source(page):
    url = soup(page).select_one("a.btn-source-edit-button")["href"]
    assert url == f"{URLS['Repository']}/edit/main/{source_of(page)}"


def git(*words: str) -> str:
    """What git says; nothing outside of a repository."""
    environment = {**os.environ, "TZ": "UTC"}
    try:
        return subprocess.run(["git", *words], cwd=ROOT, env=environment, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""


@each_written_page
def test_says_when_it_was_last_changed(page):
    """The day of a commit, never that of the build; and no day where git does not know."""
    shown = soup(page).select_one("p.last-updated")
    if git("rev-parse", "--is-shallow-repository") != "false\n" or not git("log", "-1", "--", source_of(page)):
        return
    days = git("log", "--date=format-local:%-d %B %Y", "--format=%ad").splitlines()
    assert re.fullmatch(r"Last updated on (.+)\.", shown.get_text(strip=True))[1] in days


def test_says_how_to_cite_the_book():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    shown = soup(SITE / "book/how_to_use.html").select_one(".highlight-bibtex").get_text()
    (entry,) = parse_string(shown, "bibtex").entries.values()
    assert {key: citation[key] for key in ("title", "version", "url")}.items() <= entry.fields.items()
    assert [str(name) for name in entry.persons["author"]] == ["{" + one["name"] + "}" for one in citation["authors"]]
    assert re.fullmatch(r"20\d\d", entry.fields["year"])


def test_the_pages_were_built_without_a_warning():
    log = (ROOT / "_build" / "pages.log").read_text(encoding="utf8")
    assert [line for line in log.splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)] == []


@each_written_page
def test_has_one_main_heading(page):
    assert len(soup(page).select("article h1")) == 1


@each_page
def test_loads_nothing_from_elsewhere(page):
    loads = [url for name, url in links(page) if name not in ("a", "link")]
    loads += [tag["href"] for tag in soup(page).find_all("link", href=True) if "canonical" not in tag["rel"]]
    assert not [url for url in loads if urlsplit(url).netloc]


@each_page
def test_links_and_pictures_are_there(page):
    for name, url in links(page):
        parts = urlsplit(url)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.exists(), f"{name} {url}"
        if name == "a" and target.suffix == ".html":
            place = unquote(parts.fragment).partition("?")[0]  # what follows is the state of a figure
            assert place in anchors(target) or soup(target).find(place), f"{name} {url}"


@each_written_page
def test_pictures_have_words(page):
    for picture in soup(page).select("article img"):
        assert len(picture.get("alt", "")) >= 10, picture["src"]


def test_styles_load_nothing_from_elsewhere():
    for style in SITE.rglob("*.css"):
        text = style.read_text(encoding="utf8")
        assert not re.findall(r"""(?:url\(|@import)\s*(?:url\()?['"]?(?:https?:)?//""", text), style


@each_page
def test_is_painted_after_one_style_sheet(page):
    """It waits for no script, but on the page of what a search found; it loads what sets formulas where it has any."""
    head = soup(page).head
    (sheet,) = head.find_all("link", rel="stylesheet")
    assert sheet["href"].split("?")[0].endswith("_static/site.css") and not head.find_all("link", rel="preload")
    scripts = head.find_all("script", src=True)
    waits_for = [one["src"] for one in scripts if not one.has_attr("defer") and one.get("type") != "module"]
    assert not waits_for or page.name == "search.html"
    assert any("mathjax" in one["src"] for one in scripts) == bool(soup(page).select(".math"))


def test_style_sheet_is_small_and_has_its_icons_in_it():
    sheet = (SITE / "_static" / "site.css").read_text(encoding="utf8")
    assert len(sheet) < 200_000  # all sheets together have 550 000
    assert ".bs-tooltip-auto" in sheet  # a name that stands nowhere: a script puts it together
    urls = set(re.findall(r"""url\(["']?([^"':)]+)""", sheet)) - {"data"}
    assert all((SITE / "_static" / url).exists() for url in urls)
    fonts = [TTFont(BytesIO(b64decode(font))) for font in re.findall("font/woff;base64,([^)]+)", sheet)]
    drawn = {chr(code) for font in fonts for code in font.getBestCmap()}
    assert "\uf002" in drawn and drawn == set(re.findall("[\ue000-\uf8ff]", sheet))


@pytest.mark.parametrize(
    "selector, may",
    [
        (".a > p#b:hover", True),
        (".a .gone", False),
        ("#gone", False),
        (".a:not(.gone, :is(.lost, p))", True),
        (":is(.a, .gone) p[href$='.lost']", True),
    ],
)
def test_a_rule_stays_if_something_may_match_it(selector, may):
    assert runpy.run_path(str(ROOT / "book/_ext/one_sheet.py"))["may_match"](selector, {"a", "b"}) == may


@pytest.mark.parametrize("page", sorted(SITE.glob("chapters/*.html")), ids=lambda page: page.stem)
def test_colab_button_opens_this_chapter(page):
    urls = {a["href"] for a in soup(page).find_all("a", href=re.compile("colab.research"))}
    release = r"https://colab\.research\.google\.com/github/[\w-]+/[\w.-]+/blob/v[\d.]+/(.+)"
    paths = {re.fullmatch(release, url)[1] for url in urls}
    assert paths == {f"chapters/{page.stem}.ipynb", f"chapters/solutions/{page.stem}.ipynb"}
    assert all((ROOT / path).exists() for path in paths)


@pytest.mark.parametrize("page", sorted(SITE.glob("chapters/*.html")), ids=lambda page: page.stem)
def test_each_exercise_has_its_solution_folded_under_it(page):
    exercises = [part for part in soup(page).select("section[id^=exercise-]")]
    assert len(exercises) >= 3
    for exercise in exercises:
        (solution,) = exercise.select("details.solution")
        assert not solution.has_attr("open") and "checks." in solution.select_one(".highlight-python").get_text()


@pytest.mark.parametrize("page", sorted(SITE.glob("chapters/*.html")), ids=lambda page: page.stem)
def test_no_exercise_looks_like_an_error_and_its_mistakes_are_folded(page):
    for exercise in soup(page).select("section[id^=exercise-]"):
        asked = exercise.select_one(".cell_input").get_text()
        check = attrgetter(re.search(r"^checks\.([\w.]+)\(", asked, re.MULTILINE)[1])(checks)
        folded = exercise.select("details.mistakes")
        assert len(folded) == bool(check.mistakes()) and not any(each.has_attr("open") for each in folded)
        listed = {strong.text for each in folded for strong in each.select("li strong")}
        right = check.value(check.right)
        assert listed == set(check.mistakes()) and right not in listed
        shown = re.search(rf"(?<![\d.]){re.escape(right)}(?!\d)", str(exercise))
        assert len(right) < 5 or not shown  # shorter ones mean other things


@pytest.mark.parametrize("page", sorted(SITE.glob("chapters/*.html")), ids=lambda page: page.stem)
def test_what_colab_needs_does_not_show(page):
    text = soup(page).select_one("article").get_text()
    assert "Open in Colab" not in text and "your_run.begin" not in text and text.count("CPU seconds ·") == 1


@pytest.mark.parametrize("page", sorted(SITE.glob("chapters/*.html")), ids=lambda page: page.stem)
def test_no_output_is_a_mere_object(page):
    """A figure is shown once, and nothing shows as `<matplotlib.legend.Legend ...>` or as a raw table."""
    for output in soup(page).select(".cell_output"):
        texts = [tag.get_text().strip() for tag in output.select("pre")]
        assert not [text for text in texts if re.match(r"[\[(]*(<\w[\w.]* |Text\(|Figure\(|\|)", text)]
        pictures = [tag["src"] for tag in output.select("img")]
        assert len(pictures) == len(set(pictures))


def test_each_question_finds_its_answer_in_what_waits_for_it():
    """In what the cells printed, or in the ledger; within the slider, or among the options."""
    waits = {part["data-guess"]: part for page in WRITTEN for part in soup(page).select(".after-guess")}
    elements = [one for page in WRITTEN for one in soup(page).select("guess-first")]
    elements = {one["name"]: json.loads(one["data-question"]) for one in elements}
    assert waits.keys() == elements.keys() == QUESTIONS.keys()
    for name, asked in elements.items():
        printed = "\n".join(output.get_text() for output in waits[name].select(".cell_output"))
        truth = asked["truth"] if "truth" in asked else re.search(asked["pattern"], printed)[1]
        if "options" in asked:
            assert truth in asked["options"], name
        else:
            assert asked["low"] < float(str(truth).replace(",", "")) < asked["high"], name
