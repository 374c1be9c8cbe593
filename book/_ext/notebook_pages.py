"""Make a page of the site from a notebook, which must also stand alone.

What stands under its title and at its end for Colab goes; links to the site become links within it; and each exercise
gets its solution, folded, from the notebook of solutions beside it, with what it printed when that notebook ran.
"""

import json
import re
from pathlib import Path

import nbformat
from address import LAST_ID, TITLE_ID, project
from jupyter_cache import get_cache

EXERCISE = re.compile(r"^#{2,3} (Exercise .*)$", re.MULTILINE)
FOLDED = "<details class=\"solution\"><summary>Show the solution</summary>\n\n{inside}\n\n</details>"


def within(text: str, site: str, docname: str) -> str:
    """A text whose links to the site are links between its pages."""
    folder, _, _ = docname.rpartition("/")
    text = text.replace(f"{site}_static/live/", "_static/live/").replace(f"{site}{docname}.html#", "#")
    text = text.replace(f"{site}{folder}/", f"{site}../{folder}/")  # beside it, and short
    return re.sub(
        rf"{re.escape(site)}(?:\.\./{folder}/([\w-]+)\.html|book/([\w-]+)\.html)",
        lambda link: f"{link[1]}.ipynb" if link[1] else f"../book/{link[2]}.md",
        text,
    )


def solutions(path: Path, cache: Path) -> dict[str, str]:
    """Of each exercise, by its heading, the solution as Markdown, in parts as the notebook has cells.

    Args:
        path: a notebook of solutions.
        cache: of executed notebooks, from which what was printed comes; without it there is the code alone.
    """
    found: dict[str, list[str]] = {}
    exercise = ""
    for cell in ran(nbformat.read(path, as_version=4), cache).cells:
        if heading := EXERCISE.search(cell.source):
            exercise = heading[1]
        if "solution" not in cell.metadata.get("tags", []):
            continue
        parts = found.setdefault(exercise, [])
        parts.append(f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source)
        printed = "".join(out.text for out in cell.get("outputs", []) if out.output_type == "stream")
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
    return {name: "\n\n".join(parts) for name, parts in found.items()}


def ran(notebook, cache: Path):
    """The notebook with its outputs, if it ran."""
    try:
        _, merged = get_cache(cache).merge_match_into_notebook(notebook)
        return merged
    except KeyError:
        return notebook


def with_solutions(cells: list[dict], solved: dict[str, str]) -> list[dict]:
    """The cells of a chapter, with its solution after the last cell of each exercise."""
    made, exercise = [], None
    for cell in [*cells, {"cell_type": "markdown", "source": ["## "]}]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and re.search(r"^#", source, re.MULTILINE):
            if exercise in solved:
                text = FOLDED.format(inside=solved[exercise])
                made.append({"cell_type": "markdown", "id": f"solution-{len(made)}", "metadata": {}, "source": [text]})
            heading = EXERCISE.search(source)
            exercise = heading[1] if heading else None
        made.append(cell)
    return made[:-1]


def as_page(app, docname: str, source: list[str]) -> None:
    """Change what is read of a notebook; the file stays as it is."""
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    notebook["cells"] = [cell for cell in notebook["cells"] if cell.get("id") != LAST_ID]
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell.get("id") == TITLE_ID:
            text = text.partition("\n")[0]
        if cell["cell_type"] == "markdown":
            cell["source"] = [within(text, project().site, docname)]
    beside = path.parent / "solutions" / path.name
    if beside.exists():
        app.env.note_dependency(str(beside))
        solved = solutions(beside, Path(app.outdir).parent / ".jupyter_cache")
        notebook["cells"] = with_solutions(notebook["cells"], solved)
    source[0] = json.dumps(notebook)


def setup(app):
    app.connect("source-read", as_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
