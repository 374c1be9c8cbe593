"""What a notebook costs, in a unit that does not depend on the machine or on what else it does.

A unit is one CPU second of a plain machine of two cores, without AVX-512 and bfloat16, that does nothing else. A fixed
piece of work tells how much longer a CPU second takes here: half a few steps of a Conv-4, half plain Python, as in the
chapters. It runs in the notebook's own kernel, before its first cell and after its last.
"""

import json
import math

#: CPU seconds of the piece of work on that machine.
REFERENCE = 1.5
SLACK = 2  # a cost is an honest estimate, not a race: so many times as much is too much
KEYS = ("units", "memory_mb", "download_mb")

# Changes nothing that a cell could see: it draws from a generator of its own, and leaves no name.
WORK = """
def _work():
    import resource

    import torch
    import torch.nn.functional as F

    made = torch.Generator().manual_seed(0)
    images = torch.rand(60, 1, 28, 28, generator=made)
    weights = [0.1 * torch.randn(64, channels, 3, 3, generator=made) for channels in (1, 64, 64, 64)]

    def seconds():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    began = seconds()
    for _ in range(8):
        maps, kernels = images, [weight.clone().requires_grad_() for weight in weights]
        for kernel in kernels:
            maps = F.max_pool2d(F.conv2d(maps, kernel, padding=1), 2).relu()
        torch.cdist(maps.flatten(1), maps.flatten(1)).square().mean().backward()
    total = 0
    for number in range(11_000_000):
        total += number * number % 7
    print(seconds() - began)


_work()
del _work
"""

# On Linux the peak is read from /proc, for the peak that getrusage tells includes the memory of the process that
# started the kernel.
USED = """
def _used():
    import json, pathlib, re, resource, sys

    me, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = me.ru_utime + me.ru_stime + children.ru_utime + children.ru_stime
    status = pathlib.Path("/proc/self/status")
    peak = re.search(r"VmHWM:\\s*(\\d+)", status.read_text()) if status.exists() else None
    unit = 1e6 if sys.platform == "darwin" else 1e3
    memory = round(int(peak[1]) / 1e3 if peak else me.ru_maxrss / unit)
    by_others = children.ru_utime + children.ru_stime
    print(json.dumps({"cpu_seconds": seconds, "by_others": by_others, "memory_mb": memory}))


_used()
del _used
"""


def cost(used: str, before: str, after: str, first_cell: str) -> dict:
    """What a notebook cost, by what its kernel had used before the second piece of work, and by both pieces.

    What other programs did for the first cell is not the notebook's: they install the package, where it is not there.
    """
    all_of_it, (first, last) = json.loads(used), (float(before), float(after))
    seconds = all_of_it["cpu_seconds"] - first - json.loads(first_cell)["by_others"]
    slower = math.sqrt(first * last) / REFERENCE
    return {
        "units": round(seconds / slower, 1),
        "cpu_seconds": round(seconds, 1),
        "memory_mb": all_of_it["memory_mb"],
    }


def overspent(cost: dict, declared: dict) -> list[str]:
    """Where a notebook cost too much, and what to do about it."""
    return [
        f"cost {cost[key]:g} {unit}, more than {SLACK} times the {declared[key]:g} it declares: make it cheaper, or "
        f"put what it costs in fslib.cost.{key} of its metadata"
        for key, unit in {"units": "units", "memory_mb": "MB of memory"}.items()
        if cost[key] > SLACK * declared[key]
    ]
