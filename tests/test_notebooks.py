"""What every chapter keeps to, so that it reads, runs and translates well."""

import re
from pathlib import Path

import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[1] / "chapters").glob("*.ipynb"))


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def nb(request):
    return nbformat.read(request.param, as_version=4)


def code(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def test_no_outputs_are_stored(nb):
    assert not [c.id for c in code(nb) if c.outputs or c.execution_count is not None]


def test_kernel_is_one_that_everyone_has(nb):
    assert nb.metadata.kernelspec.name == "python3"
    assert nb.metadata.get("accelerator", "GPU") == "GPU"


def test_cost_is_declared(nb):
    cost = nb.metadata["fslib"]["cost"]
    assert cost["units"] > 0 and cost["memory_mb"] > 0 and cost["download_mb"] >= 0


def test_cells_fit_on_a_screen(nb):
    lines = {c.id: c.source.splitlines() for c in code(nb)}
    assert not [name for name, ls in lines.items() if len(ls) > 30 or any(len(line) > 88 for line in ls)]


def test_something_is_checked(nb):
    assert any(line.lstrip().startswith("assert ") for c in code(nb) for line in c.source.splitlines())


def test_figures_have_words_for_those_who_cannot_see_them(nb):
    drawing = [c for c in code(nb) if re.search(r"\bplt\.|\bplots\.(?!use_style)", c.source)]
    alts = {c.id: c.metadata.get("mystnb", {}).get("image", {}).get("alt", "") for c in drawing}
    assert not [name for name, alt in alts.items() if len(alt) < 40]


def test_exercises_come_with_a_hint_and_a_hidden_solution(nb):
    starts = [i for i, c in enumerate(nb.cells) if c.cell_type == "markdown" and "### Exercise" in c.source]
    assert len(starts) >= 3, "a chapter has at least three exercises"
    for start, end in zip(starts, [*starts[1:], len(nb.cells)]):
        title = nb.cells[start].source.partition("### Exercise")[2].splitlines()[0]
        cells = nb.cells[start:end]
        assert any(c.cell_type == "markdown" and "<details" in c.source for c in cells), f"no hint:{title}"
        solutions = [c for c in cells if c.cell_type == "code" and "solution" in c.metadata.get("tags", [])]
        assert solutions, f"no solution:{title}"
        for cell in solutions:  # hidden on the site, in JupyterLab and in Colab
            assert "hide-cell" in cell.metadata.tags, title
            assert cell.metadata.get("jupyter", {}).get("source_hidden") is True, title
            assert cell.metadata.get("cellView") == "form", title
