"""What was tried and did not help, read from the ledger.

A trial is one training with its settings, measured on validation classes. It is held against a trial of the same
experiment that did no worse at no greater effort; among several against the one that differs in the fewest settings,
then against the best. A trial that took more effort, longer training or copies at test time, must be better beyond the
interval, else it did not help either. New records are taken up as they come.

What was measured on test classes, and chose nothing, is held against what :data:`COMPARED` says. What can be said of a
trial and not counted is in :data:`NOTES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from fslib.book import ledger
from fslib.book.ledger import Lead, Record

#: Method → experiment, where the names do not say that they belong together; else ``a-b`` belongs to ``a``.
TOGETHER = {
    "within-alphabet-in-place": "within-alphabet-local",
    "within-alphabet-mirrors": "within-alphabet-local",
    "prototypical-tuned": "prototypical-tempered",
    "relation-tuned": "relation-on-vectors",
    "distilled-small": "small",
    "distilled-own-loss": "distilled-own-loss",
    **dict.fromkeys(
        ("leace", "leace-of-weight", "leace-of-faces", "whitened", "projected", "projected-at-random"), "as-it-is"
    ),
    **dict.fromkeys(("aligned", "aligned-fully", "covariances", "flats", "feat", "film"), "prototypes"),
    "own-loss-covariances": "own-loss-prototypes",
}

#: Experiment → its name on the results page.
NAMES = {
    "as-it-is": "taken from the embedding of the best loss",
    "augmented": "augmentation beside SupCon",
    "best": "more classes in a longer training",
    "clusters": "clusters as classes",
    "decayed": "weight decay beside SupCon",
    "distilled": "a teacher beside SupCon",
    "distilled-own-loss": "a teacher beside the prototypical loss",
    "fewer-coordinates": "fewer coordinates",
    "generations": "an earlier self as the teacher, beside SupCon",
    "longer": "SupCon for longer",
    "loss-arcface": "ArcFace",
    "loss-contrastive": "contrastive loss",
    "loss-cosface": "CosFace",
    "loss-n-pair": "N-pair loss",
    "loss-normalized-softmax": "normalised softmax",
    "loss-supcon": "SupCon",
    "loss-triplet-all": "triplet loss, all triplets",
    "loss-triplet-hard": "triplet loss, batch-hard",
    "loss-triplet-semi-hard": "triplet loss, semi-hard",
    "matching": "Matching Network",
    "moco": "MoCo",
    "new-classes": "mirrors and turns as new classes",
    "one-side-warped": "warps in an episode",
    "own-loss-prototypes": "a part that knows the task, beside the prototypical loss",
    "prototypes": "a part that knows the task, beside SupCon",
    "prototypical": "Prototypical Network",
    "prototypical-tempered": "Prototypical Network with a temperature",
    "prototransfer": "ProtoTransfer",
    "queries-mixed": "mixtures of queries",
    "recipe": "the recipe",
    "relation-frozen": "relation module over the Prototypical Network's embedding",
    "relation-long": "Relation Network over feature maps",
    "relation-on-vectors": "Relation Network over vectors",
    "simclr": "SimCLR",
    "small": "a student of sixteen channels",
    "softmax": "a classifier",
    "subspaces": "subspaces for faces",
    "supcon": "SupCon",
    "teacher": "teachers",
    "within-alphabet-local": "local matching within an alphabet",
}

_BOTH = "Copies and warps belong together: each alone gains little or loses."
#: Experiment, a setting in which the trial differs, and why we think that it did not help.
NOTES = [
    ("prototypical", "train_warp", "Warps do not pay in a training this short; in the longer one they cost less."),
    ("supcon", "train_warp", "Warps at their full bounds do not pay in a training this short."),
    ("recipe", "views", _BOTH),
    ("recipe", "train_warp", _BOTH),
    ("relation-frozen", "train_frozen", "Trained further on smaller episodes, at a lower learning rate: two recipes."),
    ("within-alphabet-local", "train_episodes", "After so many episodes it solves almost every training batch."),
    ("within-alphabet-local", "train_metric", "Under the cosine nothing may move, but a writer's hook or dot does."),
    ("loss-triplet-hard", "train_margin", "While no triplet satisfies the margin, the gradient does not depend on it."),
]
#: Data set, heading, and under it what was measured on test classes: name and method of what was tried, then of what it
#: is held against, and why we think that it did not help.
COMPARED = [
    ("glyphs", "attention blocks in a Conv-4, temperature 16", [
        ("SE", "conv4-se-tempered", "no block", "prototypical-tempered",
         "What SE gained without a temperature was scale."),
        ("CBAM", "conv4-cbam-tempered", "no block", "prototypical-tempered",
         "Black ink on white paper leaves CBAM little to ignore."),
        ("self-attention", "conv4-self-tempered", "no block", "prototypical-tempered", ""),
    ]),
    ("glyphs", "a deeper network, and attention blocks in it", [
        ("ResNet-12", "resnet12-plain", "Conv-4", "prototypical",
         "A deeper network does not pay in a training this short."),
        ("SE", "resnet12-se", "ResNet-12, no block", "resnet12-plain", ""),
        ("CBAM", "resnet12-cbam", "ResNet-12, no block", "resnet12-plain", ""),
        ("self-attention", "resnet12-self", "ResNet-12, no block", "resnet12-plain", ""),
    ]),
    ("glyphs", "pretraining", [
        ("a classifier first", "classifier-then-episodes", "episodes alone", "prototypical",
         "The classifier meets each class some fifteen times."),
    ]),
    ("glyphs", "Matching Network", [
        ("two embedding networks", "matching-two-networks", "one for both sets", "matching",
         "Two networks may drift apart, and one of them sees fewer images."),
        ("scale from 1", "matching-from-1", "scale from 30", "matching",
         "Adam moves the logarithm of a scale by little in so few steps."),
    ]),
    ("omniglot", "Relation Network", [
        ("relation module over that embedding", "relation", "Prototypical Network", "prototypical",
         "The embedding was made for the distance; a module has to find it."),
    ]),
]  # fmt: skip

_EFFORT = ("train_episodes", "views")  # more of it costs more
_CIRCUMSTANCES = (*_EFFORT, "train_warp")  # said of every table, or of every row of it
#: A setting → its words, or those of its values.
_WORDS: dict[str, Any] = {
    "precision": {"": "precision not recorded", "float32": "float32"},
    "train_alpha": "α = {}",
    "train_but_existing": {True: "but those that there are", False: "all of them"},
    "train_by": {
        "nothing": "nothing added", "half-warps": "gentle warps", "warps": "warps at their full bounds",
        "double-warps": "warps at twice their bounds", "warps-and-strokes": "warps and other strokes",
        "mirrored-warps": "warps and mirrors", "thickness": "strokes thicker and thinner", "turns": "quarter turns",
        "scores": "its scores", "embeddings": "its embeddings", "relations": "its relations",
        "leace": "LEACE of the family", "leace-of-weight": "LEACE of the weight",
        "leace-of-faces": "LEACE of all faces",
        "whitening": "classes whitened", "projection": "what varies most projected away",
        "random": "two random directions projected away",
    },
    "train_balanced": {True: "balanced classes alone", False: "all classes"},
    "train_channels": "{} channels",
    "train_criterion": {"bce": "pair by pair", "cross-entropy": "over classes"},
    "train_each": "{} coordinates for each attribute of the face",
    "train_faces": "faces count {}",
    "train_frozen": {True: "embedding fixed", False: "embedding trained further"},
    "train_head": {True: "a head behind the embedding", False: "no head"},
    "train_hidden": "{} hidden units",
    "train_episodes": "{:,} episodes",
    "train_metric": {"cosine_distance": "cosine", "local_distance": "local matching"},
    "train_mixed": {"nothing": "no mixtures", "mixup": "MixUp", "cutmix": "CutMix"},
    "train_side": {"support": "support set warped", "queries": "queries warped", "both": "both sides warped"},
    "train_smoothing": "labels smoothed by {}",
    "train_teacher": {
        "ensemble": "four networks", "equal": "one network", "sixteen-looks": "one network, sixteen looks",
        "warped-looks": "sixteen looks, trained on warps", "warped-ensemble": "four networks of warps, four looks",
    },
    "train_weight": "the teacher {} of the loss",
    "train_weight_decay": "weight decay {}",
    "train_pools": {3: "maps of 3 × 3 not pooled", 4: "maps pooled"},
    "train_warp": {0: "no warps", 0.5: "gentle warps", 1: "warps at their full bounds"},
    "train_way": "{}-way training",
    "views": {0: "no copies at test time", 16: "16 copies at test time"},
}
# What a training had of which its record does not say anything.
_UNSAID = {"train_criterion": "bce", "train_hidden": 64, "train_pools": 4}
# That images were augmented is said by the warp, and who taught by the teacher's name.
_SETTINGS_OF_NONE = {"train_seconds", "train_start_weights", "train_augmented", "train_taught_by"}
_OF_WHOLE_SPLITS = {*ledger.KEYS, "precision", "threads", "bfloat16", "views"}


@dataclass
class Trial:
    """One training with its settings: the records of its runs, by way and shot."""

    dataset: str
    split: str
    experiment: str
    method: str
    settings: dict[str, Any]
    tasks: dict[tuple[int, int], list[Record]] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, ...]:
        """Only trials of one place are held against each other."""
        return self.dataset, self.split, self.experiment, self.settings["precision"]

    def value(self, key: str) -> Any:
        """That of a setting, said or not; None if it has none."""
        return self.settings.get(key, _UNSAID.get(key))


@dataclass(frozen=True)
class Row:
    """A trial that did not help, what it is held against, and by how much it leads that.

    Args:
        differs: the settings that set the two sides apart on the page.
        names: of the two sides, where settings do not say all.
        title: what it stands under; if empty, the name of the experiment.
    """

    trial: Trial
    against: Trial
    task: tuple[int, int]
    lead: Lead
    differs: tuple[str, ...]
    note: str = ""
    names: tuple[str, str] = ("", "")
    title: str = ""

    @property
    def heading(self) -> str:
        """Data set and experiment, in words."""
        experiment = self.title or NAMES.get(self.trial.experiment, self.trial.experiment)
        return f"{self.trial.dataset.capitalize()}, {experiment}"

    @property
    def sides(self) -> tuple[str, str]:
        """What sets the trial and its counterpart apart, in words."""
        keys = [key for key in self.differs if key != "train_similarity" or "train_metric" not in self.differs]
        ours, theirs = (
            ", ".join(filter(None, [name, *(in_words(key, trial.value(key)) for key in keys)]))
            for name, trial in zip(self.names, (self.trial, self.against))
        )
        return ours, theirs


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
        settings["precision"] = record.get("precision") or ""
        if "train_augmented" in record and "train_by" not in record:
            # How strong the oldest warps were is not said: at their full bounds.
            settings["train_warp"] = record.get("train_warp", 1.0) if record["train_augmented"] else 0.0
        reaching = [name for *where, name in names if where == [dataset, split] and f"{method}-".startswith(f"{name}-")]
        experiment = TOGETHER.get(method) or min(reaching, key=len)
        trial = Trial(dataset, split, experiment, method, settings)
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
    return sorted(found, key=lambda row: (row.trial.place[:-1], row.task, row.lead.mean))


def _held(trial: Trial, other: Trial) -> Row | None:
    """A trial held against another one, if it did not help; None if it did, or the other one took more effort."""
    common = trial.tasks.keys() & other.tasks.keys()
    differs = differing(trial, other)
    mine, its = ([each.settings.get(key, 0) for key in _EFFORT] for each in (trial, other))
    if not common or not differs or any(a < b for a, b in zip(mine, its)):
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
    """The settings in which two trials differ. What only one of them has, or only its record says, does not count."""
    keys = {**one.settings, **other.settings}
    return tuple(
        key for key in keys if None not in (mine := one.value(key), its := other.value(key)) and mine != its
    )


def compared(records: Iterable[Record]) -> list[Row]:
    """Of what :data:`COMPARED` names, measured on test classes, all that did not help; each from the seeds of both."""
    found = []
    by_name = {(t.dataset, t.method): t for t in trials(record for record in records if record["split"] == "test")}
    for dataset, title, pairs in COMPARED:
        for name, method, its_name, its_method, note in pairs:
            trial, other = by_name[dataset, method], by_name[dataset, its_method]
            task = 20, 1
            runs, its = trial.tasks[task], other.tasks[task]
            seeds = [run["seeds"] for run in runs]
            lead = ledger.lead(runs, [run for run in its if run["seeds"] in seeds])
            differs = tuple(key for key in differing(trial, other) if key in _EFFORT)
            if lead.mean <= lead.ci95:
                found.append(Row(trial, other, task, lead, differs, note, (name, its_name), title))
    return found


def folded(rows: Iterable[Row]) -> str:
    """Rows as Markdown: under each heading a table, folded, and why we think that these did not help."""
    return "\n\n".join(_fold(list(group)) for _, group in groupby(rows, key=lambda row: (row.heading, row.task)))


def _fold(rows: list[Row]) -> str:
    first = rows[0]
    leads = sorted(row.lead.mean for row in rows)
    span = " to ".join(dict.fromkeys(_signed(lead) for lead in (leads[0], leads[-1])))
    shared = _shared(first)
    alike = [key for key in _CIRCUMSTANCES if key in shared and not any(_parts(key, first, row) for row in rows)]
    task = f"{first.task[0]}\u2011way {first.task[1]}\u2011shot"
    why = " ".join(dict.fromkeys(row.note for row in rows if row.note))
    parts = [
        f'<details class="hint tried"><summary>{first.heading}: {span} points</summary>',
        ", ".join([task, *(in_words(key, first.trial.value(key)) for key in alike)]) + ".",
        table(rows),
        f"Why, as we think: {why}" if why else "",
        "</details>",
    ]
    return "\n\n".join(filter(None, parts))


def table(rows: list[Row]) -> str:
    """The rows of one heading as a Markdown table.

    A row says what its two sides share where that is something else in another row, which differs in the same settings.
    """
    lines = ["| tried | against | lead, points |", "|:--|:--|--:|"]
    for row in rows:
        same = [other for other in rows if other.differs == row.differs and not row.title]
        both = ", ".join(
            in_words(key, row.trial.value(key)) for key in _shared(row)
            if any(_parts(key, row, other) for other in (rows if key in _CIRCUMSTANCES else same))
        )  # fmt: skip
        ours, theirs = row.sides
        lines.append(f"| {ours}{f' (both: {both})' if both else ''} | {theirs} | {points(row.lead)} |")
    return "\n".join(lines)


def _shared(row: Row) -> list[str]:
    """The settings that both sides of a row have in common."""
    keys = {**row.trial.settings, **_UNSAID}
    return [key for key in keys if key not in row.differs and row.trial.value(key) == row.against.value(key)]


def _parts(key: str, row: Row, other: Row) -> bool:
    """Whether a setting that both sides of a row share is another one in another row, or is not shared there."""
    return key in other.differs or row.trial.value(key) != other.trial.value(key)


def in_words(key: str, value: Any) -> str:
    """A setting of a training, as the page says it."""
    name = key.removeprefix("train_").replace("_", " ")
    words = _WORDS.get(key, name + " {}")
    if isinstance(words, dict):
        words = words.get(value, name + " {}")
    if isinstance(value, float):
        value = f"{value:g}"
    return str(words).format(value.replace("_", " ") if isinstance(value, str) else value)


def points(lead: Lead) -> str:
    """A lead in points, with its interval."""
    return f"{_signed(lead.mean)} ± {100 * lead.ci95:.2f}{', paired' * lead.paired}"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.2f}".replace("-", "\u2212")
