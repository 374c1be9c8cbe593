"""Records are whole and come back as written; typed numbers are told from those that are not results."""

import json
import math
import statistics
import subprocess

import pytest
import torch
from scipy import stats

from fslib import ledger

RECORDS = sorted(ledger.folder().glob("*/*.json"))


def record(**changes):
    numbers = {"way": 5, "shot": 1, "seeds": [0], "mean": 0.9, "ci95": 0.01}
    return {key: "text" for key in ledger.KEYS} | {"id": "toy/a-seed0"} | numbers | changes


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "folder", lambda: tmp_path)
    return tmp_path


# Records ----------------------------------------------------------------------------------------------------


def test_record_comes_back_as_written(folder):
    written = record(method="β", train_augmented=True, note=None)
    assert ledger.write(written) == folder / "toy" / "a-seed0.json"
    assert ledger.read("toy/a-seed0") == written
    assert "β" in (folder / "toy" / "a-seed0.json").read_text(encoding="utf8")


def test_record_replaces_the_one_before(folder):
    ledger.write(record(mean=0.1))
    ledger.write(record(mean=0.2))
    assert ledger.read("toy/a-seed0")["mean"] == 0.2
    assert len(ledger.find()) == 1


@pytest.mark.parametrize("key", ledger.KEYS)
def test_missing_key_is_named(folder, key):
    short = record()
    del short[key]
    with pytest.raises(ValueError, match=f"needs the keys {key}"):
        ledger.write(short)


@pytest.mark.parametrize("value", [{"a": 1}, (1, 2), torch.tensor(0.5)], ids=["dict", "tuple", "tensor"])
def test_nested_value_is_refused(folder, value):
    with pytest.raises(ValueError, match="record is flat, but train_settings is not"):
        ledger.write(record(train_settings=value))
    assert not list(folder.iterdir())


def test_failed_write_leaves_the_old_record(folder):
    ledger.write(record(mean=0.1))
    with pytest.raises(TypeError):
        ledger.write(record(mean=0.2, seeds=[object()]))
    assert ledger.read("toy/a-seed0")["mean"] == 0.1
    assert [path.name for path in (folder / "toy").iterdir()] == ["a-seed0.json"]


def test_missing_record_is_named(folder):
    with pytest.raises(FileNotFoundError, match="no record 'toy/b'"):
        ledger.read("toy/b")


def test_find_filters_by_values_and_sorts_by_id(folder):
    for id, way, shot in [
        ("toy/c", 5, 1),
        ("toy/a", 5, 1),
        ("art/b", 5, 1),
        ("toy/d", 20, 1),
        ("toy/e", 5, 5),
    ]:
        ledger.write(record(id=id, way=way, shot=shot))
    assert [found["id"] for found in ledger.find(way=5, shot=1)] == ["art/b", "toy/a", "toy/c"]
    assert len(ledger.find()) == 5
    assert ledger.find(way=7) == ledger.find(no_such_key=1) == []


def test_one_run_keeps_the_interval_of_its_episodes():
    assert ledger.over_seeds([record(mean=0.9, ci95=0.01)]) == (0.9, 0.01)


@pytest.mark.parametrize("runs", [2, 3, 4, 5, 6])
def test_several_runs_have_students_interval(runs):
    means = [0.9, 0.95, 0.91, 0.97, 0.92, 0.85][:runs]
    mean, half_width = ledger.over_seeds(record(mean=mean) for mean in means)
    assert mean == pytest.approx(statistics.mean(means))
    t = stats.t.ppf(0.975, runs - 1)
    assert half_width == pytest.approx(t * statistics.stdev(means) / math.sqrt(runs), rel=1e-3)


def test_no_run_has_no_mean():
    with pytest.raises(ValueError, match="no record to average"):
        ledger.over_seeds(iter([]))


def test_percent_has_two_digits():
    assert ledger.percent(0.98427, 0.00051) == "98.43 ± 0.05 %"


def test_a_ratio_is_printed_with_the_digits_of_its_interval():
    ratio = record(metric="ratio of times", mean=1.11, ci95=0.01)
    assert ledger.printed(ratio) == "1.11 ± 0.01"
    assert ledger.printed(record(mean=0.98427, ci95=0.00051)) == "98.43 ± 0.05 %"


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A fresh repository that seems to hold the package."""

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "fslib").mkdir()
    (tmp_path / "fslib" / "ledger.py").write_text("old")
    git("init"), git("add", "."), git("commit", "-m", "first")
    monkeypatch.setattr(ledger, "__file__", str(tmp_path / "fslib" / "ledger.py"))
    return tmp_path


def test_commit_is_that_of_the_repository(repository):
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True)
    commit = ledger.circumstances(torch.device("cpu"))["commit"]
    assert len(commit) >= 7 and head.startswith(commit)


def test_commit_is_marked_when_the_package_was_changed_since(repository):
    (repository / "fslib" / "ledger.py").write_text("new")
    assert ledger.circumstances(torch.device("cpu"))["commit"].endswith("+")


def test_commit_is_not_marked_by_changes_elsewhere(repository):
    (repository / "notes.txt").write_text("new")
    assert not ledger.circumstances(torch.device("cpu"))["commit"].endswith("+")


def test_outside_a_repository_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "__file__", str(tmp_path / "ledger.py"))
    assert ledger.circumstances(torch.device("cpu"))["commit"] == ""


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_record_of_the_book_is_whole(path):
    stored = json.loads(path.read_text(encoding="utf8"))
    assert set(ledger.KEYS) <= set(stored)
    assert stored["id"] == path.relative_to(ledger.folder()).with_suffix("").as_posix()
    if stored["metric"] == "accuracy":
        assert 0 <= stored["mean"] <= 1 and 0 <= stored["ci95"] < 0.1
        least = 32 if stored["method"].startswith("strokes-") else 1000  # a browser draws these, stroke by stroke
        assert stored["episodes"] >= least and stored["seconds"] > 0
    assert not [key for key, value in stored.items() if isinstance(value, dict)]


# Typed results ----------------------------------------------------------------------------------------------

TYPED = [
    "It reaches 98.4 % on new classes.",
    "It reaches 98.4% on new classes.",
    "It reaches 98.4\N{NO-BREAK SPACE}% on new classes.",
    "Some 98 percent are right.",
    "The interval is ± 0.2 wide.",
    "We find 0.984 ± 0.002.",
    "Training took 12 seconds.",
    "Training took 1,200 seconds.",
    "A forward pass needs 3.5 ms.",
    "Training took 2 hours.",
    "The loop is 3 times faster.",
    "The loop is 2.5 × faster.",
    "Warping adds 1.3 points.",
    "| Ours | 98.4 % |",
    "- a list with 98.4 %",
]


@pytest.mark.parametrize("text", TYPED)
def test_typed_result_is_found(text):
    (found,) = ledger.typed_results(f"First words.\n\n{text}\n\nLast words.")
    assert " ".join(text.split()) == found


@pytest.mark.parametrize(
    "text",
    [
        "The 95 % interval is narrow.",
        "The 95 % confidence interval is narrow.",
        r"An error of $0.5\%$ is small.",
        "$$\n98.4 \\% \\pm 0.2\n$$",
        "The code is `accuracy = 98.4 %`.",
        "```\n98.4 % ± 0.2\n\n12 seconds\n```",
        "Snell et al. report 98.8 % {cite:t}`snell2017`.",
        "{cite:t}`snell2017` report 98.8 %\non the same task.",
        "They report 98.8 % ([paper](https://arxiv.org/abs/1703.05175)).",
        "They report 98.8 % ([paper](https://doi.org/10.1126/science.aab3050)).",
        "| [Snell et al.](https://arxiv.org/abs/1703.05175) | 98.8 % |",
        '<div style="width: 50%">A picture.</div>',
        "A 5-way 1-shot task has 5 classes, 28 × 28 pixels and 1,692 characters.",
        "Train for 600 episodes under seed 0.",
    ],
)
def test_what_is_no_result_of_ours_is_let_through(text):
    assert ledger.typed_results(text) == []


def test_a_citation_covers_its_own_paragraph_only():
    text = "They report 98.8 % {cite:t}`snell2017`.\n\nWe get 98.4 %.\n\nIt takes 12 seconds."
    assert ledger.typed_results(text) == ["We get 98.4 %.", "It takes 12 seconds."]


def test_a_citation_covers_its_own_row_of_a_table_only():
    rows = ["| method | accuracy |", "|---|---|", "| {cite:t}`snell2017` | 98.8 % |", "| ours | 97.1 % |"]
    assert ledger.typed_results("\n".join(rows)) == ["| ours | 97.1 % |"]


def test_math_and_code_hide_nothing_around_them():
    assert len(ledger.typed_results("With $k$ of `n`, 98 % are right; in $m$ of 12 seconds, `x`.")) == 2
