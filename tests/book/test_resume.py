"""A training that is killed, wherever it is, and started again ends as one that was left alone.

Processes are killed in earnest, by SIGKILL, as a machine goes that is taken away. Where, is drawn from a seed among
points that are counted: before each step, in the middle of each write, around each file's coming into place, and
between trainings.
"""

import io
import json
import multiprocessing
import os
import random
import signal
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # as the first optimiser of a process does, which takes seconds
from torch.utils import _pytree as pytree

from fslib import data, training
from fslib.backbones import Conv4, Ensemble
from fslib.book import experiments, ledger
from fslib.book.experiments import RECIPES, Recipe, measures, running
from fslib.evaluation import evaluate
from fslib.losses import SoftmaxLoss
from fslib.methods import PrototypicalNetwork
from fslib.training import Distilled
from tests.pretend_gpu import MISSING, pretend_gpu

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has neither forks nor SIGKILL.")

KILLS, FARTHEST = 20, 30  # how many; and from a start to the next of them, points at most
POINTS = {"in a step", "in the middle of a write", "before it is in place", "once it is in place", "between trainings"}
SETTINGS = dict(way=3, shot=1, query=2, episodes=5, learning_rate=1e-2)


# What is trained: an ensemble that another network teaches, with randomness of every kind ----------------------


def noisy(images):
    drawn = torch.rand(()).item() * random.random() * np.random.random()  # noqa: NPY002
    return images + drawn * torch.rand_like(images)


FIT = dict(augment=noisy, save_every=2, progress=False)


def teacher(run, **fit):
    model = PrototypicalNetwork(Conv4(4))
    run.train(model, "train", **fit, **FIT)
    run.measure(model, measures.on_tasks)


def taught(run, **fit):
    teacher = PrototypicalNetwork(run.network("toy/teacher", 7))
    remembered = run.embedded(teacher, "train")

    def objective(classes):
        return Distilled(SoftmaxLoss(classes, 4), teacher, remembered=remembered)

    models = []
    for seed in run.members(2):
        models.append(PrototypicalNetwork(Conv4(4)))
        run.train(models[-1], "train", seed=seed, objective=objective, **fit, **FIT)
    models[0].feature_extractor = Ensemble([model.feature_extractor for model in models])
    run.save_weights(models[0])
    run.measure(models[0], measures.on_tasks)


def load(dataset, split):
    """Noise in four classes: what comes of a training depends on everything in it."""
    pictures = torch.randint(0, 256, (80, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return data.ImageSet("Toy", pictures, torch.arange(4).repeat_interleave(20), list("abcd"))


# The process that trains, and is killed -----------------------------------------------------------------------


class Killer:
    """Kills the process when it comes to its n-th point, and leaves a note of which that was."""

    def __init__(self, at, note):
        self.at, self.note, self.number = at, note, count(1)

    def point(self, name):
        if next(self.number) == self.at:
            with open(self.note, "w") as note:
                note.write(name)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self):
        """Put the points in place, in a process that is ours alone."""
        replace, save = os.replace, torch.save

        def before(name, function):
            return lambda *arguments, **options: (self.point(name), function(*arguments, **options))[1]

        def write(path, content):
            with open(path, "wb", buffering=0) as file:
                file.write(content[: len(content) // 2])
                self.point("in the middle of a write")
                file.write(content[len(content) // 2 :])

        def save_in_halves(saved, path):
            save(saved, whole := io.BytesIO())
            write(path, whole.getvalue())

        def put_in_place(*paths):
            self.point("before it is in place")
            replace(*paths)
            self.point("once it is in place")

        PrototypicalNetwork.embed = before("in a step", PrototypicalNetwork.embed)
        running.fit = before("between trainings", running.fit)
        torch.save, os.replace, Path.write_bytes = save_in_halves, put_in_place, write
        Path.write_text = lambda path, text, encoding: write(path, text.encode(encoding))


def carry_out(folder, device, kill_at):
    """What the command does, on little data, and measured briefly."""
    torch.set_num_threads(1)
    os.environ["FSLIB_RESULTS"] = str(folder / "results")
    os.chdir(folder)
    RECIPES.clear()
    for recipe in (teacher, taught):
        name = f"toy/{recipe.__name__}"
        RECIPES[name] = Recipe(name, recipe, SETTINGS)
    data.load, ledger._commit = load, lambda: ""
    measures.TASKS = ((3, 1), (3, 5))
    measures.evaluate = lambda *task, episodes, **options: evaluate(*task, episodes=10, **options)
    training.loop.has_fast_bfloat16 = lambda device: False  # which is a matter of time
    torch.cuda.is_available = torch.backends.mps.is_available = lambda: False  # real ones are not exact to the bit
    with pretend_gpu() if device == "pretend GPU" else nullcontext():
        Killer(kill_at, folder / "killed").watch()
        experiments.run("toy/taught")


def process(folder, device, kill_at=None):
    """Carry it out in a process of its own; where it was killed, or None if it came to the end."""
    context = multiprocessing.get_context("forkserver")  # a process without threads, which has imported this module
    context.set_forkserver_preload([__name__])
    started = context.Process(target=carry_out, args=(folder, device, kill_at))
    started.start(), started.join()
    assert started.exitcode in (0, -signal.SIGKILL), "it stopped with an error, which is above"
    return (folder / "killed").read_text() if started.exitcode else None


def outcome(folder):
    """All that a run has left but times: weights, records, and what is in its checkpoints."""
    left = {path.relative_to(folder).as_posix(): path for path in folder.glob("r*/toy/[!.]*")}
    return {name: LEFT[path.suffix](path) for name, path in sorted(left.items())}


def records(path):
    lines = map(json.loads, path.read_text().splitlines())
    return [{key: value for key, value in record.items() if not key.endswith("seconds")} for record in lines]


def checkpoint(path):
    saved = torch.load(path)
    if isinstance(saved, dict):
        saved["history"].pop("seconds")
    leaves, structure = pytree.tree_flatten(saved)
    return str(structure), [leaf.tolist() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]


LEFT = {".safetensors": Path.read_bytes, ".jsonl": records, ".pt": checkpoint}


NEEDS_HOOK = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.mark.parametrize("device", ["cpu", pytest.param("pretend GPU", marks=NEEDS_HOOK)])
def test_killed_twenty_times_it_ends_as_if_it_had_been_left_alone(tmp_path, device):
    (tmp_path / "alone").mkdir()
    assert process(tmp_path / "alone", device) is None
    alone = outcome(tmp_path / "alone")
    assert len(alone) == 6  # three checkpoints, what the teacher says, the weights, the records
    drawn, killed = random.Random(0), []
    for number in count():
        folder = tmp_path / str(number)
        folder.mkdir()
        while where := process(folder, device, drawn.randint(1, FARTHEST)):
            killed.append(where)
        assert outcome(folder) == alone
        if len(killed) >= KILLS:
            break
    assert set(killed) == POINTS
