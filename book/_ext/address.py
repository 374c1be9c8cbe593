"""The one place that knows where the project lives is `[project]` in pyproject.toml: its two addresses and its version.

As a Sphinx extension this puts the address into the buttons and links of the site. As a program (`make address`) it
writes what cannot be looked up: in each notebook what stands under the title, the first cell, the metadata and the
links, which must all work in a bare Colab; CITATION.cff; and the badge of README.md.
"""

import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BRANCH = "main"
TITLE_ID, CELL_ID, LAST_ID = "title", "first-cell", "next"

FIRST_CELL = """\
# In Colab this fetches the book's package; where the package is there, nothing happens.
import importlib.util
import os
import subprocess
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait do not spin
if importlib.util.find_spec("fslib") is None:
    print("Fetching the book's package, some seconds.")
    source = "{repository}"
    package = f"fslib @ git+{{source}}@{tag}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", package]
    if subprocess.run(command).returncode:
        raise RuntimeError("fslib could not be installed; pip says above why.")
from fslib import your_run

your_run.begin(units={units:g})"""

BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
METADATA = {
    "accelerator": "GPU",
    "colab": {"provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
COST = ("units", "memory_mb", "download_mb")  # what a notebook declares in its metadata
# What may differ between a line of today under a title and the same line as it was written before.
OPEN = re.compile(r"^(?:Solutions to c|C)hapter|\(https?://[^)\s]*\)|\d[\d.,]*(?: MB to)?|no data to")
# Of Markdown what is code: between fences, and within a line.
FENCED = r"(?ms:^ *(?P<fence>`{3,}(?=[^`\n]*$)|~{3,}).*?(?:^ *(?P=fence)|\Z))"
SPAN = r"(?<!`)(?P<ticks>`++)(?:(?!\n\s*\n)(?s:.))+?(?<!`)(?P=ticks)(?!`)"


@dataclass(frozen=True)
class Project:
    """Where the project lives: its repository, its site, whose address ends in a slash, and the tag of its release."""

    repository: str
    site: str
    tag: str

    def colab(self, path: str) -> str:
        """The address that opens a notebook of the release in Colab."""
        place = self.repository.removeprefix("https://github.com/")
        return f"https://colab.research.google.com/github/{place}/blob/{self.tag}/{path}"

    def homes(self) -> str:
        """A regular expression for what comes before `chapters/` in an address of a notebook: of any release."""
        here = self.colab("").removesuffix(f"{self.tag}/"), f"{self.repository}/blob/"
        return "|".join([re.escape(self.site), *(rf"{re.escape(home)}[^/\s()\"]+/" for home in here)])


def project(root: Path = ROOT) -> Project:
    """What pyproject.toml says."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf8"))["project"]
    urls = table["urls"]
    return Project(urls["Repository"].rstrip("/"), urls["Documentation"].rstrip("/") + "/", f"v{table['version']}")


def notebooks(root: Path = ROOT) -> list[Path]:
    """The chapters, and their solutions; not the checkpoints that Jupyter leaves beside them."""
    return sorted([*root.glob("chapters/*.ipynb"), *root.glob("chapters/solutions/*.ipynb")])


def parsed(text: str, path: str) -> dict:
    """A notebook as JSON.

    Raises:
        ValueError: if the text, of the file at that path, is none.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no notebook: {error}.") from error


def lines(text: str) -> list[str]:
    """As notebooks hold a text."""
    return text.splitlines(keepends=True)


def complete(cost: dict) -> bool:
    """Whether all is declared that a notebook costs."""
    return set(COST) <= set(cost)


def in_words(cost: dict) -> str:
    """What a notebook costs, in one line for the reader."""
    download = f"{cost['download_mb']:g} MB to download" if cost["download_mb"] else "no data to download"
    cpu, memory = f"{cost['units']:g} CPU seconds", f"{cost['memory_mb']:,} MB of memory"
    return f"Runs in about {cpu} · {memory} · {download}"


def first_cell(of: Project, units: float) -> str:
    """The source of the first code cell, the same in all notebooks but for what each costs."""
    return FIRST_CELL.format(repository=of.repository, tag=of.tag, units=units)


def under_title(of: Project, path: str, cost: dict) -> str:
    """What stands under the title of a notebook that is all there is; a page of the site leaves it out."""
    page = path.removesuffix(".ipynb").replace("solutions/", "") + ".html"
    badge = f"[![Open in Colab]({BADGE})]({of.colab(path)})"
    book = f"[*Learning to Compare*]({of.site}), an executable book on few-shot learning"
    part = "Solutions to chapter" if "solutions/" in path else "Chapter"
    part += f" {int(Path(path).name[:2])}"
    use = "In Colab, choose *Runtime* and *Run all*; to keep what you write, *File* and *Save a copy in Drive*."
    return f"{badge} · [On the book's site]({of.site}{page})\n\n{part} of {book}. {in_words(cost)}.\n\n{use}"


def at_the_end(of: Project, path: str, root: Path = ROOT) -> str:
    """Where a reader goes on who has only the notebook; a page of the site leaves it out."""
    name = Path(path).name
    if "solutions/" in path:
        return f"Back to [the chapter in Colab]({of.colab(f'chapters/{name}')})."
    chapters = [chapter.name for chapter in sorted(root.glob("chapters/*.ipynb"))]
    following = [chapter for chapter in chapters if chapter > name][:1]
    if not following:
        return f"This is the last chapter so far. [All chapters]({of.site})."
    onward = f"chapters/{following[0]}"
    title, *_ = authored(parsed((root / onward).read_text(encoding="utf8"), onward), onward)
    words = "".join(title["source"]).partition("\n")[0].removeprefix("# ")
    return f"Next: [{words}, in Colab]({of.colab(onward)}). [All chapters]({of.site})."


def links(*projects: Project) -> re.Pattern:
    """A link to a notebook, a page or a file of the book, relative or to one of these; or code, which holds no link."""
    homes = "|".join(project.homes() for project in projects)
    return re.compile(
        rf"""{FENCED}|{SPAN}|(?P<before>\]\(|href=")(?:(?:{homes})(?=chapters/|book/|_static/live/))?(?:\.\./)*"""
        r"""(?P<page>(?:[\w-]+/)*[\w-]+\.(?:ipynb|md|html|mjs))(?P<after>[#?][^\s()"]*)?(?=[)"])"""
    )


def written_out(text: str, of: Project, *before: Project) -> str:
    """The links of a cell with their full addresses, which work from wherever the notebook is opened.

    Args:
        text: of a Markdown cell.
        of: the project.
        before: as which links may have been written out; those to all other places stay as they are.
    """

    def full(link: re.Match) -> str:
        if not link["page"]:  # it is code
            return link[0]
        page, after = link["page"], link["after"] or ""
        name = page.rpartition("/")[2]
        if name.endswith(".mjs"):
            address = f"{of.site}_static/live/{name}"
        elif "solutions/" in page:
            address = of.colab(f"chapters/solutions/{name}")
        elif (ROOT / "book" / name).with_suffix(".md").exists():
            address = f"{of.site}book/{name.partition('.')[0]}.html"
        elif (ROOT / "chapters" / name).with_suffix(".ipynb").exists():
            address = f"{of.site}chapters/{name.partition('.')[0]}.html"
        else:
            return link[0]
        return link["before"] + address + after

    return links(of, *before).sub(full, text)


def former(notebook: dict) -> list[Project]:
    """The project for which a notebook was written before, as its first two cells tell; none if they do not."""
    held = {cell.get("id"): "".join(cell["source"]) for cell in notebook["cells"]}
    site = re.search(r"\[On the book's site\]\((\S+/)chapters/", held.get(TITLE_ID, ""))
    repository = re.search(r'(?m)^ *source = "(\S+)"$', held.get(CELL_ID, ""))
    return [Project(repository[1], site[1], "")] if site and repository else []


def authored(notebook: dict, path: str) -> list[dict]:
    """The cells that are not wholly generated, of which the first begins with the title.

    Raises:
        ValueError: if it does not.
    """
    cells = [cell for cell in notebook["cells"] if cell.get("id") not in (CELL_ID, LAST_ID)]
    if not cells or cells[0]["cell_type"] != "markdown" or not "".join(cells[0]["source"]).startswith("# "):
        raise ValueError(f"{path} needs a first cell, in Markdown, that begins with its title, “# …”.")
    return cells


def in_step(notebook: dict, path: str, of: Project) -> dict:
    """The notebook with all that is generated in step.

    Args:
        notebook: as JSON; its first Markdown cell begins with the title.
        path: where it lies in the repository.
        of: the project.

    Raises:
        ValueError: if it lacks what the rest is made from, or if words of the author's would be lost.
    """
    cost = notebook["metadata"].get("fslib", {}).get("cost", {})
    if not complete(cost):
        example = '"fslib": {"cost": {"units": 20, "memory_mb": 900, "download_mb": 0}}'
        raise ValueError(f"{path} needs its cost in its metadata, such as {example}.")
    if not all("id" in cell for cell in notebook["cells"]):
        raise ValueError(f"{path} needs an id for each of its cells: save it as format 4.5, as JupyterLab does.")
    title, *others = authored(notebook, path)
    name, *text = "".join(title["source"]).split("\n")
    generated = {OPEN.sub("", line) for line in under_title(of, path, cost).split("\n") if line}
    own = "\n".join(line for line in text if OPEN.sub("", line) not in generated).strip()
    if own and title["id"] == TITLE_ID:
        own = own.partition("\n")[0]
        raise ValueError(f"{path}: what stands under the title is generated, so move “{own}” to a cell of its own.")
    if own:  # a cell of the author's begins with the title
        others = [title | {"source": lines(own)}, *others]
    head, last = (
        {"cell_type": "markdown", "id": id, "metadata": {}, "source": lines(text)}
        for id, text in (
            (TITLE_ID, f"{name}\n\n{under_title(of, path, cost)}"),
            (LAST_ID, at_the_end(of, path)),
        )
    )
    first = {
        "cell_type": "code",
        "execution_count": None,
        "id": CELL_ID,
        "metadata": {"tags": ["remove-cell"]},
        "outputs": [],
        "source": lines(first_cell(of, cost["units"])),
    }
    before = former(notebook)
    others = [
        cell | {"source": lines(written_out("".join(cell["source"]), of, *before))}
        if cell["cell_type"] == "markdown"
        else cell
        for cell in others
    ]
    metadata = dict(sorted((notebook["metadata"] | METADATA).items()))
    return {**notebook, "cells": [head, first, *others, last], "metadata": metadata}


def citation(text: str, of: Project) -> str:
    """CITATION.cff with its version and its two addresses in step."""
    text = re.sub(r"(?m)^url:.*$", f"url: {of.site}", text)
    text = re.sub(r"(?m)^version:.*$", f"version: {of.tag.removeprefix('v')}", text)
    return re.sub(r"(?m)^repository-code:.*$", f"repository-code: {of.repository}", text)


def badge(text: str, of: Project) -> str:
    """README.md with the address of its badge in step, and of the page behind it."""
    return re.sub(r"https://\S+?(?=/actions/workflows/)", of.repository, text)


FILES = {"CITATION.cff": citation, "README.md": badge}  # what is brought in step beside the notebooks, and by what


def main() -> None:
    """Bring every notebook, CITATION.cff and README.md in step with pyproject.toml."""
    of = project()
    for path in notebooks():
        old = path.read_text(encoding="utf8")
        name = path.relative_to(ROOT).as_posix()
        try:
            new = in_step(parsed(old, name), name, of)
        except ValueError as error:
            sys.exit(str(error))
        _write_if_new(path, old, json.dumps(new, indent=1, ensure_ascii=False) + "\n")
    for name, brought in FILES.items():
        old = (ROOT / name).read_text(encoding="utf8")
        _write_if_new(ROOT / name, old, brought(old, of))


def _write_if_new(path: Path, old: str, new: str) -> None:
    if new != old:
        path.write_text(new, encoding="utf8")
        print(f"{path.relative_to(ROOT)}: now in step")


def configure(app, config) -> None:
    of = project()
    buttons = {f"use_{name}_button": True for name in ("repository", "issues", "edit_page")}
    config.html_theme_options |= {
        "repository_url": of.repository,
        "repository_branch": BRANCH,
        **buttons,
    }
    config.html_baseurl = config.ogp_site_url = of.site


def open_the_release(app, pagename, templatename, context, doctree) -> None:
    """Let the button for Colab open the notebook whose first cell fetches the package of the same release."""

    def visit(buttons: list) -> None:
        for button in buttons:
            visit(button.get("buttons", []))
            if "colab.research" in button.get("url", ""):
                button["url"] = project().colab(f"{pagename}.ipynb")

    visit(context.get("header_buttons", []))


def setup(app):
    # Before the theme and the other extensions read their settings, and after the theme made its buttons.
    app.connect("config-inited", configure, priority=100)
    app.connect("html-page-context", open_the_release, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    main()
