"""A grader gives each submission the marks it deserves, whatever the submission does, and is harmed by none.

The hostile kinds need no PyTorch, so that a process starts in a blink: they are two functions of numbers.
"""

import csv
import json
import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("resource", reason="Grading needs Linux or macOS.")

from fslib.book import checks
from fslib.book.checks.exercise import COMMON
from fslib.book.grading import (
    MODES,
    Assignment,
    Graded,
    Limits,
    child,
    classroom,
    grade,
    grade_folder,
    load_assignment,
    namespaces,
    process,
    reports,
)
from fslib.book.grading.__main__ import main
from fslib.book.grading.notebook import code_cells
from fslib.episodes import Episode

SIZES = """
def block_parameters(ins, outs, kernel):
    return ins * outs * kernel**2 + 3 * outs
"""
FIELD = """
def receptive_field(layers):
    size, step = 1, 1
    for kernel, stride, dilation in layers:
        size, step = size + (kernel - 1) * dilation * step, step * stride
    return size
"""
FUNCTIONS = Graded("block_parameters", checks.block_parameters, 2), Graded("receptive_field", checks.receptive_field, 3)
PUBLIC = Assignment("Tiny", FUNCTIONS)
HIDDEN = Assignment("Tiny", FUNCTIONS, key="the key of the course")
LIMITS = Limits(seconds=60, memory=2**29, output=2**20, processes=8)
SHORT = replace(LIMITS, seconds=2, loading=2)  # for what would never end

NO_SANDBOX = process._no_sandbox()
in_sandbox = pytest.mark.skipif(bool(NO_SANDBOX), reason=f"There is no sandbox here: {NO_SANDBOX}")


def notebook(*cells, **more):
    cells = [{"cell_type": "code", "source": textwrap.dedent(cell)} for cell in cells]
    return json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}} | more)


def with_body(function, *lines):
    """A function that does something before all else."""
    head, rest = function.strip().split("\n", 1)
    return "\n".join([head, *(f"    {line}" for line in lines), rest])


@pytest.fixture
def graded(tmp_path):
    """Grades a text as a notebook."""

    def marks(text, assignment=HIDDEN, mode="sandbox", limits=LIMITS, name="handed in.ipynb"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return grade(path, assignment, mode, limits)

    return marks


# What is handed in ----------------------------------------------------------------------------------------------

V3 = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["a = 1\n", "b = 2"]}]}]}
NOTEBOOKS = {  # and its cells
    "two cells": (notebook("a = 1", "b = 2"), ["a = 1", "b = 2"]),
    "lines": (notebook("").replace('"source": ""', '"source": ["a = 1\\n", "b = 2"]'), ["a = 1\nb = 2"]),
    "words between": (notebook("a = 1").replace("[{", '[{"cell_type": "markdown", "source": "b"}, {'), ["a = 1"]),
    "no metadata": (json.dumps({"cells": [{"cell_type": "code", "source": "a"}, {}]}), ["a"]),
    "format 3": (json.dumps(V3), ["a = 1\nb = 2"]),
    "a mark before it": ("\ufeff" + notebook("a = 1"), ["a = 1"]),
    "UTF-16": (notebook("a = 1").encode("utf-16"), ["a = 1"]),
    "Latin-1": (notebook("a = 1  # ?").replace("?", "é").encode("latin-1"), ["a = 1  # \ufffd"]),
}


@pytest.mark.parametrize("content, cells", NOTEBOOKS.values(), ids=NOTEBOOKS)
def test_the_code_of_a_notebook_is_found(content, cells, tmp_path):
    path = tmp_path / "any name"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert code_cells(path) == (cells, "python")


@pytest.mark.parametrize("key, name", [("language_info", "name"), ("kernelspec", "language")])
def test_the_language_is_read_where_it_stands(key, name, tmp_path):
    (tmp_path / "r.ipynb").write_text(notebook("x <- 1", metadata={key: {name: "R"}}))
    assert code_cells(tmp_path / "r.ipynb") == (["x <- 1"], "r")


UNREADABLE = {  # and what is said of it
    "empty": (b" \n", "the file is empty"),
    "a program": (SIZES.encode(), "not JSON"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00", "not JSON"),
    "nested": (b"[" * 100_000, "not JSON"),
    "a list": (b"[1]", "no list of cells"),
    "a number": (b"1", "no list of cells"),
    "no cells": (b'{"metadata": 3}', "no list of cells"),
    "cells of text": (b'{"cells": ["def f(): ..."]}', "no list of cells"),
    "too large": (b"1" * (20 * 2**20 + 1), "larger than 20 MB"),
}


@pytest.mark.parametrize("content, said", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_notebook_gets_one_sentence(content, said, graded):
    report = graded(content, PUBLIC, "self-check")
    assert report.points == 0 and [mark.because for mark in report.marks] == ["unreadable"] * 2
    assert all(said in mark.message and "\n" not in mark.message for mark in report.marks)


# What of it is run ----------------------------------------------------------------------------------------------


def run(*cells, names=("f",)):
    known, notes = child.run([textwrap.dedent(cell) for cell in cells], [*names])
    return known, notes


def test_what_a_function_needs_is_run_and_nothing_else(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # it is put back
    known, notes = run(
        "%matplotlib inline\n!pip install x\nimport math as m\nimport nothing_of_this_name",
        "table = {}\ntable['a'] = 1\nother = 1 / 0",
        "class Net:\n    pass\nNet.size = property(lambda self: size)\nsize = 3",
        "for i in range(3):\n    raise RuntimeError",
        "def f(x):\n    i = sum(k for k in x)\n    return m.floor(i), table['a'], Net().size, helper()",
        "helper = lambda: 7\nraise ValueError",
        "def f_other(): ...\nf([1.5])",
        "help?\nthis is no Python",
    )
    assert known["f"]([1.0, 1.5]) == (2, 1, 3, 7)
    assert not {"i", "other", "f_other", "nothing_of_this_name"} & known.keys()
    assert len(notes) == 1 and notes[0].startswith("Cell 8 is not Python: ") and notes[0].endswith(", line 2.")


def test_of_two_definitions_the_last_counts(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    known, _ = run("def f(): return 1", "def f(): return 2")
    assert known["f"]() == 2


def test_what_fails_on_the_way_is_noted(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    _, notes = run("import nothing_of_this_name as n\ndef f(): return n", "def f(x=exit()): return n")
    assert notes[0].startswith("Cell 1, line 1, raised ModuleNotFoundError: No module named")
    assert notes[1].startswith("Cell 2, line 1, raised ")


# Values ---------------------------------------------------------------------------------------------------------


def over(value):
    buffers = []
    tree = json.loads(json.dumps(child.pack(value, buffers)))
    return child.unpack(tree, memoryview(b"".join(buffers)))


VALUES = [
    None, ..., True, 3, -(10**30), 0.1, math.inf, "é", (1, [2.5, (None,)]), {"a": 1, (2,): [3]}, np.float32(2.5),
    torch.arange(6).view(2, 3).T, torch.tensor(2.5, dtype=torch.bfloat16), torch.zeros(0, 3), torch.tensor([True]),
    np.arange(6.0).reshape(2, 3)[:, ::2], Episode(*torch.arange(9).view(3, 3)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_over_as_they_are(value):
    found = over(value)
    if isinstance(value, Tensor | np.ndarray):
        assert type(found) is type(value) and found.dtype == value.dtype and found.shape == value.shape
        assert (found == value).all()
    elif isinstance(value, Episode):
        assert all(torch.equal(*pair) for pair in zip(vars(value).values(), vars(found).values()))
    else:
        assert found == value and isinstance(found, type(value) if value is not VALUES[10] else float)


def test_of_anything_else_only_the_name_comes_over():
    class Equal:
        def __eq__(self, other):
            return True

    assert type(over(Equal())).__name__ == "Equal" and over([Equal()]) != [1]


FORGED = {
    "a shape without bytes": ["tensor", "float32", [1000]],
    "a negative shape": ["tensor", "float32", [-1]],
    "a shape of texts": ["tensor", "float32", ["1"]],
    "a shape beyond all numbers": ["tensor", "float32", [2**62, 2**62]],
    "another type": ["tensor", "nn", []],
    "objects": ["array", "object", [1]],
    "too many": ["tensor", "int8", [1] * 70],
    "a kind that is none": ["pickle", "cos\nsystem\n"],
    "nothing": [],
}


@pytest.mark.parametrize("tree", FORGED.values(), ids=FORGED)
def test_what_pack_did_not_pack_is_refused(tree):
    with pytest.raises((ValueError, KeyError, TypeError, RuntimeError, OverflowError)):
        child.unpack(tree, memoryview(b"12345678"))


# Marks ----------------------------------------------------------------------------------------------------------

MARKS = {  # the notebook → points, and what is said of the first function
    "right": (notebook(SIZES, FIELD), 5, "✓ Right."),
    "blank": (notebook(), 0, "there is no function block_parameters in the notebook."),
    "stubs": (notebook(SIZES.replace("return", "... #"), FIELD), 3, "○ Your turn"),
    "not written yet": (notebook(with_body(SIZES, "raise NotImplementedError"), FIELD), 3, "○ Your turn"),
    "wrong": (notebook(SIZES.replace("3 *", "2 *"), FIELD), 3, "the convolution has a bias"),
    "another kind": (notebook(SIZES.replace("return", "return str,"), FIELD), 3, "a number, but is a tuple"),
    "forgotten return": (notebook(SIZES.replace("return", "x ="), FIELD), 3, "is there a return?"),
    "raises": (notebook(with_body(SIZES, "{}['x']"), FIELD), 3, "raised KeyError: \"'x'\""),
    "an error of its own": (
        notebook(with_body(SIZES, "class Odd(Exception): ...", "raise Odd('so')"), FIELD), 3, "raised Odd: so",
    ),
    "exception at import": (notebook("raise ImportError", "1 / 0", SIZES, "import nix", FIELD), 5, "✓ Right."),
    "a name that is not there": (notebook("import nix\n" + with_body(SIZES, "nix.x"), FIELD), 3, "NameError"),
    "sys.exit": (notebook(with_body(SIZES, "import sys; sys.exit(0)"), FIELD), 3, "raised SystemExit: 0"),
    "sys.exit between": (notebook("import sys", "sys.exit()", SIZES, FIELD), 5, "✓ Right."),
    "os._exit": (notebook(with_body(SIZES, "import os; os._exit(0)"), FIELD), 3, "whole of Python (exit status 0)"),
    "a fork that comes back": (notebook(with_body(SIZES, "import os", "ins == 1 and os.fork()"), FIELD), 5, "✓ Right."),
    "a crash": (
        notebook(with_body(SIZES, "import ctypes; ctypes.string_at(0)"), FIELD), 3, "whole of Python (SIGSEGV)",
    ),
    "exit while loading": (notebook("import os\nx = os._exit(0)", with_body(SIZES, "x"), FIELD), 3, "whole of Python"),
    "endless loop": (notebook(with_body(SIZES, "while True: pass"), FIELD), 3, "not done after 2 seconds"),
    "endless loading": (notebook("while True: x = 1", with_body(SIZES, "x"), FIELD), 3, "not done after 2 seconds"),
    "endless naps": (
        notebook(with_body(SIZES, "import time; time.sleep(0.9)"), FIELD), 3, "not done after 2 seconds",
    ),
    "memory": (notebook(with_body(SIZES, "x = bytearray(2**32)"), FIELD), 3, "than there is for it, 0.5 GB"),
    "10 GB print": (notebook(with_body(SIZES, "for _ in range(10**4): print('x' * 10**6)"), FIELD), 3, "room for 1 MB"),
    "a large result": (notebook(SIZES.replace("return", "return 'x' * 10**7,"), FIELD), 3, "it returns too much"),
    "equal to everything": (
        notebook(
            "class Yes(int):\n    __eq__ = __ne__ = __le__ = __bool__ = lambda *_: True\n    __float__ = lambda _: 1.0",
            "class Any:\n    __eq__ = __bool__ = __lt__ = lambda *_: True",
            SIZES.replace("return", "return Any() #"),
            FIELD.replace("return", "return Yes() #"),
        ), 0, "a number, but is a Any",
    ),
    "patched builtins": (
        notebook("import builtins, math\nbuiltins.all = builtins.any = math.isclose = lambda *_, **__: True",
                 SIZES.replace("3 *", "2 *"), FIELD), 3, "the convolution has a bias",
    ),
    "deleted cells": (notebook(FIELD), 3, "there is no function block_parameters"),
    "a cell that is no Python": (notebook(SIZES.replace(":", ""), FIELD), 3, "in the notebook. Cell 1 is not Python"),
    "duplicated cells": (notebook(SIZES.replace("3", "2"), FIELD, SIZES, FIELD), 5, "✓ Right."),
    "wrong kernel": (notebook(SIZES, FIELD, metadata={"kernelspec": {"language": "R"}}), 5, "✓ Right."),
    "a number without end": (notebook(SIZES.replace("return", "return 10 ** 9999,"), FIELD), 3, "it returns too much"),
    "surrogates": (notebook("s = '\\ud800'", with_body(SIZES, "raise ValueError(s)"), FIELD), 3, "raised ValueError"),
    "junk in the connection": (
        notebook(with_body(SIZES, "import os", "for fd in range(3, 30):", "    try: os.write(fd, b'x' * 999)",
                           "    except OSError: pass"), FIELD), 3, "no answer that can be read",
    ),
}  # fmt: skip


def check(report, points, said):
    assert (report.points, report.of) == (points, 5), report
    assert said in report.marks[0].message, report.marks[0].message
    assert len(report.marks[0].message.splitlines()) <= 2  # the second, if there, says what is given on a fixed input


@in_sandbox
@pytest.mark.parametrize("name", MARKS)
def test_each_submission_gets_its_mark_and_one_sentence(name, graded):
    text, points, said = MARKS[name]
    check(graded(text, limits=SHORT if "endless" in name else LIMITS), points, said)


@pytest.mark.parametrize("mode", ["self-check", "container"])
@pytest.mark.parametrize("name", ["right", "wrong", "os._exit", "endless loop", "memory", "10 GB print", "raises"])
def test_marks_are_the_same_without_a_sandbox(mode, name, graded):
    if name == "memory" and sys.platform != "linux":
        pytest.skip("Only Linux limits memory.")
    text, points, said = MARKS[name]
    report = graded(text, PUBLIC, mode, SHORT if "endless" in name else LIMITS)
    check(report, points, said)
    assert report.mode == mode


@pytest.mark.parametrize("name", ["ps1 (1).ipynb", "ps1.ipynb.txt", os.fsdecode(b"\xff\xfe.ipynb"), "名.ipynb"])
def test_a_submission_may_have_any_name(name, graded):
    if sys.platform == "darwin" and not name.isprintable():
        pytest.skip("Names of files are UTF-8 here.")
    assert graded(notebook(SIZES, FIELD), PUBLIC, "self-check", name=name).points == 5


def test_seeds_come_from_the_key_and_are_recorded(graded):
    wrong = notebook(SIZES.replace("3 *", "2 *"), FIELD)
    first, again = (graded(wrong, PUBLIC, "self-check") for _ in range(2))
    assert first == again and [len(mark.seeds) for mark in first.marks] == [1, 3]
    seeds = [a.seeds(graded) for a in (PUBLIC, HIDDEN) for graded in a.functions]
    assert len({seed for several in seeds for seed in several}) == 12


def test_parts_of_an_answer_may_have_points_of_their_own(graded):
    parts = Assignment("Parts", (*FUNCTIONS, Graded("block_parameters", checks.count_triplets, 1)))
    report = graded(notebook(SIZES, FIELD), parts, "self-check")
    assert [(mark.points, mark.of) for mark in report.marks] == [(2, 2), (3, 3), (0, 1)]


TENSORS = """
    import torch, numpy as np
    from fslib.episodes import Episode

    torch.allclose = torch.equal = torch.isclose = np.allclose = lambda *_, **__: True

    def right(support, labels, query):
        return labels[torch.cdist(query, support).argmin(1)]

    def wrong(support, labels, query):
        return labels[torch.cdist(query, support).argmax(1)]

    class Always(torch.Tensor):
        def __eq__(self, other):
            return True

    def equal(support, labels, query):
        return torch.zeros(50).as_subclass(Always)

    def changing(support, labels, query):
        support += 1
        return labels[torch.cdist(query + 1, support).argmin(1)]

    def as_array(support, labels, query):
        return right(support, labels, query).numpy()

    def loss(anchor, positive):
        products = anchor @ positive.T * 2 - anchor.square().sum(1)[:, None] - positive.square().sum(1)
        return torch.nn.functional.cross_entropy(products, torch.arange(len(anchor)))

    def a_number(anchor, positive):
        return loss(anchor, positive).item()

    def draw(labels, scripts, way, shot, query):
        script = scripts.unique()[torch.randint(len(scripts.unique()), ())]
        present = labels[scripts == script].unique()
        classes = present[torch.randperm(len(present))[:way]]
        rows = torch.stack([(labels == c).nonzero().flatten()[torch.randperm(9)[: shot + query]] for c in classes])
        return Episode(classes, rows[:, :shot].flatten(), rows[:, shot:].flatten())
"""
NEAREST, LOSS, DRAW = checks.nearest_neighbour, checks.n_pair_distances, checks.draw_episode


def test_answers_of_tensors_are_judged_as_if_they_were_here(graded):
    """And whatever was patched in the child: the comparison is made here."""
    exercises = {"right": NEAREST, "wrong": NEAREST, "equal": NEAREST, "changing": NEAREST, "as_array": NEAREST,
                 "loss": LOSS, "a_number": LOSS, "draw": DRAW}  # fmt: skip
    assignment = Assignment("Tensors", tuple(Graded(name, each) for name, each in exercises.items()), draws=1)
    report = graded(notebook(TENSORS), assignment, "self-check", Limits(seconds=60))
    because = {mark.function: mark.because for mark in report.marks}
    assert because == {
        "right": "right", "wrong": "farthest", "equal": "otherwise", "changing": "changed", "as_array": "kind",
        "loss": "right", "a_number": "no gradient", "draw": "right",
    }, report  # fmt: skip


def test_a_gradient_comes_over_with_a_number(graded):
    def slope(answer, x):
        (found,) = torch.autograd.grad(2 * answer(x.requires_grad_()), x)
        return found

    asked = checks.Exercise(
        asks="", level="easy", minutes=1, right=lambda x: (x**3).sum(), also=(), otherwise="no", call=slope,
        given=lambda: (torch.randn(4),),
    )  # fmt: skip
    functions = Graded("cube", asked), Graded("forged", asked)
    text = notebook("def cube(x): return (x**3).sum()", "def forged(x): return (x**3).sum().detach() + 0 * x.sum()")
    assert [mark.points for mark in graded(text, Assignment("", functions), "self-check", Limits()).marks] == [1, 0]


# What an assignment may not be ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["self-check", "container"])
def test_nothing_hidden_is_graded_where_a_submission_could_read_it(mode, graded):
    with pytest.raises(ValueError, match=f"has a course key, and in the mode {mode} a submission could"):
        graded(notebook(), HIDDEN, mode)


def test_a_mode_must_exist():
    with pytest.raises(ValueError, match="no mode 'docker'; the modes are self-check, sandbox, container"):
        grade("x", PUBLIC, "docker")
    assert list(MODES) == ["self-check", "sandbox", "container"]


def test_a_value_is_no_function_and_points_are_positive():
    with pytest.raises(ValueError, match="gives it no inputs"):
        Graded("weights", checks.weights_per_picture)
    with pytest.raises(ValueError, match="with 0 points"):
        Graded("cosines", checks.cosines, 0)


def test_an_input_that_cannot_be_sent_is_no_fault_of_the_submission(graded):
    network = Assignment("Network", (Graded("asymmetry", checks.asymmetry),))
    with pytest.raises(TypeError, match="asymmetry is given what cannot be sent"):
        graded(notebook("def asymmetry(*given): return 1"), network, "self-check")


def test_a_python_that_does_not_start_is_no_fault_of_the_submission(graded, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="Python does not start in the mode self-check"):
        graded(notebook(SIZES, FIELD), PUBLIC, "self-check")


def test_all_that_the_grader_says_can_be_said_in_another_language():
    used = Path(process.__file__).read_text() + Path(process.__file__).with_name("submission.py").read_text()
    assert {"too long", "ended", "no answer", "large output", "large result"} <= COMMON.keys()
    assert all(f'"{key}"' in used for key in list(COMMON)[list(COMMON).index("unreadable") :])


# Forgery --------------------------------------------------------------------------------------------------------

FORGER = """
    import json, os, socket, struct, sys

    def reply(request, result):
        header = json.dumps({"token": request["token"], "result": [result], "changed": False}).encode()
        channel = sys.modules["__main__"].channel
        os.write(channel, struct.pack("!QQ", len(header), 0) + header)

    def the_request():
        frame = sys._getframe()
        while "request" not in frame.f_locals or "channel" not in frame.f_locals:
            frame = frame.f_back
        sys.modules["__main__"].channel = frame.f_locals["channel"].fileno()
        return frame.f_locals["request"]
"""


@in_sandbox
def test_a_forged_answer_is_worth_no_more_than_another(graded):
    text = notebook(
        FORGER,
        with_body(SIZES.replace("3 *", "2 *"), "reply(the_request(), ins * outs * kernel**2)"),
        FIELD,
    )
    check(graded(text), 3, "those are the weights of the convolution")


@in_sandbox
def test_an_answer_for_another_function_is_none(graded):
    """The one that was asked next finds a message that it did not ask for."""
    early = with_body(SIZES, "reply(the_request() | {'token': '0' * 32}, 7)")
    report = graded(notebook(FORGER, early, FIELD))
    assert [mark.because for mark in report.marks] == ["no answer", "right"]


@in_sandbox
def test_nobody_waits_for_a_result_that_is_announced_and_too_large(graded):
    announces = "the_request()", "os.write(sys.modules['__main__'].channel, struct.pack('!QQ', 9, 2**33) + b'x' * 999)"
    report = graded(notebook(FORGER, with_body(SIZES, *announces, "while True: pass"), FIELD), limits=SHORT)
    assert [mark.because for mark in report.marks] == ["no answer", "right"]


@in_sandbox
def test_a_thread_that_writes_later_harms_its_own_submission_alone(graded):
    later = "import threading, time", "request = the_request()", (
        "threading.Thread(target=lambda: [reply(request, 1) or time.sleep(0.001) for _ in range(99)]).start()"
    )  # fmt: skip
    report = graded(notebook(FORGER, with_body(SIZES.replace("3 *", "2 *"), *later), FIELD))
    assert report.marks[0].points == 0 and graded(notebook(SIZES, FIELD)).points == 5


# The sandbox ----------------------------------------------------------------------------------------------------


@pytest.fixture
def secrets(tmp_path):
    (tmp_path / "key.txt").write_text("the key of the course")
    (tmp_path / "another.ipynb").write_text(notebook(SIZES))
    return tmp_path


REFUSED = {  # each would be right, if it could do what it tries first
    "the key": "open('{folder}/key.txt')",
    "another's submission": "open('{folder}/another.ipynb')",
    "its own file": "open('{folder}/handed in.ipynb')",
    "a list of files": "import os; os.listdir('{folder}')",
    "the parent's memory": "open('/proc/{parent}/mem', 'rb')",
    "the parent's environment": "open('/proc/{parent}/environ')",
    "the parent's life": "import os; os.kill({parent}, 0)",
    "the passwords": "open('/etc/passwd')",
    "the network": "import socket; socket.create_connection(('{host}', {port}), 1)",
    "writing outside": "open('{folder}/written', 'w')",
    "writing to the root": "open('/written', 'w')",
    "writing to a package": "import json; open(json.__file__, 'a')",
    "writing to the grader": "open('{package}/child.py', 'a')",
    "root": "import os; os.setuid(0)",
    "a namespace": "import subprocess; subprocess.run(['unshare', '-U', 'true'], check=True)",
    "mounting": "import subprocess; subprocess.run(['mount', '-t', 'tmpfs', 'x', '/tmp'], check=True)",
    "more memory": "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))",
    "a full disk": "[open(f'/tmp/{i}', 'wb').write(bytes(2**19)) for i in range(9)]",
    "the first process": "import os; open('/proc/1/mem', 'rb')",
    "fork bomb": "import os, time; [os.fork() or time.sleep(99) for _ in range(20)]",
}


@in_sandbox
@pytest.mark.parametrize("tries", REFUSED.values(), ids=REFUSED)
def test_a_sandbox_refuses(tries, graded, secrets):
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        places = {"folder": secrets, "parent": os.getpid(), "host": host, "port": port}
        for name, place in (places | {"package": Path(child.__file__).parent}).items():
            tries = tries.replace(f"{{{name}}}", str(place))
        report = graded(notebook(with_body(SIZES, tries), FIELD))
    check(report, 3, "your answer raised ")
    raised = report.marks[0].message.split("raised ")[1].split(":")[0]
    assert raised in ("FileNotFoundError", "PermissionError", "OSError", "ProcessLookupError", "BlockingIOError",
                      "CalledProcessError", "ValueError"), report  # fmt: skip
    assert not (secrets / "written").exists()


def processes(mark):
    """The processes on whose command line a mark stands."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in place.read_bytes():
                found.append(place.parent.name)
        except OSError:  # it has just ended
            pass
    return found


STAYS = "import subprocess; subprocess.Popen(['sh', '-c', 'sleep 9999; : mark'], start_new_session=True)"


def wait_until(happens):
    deadline = time.monotonic() + 120
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@in_sandbox
def test_no_process_is_left(graded):
    """Not even one that leaves its session, while its parent dies; without a sandbox it is."""
    mark = f"mark{os.getpid()}"
    text = notebook(with_body(SIZES, STAYS.replace("mark", mark), "import os; os._exit(1)"), FIELD)
    assert graded(text).points == 3
    wait_until(lambda: not processes(mark))
    assert graded(text, PUBLIC, "self-check").points == 3
    left = processes(mark)
    for process_id in left:
        os.kill(int(process_id), signal.SIGKILL)
    assert left


@in_sandbox
def test_a_sandbox_that_cannot_be_made_names_the_step(tmp_path):
    told = json.dumps({"readable": ["/usr"], "room": str(tmp_path / "not there"), "bytes": 2**20})
    program = [sys.executable, "-I", namespaces.__file__, told, "/bin/true"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == namespaces.FAILED and done.stderr.startswith("[Errno 2] mount: No such file")


def test_without_the_mechanism_the_sandbox_is_refused(monkeypatch, tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('[Errno 1] unshare: Operation not permitted')")
    monkeypatch.setattr(process.namespaces, "__file__", str(script))
    process._no_sandbox.cache_clear()
    try:
        if sys.platform == "linux":
            with pytest.raises(ValueError, match=r"no sandbox here: \[Errno 1\] unshare: Operation not perm"):
                grade("x", HIDDEN)
        monkeypatch.setattr(sys, "platform", "darwin")
        process._no_sandbox.cache_clear()
        with pytest.raises(ValueError, match="There is no sandbox here: it is made of Linux namespaces"):
            grade("x", HIDDEN)
    finally:
        process._no_sandbox.cache_clear()


@in_sandbox
@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/bin/python3").exists(), reason="Only root can be another user.")
def test_a_user_without_rights_gets_a_sandbox_too(tmp_path_factory):
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        script = Path(folder, "namespaces.py")
        script.write_text(Path(namespaces.__file__).read_text())
        room, own = Path(folder, "room"), Path(folder, "own")
        for place in (room, own):
            place.mkdir()
            os.chown(place, 12345, 12345)
        readable = ["/usr", "/bin", "/lib", "/lib64", str(own)]
        told = json.dumps({"readable": readable, "room": str(room), "bytes": 2**20})
        tries = f"id -u; ls /; for p in / /usr {own} /tmp; do touch $p/written && echo $p; done; kill -9 $$"
        done = subprocess.run(
            ["/usr/bin/python3", "-I", script, told, "/bin/sh", "-c", tries],
            user=12345, group=12345, extra_groups=[], capture_output=True, text=True,
        )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("This system allows user namespaces to root alone.")
    assert done.stdout.split() == ["65534", "bin", "dev", "lib", "lib64", "proc", "tmp", "usr", "/tmp"], done
    assert done.returncode == 128 + 9


# A class --------------------------------------------------------------------------------------------------------

MASTER = """
from pathlib import Path
from fslib.book import checks
from fslib.book.grading import Assignment, Graded

def assignment(key):
    solution = Path(__file__).with_name("solution.ipynb")
    sizes, field = checks.block_parameters, checks.receptive_field
    functions = Graded("block_parameters", sizes, 2), Graded("receptive_field", field, 3)
    return Assignment("Tiny", functions, key=key, solution=solution)
"""
EXPECTED = {"anna": 5, "ben": 3, "carla": 3, "doejane": 2, "Eva Õ": 0}


@pytest.fixture
def a_class(tmp_path):
    """A master with its key and solution, and what five students handed in."""
    master, folder = tmp_path / "private" / "master.py", tmp_path / "handed in"
    right, wrong = notebook(SIZES, FIELD), notebook(SIZES.replace("3 *", "2 *"), FIELD)
    handed_in = {
        "anna.ipynb": right, "ben/any (1).ipynb": wrong, "ben/notes.txt": "hello", ".DS_Store": "",
        "carla.ipynb": MARKS["os._exit"][0],
        "doejane_LATE_12_345_ps1.ipynb": "first try", "doejane_12_345_ps1-1.ipynb": notebook(SIZES),
        "Eva Õ_78_assignsubmission_file_/report.pdf": "%PDF-1.7",
    }  # fmt: skip
    files = {master: MASTER, master.with_name("solution.ipynb"): right, master.with_name("key.txt"): "a key\n"}
    for path, text in (files | {folder / name: text for name, text in handed_in.items()}).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
    (folder / "fay.ipynb").symlink_to(master.with_name("solution.ipynb"))
    return master, folder, tmp_path / "marks"


def points(records):
    return {record["student"]: record["points"] for record in records}


def test_a_class_is_graded_and_listed_for_canvas_and_moodle(a_class):
    master, folder, output = a_class
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    records = grade_folder(master, folder, output, "container", limits=LIMITS, progress=False)
    assert points(records) == EXPECTED and all(record["of"] == 5 for record in records)
    canvas, moodle = (list(csv.reader((output / f"{name}.csv").open(encoding="utf8"))) for name in ("canvas", "moodle"))
    assert canvas[:2] == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Tiny"],
        ["    Points Possible", "", "", "", "", "5"],
    ]
    assert [(row[0], row[1], float(row[5])) for row in canvas[2:]] == [
        (record["student"], record["id"], record["points"]) for record in records
    ]
    assert ["doejane", "12", "", "", "", "2"] in canvas
    row = dict(zip(moodle[0], next(row for row in moodle if row[1] == "Eva Õ")))
    assert row["Identifier"] == "Participant 78" and (row["Grade"], row["Maximum Grade"]) == ("0", "5")
    assert "block_parameters: ✗ Not yet: the notebook cannot be read" in row["Feedback comments"]
    assert len(list((output / "feedback").iterdir())) == 5 and not (output / "results.json").exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_is_graded_is_not_graded_again_unless_something_is_another(a_class, monkeypatch):
    master, folder, output = a_class

    def graded_again(**other):
        seen = []
        real = classroom.grade
        monkeypatch.setattr(classroom, "grade", lambda path, *rest: seen.append(path.name) or real(path, *rest))
        grade_folder(master, folder, output, **{"mode": "self-check", "limits": LIMITS, "progress": False} | other)
        monkeypatch.setattr(classroom, "grade", real)
        return [name for name in seen if name != "solution.ipynb"]

    assert len(graded_again()) == 5 and graded_again() == []
    (folder / "anna.ipynb").write_text(notebook(FIELD))
    assert graded_again() == ["anna.ipynb"]
    assert len(graded_again(mode="container")) == 5
    master.write_text(MASTER + "# another")
    assert len(graded_again(mode="container")) == 5


def command(*arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "fslib.book.grading", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | more,
    )  # fmt: skip


@in_sandbox
def test_a_killed_run_leaves_nothing_behind_and_goes_on(a_class):
    """One submission never ends; when the others have their records, the whole of it is killed."""
    master, folder, output = a_class
    mark = f"mark{os.getpid()}"
    stuck = folder / "zoe.ipynb"
    stuck.write_text(notebook(with_body(SIZES, STAYS.replace("mark", mark), "while True: pass"), FIELD))
    told = [master, folder, "-o", output, "--key", master.with_name("key.txt"), "--jobs", 2, "--seconds", 600]
    running = command(*told, TMPDIR=str(master.parent))  # where a killed run leaves empty folders
    wait_until(lambda: len(list(output.glob("records/*.json"))) == 5 and processes(mark))
    running.kill()
    running.communicate()
    wait_until(lambda: not processes(mark) and not processes(str(master)))
    assert not (output / "canvas.csv").exists() and not list(output.glob("**/*.part"))
    kept = {path: path.stat().st_mtime_ns for path in output.glob("records/*.json")}
    assert len(kept) == 5
    stuck.write_text(notebook(FIELD))
    done = command(*told, "--jobs", 1)
    said, _ = done.communicate()
    assert "6 graded, 2.67 points in the mean" in said and done.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    records = [json.loads(path.read_text()) for path in output.glob("records/*.json")]
    assert points(records) == EXPECTED | {"zoe": 3} and all(record["mode"] == "sandbox" for record in records)


def test_a_machine_on_which_the_solution_fails_grades_nobody(a_class):
    master, folder, output = a_class
    master.with_name("solution.ipynb").write_text(notebook("import nix", with_body(SIZES, "nix.x"), FIELD))
    with pytest.raises(ValueError, match="The solution of Tiny does not get full marks here, so nobody is graded"):
        grade_folder(master, folder, output, "self-check", limits=LIMITS, progress=False)
    assert not output.exists()


@in_sandbox
def test_nothing_private_may_lie_where_a_sandbox_can_read(a_class, monkeypatch):
    master, folder, output = a_class
    monkeypatch.setattr(classroom, "readable", lambda: [str(master.parent)])
    with pytest.raises(ValueError, match=r"master\.py lies in .*, which a submission can read"):
        grade_folder(master, folder, output, limits=LIMITS, progress=False)


def test_what_the_machine_cannot_grade_is_told_and_the_rest_is_graded(a_class, monkeypatch):
    master, folder, output = a_class
    real = classroom.grade

    def failing(path, *rest):
        if path.name == "carla.ipynb":
            raise OSError("Python does not start")
        return real(path, *rest)

    monkeypatch.setattr(classroom, "grade", failing)
    with pytest.raises(RuntimeError, match=r"1 of 5 could not be graded\. carla: OSError: Python does not start"):
        grade_folder(master, folder, output, "self-check", limits=LIMITS, progress=False)
    assert "carla" not in (output / "canvas.csv").read_text(encoding="utf8")
    monkeypatch.undo()
    assert points(grade_folder(master, folder, output, "self-check", limits=LIMITS, progress=False)) == EXPECTED


def test_of_one_submission_gradescope_gets_its_results(a_class):
    master, folder, output = a_class
    grade_folder(master, folder / "ben" / "any (1).ipynb", output, "container", limits=LIMITS, progress=False)
    told = json.loads((output / "results.json").read_text())
    assert told["score"] == 3 and "the platform's container is the boundary" in told["output"].lower()
    assert [(test["score"], test["max_score"], test["status"]) for test in told["tests"]] == [
        (0, 2, "failed"), (3, 3, "passed"),
    ]  # fmt: skip
    assert "the convolution has a bias" in told["tests"][0]["output"]


def test_what_a_submission_says_stands_on_the_page_as_text(tmp_path):
    evil = "<script>alert(1)</script>"
    mark = {"function": "f", "points": 0.0, "of": 2.0, "message": evil, "because": "raised", "seeds": [7]}
    record = {"student": f"=1+1{evil}", "id": "", "file": evil, "points": 0.0, "of": 2.0, "marks": [mark]}
    record |= {"notes": [evil], "mode": "sandbox"}
    reports.write(tmp_path, PUBLIC, [record, record])
    pages = [path.read_text(encoding="utf8") for path in (tmp_path / "feedback").iterdir()]
    assert len(pages) == 2 and all("<script" not in page and page.count("&lt;script") == 4 for page in pages)
    assert f"'=1+1{evil}" in [row[0] for row in csv.reader((tmp_path / "canvas.csv").open(encoding="utf8"))]


@pytest.mark.parametrize("text", ["", "assignment = 3", "def assignment(key): return key"])
def test_a_master_makes_an_assignment(text, tmp_path):
    (tmp_path / "master.py").write_text(text)
    with pytest.raises(ValueError, match="should define assignment"):
        load_assignment(tmp_path / "master.py", "key")


def test_an_empty_folder_holds_nothing_to_grade(tmp_path, capsys):
    (tmp_path / "master.py").touch()
    told = [str(tmp_path / "master.py"), str(tmp_path), "-o", str(tmp_path / "marks"), "--mode", "self-check"]
    assert main(told) == 1 and "master.py makes no assignment: it should define" in capsys.readouterr().err
    (tmp_path / "master.py").unlink()
    with pytest.raises(ValueError, match="There is nothing to grade in"):
        classroom.submissions(tmp_path)
