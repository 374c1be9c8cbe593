"""The circumstances leave nothing out, and what holds by luck does not hold in all of them."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests import everywhere
from tests.everywhere import LEVELS, ROOT, RUNS, circumstances, digest, name, planned
from tests.notebooks_claims import PLANT
from tests.notebooks_shift import SHIFT


def test_any_two_levels_meet():
    met = {pair for c in circumstances() for pair in itertools.combinations(sorted(c.items(), key=str), 2)}
    for (kind, levels), (other, others) in itertools.combinations(LEVELS.items(), 2):
        for pair in itertools.product(levels, others):
            if {*pair} in ({"pretended GPU", "oldest"}, {"pretended GPU", "busy"}):
                continue  # slow already
            assert tuple(sorted(zip((kind, other), pair), key=str)) in met, pair


def test_each_chapter_runs_often_enough_and_never_twice_alike():
    made = circumstances()
    assert len(made) >= RUNS >= 25 and len({name(c) for c in made}) == len(made)


def test_a_run_is_done_until_the_code_changes(monkeypatch, tmp_path):
    monkeypatch.setattr(everywhere, "TOLD", tmp_path / "everywhere.jsonl")
    todo = planned(["03"], [])
    assert len(todo) == len(circumstances()) + 1 and 0 < len(planned(["03"], ["busy"])) < len(todo)
    (what, c), (_, other), *_ = todo
    line = {"what": what, "circumstance": name(c), "digest": digest(what), "failed": []}
    everywhere.keep(line)
    everywhere.keep(line | {"circumstance": name(other), "failed": ["cell 3"]})
    assert planned(["03"], []) == todo[1:], "one that failed is tried again"
    assert planned(["03"], [], again=True) == todo
    everywhere.keep(line | {"digest": "of other code"})
    assert planned(["03"], []) == todo


def write_notebook(path, *sources, kernel="python3"):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nb = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": kernel, "display_name": ""}})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)


def test_a_run_is_known_by_its_code_but_for_the_generated_first_cell(monkeypatch, tmp_path):
    monkeypatch.setattr(everywhere, "ROOT", tmp_path)
    path = tmp_path / "chapters" / "01_one.ipynb"
    write_notebook(path, "x = 1", "assert x")
    known = digest("01_one")
    cells = json.loads(path.read_text())["cells"]
    without_ids = [{key: cell[key] for key in cell if key != "id"} for cell in cells]
    first = without_ids[0] | {"id": "first-cell", "source": ["import fslib"]}
    words = {"cell_type": "markdown", "metadata": {}, "source": ["x"]}
    for same in (without_ids, [first, *cells], [*cells, words]):
        path.write_text(json.dumps({"cells": same}))
        assert digest("01_one") == known
    path.write_text(json.dumps({"cells": cells[::-1]}))
    assert digest("01_one") != known


def test_solutions_that_never_ran_are_no_success(monkeypatch, tmp_path):
    for folder in ("fslib", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    write_notebook(tmp_path / "chapters" / "01_one.ipynb", "assert 1 + 1 == 2")
    write_notebook(tmp_path / "chapters" / "solutions" / "01_one.ipynb", "assert True", kernel="none")
    monkeypatch.setattr(everywhere, "ROOT", tmp_path)
    line = everywhere.played("01_one", circumstances()[0])
    assert line["units"] > 0 and len(line["failed"]) == 1
    assert line["failed"][0].startswith("its solutions, cell 1: Stopped: ")


GOOD = {"failed": [], "units": 3}
BAD = {"failed": [{"cell": 2, "error": "AssertionError", "line": "assert x"}], "units": 3}
CHAPTER, SOLUTIONS = "chapters/01_one.ipynb", "chapters/solutions/01_one.ipynb"


@pytest.mark.parametrize(
    "status, told, failed",
    [
        (0, {CHAPTER: GOOD, SOLUTIONS: GOOD}, []),
        (1, {CHAPTER: GOOD, SOLUTIONS: BAD}, ["its solutions, cell 3: AssertionError assert x"]),
        (0, {CHAPTER: GOOD}, ["1 of 2 notebooks came to an end, pytest with status 0", "said"]),
        (1, {CHAPTER: GOOD}, ["1 of 2 notebooks came to an end, pytest with status 1", "said"]),
        (1, {CHAPTER: GOOD, SOLUTIONS: GOOD}, ["2 of 2 notebooks came to an end, pytest with status 1", "said"]),
        (3, {CHAPTER: GOOD, SOLUTIONS: GOOD}, ["2 of 2 notebooks came to an end, pytest with status 3", "said"]),
        (0, {}, ["0 of 2 notebooks came to an end, pytest with status 0", "said"]),
    ],
)
def test_a_run_passes_only_if_all_it_was_asked_for_came_to_an_end(monkeypatch, tmp_path, status, told, failed):
    for path in (CHAPTER, SOLUTIONS):
        write_notebook(tmp_path / path, "pass")

    def run(command, **_):
        (to,) = [word.partition("=")[2] for word in command if word.startswith("--nbval-told=")]
        Path(to).write_text(json.dumps(told))
        return subprocess.CompletedProcess(command, status, stdout="said", stderr="")

    monkeypatch.setattr(everywhere, "ROOT", tmp_path)
    monkeypatch.setattr(everywhere, "asked_of", lambda _: {"versions": "", "best": ""})
    monkeypatch.setattr(everywhere.subprocess, "run", run)
    assert everywhere.played("01_one", circumstances()[0])["failed"] == failed


@pytest.mark.parametrize(
    "status, said, failed",
    [(0, "9 passed", []), (1, "FAILED a\nFAILED b", ["FAILED a", "FAILED b"]), (4, "no", ["no"])],
)
def test_the_tests_pass_with_status_0_alone(monkeypatch, status, said, failed):
    done = subprocess.CompletedProcess([], status, stdout=said, stderr="")
    monkeypatch.setattr(everywhere, "asked_of", lambda _: {"versions": "", "best": ""})
    monkeypatch.setattr(everywhere.subprocess, "run", lambda *_, **__: done)
    assert everywhere.played("tests", circumstances()[0])["failed"] == failed


# Claims that hold on one seed in two, as cells of a notebook, whose name for itself is __main__.
LUCKY = """
import torch
from fslib.episodes import EpisodeSampler

torch.manual_seed(0)
generator = torch.Generator().manual_seed(1)
sampler = EpisodeSampler(torch.arange(50) // 5, 5, 1, 2, 10, seed=0)
numbers = torch.rand(1).item(), torch.rand(1, generator=generator).item(), sampler[0].classes[0].item() % 2
print(*(number < 0.5 for number in numbers))
"""


def test_a_claim_that_holds_by_luck_is_caught():
    rows = [
        subprocess.run(
            [sys.executable, "-c", SHIFT.replace("{by}", str(by)) + LUCKY], cwd=ROOT, capture_output=True, text=True
        ).stdout.split()
        for by in LEVELS["seeds"]
    ]
    assert all(set(claim) == {"True", "False"} for claim in zip(*rows, strict=True)), rows


def test_without_a_shift_the_seeds_are_those_of_the_notebook():
    bare = LUCKY.replace("number < 0.5", "number")
    alone, unshifted = (
        subprocess.run([sys.executable, "-c", before + bare], cwd=ROOT, capture_output=True).stdout
        for before in ("", SHIFT.replace("{by}", "0"))
    )
    assert alone and alone == unshifted


def test_a_claim_that_no_wrong_number_kills_is_told():
    code = f"""
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_cell({PLANT!r})
for cell in ("x = 0.3", "assert 0.2 < x and x < 1", "assert [] == []", "assert x < 0.2"):
    print("came:", type(shell.run_cell(cell).error_in_exec).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    came = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("came:")]
    assert came == ["NoneType", "NoneType", "RuntimeError", "AssertionError"]
