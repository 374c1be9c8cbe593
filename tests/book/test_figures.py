"""Figures in a notebook: what is shown, what stands in for it, and what is refused."""

import re
import sys
import types

import numpy as np
import pytest
import torch

from fslib.book import figures
from fslib.book.figures import FIGURES, FOLDER, shown


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_widget_with_a_picture(name):
    figure = figures.show(name)
    data, _ = figure._repr_mimebundle_()
    assert {"text/html", "application/vnd.jupyter.widget-view+json"} <= data.keys()
    assert data["text/html"].startswith(f'<{name} class="playground"') and data[
        "text/html"
    ].endswith(f"</{name}>")
    assert all(
        (FOLDER / "stills" / f"{still}.png").exists() and len(alt) >= 60
        for still, alt in FIGURES[name].stills.items()
    )
    assert figure.page.endswith(f"{FIGURES[name].page}.html") and figure.page.startswith("https://")
    assert figure.files.keys() == set(
        re.findall(r'"(\w+\.f16\.bin)"', (FOLDER / FIGURES[name].module).read_text("utf8"))
    )


def test_what_is_displayed_holds_both(monkeypatch):
    """Whichever way a version of ipywidgets asks for it."""
    said = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, **options: said.append((data, options))
    )
    shown._widget.cache_clear()
    figures.show("metric-plane")._ipython_display_()
    shown._widget.cache_clear()
    ((data, options),) = said
    assert (
        "text/html" in data
        and "application/vnd.jupyter.widget-view+json" in data
        and options["raw"]
    )


def test_every_module_is_named_and_every_name_has_a_module():
    playgrounds = {
        path.name
        for path in FOLDER.glob("*.mjs")
        if re.search("^export default playground", path.read_text("utf8"), re.M)
    }
    assert playgrounds == {kind.module for kind in FIGURES.values()}
    for name, kind in FIGURES.items():
        assert f'playground("{name}",' in (FOLDER / kind.module).read_text(encoding="utf8")


@pytest.mark.parametrize("name", FIGURES)
def test_a_joined_module_imports_nothing(name):
    joined = figures.joined(FIGURES[name].module)
    assert not re.search(r"^\s*import |^export (?!default)", joined, re.MULTILINE)
    assert joined.count("\nexport default ") == 1


@pytest.mark.parametrize("module", sorted(path.name for path in FOLDER.glob("*.mjs")))
def test_what_a_module_takes_from_another_is_there_in_a_notebook(module):
    """Where one is joined to the other, each name is exported by a line of its own."""
    for names, other in shown.IMPORT.findall((FOLDER / module).read_text(encoding="utf8")):
        exported = shown.EXPORT.findall((FOLDER / other).read_text(encoding="utf8"))
        taken = [name.split(" as ")[0] for name in re.findall(r"[\w$][\w$ ]*", names)] if "{" in names else []
        assert {name.strip() for name in taken} <= set(exported)


def test_a_preset_has_its_own_picture_and_link():
    html = figures.picture("metric-plane", preset="modes", query=[1, -0.5])
    assert 'data-still="metric-plane-modes.png"' in html and 'preset="modes" query="1,-0.5"' in html
    assert "03_metrics.html#metric-plane?preset=modes&amp;query=1,-0.5" in html


def test_without_anywidget_the_picture_stands_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    shown._widget.cache_clear()
    still = figures.show("votes-plane", scale=3)
    assert still._repr_html_() == figures.picture("votes-plane", scale=3)


def test_colab_is_asked_for_widgets(monkeypatch):
    asked = []
    output = types.SimpleNamespace(enable_custom_widget_manager=lambda: asked.append(True))
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(output=output))
    figures.show("metric-plane")
    assert asked == [True]


def test_arrays_and_flags_may_be_given(monkeypatch):
    html = figures.picture("metric-plane", query=torch.tensor([0.5, 1]), metric="a&b", nearest='"')
    assert 'query="0.5,1.0" metric="a&amp;b" nearest="&quot;"' in html and "query=0.5,1.0&amp;metric=a%26b" in html
    assert figures.show("metric-plane", query=np.array([0.5, 1])).state == {"query": [0.5, 1.0]}
    assert 'centring="true"' in figures.picture("few-shot-pad", centring=True)


def test_a_part_that_no_state_has_is_named():
    for show in (figures.show, figures.picture):
        with pytest.raises(ValueError, match="There is no 'metrik' in this figure; its state is preset, support"):
            show("metric-plane", metrik="cosine")


def test_a_figure_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="There is no figure 'plane'; there are few-shot-pad, "):
        figures.show("plane")


@pytest.mark.parametrize(
    "link", ["#margin-plane?margin=1", "https://example.org/03_metrics.html#metric-planes", "x"]
)
def test_a_link_of_something_else_is_refused(link):
    with pytest.raises(ValueError, match="This is no link of a metric-plane"):
        figures.show("metric-plane", link=link)


def test_a_link_may_be_whole_or_its_end():
    for link in (
        "#metric-plane?metric=cosine",
        "https://example.org/a.html#metric-plane?metric=cosine",
    ):
        assert figures.show("metric-plane", link=link).link == "#metric-plane?metric=cosine"
    assert figures.show("metric-plane", link="#metric-plane").link == "#metric-plane"
    assert figures.show("few-shot-pad", link="#alphabet-AQID").link == "#alphabet-AQID"
