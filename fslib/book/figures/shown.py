"""From a module of a page to a figure in a notebook."""

from __future__ import annotations

import base64
import functools
import html
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from fslib.book.address import project_address

FOLDER = Path(__file__).parent
IMPORT = re.compile(r'^import ([^"]+) from "\./([\w.]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function|const|class) (\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Kind:
    """What is known of a figure: its module, its page, the parts of its state, and what its still pictures show."""

    module: str
    page: str
    state: list[str]
    stills: dict[str, str]


#: By the name of the element that each is in a page.
FIGURES = {
    name: Kind(**kind) for name, kind in json.loads((FOLDER / "figures.json").read_text(encoding="utf8")).items()
}


def show(name: str, link: str = "", **state: Any) -> Any:
    """A figure of the book, alive in a notebook.

    Args:
        name: one of ``FIGURES``, such as ``"metric-plane"``.
        link: what *Copy link* of a figure gave, or the part of it from ``#`` on: the figure opens in that state.
        state: parts of the state to start with, such as ``metric="cosine"``; what makes no sense is as usual.

    Returns:
        The figure, to be shown by the cell that it ends. Once it shows, its ``state`` says all of it, and another one
        can be set; parts that it leaves out are as usual.

    Raises:
        ValueError: if there is no such figure or part of its state, or the link is of another one.

    Example:
        >>> plane = show("metric-plane", metric="cosine")     # doctest: +SKIP
        >>> plane.state["query"]                              # doctest: +SKIP
        [0.3, 0.2]
    """
    kind = _known(name)
    state = _plain(kind, state)
    hash = f"#{link.partition('#')[2]}" if link else ""
    of_pad = name == "few-shot-pad" and hash.startswith("#alphabet-")
    if hash and hash.partition("?")[0] != f"#{name}" and not of_pad:
        raise ValueError(f"This is no link of a {name}: what follows the # in one begins with {name}.")
    if "google.colab" in sys.modules:  # where widgets of others are switched off at first
        from google.colab import output  # type: ignore[import-not-found]

        output.enable_custom_widget_manager()
    still = picture(name, **state)
    try:
        widget = _widget(name)
    except ImportError:
        return Still(still)
    files = {file: (FOLDER / file).read_bytes() for file in _files(kind.module)}
    page = f"{project_address('Documentation')}{kind.page}.html"
    return widget(state=state, began=state, link=hash, files=files, page=page, still=still)


@dataclass(frozen=True)
class Still:
    """A figure where none can live: its picture."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def picture(name: str, **state: Any) -> str:
    """The HTML of a figure: an element of its name, which lives in the book's pages, around a still picture."""
    kind = _known(name)
    state = _plain(kind, state)
    still = next((key for key in kind.stills if key == f"{name}-{state.get('preset')}"), name)
    file = FOLDER / "stills" / f"{still}.png"
    with Image.open(file) as opened:
        width, height = opened.size
    source = base64.b64encode(file.read_bytes()).decode()
    asked = {key: _flat(value) for key, value in state.items()}
    address = f"{project_address('Documentation')}{kind.page}.html#{name}"
    address += "?" * bool(asked) + html.escape(urlencode(asked, safe=","))
    attributes = "".join(f' {key}="{html.escape(value)}"' for key, value in asked.items())
    return (
        f'<{name} class="playground"{attributes}>\n<img src="data:image/png;base64,{source}" data-still="{still}.png" '
        f'width="{width}" height="{height}" style="max-width: 100%; height: auto" alt="{kind.stills[still]}">\n'
        f'<p>This is a picture. <a href="{address}">On the book\'s site</a> it moves, with JavaScript and a browser of '
        f"2022 or later.</p>\n</{name}>"
    )


def joined(module: str) -> str:
    """A module and all that it imports as one module without imports, as anywidget takes it."""
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in parts:
            return
        source = (FOLDER / name).read_text(encoding="utf8")
        for match in IMPORT.finditer(source):
            add(match[2])
        names = [*EXPORT.findall(source), *(["default: _default"] if "\nexport default " in source else [])]
        body = IMPORT.sub(_from_above, source).replace("\nexport default ", "\nconst _default = ")
        body = re.sub(r"^export ", "", body, flags=re.MULTILINE)
        parts[name] = f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {', '.join(names)} }};\n}})();\n"

    add(module)
    return "\n".join(parts.values()) + f"\nexport default {_variable(module)}.default;\n"


def _from_above(match: re.Match[str]) -> str:
    """An import as a name taken from what stands above."""
    names, module = match[1].replace(" as ", ": "), _variable(match[2])
    return f"const {names if names.startswith('{') else f'{{ default: {names} }}'} = {module};\n"


def _variable(module: str) -> str:
    return f"${module.removesuffix('.mjs')}"


def _files(module: str) -> list[str]:
    return re.findall(r'"([\w.]+\.bin)"', (FOLDER / module).read_text(encoding="utf8"))


def _plain(kind: Kind, state: dict[str, Any]) -> dict[str, Any]:
    """A state of plain numbers and lists, whatever holds them."""
    if unknown := state.keys() - set(kind.state):
        raise ValueError(f"There is no {min(unknown)!r} in this figure; its state is {', '.join(kind.state)}.")
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in state.items()}


def _known(name: str) -> Kind:
    if not isinstance(name, str) or name not in FIGURES:
        raise ValueError(f"There is no figure {name!r}; there are {', '.join(FIGURES)}.")
    return FIGURES[name]


def _flat(value: Any) -> str:
    """A part of a state as a link has it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_flat, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@functools.cache
def _widget(name: str) -> type:
    """The widget of a figure.

    Raises:
        ImportError: if anywidget is not installed.
    """
    import traitlets

    return widget_class(
        "".join(part.title() for part in name.split("-")),
        _esm=joined(FIGURES[name].module),
        state=traitlets.Dict(help="What it shows; set by hand and from here.").tag(sync=True),
        began=traitlets.Dict(help="Where Reset goes back to.").tag(sync=True),
        link=traitlets.Unicode(help="Opens another state.").tag(sync=True),
        files=traitlets.Dict().tag(sync=True),
        page=traitlets.Unicode().tag(sync=True),
    )


def widget_class(name: str, **parts: Any) -> type:
    """A class of widgets that show the HTML of their ``still`` on pages, and wherever no widget can be shown.

    Args:
        name: of the class.
        parts: its module, ``_esm``, and the traits that the module and Python share.

    Raises:
        ImportError: if anywidget is not installed.
    """
    import anywidget
    import traitlets
    from IPython.display import display

    class Alive(anywidget.AnyWidget):
        """What lives in a notebook."""

        still = traitlets.Unicode()

        def _repr_mimebundle_(self, **options: Any) -> Any:
            """The widget, and what stands in for it."""
            data, about = super()._repr_mimebundle_(**options) or ({}, {})
            return {**data, "text/html": self.still}, about

        def _ipython_display_(self, **options: Any) -> None:
            """As above; else version 7 of ipywidgets would show the widget alone."""
            data, about = self._repr_mimebundle_()
            display(data, metadata=about, raw=True)

    return type(name, (Alive,), parts)
