"""Of a chapter, claims are told from faults, and trainings are cut short and watched."""

import json

import pytest

from fslib import evaluation, training
from tests.devices.run_chapters import EPISODES, STEPS, run

BEGIN = """
import tests.devices.test_run_chapters
import torch
from torch import nn
from fslib import methods
from fslib.evaluation import evaluate
from fslib.training import fit
from tests.devices.test_calls import CPU, On, built, METHODS
data, model = On(CPU, CPU, CPU).data(), built(METHODS["prototypical"])
"""
CELLS = {
    "runs": ("x = torch.ones(3, device='cuda')", "nothing"),
    "claims": ("assert 1 + 1 == 3, 'a claim'", "a claim"),
    "mixes": ("torch.ones(3) + torch.ones(3, device='cuda')", "a fault"),
    "asks what the package refuses": ("model(data.inputs([0]), torch.tensor([0, 1]), data.inputs([1]))", "a fault"),
    "is stopped by an assertion of torch": ("nn.Parameter([1])", "a fault"),
    "trains": ("h = fit(model, data, way=4, query=2); assert len(h.loss) == 3", "steps"),
    "waits": ("model.loss = tests.devices.test_run_chapters.waiting; fit(model, data, way=4, query=2)", "waits"),
    "waits in an objective of its own": (
        "fit(model, data, way=4, query=2, step=lambda x, y: x.sum() * x.sum().item())", "own",
    ),
    "evaluates": (
        "a = evaluate(model, data, way=4, query=2, episodes=50); assert len(a.per_episode) == 50", "nothing",
    ),
}  # fmt: skip


def waiting(scores, targets):
    return scores.sum() * scores.sum().item()


def notebook(tmp_path, *sources):
    cells = [{"cell_type": "code", "source": [source]} for source in sources]
    path = tmp_path / "chapter.ipynb"
    path.write_text(
        json.dumps({"cells": [*cells, {"cell_type": "markdown", "source": []}]}), "utf8"
    )
    return path


@pytest.mark.parametrize("source, outcome", CELLS.values(), ids=CELLS)
def test_what_a_cell_does_is_told(tmp_path, source, outcome):
    report = run(notebook(tmp_path, BEGIN, source))
    assert report.cells == 2
    assert bool(report.claims) == (outcome == "a claim"), report
    assert bool(report.stopped) == (outcome == "a fault"), report
    assert bool(report.waits) == (outcome == "waits"), report
    assert bool(report.own) == (outcome == "own"), report
    assert report.steps == (STEPS - 2 if outcome in ("steps", "waits", "own") else 0)
    assert ("\n" in str(report)) == (outcome in ("a fault", "waits")), "only faults are printed"


def test_nothing_is_cut_afterwards(tmp_path):
    before = training.fit, evaluation.evaluate
    run(notebook(tmp_path, BEGIN, f"assert {EPISODES}"))
    assert (training.fit, evaluation.evaluate) == before
