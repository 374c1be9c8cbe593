"""What the ledger says still holds."""

import pytest

from fslib import data, files, ledger, load
from fslib.evaluation import evaluate

OMNIGLOT = files.data_dir() / "omniglot"


@pytest.mark.skipif(
    not any(OMNIGLOT.glob("images_evaluation*")), reason=f"Omniglot is not in {OMNIGLOT}; set FSLIB_DATA"
)
def test_the_stored_weights_have_the_accuracy_that_the_ledger_says():
    model = load(ledger.folder() / "omniglot" / "prototypical-seed0.safetensors")
    record = ledger.read("omniglot/prototypical-5way-1shot-seed0")
    accuracy = evaluate(model, data.load("omniglot", "test"), episodes=record["episodes"])
    assert accuracy.mean == pytest.approx(record["mean"], abs=record["ci95"])


def test_stored_weights_are_small():
    sizes = {path.name: path.stat().st_size for path in ledger.folder().rglob("*.safetensors")}
    assert sizes and max(sizes.values()) <= 250_000
