"""A reader's numbers beside the book's: the same, different by chance, or beyond it."""

import pytest
import torch

from fslib.book import ledger, your_run
from fslib.evaluation import Accuracy

RECORD = {
    "command": "none", "method": "toy", "dataset": "toy", "split": "test", "way": 5, "shot": 1, "query": 15,
    "episodes": 10_000, "metric": "accuracy", "ci95": 0.002, "seconds": 1.0, "device": "cpu", "versions": "none",
    "commit": "", "precision": "float32",
}  # fmt: skip


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Enters runs of these means, from seeds 0, 1, 2, …"""
    monkeypatch.setenv("FSLIB_RESULTS", str(tmp_path))

    def enter(*means):
        for seed, mean in enumerate(means):
            ledger.write(RECORD | {"id": f"toy/toy-seed{seed}", "mean": mean, "seeds": [seed]})

    return enter


def measured(mean, half=0.002):
    """An accuracy of that mean whose interval is about so wide."""
    spread = torch.linspace(-1, 1, 10_001, dtype=torch.float64)
    return Accuracy(mean + spread * half * 100 / 1.96 / spread.std())


@pytest.mark.parametrize(
    "yours, verdict",
    [
        (0.9000, "the same"),
        (0.9009, "the same"),
        (0.8981, "differs by chance"),
        (0.9060, "differs beyond chance"),
        (0.8900, "differs beyond chance"),
    ],
)
def test_one_run_differs_by_its_episodes(records, capsys, yours, verdict):
    records(0.9)
    your_run.report("A chapter", {"5-way 1-shot": (measured(yours), "toy/toy-seed0")})
    first, line, *_, last = capsys.readouterr().out.splitlines()
    assert first == "Your run against the book: A chapter" and line.endswith(verdict)
    assert f"yours {100 * yours:.2f} % ± 0.20  the book's 90.00 % ± 0.20" in line
    beyond = verdict == "differs beyond chance"
    assert last.startswith("Beyond chance: 5-way 1-shot" if beyond else "Nothing differs beyond chance.")
    assert your_run.agrees(measured(yours), "toy/toy-seed0") == (verdict == "the same")


def test_several_runs_tell_of_the_luck_of_training(records, capsys):
    """Three runs 90, 91, 92: one more lands within 4.303 · 1 · √(4/3) points of any of them in its interval."""
    records(0.90, 0.91, 0.92)
    numbers = {"near": (measured(0.945), "toy/toy-seed0"), "far": (measured(0.955), "toy/toy-seed0")}
    your_run.report("A chapter", numbers)
    said = capsys.readouterr().out
    assert "differs by chance" in said.splitlines()[1] and "differs beyond chance" in said.splitlines()[2]
    assert "Beyond chance: far. If you changed nothing" in said


def test_a_network_trained_anew_need_not_agree(records, monkeypatch):
    """Who turns the switch of a chapter meets no failed claim for it; the report says what differs."""
    records(0.9)
    monkeypatch.setattr(your_run, "ANEW", {"toy/toy"})
    assert your_run.agrees(measured(0.8), "toy/toy-seed0")


def test_one_training_of_the_book_tells_nothing_of_the_luck_of_another(records, capsys, monkeypatch):
    records(0.9)
    monkeypatch.setattr(your_run, "ANEW", {"toy/toy"})
    numbers = {"far": (measured(0.92), "toy/toy-seed0"), "near": (measured(0.902), "toy/toy-seed0")}
    your_run.report("toy/toy, seed 0", numbers, "3 seconds of training")
    _, far, near, took, _, last = capsys.readouterr().out.splitlines()
    assert far.endswith("the book's one training cannot tell") and near.endswith("differs by chance")
    assert took.startswith("  it took 3 seconds of training, on ")
    assert last == "Nothing differs beyond chance, as far as can be told."
    records(0.9, 0.901)
    your_run.report("toy/toy, seed 0", numbers)
    assert "Beyond chance: far. If you changed nothing" in capsys.readouterr().out


def test_runs_of_other_settings_tell_nothing(records):
    records(0.90)
    ledger.write(RECORD | {"id": "toy/other", "mean": 0.5, "seeds": [1], "train_way": 3})
    assert your_run._luck(ledger.read("toy/toy-seed0")) == 0


def test_time_device_and_versions_are_told(records, capsys):
    records(0.9)
    your_run.report("A chapter", {})
    said = capsys.readouterr().out
    assert f"torch {torch.__version__.partition('+')[0]}" in said and "seconds" in said and "Nothing differs" in said


def test_an_unknown_record_is_named(records):
    with pytest.raises(FileNotFoundError, match="no record 'toy/none'"):
        your_run.report("A chapter", {"a": (measured(0.9), "toy/none")})


def test_who_disagrees_sees_both_numbers_and_where_to_tell(records, capsys):
    records(0.9)
    assert your_run.agrees(measured(0.9005), "toy/toy-seed0") and not capsys.readouterr().out
    assert not your_run.agrees(measured(0.92), "toy/toy-seed0")
    said = capsys.readouterr().out
    assert "yours 92.00 %" in said and "the book's 90.00 %" in said and "/issues" in said


def test_the_first_cell_says_what_was_found_and_what_it_will_take(capsys, monkeypatch):
    your_run.begin(units=25)
    said = capsys.readouterr().out
    assert "cpu" in said and "25 seconds" in said
    monkeypatch.setattr(your_run, "default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a Tesla")
    your_run.begin(units=25)
    assert "Device: a Tesla." in capsys.readouterr().out
