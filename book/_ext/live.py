"""Bring the living parts of a page to life: give the page the module of each custom element that stands in it.

In a page or a notebook a living part is plain HTML, a tag around a still figure and a sentence:

    <few-shot-pad>
    <img src="../book/_static/live/stills/few-shot-pad.png" alt="…">
    </few-shot-pad>

Without JavaScript, in Colab or on GitHub, the figure is what shows. Pages without such a tag load nothing.
"""

import re

MODULES = {  # element → module in book/_static/live
    "few-shot-pad": "pad.mjs",
    "shift-player": "shift.mjs",
    "episode-player": "episodes.mjs",
    "metric-plane": "plane.mjs",
    "margin-plane": "margin.mjs",
    "block-plane": "block.mjs",
    "rings-plane": "rings.mjs",
    "votes-plane": "votes.mjs",
    "noise-plane": "noise.mjs",
}
STATIC = re.compile(r'(?<==")(?:\.\./book/)?_static/(?=live/)')


# Said in place of the sentence under the figure, where the module, or one that it imports, does not come.
FAILED = """document.querySelectorAll("%s").forEach((part) => part.querySelector(":scope > p").textContent =
    "This part of the page could not be loaded. Are you offline? Load the page again.")"""


def enliven(app, pagename, templatename, context, doctree) -> None:
    body = context.get("body", "")
    found = {element: module for element, module in MODULES.items() if f"<{element}" in body}
    for element, module in found.items():
        app.add_js_file(f"live/{module}", type="module", onerror=FAILED % element)
    if found:
        context["body"] = STATIC.sub(context["pathto"]("_static/", 1), body)


def setup(app):
    app.connect("html-page-context", enliven)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
