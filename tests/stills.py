"""Take the still figures that stand in for the living parts of the site, from the site itself.

    python -m tests.stills          # after `make book`

The pages name each figure's size, so look at them when one has changed; tests/test_browser.py compares.
"""

import io

from PIL import Image

from tests.page import LIVE, SITE, chromium, served

PARTS = {  # figure → page, element, and what to do first
    "few-shot-pad": ("book/welcome", "few-shot-pad", ["Draw one for me"]),
    "shift-player": ("chapters/01_the_few_shot_problem", "shift-player", []),
    "episode-player": ("chapters/02_episodes", "episode-player", ["100 more"]),
    "metric-plane": ("chapters/03_metrics", "metric-plane", []),
    "margin-plane": ("chapters/04_losses", "margin-plane", []),
    "metric-plane-modes": ("chapters/06_prototypical_networks", "metric-plane", []),
}


def main() -> None:
    with served(SITE) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1100}, device_scale_factor=2, color_scheme="light")
        for name, (path, selector, buttons) in PARTS.items():
            page.goto(f"{address}/{path}.html")
            element = page.locator(selector).first
            element.evaluate("element => element.scrollIntoView({ block: 'center', behavior: 'instant' })")
            page.wait_for_selector(f"{selector}[data-ready]")
            page.wait_for_timeout(500)
            for button in buttons:
                element.get_by_role("button", name=button).click()
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)
            picture = Image.open(io.BytesIO(element.locator(".live").screenshot())).convert("RGB")
            picture.quantize(48, dither=Image.Dither.NONE).save(LIVE / "stills" / f"{name}.png", optimize=True)
            print(name, *picture.size)


if __name__ == "__main__":
    main()
