"""The API reference: a page for each module, and a first page whose examples run."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch
import yaml

import fslib

BOOK = Path(__file__).parents[1] / "book"
EXAMPLES = re.findall(r"```python\n(.*?)```", (BOOK / "api.md").read_text(encoding="utf8"), re.DOTALL)
PAGES = {
    re.search(r"automodule:: ([\w.]+)", path.read_text(encoding="utf8"))[1]: path for path in BOOK.glob("api/*.md")
}
# What readers import under the name of another module, or not at all.
INNER = {
    "fslib.book", "fslib.command", "fslib.config", "fslib.deprecation", "fslib.files", "fslib.labels", "fslib.storage",
}  # fmt: skip


def test_the_examples_run_in_order_and_print_accuracies(capsys):
    torch.manual_seed(0)
    space = {}
    for example in EXAMPLES:
        exec(example, space)
    assert len(EXAMPLES) == 3 and len(re.findall(r"% ± [\d.]+ \(1,000 episodes\)", capsys.readouterr().out)) == 3


def test_each_module_has_a_page_that_the_table_and_the_side_bar_list():
    modules = {found.name for found in pkgutil.iter_modules(fslib.__path__, "fslib.")} - INNER | {"fslib"}
    assert modules <= PAGES.keys(), modules - PAGES.keys()
    contents = yaml.safe_load((BOOK.parent / "_toc.yml").read_text(encoding="utf8"))
    (entry,) = [entry for part in contents["parts"] for entry in part["chapters"] if entry["file"] == "book/api"]
    listed = [Path(section["file"]).stem for section in entry["sections"]]
    table = (BOOK / "api.md").read_text(encoding="utf8")
    linked = re.findall(r"^\| \[.*?\]\(api/(\w+)\.md\) \| `([\w.]+)`", table, re.MULTILINE)
    assert listed == [name for name, _ in linked] and set(listed) == {path.stem for path in PAGES.values()}
    assert all(PAGES[module].stem == name for name, module in linked)


@pytest.mark.parametrize("module", PAGES)
def test_each_page_documents_something(module):
    found = importlib.import_module(module)
    assert found.__doc__ and any(not name.startswith("_") for name in vars(found))
