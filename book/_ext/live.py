"""Bring the figures of a page to life: give the page the module of each that stands in it.

A figure is an element around a still picture, made by `fslib.figures.show` in a notebook or written by hand:

    <few-shot-pad class="playground">
    <img src="_static/live/stills/few-shot-pad.png" alt="…">
    </few-shot-pad>

Without JavaScript the picture is what shows. Pages without a figure load nothing. The modules come from the package.
"""

import re
import shutil
from pathlib import Path

from fslib.book.figures import FIGURES, FOLDER

# A notebook brings its pictures along; a page has them as files.
BROUGHT = re.compile(r'src="data:image/png;base64,[^"]*" data-still="([\w.-]+)"')
STATIC = re.compile(r'(?<==")(?:_static/live/|\.\./fslib/book/figures/)')

# Said in place of the sentence under the figure, where the module, or one that it imports, does not come.
FAILED = """document.querySelectorAll("%s").forEach((part) => part.querySelector(":scope > p").textContent =
    "This part of the page could not be loaded. Are you offline? Load the page again.")"""


def bring_modules(app) -> None:
    """Put the modules and pictures where the site takes its files from."""
    folder = Path(app.outdir).parent / ".modules-of-figures"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FOLDER, folder / "live", ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.json"))
    app.config.html_static_path.append(str(folder))


def enliven(app, pagename, templatename, context, doctree) -> None:
    body = context.get("body", "")
    found = {element: kind.module for element, kind in FIGURES.items() if f"<{element}" in body}
    for element, module in found.items():
        app.add_js_file(f"live/{module}", type="module", onerror=FAILED % element)
    if found:
        body = BROUGHT.sub(r'loading="lazy" src="_static/live/stills/\1"', body)
        context["body"] = STATIC.sub(context["pathto"]("_static/live/", 1), body)


def setup(app):
    app.connect("builder-inited", bring_modules)
    app.connect("html-page-context", enliven)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
