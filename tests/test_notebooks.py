"""What every chapter keeps to, so that it reads, runs and translates well."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[1] / "chapters").glob("*.ipynb"))
SOLUTIONS = sorted((Path(__file__).parents[1] / "chapters" / "solutions").glob("*.ipynb"))

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "_ext"))
from notebook_pages import exercise_in, headings  # noqa: E402


@pytest.fixture(params=[*CHAPTERS, *SOLUTIONS], ids=lambda path: "-".join(path.parts[-2:]))
def nb(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=SOLUTIONS, ids=lambda path: path.stem)
def solutions(request):
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


def exercises(nb):
    """Each exercise by its heading, with the cells up to the next heading."""
    found, cells = {}, []
    for cell in nb.cells:
        if headings(cell):
            exercise = exercise_in(cell)
            cells = found.setdefault(exercise, []) if exercise else []
        cells.append(cell)
    return found


def test_exercises_come_with_a_hint_and_an_answer_to_give(chapter):
    assert len(exercises(chapter)) >= 3, "a chapter has at least three exercises"
    for title, cells in exercises(chapter).items():
        assert any('<details class="hint"' in c.source for c in cells), f"no hint: {title}"
        assert any("# your answer" in c.source and "checks." in c.source for c in cells), f"no check: {title}"


def test_no_solution_is_in_sight_of_an_exercise(chapter):
    assert not [c.id for c in chapter.cells if "solution" in c.metadata.get("tags", []) or "@title" in c.source]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_exercise_has_a_solution_beside_the_chapter_that_its_check_accepts(path):
    solved = exercises(nbformat.read(path.parent / "solutions" / path.name, as_version=4))
    assert list(solved) == list(exercises(nbformat.read(path, as_version=4)))
    for title, cells in solved.items():
        of_it = [c.source for c in cells if "solution" in c.metadata.get("tags", [])]
        assert of_it and any(re.search(r"^assert checks\.", source, re.MULTILINE) for source in of_it), title


def test_run_all_answers_nothing(chapter):
    """What is still to be answered is an ellipsis, which a check tells from a wrong answer."""
    for title, cells in exercises(chapter).items():
        (answer,) = [c.source for c in cells if "# your answer" in c.source]
        line = next(line for line in answer.splitlines() if "# your answer" in line)
        assert "..." in line, title
