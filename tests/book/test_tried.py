"""The page of what did not work holds what the records hold, and takes up new ones by itself."""

import math
import re
import shutil
from itertools import groupby
from pathlib import Path

import pytest

from fslib.book import ledger, tried
from fslib.book.ledger import Lead

RECORDS = ledger.find()
ROWS = tried.choosing(RECORDS)


def record(mean, seed=0, **keys):
    way = keys.get("way", 20)
    settings = "-".join(f"{key}{value}" for key, value in keys.items())
    return {
        "id": f"toy/a-{settings}-{way}way-seed{seed}", "dataset": "toy", "method": "a", "split": "validation",
        "way": way, "shot": 1, "query": 15, "episodes": 100, "seeds": [seed], "metric": "accuracy",
        "mean": mean, "ci95": 0.01, "seconds": 1.0, "train_episodes": 10, "train_seconds": 5.0,
        "command": "", "device": "", "versions": "", "commit": "", **keys,
    }  # fmt: skip


def told(*records):
    return [row.sides for row in tried.choosing(records)]


@pytest.mark.parametrize(
    "records, rows",
    [
        ([record(0.5, train_margin=1), record(0.6, train_margin=2)], [("margin 1", "margin 2")]),
        # of several, against the best; and of two settings, against what differs in one
        ([record(0.5, train_margin=1), record(0.6, train_margin=2), record(0.7, train_margin=3)],
         [("margin 1", "margin 3"), ("margin 2", "margin 3")]),
        ([record(0.5, train_a=1, train_b=1), record(0.6, train_a=1, train_b=2), record(0.7, train_a=2, train_b=2)],
         [("b 1", "b 2"), ("a 1", "a 2")]),
        # a shorter training has not failed, and a longer one must be better beyond the interval
        ([record(0.5), record(0.6, train_episodes=20)], []),
        ([record(0.5), record(0.505, train_episodes=20)], [("20 episodes", "10 episodes")]),
        ([record(0.5, views=0), record(0.505, views=16)], [("16 copies at test time", "no copies at test time")]),
        # of two equals one stays
        ([record(0.5, train_margin=1), record(0.5, train_margin=2)], [("margin 2", "margin 1")]),
        # a part of a split, another data set, the same again under another name: nothing to hold against each other
        ([record(0.5, train_margin=1), record(0.6, train_margin=2, script="Greek")], []),
        ([record(0.5, train_margin=1), record(0.6, train_margin=2, dataset="other")], []),
        ([record(0.5), record(0.6, method="a-again")], []),
        ([record(0.5, train_augmented=True, method="a-warped"), record(0.6, train_augmented=False)],
         [("warps at their full bounds", "no warps")]),
        # what a record does not say, it had by default
        ([record(0.5), record(0.6, train_criterion="cross-entropy")], [("pair by pair", "over classes")]),
        ([record(0.5), record(0.6, train_pools=4)], []),
        # a metric and the similarity of its name are said once
        ([record(0.5, train_metric="cosine_distance", train_similarity="cosine_similarity"),
          record(0.6, train_metric="local_distance", train_similarity="local_similarity")],
         [("cosine", "local matching")]),
    ],
)  # fmt: skip
def test_what_is_held_against_what(records, rows):
    assert told(*records) == rows


def test_what_was_measured_on_the_test_chooses_nothing():
    assert told(record(0.5, train_margin=1, split="test"), record(0.6, train_margin=2, split="test")) == []


def test_a_lead_is_paired_by_seeds_where_there_are_several():
    ours, theirs = ([record(mean, seed) for seed, mean in enumerate(means)] for means in ((0.5, 0.6), (0.4, 0.52)))
    lead = ledger.lead(ours, theirs)
    assert lead.paired and lead.mean == pytest.approx(0.09) and lead.ci95 == pytest.approx(12.706 * 0.01, rel=1e-3)
    assert ledger.lead(ours[:1], theirs[:1]) == Lead(pytest.approx(0.1), pytest.approx(math.hypot(0.01, 0.01)), False)
    assert not ledger.lead(ours, [record(0.4, 5), record(0.5, 6)]).paired


def test_every_trial_is_on_the_page_or_the_best_of_its_effort():
    """Counted anew from the records, task by task."""
    validation = [r for r in RECORDS if r["split"].startswith("validation") and r["metric"] == "accuracy"]
    validation = [r for r in validation if not {"script", "alphabet", "task"} & r.keys()]  # on all classes
    shown = {id(r) for row in ROWS for task in row.trial.tasks.values() for r in task}
    trials = {id(r): trial for trial in tried.trials(validation) for task in trial.tasks.values() for r in task}
    assert trials.keys() == {id(r) for r in validation} and len(ROWS) > 30
    for one in validation:
        if id(one) in shown or (one["way"], one["shot"]) != (20, 1):
            continue
        for other in validation:
            keys = ("split", "way", "shot", "dataset", "method", "views", "precision", "train_episodes")
            if all(one.get(key) == other.get(key) for key in keys):
                assert other["mean"] <= one["mean"] or not tried.differing(trials[id(one)], trials[id(other)])


def lines(rows):
    """The rows of all tables."""
    return re.findall(r"^\| (?!tried).*", tried.folded(rows), re.MULTILINE)


def test_the_tables_print_what_the_records_say():
    rows = [*ROWS, *tried.compared(RECORDS)]
    assert len(lines(rows)) == len(rows)
    for line, row in zip(lines(rows), rows):
        (ours, *more), (theirs, *others) = row.trial.tasks[row.task], row.against.tasks[row.task]
        if more or others:  # a mean over seeds, which has its own test
            continue
        half = 100 * math.hypot(ours["ci95"], theirs["ci95"])
        lead = f"{100 * (ours['mean'] - theirs['mean']):+.2f} ± {half:.2f}".replace("-", "\u2212")
        assert line.endswith(f" | {lead} |") and line.count("|") == 4


def test_no_two_rows_under_one_heading_read_alike():
    for heading, rows in groupby(ROWS, key=lambda row: (row.heading, row.task)):
        cells = [line.rpartition(" | ")[0] for line in lines(rows)]
        assert len(set(cells)) == len(cells), heading


@pytest.mark.parametrize(
    "records, rows",
    [
        ([record(0.5, train_a=1), record(0.6, train_a=2)], ["a 1 | a 2"]),
        # the same trial twice, and what sets the two apart
        ([record(mean + b, train_a=a, train_b=b, precision=precision)
          for b, precision in enumerate(["float32", "bfloat16"]) for a, mean in ((1, 0.1), (2, 0.2))],
         ["a 1 (both: b 0, float32) | a 2", "a 1 (both: b 1, precision bfloat16) | a 2"]),
        # warps are said of the table if they are those of all rows, else of each that shares them
        ([record(0.5, train_a=1, train_augmented=False), record(0.6, train_a=2, train_augmented=False),
          record(0.4, train_a=2, train_warp=0.5, train_augmented=True)],
         ["gentle warps | no warps", "a 1 (both: no warps) | a 2"]),
    ],
)  # fmt: skip
def test_what_both_sides_share_is_said_where_it_sets_rows_apart(records, rows):
    assert [line[2:].rpartition(" | ")[0] for line in lines(tried.choosing(records))] == rows


def test_the_page_speaks_no_internal_names():
    for row in [*ROWS, *tried.compared(RECORDS)]:
        assert row.title or row.trial.experiment in tried.NAMES
    page = tried.folded([*ROWS, *tried.compared(RECORDS)])
    names = {record["method"] for record in RECORDS if "-" in record["method"]}
    assert [word for word in [*names, "_", "bce", "None", "times their bounds"] if word in page] == []


def test_a_fold_has_a_heading_a_caption_a_table_and_the_reasons():
    hard = [row for row in ROWS if row.trial.experiment == "loss-triplet-hard"]
    summary, caption, _, why, end = tried.folded(hard).split("\n\n")
    assert summary.startswith("<details") and "Glyphs, triplet loss, batch-hard: +0.00 points</summary>" in summary
    assert caption == "20\u2011way 1\u2011shot, 1,000 episodes, no warps." and end == "</details>"
    assert why == "Why, as we think: While no triplet satisfies the margin, the gradient does not depend on it."


def test_a_new_record_comes_onto_the_page_by_itself(tmp_path, monkeypatch):
    shutil.copytree(ledger.folder(), tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setenv("FSLIB_RESULTS", str(tmp_path))
    id = "glyphs/loss-supcon-validation-1000-temperature{}-20way-1shot-seed0"
    best = ledger.read(id.format(0.03))
    ledger.write(best | {"id": id.format(0.01), "train_temperature": 0.01, "mean": best["mean"] - 0.1})
    (row,) = set(lines(tried.choosing(ledger.find()))) - set(lines(ROWS))
    assert "temperature 0.01 | temperature 0.03" in row and "\u221210.00" in row


def test_every_note_and_every_comparison_has_its_row():
    noted = {note for row in ROWS for experiment, key, note in tried.NOTES if row.note == note}
    assert noted == {note for _, _, note in tried.NOTES}
    rows = tried.compared(RECORDS)
    named = [(row.title, row.trial.method, row.against.method) for row in rows]
    assert named == [(title, pair[1], pair[3]) for _, title, pairs in tried.COMPARED for pair in pairs]
    assert all(row.lead.mean <= row.lead.ci95 for row in rows)


def test_each_lesson_is_led_by_a_loss():
    """By a row of the page, below zero beyond its interval; what is said beside it holds, too."""
    page = (Path(__file__).parents[2] / "book" / "what_did_not_work.md").read_text(encoding="utf8")
    lessons = re.findall(r"^- \{lead\}`(\S+) over (\S+)`", page, re.MULTILINE)
    shown = {
        (ours["id"], theirs["id"])
        for row in [*ROWS, *tried.compared(RECORDS)]
        for ours in row.trial.tasks[row.task]
        for theirs in row.against.tasks[row.task]
    }
    assert len(lessons) == 6 and shown.issuperset(lessons)
    for ours, theirs in lessons:
        lead = ledger.lead([ledger.read(ours)], [ledger.read(theirs)])
        assert lead.mean < -lead.ci95
    level = ledger.read("glyphs/conv4-se-tempered-20way-1shot-seed0")["mean"]
    assert abs(level - ledger.read("glyphs/prototypical-tempered-20way-1shot-seed0")["mean"]) < 0.002
