"""The figures, and the button for files of one's own, in JupyterLab: from an installed wheel, with the ipywidgets of
Colab and today's, and no network.

`make browser` puts the wheel, and the older ipywidgets, where this test looks for them.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from fslib.book.figures import FIGURES
from tests.page import LIVE, ROOT, chromium, served
from tests.test_live import STATES

WHEEL, OLDER = ROOT / "_build" / "wheel", ROOT / "_build" / "widgets-7"
if not WHEEL.exists() or not OLDER.exists():
    pytest.skip("no wheel is installed beside: `make browser` does it", allow_module_level=True)

LINKS = {name: f"#{name}?{STATES[name][0]}" if name in STATES else f"#{name}" for name in FIGURES}
# What the eye reads, once the figure has come to rest.
WORDS = """(name) => {
    const inside = (node) =>
        [node, ...(node.shadowRoot ? inside(node.shadowRoot) : []), ...[...node.children].flatMap(inside)];
    const found = inside(document.body).filter((node) => node.shadowRoot?.querySelector(".live"));
    const figure = found.find((node) => node.localName === name || node.closest(`[data-figure=${name}]`));
    const said = figure?.shadowRoot.querySelectorAll(".live p:not(.quiet), .live td");
    return said && [...said].map((one) => one.textContent);
}"""
# The outputs of the notebook bear the names of what they show.
NAME_OUTPUTS = """(names) => jupyterapp.shell.currentWidget.content.widgets.forEach((cell, i) => {
    if (names[i - 1]) cell.node.dataset.figure = names[i - 1];
})"""


def notebook_of(cells):
    """A notebook of these cells of code."""
    return {
        "cells": [
            {
                "cell_type": "code",
                "id": f"c{i}",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": cell,
            }
            for i, cell in enumerate(cells)
        ],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@pytest.fixture(
    scope="module",
    params=[pytest.param(number, marks=pytest.mark.xdist_group(f"lab{number}")) for number in "78"],
)
def version(request):
    """Of ipywidgets."""
    return request.param


@pytest.fixture(scope="module")
def lab(version, tmp_path_factory):
    """The address of a JupyterLab that has the wheel, over a folder with a notebook of all figures, and one of the
    cells of chapter 22 that take files."""
    folder = tmp_path_factory.mktemp(f"lab{version}")
    figures = [
        "import fslib, ipywidgets\nfrom fslib import figures\n\nshown = {}",
        *(
            f'shown["{n}"] = figures.show("{n}", link="{link}")\nshown["{n}"]'
            for n, link in LINKS.items()
        ),
        'set_later = figures.show("metric-plane")\nset_later',
    ]
    chapter = json.loads((ROOT / "chapters/22_your_own_images.ipynb").read_text(encoding="utf8"))
    source = {cell["id"]: "".join(cell["source"]) for cell in chapter["cells"]}
    files = [source["imports"], f"folder = Path({str(folder)!r})"]
    files += [source[name] for name in ("receive", "upload", "yours")]
    for name, cells in {"figures": figures, "files": files}.items():
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook_of(cells)), encoding="utf8")
    older = [OLDER] if version == "7" else []
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, [*older, WHEEL])),
        "JUPYTER_PATH": os.pathsep.join(str(path / "share" / "jupyter") for path in older),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        f"--ServerApp.port={port}", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--no-browser",
        "--ServerApp.disable_check_xsrf=True", "--LabApp.expose_app_in_browser=True", "--allow-root",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with open(folder / "log", "w", encoding="utf8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=log
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/api").close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text(encoding="utf8")
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def run_all(page, address):
    """Open a notebook, and run it from top to bottom."""
    page.goto(address)
    page.wait_for_function(
        "window.jupyterapp?.shell?.currentWidget?.context?.isReady", timeout=120_000
    )
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.ready")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    has_run = (
        "jupyterapp.shell.currentWidget.content.widgets.every((cell) => cell.model.executionCount)"
    )
    page.wait_for_function(has_run, timeout=120_000)


@pytest.fixture(scope="module")
def notebook(lab, browser):
    """The notebook, run, and a list of what was asked of elsewhere."""
    page, elsewhere = browser.new_page(viewport={"width": 1200, "height": 900}), []
    ours = (lab, lab.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(ours) or elsewhere.append(r.url))
    run_all(page, f"{lab}/lab/tree/figures.ipynb?reset")
    page.evaluate(NAME_OUTPUTS, [*LINKS, "set-later"])
    yield page, elsewhere
    page.close()


@pytest.fixture(scope="module")
def elements(tmp_path_factory):
    """The address of a page for each figure, an element of its name, as in the book."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(LIVE, folder / "live", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, kind in FIGURES.items():
        script = f'<script type="module" src="live/{kind.module}"></script>'
        page = f'<!doctype html><meta charset="utf8"><{name}></{name}>{script}'
        Path(folder, f"{name}.html").write_text(page, encoding="utf8")
    with served(folder) as address:
        yield address


def words(page, name):
    page.wait_for_function(
        f"(name) => ({WORDS})(name)?.some((text) => text.length > 20)", arg=name, timeout=30_000
    )
    return page.evaluate(WORDS, name)


def at_last(said, expected):
    """Read both until they agree, for figures go on for some frames; what they said at last."""
    for _ in range(100):
        pair = said(), expected()
        if pair[0] == pair[1]:
            break
        time.sleep(0.1)
    return pair


@pytest.fixture
def in_a_page(browser, elements):
    """Opens the page of a figure; gives a function that reads it."""
    pages = []

    def open_page(name, hash):
        page = browser.new_page()
        pages.append(page)
        page.goto(f"{elements}/{name}.html{hash}")
        return partial(words, page, name)

    yield open_page
    for page in pages:
        page.close()


@pytest.mark.parametrize("name", LINKS)
def test_page_and_notebook_say_the_same_of_the_same_state(name, notebook, in_a_page):
    page, elsewhere = notebook
    reads = partial(words, page, name)
    said, expected = at_last(reads, in_a_page(name, LINKS[name]))
    assert said == expected, "a link made in a page opens in the notebook"
    said, expected = at_last(reads, in_a_page(name, link_of(page, name)))
    assert said == expected, "and the other way round"
    assert elsewhere == []


def link_of(page, name):
    """What Copy link gives in the notebook, from the # on."""
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(); }")
    figure = page.locator(f"[data-figure={name}]")
    figure.get_by_role("button", name="Copy link").click()
    address = figure.locator(".tools a").get_attribute("href")
    assert address.startswith("https://") and f"{FIGURES[name].page}.html#" in address
    return f"#{address.partition('#')[2]}"


PRINTED = """async (code) => {
    const asked = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code });
    const printed = [];
    asked.onIOPub = ({ content }) => printed.push(content.text ?? content.evalue ?? "");
    await asked.done;
    return printed.join("");
}"""


def test_python_reads_what_a_figure_shows(notebook, version):
    page, _ = notebook
    words(page, "metric-plane")
    told = page.evaluate(
        PRINTED,
        'print(ipywidgets.__version__, fslib.__file__, shown["metric-plane"].state["nearest"])',
    )
    number, file, nearest = told.split()
    assert number.startswith("7.7.1" if version == "7" else "8.") and Path(file).is_relative_to(
        WHEEL
    )
    assert nearest == "example"


def test_python_sets_what_a_figure_shows(notebook, in_a_page):
    page, _ = notebook
    words(page, "set-later")
    page.evaluate(PRINTED, 'set_later.state = {"metric": "squared_euclidean"}')
    there = in_a_page("metric-plane", "#metric-plane?metric=squared_euclidean")
    said, expected = at_last(partial(words, page, "set-later"), there)
    assert said == expected


RUN_LAST = """async () => {
    const { content } = jupyterapp.shell.currentWidget;
    content.activeCellIndex = content.widgets.length - 1;
    await jupyterapp.commands.execute("notebook:run-cell");
    return content.activeCell.model.outputs.toJSON().flatMap((output) => output.text ?? output.evalue).join("");
}"""


def a_file(name, content):
    """A file to choose, which lies nowhere."""
    return {"name": name, "mimeType": "", "buffer": content}


def a_picture(*stroke):
    """A drawing of one stroke, as a file holds it."""
    picture, content = Image.new("L", (60, 60), "white"), BytesIO()
    ImageDraw.Draw(picture).line(stroke, fill="black", width=4)
    picture.save(content, "PNG")
    return content.getvalue()


def as_a_mac_zips(pictures):
    """A zip of a folder, with what Finder puts beside each file."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("letters/.DS_Store", b"Bud1")
        for name, picture in pictures.items():
            archive.writestr(f"letters/{name}", picture)
            archive.writestr(f"__MACOSX/letters/{name.replace('/', '/._')}", b"AppleDouble")
    return content.getvalue()


def choose(page, *files):
    """Press the button, choose files, and wait until Python has them."""
    with page.expect_file_chooser() as chooser:
        page.locator(".jp-OutputArea button").click()
    chooser.value.set_files(list(files))
    names = [each["name"] for each in files]
    python = "print(*[name for name, _ in received(upload.value)], sep='/', end='')"
    has, asked = at_last(lambda: page.evaluate(PRINTED, python), lambda: "/".join(names))
    assert has == asked


def test_files_chosen_with_the_button_are_the_classes(lab, browser):
    """What a reader of chapter 22 does: choose, run the cell after the button, and choose something else."""
    bar, hook = a_picture(30, 10, 30, 50), a_picture(15, 10, 45, 10, 45, 50)
    page = browser.new_page()
    run_all(page, f"{lab}/lab/tree/files.ipynb?reset")
    assert "nothing to do" in page.evaluate(RUN_LAST)
    letters = {"bär/1.png": bar, "bär/2.png": bar, "hook/1.png": hook, "../outside.png": hook}
    choose(page, a_file("my letters.zip", as_a_mac_zips(letters)))
    assert page.evaluate(RUN_LAST) == "pictures of bär: 2\npictures of hook: 1\n"
    assert page.evaluate(PRINTED, "print(*folder.glob('*.png'))") == "\n", "nothing lies outside"
    choose(page, a_file("one_1.png", bar), a_file("two_1.png", hook), a_file("two_2.png", hook))
    assert page.evaluate(RUN_LAST) == "pictures of one: 1\npictures of two: 2\n"
    page.close()
