"""What the ledger says still holds, and the pages show it."""

import re
import sys
from itertools import groupby
from pathlib import Path

import pytest
import torch
from sphinx.cmd.build import build_main
from torch import nn

from fslib import attention, data, files, load
from fslib.backbones import Conv4
from fslib.book import ledger
from fslib.book.experiments import trained
from fslib.evaluation import evaluate

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import ledger_pages  # noqa: E402

OMNIGLOT = files.data_dir() / "omniglot"


@pytest.mark.skipif(
    not any(OMNIGLOT.glob("images_evaluation*")), reason=f"Omniglot is not in {OMNIGLOT}; set FSLIB_DATA"
)
def test_the_stored_weights_have_the_accuracy_that_the_ledger_says():
    model = load(ledger.folder() / "omniglot" / "prototypical-seed0.safetensors")
    record = ledger.read("omniglot/prototypical-5way-1shot-seed0")
    accuracy = evaluate(model, data.load("omniglot", "test"), episodes=record["episodes"])
    assert accuracy.mean == pytest.approx(record["mean"], abs=record["ci95"])


WEIGHTS = sorted(ledger.folder().rglob("*.safetensors"))


def test_stored_weights_are_small():
    sizes = {path: path.stat().st_size for path in WEIGHTS}
    assert sizes and sum(sizes.values()) <= 9_000_000
    for path, size in sizes.items():
        model = load(path)
        parts = type(model).__name__, type(model.feature_extractor).__name__
        alone = parts == ("PrototypicalNetwork", "Conv4")
        assert size <= (250_000 if alone else 700_000), path


@pytest.mark.parametrize("channels, parameters, millions", [(64, "111,936", 10), (128, "445,056", 38)])
def test_the_page_counts_parameters_and_multiplications(channels, parameters, millions):
    """Those of the narrow and of the wide Conv-4, for an image of 28 × 28."""
    network, multiplied = Conv4(channels), []

    def count(layer, _, maps):
        multiplied.append(maps[0, 0].numel() * layer.weight.numel())  # each weight at each location

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.zeros(1, 1, 28, 28))
    assert f"{sum(each.numel() for each in network.parameters()):,}" == parameters
    assert round(sum(multiplied) / 1e6) == millions
    page = (ROOT / "book" / "results.md").read_text(encoding="utf8")
    assert parameters in page and f"{millions} million" in page


def test_no_weights_are_stored_that_no_chapter_loads():
    cells = "".join(path.read_text(encoding="utf8") for path in (ROOT / "chapters").glob("*.ipynb"))
    for path in WEIGHTS:
        name = path.stem.rpartition("-seed")[0]
        assert path.parent.name == "omniglot" or re.search(rf"[/\"]{name}\b", cells), path


def in_points(method, seed=0):
    return 100 * ledger.read(f"glyphs/{method}-20way-1shot-seed{seed}")["mean"]


def test_what_the_page_says_of_pretraining_and_of_attention_blocks():
    classifier, in_turn, episodes = map(in_points, ("classifier", "classifier-then-episodes", "loss-prototypical"))
    plain = in_points("prototypical")
    assert classifier + 3 < in_turn < episodes - 3 and in_turn < plain
    seeds = [in_points("prototypical", seed) for seed in (0, 1, 2)]
    for block in ("se", "cbam"):
        assert 1.5 < (in_points(f"conv4-{block}") - plain) / (max(seeds) - min(seeds)) < 3.5
    tempered = in_points("prototypical-tempered")
    gains = {block: in_points(f"conv4-{block}-tempered") - tempered for block in attention.BLOCKS}
    assert max(gains.values()) < 2 and gains["cbam"] < -2
    assert tempered > max(in_points(f"conv4-{block}") for block in attention.BLOCKS)
    deep = in_points("resnet12-plain")
    assert deep < plain - 5 and max(in_points(f"resnet12-{block}") for block in attention.BLOCKS) < deep + 2


@pytest.mark.parametrize("path", [path for path in WEIGHTS if path.parent.name == "glyphs"], ids=lambda path: path.stem)
def test_weights_give_the_number_of_their_record_on_every_machine(path, glyphs_test):
    """To within 0.03 points: what is left between two processors is rounding."""
    name, _, seed = path.stem.rpartition("-seed")
    task = dict(dataset="glyphs", method=name, split="test", way=5, shot=1, seeds=[int(seed)])
    (record,) = (found for found in ledger.find(**task) if not found.get("views"))
    accuracy = evaluate(trained(f"glyphs/{name}", int(seed)), glyphs_test, episodes=record["episodes"])
    assert accuracy.mean == pytest.approx(record["mean"], abs=3e-4)


@pytest.fixture(scope="module")
def glyphs_test():
    return data.load("glyphs", "test")


def test_records_of_one_method_on_test_classes_are_runs_of_one_training():
    """So that a row of a table needs the method, the split and the task, and no more."""

    def task(record):
        keys = ("dataset", "method", "split", "metric", "way", "shot", "views", "script")
        return [str(record.get(key)) for key in keys]

    records = sorted((r for r in ledger.find() if r["split"].startswith("test")), key=task)
    for _, runs in groupby(records, task):
        ledger.over_seeds(runs)


def test_records_say_their_precision_but_for_the_oldest():
    """Of these there may be fewer, when they are measured again, but never more."""
    assert sum("precision" not in record and "bfloat16" not in record for record in ledger.find()) <= 639
    assert {record.get("precision") for record in ledger.find()} <= {None, "float32", "bfloat16"}


# Pages ------------------------------------------------------------------------------------------------------


def record(id="toy/a-seed0", commit="1234567", **keys):
    return {"id": id, "command": f"make {id[:5]}", "commit": commit, "precision": "float32"} | keys


def test_records_of_code_that_no_commit_holds_are_named():
    open_code = [record(f"toy/a-{way}way-seed1", "abc1234+") for way in (5, 20)]
    text = ledger_pages.gaps([record(), *open_code, record("toy/b-seed0", "")])
    assert text.startswith("3 of 4 records were measured with a package that no commit holds")
    assert text.splitlines()[2:4] == ["- 2 of `make toy/a`, abc1234+", "- 1 of `make toy/b`, no commit"]


def test_records_without_a_precision_are_counted():
    old, timed = record(), record(bfloat16=True)
    del old["precision"], timed["precision"]
    text = ledger_pages.gaps([record(), old, old | {"precision": None}, timed])
    assert "\n2 of 4 records do not say in which precision" in text
    assert text.startswith("0 of 4 records") and "\n- " not in text


def test_the_status_page_shows_what_records_leave_open(tmp_path):
    """The page's own part on the ledger, and a row, a value and the runs as the results page has them."""
    _, _, about_ledger = (ROOT / "book" / "status.md").read_text(encoding="utf8").partition("## The ledger\n")
    page = f"""# Page
{about_ledger.replace("(results.md)", "(https://example.org)")}
```{{ledger-table}}
:tasks: [[20, 1]]
ours: {{dataset: omniglot, method: prototypical, split: test}}
theirs: ["96.0"]
```

{{result}}`omniglot/prototypical-5way-1shot-seed0`

{{lead}}`glyphs/resnet12-plain-20way-1shot-seed0 over glyphs/prototypical-20way-1shot-seed0`

```{{did-not-help}} test
```

```{{ledger-runs}}
```
"""
    (tmp_path / "index.md").write_text(page, encoding="utf8")
    conf = f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
    conf += "extensions = ['myst_parser', 'ledger_pages']\nhtml_theme = 'basic'\n"
    conf += "source_suffix = {'.md': 'markdown'}\n"  # whatever was built before in this process
    (tmp_path / "conf.py").write_text(conf, encoding="utf8")
    assert build_main(["-q", "-W", str(tmp_path), str(tmp_path / "site")]) == 0
    shown = re.sub(r"<[^>]+>", "", (tmp_path / "site" / "index.html").read_text(encoding="utf8"))
    records = ledger.find()
    marked = sum(found["commit"].endswith("+") for found in records)
    assert f"{marked} of {len(records):,} records were measured with a package that no commit holds" in shown
    assert "records do not say in which precision" in shown
    assert all(found["command"] in shown for found in records if found["commit"].endswith("+"))
    assert re.search(r"ours\s+95\.78 ± 0\.22\s+3\s", shown) and re.search(r"theirs\s+96\.0\s", shown)
    assert ledger.printed(ledger.read("omniglot/prototypical-5way-1shot-seed0")) in shown
    assert "\u221210.13 ± 0.16 points" in shown and re.search(r"ResNet-12\s+Conv-4\s+\u221210.13 ± 0.16\s", shown)
