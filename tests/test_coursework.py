"""Each assignment can be solved, gives nothing away, and tells each wrong answer what is wrong with it.

`COURSEWORK_SEEDS=20` tries the bank of answers on more inputs.
"""

import ast
import importlib.util
import json
import os
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="Grading needs Linux or macOS.")

from fslib.book.grading import Limits, child, grade, process

ROOT = Path(__file__).parents[1]
MASTERS = sorted(ROOT.glob("coursework/week_*.py"))
SEEDS = range(int(os.environ.get("COURSEWORK_SEEDS", 2)))
LAST_YEAR, THIS_YEAR = "the key of last year", "the key of this year"
LIMITS = Limits(seconds=60, loading=120)

_found = importlib.util.spec_from_file_location("coursework_make", ROOT / "coursework" / "make.py")
make = importlib.util.module_from_spec(_found)
_found.loader.exec_module(make)

masters = pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem[:6])


def of(master, key=""):
    return runpy.run_path(str(master))["assignment"](key)


def code(notebook):
    return [
        "".join(cell["source"])
        for cell in json.loads(notebook)["cells"]
        if cell["cell_type"] == "code"
    ]


def functions(notebook, assignment, monkeypatch):
    """The graded functions of a notebook, in this process."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # it is put back
    names = [graded.function for graded in assignment.functions]
    known, notes = child.run(code(notebook), names)
    assert not notes
    return [known[name] for name in names]


def marks(notebook, assignment, folder, mode="self-check"):
    path = folder / "handed in.ipynb"
    path.write_text(notebook, encoding="utf8")
    return grade(path, assignment, mode, LIMITS)


@masters
def test_what_is_solved_gets_all_points_and_what_is_untouched_none(master, tmp_path):
    files, assignment = make.made(master, THIS_YEAR), replace(of(master, THIS_YEAR), key="")
    solved = marks(files["solution.ipynb"], assignment, tmp_path)
    assert [mark.because for mark in solved.marks] == ["right"] * len(
        solved.marks
    ) and not solved.notes
    assert solved.points == solved.of
    untouched = marks(files["student.ipynb"], assignment, tmp_path)
    assert [mark.because for mark in untouched.marks] == ["untouched"] * len(
        untouched.marks
    ) and not untouched.points


@masters
def test_a_stub_says_that_it_is_not_written_yet(master, monkeypatch):
    stubs = functions(make.made(master, "")["student.ipynb"], of(master), monkeypatch)
    for stub in stubs:
        with pytest.raises(NotImplementedError, match=f"not written yet: {stub.__name__}"):
            stub(*[None] * stub.__code__.co_argcount)


@pytest.mark.skipif(
    bool(process._no_sandbox()), reason=f"There is no sandbox here: {process._no_sandbox()}"
)
def test_the_solution_gets_all_points_in_the_sandbox(tmp_path):
    master = MASTERS[-1]
    report = marks(
        make.made(master, THIS_YEAR)["solution.ipynb"], of(master, THIS_YEAR), tmp_path, "sandbox"
    )
    assert report.points == report.of > 0


EXERCISES = {
    graded.function[:-4]: (graded.function, master, i)
    for master in MASTERS
    for i, graded in enumerate(of(master).functions)
}


@pytest.fixture(params=EXERCISES.values(), ids=EXERCISES)
def exercise(request):
    _, master, i = request.param
    return of(master, THIS_YEAR).functions[i].exercise


def test_each_wrong_answer_hears_what_is_wrong_with_it(exercise):
    assert len(exercise.wrong) >= 8 and len(
        {wrong.text for wrong in exercise.wrong.values()}
    ) == len(exercise.wrong)
    for seed in SEEDS:
        said = {
            (key, i): exercise(answer, seed).because
            for key, wrong in exercise.wrong.items()
            for i, answer in enumerate(wrong.answers)
        }
        assert said == {(key, i): key for key, i in said}, seed


def test_each_right_answer_is_right(exercise):
    assert len(exercise.also) >= 2
    for seed in SEEDS:
        assert [exercise(answer, seed).because for answer in (exercise.right, *exercise.also)] == [
            "right"
        ] * (1 + len(exercise.also)), seed


@masters
def test_last_years_answers_fail(master, monkeypatch):
    last, this = of(master, LAST_YEAR), of(master, THIS_YEAR)
    assert not {g.function for g in last.functions} & {g.function for g in this.functions}
    answers = functions(make.made(master, LAST_YEAR)["solution.ipynb"], last, monkeypatch)
    for answer, before, now in zip(answers, last.functions, this.functions, strict=True):
        assert before.exercise(answer, 0), before.exercise(answer, 0)
        # Under its new name, with the constants of last year.
        assert not now.exercise(answer, 0), now.function


@masters
def test_a_key_makes_the_same_files_again(master):
    assert (
        make.made(master, THIS_YEAR) == make.made(master, THIS_YEAR) != make.made(master, LAST_YEAR)
    )


@masters
def test_students_are_given_nothing_of_the_answers(master):
    files, assignment = make.made(master, THIS_YEAR), of(master, THIS_YEAR)
    student = "\n".join(
        "".join(cell["source"]) for cell in json.loads(files["student.ipynb"])["cells"]
    )
    page = runpy.run_path(str(master))["PAGE"]
    solutions = [found for solution, found in make.FENCE.findall(page) if solution]
    assert len(solutions) > len(assignment.functions)  # and that of the experiment
    values = runpy.run_path(str(master))["varied"](THIS_YEAR)
    for solution in solutions:
        for statement in answering(make.filled(solution, values)):
            assert statement not in student
    for graded in assignment.functions:
        for wrong in graded.exercise.wrong.values():
            assert wrong.text not in student
    for line in files["notes.md"].splitlines():
        assert len(line) < 40 or line not in student
    assert THIS_YEAR not in str(files) and not re.search(
        r"Exercise\(|Wrong\(|assignment\(", student
    )


def answering(solution):
    """The statements of a solution that students write themselves, as source."""
    for statement in ast.parse(solution).body:
        is_function = isinstance(statement, ast.FunctionDef)
        for each in statement.body[1:] if is_function else [statement]:
            yield ast.get_source_segment(solution, each)


@masters
def test_a_notebook_is_ready_for_colab_and_its_lines_fit(master):
    for name in ("student.ipynb", "solution.ipynb"):
        notebook = json.loads(make.made(master, "")[name])
        first, *others = code(json.dumps(notebook))
        assert (
            first == make.first_cell(make.project(), 20) and notebook["metadata"] == make.METADATA
        )
        assert all(len(line) <= 88 for cell in others for line in cell.splitlines())
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        assert "{{" not in json.dumps(notebook).replace("}}", "")


@masters
def test_the_page_promises_the_points_and_the_times_that_there_are(master):
    page, assignment = runpy.run_path(str(master))["PAGE"], of(master)
    headings = [
        (int(p), int(m))
        for p, m in re.findall(r"^## .*\((\d+) points, (\d+) minutes\)$", page, re.MULTILINE)
    ]
    functions = [(graded.points, graded.exercise.minutes) for graded in assignment.functions]
    assert headings[: len(functions)] == functions and len(headings) == len(functions) + 2
    total, graded = map(int, re.search(r"There\s+are (\d+) points: (\d+) for", page).groups())
    assert total == sum(points for points, _ in headings) and graded == sum(
        points for points, _ in functions
    )


def test_a_master_that_wants_an_unknown_value_is_refused():
    with pytest.raises(ValueError, match="gives no 'cap'"):
        make.filled("CAP = {{cap}}", {})


def test_a_solution_that_is_wrong_is_not_handed_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        make, "grade", lambda path, assignment, mode: marks("{}", assignment, tmp_path)
    )
    assert make.main(["--masters", str(ROOT / "coursework"), "-o", str(tmp_path / "made")]) == 1
    assert (
        "solution.ipynb of Week 1: metrics and episodes gets 0 of 10 points"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "made").exists()


def test_a_folder_without_masters_gets_one_sentence(tmp_path, capsys):
    assert make.main(["--masters", str(tmp_path)]) == 1
    assert "There is no master in" in capsys.readouterr().err
