"""Records are whole and come back as written; typed numbers are told from those that are not results."""

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
import torch
from scipy import stats

from fslib import files
from fslib.book import ledger

FILES = sorted(ledger.folder().glob("*/*.jsonl"))
RECORDS = [
    pytest.param(json.loads(line), path, id=json.loads(line)["id"])
    for path in FILES
    for line in path.read_text(encoding="utf8").splitlines()
]


def record(**changes):
    numbers = {"way": 5, "shot": 1, "seeds": [0], "mean": 0.9, "ci95": 0.01}
    return {key: "text" for key in ledger.KEYS} | {"id": "toy/a-seed0"} | numbers | changes


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The files that are read, one after the other."""
    files, read_text = [], Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **options: files.append(path) or read_text(path, **options))
    return files


# Records ----------------------------------------------------------------------------------------------------


def test_record_comes_back_as_written(folder):
    written = record(method="β", train_augmented=True, note=None)
    assert ledger.write(written) == folder / "toy" / "β.jsonl"
    assert ledger.read("toy/a-seed0") == written
    assert "β" in (folder / "toy" / "β.jsonl").read_text(encoding="utf8")


def test_an_experiment_has_two_files_whose_lines_are_in_order(folder):
    within = "validation, within alphabets"
    for id, split in (("b", "test"), ("c", "validation"), ("d", "train"), ("a", within), ("B", "test")):
        ledger.write(record(id=f"toy/{id}", split=split, method="relation"))
    ledger.write(record(id="toy/e", method="relation-frozen"))
    ledger.write(record(id="art/b", method="relation", dataset="random"))
    found = {
        path.relative_to(folder).as_posix(): [json.loads(line)["id"] for line in path.read_text().splitlines()]
        for path in folder.rglob("*.*")
    }
    assert found == {
        "toy/relation.jsonl": ["toy/B", "toy/b", "toy/d"],
        "toy/relation-choosing.jsonl": ["toy/a", "toy/c"],
        "toy/relation-frozen.jsonl": ["toy/e"],
        "art/relation.jsonl": ["art/b"],
    }


def test_record_replaces_the_one_before(folder):
    ledger.write(record(id="toy/b", mean=0.3))
    ledger.write(record(mean=0.1))
    path = ledger.write(record(mean=0.2))
    assert ledger.read("toy/a-seed0")["mean"] == 0.2
    assert [found["mean"] for found in ledger.find()] == [0.2, 0.3]
    assert len(path.read_text(encoding="utf8").splitlines()) == 2


def test_text_that_looks_like_the_end_of_a_line_comes_back(folder):
    written = record(note="a\u2028b\nc\x85d\r")
    ledger.write(written), ledger.write(record(id="toy/b"))
    assert ledger.read("toy/a-seed0") == written


WRITES = """
import sys
from fslib.book import ledger
record = ledger.read("toy/a-seed0")
for i in range(60):
    ledger.write(record | {"id": f"toy/{sys.argv[1]}-{i}"})
"""


def test_several_may_write_to_one_file_at_once(folder):
    ledger.write(record())
    environment = os.environ | {"FSLIB_RESULTS": str(folder)}
    others = [subprocess.Popen([sys.executable, "-c", WRITES, name], env=environment) for name in ("b", "c")]
    while any(other.poll() is None for other in others):
        threads = [Thread(target=ledger.write, args=[record(id=f"toy/a-{i}")]) for i in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert [other.returncode for other in others] == [0, 0]
    assert len(ledger.find()) == 1 + 60 + 60 + 8
    assert [path.name for path in (folder / "toy").iterdir()] == ["text.jsonl"]


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
    assert [path.name for path in (folder / "toy").iterdir()] == ["text.jsonl"]


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


@pytest.mark.parametrize("key", ["mean", "ci95", "train_margin"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(folder, key, value):
    with pytest.raises(ValueError, match=f"{key} is {value}"):
        ledger.write(record(**{key: value}))
    assert not list(folder.iterdir())


@pytest.mark.parametrize("id", ["toy", "toy/", "/a", "toy/a/b", "../a", "/etc/a", "toy/..", ""])
def test_a_record_that_would_not_be_found_is_refused(folder, id):
    with pytest.raises(ValueError, match="id of a record"):
        ledger.write(record(id=id))
    assert not list(folder.iterdir())


@pytest.mark.parametrize("method", ["", "a/b", "..", "/a", None, ["a"], 3])
def test_a_record_whose_method_names_no_file_is_refused(folder, method):
    with pytest.raises(ValueError, match="method of a record names its file"):
        ledger.write(record(method=method))
    assert not list(folder.iterdir())


def test_a_file_is_read_once(folder, reads):
    for id in "abc":
        ledger.write(record(id=f"toy/{id}", method=id))
    ledger.write(record(id="toy/b2", method="b", seeds=[1]))
    reads.clear()
    for _ in range(5):
        assert len(ledger.find(way=5)) == 4 and ledger.read("toy/b")["seeds"] == [0]
        ledger.table({"row": {"method": "b"}}, ["text", "text"])
    assert sorted(path.name for path in reads) == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_the_table_of_chapter_4_reads_each_file_once(reads, monkeypatch):
    monkeypatch.setattr(ledger, "_known", {})
    names = ("contrastive", "triplet-all", "triplet-hard", "n-pair", "cosface", "arcface", "supcon", "prototypical")
    rows = {name: {"dataset": "glyphs", "split": "test", "method": f"loss-{name}"} for name in names}
    for _ in range(2):
        ledger.table(rows, [(5, 1), (5, 5), (20, 1), "recall@1"])
    assert sorted(reads) == FILES


def test_what_changes_meanwhile_is_seen(folder, reads):
    path = ledger.write(record(mean=0.5))
    assert ledger.read("toy/a-seed0")["mean"] == 0.5
    for mean in (0.25, 0.125, 0.75):  # by us, at once
        ledger.write(record(mean=mean))
        assert [found["mean"] for found in ledger.find()] == [mean]
    path.write_text(path.read_text(encoding="utf8").replace("0.75", "0.25"), encoding="utf8")  # by an editor
    os.utime(path, ns=(0, 0))
    assert ledger.read("toy/a-seed0")["mean"] == ledger.find()[0]["mean"] == 0.25
    other = path.read_text(encoding="utf8").replace("a-seed0", "b")
    path.with_name("b.jsonl").write_text(other, encoding="utf8")  # by another process
    assert len(ledger.find()) == 2
    with path.open("a", encoding="utf8") as lines:
        lines.write(other.replace("toy/b", "toy/c"))
    assert [found["id"] for found in ledger.find()] == ["toy/a-seed0", "toy/b", "toy/c"]
    path.unlink()
    assert len(ledger.find()) == 1


def test_a_record_that_somebody_changes_stays_as_it_is(folder):
    ledger.write(record(seeds=[0]))
    for found in (ledger.read("toy/a-seed0"), ledger.find()[0]):
        found["mean"] = 7
        found["seeds"].append(1)
    assert ledger.read("toy/a-seed0") == ledger.find()[0] == record(seeds=[0])


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"mean": 0.9', '{"mean": 0.9}', '{"id": 3}', b"\xff\xfe\x00"])
def test_a_damaged_file_is_named_and_kept(folder, content):
    path = ledger.write(record())
    damaged = path.read_bytes() + (content if isinstance(content, bytes) else content.encode())
    path.write_bytes(damaged)
    for ask in (ledger.find, lambda: ledger.read("toy/x"), lambda: ledger.write(record(id="toy/b"))):
        with pytest.raises(ValueError, match=r"toy/text\.jsonl(, line 2,)? (is|holds) (damaged|no record)"):
            ask()
    assert path.read_bytes() == damaged


def test_a_record_that_is_there_twice_is_named(folder):
    path = ledger.write(record())
    shutil.copy(path, folder / "toy" / "b.jsonl")
    with pytest.raises(ValueError, match=r"jsonl holds a record 'toy/a-seed0', and so does another file"):
        ledger.find()
    path.write_text(2 * path.read_text(encoding="utf8"), encoding="utf8")
    for ask in (ledger.find, lambda: ledger.write(record())):
        with pytest.raises(ValueError, match=r"toy/text\.jsonl, line 2, holds a second record 'toy/a-seed0'"):
            ask()


def test_without_a_folder_nothing_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "folder", lambda: tmp_path / "none")
    assert ledger.find() == []
    with pytest.raises(FileNotFoundError, match=r"no record 'a/b'.*none"):
        ledger.read("a/b")


# Averages ---------------------------------------------------------------------------------------------------


def test_one_run_keeps_the_interval_of_its_episodes():
    assert ledger.over_seeds([record(mean=0.9, ci95=0.01)]) == (0.9, 0.01)


@pytest.mark.parametrize("runs", [2, 3, 4, 5, 6])
def test_several_runs_have_students_interval(runs):
    means = [0.9, 0.95, 0.91, 0.97, 0.92, 0.85][:runs]
    mean, half_width = ledger.over_seeds(record(mean=mean, seeds=[i]) for i, mean in enumerate(means))
    assert mean == pytest.approx(statistics.mean(means))
    t = stats.t.ppf(0.975, runs - 1)
    assert half_width == pytest.approx(t * statistics.stdev(means) / math.sqrt(runs), rel=1e-3)


def test_no_run_has_no_mean():
    with pytest.raises(ValueError, match="no record to average"):
        ledger.over_seeds(iter([]))


SETTING = {
    "method": "other",
    "split": "validation",
    "way": 20,
    "query": 5,
    "episodes": 600,
    "metric": "recall@1",
    "views": 16,
    "precision": "bfloat16",
    "unit": "classes",
    "train_episodes": 1000,
    "train_frozen": False,
    "train_block": "se",
    "alphabet": "Early_Aramaic",
    "seconds_hand": 3,
}
NO_SETTING = {
    "id": "toy/b-seed1",
    "command": "another",
    "seconds": 7.5,
    "train_seconds": 90.1,
    "device": "cuda",
    "threads": 8,
    "versions": "torch 9",
    "commit": "1234567+",
    "ci95": 0.02,
    "train_start_weights": "0a1b",
}


@pytest.mark.parametrize("key, value", SETTING.items(), ids=SETTING)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_records_of_other_settings_are_not_averaged(key, value, missing, turned):
    one, other = record(seeds=[0], id="toy/one"), record(seeds=[1], id="toy/other", **{key: value})
    if missing:
        one.pop(key, None)
    else:
        one.setdefault(key, "something else")
    pair = [other, one] if turned else [one, other]
    with pytest.raises(ValueError, match=rf"but {key} is .* in toy/o.* and .* in toy/o") as refused:
        ledger.over_seeds(pair)
    assert repr(value) in str(refused.value) and "\n" not in str(refused.value)
    assert ("not said" if missing else repr(one[key])) in str(refused.value)


@pytest.mark.parametrize("key, value", NO_SETTING.items(), ids=NO_SETTING)
def test_what_is_no_setting_may_differ(key, value):
    pair = record(mean=0.5, seeds=[0]), record(mean=0.7, seeds=[1]) | {key: value}
    assert ledger.over_seeds(pair)[0] == pytest.approx(0.6)


def test_what_is_not_said_and_what_is_none_are_the_same():
    pair = record(mean=0.5), record(mean=0.7, seeds=[1], train_block=None, precision=None)
    assert ledger.over_seeds(pair)[0] == pytest.approx(0.6)


def test_numbers_are_compared_as_numbers():
    pair = record(train_scale=10, train_frozen=0), record(train_scale=10.0, train_frozen=False, seeds=[1])
    assert ledger.over_seeds(pair)[0] == pytest.approx(0.9)


@pytest.mark.parametrize("seeds", [([0], [0]), ([0, 1], [1, 2]), ([3], [1], [2], [3])])
def test_a_seed_is_not_counted_twice(seeds):
    runs = [record(id=f"toy/{i}", seeds=each) for i, each in enumerate(seeds)]
    with pytest.raises(ValueError, match=r"toy/. and toy/. both hold seed \d"):
        ledger.over_seeds(runs)


def test_a_table_refuses_what_must_not_be_averaged_and_names_the_row(folder):
    ledger.write(record(metric="accuracy"))
    ledger.write(record(metric="accuracy", id="toy/b", seeds=[1], train_margin=0.5, mean=0.1))
    with pytest.raises(ValueError, match=r"Row 'all': .* train_margin is not said .* and 0\.5"):
        ledger.table({"all": {"method": "text"}}, [(5, 1)])
    assert len(ledger.find(method="text")) == 2  # which only searches
    assert "10.00 ± 1.00 | 1 |" in ledger.table({"all": {"train_margin": 0.5}}, [(5, 1)])


def test_a_row_of_the_book_needs_its_split():
    row = dict(dataset="omniglot", method="prototypical")
    with pytest.raises(ValueError, match=r"split is 'test' in .* and 'validation' in"):
        ledger.table({"x": row}, [(20, 1)])
    assert ledger.table({"x": row | {"split": "test"}}, [(20, 1)]).endswith("| x | 95.78 ± 0.22 | 3 |")


def test_a_row_says_over_how_many_runs_each_cell_is(folder):
    for seed, shot in ((0, 1), (1, 1), (0, 5)):
        ledger.write(record(id=f"toy/{seed}-{shot}", metric="accuracy", shot=shot, seeds=[seed]))
    assert ledger.table({"x": {"method": "text"}}, [(5, 1), (5, 5)]).endswith("| 1–2 |")


def test_a_row_of_other_figures_stands_as_it_is():
    assert ledger.table({"paper": ["98.8", "99.7"]}, [(5, 1), "recall@1"]).endswith("| paper | 98.8 | 99.7 | |")


@pytest.mark.parametrize(
    "row, says",
    [
        (["98.8"], "'x' has 1 cells for 2 tasks"),
        ({"method": "none"}, "Row 'x': .*lacks a record for"),
        ({"method": "text", "way": 20}, "Row 'x': .*columns say way"),
        ({"metric": "accuracy"}, "Row 'x': .*columns say metric"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(folder, row, says):
    ledger.write(record(metric="accuracy"))
    with pytest.raises(ValueError, match=says):
        ledger.table({"x": row}, [(5, 1), (5, 5)])


def test_a_table_prints_a_ratio_as_one(folder):
    ledger.write(record(metric="ratio of times", mean=1.5, ci95=0.25))
    assert ledger.table({"x": {"method": "text"}}, ["ratio of times"]).endswith("| x | 1.50 ± 0.25 | 1 |")


def test_percent_has_two_digits():
    assert ledger.percent(0.98427, 0.00051) == "98.43 ± 0.05 %"


def test_an_interval_that_nothing_tells_is_without_end():
    assert ledger.percent(0.5, math.inf) == "50.00 ± ∞ %"
    assert ledger.printed(record(metric="ratio of times", mean=1.5, ci95=math.inf)) == "1.50 ± ∞"


@pytest.mark.parametrize("mean, half", [(math.nan, 0.1), (math.inf, 0.1), (0.5, math.nan), (0.5, -0.1)])
def test_what_is_no_measurement_is_not_printed(mean, half):
    for metric in ("accuracy", "ratio of times"):
        with pytest.raises(ValueError, match="cannot be printed"):
            ledger.printed(record(metric=metric, mean=mean, ci95=half))


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

    (tmp_path / "fslib" / "book").mkdir(parents=True)
    (tmp_path / "fslib" / "book" / "ledger.py").write_text("old")
    git("init"), git("add", "."), git("commit", "-m", "first")
    monkeypatch.setattr(files, "__file__", str(tmp_path / "fslib" / "files.py"))
    return tmp_path


def test_commit_is_that_of_the_repository(repository):
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True)
    commit = ledger.circumstances(torch.device("cpu"))["commit"]
    assert len(commit) >= 7 and head.startswith(commit)


def test_commit_is_marked_when_the_package_was_changed_since(repository):
    (repository / "fslib" / "book" / "ledger.py").write_text("new")
    assert ledger.circumstances(torch.device("cpu"))["commit"].endswith("+")


def test_commit_is_not_marked_by_changes_elsewhere(repository):
    (repository / "notes.txt").write_text("new")
    assert not ledger.circumstances(torch.device("cpu"))["commit"].endswith("+")


@pytest.mark.parametrize(
    "place", [".venv/lib/python3.12/site-packages/fslib", "vendored/fslib", "book/fslib/fslib"]
)
@pytest.mark.parametrize("tracked", [False, True])
def test_the_commit_of_a_repository_around_the_package_is_not_its_own(repository, monkeypatch, place, tracked):
    inside = repository / place / "book"
    inside.mkdir(parents=True)
    (inside / "ledger.py").write_text("installed")
    if tracked:
        subprocess.run(["git", "add", "-f", "."], cwd=repository, check=True)
    monkeypatch.setattr(files, "__file__", str(inside.parent / "files.py"))
    assert ledger.circumstances(torch.device("cpu"))["commit"] == ""


def test_the_commit_of_a_repository_that_ignores_the_package_is_not_its_own(repository, monkeypatch):
    installed = repository / "fslib2" / "book"  # as `pip install --target .` does
    installed.mkdir(parents=True)
    (installed / "ledger.py").write_text("installed")
    monkeypatch.setattr(files, "__file__", str(installed.parent / "files.py"))
    assert ledger.circumstances(torch.device("cpu"))["commit"] == ""


def test_a_hook_of_another_repository_does_not_lend_its_commit(repository, monkeypatch, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    subprocess.run(["git", "init"], cwd=other, check=True, capture_output=True)
    own = ledger.circumstances(torch.device("cpu"))["commit"]
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert ledger.circumstances(torch.device("cpu"))["commit"] == own != ""


def test_a_repository_without_a_commit_has_none(monkeypatch, tmp_path):
    (tmp_path / "fslib" / "book").mkdir(parents=True)
    (tmp_path / "fslib" / "book" / "ledger.py").write_text("new")
    for command in (["init"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "fslib" / "files.py"))
    assert ledger.circumstances(torch.device("cpu"))["commit"] == ""


def test_outside_a_repository_there_is_no_commit(monkeypatch, tmp_path):
    (tmp_path / "fslib" / "book").mkdir(parents=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "fslib" / "files.py"))
    assert ledger.circumstances(torch.device("cpu"))["commit"] == ""


def test_a_device_that_is_no_processor_is_not_called_one():
    assert ledger.circumstances(torch.device("cpu"))["device"].startswith("cpu, ")
    assert ledger.circumstances(torch.device("mps"))["device"].startswith("mps, ")


# Where records lie ------------------------------------------------------------------------------------------


@pytest.fixture
def site_packages(monkeypatch, tmp_path):
    """A wheel's package, as it is installed; beside it lies another's folder of the same name."""
    package = tmp_path / "site-packages" / "fslib"
    for name in (package / "results", tmp_path / "site-packages" / "results"):
        name.mkdir(parents=True)
    monkeypatch.setattr(files, "__file__", str(package / "files.py"))
    monkeypatch.delenv("FSLIB_RESULTS", raising=False)
    return package


def test_an_installed_package_reads_its_copy_and_keeps_it(site_packages, monkeypatch, tmp_path):
    assert ledger.folder() == site_packages / "results"
    with pytest.raises(ValueError, match="FSLIB_RESULTS"):
        ledger.write(record())
    assert not list(site_packages.rglob("*.jsonl"))
    monkeypatch.setenv("FSLIB_RESULTS", str(tmp_path / "mine"))
    assert ledger.write(record()) == tmp_path / "mine" / "toy" / "text.jsonl"
    assert ledger.find() == [record()]


def test_a_package_without_a_copy_does_not_write_among_the_others(site_packages):
    (site_packages / "results").rmdir()
    with pytest.raises(ValueError, match="FSLIB_RESULTS"):
        ledger.write(record())


def test_records_can_be_put_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("FSLIB_RESULTS", "~/ours")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ledger.write(record()) == tmp_path / "ours" / "toy" / "text.jsonl"
    monkeypatch.setenv("FSLIB_RESULTS", "~nosuchuser/ours")
    with pytest.raises(ValueError, match="FSLIB_RESULTS is ~nosuchuser/ours, but"):
        ledger.folder()


def test_a_folder_that_cannot_be_written_is_named(folder, monkeypatch):
    (folder / "toy").write_text("a file")
    for attempt in (lambda: ledger.writable_folder("toy"), lambda: ledger.write(record())):
        with pytest.raises(OSError, match=r"toy: .* FSLIB_RESULTS"):
            attempt()
    (folder / "toy").unlink()
    (folder / "toy" / "text.jsonl").mkdir(parents=True)
    with pytest.raises(OSError, match=r"text\.jsonl: .* FSLIB_RESULTS"):
        ledger.write(record())


def test_a_package_that_is_installed_indeed(tmp_path):
    """What pip unpacks of a wheel, in a repository of somebody else: its commit is none, its copy is read and kept."""
    site = tmp_path / "venv" / "site-packages"
    shutil.copytree(files.package_dir(), site / "fslib", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "fslib" / "results" / "toy").mkdir(parents=True)
    (site / "fslib" / "results" / "toy" / "text.jsonl").write_text(json.dumps(record(id="toy/a")))
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init"], ["add", "."], ["commit", "-m", "theirs"]):
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True, capture_output=True)
    told = """
import torch
from fslib.book import ledger
print([found["id"] for found in ledger.find()], repr(ledger.circumstances(torch.device("cpu"))["commit"]))
try:
    ledger.write(ledger.read("toy/a"))
except ValueError as error:
    print(error)
"""
    environment = {k: v for k, v in os.environ.items() if k != "FSLIB_RESULTS"} | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    found, refused = done.stdout.splitlines()
    assert found == "['toy/a'] ''" and "FSLIB_RESULTS" in refused


@pytest.mark.parametrize("stored, path", RECORDS)
def test_record_of_the_book_is_whole(stored, path):
    assert set(ledger.KEYS) <= set(stored)
    ledger._check(stored)
    if stored["metric"] == "accuracy":
        assert 0 <= stored["mean"] <= 1 and 0 <= stored["ci95"] < 0.1
        least = 32 if stored["method"].startswith("strokes-") else 1000  # a browser draws these, stroke by stroke
        assert stored["episodes"] >= least and stored["seconds"] > 0
    assert path == ledger.folder() / ledger._file(stored)


def test_the_ledger_of_the_book_is_as_it_would_be_written():
    assert not list(ledger.folder().rglob("*.json"))
    for path in FILES:
        records = ledger._read(path)
        assert path.read_text(encoding="utf8") == "".join(ledger._line(records[id]) for id in sorted(records))


def test_an_experiment_of_the_book_has_at_most_two_files():
    experiments = {}
    for param in RECORDS:
        stored, path = param.values
        experiments.setdefault((stored["id"].split("/")[0], stored["method"]), set()).add(path)
    assert max(map(len, experiments.values())) == 2
    assert len(FILES) == sum(map(len, experiments.values())) < 220


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
        "### Exercise 1\n\n*Easy, about 5 minutes*\n\nReturn it.",
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
