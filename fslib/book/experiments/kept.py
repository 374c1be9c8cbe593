"""The networks that chapters load: what a recipe trained, kept beside its records; or trained anew, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fslib import storage
from fslib.book import ledger, your_run
from fslib.book.experiments.measures import Measure
from fslib.book.experiments.registry import RECIPES, Recipe, find
from fslib.book.experiments.running import Load, Training, check_kept, kept_weights
from fslib.devices import default_device
from fslib.evaluation import Accuracy
from fslib.methods import FewShotClassifier


def trained(name: str, seed: int = 0, again: bool = False, runs: str | Path = "runs") -> FewShotClassifier:
    """The network that a recipe trained, with the weights that its records were measured on.

    The same numbers come out of them on every machine, but for rounding.

    Args:
        name: of the recipe, as in ``"glyphs/prototypical"``.
        seed: of its run.
        again: train it anew, here, at the recipe's own settings: none is cut short. A bar tells the time left. Then it
            is measured as the book measured it, and both are printed side by side. Another machine rounds otherwise,
            so another network comes out, as good as the first one but for chance. The ledger is left alone.
        runs: folder to which a training anew is saved as it goes. Called again, after whatever stopped it, it goes on
            from there as if it had not been stopped; one that is finished is not repeated. In Colab, a folder of your
            Drive outlives the machine.

    Returns:
        The network in evaluation mode, on a GPU if there is one.

    Raises:
        ValueError: if there is no such recipe, it has changed since, or what lies in ``runs`` is of another training.
        FileNotFoundError: if no weights of it are kept from that seed.
        OSError: if nothing can be written to ``runs``.

    Example:
        >>> trained("glyphs/prototypical").temperature
        1.0
    """
    recipe = find(name)
    if again:
        training = Again(recipe, seed, Path(runs))
        training.carry_out()
        return training.outcome.to(default_device()).eval()
    weights = kept_weights(name, seed)
    if not weights.exists():
        kept = [other for other in RECIPES if kept_weights(other, seed).exists()]
        raise FileNotFoundError(
            f"No weights of {name} are kept from seed {seed}: trained({name!r}, seed={seed}, again=True) trains them. "
            f"From seed {seed} there are those of {', '.join(kept) or 'nothing'}; the ledger is {ledger.folder()}."
        )
    check_kept(weights, name, seed)
    return storage.load(weights).to(default_device()).eval()


class Again(Training):
    """Trains as the recipe says, and holds what it measures against the records of the book, entering none.

    They are those of the same seed, where there are some, else those of the first seed.

    Attributes:
        outcome: the network that the recipe keeps; of one that keeps none, that which it measures first.
    """

    outcome: FewShotClassifier

    def __init__(self, recipe: Recipe, seed: int, runs: Path):
        super().__init__(recipe, seed, None, recipe.name, validate=False, runs=runs)
        records = ledger.find(dataset=recipe.dataset, method=recipe.method)
        self.book = {record["id"]: record for record in records if record["split"].startswith("test")}
        self.numbers: dict[str, tuple[Accuracy, str]] = {}

    def carry_out(self) -> None:
        """Train, measure, and print what came out beside the book's."""
        timed = next((record for record in self.book.values() if "train_seconds" in record), None)
        if timed:
            print(f"{self.label}: the book trained for {timed['train_seconds']:.0f} seconds, on {timed['device']}.")
        super().carry_out()
        your_run.ANEW.add(self.label)
        if not self.numbers:
            print(f"{self.label}: the ledger, {ledger.folder()}, has no record to compare it with.")
            return
        seconds = sum(each.history.seconds for each in self.trained)
        your_run.report(f"{self.label}, seed {self.seed}", self.numbers, f"{seconds:.0f} seconds of training")

    def save_weights(self, model: FewShotClassifier, seeds: Sequence[int] = (0,)) -> None:
        """Keep the network for who asked for it."""
        self.outcome = model

    def measure(
        self, model: FewShotClassifier, measure: Measure, load: Load | None = None, how: str = ""
    ) -> None:
        """Measure what the book has measured."""
        self.outcome = getattr(self, "outcome", model)
        if not self.book:
            return
        try:
            images = (load or self.load)("test")
        except OSError as error:  # of another data set; the network is there nevertheless
            print(f"{self.label}, {how}, is not measured: {error}")
            return
        for task, _, accuracy in measure(model, images):
            print(f"{self.label}, {task}: {accuracy}", flush=True)
            if id := self._beside(task):
                self.numbers[task] = accuracy, id

    def _beside(self, task: str) -> str | None:
        """The id of the record to compare a task with, if there is one."""
        stem = self.record_id(task).removesuffix(str(self.seed))
        ids = [id for id in self.book if id.startswith(stem)]
        return self.record_id(task) if self.record_id(task) in ids else next(iter(ids), None)
