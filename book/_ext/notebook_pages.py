"""Make a page of the site from a notebook, which must also stand alone.

What stands under its title and at its end for Colab goes; links to the site become links within it; and each exercise
gets, folded, which mistake gives which number, from the bank of wrong answers; and its solution, from the notebook of
solutions beside it, with what it printed when that notebook ran. A progress bar, which would stand still, goes.
"""

import ast
import json
import re
from operator import attrgetter
from pathlib import Path

import nbformat
from address import FENCED, LAST_ID, TITLE_ID, project
from docutils import nodes
from jupyter_cache import get_cache

from fslib.book import checks

CHECKED = re.compile(r"^checks\.([\w.]+)\(", re.MULTILINE)
BAR = re.compile(r"\s*\d+%\|.*\[.*\]\s*")
HEADING = re.compile(rf"{FENCED}|^#{{1,6}} +(?P<words>.*)$", re.MULTILINE)
FOLDED = "<details class=\"solution\"><summary>Show the solution</summary>\n\n{inside}\n\n</details>"
SET_UP = "The notebook of solutions sets up what this one is measured on."
MISTAKES = FOLDED.replace("solution", "mistakes", 1).replace("Show the solution", "If you got …")


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


def headings(cell: dict) -> list[str]:
    """The words of the headings in a cell, without the comments of code in it."""
    found = HEADING.finditer("".join(cell["source"])) if cell["cell_type"] == "markdown" else ()
    return [heading["words"] for heading in found if heading["words"] is not None]


def exercise_in(cell: dict) -> str | None:
    """The heading of the exercise that begins in a cell."""
    return next((words for words in headings(cell) if words.startswith("Exercise ")), None)


def assigned(code: str) -> set[str]:
    """The names that a cell of code leaves behind, imports apart."""
    made: set[str] = set()
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            made.add(statement.name)
        else:
            names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            made |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return made


def used(code: str) -> set[str]:
    """The names that a cell of code reads."""
    names = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Load)}


def solutions(path: Path, cache: Path) -> dict[str, str]:
    """Of each exercise, by its heading, the solution as Markdown, in parts as the notebook has cells.

    One that uses names of cells that are not shown says where they are.

    Args:
        path: a notebook of solutions.
        cache: of executed notebooks, from which what was printed comes; without it there is the code alone.
    """
    found: dict[str, list[str]] = {}
    hidden: set[str] = set()
    exercise = ""
    for cell in ran(nbformat.read(path, as_version=4), cache).cells:
        exercise = exercise_in(cell) or exercise
        if "solution" not in cell.metadata.get("tags", []):
            if exercise and cell.cell_type == "code":
                hidden |= assigned(cell.source)
            continue
        parts = found.setdefault(exercise, [])
        if cell.cell_type == "code" and SET_UP not in parts and hidden & used(cell.source):
            parts.append(SET_UP)
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
        if headings(cell):
            if exercise in solved:
                text = FOLDED.format(inside=solved[exercise])
                made.append({"cell_type": "markdown", "id": f"solution-{len(made)}", "metadata": {}, "source": [text]})
            exercise = exercise_in(cell)
        made.append(cell)
    return made[:-1]


def mistakes(exercise: checks.Exercise) -> str:
    """Which mistake gives which number, as Markdown; nothing where no mistake gives one."""
    found = exercise.mistakes()
    if not found:
        return ""
    given = f"What your answer gives on {exercise.fixed_input}, as the check prints it:\n"
    by_text: dict[str, list[str]] = {}
    for value, texts in found.items():
        by_text.setdefault(" Or: ".join(texts), []).append(f"**{value}**")
    rows = [f"- {' or '.join(values)}: {plain(text)}" for text, values in by_text.items()]
    return MISTAKES.format(inside="\n".join(rows if exercise.given is None else [given, *rows]))


def plain(text: str) -> str:
    """A text that says in Markdown what it says."""
    return re.sub(r"([\\`*_{}\[\]<>$|])", r"\\\1", text)


def with_mistakes(cells: list[dict]) -> list[dict]:
    """The cells of a chapter, with the mistakes after each answer that is to be given."""
    made = []
    for cell in cells:
        source = "".join(cell["source"])
        check = CHECKED.search(source) if "# your answer" in source else None
        made.append(cell)  # unchanged, or the run of the notebook would not be found
        if not check:
            continue
        if text := mistakes(attrgetter(check[1])(checks)):
            made.append({"cell_type": "markdown", "id": f"mistakes-{len(made)}", "metadata": {}, "source": [text]})
    return made


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
    notebook["cells"] = with_mistakes(notebook["cells"])
    beside = path.parent / "solutions" / path.name
    if beside.exists():
        app.env.note_dependency(str(beside))
        solved = solutions(beside, Path(app.outdir).parent / ".jupyter_cache")
        notebook["cells"] = with_solutions(notebook["cells"], solved)
    source[0] = json.dumps(notebook)


def without_bars(app, doctree: nodes.document) -> None:
    """Take the progress bars out of what the cells of a page gave."""
    for block in [block for block in doctree.findall(nodes.literal_block) if BAR.fullmatch(block.astext())]:
        given = block
        while given.parent and given.parent.get("nb_element") != "cell_code_output":
            given = given.parent
        if outputs := given.parent:
            outputs.remove(given)
            if not outputs.children:
                outputs.parent.remove(outputs)


def setup(app):
    app.connect("source-read", as_page)
    app.connect("doctree-read", without_bars)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
