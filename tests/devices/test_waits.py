"""A training step waits for no GPU: only the bar reads what came of it, every tenth step."""

import pytest
import torch
from torch import nn

from fslib import augmentation, methods, training
from tests.devices.test_calls import LOSSES, METHODS, TRAINED, On, built
from tests.pretend_gpu import waits_of_steps

CASES = {
    **{name: dict(make=make) for name, make in TRAINED.items()},
    **{name: dict(make=METHODS["prototypical"], objective=make) for name, make in LOSSES.items()},
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


def test_pictures_that_stay_on_the_cpu_cost_no_waiting_either(gpu):
    model = built(lambda: methods.PrototypicalNetwork(nn.Flatten()))
    model.scale = nn.Parameter(torch.ones(()))
    model.embed = lambda images: images.flatten(1) * model.scale
    cpu = torch.device("cpu")
    with waits_of_steps(gpu) as steps:
        training.fit(model, On(cpu, cpu, cpu).data(), way=4, query=2, episodes=9, bfloat16=False)
    assert not any(steps[1:])
