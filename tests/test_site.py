"""The built site is whole, and needs nothing from elsewhere."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
SITE = ROOT / "_build" / "html"
if not (SITE / "index.html").exists():
    pytest.skip("no site is built: `make book` first", allow_module_level=True)

PAGES = sorted(p for p in SITE.rglob("*.html") if "_static" not in p.parts and p != SITE / "index.html")
WRITTEN = [page for page in PAGES if page.parent.name in ("book", "chapters")]  # Sphinx makes the others
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


def test_front_door_leads_to_the_first_page():
    (url,) = re.findall(r"url=([^\"]+)", (SITE / "index.html").read_text(encoding="utf8"))
    assert (SITE / url).exists()


@each_page
def test_has_a_title(page):
    assert soup(page).title.get_text(strip=True)


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
            assert unquote(parts.fragment) in anchors(target), f"{name} {url}"


@each_written_page
def test_pictures_have_words(page):
    for picture in soup(page).select("article img"):
        assert len(picture.get("alt", "")) >= 10, picture["src"]


def test_styles_load_nothing_from_elsewhere():
    for style in SITE.rglob("*.css"):
        text = style.read_text(encoding="utf8")
        assert not re.findall(r"""(?:url\(|@import)\s*(?:url\()?['"]?(?:https?:)?//""", text), style


@pytest.mark.parametrize("page", sorted(SITE.glob("chapters/*.html")), ids=lambda page: page.stem)
def test_colab_button_opens_this_chapter(page):
    (url,) = {a["href"] for a in soup(page).find_all("a", href=re.compile("colab.research"))}
    path = re.fullmatch(r"https://colab\.research\.google\.com/github/[\w-]+/[\w.-]+/blob/main/(.+)", url)[1]
    assert path == f"chapters/{page.stem}.ipynb" and (ROOT / path).exists()


@pytest.mark.parametrize("page", sorted(SITE.glob("chapters/*.html")), ids=lambda page: page.stem)
def test_no_output_is_a_mere_object(page):
    """A figure is shown once, and nothing shows as `<matplotlib.legend.Legend ...>` or as a raw table."""
    for output in soup(page).select(".cell_output"):
        texts = [tag.get_text().strip() for tag in output.select("pre")]
        assert not [text for text in texts if re.match(r"[\[(]*(<\w[\w.]* |Text\(|Figure\(|\|)", text)]
        pictures = [tag["src"] for tag in output.select("img")]
        assert len(pictures) == len(set(pictures))
