"""A recipe is trained, measured and entered into the ledger by one command."""

import inspect
import itertools
import re
import shlex

import pytest
import torch
from torch import nn

from fslib import data, losses, metrics, storage, training
from fslib.augmentation import TestTimeAugmentation
from fslib.backbones import Conv4, Ensemble
from fslib.book import experiments, ledger, your_run
from fslib.book.experiments import (
    RECIPES,
    Plan,
    Recipe,
    ch12_adapted,
    ch13_unlabelled,
    command,
    main,
    measures,
    networks,
    results_page,
    running,
)
from fslib.book.experiments.measures import on_tasks, with_test_time_augmentation
from fslib.book.experiments.networks import prototypical_conv4
from fslib.episodes import within_groups
from fslib.evaluation import Accuracy, evaluate
from fslib.methods import PrototypicalNetwork
from fslib.training import Distilled, History, fit

ALL = dict(RECIPES)
SETTINGS = dict(way=3, shot=1, query=2, episodes=2, learning_rate=1e-3)
TOY = dict(metric="euclidean", warp=1.0, **SETTINGS)


def kept(run, metric="euclidean", warp=0.0, **fit):
    """A recipe that keeps its weights."""
    model = prototypical_conv4(metric)
    run.train(model, "train+validation", warp=warp, **fit)
    run.save_weights(model, seeds=range(5))
    run.measure(model, on_tasks)


def not_kept(run, metric="euclidean", warp=0.0, **fit):
    model = prototypical_conv4(metric)
    run.train(model, "train+validation", warp=warp, **fit)
    run.measure(model, on_tasks)


@pytest.fixture
def recipes():
    """Makes these, and no others, the recipes: of each name the function and the settings."""

    def only(**named):
        RECIPES.clear()
        for name, (function, settings) in named.items():
            RECIPES[f"toy/{name}"] = Recipe(f"toy/{name}", function, settings)

    before = dict(RECIPES)
    yield only
    RECIPES.clear()
    RECIPES.update(before)


@pytest.fixture
def toy(monkeypatch, tmp_path, tiny, recipes):
    """A recipe over small data, whose records are kept apart; gives the splits it asks for."""
    asked = []
    # Twice the pictures of each class, enough for the queries of an evaluation.
    twice = data.ImageSet("Tiny", tiny.images.repeat(2, 1, 1, 1), tiny.labels.repeat(2), tiny.class_names)

    def load(name, split):
        asked.append((name, split))
        return twice

    def evaluate_briefly(*task, episodes, **options):
        return evaluate(*task, episodes=episodes // 500, **options)

    recipes(prototypical=(kept, TOY))
    monkeypatch.setattr(measures, "TASKS", ((5, 1),))
    monkeypatch.setattr(measures, "evaluate", evaluate_briefly)
    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(ledger, "folder", lambda: tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return asked


def test_final_run_enters_its_record_and_keeps_its_weights(toy, tmp_path, capsys):
    main(["toy/prototypical", "--seed", "3"])
    assert toy == [("toy", "train+validation"), ("toy", "test")]
    (path,) = (tmp_path / "results").rglob("*.jsonl")
    assert path == tmp_path / "results" / "toy" / "prototypical.jsonl"
    record = ledger.read("toy/prototypical-5way-1shot-seed3")
    expected = {
        "command": "python -m fslib.book.experiments toy/prototypical --seed 3",
        "method": "prototypical",
        "dataset": "toy",
        "split": "test",
        "way": 5,
        "shot": 1,
        "query": 15,
        "seeds": [3],
        "train_split": "train+validation",
        "train_episodes": 2,
        "train_way": 3,
        "train_augmented": True,
        "precision": torch.load(tmp_path / "runs" / "toy" / "prototypical-seed3.pt")["history"]["precision"],
    }
    assert expected["precision"] in ("float32", "bfloat16")
    assert {key: record[key] for key in expected} == expected
    assert 0 < record["mean"] < 1 and 0 < record["ci95"] < 1
    assert f"{100 * record['mean']:.2f} %" in capsys.readouterr().out
    model = storage.load(tmp_path / "results" / "toy" / "prototypical-seed3.safetensors")
    assert model.metric is metrics.euclidean


def test_validation_run_keeps_off_the_test_classes(toy, tmp_path):
    main(["toy/prototypical", "--validate", "--set", "episodes=4"])
    assert toy == [("toy", "train"), ("toy", "validation")]
    record = ledger.read("toy/prototypical-validation-4-5way-1shot-seed0")
    assert record["command"] == "python -m fslib.book.experiments toy/prototypical --seed 0 --validate --set episodes=4"
    assert (record["split"], record["train_episodes"]) == ("validation", 4)
    assert not list((tmp_path / "results").rglob("*.safetensors"))


def test_settings_may_come_together_or_one_by_one(toy, monkeypatch):
    taken = []
    monkeypatch.setattr(command, "run", lambda *arguments: taken.append(arguments[-1]))
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
    monkeypatch.setattr(measures, "TASKS", ((5, 1), (1000, 1)))
    with pytest.raises(ValueError, match="1000-way"):
        experiments.run("toy/prototypical")
    assert ledger.read("toy/prototypical-5way-1shot-seed0")["way"] == 5


def test_views_of_a_picture_give_records_of_their_own(toy, recipes, tmp_path):
    def viewed(run, metric, warp, **fit):
        model = prototypical_conv4(metric)
        run.train(model, "train+validation", warp=warp, **fit)
        run.measure(model, with_test_time_augmentation(on_tasks, 0, 2))
        run.save_weights(model)

    recipes(prototypical=(viewed, TOY))
    records = experiments.run("toy/prototypical")
    assert [(r["id"], r["views"]) for r in records] == [
        (f"toy/prototypical-5way-1shot-views{copies}-seed0", copies) for copies in (0, 2)
    ]
    model = storage.load(tmp_path / "results" / "toy" / "prototypical-seed0.safetensors")
    assert isinstance(model.feature_extractor, Conv4)  # the network alone is kept
    model.load_state_dict(torch.load(tmp_path / "runs" / "toy" / "prototypical-seed0.pt")["model"])
    model.feature_extractor = TestTimeAugmentation(model.feature_extractor, 2)
    seen = evaluate(model, data.load("toy", "test"), episodes=20)
    assert round(seen.mean, 6) == records[1]["mean"] != records[0]["mean"]


def ensemble(run, metric="euclidean", warp=0.0, **fit):
    """Two networks that are measured as one."""
    models = []
    for seed in run.members(2):
        models.append(prototypical_conv4(metric))
        run.train(models[-1], "train+validation", warp=warp, seed=seed, **fit)
    models[0].feature_extractor = Ensemble([model.feature_extractor for model in models])
    run.save_weights(models[0], seeds=(0, 1))
    run.measure(models[0], on_tasks)


@pytest.fixture(scope="module")
def greek():
    return data.load("glyphs", "validation").select(range(40))


def test_across_families_faces_are_read_by_probes_until_they_are_erased(greek):
    model = PrototypicalNetwork(nn.Sequential(nn.AvgPool2d(7), nn.Flatten()))
    plain, *read = measures.named("x, across families", measures.across_families)(model, greek)
    assert (plain[0], plain[1]["task"]) == ("20way-1shot-x-across-families", "x, across families")
    assert [(each["metric"], round(1 / each["chance"])) for _, each, _ in read] == [
        (f"{attribute}, {probe}", values)
        for attribute, values in (("family", 3), ("weight", 2), ("slant", 2))
        for probe in ("linear", "neighbours")
    ]
    erased, linear, *_ = ch12_adapted.removing("leace")(measures.across_families)(model, greek)
    assert read[0][2].mean > linear[2].chance + 0.05
    assert linear[2].mean == pytest.approx(1 / 3) and erased[2].mean != plain[2].mean


def test_removing_nothing_changes_nothing(greek):
    model = PrototypicalNetwork(nn.Sequential(nn.AvgPool2d(7), nn.Flatten()))
    (plain,) = measures.within_families(model, greek)
    (same,) = ch12_adapted.removing("nothing")(measures.within_families)(model, greek)
    assert plain[2].mean == same[2].mean


def test_a_random_projection_loses_as_many_directions_as_it_says():
    weight = ch12_adapted.random_projection(7, directions=2).weight
    assert torch.allclose(weight @ weight, weight, atol=1e-6) and weight.trace() == pytest.approx(5)


def test_parts_are_where_the_step_trains_them():
    _, *parts = ch12_adapted.ends_of_parts(8).items()
    assert dict(parts) == seen("glyphs/subspaces").objectives[0](2).coordinates


def test_members_train_from_seeds_of_their_own_and_are_measured_as_one(toy, recipes, tmp_path):
    recipes(prototypical=(ensemble, TOY))
    (record,) = experiments.run("toy/prototypical", seed=1)
    assert (record["id"], record["seeds"]) == ("toy/prototypical-5way-1shot-seed1", [2, 3])
    assert record["train_members"] == 2
    trained = [
        torch.load(tmp_path / "runs" / "toy" / f"prototypical-seed{seed}.pt") for seed in record["seeds"]
    ]
    seconds = sum(checkpoint["history"]["seconds"] for checkpoint in trained)
    assert record["train_seconds"] == pytest.approx(seconds, abs=1)  # one may count the last save
    model = storage.load(tmp_path / "results" / "toy" / "prototypical-seed1.safetensors")
    for member, checkpoint in zip(model.feature_extractor.members, trained, strict=True):
        weights = member.state_dict()
        assert all(
            torch.equal(weights[name], checkpoint["model"][f"feature_extractor.{name}"].half().float())
            for name in weights
            if weights[name].is_floating_point()
        )


@pytest.mark.parametrize("validate, train, split", [(False, "train+validation", "test"), (True, "train", "validation")])
def test_within_alphabets_upright_characters_of_others_are_measured(
    toy, recipes, monkeypatch, tiny, validate, train, split
):
    asked = []
    classes = 48  # in two groups, each class drawn once by six writers
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
    monkeypatch.setattr(measures, "evaluate", evaluate_and_note)

    def within(run, **fit):
        model = prototypical_conv4()
        run.train(model, "train+validation", load=results_page.turned, **fit)
        run.measure(model, measures.within_alphabets, load=results_page.upright, how="within alphabets")

    recipes(within=(within, SETTINGS))
    (record,) = experiments.run("toy/within", validate=validate)
    lake = dict(protocol="lake")
    assert asked == [(train, lake | dict(rotations=True)), (split, lake | dict(rotations=False))]
    expected = dict(split=f"{split}, within alphabets", way=20, shot=1, query=1, episodes=2000, metric="accuracy")
    assert {key: record[key] for key in expected} == expected
    assert torch.equal(measured["episodes"].query, within_groups(drawn, way=20, episodes=2000).query)


def second(run, metric, warp, **fit):
    """A recipe that starts with the network of another."""
    model = prototypical_conv4(metric)
    run.train(model, "train+validation", init_from="toy/prototypical", warp=warp, **fit)
    run.measure(model, on_tasks)


STILL = TOY | dict(learning_rate=1e-12)  # it trains no further


@pytest.fixture
def started(toy, recipes):
    """A recipe, and a second one that starts with its network."""
    recipes(prototypical=(not_kept, TOY), second=(second, STILL))


@pytest.mark.parametrize("validate", [False, True])
def test_training_starts_with_the_network_of_another_recipe(started, tmp_path, validate):
    (record,) = experiments.run("toy/second", seed=1, validate=validate)
    assert record["train_start"] == "toy/prototypical"
    parts = "-validation-2-seed1" if validate else "-seed1"
    names = f"prototypical{parts}", f"second{parts}-from-{record['train_start_weights']}"
    first, second = (torch.load(tmp_path / "runs" / "toy" / f"{name}.pt")["model"] for name in names)
    assert torch.allclose(first["feature_extractor.0.0.weight"], second["feature_extractor.0.0.weight"], atol=1e-6)


def taught(run, metric, warp, **fit):
    """A recipe with a teacher from another seed, which remembers what it makes of the images."""
    model = prototypical_conv4(metric)
    teacher = PrototypicalNetwork(run.network("toy/prototypical", 7))
    remembered = run.embedded(teacher, "train+validation")
    run.train(model, "train+validation", objective=lambda _: Distilled(None, teacher, remembered=remembered), **fit)
    run.measure(model, on_tasks)


@pytest.mark.parametrize("validate", [False, True])
def test_a_teacher_is_trained_by_its_own_recipe_and_told_in_the_record(toy, recipes, tmp_path, validate):
    recipes(prototypical=(not_kept, TOY), taught=(taught, TOY))
    (record,) = experiments.run("toy/taught", seed=1, validate=validate)
    assert record["train_taught_by"] == "toy/prototypical seed 7" and record["seeds"] == [1]
    (teacher,) = (tmp_path / "runs" / "toy").glob("prototypical*.pt")
    assert teacher.name == ("prototypical-validation-2-seed7.pt" if validate else "prototypical-seed7.pt")
    (told,) = (tmp_path / "runs" / "toy").glob("embedded-*.pt")
    before = told.stat().st_mtime_ns
    experiments.run("toy/taught", seed=2, validate=validate)  # another student of the same teacher
    assert [path.stat().st_mtime_ns for path in told.parent.glob("embedded-*.pt")] == [before]
    alone = experiments.run("toy/prototypical", seed=7, validate=validate)
    assert alone and len(list((tmp_path / "runs" / "toy").glob("prototypical*.pt"))) == 1  # the same training


def test_a_teacher_on_the_same_classes_is_trained_once_for_choosing_and_for_the_test(toy, recipes, tmp_path):
    def on_train(run, metric, warp, **fit):
        run.train(prototypical_conv4(metric), "train", **fit)

    def its_student(run, metric, warp, **fit):
        model = prototypical_conv4(metric)
        run.network("toy/teacher", 7)
        run.train(model, "train", **fit)
        run.measure(model, on_tasks)

    recipes(teacher=(on_train, TOY), student=(its_student, TOY))
    for validate in (True, False):
        experiments.run("toy/student", validate=validate)
    assert [path.name for path in (tmp_path / "runs" / "toy").glob("teacher*.pt")] == ["teacher-seed7.pt"]


def test_in_validation_a_shorter_start_will_do(started, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "SHORT_START", 1)
    (record,) = experiments.run("toy/second", validate=True)
    checkpoints = {path.name for path in (tmp_path / "runs" / "toy").iterdir()}
    start = record["train_start_weights"]
    assert checkpoints == {"prototypical-validation-1-seed0.pt", f"second-validation-2-seed0-from-{start}.pt"}


@pytest.fixture
def started_kept(toy, recipes):
    """The first of the two recipes keeps its weights, in half precision."""
    recipes(prototypical=(kept, TOY), second=(second, STILL))


def test_training_starts_with_kept_weights_where_there_are_some(started_kept, tmp_path):
    torch.manual_seed(5)
    there = prototypical_conv4()
    path = tmp_path / "results" / "toy" / "prototypical-seed0.safetensors"
    path.parent.mkdir(parents=True)
    storage.save(there, path)
    experiments.run("toy/second")
    first = "feature_extractor.0.0.weight"
    (checkpoint,) = (tmp_path / "runs" / "toy").glob("second-*.pt")
    assert torch.allclose(torch.load(checkpoint)["model"][first], there.state_dict()[first], atol=1e-6)
    assert not (tmp_path / "runs" / "toy" / "prototypical-seed0.pt").exists()


def test_a_start_is_the_same_whether_its_weights_are_kept_or_trained_now(started_kept, tmp_path):
    (trained,) = experiments.run("toy/second")
    experiments.run("toy/prototypical")
    assert (tmp_path / "results" / "toy" / "prototypical-seed0.safetensors").exists()
    (from_file,) = experiments.run("toy/second")
    assert trained["train_start_weights"] == from_file["train_start_weights"]
    assert trained["mean"] == from_file["mean"] and len(list((tmp_path / "runs" / "toy").glob("second-*"))) == 1


def test_from_other_weights_it_is_another_training(started_kept, tmp_path):
    (first,) = experiments.run("toy/second")
    torch.manual_seed(5)
    storage.save(prototypical_conv4(), tmp_path / "results" / "toy" / "prototypical-seed0.safetensors")
    (second,) = experiments.run("toy/second")
    assert first["train_start_weights"] != second["train_start_weights"]
    first_weights, second_weights = (
        torch.load(tmp_path / "runs" / "toy" / f"second-seed0-from-{r['train_start_weights']}.pt")["model"]
        for r in (first, second)
    )
    name = "feature_extractor.0.0.weight"
    assert not torch.allclose(first_weights[name], second_weights[name], atol=1e-3)


@pytest.mark.parametrize(
    "change, key", [(dict(episodes=3), "train_episodes 2"), (dict(warp=0.0), r"train_warp 1\.0")]
)
def test_kept_weights_of_another_training_are_told(started_kept, recipes, change, key):
    experiments.run("toy/prototypical")
    recipes(prototypical=(kept, TOY | change), second=(second, STILL))
    with pytest.raises(ValueError, match=rf"prototypical-seed0\.safetensors was trained with {key}"):
        experiments.run("toy/second")


def test_kept_weights_that_saw_warps_are_told(started_kept, recipes):
    experiments.run("toy/prototypical")
    recipes(prototypical=(kept, {key: TOY[key] for key in TOY if key != "warp"}), second=(second, STILL))
    with pytest.raises(ValueError, match="was trained with train_augmented True"):
        experiments.run("toy/second")


def test_kept_weights_that_saw_other_classes_are_not_used(started_kept, recipes, tmp_path):
    def on_less(run, metric, warp, **fit):
        model = prototypical_conv4(metric)
        run.train(model, "train", init_from="toy/prototypical", warp=warp, **fit)
        run.measure(model, on_tasks)

    torch.manual_seed(5)
    path = tmp_path / "results" / "toy" / "prototypical-seed0.safetensors"
    path.parent.mkdir(parents=True)
    storage.save(prototypical_conv4(), path)  # on train + validation, as the recipe says
    recipes(prototypical=(kept, TOY), second=(on_less, STILL))
    experiments.run("toy/second")
    assert (tmp_path / "runs" / "toy" / "prototypical-seed0.pt").exists()  # it was trained


def test_a_start_of_another_network_is_told(toy, recipes):
    def narrow(run, **fit):
        model = networks.prototypical_resnet12(width=2)
        run.train(model, "train+validation", **fit)

    recipes(prototypical=(narrow, SETTINGS), second=(second, STILL))
    with pytest.raises(ValueError, match="toy/second cannot start with the network of toy/prototypical"):
        experiments.run("toy/second")


@pytest.mark.parametrize("path", sorted(ledger.folder().rglob("*.safetensors")), ids=lambda path: path.stem)
def test_weights_of_the_book_are_those_of_the_recipe(path):
    name, _, seed = path.relative_to(ledger.folder()).with_suffix("").as_posix().rpartition("-seed")
    running.check_kept(path, name, int(seed))


class Seen(Plan):
    """A plan that holds the models, and how each is trained and measured."""

    def __init__(self, recipe):
        super().__init__(recipe, seed=0)
        self.settings, self.objectives, self.measured = [], [], []

    def train(self, model, split, *, objective=None, load=None, warp=0.0, init_from=None, seed=None, **settings):
        super().train(model, split, objective=objective, warp=warp, init_from=init_from, seed=seed)
        self.settings.append(settings)
        self.objectives.append(objective)

    def measure(self, model, measure, load=None, how=""):
        self.measured.append(measure)


def seen(name):
    plan = Seen(RECIPES[name])
    plan.carry_out()
    return plan


STARTED = [name for name in RECIPES if any(each.init_from for each in seen(name).trained)]


@pytest.mark.parametrize("name", STARTED)
def test_recipe_starts_with_one_that_saw_the_same_classes(name):
    after = seen(name)
    before = seen(after.trained[0].init_from)
    assert before.recipe.dataset == after.recipe.dataset
    assert before.trained[0].split == after.trained[0].split
    after.models[0].feature_extractor.load_state_dict(before.models[0].feature_extractor.state_dict())


def test_some_recipes_start_with_others():
    assert len(STARTED) == 6


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


CLUMSY = {
    "way=5.0": "way must be a whole number, 1 or more, but is 5.0",
    "way=0": "way must be a whole number",
    "way=-3": "way must be a whole number",
    "way=x": "way must be a whole number, 1 or more, but is x",
    "way=true": "way must be a whole number",
    "way=none": "way must be a whole number",
    "way=nan": "way must be a whole number",
    "way=3=4": "way must be a whole number",
    "way=5000": "way=5000",
    "shot=0": "shot must be a whole number",
    "shot=5000": "shot=5000",
    "episodes=1e1": "episodes must be a whole number",
    "learning_rate=nan": "learning_rate must be a number",
    "learning_rate=inf": "learning_rate must be a number",
    "learning_rate=-1": "learning_rate must be a number",
    "learning_rate=fast": "learning_rate must be a number",
    "learning_rate=0": "learning_rate=0",
    "learning_rate=1e300": r"learning_rate=1e\+300",
    "warp=-1": "warp must be a number",
    "warp=1e9": "warp=1000000000",
    "metric=3": "metric must be a name",
    "metric=euclidian": "metric=euclidian: There is no metric euclidian; there are squared_euclidean",
    "metric=Mahalanobis": "metric=Mahalanobis",
    "metric=mahalanobis": "metric=mahalanobis: There is no metric mahalanobis",
    "metric=cosine_similarity": "metric=cosine_similarity",
    "metric=none": "metric=none",
    "metric=torch": "metric=torch",
    "margin=1": "no setting margin; it has metric, warp, way, shot",
    "seed=1": "no setting seed",
    "episodes": "a setting is name=number",
    "=3": "a setting is name=number",
    "way=": "a setting is name=number",
    "": "a setting is name=number",
    "way=2 way=3": "given twice",
}


@pytest.mark.parametrize("setting, says", CLUMSY.items(), ids=CLUMSY)
def test_a_clumsy_setting_is_told_in_a_sentence_that_names_it(toy, capsys, tmp_path, setting, says):
    with pytest.raises(SystemExit) as refused:
        main(["toy/prototypical", "--validate", "--set", *(setting.split() or [""])])
    assert re.search(says, f"{refused.value.code}{capsys.readouterr().err}")
    assert "\n" not in str(refused.value.code)
    assert not list((tmp_path / "results").rglob("*.jsonl")) and not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize(
    "recipe, setting",
    [
        ("relation-on-vectors", "hidden=0"),
        ("relation-on-vectors", "hidden=1.5"),
        ("relation-on-vectors", "hidden=100000000000000"),
        ("relation", "pools=9"),
        ("conv4-se", "block=foo"),
        ("conv4-se", "block=1"),
        ("resnet12-plain", "width=0"),
        ("loss-arcface", "unit=2"),
        ("loss-arcface", "margin=9"),
        ("loss-arcface", "scale=0"),
        ("loss-supcon", "temperature=0"),
    ],
)
def test_a_network_or_loss_that_cannot_be_built_is_told_before_any_data_are_loaded(toy, recipes, recipe, setting):
    recipes(clumsy=(ALL[f"glyphs/{recipe}"].function, ALL[f"glyphs/{recipe}"].settings))
    with pytest.raises(SystemExit, match=setting.partition("=")[0]) as refused:
        main(["toy/clumsy", "--validate", "--set", setting])
    assert "\n" not in refused.value.code and toy == []


@pytest.mark.parametrize(
    "text, value",
    [
        ("a=1", 1),
        ("a=1.0", 1.0),
        ("a=1e-3", 1e-3),
        ("a=True", True),
        ("a=false", False),
        ("a=none", None),
        ("a=euclidean", "euclidean"),
    ],
)
def test_a_setting_is_read_as_what_it_is(text, value):
    name, read = command.setting(text)
    assert name == "a" and read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "setting, kept",
    [("frozen=0", False), ("frozen=true", True), ("hidden=8", 8), ("learning_rate=1", 1.0), ("metric=none", None)],
)
def test_a_setting_is_kept_in_its_kind(setting, kept):
    recipe = Recipe("toy/x", kept, SETTINGS | dict(frozen=True, hidden=64, metric="euclidean"))
    name, value = command.setting(setting)
    changed = recipe.changed({name: value}).settings[name]
    assert changed == kept and type(changed) is type(kept)


@pytest.mark.parametrize("sets", list(itertools.permutations(["warp=0.50", "metric=cosine_distance", "way=2"])))
def test_the_order_and_spelling_of_settings_make_no_other_record(toy, sets):
    main(["toy/prototypical", "--validate", "--set", *sets])
    (record,) = ledger.find()
    assert record["id"] == "toy/prototypical-validation-2-metriccosine_distance-warp0.5-way2-5way-1shot-seed0"
    assert record["command"].endswith("--set metric=cosine_distance warp=0.5 way=2")


def test_a_measurement_that_the_ledger_has_under_another_name_keeps_it(toy):
    (record,) = experiments.run("toy/prototypical", validate=True, changes={"way": 3})  # which is the recipe's own
    (again,) = experiments.run("toy/prototypical", validate=True)
    assert again["id"] == record["id"] and len(ledger.find()) == 1
    experiments.run("toy/prototypical", validate=True, changes={"way": 2})
    experiments.run("toy/prototypical", validate=True, seed=1)
    assert len(ledger.find()) == 3


def commands():
    """Of each command of the ledger, the ids of its records."""
    found = {}
    for record in ledger.find():
        if re.match(r"python -m fslib\.(book\.)?experiments", record["command"]) and "--validate" in record["command"]:
            found.setdefault(record["command"], []).append(record)
    return found.items()


@pytest.mark.parametrize("command, records", commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_command_of_the_ledger_leads_to_its_records(monkeypatch, tmp_path, command, records):
    """With another training and measurement in their place, which take no time."""
    folder, written = ledger.folder(), []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ledger, "folder", lambda: folder)
    monkeypatch.setattr(ledger, "write", written.append)
    monkeypatch.setattr(ledger, "writable_folder", lambda dataset: folder)
    blank, faces = torch.zeros(24, 1, 28, 28, dtype=torch.uint8), torch.arange(12).repeat(2)
    images = data.ImageSet("Toy", blank, torch.arange(2).repeat_interleave(12), ["a", "b"], domains=faces)
    monkeypatch.setattr(data, "load", lambda *args, **options: images)
    monkeypatch.setattr(running, "fit", lambda *args, **options: History())
    monkeypatch.setattr(running.Training, "_init_from", lambda *args: "0" * 12)
    for asked in ("network", "embedded"):  # teachers are not trained either
        monkeypatch.setattr(running.Training, asked, getattr(Plan, asked))
    monkeypatch.setattr(ch13_unlabelled, "clusters_as_classes", lambda images, *_: images)
    measure = running.Run.measure

    def results(how):
        for record in records:
            if record["split"].partition(", ")[2] == how:
                kind = r"\d+way-\d+shot|recall@1|(family|weight|slant)-(linear|neighbours)"
                named = record.get("task", "").replace(", ", "-").replace(" ", "-")
                task = re.search(rf"-(({kind})(-views\d+|-[A-Z][\w' ]+|-{named})?)-seed\d+$", record["id"])[1]
                keys = ("way", "shot", "query", "episodes", "metric", "views", "script", "task", "chance")
                keys += ("transductive",)
                settings = {key: record[key] for key in keys if key in record}
                yield task, settings, Accuracy(torch.tensor([0.5, 0.6]))

    def measured(run, model, _, how="", **options):
        measure(run, model, lambda *_: results(how), how=how, **options)

    monkeypatch.setattr(running.Run, "measure", measured)
    main(shlex.split(command)[3:])
    # One of the oldest, which does not say enough of its settings to be known by them, is spelled as no id is now.
    ids = [record["id"].replace("margin1.0-", "margin1-") for record in records]
    assert sorted(record["id"] for record in written) == sorted(ids)


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", str(2**70)])
def test_a_seed_that_is_none_is_told(toy, capsys, seed):
    with pytest.raises(SystemExit) as refused:
        main(["toy/prototypical", f"--seed={seed}"])
    assert seed in f"{refused.value.code}{capsys.readouterr().err}" and toy == []


@pytest.mark.parametrize("where", ["results", "runs"])
def test_what_cannot_be_written_is_told_before_the_training(toy, tmp_path, where):
    (tmp_path / where).write_text("a file")
    with pytest.raises(SystemExit, match=rf"cannot be written to .*{where}/toy"):
        main(["toy/prototypical"])
    assert toy == [] and not list(tmp_path.rglob("*.pt"))


def test_the_commit_is_that_of_the_code_that_runs(toy, monkeypatch):
    """And not of what lies there when the training has ended."""
    told, train = [], running.fit
    monkeypatch.setattr(ledger, "_commit", lambda: "later" if told else "now")
    monkeypatch.setattr(running, "fit", lambda *args, **options: told.append(1) or train(*args, **options))
    (record,) = experiments.run("toy/prototypical")
    assert record["commit"] == "now"


def with_loss(run, metric, warp, **fit):
    model = prototypical_conv4(metric)
    run.train(model, "train+validation", objective=lambda _: losses.SupConLoss(0.05), warp=warp, **fit)
    run.measure(model, on_tasks)


def on_the_sphere(run, metric, warp, **fit):
    model = prototypical_conv4(metric, normalize=True, temperature=5.0)
    run.train(model, "train+validation", warp=warp, **fit)
    run.measure(model, on_tasks)


EDITS = {
    "unit": (on_the_sphere, {}),
    "metric": (not_kept, dict(metric="cosine_distance")),
    "warp": (not_kept, dict(warp=0.5)),
    "no warp": (not_kept, dict(warp=0.0)),
    "loss": (with_loss, {}),
    "length": (not_kept, dict(episodes=3)),
    "shots": (not_kept, dict(query=1)),
    "rate": (not_kept, dict(learning_rate=2e-3)),
}


@pytest.mark.parametrize("function, change", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("first", [not_kept, ensemble])
def test_a_finished_checkpoint_of_an_edited_recipe_makes_no_record(toy, recipes, tmp_path, function, change, first):
    recipes(prototypical=(first, TOY))
    experiments.run("toy/prototypical")
    (path,) = (tmp_path / "results").rglob("*.jsonl")
    before = path.read_text(encoding="utf8")
    recipes(prototypical=(function, TOY | change))
    with pytest.raises(ValueError, match=r"prototypical-seed0\.pt belongs to another"):
        experiments.run("toy/prototypical")
    assert path.read_text(encoding="utf8") == before


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("glyphs/loss-")])
def test_recipe_with_a_loss_trains_with_it_and_measures_recall(toy, recipes, name):
    settings = ALL[name].settings | SETTINGS | dict(query=1, way=2)
    recipes(loss=(ALL[name].function, settings))
    accuracy, recall = experiments.run("toy/loss")
    assert (accuracy["metric"], recall["metric"]) == ("accuracy", "recall@1")
    assert 0 <= recall["mean"] <= 1 and recall["way"] is None
    assert {key: recall[f"train_{key}"] for key in settings} == settings
    own = torch.load("runs/toy/loss-seed0.pt")["settings"]["step"] == "Episodic"
    assert own == (name == "glyphs/loss-prototypical")


def test_loss_and_metric_of_the_maps_are_of_one_kind():
    plan = seen("omniglot/within-alphabet-local")
    assert plan.objectives[0](1).similarity is metrics.local_similarity
    assert plan.models[0].metric is metrics.local_distance


def test_a_new_kind_of_experiment_is_a_function_and_nothing_else(toy, recipes):
    """A head is fitted to what a network gives that nobody trained further, and two numbers are measured at once."""

    def share_of_ink(model, images):
        ink = images.inputs().mean((1, 2, 3)).double()
        none = dict.fromkeys(("way", "shot", "query", "episodes"))
        yield "ink", none | {"metric": "ink"}, Accuracy(ink)
        yield "paper", none | {"metric": "ink", "of": "paper"}, Accuracy(1 - ink)

    def probe(run, block, **fit):
        model = prototypical_conv4(block=block)
        run.train(model, "train", load=lambda split: data.load("another", split), **fit)
        run.measure(model, share_of_ink, how="in ink")

    recipes(probe=(probe, dict(block="se", **SETTINGS)))
    ink, paper = experiments.run("toy/probe", seed=3)
    assert toy == [("another", "train"), ("toy", "test")]
    assert (ink["id"], paper["id"]) == ("toy/probe-ink-seed3", "toy/probe-paper-seed3")
    assert (paper["of"], paper["split"], paper["train_block"]) == ("paper", "test, in ink", "se")
    assert ink["mean"] + paper["mean"] == pytest.approx(1)


def test_what_is_measured_untrained_says_of_no_training(toy, recipes):
    def untrained(run):
        run.measure(prototypical_conv4(), on_tasks)

    recipes(untrained=(untrained, {}))
    (record,) = experiments.run("toy/untrained", seed=2)
    assert record["seeds"] == [2] and not [key for key in record if key.startswith("train")]
    assert toy == [("toy", "test")]


def test_a_network_of_another_recipe_is_by_default_of_the_seed_of_the_run(toy, recipes, tmp_path):
    def behind(run):
        run.measure(PrototypicalNetwork(run.network("toy/prototypical")), on_tasks)

    recipes(prototypical=(not_kept, TOY), behind=(behind, {}))
    records = [experiments.run("toy/behind", seed=seed)[0] for seed in (0, 1)]
    assert ledger.over_seeds(records)[1] > 0  # of one setting: their networks are called alike
    assert {record["train_taught_by"] for record in records} == {"toy/prototypical"}
    assert {record["precision"] for record in records} == {"float32"}
    assert {path.stem for path in (tmp_path / "runs" / "toy").iterdir()} == {"prototypical-seed0", "prototypical-seed1"}


def test_two_recipes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two recipes glyphs/matching"):
        experiments.recipe("glyphs/matching", way=5)(kept)


def test_a_plan_leaves_no_trace(recipes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    plan = running._planned(RECIPES["omniglot/within-alphabet-ensemble"], seed=1)
    assert torch.equal(before, torch.get_rng_state()) and not list(tmp_path.iterdir())
    assert plan.says()["seeds"] == [4, 5, 6, 7] and plan.says()["train_members"] == 4


def test_a_damaged_ledger_is_seen_before_the_training(toy, tmp_path):
    (tmp_path / "results" / "art").mkdir(parents=True)
    (tmp_path / "results" / "art" / "x.jsonl").write_text("{")
    with pytest.raises(SystemExit, match=r"art/x\.jsonl, line 1, is damaged"):
        main(["toy/prototypical"])
    assert not list(tmp_path.rglob("*.pt"))


def test_missing_data_ends_the_command_in_a_sentence(toy, monkeypatch):
    def missing(name, split):
        raise FileNotFoundError("Omniglot is not here.")

    monkeypatch.setattr(data, "load", missing)
    with pytest.raises(SystemExit, match=r"python -m fslib\.book\.experiments: Omniglot is not here\."):
        main(["toy/prototypical"])


@pytest.mark.parametrize(
    "name, says",
    [
        ("omniglot/prototypcal", "no recipe 'omniglot/prototypcal'; did you mean omniglot/prototypical?"),
        ("x", "no recipe 'x'; python -m fslib.book.experiments lists them."),
        ("", "no recipe ''"),
    ],
)
def test_unknown_recipe_is_refused(name, says):
    with pytest.raises(SystemExit) as refused:
        main([name])
    assert says in refused.value.code
    with pytest.raises(ValueError, match="no recipe"):
        experiments.run(name)


def test_without_a_recipe_all_are_listed(capsys):
    main([])
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_well_formed(name):
    plan = seen(name)
    assert (plan.models or plan.teachers) and plan.measured and plan.recipe.dataset in ("glyphs", "omniglot")
    for model, settings, trained in zip(plan.models, plan.settings, plan.trained, strict=True):
        inspect.signature(fit).bind("model", "data", **settings)
        assert model.embed(torch.rand(1, 1, 28, 28)).isfinite().all()
        assert trained.split in ("train", "train+validation")


def test_there_are_the_recipes_whose_records_there_are():
    commands = {record["command"].split()[3] for record in ledger.find() if ".experiments " in record["command"]}
    assert commands <= set(RECIPES) and len(RECIPES) == 114


# What chapters load -------------------------------------------------------------------------------


def test_trained_gives_the_network_whose_records_there_are(toy, monkeypatch):
    experiments.run("toy/prototypical", seed=1)
    stored = storage.load(ledger.folder() / "toy" / "prototypical-seed1.safetensors")
    model = experiments.trained("toy/prototypical", seed=1)
    assert not model.training and all(torch.equal(a, b) for a, b in zip(model.parameters(), stored.parameters()))


@pytest.fixture
def anew(monkeypatch):
    """What this process has trained anew."""
    names = set()
    monkeypatch.setattr(your_run, "ANEW", names)
    return names


def test_trained_again_is_trained_here_and_leaves_the_ledger_alone(toy, tmp_path, anew):
    experiments.run("toy/prototypical")
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.*")}
    model = experiments.trained("toy/prototypical", seed=4, again=True)
    assert anew == {"toy/prototypical"} and not model.training
    assert (tmp_path / "runs" / "toy" / "prototypical-seed4.pt").exists()
    assert before == {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.*")}


def test_trained_again_is_compared_with_the_record_of_its_seed_or_of_another(toy, tmp_path, anew, capsys):
    for seed in (1, 2):
        experiments.run("toy/prototypical", seed=seed, runs=tmp_path / "ours")
    capsys.readouterr()
    for seed, books in {2: 2, 5: 1}.items():
        experiments.trained("toy/prototypical", seed=seed, again=True)
        said = capsys.readouterr().out
        record = ledger.read(f"toy/prototypical-5way-1shot-seed{books}")
        assert "the book trained for" in said
        title, line = re.findall(r".*against the book.*|  5way.*yours.*", said)
        assert title == f"Your run against the book: toy/prototypical, seed {seed}"
        assert f"the book's {100 * record['mean']:.2f} %" in line
        assert line.endswith("the same") or seed == 5


def test_trained_again_takes_up_where_it_stopped(toy, tmp_path, anew, monkeypatch):
    first = experiments.trained("toy/prototypical", again=True, runs=tmp_path / "drive")
    assert (tmp_path / "drive" / "toy" / "prototypical-seed0.pt").exists() and not (tmp_path / "runs").exists()
    monkeypatch.setattr(PrototypicalNetwork, "episode_loss", lambda *_: pytest.fail("it was trained again"))
    again = experiments.trained("toy/prototypical", again=True, runs=tmp_path / "drive")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))


def test_trained_again_without_a_record_to_compare_with_says_so(toy, anew, capsys):
    experiments.trained("toy/prototypical", again=True)
    assert "has no record to compare it with" in capsys.readouterr().out
    assert toy == [("toy", "train+validation")]  # so nothing was measured


def test_trained_again_gives_what_the_recipe_keeps_or_else_measures(toy, recipes, anew):
    def behind(run):
        run.measure(PrototypicalNetwork(run.network("toy/prototypical"), temperature=2.0), on_tasks)

    recipes(prototypical=(not_kept, TOY), ensemble=(ensemble, TOY), behind=(behind, {}))
    assert isinstance(experiments.trained("toy/ensemble", again=True).feature_extractor, Ensemble)
    assert experiments.trained("toy/behind", again=True).temperature == 2.0


def test_trained_again_is_not_lost_where_another_data_set_is_missing(toy, recipes, anew, capsys):
    def elsewhere(run, metric, warp, **fit):
        def missing(split):
            raise FileNotFoundError("Omniglot is not here.")

        model = prototypical_conv4(metric)
        run.train(model, "train", **fit)
        run.measure(model, on_tasks)
        run.measure(model, on_tasks, load=missing, how="on Omniglot")

    recipes(prototypical=(elsewhere, TOY))
    with pytest.raises(FileNotFoundError):
        experiments.run("toy/prototypical")
    assert experiments.trained("toy/prototypical", again=True)
    assert "on Omniglot, is not measured: Omniglot is not here." in capsys.readouterr().out


def test_all_networks_of_a_run_are_trained_in_the_precision_of_the_first(toy, recipes, tmp_path, monkeypatch):
    """A processor is asked how fast it is once in a process, and the second network may be trained in another."""
    answers = iter([True, False])
    monkeypatch.setattr(training.loop, "has_fast_bfloat16", lambda device: next(answers))
    recipes(prototypical=(ensemble, TOY))
    experiments.run("toy/prototypical")
    saved = [torch.load(path)["history"]["precision"] for path in (tmp_path / "runs").rglob("*.pt")]
    assert saved == ["bfloat16", "bfloat16"]


def test_weights_that_are_not_there_are_missed_with_what_there_is(toy):
    experiments.run("toy/prototypical")
    with pytest.raises(FileNotFoundError, match=r"seed=9, again=True\) trains them"):
        experiments.trained("toy/prototypical", seed=9)
    with pytest.raises(ValueError, match="There is no recipe"):
        experiments.trained("toy/prototypica")


def test_what_is_measured_are_the_weights_that_are_kept(toy):
    (record,) = experiments.run("toy/prototypical")
    model = experiments.trained("toy/prototypical")
    assert all(torch.equal(weights.half().float(), weights) for weights in model.parameters())
    accuracy = evaluate(model, data.load("toy", "test"), episodes=record["episodes"] // 500)
    assert accuracy.mean == pytest.approx(record["mean"], abs=1e-6)
