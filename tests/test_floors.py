"""The house has floors: a module imports only from those below, and the subject never imports the book.

A function fits on a page. Modules of the book go by short names too, and are the same modules by either.
"""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fslib
from fslib.book import ledger

PACKAGE = Path(fslib.__file__).parent
# From the lowest to the highest. Modules in one pair of brackets are parts of one idea, and may import each other.
FLOORS = [
    [["files"], ["devices"], ["config"], ["labels"], ["deprecation"]],
    [["metrics"], ["augmentation"]],
    [["data"], ["losses", "mining", "objectives", "distillation"], ["backbones", "attention"]],
    [["episodes"], ["methods"], ["nuisances"], ["domains"], ["clustering"]],
    # Evaluation is a command too, which measures a model that is stored.
    [["training"], ["evaluation", "probes", "storage"]],
    [["predictor", "command"], ["testing"]],
    [["book"]],
]
FLOOR = {module: i for i, floor in enumerate(FLOORS) for idea in floor for module in idea}
IDEA = {module: idea for floor in FLOORS for idea in floor for module in idea}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
SHORT = sorted(fslib._OF_THE_BOOK)


def module_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(source):
    """The modules of the package that a source names in its imports, wherever they stand."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("fslib."))


def breaches(module, source):
    """The modules that a module imports, and must not."""
    return {
        other
        for other in imported(source)
        if other not in IDEA[module] and FLOOR.get(other, len(FLOORS)) >= FLOOR[module]
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_from_floors_below_it(path):
    assert not breaches(module_of(path), path.read_text(encoding="utf8"))


@pytest.mark.parametrize(
    "module, source, taken",
    [
        ("metrics", "def f():\n    from fslib.losses import TripletLoss", {"losses"}),
        ("training", "from fslib import evaluation, metrics", {"evaluation"}),
        ("evaluation", "import fslib.book.ledger", {"book"}),
        ("storage", "from fslib import ledger", {"ledger"}),  # by its short name
        ("mining", "from fslib import losses", set()),
        ("book", "from fslib.book import plots\nimport fslib.metrics", set()),
    ],
)
def test_a_breach_is_found(module, source, taken):
    assert breaches(module, source) == taken


def lines_of_code(function):
    """From the name to the end, without the words."""
    said = function.body[0] if ast.get_docstring(function) is not None else None
    words = said.end_lineno - said.lineno + 1 if said else 0
    return function.end_lineno - function.lineno + 1 - words


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_function_fits_on_a_page(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf8")))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions if lines_of_code(f) > 60] == []


def test_the_subject_does_not_load_the_book():
    subject = sorted({module_of(path) for path in FILES} - {"book"})
    imports = "".join(f"import fslib.{module}\n" for module in subject)
    told = f"import sys\n{imports}print([name for name in sys.modules if name.startswith('fslib.book')])"
    assert run("-c", told) == "[]\n"


def run(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Short names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["fslib", "fslib.book"])
def test_a_module_of_the_book_is_the_same_by_its_short_name(first):
    check = """
importlib.import_module("{first}.{name}")
import fslib.{name} as imported, fslib.book.{name} as real
from fslib import {name} as member
from fslib.{name} import __name__ as its
assert imported is real is member is fslib.{name} is fslib.book.{name}
assert its == real.__name__ == real.__spec__.name == "fslib.book.{name}"
assert real.__spec__.loader.name == its and importlib.reload(real) is real
"""
    checks = [check.format(first=first, name=name) for name in SHORT]
    run("-c", "\n".join(["import fslib, importlib", *checks]))


def test_what_is_set_on_the_short_name_is_set_on_the_module(monkeypatch, tmp_path):
    short = importlib.import_module("fslib.ledger")
    monkeypatch.setattr(short, "folder", lambda: tmp_path)
    assert ledger.folder() == tmp_path and ledger.find() == []


def test_parts_of_a_package_are_the_same_by_the_short_name():
    for part in ("running", "ch04_losses", "measures"):
        short = importlib.import_module(f"fslib.experiments.{part}")
        assert short is importlib.import_module(f"fslib.book.experiments.{part}")


@pytest.mark.parametrize("package", ["fslib", "fslib.book"])
def test_commands_go_by_both_names(package):
    assert "omniglot/prototypical " in run("-W", "error", "-m", f"{package}.experiments")
    assert "usage: python -m fslib.book.export" in run("-m", f"{package}.export", "--help")


def test_there_is_no_module_of_another_name():
    with pytest.raises(ModuleNotFoundError, match=r"fslib\.ledgers"):
        importlib.import_module("fslib.ledgers")
    with pytest.raises(AttributeError, match="ledgers"):
        _ = fslib.ledgers
    assert {*SHORT, "book", "metrics"} <= set(dir(fslib))
