"""A training step waits for no GPU: only the bar reads what came of it, every tenth step."""

import warnings

import pytest
import torch

from fslib import augmentation, methods, training
from tests.devices.gpus import RealGPU
from tests.devices.test_calls import LOSSES, METHODS, STEPS, TRAINED, On, built, conv
from tests.pretend_gpu import CPU, waits_of_steps

CASES = {
    **{name: dict(make=make) for name, make in TRAINED.items()},
    **{name: dict(make=METHODS["prototypical"], step=make) for name, make in (LOSSES | STEPS).items()},
    "semi-supervised": dict(
        make=lambda: methods.SoftKMeans(conv()), step=lambda: training.SemiSupervised(1, distractors=2)
    ),
    "warps": dict(make=METHODS["prototypical"], augment=lambda: augmentation.random_warp),
}


def waits_of_a_training(gpu, make, episodes=9, **options):
    """What each step of a training waits for, from the one after the first that the bar reads to the last but one."""
    made = {name: built(option) for name, option in options.items()}
    with waits_of_steps(gpu) as steps:
        training.fit(
            built(make), On(gpu.device, gpu.device, gpu.device).data(), way=4, query=2, episodes=episodes,
            bfloat16=False, **made,
        )  # fmt: skip
    return steps[1:]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_no_step_waits(gpu, case):
    found = waits_of_a_training(gpu, **case)
    assert len(found) == 7 and not any(found), [f"{wait.what} at {wait.where}" for wait in found[0]]


def test_the_bar_reads_every_tenth_step_at_most(gpu):
    with waits_of_steps(gpu) as steps:
        data = On(gpu.device, gpu.device, gpu.device).data()
        training.fit(
            built(METHODS["prototypical"]), data, way=4, query=2, episodes=32, bfloat16=False
        )
    assert sum(bool(waits) for waits in steps) <= 4


def test_data_on_the_cpu_costs_no_waiting_either(gpu):
    with waits_of_steps(gpu) as steps:
        training.fit(
            built(METHODS["prototypical"]), On(CPU, CPU, CPU).data(), way=4, query=2, episodes=9, bfloat16=False
        )  # fmt: skip
    assert not any(steps[1:])


def test_what_a_real_gpu_reports_is_a_wait(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    showing = warnings.showwarning
    with RealGPU() as real:
        warnings.warn("called a synchronizing CUDA operation (Triggered internally)", stacklevel=1)
        warnings.warn("called a synchronizing CUDA operation (Triggered internally)", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert len(real.waits) == 2 and modes == ["warn", 0] and warnings.showwarning is showing
    assert any(line.startswith("test_waits.py") for line in real.waits[0].callers)
