"""The built site in a real browser: every page quiet, whole and accessible, every living part alive."""

import json
import re
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageChops

from fslib.book.figures import FIGURES
from tests.page import LIVE, SITE, chromium, drag, painted, served

if not (SITE / "index.html").exists():
    pytest.skip("no site is built: `make book` first", allow_module_level=True)

FILES = [p for p in SITE.rglob("*.html") if "_static" not in p.parts and p != SITE / "index.html"]
PAGES = sorted(path.relative_to(SITE).as_posix() for path in FILES)
WRITTEN = [page for page in PAGES if page.startswith(("book/", "chapters/"))]
CHAPTER = "chapters/06_prototypical_networks.html"
NOISE = "chapters/09_the_three_compared.html"
PADS = ["book/welcome.html", CHAPTER]
MODULES = {name: kind.module for name, kind in FIGURES.items()}
ELEMENTS = ", ".join(MODULES)
LIVELY = [page for page in WRITTEN if re.search(f"<({'|'.join(MODULES)})", (SITE / page).read_text(encoding="utf8"))]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address():
    """The site stands where it will be published: under a path, which the page for missing pages names."""
    (under,) = re.findall('<base href="(.*)404.html"', (SITE / "404.html").read_text(encoding="utf8"))
    with served(SITE, under) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, address):
    """Open a page of the site; afterwards, complain of errors and of what was asked of elsewhere."""
    contexts, complaints = [], []

    def open_page(path, before=lambda page: None, expected=(), **options):
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        page = context.new_page()

        def complain(text):
            if not any(part in text for part in expected):
                complaints.append(f"{path}: {text}")

        page.on("console", lambda m: m.type in ("error", "warning") and complain(f"{m.type} {m.text}"))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or complain(f"asks {r.url}"))
        page.on("response", lambda r: r.status >= 400 and complain(f"{r.status} {r.url}"))
        before(page)
        page.goto(f"{address}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def pad(visit):
    """Open a page with a pad, and wait until it is there."""

    def open_pad(path=CHAPTER, hash="", **options):
        page = visit(path + hash, **options)
        scroll_to(page, "few-shot-pad")
        page.wait_for_selector("few-shot-pad[data-ready]")
        return page

    return open_pad


def scroll_to(page, selector):
    page.locator(selector).first.evaluate("element => element.scrollIntoView({ block: 'center', behavior: 'instant' })")


def wake(page):
    """Bring every living part into view, until it is there."""
    for element in page.locator(ELEMENTS).all():
        element.evaluate("""async (element) => {
            while (!("ready" in element.dataset)) { // what loads above may push it out of view again
                element.scrollIntoView({ block: "center", behavior: "instant" });
                await new Promise((resolve) => setTimeout(resolve, 20));
            }
        }""")
    painted(page)


def surface(page, name):
    return page.get_by_role("application", name=f"Drawing area for {name}:")


def example(page, letter, number=1):
    return surface(page, f"example {number} of character {letter}")


def new_drawing(page):
    return surface(page, "the new drawing")


def answer(page):
    painted(page)
    return page.locator("few-shot-pad .answer").inner_text()


def result(page):
    painted(page)
    return page.locator("few-shot-pad").evaluate("pad => pad.result ?? null")


def focused(page):
    return page.evaluate("""() => {
        const one = document.activeElement?.shadowRoot?.activeElement ?? document.activeElement;
        return one.getAttribute("aria-label") ?? one.textContent;
    }""")


def ready_made(page, character, hand):
    """The points of a ready-made character, every third, for a mouse."""
    code = "async (a) => (await import('../_static/live/alphabet.mjs')).draw(...a)"
    strokes = page.evaluate(code, [character, hand])
    return [stroke[::3] for stroke in strokes]


# Every page --------------------------------------------------------------------------------------


SETTLED = """async () => {
    for (const image of document.images) image.loading = "eager";
    await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
    while (document.querySelector(".math") && !window.MathJax?.startup?.promise) // not even begun to load
        await new Promise((resolve) => setTimeout(resolve, 20));
    await window.MathJax?.startup?.promise;
    await document.fonts.ready;
    return [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src);
}"""


FORMULAS = """({ all: document.querySelectorAll(".math").length,
    set: document.querySelectorAll(".math mjx-container").length })"""
# Formulas whose beginning lies left of their box, where no scrolling reaches.
BEGUN_OUTSIDE = """[...document.querySelectorAll("div.math")].filter((box) =>
    box.querySelector("mjx-container")?.getBoundingClientRect().left < box.getBoundingClientRect().left - 0.5
).map((box) => box.id || box.textContent)"""


@pytest.mark.parametrize("path", PAGES)
def test_page_is_quiet_and_fits(visit, path):
    """No error, nothing asked of elsewhere, no broken picture, no sideways scrolling; on a phone and, turned, wide."""
    page = visit(path, viewport=NARROW)
    wake(page)
    assert page.evaluate(SETTLED) == []
    formulas = page.evaluate(FORMULAS)
    assert formulas["set"] == formulas["all"]
    for viewport in (NARROW, WIDE):
        page.set_viewport_size(viewport)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate(BEGUN_OUTSIDE) == []


def test_the_page_answers_while_its_formulas_are_set(visit):
    """Whoever asks in the meantime, over and over, gets a turn when some formulas are set and others not yet."""
    asking = """{
        const [{ port1: asks, port2: answers }, counts] = [new MessageChannel(), (window.counts = new Set())];
        answers.onmessage = () => {
            counts.add(document.querySelectorAll("mjx-container").length);
            if (!window.settled) asks.postMessage("");
        };
        asks.postMessage("");
    }"""
    page = visit(CHAPTER, before=lambda page: page.add_init_script(asking))
    page.evaluate(SETTLED)
    page.evaluate("window.settled = true")
    formulas, counts = page.evaluate(FORMULAS), page.evaluate("[...window.counts]")
    assert any(0 < count < formulas["all"] for count in counts)


# How far what is seen has moved without the reader's doing, in the measure of Web Vitals; below 0.1 is called good.
SHIFTED = """new Promise((done) => {
    const sum = (list) => done(list.getEntries().reduce((total, shift) => total + shift.value, 0));
    new PerformanceObserver(sum).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => done(0), 500);
})"""


@pytest.mark.parametrize("path", ["book/welcome.html", CHAPTER])
def test_nothing_jumps_while_a_page_loads(visit, path):
    assert visit(path).evaluate(SHIFTED) < 0.1


EVERYTHING_OPEN = """() => {
    document.querySelectorAll("details").forEach((one) => (one.open = true));
    document.querySelectorAll(".dropdown-menu").forEach((one) => one.classList.add("show"));
}"""
# In the place of the one style sheet those that it was made of.
ALL_SHEETS = """async (sources) => {
    const one = document.querySelector("link[rel=stylesheet]");
    await Promise.all(sources.map((source) => new Promise((resolve) => {
        const link = Object.assign(document.createElement("link"), { rel: "stylesheet", onload: resolve });
        link.href = new URL(source, one.href.split("_static")[0]);
        one.before(link);
    })));
    one.remove();
    await document.fonts.ready;
}"""


@pytest.mark.parametrize("options", [{"viewport": NARROW, "color_scheme": "light"}, {"color_scheme": "dark"}])
@pytest.mark.parametrize("path", ["book/welcome.html", CHAPTER, "book/notation.html"])
def test_the_one_style_sheet_looks_as_all_of_them(visit, path, options):
    sheet = (SITE / "_static" / "site.css").read_text(encoding="utf8")
    (sources,) = re.findall(r"use of (.+) \*/", sheet)
    page = visit(path, **options)
    wake(page)
    page.add_style_tag(content="*, ::before, ::after { animation: none !important; transition: none !important; }")
    page.add_style_tag(content="".join(re.findall("@font-face{[^}]*}", sheet)))  # its icons, to the pixel
    page.evaluate(EVERYTHING_OPEN)
    page.evaluate(SETTLED)
    one = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    page.evaluate(ALL_SHEETS, sources.split(", "))
    painted(page)
    all_of_them = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    assert one.size == all_of_them.size
    assert max(most for _, most in ImageChops.difference(one, all_of_them).getextrema()) <= 2


def test_the_theme_is_there_before_its_script(visit):
    page = visit(
        "book/welcome.html",
        before=lambda page: page.route("**/pydata-sphinx-theme.js*", lambda route: route.abort()),
        expected=("ERR_FAILED",),
        color_scheme="dark",
    )
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("path", ["nothing.html", "chapters/no/such/page.html"])
def test_a_wrong_address_leads_back(visit, address, path):
    """The page that stands in, at whatever depth, has its styles and scripts, and its links hold."""
    page = visit(path, expected=(f"404 {address}/{path}", "Failed to load resource"))
    assert page.title().startswith("Page not found")
    page.get_by_role("link", name="begin at the beginning").click()
    page.wait_for_url(f"{address}/book/welcome.html")


def test_search_finds_the_chapter(visit, address):
    """From the keyboard, in any page, with no server behind it."""
    page = visit(CHAPTER)
    page.keyboard.press("Control+k")
    page.keyboard.type("relation module")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/search.html?q=relation+module")
    # Excerpts arrive one by one and push the links down, from under a mouse; a key hits what has the focus.
    page.locator("#search-results li > a[href*='/07_relation_networks.html']").first.press("Enter")
    page.wait_for_url("**/07_relation_networks.html*")


@pytest.mark.parametrize("path", ["book/welcome.html", CHAPTER])
def test_paper_shows_the_text_alone(visit, path):
    """In dark ink though the reader's theme is dark; no side bar, no button."""
    page = visit(path, color_scheme="dark")
    wake(page)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    for gone in ("button", "select", "input", "nav.bd-links", ".bd-header-article", ".prev-next-footer", "summary"):
        assert page.locator(f"{gone}:visible").count() == 0, gone
    assert page.locator("article p:visible").count() >= 5
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def axe() -> str:
    package = pytest.importorskip("axe_playwright_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf8")


STANDARDS = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
COLORS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
# Of the thousands of coloured words in the code, one of each kind: all others look the same.
FEW_TOKENS = """{
    const seen = new Set();
    for (const token of document.querySelectorAll(".highlight pre > span[class]")) {
        const kind = `${token.closest("[class*=highlight-]")?.className}: ${token.className}`;
        if (seen.has(kind)) token.replaceWith(...token.childNodes);
        seen.add(kind);
    }
}"""


@pytest.mark.parametrize("path", [*WRITTEN, "404.html"])
def test_axe_finds_no_violation(visit, path):
    """WCAG 2.1 AA and good practice in the light theme; what is about colour in the dark one too."""
    page = visit(path, color_scheme="light")
    wake(page)
    page.evaluate(FEW_TOKENS)
    page.evaluate(axe())
    run = """async (rules) => (await axe.run(
        { exclude: ["mjx-container"] }, { preload: false, resultTypes: ["violations"], runOnly: rules })).violations"""
    violations = page.evaluate(run, STANDARDS)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    painted(page)
    page.evaluate("Promise.allSettled(document.getAnimations().map((animation) => animation.finished))")
    violations += page.evaluate(run, COLORS)
    found = [(v["id"], [node["target"] for node in v["nodes"]][:3]) for v in violations]
    assert found == [], json.dumps(found, indent=1)


@pytest.mark.parametrize("path", LIVELY)
def test_every_living_part_has_words(visit, path):
    """Its still figure has alternative text, and, alive, it says in a live region what it shows."""
    page = visit(path)
    wake(page)
    for element in page.locator(ELEMENTS).all():
        still = element.locator("> img")
        assert len(still.get_attribute("alt")) >= 60
        file = SITE / "_static" / urlsplit(still.get_attribute("src")).path.split("_static/")[1]
        size = tuple(int(still.get_attribute(key)) for key in ("width", "height"))
        assert size == Image.open(file).size
        element.locator("[aria-live]").first.filter(has_text=re.compile(".{20}")).wait_for(state="attached")
        unnamed = element.evaluate("""element => [...element.shadowRoot.querySelectorAll("[tabindex], [role=img]")]
            .filter((one) => !one.getAttribute("aria-label")).map((one) => one.outerHTML)""")
        assert unnamed == []


def test_every_playground_is_on_a_page():
    sources = {path.name: path.read_text(encoding="utf8") for path in LIVE.glob("*.mjs")}
    modules = {name for name, source in sources.items() if "\nexport default playground(" in source}
    assert modules == set(MODULES.values())
    loaded = set(re.findall(r"_static/live/(\w+\.mjs)", "".join((SITE / page).read_text("utf8") for page in LIVELY)))
    assert modules <= loaded and len(LIVELY) >= 6


@pytest.mark.parametrize("path", LIVELY)
def test_light_and_dark_differ(visit, path):
    page, pictures = visit(path), []
    wake(page)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_selector(f"html[data-theme={theme}]")
        pictures.append([element.screenshot() for element in page.locator(ELEMENTS).all()])
    assert pictures[0] and all(light != dark for light, dark in zip(*pictures))


@pytest.mark.parametrize("path", LIVELY)
def test_no_light_paper_lies_under_a_figure_in_the_dark(visit, path):
    page = visit(path, color_scheme="dark")
    behind = """element => {
        const seen = [];
        for (let one = element; one; one = one.parentElement) seen.push(getComputedStyle(one).backgroundColor);
        return seen.find((color) => color !== "rgba(0, 0, 0, 0)");
    }"""
    wake(page)
    for element in page.locator(f":is({ELEMENTS}), .plane").all():
        red, green, blue = map(int, re.findall(r"\d+", element.evaluate(behind))[:3])
        assert max(red, green, blue) < 64


@pytest.mark.parametrize("path", LIVELY)
def test_what_a_figure_says_can_be_read_on_a_phone(visit, path):
    """All text in it is as large as a small print, in a drawing too, which is shrunk to the width of the page."""
    page = visit(path, viewport=NARROW)
    wake(page)
    small = """(element) => [...element.shadowRoot.querySelectorAll("*")].filter((one) => {
        const own = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
        const scale = one.getScreenCTM?.().a ?? 1;
        return own && one.getClientRects().length && parseFloat(getComputedStyle(one).fontSize) * scale < 11;
    }).map((one) => one.outerHTML)"""
    for element in page.locator(ELEMENTS).all():
        assert element.evaluate(small) == []


SHADED = """() => [...document.querySelectorAll(".bd-article *")].filter((one) =>
    one.clientWidth && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX === "auto"
).map((one) => [one.outerHTML.slice(0, 200), getComputedStyle(one).backgroundAttachment])"""


@pytest.mark.parametrize("path", ["chapters/04_losses.html", "book/notation.html", "book/results.html"])
def test_what_is_cut_on_a_phone_shows_that_it_scrolls(visit, path):
    """Code, tables and formulas: a shade stays at the edge, until paper comes with the end of what is scrolled."""
    page = visit(path, viewport=NARROW)
    page.evaluate(SETTLED)
    cut = page.evaluate(SHADED)
    assert cut and [part for part, attachment in cut if attachment != "local, local, scroll, scroll, scroll"] == []


@pytest.mark.parametrize("path", LIVELY)
def test_without_javascript_a_picture_stands_in(visit, path):
    page = visit(path, java_script_enabled=False)
    for picture in page.locator(f":is({ELEMENTS}) > img").all():
        picture.scroll_into_view_if_needed()
        assert picture.is_visible() and picture.bounding_box()["width"] > 300


# The drawing pad ---------------------------------------------------------------------------------


def test_the_first_page_begins_with_the_pad(visit):
    """A reader sees where to draw, on either side, and what to do, without scrolling."""
    page = visit("book/welcome.html", viewport={"width": 1280, "height": 800})
    page.wait_for_selector("few-shot-pad[data-ready]")
    assert page.evaluate("scrollY") == 0
    for part in (example(page, "C"), new_drawing(page), page.locator("few-shot-pad .answer")):
        box = part.bounding_box()
        assert 0 < box["y"] and box["y"] + box["height"] <= 800


def test_the_network_comes_only_when_the_pad_is_seen(visit):
    asked = []
    page = visit(CHAPTER, before=lambda page: page.on("request", lambda r: asked.append(r.url)))
    page.wait_for_load_state("networkidle")
    assert not [url for url in asked if url.endswith(".bin")]
    scroll_to(page, "few-shot-pad")
    page.wait_for_selector("few-shot-pad[data-ready]")
    assert [url for url in asked if url.endswith("conv4.f16.bin")]


def test_drawing_with_the_mouse(pad):
    """Clear all, draw three characters, then each of them again in another hand: all are recognised."""
    page = pad()
    page.get_by_role("button", name="Clear all").click()
    for letter, character in zip("ABC", (3, 6, 4)):
        drag(page, example(page, letter), ready_made(page, character, 0))
    for letter, character in zip("ABC", (3, 6, 4)):
        new_drawing(page).press("Delete")
        drag(page, new_drawing(page), ready_made(page, character, 8))
        assert f": {letter} (" in answer(page)
        found = result(page)
        assert found["names"] == ["A", "B", "C"] and sum(found["shares"]) == pytest.approx(1)
        best = found["names"].index(letter)
        assert found["measures"][best] == min(found["measures"])


def test_five_shots_and_ten_ways(pad):
    page = pad()
    page.get_by_label("Characters").select_option("10")
    page.get_by_label("Examples").select_option("5")
    page.get_by_role("button", name="Ready-made").click()
    drag(page, new_drawing(page), ready_made(page, 7, 9))
    assert ": H (" in answer(page) and len(result(page)["names"]) == 10
    page.get_by_label("Compare by").select_option("matching")
    assert ": H (" in answer(page) and "attention" in answer(page)
    page.get_by_label("Compare by").select_option("relation")
    found = result(page)
    score, share = found["measures"][7], 100 * found["shares"][7]
    assert answer(page) == f"The highest relation score: H ({score:.2f}). Its share of all scores: {share:.0f}\u00a0%."
    assert all(0 < score < 1 for score in found["measures"]) and sum(found["shares"]) == pytest.approx(1)
    assert page.get_by_text("judges each character by itself").is_visible()


def test_centring_changes_what_the_network_sees(pad):
    """A small drawing in a corner is recognised when it is centred; as it is, its distance is larger."""
    page = pad()
    small = [[[5 + x / 3, 5 + y / 3] for x, y in stroke] for stroke in ready_made(page, 0, 7)]
    drag(page, new_drawing(page), small)
    centred = result(page)
    page.get_by_label("Centre and scale").uncheck()
    raw = result(page)
    assert centred["measures"].index(min(centred["measures"])) == 0
    assert raw["measures"][0] > 2 * centred["measures"][0]


@pytest.mark.parametrize("path", PADS)
def test_the_keyboard_is_enough(pad, path):
    """From the page's first link to an answer with Tab, arrows, Space and Enter."""
    page = pad(path)

    def tab_to(name):
        for _ in range(120):
            page.keyboard.press("Tab")
            if name in focused(page):
                return
        raise AssertionError(f"Tab never comes to {name!r}")

    scroll_to(page, "few-shot-pad")
    page.locator("few-shot-pad").evaluate("pad => pad.shadowRoot.querySelector('select').focus()")
    tab_to("Clear all")
    page.keyboard.press("Enter")
    down, right = "ArrowDown", "ArrowRight"
    for name, moves in (("of character A", down), ("of character B", right), ("new drawing", right)):
        tab_to(name)
        for _ in range(6):
            page.keyboard.press("ArrowLeft" if moves == right else "ArrowUp")
        page.keyboard.press("Space")
        for _ in range(12):
            page.keyboard.press(moves)
        page.keyboard.press("Space")
    assert ": B (" in answer(page)
    said = page.locator("few-shot-pad output[aria-live]")
    said.filter(has_text="B: squared distance").wait_for(state="attached")
    page.keyboard.press("Control+z")
    page.keyboard.press("Delete")
    assert "once more" in answer(page)


def test_the_pen_of_the_keyboard(pad):
    """It shows with the focus, says where it is, does not flutter under a held key, and is lifted by undo."""
    page = pad()
    drawing, cursor = new_drawing(page), new_drawing(page).locator(".cursor")
    page.keyboard.press("Tab")
    drawing.focus()
    painted(page)
    assert cursor.is_visible() and "Space lowers" in drawing.evaluate(
        "one => one.getRootNode().getElementById(one.getAttribute('aria-describedby')).textContent"
    )

    def is_down():
        painted(page)
        return "down" in cursor.get_attribute("class")

    page.keyboard.down("Space")
    page.keyboard.down("Space")  # a repeat
    page.keyboard.up("Space")
    page.keyboard.press("ArrowLeft")
    assert is_down() and "one stroke" in drawing.get_attribute("aria-label")
    where = "Pen down, 46\u00a0% across, 50\u00a0% down."
    page.locator("few-shot-pad output").filter(has_text=where).wait_for(state="attached")
    page.keyboard.press("Control+z")
    page.keyboard.press("ArrowLeft")
    assert not is_down() and "no strokes" in drawing.get_attribute("aria-label")
    page.keyboard.press("Space")
    page.keyboard.press("Delete")
    page.keyboard.press("ArrowLeft")
    assert not is_down() and "no strokes" in drawing.get_attribute("aria-label")


def test_only_characters_of_the_alphabet_are_drawn_for_the_reader(pad):
    page = pad()
    draw_one = page.get_by_role("button", name="Draw one for me")
    for letter, character in zip("AC", (7, 8)):
        example(page, letter).press("Delete")
        drag(page, example(page, letter), ready_made(page, character, 0))
    for _ in range(3):
        draw_one.click()
        assert ": B (" in answer(page)
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("The link is").wait_for()
    other = pad(hash="#" + page.url.split("#")[1])
    new_drawing(other).press("Delete")
    other.get_by_role("button", name="Draw one for me").click()
    assert ": B (" in answer(other)
    example(page, "B").press("Delete")
    before = result(page)
    draw_one.click()
    assert page.get_by_text("all of these are your own").is_visible() and result(page) == before


def test_a_finger_draws_and_does_not_scroll(pad):
    page = pad(viewport=NARROW, has_touch=True, is_mobile=True, device_scale_factor=3)
    drawing = new_drawing(page)
    drawing.scroll_into_view_if_needed()
    before, box = page.evaluate("scrollY"), drawing.bounding_box()
    touch = page.context.new_cdp_session(page)
    for i in range(12):
        point = {"x": box["x"] + 40 + 7 * i, "y": box["y"] + 30 + 9 * i}
        kind = "touchStart" if i == 0 else "touchMove"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert result(page) and page.evaluate("scrollY") == before
    assert "one stroke" in new_drawing(page).get_attribute("aria-label")


def test_undo_takes_back_one_step(pad):
    page = pad()
    undo = page.get_by_role("button", name="Undo")

    def can_undo():
        painted(page)
        return undo.get_attribute("aria-disabled") == "false"

    assert not can_undo()
    page.get_by_role("button", name="Ready-made").click()  # which are there already
    new_drawing(page).press("Delete")
    assert not can_undo()
    drag(page, new_drawing(page), ready_made(page, 1, 7))
    first = result(page)
    page.get_by_role("button", name="Clear all").click()
    assert result(page) is None
    undo.click()
    assert result(page) == first
    undo.click()
    assert result(page) is None and not can_undo()
    assert "Undo" in focused(page)  # where a disabled button would have lost it


def test_a_link_brings_the_drawings_to_somebody_else(pad):
    page = pad()
    page.get_by_label("Characters").select_option("4")
    drag(page, new_drawing(page), ready_made(page, 3, 7))
    page.get_by_role("button", name="Copy link").click()
    first, link = result(page), page.url
    assert "#alphabet-" in link and len(link) < 2000
    other = pad(hash="#" + link.split("#")[1])
    second = result(other)
    assert second["names"] == first["names"] and other.evaluate("scrollY") > 0
    assert second["measures"] == pytest.approx(first["measures"], rel=0.2)


def test_a_link_holds_the_settings_and_goes_with_the_drawings(pad):
    """It opens in a tab that shows the pad already, and is gone at the next change, as is what was said of it."""
    page = pad(viewport=NARROW)
    page.get_by_label("Compare by").select_option("relation")
    page.get_by_label("Centre and scale").uncheck()
    drag(page, new_drawing(page), ready_made(page, 1, 7))
    page.get_by_role("button", name="Copy link").click()
    first, said = result(page), page.get_by_text("The link is")
    said.wait_for()
    under = page.get_by_role("button", name="Copy link").bounding_box()
    assert 0 < said.bounding_box()["y"] - under["y"] < 120  # in sight
    link = page.url
    page.get_by_role("button", name="Clear all").click()
    assert "#" not in page.url and not said.is_visible()
    page.get_by_label("Compare by").select_option("prototypical")
    page.get_by_label("Centre and scale").check()
    page.evaluate("link => (location.href = link)", link)
    page.wait_for_function("document.querySelector('few-shot-pad').result")
    assert page.get_by_label("Compare by").input_value() == "relation" and page.url == link
    assert not page.get_by_label("Centre and scale").is_checked()
    assert result(page)["measures"] == pytest.approx(first["measures"], rel=0.2)
    page.get_by_role("button", name="Undo").click()
    assert result(page) is None and "#" not in page.url
    page.evaluate("location.hash = '#alphabet-no'")
    page.get_by_text("This link is damaged").wait_for()
    page.get_by_role("button", name="Ready-made").click()
    assert not page.get_by_text("This link is damaged").is_visible() and "#" not in page.url


def test_on_a_phone_the_new_drawing_is_near_the_controls(pad):
    """However many examples there are; five of a character stand in one row."""
    page = pad(viewport=NARROW)
    page.get_by_label("Characters").select_option("10")
    page.get_by_label("Examples").select_option("5")
    painted(page)
    under = page.get_by_role("button", name="Clear all").bounding_box()
    assert 0 < new_drawing(page).bounding_box()["y"] - under["y"] < 200
    row = [example(page, "J", number).bounding_box() for number in range(1, 6)]
    assert len({round(box["y"]) for box in row}) == 1 and min(box["width"] for box in row) > 44


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_pad_is_nowhere_cut_off(pad, width):
    page = pad(viewport={"width": width, "height": 844})
    page.get_by_role("button", name="Draw one for me").click()
    page.locator("few-shot-pad summary").click()
    page.get_by_label("Names of the letters").fill("a very long name of a character, b")
    page.get_by_label("Names of the letters").press("Tab")
    page.get_by_role("button", name="Save alphabet").click()
    painted(page)
    right = page.locator("few-shot-pad .live").evaluate("one => one.getBoundingClientRect().right")
    for box in page.locator("few-shot-pad .live :is(svg, canvas, button, select, input, td > *, p)").all():
        if box.is_visible():
            place = box.bounding_box()
            assert place["x"] + place["width"] <= right


# Bad input ---------------------------------------------------------------------------------------


def test_an_empty_canvas_says_what_to_do(pad):
    page = pad()
    assert "Draw one of these characters" in answer(page)
    page.get_by_role("button", name="Clear all").click()
    assert "Draw one example of each character under “Your alphabet”" in answer(page)
    assert page.locator("few-shot-pad table").is_hidden()
    for letter, character in zip("AB", (3, 6)):
        drag(page, example(page, letter), ready_made(page, character, 0))
    assert answer(page) == "Now draw one of them once more, here."
    assert page.locator("few-shot-pad table").is_visible()


def test_equals_are_equally_near(pad):
    page = pad()
    page.get_by_role("button", name="Clear all").click()
    for letter in "AB":
        drag(page, example(page, letter), [[[20, 50], [80, 50]]])
    drag(page, new_drawing(page), [[[50, 20], [50, 80]]])
    for method in ("prototypical", "matching", "relation"):
        page.get_by_label("Compare by").select_option(method)
        assert answer(page) == "A and B are equally near (50\u00a0% each)."
    drag(page, example(page, "C"), [[[50, 50]]])
    assert "an example of C is only a dot" in answer(page)


def test_one_class_only_says_what_is_missing(pad):
    page = pad()
    page.get_by_role("button", name="Clear all").click()
    drag(page, example(page, "B"), ready_made(page, 1, 0))
    drag(page, new_drawing(page), ready_made(page, 1, 7))
    assert "Only B has an example" in answer(page) and result(page) is None


def test_a_dot_is_answered_with_a_warning(pad):
    page = pad()
    drag(page, new_drawing(page), [[[50, 50]]])
    assert "only a dot" in answer(page) and all(p == p for p in result(page)["shares"])


def test_a_failed_download_can_be_tried_again(visit):
    """It says what failed; the focus stays on the button, and goes into the pad once it is there."""

    def fail(page):
        page.route("**/*.bin", lambda route: route.abort())

    page = visit(CHAPTER, expected=("Failed to load", "ERR_FAILED"), before=fail)
    scroll_to(page, "few-shot-pad")
    alert = page.locator("few-shot-pad [role=alert]")
    alert.wait_for()
    said = "What this figure needs could not be loaded. Are you offline? Try again"
    assert alert.inner_text() == said and page.locator("few-shot-pad > img").is_visible()
    assert page.locator("few-shot-pad > p").count() == 1  # no word of JavaScript, which there is
    alert.evaluate("one => one.dataset.first = ''")
    held = []
    page.route("**/*.bin", lambda route: held.append(route))
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("button", name="Loading…", disabled=True).wait_for()
    while not held:
        page.wait_for_timeout(20)
    for route in held:
        route.abort()
    page.locator("few-shot-pad [role=alert]:not([data-first])").wait_for()
    assert alert.inner_text() == said and focused(page) == "Try again"
    page.unroute("**/*.bin")
    page.keyboard.press("Enter")
    page.wait_for_selector("few-shot-pad[data-ready]")
    assert not page.get_by_text(said).is_visible()
    assert focused(page).startswith("2")  # the first choice: of how many characters


@pytest.mark.parametrize("path, element, module", [(CHAPTER, "few-shot-pad", "conv4"), (NOISE, "noise-plane", "noise")])
def test_a_module_that_does_not_come_is_missed(visit, path, element, module):
    def fail(page):
        page.route(f"**/live/{module}.mjs*", lambda route: route.abort())

    page = visit(path, expected=("Failed to load", "ERR_FAILED"), before=fail)
    page.locator(f"{element} > p", has_text="could not be loaded. Are you offline?").wait_for()
    assert page.locator(f"{element} > img").is_visible()


def test_a_download_cut_short_is_noticed(visit):
    page = visit(CHAPTER, before=lambda page: page.route("**/*.bin", lambda r: r.fulfill(body=b"\0" * 1000)))
    scroll_to(page, "few-shot-pad")
    page.locator("few-shot-pad [role=alert]").wait_for()
    assert "not the network" in page.locator("few-shot-pad [role=alert]").inner_text()


@pytest.mark.parametrize("hash", ["#alphabet-", "#alphabet-AQIDBAUG", "#alphabet-%F0%9F", "#alphabet-AQMB" + "A" * 80])
def test_a_damaged_link_leaves_a_working_pad(pad, hash):
    page = pad(hash=hash)
    said = page.locator("few-shot-pad [role=alert]")
    assert "This link is damaged" in said.inner_text()
    assert said.bounding_box()["y"] < page.get_by_label("Characters").bounding_box()["y"]
    drag(page, new_drawing(page), ready_made(page, 1, 7))
    assert ": B (" in answer(page)


@pytest.mark.parametrize("missing", ["structuredClone", "IntersectionObserver"])
def test_an_old_browser_gets_a_picture_or_a_pad(visit, missing):
    page = visit(CHAPTER, expected=(missing,), before=lambda page: page.add_init_script(f"delete window.{missing}"))
    scroll_to(page, "few-shot-pad")
    if missing == "IntersectionObserver":
        page.wait_for_selector("few-shot-pad[data-ready]")
    else:
        page.locator("few-shot-pad [role=alert]").wait_for()
        assert "too old" in page.locator("few-shot-pad [role=alert]").inner_text()
        assert page.locator("few-shot-pad > img").is_visible()


# Guesses -----------------------------------------------------------------------------------------

LOSSES = "chapters/04_losses.html"


def question(page, name):
    """A question and what waits for it, once the question lives."""
    page.wait_for_selector(f"#guess-{name}[data-ready]", state="attached")
    return page.locator(f"#guess-{name}"), page.locator(f".after-guess[data-guess={name}]")


@pytest.mark.parametrize("viewport", [WIDE, NARROW])
def test_a_guess_is_asked_first_by_keyboard_and_kept(visit, viewport):
    page = visit(CHAPTER, viewport=viewport)
    asked, waits = question(page, "square")
    assert not waits.is_visible()
    asked.get_by_role("slider").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    before = asked.evaluate("one => one.getBoundingClientRect().top")
    page.keyboard.press("Tab")
    assert focused(page) == "That is my guess"
    page.keyboard.press("Enter")
    assert waits.is_visible() and waits.locator("table").is_visible()
    assert abs(asked.evaluate("one => one.getBoundingClientRect().top") - before) < 2
    said = focused(page)
    assert re.fullmatch(r"You guessed 2\.0\spoints; it is \d+\.\d\s±\s\d+\.\d\spoints\.", said)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.reload()
    asked, waits = question(page, "square")
    assert waits.is_visible() and said in asked.locator(".live").inner_text()
    assert not question(page, "pens-and-fonts")[1].is_visible()


def test_a_choice_must_be_made(visit):
    asked, waits = question(visit(LOSSES), "best-loss")
    asked.get_by_role("button", name="That is my guess").click()
    assert "Choose one first" in asked.locator(".live").inner_text() and not waits.is_visible()
    asked.get_by_role("radio").first.focus()
    asked.page.keyboard.press("ArrowDown")
    asked.get_by_role("button", name="That is my guess").click()
    said = asked.locator(".live").inner_text()
    assert waits.is_visible() and "You chose “triplet, all”; the answer is “SupCon”." in said


def test_only_this_one_shows_one_figure_and_keeps_nothing(visit):
    page = visit(LOSSES)
    asked, waits = question(page, "triplets")
    other = question(page, "best-loss")
    asked.get_by_role("button", name="Only this one").click()
    assert "asks again" in focused(page) and waits.is_visible()
    assert other[0].is_visible() and not other[1].is_visible()
    page.reload()
    asked, waits = question(page, "triplets")
    assert asked.get_by_role("button", name="Show me").is_visible() and not waits.is_visible()


def test_show_me_is_for_the_whole_book_and_can_be_taken_back(visit, address):
    page = visit(LOSSES)
    asked, waits = question(page, "triplets")
    other = question(page, "best-loss")
    asked.get_by_role("button", name="Show me").click()
    assert "shows its figures at once" in focused(page)
    assert waits.is_visible() and other[1].is_visible() and not other[0].is_visible()
    page.goto(f"{address}/{CHAPTER}")
    asked, waits = page.locator("#guess-square"), page.locator("[data-guess=square]")
    assert waits.is_visible() and not asked.is_visible()
    page.goto(f"{address}/book/intuition.html")
    page.get_by_role("button", name="Ask before figures").press("Enter")
    page.goto(f"{address}/{CHAPTER}")
    asked, waits = question(page, "square")
    assert asked.is_visible() and not waits.is_visible()


@pytest.mark.parametrize("way", ["no JavaScript", "paper", "no module"])
def test_a_figure_is_simply_there(visit, way):
    def lose(page):
        if way == "no module":
            page.route("**/guess.mjs*", lambda route: route.abort())

    page = visit(CHAPTER, java_script_enabled=way != "no JavaScript", before=lose, expected=("ERR_FAILED",))
    if way == "paper":
        question(page, "square")
        page.emulate_media(media="print")
    page.wait_for_selector(".after-guess[data-guess=square]", state="visible")
    assert way == "no module" or not page.locator("#guess-square").is_visible()


def test_intuition_counts_what_this_browser_kept(visit, address):
    page = visit(CHAPTER)
    for name in ("square", "pens-and-fonts"):
        question(page, name)[0].get_by_role("button", name="That is my guess").click()
    page.goto(f"{address}/{LOSSES}")
    asked, _ = question(page, "best-loss")
    asked.get_by_label("SupCon").check()
    asked.get_by_role("button", name="That is my guess").click()
    page.goto(f"{address}/book/intuition.html")
    mine = page.locator("your-intuition .live")
    assert "You have guessed 3 of" in mine.inner_text() and "Of 1 choice you got 1 right" in mine.inner_text()
    assert mine.locator(".ring").count() == 2
    page.on("dialog", lambda dialog: dialog.accept())
    mine.get_by_role("button", name="Forget my guesses").click()
    assert "You have guessed 0 of" in mine.inner_text() and mine.locator(".ring").count() == 0


@pytest.mark.parametrize("path", [CHAPTER, LOSSES, "book/intuition.html"])
def test_axe_finds_no_violation_in_guesses_that_were_made(visit, path):
    found = {"square": {"guess": 3, "truth": 4.7, "half": 1}, "best-loss": {"guess": "CosFace", "truth": "SupCon"}}
    stored = json.dumps(json.dumps({"guesses": found}))
    page = visit(path, before=lambda p: p.add_init_script(f"localStorage['learning-to-compare.guesses'] = {stored}"))
    page.wait_for_selector("[data-ready]")
    page.evaluate(axe())
    where = "document.querySelector('guess-first, your-intuition').localName"
    run = f"async (rules) => (await axe.run({where}, {{ resultTypes: ['violations'], runOnly: rules }})).violations"
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        painted(page)
        assert [(one["id"], one["nodes"][0]["html"]) for one in page.evaluate(run, STANDARDS)] == []
