"""Run the chapters, and the tests of training and evaluation, on other machines and with other luck, played here.

    make everywhere                              # whatever is not done yet; half an hour of two cores, or so
    make everywhere CHAPTERS="03 06"             # some chapters; "tests" are the tests of training and evaluation
    make everywhere ONLY="busy avx2"             # circumstances that have one of these words in their name
    make everywhere AGAIN=1                      # what passed before, too

What can differ from machine to machine is in `LEVELS`: the processor's instructions, threads, versions of PyTorch and
NumPy, a GPU, which is pretended, other work at the same time; and the seeds of the notebook. Circumstances are made of
them so that any two levels meet in one. Every run is a line of `tests/everywhere.jsonl`, from which the status page is
made; a run that passed is not repeated until the code of its notebook changes. Claims that fail are listed at the end,
and the command fails with them.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from tests.notebooks_claims import PLANT
from tests.notebooks_shift import SHIFT

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
TOLD = ROOT / "tests" / "everywhere.jsonl"
OLDEST = ROOT / "_build" / "oldest" / "bin" / "python"
OF_TRAINING = ("test_training.py", "steps/test_plain.py", "test_evaluation.py")

LEVELS = {
    "instructions": ("SSE4", "AVX2", "best"),
    "threads": (1, 2, 4),
    "seeds": (0, 1000, 2000, 3000, 4000, 5000),
    "versions": ("newest", "oldest"),
    "device": ("CPU", "pretended GPU"),
    "load": ("idle", "busy"),
}
INSTRUCTIONS = {  # PyTorch's own code, and that of the library for convolutions
    "SSE4": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "best": {},
}
RUNS = 26  # of each chapter
EXTRAS = ("bfloat16", "planted")  # one run more: of one chapter in that type; of each, with wrong numbers in its claims
# Where bfloat16 is not fast, it is emulated, slowly; where it is, it is used anyway.
IN_BFLOAT16 = "06_prototypical_networks"

PRETENDED = """
from tests.pretend_gpu import pretend_gpu as _pretend

_gpu = _pretend()
_gpu.__enter__()
"""
BFLOAT16 = """
from fslib import devices as _devices
from fslib.training import loop as _loop

_devices.has_fast_bfloat16 = _loop.has_fast_bfloat16 = lambda device: True
"""


def circumstances() -> list[dict]:
    """So many combinations of levels that any two of different kinds meet in one; the first is the usual one."""
    kinds = list(LEVELS)
    made = [dict(zip(kinds, ("best", 2, 0, "newest", "CPU", "idle")))]
    # GPUs are pretended slowly, and only beside what is not slow already.
    possible = [
        c
        for c in (dict(zip(kinds, levels)) for levels in itertools.product(*LEVELS.values()))
        if c["device"] == "CPU" or (c["versions"], c["load"]) == ("newest", "idle")
    ]
    open_pairs = {pair for c in possible for pair in pairs(c)} - set(pairs(made[0]))
    while len(made) < RUNS or open_pairs:
        # What takes long is chosen only where it brings two levels together that had not met.
        quick = {id(c): (c["device"] == "CPU") + (c["load"] == "idle") for c in possible}
        best = max(possible, key=lambda c: (len(open_pairs & set(pairs(c))), quick[id(c)], -used(made, c)))
        made.append(best)
        open_pairs -= set(pairs(best))
    return made


def pairs(c: dict) -> list[tuple]:
    return list(itertools.combinations(sorted((kind, str(level)) for kind, level in c.items()), 2))


def used(made: list[dict], c: dict) -> int:
    """How often the levels of a combination were chosen already; a combination that is there is the last choice."""
    return 1000 * (c in made) + sum(one[kind] == c[kind] for one in made for kind in c)


def name(c: dict) -> str:
    """One line, in which ONLY looks for words."""
    words = [c["instructions"], f"{c['threads']} threads", f"seeds +{c['seeds']}"]
    return " · ".join([*words, c["versions"], c["device"], c["load"], *(extra for extra in EXTRAS if c.get(extra))])


def missing(c: dict) -> str:
    """What this machine lacks to play it, or nothing."""
    if c["versions"] == "oldest" and not asked_of(str(OLDEST)):
        return "the oldest versions are not installed"
    return ""


def played(what: str, c: dict) -> dict:
    """Run a chapter, or the tests, in these circumstances; the line to be kept."""
    python = str(OLDEST if c["versions"] == "oldest" else sys.executable)
    environment = os.environ | INSTRUCTIONS[c["instructions"]]
    environment |= {"OMP_NUM_THREADS": str(c["threads"]), "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told.json")
        before = Path(folder, "before.py")
        before.write_text(
            SHIFT.replace("{by}", str(c["seeds"]))
            + PRETENDED * (c["device"] != "CPU")
            + BFLOAT16 * c.get("bfloat16", False)
            + PLANT * c.get("planted", False)
        )
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        if what == "tests":
            command += [str(ROOT / "tests" / file) for file in OF_TRAINING]
        else:
            command += ["-p", "tests.notebooks_plugin", "--nbval-lax", f"--nbval-before={before}"]
            command += [f"--nbval-told={told}", f"--nbval-root={ROOT}", "--nbval-cell-timeout=900"]
            command += map(str, notebooks(what))
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        came_of_it = json.loads(told.read_text()) if told.exists() else {}
    failed = [
        f"{'its solutions, ' * ('solutions' in name)}cell {f['cell'] + 1}: {f['error']} {f['line']}".strip()
        for name, of_one in came_of_it.items()
        for f in of_one["failed"]
    ]
    asked = notebooks(what)
    if done.returncode != bool(failed) or len(came_of_it) < len(asked):
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))][:5]
        ended = f"{len(came_of_it)} of {len(asked)} notebooks came to an end"
        failed += [f"{ended}, pytest with status {done.returncode}"] * bool(asked)
        failed += lines or [done.stdout[-300:] + done.stderr[-300:]]
    return {
        "what": what,
        "circumstance": name(c),
        **c,
        "failed": failed,
        "units": came_of_it.get(f"chapters/{what}.ipynb", {}).get("units"),
        "digest": digest(what),
        "versions": asked_of(python)["versions"],
        "processor": asked_of(python)["best"] if c["instructions"] == "best" else c["instructions"],
        "day": datetime.date.today().isoformat(),
    }


def notebooks(what: str) -> list[Path]:
    """A chapter and its solutions."""
    return [path for folder in ("", "solutions") if (path := ROOT / "chapters" / folder / f"{what}.ipynb").exists()]


def digest(what: str) -> str:
    """By which a run of the same code is known: that of the tests, or of all cells but the generated first."""
    if what == "tests":
        code = [(ROOT / "tests" / file).read_text(encoding="utf8") for file in OF_TRAINING]
    else:
        cells = [cell for path in notebooks(what) for cell in json.loads(path.read_text(encoding="utf8"))["cells"]]
        code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code" and c.get("id") != "first-cell"]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()[:12]


ASKED = """
import numpy, nbval, torch
print(f"PyTorch {torch.__version__.partition('+')[0]}, NumPy {numpy.__version__}")
print(torch.backends.cpu.get_cpu_capability())
"""


@functools.cache
def asked_of(python: str) -> dict:
    """The versions that an interpreter has, and the best instructions that they find; nothing if it is not there."""
    if not Path(python).exists():
        return {}
    lines = subprocess.run([python, "-c", ASKED], capture_output=True, text=True).stdout.splitlines()
    return dict(zip(("versions", "best"), lines))


def told() -> list[dict]:
    """All runs that were kept."""
    return [json.loads(line) for line in TOLD.read_text(encoding="utf8").splitlines()] if TOLD.exists() else []


def keep(line: dict) -> None:
    """Add a line, in place of an older one of the same run."""
    lines = {(one["what"], one["circumstance"]): one for one in [*told(), line]}
    new = TOLD.with_suffix(f".{os.getpid()}")
    new.write_text("".join(json.dumps(lines[key], ensure_ascii=False) + "\n" for key in sorted(lines)), encoding="utf8")
    new.replace(TOLD)


def oldest_versions() -> list[str]:
    """The lower bounds of PyTorch and NumPy, as pip is asked for them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    return [word.replace(">=", "==") for word in project["dependencies"] if word.startswith(("torch", "numpy"))]


def planned(chapters: list[str], only: list[str], again: bool = False) -> list[tuple[str, dict]]:
    """What there is to do, without what was done, or that too."""
    passed = [line for line in told() if not line["failed"] and not again]
    done = {(line["what"], line["circumstance"], line["digest"]) for line in passed}
    all_of_it = [*(path.stem for path in CHAPTERS), "tests"]
    all_of_it = [what for what in all_of_it if what.startswith(tuple(chapters) or "")]
    todo = [(what, c) for c in circumstances() for what in all_of_it]
    todo += [(IN_BFLOAT16, circumstances()[0] | {"bfloat16": True})] * (IN_BFLOAT16 in all_of_it)
    todo += [(what, circumstances()[0] | {"planted": True}) for what in all_of_it if what != "tests"]
    # The tests have seeds and pretended GPUs of their own.
    todo = [(what, c) for what, c in todo if what != "tests" or not (c["seeds"] or c["device"] != "CPU")]
    todo = [(what, c) for what, c in todo if not only or set(only) & set(name(c).split())]
    return [(what, c) for what, c in todo if (what, name(c), digest(what)) not in done]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chapters", nargs="*", default=[], metavar="NUMBER")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD")
    parser.add_argument("--again", action="store_true", help="repeat what passed")
    parser.add_argument("--oldest", action="store_true", help="say what to install beside, and do nothing")
    asked = parser.parse_args()
    if asked.oldest:
        print(*oldest_versions())
        return
    todo = planned(asked.chapters, asked.only, asked.again)
    for why in sorted({missing(c) for _, c in todo} - {""}):
        print(f"Not run here: {sum(missing(c) == why for _, c in todo)} runs, for {why}.")
    todo = [(what, c) for what, c in todo if not missing(c)]
    todo.sort(key=lambda one: (one[1]["load"] == "busy", one[1]["device"] != "CPU"))  # what takes long, last
    print(f"{len(todo)} runs.", flush=True)
    failed, alone = [], Lock()

    def run(number: int, what: str, c: dict) -> None:
        line = played(what, c)
        with alone:
            keep(line)
        says = "; ".join(line["failed"]) or "passed"
        print(f"{number:4}/{len(todo)}  {what}  {name(c)}  {says}", flush=True)
        failed.extend(f"{what}, {name(c)}: {one}" for one in line["failed"])

    idle = [(i, *one) for i, one in enumerate(todo, 1) if one[1]["load"] == "idle"]
    busy = [(i, *one) for i, one in enumerate(todo, 1) if one[1]["load"] == "busy"]
    with ThreadPoolExecutor(2) as pool:  # two at a time, of which a cell knows nothing but that it takes longer
        list(pool.map(lambda one: run(*one), idle))
    # Of four on two cores each is the others' load; where they are fewer, loops are.
    loads = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 - len(busy) if busy else 0)]
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: run(*one), busy))
    finally:
        for load in loads:
            load.kill()
    print("\n".join(failed) if failed else "Every claim held.")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
