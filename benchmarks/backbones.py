"""What a training step costs over other backbones: ratios of times, each measured side by side.

    python benchmarks/backbones.py

A step is one of `fit`, on a 20-way 1-shot episode of glyphs with 5 queries a class. Each attention block is timed
against the same backbone without it, and the plain ResNet-12 against the plain Conv-4. Above 1 is slower.
"""

import time
from functools import partial

import torch
from ratios import DEVICE, enter, side_by_side

from fslib import attention, data
from fslib.book.experiments.networks import prototypical_conv4, prototypical_resnet12
from fslib.devices import has_fast_bfloat16
from fslib.training import fit

BUILD = {"conv4": prototypical_conv4, "resnet12": prototypical_resnet12}
TASK = dict(way=20, shot=1, query=5)
ROUNDS, STEPS = 7, 10


def step(images, backbone, block):
    """Seconds of one training step, the mean over some."""
    torch.manual_seed(0)
    model = BUILD[backbone](block=block)
    return fit(model, images, **TASK, episodes=STEPS, progress=False).seconds / STEPS


def measure(images, ours, plain):
    """Ratios of time, ours over plain, of several rounds, after one that warms up."""
    steps = (partial(step, images, *network) for network in (ours, plain))
    return side_by_side(*steps, ROUNDS + 1)[1:]


if __name__ == "__main__":
    images = data.load("glyphs", "train")
    pairs = [((name, block), (name, None)) for name in BUILD for block in attention.BLOCKS]
    for ours, plain in [(("resnet12", None), ("conv4", None)), *pairs]:
        began = time.perf_counter()
        ratios = measure(images, ours, plain)
        method = f"speed-{ours[0]}-{ours[1] or 'plain'}"
        enter(
            ratios,
            time.perf_counter() - began,
            id=f"glyphs/{method}",
            command="python benchmarks/backbones.py",
            method=method,
            dataset="glyphs",
            split="train",
            **TASK,
            episodes=ROUNDS * STEPS,
            bfloat16=has_fast_bfloat16(DEVICE),
        )
