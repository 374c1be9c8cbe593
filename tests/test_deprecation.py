"""Former names work, and say what to write now."""

import importlib

import pytest
import torch

from fslib import metrics
from fslib.deprecation import renamed

X = torch.rand(3, 98, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("metric", [metrics.local_similarity, metrics.local_distance])
def test_a_former_argument_is_the_new_one(metric):
    with pytest.warns(FutureWarning, match="reach= has become max_displacement=;") as told:
        former = metric(X, X, reach=2)
    assert told[0].filename == __file__, "the caller is named, not the package"
    assert torch.equal(former, metric(X, X, max_displacement=2))


@pytest.mark.parametrize("arguments, options", [((1,), {}), ((), {"new": 1})])
def test_both_names_at_once_are_refused(arguments, options):
    @renamed(old="new")
    def function(new=0): ...

    with pytest.raises(ValueError, match="old is the former name of new; give one of them"):
        function(*arguments, **options, old=2)


@pytest.mark.parametrize(
    "module, former, now",
    [
        ("fslib.augmentation", "Views", "TestTimeAugmentation"),
        ("fslib.evaluation", "compare", "compare_models"),
        ("fslib.methods.base", "members", "one_hot"),
        ("fslib.methods.base", "class_positions", "relabel"),
    ],
)
def test_a_former_name_is_the_new_one(module, former, now):
    module = importlib.import_module(module)
    with pytest.warns(FutureWarning, match=f"{former} has become {now};"):
        assert getattr(module, former) is getattr(module, now)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing
