"""Take the still figures that stand in for the living parts of the site, from the site itself, and draw its card.

    python -m tests.stills          # after `make book`

The pages name each figure's size, so look at them when one has changed; tests/test_browser.py compares.
"""

import io
from pathlib import Path

from PIL import Image

from tests.page import LIVE, ROOT, SITE, chromium, served

STATIC = ROOT / "book" / "_static"

PARTS = {  # figure → page, element, and what to do first: buttons to press, or sliders and a key for each
    "few-shot-pad": ("book/welcome", "few-shot-pad", ["Draw one for me"]),
    "learning-player": ("book/welcome", "learning-player", [("Training tasks", "End")]),
    "shift-player": ("chapters/01_the_few_shot_problem", "shift-player", []),
    "episode-player": ("chapters/02_episodes", "episode-player", ["100 more"]),
    "metric-plane": ("chapters/03_metrics", "metric-plane", []),
    "margin-plane": ("chapters/04_losses", "margin-plane", []),
    "block-plane": ("chapters/05_embedding_functions", "block-plane", []),
    "metric-plane-modes": ("chapters/06_prototypical_networks", "metric-plane", []),
    "rings-plane": ("chapters/07_relation_networks", "rings-plane", []),
    "votes-plane": ("chapters/08_matching_networks", "votes-plane", []),
    "noise-plane": (
        "chapters/09_the_three_compared",
        "noise-plane",
        [*["Make one label wrong"] * 3, "Nearest example"],
    ),
    "augmentation-player": (
        "chapters/11_augmentation_and_distillation",
        "augmentation-player",
        [("Turn", "ArrowRight")] * 10,
    ),
    "nuisance-slider": ("chapters/12_what_to_ignore_and_what_to_adapt", "nuisance-slider", []),
}

# Wherever on its page a part stands, its picture comes out in one size.
WHOLE_PIXELS = "part => { part.style.translate = `0 ${-part.getBoundingClientRect().y % 1}px`; }"

CARD = """<style>
    body { margin: 0; width: 1200px; height: 630px; background: #f5f7fc; color: #1f2430; overflow: hidden;
           font-family: "DejaVu Sans", sans-serif; display: grid; align-content: center; justify-items: center; }
    h1 { display: flex; align-items: center; gap: 24px; font-size: 60px; margin: 0 0 12px; letter-spacing: -0.02em; }
    h1 svg { width: 76px; } p { font-size: 29px; color: #5a6275; margin: 0 0 30px; } body > svg { width: 980px; }
</style><h1>%s Learning to Compare</h1><p>An executable textbook on few-shot learning</p>%s"""


def draw_card(browser) -> None:
    """The picture that other sites show beside a link to a page."""
    pictures = [(STATIC / name).read_text(encoding="utf8") for name in ("logo.svg", "idea.svg")]
    page = browser.new_page(viewport={"width": 1200, "height": 630})
    page.set_content(CARD % tuple(pictures))
    save(page.screenshot(), STATIC / "card.png")


def save(screenshot: bytes, file: Path) -> None:
    """In few colours, for a small file; such that the few pixels of a mark keep theirs."""
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    print(file.stem, *picture.size)


def take(page, element, actions, file: Path) -> None:
    """A picture of a living part, once everything is done and at rest, without a ring around what has the focus."""
    for action in actions:
        if isinstance(action, tuple):
            element.get_by_role("slider", name=action[0]).press(action[1])
            element.evaluate("element => element.shadowRoot.activeElement.blur()")
        else:
            element.get_by_role("button", name=action).click()
    page.mouse.move(0, 0)
    part = element.locator(".live")
    part.evaluate(WHOLE_PIXELS)
    page.wait_for_timeout(500)
    save(part.screenshot(), file)


def main() -> None:
    with served(SITE) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1100}, device_scale_factor=2, color_scheme="light")
        for name, (path, selector, actions) in PARTS.items():
            page.goto(f"{address}/{path}.html")
            element = page.locator(selector).first
            element.evaluate("element => element.scrollIntoView({ block: 'center', behavior: 'instant' })")
            page.wait_for_selector(f"{selector}[data-ready]")
            page.wait_for_timeout(500)
            take(page, element, actions, LIVE / "stills" / f"{name}.png")
        draw_card(browser)


if __name__ == "__main__":
    main()
