"""The circumstances leave nothing out, and what holds by luck does not hold in all of them."""

import itertools
import subprocess
import sys

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
    everywhere.keep(line | {"digest": "of other code"})
    assert planned(["03"], []) == todo


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
