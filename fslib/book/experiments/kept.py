"""The networks that chapters load: what a recipe trained, kept beside its records."""

from __future__ import annotations

from pathlib import Path

from fslib import storage
from fslib.book import ledger
from fslib.book.experiments.registry import RECIPES, find
from fslib.book.experiments.running import Training, check_kept, kept_weights
from fslib.devices import default_device
from fslib.methods import FewShotClassifier

#: Recipes whose network was trained anew in this process: what comes out of it need not be what the ledger says.
ANEW: set[str] = set()


def trained(name: str, seed: int = 0, again: bool = False) -> FewShotClassifier:
    """The network that a recipe trained, with the weights that its records were measured on.

    The same numbers come out of them on every machine, but for rounding.

    Args:
        name: of the recipe, as in ``"glyphs/prototypical"``.
        seed: of its run.
        again: train it anew, here, by the same recipe, with a bar and the time left. Another machine rounds otherwise,
            so another network comes out, as good as the first one but for chance. What it has is saved to ``runs/`` as
            it goes, and it takes up from there. The ledger is left alone.

    Returns:
        The network in evaluation mode, on a GPU if there is one.

    Raises:
        ValueError: if there is no such recipe, or the recipe has changed since.
        FileNotFoundError: if no weights of it are kept from that seed.

    Example:
        >>> trained("glyphs/prototypical").temperature
        1.0
    """
    recipe = find(name)
    if again:
        training = Training(recipe, seed, None, name, validate=False, runs=Path("runs"))
        training.carry_out()
        ANEW.add(name)
        return training.models[-1].eval()
    weights = kept_weights(name, seed)
    if not weights.exists():
        kept = [other for other in RECIPES if kept_weights(other, seed).exists()]
        raise FileNotFoundError(
            f"No weights of {name} are kept from seed {seed}: trained({name!r}, seed={seed}, again=True) trains them. "
            f"From seed {seed} there are those of {', '.join(kept) or 'nothing'}; the ledger is {ledger.folder()}."
        )
    check_kept(weights, name, seed)
    return storage.load(weights).to(default_device()).eval()
