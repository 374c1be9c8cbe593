"""A browser and a small server for the tests of what runs in the page.

The browser is Chromium as the system has it, best as the headless shell, which opens no windows, or as
`playwright install chromium` fetched it. Without one, these tests are skipped and say so; on a machine that builds
for others (`CI` set) they fail instead.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIVE = ROOT / "fslib" / "book" / "figures"
SITE = ROOT / "_build" / "html"


class Host(http.server.SimpleHTTPRequestHandler):
    """Serves a folder under a path, and its 404.html for whatever is not there, as hosts of project sites do."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def __init__(self, *args, under: str, **options):
        self.under = under
        super().__init__(*args, **options)

    def send_head(self):
        if not self.path.startswith(self.under):
            return self.send_error(404)
        self.path = self.path.removeprefix(self.under.rstrip("/"))
        return super().send_head()

    def send_error(self, code, *args):
        page = Path(self.directory, "404.html")
        if code != 404 or not page.exists():
            return super().send_error(code, *args)
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page.read_bytes())

    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path, under: str = "/") -> Iterator[str]:
    """The address, without a slash at its end, of a server for one folder, as long as it is needed."""
    handler = functools.partial(Host, directory=str(folder), under=under)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{under.rstrip('/')}"
        server.shutdown()


@contextmanager
def chromium() -> Iterator:
    """A headless Chromium, or a skipped test."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        _without("Playwright is not installed: pip install playwright")
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            )
        except Error:
            _without("no Chromium is here: install the system's, or run `playwright install chromium`")
        yield browser
        browser.close()


def _without(reason: str):
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def drag(page, surface, strokes) -> None:
    """Draw strokes, points in a frame of 105 × 105, on one of the pad's surfaces with the mouse."""
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"] / 105, box["y"] + y * box["height"] / 105) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()


def painted(page) -> None:
    """Wait until what was done shows, in the frame after the next."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
