"""A recipe is trained, measured and entered into the ledger by one command."""

import dataclasses
import inspect

import pytest
import torch

from fslib import data, experiments, ledger, metrics, storage
from fslib.augmentation import Views
from fslib.backbones import Conv4
from fslib.episodes import within_groups
from fslib.evaluation import evaluate
from fslib.experiments import RECIPES, Recipe, main
from fslib.training import fit

SETTINGS = dict(way=3, shot=1, query=2, episodes=2, learning_rate=1e-3)


@pytest.fixture
def toy(monkeypatch, tmp_path, tiny):
    """A recipe over small data, whose records are kept apart; gives the splits it asks for."""
    asked = []
    # Twice the pictures of each class, enough for the queries of an evaluation.
    twice = data.ImageSet("Tiny", tiny.images.repeat(2, 1, 1, 1), tiny.labels.repeat(2), tiny.class_names)

    def load(name, split):
        asked.append((name, split))
        return twice

    def evaluate_briefly(*task, episodes, **options):
        return evaluate(*task, episodes=episodes // 500, **options)

    recipe = Recipe(
        "glyphs",
        SETTINGS,
        network=dict(metric="euclidean"),
        warp=1.0,
        train="train+validation",
        tasks=((5, 1),),
        keep=True,
    )
    monkeypatch.setattr(experiments, "RECIPES", {"toy/prototypical": recipe})
    monkeypatch.setattr(experiments, "evaluate", evaluate_briefly)
    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(ledger, "folder", lambda: tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return asked


def test_final_run_enters_its_record_and_keeps_its_weights(toy, tmp_path, capsys):
    main(["toy/prototypical", "--seed", "3"])
    assert toy == [("glyphs", "train+validation"), ("glyphs", "test")]
    (path,) = (tmp_path / "results").rglob("*.json")
    assert path == tmp_path / "results" / "toy" / "prototypical-5way-1shot-seed3.json"
    record = ledger.read("toy/prototypical-5way-1shot-seed3")
    expected = {
        "command": "python -m fslib.experiments toy/prototypical --seed 3",
        "method": "prototypical",
        "dataset": "glyphs",
        "split": "test",
        "way": 5,
        "shot": 1,
        "query": 15,
        "seeds": [3],
        "train_split": "train+validation",
        "train_episodes": 2,
        "train_way": 3,
        "train_augmented": True,
    }
    assert {key: record[key] for key in expected} == expected
    assert 0 < record["mean"] < 1 and 0 < record["ci95"] < 1
    assert f"{100 * record['mean']:.2f} %" in capsys.readouterr().out
    model = storage.load(tmp_path / "results" / "toy" / "prototypical-seed3.safetensors")
    assert model.metric is metrics.euclidean


def test_validation_run_keeps_off_the_test_classes(toy, tmp_path):
    main(["toy/prototypical", "--validate", "--set", "episodes=4"])
    assert toy == [("glyphs", "train"), ("glyphs", "validation")]
    record = ledger.read("toy/prototypical-validation-4-5way-1shot-seed0")
    assert record["command"] == "python -m fslib.experiments toy/prototypical --seed 0 --validate --set episodes=4"
    assert (record["split"], record["train_episodes"]) == ("validation", 4)
    assert not list((tmp_path / "results").rglob("*.safetensors"))


def test_settings_may_come_together_or_one_by_one(toy, monkeypatch):
    taken = []
    monkeypatch.setattr(experiments, "run", lambda *arguments: taken.append(arguments[-1]))
    main(["toy/prototypical", "--validate", "--set", "episodes=4", "way=3"])
    main(["toy/prototypical", "--validate", "--set", "episodes=4", "--set", "way=3"])
    assert taken == [{"episodes": 4, "way": 3}] * 2


def test_run_repeats_itself_from_its_checkpoint_or_without(toy, tmp_path):
    checkpoint = tmp_path / "runs" / "toy" / "prototypical-seed0.pt"
    (first,) = experiments.run("toy/prototypical")
    weights = torch.load(checkpoint)["model"]
    (resumed,) = experiments.run("toy/prototypical")
    checkpoint.unlink()
    (anew,) = experiments.run("toy/prototypical")
    assert first["mean"] == resumed["mean"] == anew["mean"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in torch.load(checkpoint)["model"].items())


def test_what_is_measured_is_kept_when_the_next_task_fails(toy, monkeypatch):
    recipe = dataclasses.replace(experiments.RECIPES["toy/prototypical"], tasks=((5, 1), (1000, 1)))
    monkeypatch.setattr(experiments, "RECIPES", {"toy/prototypical": recipe})
    with pytest.raises(ValueError, match="1000-way"):
        experiments.run("toy/prototypical")
    assert ledger.read("toy/prototypical-5way-1shot-seed0")["way"] == 5


def test_views_of_a_picture_give_records_of_their_own(toy, monkeypatch, tmp_path):
    recipe = dataclasses.replace(experiments.RECIPES["toy/prototypical"], views=(0, 2))
    monkeypatch.setattr(experiments, "RECIPES", {"toy/prototypical": recipe})
    records = experiments.run("toy/prototypical")
    assert [(r["id"], r["views"]) for r in records] == [
        (f"toy/prototypical-5way-1shot-views{copies}-seed0", copies) for copies in (0, 2)
    ]
    model = storage.load(tmp_path / "results" / "toy" / "prototypical-seed0.safetensors")
    assert isinstance(model.feature_extractor, Conv4)  # the network alone is kept
    model.load_state_dict(torch.load(tmp_path / "runs" / "toy" / "prototypical-seed0.pt")["model"])
    model.feature_extractor = Views(model.feature_extractor, 2)
    seen = evaluate(model, data.load("glyphs", "test"), episodes=20)
    assert round(seen.mean, 6) == records[1]["mean"] != records[0]["mean"]


def test_members_train_from_seeds_of_their_own_and_are_measured_as_one(toy, monkeypatch, tmp_path):
    recipe = dataclasses.replace(experiments.RECIPES["toy/prototypical"], members=2)
    monkeypatch.setattr(experiments, "RECIPES", {"toy/prototypical": recipe})
    (record,) = experiments.run("toy/prototypical", seed=1)
    assert (record["id"], record["seeds"]) == ("toy/prototypical-5way-1shot-seed1", [2, 3])
    assert record["train_members"] == 2
    trained = [
        torch.load(tmp_path / "runs" / "toy" / f"prototypical-seed{seed}.pt") for seed in record["seeds"]
    ]
    seconds = sum(checkpoint["history"]["seconds"] for checkpoint in trained)
    assert record["train_seconds"] == pytest.approx(seconds, abs=0.06)
    model = storage.load(tmp_path / "results" / "toy" / "prototypical-seed1.safetensors")
    for member, checkpoint in zip(model.feature_extractor.members, trained, strict=True):
        weights = member.state_dict()
        assert all(
            torch.equal(weights[name], checkpoint["model"][f"feature_extractor.{name}"].half().float())
            for name in weights
            if weights[name].is_floating_point()
        )


@pytest.mark.parametrize("validate, train, split", [(False, "train+validation", "test"), (True, "train", "validation")])
def test_within_alphabets_upright_characters_of_others_are_measured(toy, monkeypatch, tiny, validate, train, split):
    asked = []
    classes = 48  # in two groups, each class drawn once by six drawers
    drawn = data.ImageSet(
        "Drawn",
        tiny.images.repeat(3, 1, 1, 1),
        torch.arange(classes).repeat_interleave(6),
        [f"character {c}" for c in range(classes)],
        ["left", "right"] * (classes // 2),
        torch.arange(6).repeat(classes),
    )
    measured = {}

    def load(name, split, **options):
        asked.append((split, options))
        return drawn

    def evaluate_and_note(model, images, **settings):
        measured.update(settings)
        return evaluate(model, images, **settings)

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(experiments, "evaluate", evaluate_and_note)
    recipe = dataclasses.replace(experiments.RECIPES["toy/prototypical"], tasks=(), within_alphabets=True)
    monkeypatch.setattr(experiments, "RECIPES", {"toy/within": recipe})
    (record,) = experiments.run("toy/within", validate=validate)
    lake = dict(protocol="lake")
    assert asked == [(train, lake | dict(rotations=True)), (split, lake | dict(rotations=False))]
    expected = dict(split=f"{split}, within alphabets", way=20, shot=1, query=1, episodes=2000, metric="accuracy")
    assert {key: record[key] for key in expected} == expected
    assert torch.equal(measured["episodes"].query, within_groups(drawn, way=20, episodes=2000).query)


@pytest.fixture
def started(toy, monkeypatch):
    """A second recipe, which starts with the network of the first, and trains it no further."""
    first = dataclasses.replace(experiments.RECIPES["toy/prototypical"], keep=False)
    second = dataclasses.replace(first, start="toy/prototypical", fit=SETTINGS | dict(learning_rate=1e-12))
    monkeypatch.setattr(experiments, "RECIPES", {"toy/prototypical": first, "toy/second": second})


@pytest.mark.parametrize("validate", [False, True])
def test_training_starts_with_the_network_of_another_recipe(started, tmp_path, validate):
    (record,) = experiments.run("toy/second", seed=1, validate=validate)
    assert record["train_start"] == "toy/prototypical"
    parts = "-validation-2-seed1" if validate else "-seed1"
    first, second = (
        torch.load(tmp_path / "runs" / "toy" / f"{name}{parts}.pt")["model"] for name in ("prototypical", "second")
    )
    assert torch.allclose(first["feature_extractor.0.0.weight"], second["feature_extractor.0.0.weight"], atol=1e-6)


def test_in_validation_a_shorter_start_will_do(started, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "SHORT_START", 1)
    experiments.run("toy/second", validate=True)
    checkpoints = {path.name for path in (tmp_path / "runs" / "toy").iterdir()}
    assert checkpoints == {"prototypical-validation-1-seed0.pt", "second-validation-2-seed0.pt"}


def test_training_starts_with_kept_weights_where_there_are_some(started, tmp_path):
    torch.manual_seed(5)
    kept = experiments.prototypical()
    path = tmp_path / "results" / "toy" / "prototypical-seed0.safetensors"
    path.parent.mkdir(parents=True)
    storage.save(kept, path)
    experiments.run("toy/second")
    first = "feature_extractor.0.0.weight"
    weights = torch.load(tmp_path / "runs" / "toy" / "second-seed0.pt")["model"]
    assert torch.allclose(weights[first], kept.state_dict()[first], atol=1e-6)
    assert not (tmp_path / "runs" / "toy" / "prototypical-seed0.pt").exists()


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.start])
def test_recipe_starts_with_one_that_saw_the_same_classes(name):
    recipe = RECIPES[name]
    before = RECIPES[recipe.start]
    assert (before.dataset, before.train) == (recipe.dataset, recipe.train)
    recipe.build(**recipe.network).feature_extractor.load_state_dict(
        before.build(**before.network).feature_extractor.state_dict()
    )


def test_seed_decides_the_initial_weights(toy, tmp_path):
    for seed in (0, 1):
        experiments.run("toy/prototypical", seed=seed)
    saved = [torch.load(tmp_path / "runs" / "toy" / f"prototypical-seed{seed}.pt")["model"] for seed in (0, 1)]
    first, second = (weights["feature_extractor.0.0.weight"] for weights in saved)
    assert (first - second).abs().max() > 0.1  # more than two steps of training could move them


def test_settings_belong_to_the_recipe(toy, tmp_path):
    with pytest.raises(SystemExit) as refused:
        main(["toy/prototypical", "--set", "episodes=3"])
    assert "they may differ only with validate." in refused.value.code
    assert "\n" not in refused.value.code
    assert toy == [] and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "setting, says", [("margin=1", "no setting margin; it has way, shot"), ("episodes", "a setting is name=number")]
)
def test_unknown_setting_is_refused(toy, capsys, setting, says):
    with pytest.raises(SystemExit) as refused:
        main(["toy/prototypical", "--validate", "--set", setting])
    assert says in f"{refused.value.code}{capsys.readouterr().err}"


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.recall])
def test_recipe_with_a_loss_trains_with_it_and_measures_recall(toy, monkeypatch, name):
    fit_briefly = dict(SETTINGS, query=1, way=2)
    recipe = dataclasses.replace(RECIPES[name], fit=fit_briefly, tasks=((5, 1),))
    monkeypatch.setattr(experiments, "RECIPES", {name: recipe})
    accuracy, recall = experiments.run(name)
    assert (accuracy["metric"], recall["metric"]) == ("accuracy", "recall@1")
    assert 0 <= recall["mean"] <= 1 and recall["way"] is None
    assert {key: recall[f"train_{key}"] for key in recipe.settings} == recipe.settings


def test_loss_and_ruler_of_the_maps_are_of_one_kind():
    recipe = RECIPES["omniglot/within-alphabet-local"]
    assert recipe.objective(classes=1).similarity is metrics.local_similarity
    assert recipe.build(**recipe.network).metric is metrics.local_distance


def test_missing_data_ends_the_command_in_a_sentence(toy, monkeypatch):
    def missing(name, split):
        raise FileNotFoundError("Omniglot is not here.")

    monkeypatch.setattr(data, "load", missing)
    with pytest.raises(SystemExit, match=r"python -m fslib\.experiments: Omniglot is not here\."):
        main(["toy/prototypical"])


def test_unknown_recipe_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["omniglot/prototypcal"])
    assert "invalid choice: 'omniglot/prototypcal'" in capsys.readouterr().err


def test_without_a_recipe_all_are_listed(capsys):
    main([])
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_well_formed(name):
    recipe = RECIPES[name]
    inspect.signature(fit).bind("model", "data", **recipe.fit)
    assert name.startswith(f"{recipe.dataset}/")
    parts = recipe.fit, recipe.network, recipe.loss_settings
    assert len(recipe.settings) == sum(map(len, parts)) + (recipe.warp > 0)  # no name comes twice
    assert recipe.build(**recipe.network).embed(torch.rand(1, 1, 28, 28)).isfinite().all()
    assert set(recipe.train.split("+")) <= {"train", "validation"}
    assert (recipe.tasks or recipe.within_alphabets) and all(way >= 2 and shot >= 1 for way, shot in recipe.tasks)
