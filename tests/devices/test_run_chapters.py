"""Of a chapter, claims are told from faults, and trainings are cut short and watched."""

import json

import pytest

from fslib import evaluation, training
from tests.devices.run_chapters import EPISODES, STEPS, run

BEGIN = """
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
    "waits": ("fit(model, data, way=4, query=2, objective=lambda x, y: x.sum() * x.sum().item())", "waits"),
    "evaluates": (
        "a = evaluate(model, data, way=4, query=2, episodes=50); assert len(a.per_episode) == 50", "nothing",
    ),
}  # fmt: skip


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
    assert report.steps == (STEPS - 2 if outcome in ("steps", "waits") else 0)
    assert ("cell 1" in str(report)) == (
        outcome in ("a claim", "a fault", "waits")
    ) or outcome == "a claim"


def test_nothing_is_cut_afterwards(tmp_path):
    before = training.fit, evaluation.evaluate
    run(notebook(tmp_path, BEGIN, f"assert {EPISODES}"))
    assert (training.fit, evaluation.evaluate) == before
