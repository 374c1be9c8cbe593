"""What was tried and did not help, read from the ledger.

A trial is one training with its settings, measured on validation classes. It is held against a trial of the same
experiment that did better at no greater effort; among several against the one that differs in the fewest settings, then
against the best. A trial that took more effort, longer training or copies at test time, must be better beyond the
interval, else it did not help either. New records are taken up as they come.

What was measured on test classes, and chose nothing, is held against what :data:`COMPARED` says. What can be said of a
trial and not counted is in :data:`NOTES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fslib.book import ledger
from fslib.book.ledger import Lead, Record

#: Method → experiment, where the names do not say that they belong together; else ``a-b`` belongs to ``a``.
TOGETHER = {
    "within-alphabet-in-place": "within-alphabet-local",
    "prototypical-tuned": "prototypical-tempered",
    "relation-tuned": "relation-on-vectors",
}

_BOTH = "Copies and warps belong together: each alone gains little or loses."
_SHORT = "Not in a training this short."
#: Experiment, a setting in which the trial differs, and why we think that it did not help.
NOTES = [
    ("prototypical", "train_augmented", "Warps cost less in the longer training than in the shorter."),
    ("supcon", "train_augmented", f"Warps at their full bounds. {_SHORT}"),
    ("recipe", "views", _BOTH),
    ("recipe", "train_augmented", _BOTH),
    ("relation-frozen", "train_frozen", "Its episodes were smaller and its learning rate lower: two recipes."),
    ("within-alphabet-local", "train_episodes", "By then it solves almost every batch of training."),
    ("within-alphabet-local", "train_metric", "Nothing may move, but writers put a hook or a dot in other places."),
    ("loss-triplet-hard", "train_margin", "While no triplet satisfies the margin, the gradient does not depend on it."),
]
#: Methods measured on test classes: what was tried, against what, and why we think that it did not help.
COMPARED = [
    ("glyphs", "conv4-se-tempered", "prototypical-tempered", "What SE gained without a temperature was scale."),
    ("glyphs", "conv4-cbam-tempered", "prototypical-tempered", "Black ink on white paper leaves little to ignore."),
    ("glyphs", "conv4-self-tempered", "prototypical-tempered", ""),
    ("glyphs", "resnet12-plain", "prototypical", _SHORT),
    ("glyphs", "resnet12-se", "resnet12-plain", ""),
    ("glyphs", "resnet12-cbam", "resnet12-plain", ""),
    ("glyphs", "resnet12-self", "resnet12-plain", ""),
    ("glyphs", "classifier-then-episodes", "prototypical", "The classifier meets each class some fifteen times."),
    ("glyphs", "matching-two-networks", "matching", "Two networks may drift apart, and one of them sees fewer images."),
    ("glyphs", "matching-from-1", "matching", "Adam moves the logarithm of a scale by little in so few steps."),
    ("omniglot", "relation", "prototypical", "The embedding was made for the distance; a module has to find it."),
]  # fmt: skip

_EFFORT = ("train_episodes", "views")  # more of it costs more
_WORDS: dict[str, Any] = {
    "train_augmented": {True: "warped images", False: "no warps"},
    "train_frozen": {True: "embedding fixed", False: "embedding trained further"},
    "train_hidden": "{} hidden units",
    "train_episodes": "{:,} episodes",
    "train_pools": "{} poolings",
    "train_warp": "warps of {} times their bounds",
    "train_way": "{}-way",
    "views": {0: "no copies at test time", 16: "16 copies at test time"},
}
_SETTINGS_OF_NONE = {"train_seconds", "train_start_weights"}
_OF_WHOLE_SPLITS = {*ledger.KEYS, "precision", "threads", "bfloat16", "views"}


@dataclass
class Trial:
    """One training with its settings: the records of its runs, by way and shot."""

    dataset: str
    split: str
    precision: str
    experiment: str
    method: str
    settings: dict[str, Any]
    tasks: dict[tuple[int, int], list[Record]] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, ...]:
        """Only trials of one place are held against each other."""
        return self.dataset, self.split, self.experiment, self.precision


@dataclass(frozen=True)
class Row:
    """A trial that did not help, what it is held against, and by how much it leads that."""

    trial: Trial
    against: Trial
    task: tuple[int, int]
    lead: Lead
    differs: tuple[str, ...]
    note: str = ""


def trials(records: Iterable[Record]) -> list[Trial]:
    """The trainings behind some records, as far as these hold accuracies on all classes of a split."""
    whole = [
        r for r in records
        if r["metric"] == "accuracy" and all(key in _OF_WHOLE_SPLITS or key.startswith("train_") for key in r)
    ]  # fmt: skip
    names = {(r["dataset"], r["split"], r["method"]) for r in whole}
    found: dict[str, Trial] = {}
    for record in whole:
        dataset, split, method = record["dataset"], record["split"], record["method"]
        keys = sorted(key for key in record if key.startswith("train_") or key == "views")
        settings = {key: record[key] for key in keys if key not in _SETTINGS_OF_NONE}
        reaching = [name for *where, name in names if where == [dataset, split] and f"{method}-".startswith(f"{name}-")]
        experiment = TOGETHER.get(method) or min(reaching, key=len)
        trial = Trial(dataset, split, record.get("precision") or "", experiment, method, settings)
        trial = found.setdefault(repr((trial.place, method, settings)), trial)
        trial.tasks.setdefault((record["way"], record["shot"]), []).append(record)
    return list(found.values())


def choosing(records: Iterable[Record]) -> list[Row]:
    """All trials on validation classes that did not help, by data set and experiment."""
    found = []
    all_trials = trials(record for record in records if record["split"].startswith("validation"))
    for trial in all_trials:
        others = [other for other in all_trials if other.place == trial.place and other is not trial]
        if held := [row for other in others if (row := _held(trial, other))]:
            found.append(min(held, key=lambda row: (len(row.differs), row.lead.mean)))
    return sorted(found, key=lambda row: (row.trial.place, row.lead.mean))


def _held(trial: Trial, other: Trial) -> Row | None:
    """A trial held against another one, if it did not help; None if it did, or the other one took more effort."""
    common = trial.tasks.keys() & other.tasks.keys()
    differs = differing(trial, other)
    repeated = not differs and (trial.method == other.method or trial.settings.keys() == other.settings.keys())
    mine, its = ([each.settings.get(key, 0) for key in _EFFORT] for each in (trial, other))
    if not common or repeated or any(a < b for a, b in zip(mine, its)):
        return None
    task = max(common, key=lambda task: (task[0], -task[1]))  # the hardest
    lead = ledger.lead(trial.tasks[task], other.tasks[task])
    same = mine == its
    first = str(trial.tasks[task][0]["id"]) < str(other.tasks[task][0]["id"])  # of two equals, the first stays
    if lead.mean > (0 if same else lead.ci95) or (same and lead.mean == 0 and first):
        return None
    notes = (note for name, key, note in NOTES if name == trial.experiment and key in differs)
    return Row(trial, other, task, lead, differs, next(notes, ""))


def differing(one: Trial, other: Trial) -> tuple[str, ...]:
    """The settings in which two trials differ. Of what an older record does not say, it is taken to be the same."""
    return tuple(key for key in one.settings if key in other.settings and one.settings[key] != other.settings[key])


def compared(records: Iterable[Record]) -> list[Row]:
    """Of what :data:`COMPARED` names, measured on test classes, all that did not help; each from the seeds of both."""
    found = []
    by_name = {(t.dataset, t.method): t for t in trials(record for record in records if record["split"] == "test")}
    for dataset, ours, theirs, note in COMPARED:
        trial, other = by_name[dataset, ours], by_name[dataset, theirs]
        task = 20, 1
        runs, its = trial.tasks[task], other.tasks[task]
        seeds = [run["seeds"] for run in runs]
        lead = ledger.lead(runs, [run for run in its if run["seeds"] in seeds])
        if lead.mean <= lead.ci95:
            found.append(Row(trial, other, task, lead, (), note))
    return found


def table(rows: Iterable[Row]) -> str:
    """Rows as a Markdown table."""
    head = "| data set, experiment, task | tried | against | lead, points | training | why, as we think |"
    lines = [head, "|:--|:--|:--|--:|:--|:--|"]
    for row in rows:
        experiment = "" if row.trial.split == "test" else f", {row.trial.experiment}"
        lead = f"{100 * row.lead.mean:+.2f} ± {100 * row.lead.ci95:.2f}{', paired' * row.lead.paired}"
        task = f"{row.task[0]}\u2011way {row.task[1]}\u2011shot"
        if row.trial.settings.get("views") and "views" not in row.differs:
            task += f", {row.trial.settings['views']} copies"
        cells = [
            f"{row.trial.dataset}{experiment}, {task}", in_words(row.trial, row.differs),
            in_words(row.against, row.differs), lead.replace("-", "\u2212"),
            _cost(row.trial, row.against), row.note,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def in_words(trial: Trial, differs: tuple[str, ...]) -> str:
    """What sets a trial apart; its method, if no setting does."""
    return ", ".join(_said(key, trial.settings[key]) for key in differs) or trial.method


def _said(key: str, value: Any) -> str:
    name = key.removeprefix("train_").replace("_", " ")
    words = _WORDS.get(key, name + " {}")
    if isinstance(words, dict):
        words = words.get(value, name + " {}")
    if isinstance(value, float):
        value = f"{value:g}"
    return str(words).format(value.replace("_", " ") if isinstance(value, str) else value)


def _cost(*both: Trial) -> str:
    """How long a run of either was: episodes, once if they are as many, and seconds in the mean."""
    seconds, episodes = [], [trial.settings["train_episodes"] for trial in both]
    for trial in both:
        runs = {tuple(r["seeds"]): r["train_seconds"] for task in trial.tasks.values() for r in task}
        seconds.append(sum(runs.values()) / len(runs))
    once = dict.fromkeys(f"{number:,}" for number in episodes)
    return f"{' / '.join(once)} episodes, {' / '.join(f'{each:,.0f}' for each in seconds)}\u00a0s"
