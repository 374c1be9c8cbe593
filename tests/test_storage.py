"""A saved classifier comes back the same, or the file is refused in a sentence."""

import copy
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from safetensors.torch import save_file
from torch import nn

import fslib
from fslib import metrics, storage
from fslib.augmentation import TestTimeAugmentation
from fslib.backbones import Conv4, Ensemble, FrozenConv4, Pretrained, ResNet12
from fslib.methods import (
    ContextMatchingNetwork,
    ConvRelation,
    CosineClassifier,
    FewShotClassifier,
    LogisticRegression,
    MatchingNetwork,
    PrototypicalNetwork,
    RelationNetwork,
    VectorRelation,
)


@pytest.fixture
def model() -> PrototypicalNetwork:
    torch.manual_seed(0)
    trained = PrototypicalNetwork(Conv4(channels=8, normalize=True), metrics.euclidean, temperature=3.0)
    trained(torch.rand(5, 1, 28, 28), torch.arange(5), torch.rand(5, 1, 28, 28))  # moves the batch statistics
    return trained.eval()


def scores(model):
    random = torch.Generator().manual_seed(1)
    support, query = (torch.rand(n, 1, 28, 28, generator=random) for n in (5, 8))
    with torch.no_grad():
        return model(support, torch.arange(5), query)


def test_round_trip_is_exact(model, tmp_path):
    fslib.save(model, tmp_path / "model.safetensors")
    assert torch.equal(scores(fslib.load(tmp_path / "model.safetensors")), scores(model))


def test_round_trip_of_an_ensemble_is_exact(tmp_path):
    torch.manual_seed(0)
    members = [Conv4(channels=4), ResNet12((2, 2, 2, 3), pooling="flatten", pools=2)]
    model = PrototypicalNetwork(Ensemble(members), metrics.cosine_distance).eval()
    fslib.save(model, tmp_path / "model.safetensors")
    assert torch.equal(scores(fslib.load(tmp_path / "model.safetensors")), scores(model))


def test_half_precision_is_close(model, tmp_path):
    fslib.save(model, tmp_path / "model.safetensors", torch.float16)
    loaded = fslib.load(str(tmp_path / "model.safetensors"))
    torch.testing.assert_close(scores(loaded), scores(model), rtol=0.01, atol=0.01)
    assert not torch.equal(scores(loaded), scores(model))
    assert all(weights.dtype == torch.float32 for weights in loaded.parameters())


def test_all_that_builds_the_model_is_kept(model, tmp_path):
    fslib.save(model.train(), tmp_path / "model.safetensors")
    loaded = fslib.load(tmp_path / "model.safetensors")
    assert not any(module.training for module in loaded.modules())
    assert loaded.metric is metrics.euclidean
    assert loaded.feature_extractor.config == model.feature_extractor.config
    assert loaded.temperature == 3.0


def test_conv4_in_half_precision_is_small(tmp_path):
    fslib.save(PrototypicalNetwork(Conv4()), tmp_path / "model.safetensors", torch.float16)
    assert (tmp_path / "model.safetensors").stat().st_size <= 250_000


def test_saving_leaves_the_model_alone(model, tmp_path):
    before = scores(model)
    fslib.save(model, tmp_path / "model.safetensors", torch.float16)
    assert torch.equal(scores(model), before)


def test_unknown_backbone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="this has a Flatten; save its state_dict"):
        fslib.save(PrototypicalNetwork(nn.Flatten()), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_unknown_method_is_refused(tmp_path):
    class Mine(FewShotClassifier):
        pass

    with pytest.raises(ValueError, match="this is a Mine; save its state_dict"):
        fslib.save(Mine(Conv4()), tmp_path / "model.safetensors")


def test_unknown_metric_is_refused(tmp_path):
    def mine(x, y):
        return torch.cdist(x, y)

    with pytest.raises(ValueError, match="metric"):
        fslib.save(PrototypicalNetwork(Conv4(), metric=mine), tmp_path / "model.safetensors")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no saved classifier .*gone\.safetensors"):
        fslib.load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("content", ["", "junk", "half", "no header"])
def test_damaged_file_is_named(model, tmp_path, content):
    path = tmp_path / "model.safetensors"
    fslib.save(model, path)
    whole = path.read_bytes()
    if content == "no header":
        save_file(model.state_dict(), path)
    else:
        path.write_bytes({"": b"", "junk": b"junk" * 100, "half": whole[: len(whole) // 2]}[content])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a classifier that fslib has saved"):
        fslib.load(path)


def test_interrupted_save_leaves_the_old_file(model, tmp_path, monkeypatch):
    def killed(path, content):
        path.open("wb").write(content[: len(content) // 2])
        raise KeyboardInterrupt

    path = tmp_path / "model.safetensors"
    fslib.save(model, path)
    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        fslib.save(PrototypicalNetwork(Conv4()), path)
    assert torch.equal(scores(fslib.load(path)), scores(model))
    assert list(tmp_path.iterdir()) == [path]


# What a file may hold -----------------------------------------------------------------------------


def written(path, model, plan, weights=None) -> None:
    """A file with these weights under another plan, as somebody who means harm could write it."""
    path.write_bytes(serialize(weights or model.state_dict(), metadata={"fslib": json.dumps(plan)}))


def network_plan(module, /, **arguments):
    network = {"module": module, "arguments": arguments}
    return {"module": "PrototypicalNetwork", "arguments": {"feature_extractor": network}}


CONV4 = {"module": "Conv4", "arguments": {"channels": 8}}


def over_conv4(**arguments):
    return {"module": "PrototypicalNetwork", "arguments": {"feature_extractor": CONV4, **arguments}}


TAMPERED = {
    "no widths": network_plan("ResNet12", widths=[]),
    "five halvings": network_plan("Conv4", pools=5),
    "no such option": network_plan("Conv4", command="rm"),
    "a network without a head": network_plan("Pretrained", name="squeezenet1_0", weights=None),
    "weights to be fetched": network_plan("Pretrained", name="resnet18", weights="DEFAULT"),
    "a seed of 80 bits": network_plan("TestTimeAugmentation", feature_extractor=CONV4, seed=2**80),
    "millions of copies": network_plan("TestTimeAugmentation", feature_extractor=CONV4, copies=10**9),
    "a network of gigabytes": network_plan("Conv4", channels=50_000),
    "a metric that is a module": over_conv4(metric={"metric": "torch"}),
    "a metric that is a class": over_conv4(metric={"metric": "Mahalanobis"}),
    "a metric that is a network": over_conv4(metric=CONV4),
    "a metric that is a number": over_conv4(metric=3),
    "a similarity for a distance": over_conv4(metric={"metric": "cosine_similarity"}),
    "temperature NaN": over_conv4(temperature=float("nan")),
    "temperature infinite": over_conv4(temperature=float("inf")),
    "temperature a text": over_conv4(temperature="1"),
    "a classifier in a classifier": over_conv4() | {"arguments": {"feature_extractor": over_conv4()}},
    "a module that comes again before it came": over_conv4(metric={"again": 5}),
    "a bare network": CONV4,
    "nothing": None,
    "a list": [CONV4],
    "a text": "PrototypicalNetwork",
    "a stranger": {"module": "os", "arguments": {}},
    "a base class": {"module": "FewShotClassifier", "arguments": {"feature_extractor": CONV4}},
    "no arguments": {"module": "PrototypicalNetwork"},
    "negative channels": network_plan("Conv4", channels=-1),
    "half a channel": network_plan("Conv4", channels=8.5),
    "another network": network_plan("Conv4", channels=4),
    "depth without end": json.loads("[" * 900 + "]" * 900),
    "a format of text": {"format": "new", "model": over_conv4()},
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
@pytest.mark.parametrize("wrapped", [True, False], ids=["format 1", "as before"])
def test_a_tampered_file_is_named(tmp_path, what, wrapped):
    path, plan = tmp_path / "model.safetensors", TAMPERED[what]
    wrap = wrapped and not (isinstance(plan, dict) and "format" in plan)
    written(path, PrototypicalNetwork(Conv4(8)), {"format": 1, "model": plan} if wrap else plan)
    with pytest.raises(ValueError, match=r"model\.safetensors is not a classifier that fslib has saved"):
        fslib.load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is told in other units, or not at all")
def test_a_file_asks_for_no_more_memory_than_it_has(tmp_path):
    import resource

    path = tmp_path / "model.safetensors"
    written(path, PrototypicalNetwork(Conv4(8)), {"format": 1, "model": network_plan("Conv4", channels=8000)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="damaged"):
        fslib.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; its weights take 7 GB


def test_files_of_before_are_read(model, tmp_path):
    path = tmp_path / "model.safetensors"
    fslib.save(model, path)
    with safe_open(path, "pt") as stored:
        plan = json.loads(stored.metadata()["fslib"])["model"]
    written(path, model, plan)
    assert torch.equal(scores(fslib.load(path)), scores(model))


# Of format 1: what is built today, by then's arguments, with then's names of weights.
FORMER = {
    "Conv4": (
        lambda: PrototypicalNetwork(Conv4(4, normalize=True, block="cbam")),
        network_plan("Conv4", channels=4, in_channels=1, unit=True, pools=4, maps=False, block="cbam"),
        {"channel_mlp": "weigh", "spatial": "look"},
    ),
    "feature maps": (
        lambda: RelationNetwork(Conv4(4, pools=2, pooling="none", block="self"), ConvRelation(4)),
        {
            "module": "RelationNetwork",
            "arguments": {
                "feature_extractor": {
                    "module": "Conv4",
                    "arguments": {"channels": 4, "pools": 2, "maps": True, "block": "self"},
                },
                "relation_module": {"module": "ConvRelation", "arguments": {"channels": 4, "hidden": 8}},
                "maps": True,
            },
        },
        {"qkv": "ask", "proj": "answer"},
    ),
    "ResNet12": (
        lambda: PrototypicalNetwork(ResNet12((2, 2, 2, 3), block="se", pools=2, pooling="flatten")),
        network_plan("ResNet12", widths=[2, 2, 2, 3], block="se", unit=False, pools=2, mean=False),
        {"residual": "path", "shortcut": "around", "channel_mlp": "weigh"},
    ),
    "views of an ensemble": (
        lambda: PrototypicalNetwork(TestTimeAugmentation(Ensemble([Conv4(4), Conv4(4, normalize=True)]), copies=2)),
        network_plan(
            "Views",
            copies=2,
            feature_extractor={
                "module": "Ensemble",
                "arguments": {
                    "members": [
                        {"module": "Conv4", "arguments": {"channels": 4, "unit": unit}} for unit in (False, True)
                    ]
                },
            },
        ),
        {},
    ),
}


@pytest.mark.parametrize("build, plan, names", FORMER.values(), ids=FORMER)
def test_former_names_in_files_are_understood(build, plan, names, tmp_path):
    torch.manual_seed(3)
    model = build().eval()
    weights = {
        ".".join(names.get(part, part) for part in name.split(".")): weight.clone()
        for name, weight in model.state_dict().items()
    }
    assert (weights.keys() != model.state_dict().keys()) == bool(names)
    written(tmp_path / "model.safetensors", model, {"format": 1, "model": plan}, weights)
    assert torch.equal(scores(fslib.load(tmp_path / "model.safetensors")), scores(model))


def test_a_newer_file_says_so(model, tmp_path):
    path = tmp_path / "model.safetensors"
    written(path, model, {"format": storage.FORMAT + 1, "recipe": "nobody knows"})
    with pytest.raises(ValueError, match=r"written by a newer fslib \(format 3, .* up to 2\); update fslib"):
        fslib.load(path)


def test_weights_that_are_no_numbers_are_refused(model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.feature_extractor[0][1].running_var.fill_(1e6)
    with pytest.raises(ValueError, match=r"running_var is too large for torch\.float16"):
        fslib.save(model, path, torch.float16)
    model.feature_extractor[0][1].running_var.fill_(torch.nan)
    with pytest.raises(ValueError, match="running_var is NaN or infinite"):
        fslib.save(model, path)
    for dtype in (torch.int8, torch.bool, torch.int64):
        with pytest.raises(ValueError, match="stored in a floating type"):
            fslib.save(model, path, dtype)
    assert not list(tmp_path.iterdir())
    plan = {"format": 1, "model": over_conv4(temperature=3.0)}
    written(path, model, plan)
    with pytest.raises(ValueError, match="damaged"):
        fslib.load(path)


@pytest.mark.parametrize("build", [Conv4, lambda: nn.Linear(2, 2), dict], ids=["Conv4", "Linear", "dict"])
def test_what_is_no_classifier_is_not_saved(build, tmp_path):
    with pytest.raises(ValueError, match=r"Only a method of fslib\.methods over networks"):
        fslib.save(build(), tmp_path / "model.safetensors")


@torch.no_grad()
@pytest.mark.parametrize(
    "build",
    [
        lambda net: MatchingNetwork(net, net),
        lambda net: PrototypicalNetwork(Ensemble([net, Conv4(4), net])),
        lambda net: RelationNetwork(Ensemble([net, net]), VectorRelation(8)),
    ],
    ids=["both sides", "ensemble", "relation"],
)
def test_a_network_in_two_places_comes_back_as_one(build, tmp_path):
    torch.manual_seed(0)
    model = build(Conv4(4)).eval()
    fslib.save(model, tmp_path / "model.safetensors")
    loaded = fslib.load(tmp_path / "model.safetensors")
    assert torch.equal(scores(loaded), scores(model))
    assert sum(w.numel() for w in loaded.parameters()) == sum(w.numel() for w in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("options", [dict(), dict(rank=4), dict(rank=3, squared=True)], ids=str)
def test_a_learned_metric_comes_back(options, tmp_path):
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4(8), metrics.Mahalanobis(8, **options)).eval()
    model.metric.factor.add_(torch.randn_like(model.metric.factor))
    fslib.save(model, tmp_path / "model.safetensors")
    loaded = fslib.load(tmp_path / "model.safetensors")
    assert torch.equal(scores(loaded), scores(model)) and loaded.metric.squared == model.metric.squared


# Models that were changed after they were built ---------------------------------------------------


def _set(module, **settings):
    for name, value in settings.items():
        setattr(module, name, value)


CHANGES = {
    "eps": (lambda net: _set(net[0][1], eps=0.1), r"feature_extractor\.0\.1\.eps was 1e-05 and is now 0\.1"),
    "activation": (lambda net: net[1].__setitem__(3, nn.LeakyReLU()), r"1\.3 was ReLU and is now LeakyReLU"),
    "appended": (lambda net: net.append(nn.ReLU()), r"5 was None and is now ReLU"),
    "with weights": (lambda net: net.append(nn.Linear(8, 8)), r"5\.weight was None and is now \(8, 8\)"),
    "forward": (lambda net: _set(net, forward=lambda images: images), r"forward was None and is now"),
    "removed": (lambda net: net.__delitem__(3), r"now"),
    "padding": (lambda net: _set(net[0][0], padding_mode="circular"), r"padding_mode was zeros and is now circular"),
    "weight_norm": (lambda net: nn.utils.parametrizations.weight_norm(net[0][0]), r"0\.0\."),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_after_it_was_built_is_not_lost(what, model, tmp_path):
    change, says = CHANGES[what]
    change(model.feature_extractor)
    with pytest.raises(ValueError, match=rf"changed after it was built.*{says}.*state_dict instead"):
        fslib.save(model, tmp_path / "model.safetensors")


def test_settings_and_numbers_that_would_not_come_back(model, tmp_path):
    model.temperature = float("nan")
    with pytest.raises(ValueError, match=r"temperature is nan.*state_dict instead"):
        fslib.save(model, tmp_path / "model.safetensors")
    views = PrototypicalNetwork(TestTimeAugmentation(Conv4(4), copies=2))
    views.feature_extractor.maps.add_(1)
    with pytest.raises(ValueError, match=r"the numbers of feature_extractor\.maps are others"):
        fslib.save(views, tmp_path / "model.safetensors")


BUILT = {
    "views": lambda: PrototypicalNetwork(TestTimeAugmentation(Conv4(4, normalize=True), copies=2, seed=3)),
    "mahalanobis": lambda: PrototypicalNetwork(Conv4(8), metrics.Mahalanobis(8, rank=3)),
    "ensemble": lambda: PrototypicalNetwork(Ensemble([ResNet12((2, 2, 2, 3), block="se"), FrozenConv4(4)])),
    "matching": lambda: MatchingNetwork(Conv4(4), Conv4(4, block="self"), scale=3.0),
    "context": lambda: ContextMatchingNetwork(Conv4(4, block="cbam"), dim=4),
    "relation": lambda: RelationNetwork(Conv4(4, pools=2, pooling="none"), ConvRelation(4)),
    "logistic": lambda: LogisticRegression(Conv4(4), C=2.0),
    "cosine": lambda: CosineClassifier(Conv4(4)),
    "pretrained": lambda: PrototypicalNetwork(Pretrained("resnet18", weights=None, side=32)),
}
USES = {
    "nothing": lambda model: model,
    "frozen": lambda model: model.requires_grad_(False),
    "half and back": lambda model: model.bfloat16().float(),
    "double": lambda model: model.double(),
    "placed": lambda model: model.to(memory_format=torch.channels_last),
    "a note": lambda model: _set(model, note="the best"),
    "copied": copy.deepcopy,
    "pickled": lambda model: pickle.loads(pickle.dumps(model)),
}


@torch.no_grad()
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("what", BUILT)
def test_what_uses_change_nothing_is_saved(what, use, tmp_path):
    model = BUILT[what]()
    model = USES[use](model) or model
    fslib.save(model, tmp_path / "model.safetensors")
    model = model.float().eval()
    torch.testing.assert_close(
        scores(fslib.load(tmp_path / "model.safetensors")), scores(model), rtol=0.1, atol=0.05
    )


# What files may hold and settings may be ----------------------------------------------------------


@pytest.mark.parametrize("version", [-1, float("nan"), True, None, 0.5, "1", [1], 2.5])
def test_a_format_that_there_is_not_is_refused(version, model, tmp_path):
    path = tmp_path / "model.safetensors"
    written(path, model, {"format": version, "model": over_conv4()})
    with pytest.raises(ValueError, match=r"model\.safetensors is not a classifier"):
        fslib.load(path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool, torch.float8_e4m3fn])
def test_weights_of_another_type_are_refused(dtype, tmp_path):
    path, model = tmp_path / "model.safetensors", PrototypicalNetwork(Conv4(8))
    weights = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    try:
        written(path, model, {"format": 1, "model": over_conv4()}, weights)
    except KeyError:
        pytest.skip(f"this version of safetensors writes no {dtype}")
    with pytest.raises(ValueError, match="damaged"):
        fslib.load(path)


def test_weights_that_float32_cannot_hold_are_refused(tmp_path):
    path, model = tmp_path / "model.safetensors", PrototypicalNetwork(Conv4(8)).double()
    model.feature_extractor[0][0].bias.data.fill_(1e300)
    with pytest.raises(ValueError, match=r"bias is too large for torch\.float32"):
        fslib.save(model, path)
    written(path, model, {"format": 1, "model": over_conv4()})
    with pytest.raises(ValueError, match="damaged"):
        fslib.load(path)


@pytest.mark.parametrize("dtype", ["float16", torch.float8_e4m3fn, torch.complex64, float])
def test_types_that_weights_are_not_stored_in(dtype, model, tmp_path):
    with pytest.raises(ValueError, match="stored in a floating type, such as"):
        fslib.save(model, tmp_path / "model.safetensors", dtype)


@pytest.mark.parametrize(
    "arguments", [dict(pools=3.5), dict(normalize="no"), dict(pooling="max"), dict(channels=8.0)], ids=str
)
def test_a_setting_of_another_kind_is_refused(arguments, tmp_path):
    path = tmp_path / "model.safetensors"
    plan = network_plan("Conv4", **dict(channels=8) | arguments)
    written(path, PrototypicalNetwork(Conv4(8)), {"format": storage.FORMAT, "model": plan})
    with pytest.raises(ValueError, match="damaged"):
        fslib.load(path)


@pytest.mark.parametrize("two", [np.float32(2), np.float64(2), np.int64(2), torch.tensor(2.0)], ids=repr)
def test_settings_of_numpy_come_back_as_plain_numbers(two, tmp_path):
    path = tmp_path / "model.safetensors"
    fslib.save(PrototypicalNetwork(Conv4(np.int64(4), normalize=np.True_), temperature=two), path)
    loaded = fslib.load(path)
    assert loaded.temperature == 2 and type(loaded.temperature) in (int, float)
    assert loaded.feature_extractor.config["channels"] == 4


def test_saving_and_loading_draw_no_random_numbers(model, tmp_path):
    before = torch.get_rng_state()
    fslib.save(model, tmp_path / "model.safetensors")
    fslib.load(tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


# What stands beside a classifier ------------------------------------------------------------------


def test_what_stands_beside_a_classifier_comes_back(model, tmp_path):
    path = tmp_path / "model.safetensors"
    beside = {"names": ["ä", "b"], "count": np.int64(3), "nothing": None, "table": torch.arange(6).view(2, 3)}
    storage.save(model, path, beside=beside)
    loaded, found = storage.read(path)
    assert torch.equal(scores(loaded), scores(model)) and torch.equal(scores(fslib.load(path)), scores(model))
    assert torch.equal(found.pop("table"), beside.pop("table")) and found == beside
    storage.save(model, path)
    assert storage.read(path)[1] == {}


def test_a_changed_byte_anywhere_is_noticed(model, tmp_path):
    path = tmp_path / "model.safetensors"
    storage.save(model, path, beside={"names": ["a"], "table": torch.arange(6)})
    whole = path.read_bytes()
    for place in range(8, len(whole), max(1, len(whole) // 50)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            fslib.load(path)


def test_what_stands_beside_needs_its_digest(model, tmp_path):
    path, plan = tmp_path / "model.safetensors", {"format": storage.FORMAT, "model": over_conv4(), "beside": {"a": 1}}
    written(path, PrototypicalNetwork(Conv4(8)), plan)
    with pytest.raises(ValueError, match="damaged"):
        fslib.load(path)
    with pytest.raises(ValueError, match="A setting can be a number or a text, but one is a set"):
        storage.save(model, path, beside={"a": {1}})
