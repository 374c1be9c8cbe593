"""Training learns, repeats itself, and goes on after an interruption as if there had been none."""

import itertools
import random
import re
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from fslib import evaluation, losses, metrics, objectives, training
from fslib.backbones import Conv4, FrozenConv4
from fslib.data import ImageSet
from fslib.methods import LogisticRegression, PrototypicalNetwork
from fslib.training import fit

SHORT = dict(way=3, shot=1, query=2, episodes=12, progress=False, device="cpu")


def network(seed=0) -> PrototypicalNetwork:
    """Small, but with dropout and batch norm, so that random state and buffers matter."""
    torch.manual_seed(seed)
    layers = nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 8)
    return PrototypicalNetwork(nn.Sequential(*layers))


def noisy(images, generator):
    """An augmentation that adds noise."""
    return images + 0.1 * torch.randn(images.shape, generator=generator)


@contextmanager
def interrupted(monkeypatch, step):
    """The user presses Ctrl-C in one of the steps to come."""
    calls, forward = itertools.count(), PrototypicalNetwork.embed

    def embed(self, images):
        if next(calls) == step:
            raise KeyboardInterrupt
        return forward(self, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PrototypicalNetwork, "embed", embed)
        yield


def assert_same_state(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    assert all(torch.equal(a.state_dict()[name], b.state_dict()[name]) for name in a.state_dict())


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A checkpoint of a finished short training."""
    fit(network(), tiny, **SHORT, checkpoint=tmp_path / "run.pt")
    return tmp_path / "run.pt"


def test_learns_an_easy_task(tiny):
    torch.manual_seed(0)
    model = PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(784, 16)))
    history = fit(model, tiny, way=5, query=5, episodes=80, progress=False, device="cpu")
    assert len(history.loss) == len(history.accuracy) == 80
    assert np.mean(history.loss[-10:]) < 0.1 * np.mean(history.loss[:10])
    assert np.mean(history.accuracy[:10]) < 0.6 and np.mean(history.accuracy[-10:]) > 0.9


def test_same_seed_gives_the_same_weights(tiny):
    first, second = network(), network()
    histories = [fit(model, tiny, **SHORT, augment=noisy, seed=3) for model in (first, second)]
    assert_same_state(first, second)
    assert histories[0].loss == histories[1].loss


def test_another_seed_gives_other_weights(tiny):
    first, second = network(), network()
    fit(first, tiny, **SHORT, seed=0), fit(second, tiny, **SHORT, seed=1)
    assert not torch.equal(first.feature_extractor[1].weight, second.feature_extractor[1].weight)


@pytest.mark.parametrize("step", [2, 3, 8, 11], ids="in episode {}".format)
def test_resumed_training_equals_an_uninterrupted_one(tiny, tmp_path, monkeypatch, step):
    settings = dict(SHORT, seed=5, checkpoint=tmp_path / "run.pt", save_every=3)
    with interrupted(monkeypatch, step):
        fit(network(), tiny, **settings, augment=noisy)
    resumed, straight = network(), network()
    history = fit(resumed, tiny, **settings, augment=noisy)
    expected = fit(straight, tiny, **settings | {"checkpoint": None}, augment=noisy)
    assert_same_state(resumed, straight)
    assert (history.loss, history.accuracy) == (expected.loss, expected.accuracy)


def test_resumed_training_repeats_no_saved_episode(tiny, tmp_path, monkeypatch):
    settings = dict(SHORT, checkpoint=tmp_path / "run.pt", save_every=3)
    with interrupted(monkeypatch, 8):
        fit(network(), tiny, **settings)
    with interrupted(monkeypatch, 5):  # starts with episode 6, fails in 11
        fit(network(), tiny, **settings)
    steps, embed = [], PrototypicalNetwork.embed
    monkeypatch.setattr(PrototypicalNetwork, "embed", lambda *images: steps.append(1) or embed(*images))
    fit(network(), tiny, **settings)  # starts with 9
    assert len(steps) == 3


def test_finished_training_is_not_done_again(tiny, tmp_path, monkeypatch):
    first, second = network(), network(seed=1)
    trained = fit(first, tiny, **SHORT, checkpoint=tmp_path / "run.pt", augment=noisy)
    monkeypatch.setattr(PrototypicalNetwork, "embed", lambda *_: pytest.fail("it was trained again"))
    restored = fit(second, tiny, **SHORT, checkpoint=tmp_path / "run.pt", augment=noisy)
    assert restored.loss == trained.loss
    assert_same_state(first, second)


def test_training_resumes_with_an_augmentation_that_is_an_object(tiny, tmp_path):
    class Noisy:
        def __call__(self, images, generator):
            return noisy(images, generator)

    for augment in (Noisy(), Noisy()):  # the second as another process would make it
        fit(network(), tiny, **SHORT, checkpoint=tmp_path / "run.pt", augment=augment)


@pytest.mark.parametrize(
    "setting, said",
    [
        ({"way": 4}, "way was 3 and is now 4"),
        ({"shot": 2}, "shot was 1 and is now 2"),
        ({"query": 3}, "query was 2 and is now 3"),
        ({"episodes": 13}, "episodes was 12 and is now 13"),
        ({"learning_rate": 0.5}, "learning_rate was 0.003 and is now 0.5"),
        ({"augment": noisy}, "augment was None and is now noisy, augment.code was None and is now"),
        ({"seed": 7, "way": 4}, "way was 3 and is now 4, seed was 0 and is now 7"),
    ],
)
def test_checkpoint_of_other_settings_is_refused(tiny, checkpoint, setting, said):
    with pytest.raises(ValueError, match=re.escape(f"belongs to another training ({said}")):
        fit(network(), tiny, **SHORT | setting, checkpoint=checkpoint)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "half"], ids=["empty", "junk", "cut short"])
def test_damaged_checkpoint_is_named(tiny, checkpoint, content):
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(ValueError, match=r"run\.pt is not a checkpoint that can be read"):
        fit(network(), tiny, **SHORT, checkpoint=checkpoint)


def test_file_of_weights_is_not_taken_for_a_checkpoint(tiny, tmp_path):
    torch.save(network().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt is not a checkpoint"):
        fit(network(), tiny, **SHORT, checkpoint=tmp_path / "weights.pt")


def test_interrupted_save_leaves_the_old_checkpoint(tiny, tmp_path, monkeypatch):
    settings = dict(SHORT, checkpoint=tmp_path / "run.pt", save_every=4)
    saves, save = itertools.count(), torch.save

    def killed(saved, path):
        save(saved, path)
        if next(saves):
            path.write_bytes(path.read_bytes()[:1000])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", killed)
        fit(network(), tiny, **settings)
    assert len(torch.load(tmp_path / "run.pt")["history"]["loss"]) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    assert len(fit(network(), tiny, **settings).loss) == 12


def test_global_random_state_is_untouched(tiny, checkpoint):
    def state():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    model = network()
    before = state()
    fit(model, tiny, **SHORT, augment=noisy)
    fit(model, tiny, **SHORT, checkpoint=checkpoint)
    assert state() == before


def test_global_random_state_does_not_matter(tiny):
    first, second = network(), network()
    torch.manual_seed(1)
    fit(first, tiny, **SHORT)
    torch.manual_seed(2)
    fit(second, tiny, **SHORT)
    assert_same_state(first, second)


def test_loss_that_is_no_number_stops_training(tiny):
    model = network()
    nn.init.constant_(model.feature_extractor[4].weight, torch.nan)
    with pytest.raises(ValueError, match="loss became nan at episode 0; lower the learning rate"):
        fit(model, tiny, **SHORT)


def test_augmentation_is_given_the_same_randomness_each_time(tiny):
    def draws():
        drawn = []

        def augment(images, generator):
            drawn.append(torch.rand(4, generator=generator).tolist())
            return images

        fit(network(), tiny, **SHORT, augment=augment)
        return drawn

    first, second = draws(), draws()
    assert first == second
    assert len({tuple(numbers) for numbers in first}) == 12




@pytest.mark.parametrize("episodes", [1, 2, 9, 10])
def test_training_may_be_of_any_length(tiny, episodes):
    assert len(fit(network(), tiny, **SHORT | {"episodes": episodes}).loss) == episodes


@pytest.mark.parametrize("broken", [False, True], ids=["after success", "after an exception"])
def test_model_is_left_in_the_mode_in_which_each_query_is_answered_alone(tiny, monkeypatch, broken):
    model, objective = network().train(), arcface().train()
    if broken:
        with interrupted(monkeypatch, 4):
            fit(model, tiny, **SHORT, step=objective)
    else:
        fit(model, tiny, **SHORT, step=objective)
    assert not any(part.training for module in (model, objective) for part in module.modules())


def test_classes_of_an_episode_may_come_from_whole_groups(tiny):
    seen = []

    def note(embeddings, labels):
        seen.append({tiny.class_groups[label] for label in labels})
        return embeddings.mean()

    fit(network(), tiny, **SHORT | dict(way=4), step=note, whole_groups=True)
    assert all(len(groups) == 1 for groups in seen) and len(set.union(*seen)) == 2


def test_objective_sees_the_whole_batch_and_its_classes(tiny):
    seen = []

    def objective(embeddings, labels):
        seen.append((embeddings.shape, labels))
        return embeddings.square().mean()

    fit(network(), tiny, **SHORT, step=objective)
    (shape, labels), *others = seen
    assert len(others) == SHORT["episodes"] - 1 and shape == (9, 8)  # 3 classes with 1 + 2 pictures, in 8 numbers
    assert labels.unique(return_counts=True)[1].tolist() == [3, 3, 3]
    assert len(torch.cat([labels, *(y for _, y in others)]).unique()) == 8  # classes of the data set


def test_objective_takes_the_place_of_the_loss(tiny):
    model, shrunk = network(), network()
    fit(model, tiny, **SHORT)
    history = fit(shrunk, tiny, **SHORT, step=lambda embeddings, labels: embeddings.square().mean())
    assert history.loss[-1] < history.loss[0]
    last = [m.feature_extractor[-1].weight.norm() for m in (shrunk, model)]
    assert last[0] < last[1]


def arcface():
    torch.manual_seed(1)
    return losses.ArcFaceLoss(classes=8, dim=8)


def test_weights_of_an_objective_are_trained_and_resumed(tiny, tmp_path, monkeypatch):
    whole, start = arcface(), arcface()
    uninterrupted = network()
    fit(uninterrupted, tiny, **SHORT, augment=noisy, step=whole)
    assert not torch.equal(whole.weight, start.weight)
    options = dict(SHORT, augment=noisy, checkpoint=tmp_path / "run.pt", save_every=2)
    with interrupted(monkeypatch, 7):
        fit(network(), tiny, **options, step=arcface())
    resumed, model = arcface(), network()
    fit(model, tiny, **options, step=resumed)
    assert_same_state(model, uninterrupted)
    assert_same_state(resumed, whole)


def test_checkpoint_of_another_objective_is_refused(tiny, tmp_path):
    path = tmp_path / "run.pt"
    fit(network(), tiny, **SHORT, step=partial(objectives.triplet_all, margin=0.1), checkpoint=path)
    with pytest.raises(ValueError, match=r"\(step\.loss\.margin was 0\.1 and is now 0\.2\)"):
        fit(network(), tiny, **SHORT, step=partial(objectives.triplet_all, margin=0.2), checkpoint=path)


@pytest.mark.parametrize(
    "one, other",
    [
        (lambda: losses.SupConLoss(0.05), lambda: losses.SupConLoss(0.5)),
        (lambda: losses.ArcFaceLoss(8, 8, margin=0.1), lambda: losses.ArcFaceLoss(8, 8, margin=0.4)),
        (lambda: lambda e, y: objectives.triplet_all(e, y), lambda: lambda e, y: objectives.contrastive(e, y)),
    ],
    ids=["temperature", "margin", "lambda"],
)
def test_an_edited_objective_does_not_pass_for_the_old_one(tiny, tmp_path, one, other):
    for objective in (one(), one()):
        fit(network(), tiny, **SHORT, step=objective, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"belongs to another training \(step\.loss\."):
        fit(network(), tiny, **SHORT, step=other(), checkpoint=tmp_path / "run.pt")


@pytest.mark.parametrize(
    "changed, said",
    [
        (lambda model: setattr(model, "temperature", 2.0), "model.temperature was 1.0 and is now 2.0"),
        (lambda model: setattr(model, "metric", metrics.euclidean), "model.metric was squared_euclidean"),
        (lambda model: setattr(model.feature_extractor[3], "p", 0.5), "model.feature_extractor.3.p was 0.3"),
        (lambda model: model.feature_extractor.append(nn.Tanh()), "model.feature_extractor.5 was None"),
    ],
)
def test_an_edited_network_does_not_pass_for_the_old_one(tiny, checkpoint, changed, said):
    model = network()
    changed(model)
    with pytest.raises(ValueError, match=re.escape(f"belongs to another training ({said}")):
        fit(model, tiny, **SHORT, checkpoint=checkpoint)


def test_other_pictures_under_the_same_name_are_another_training(tiny, checkpoint):
    other = replace(tiny, images=255 - tiny.images)
    with pytest.raises(ValueError, match=r"belongs to another training \(data\.digest was"):
        fit(network(), other, **SHORT, checkpoint=checkpoint)
    seen_otherwise = replace(tiny, transform=lambda images: images.float() / 255)
    with pytest.raises(ValueError, match=r"belongs to another training \(data\.transform was"):
        fit(network(), seen_otherwise, **SHORT, checkpoint=checkpoint)


def test_a_run_goes_on_in_the_precision_in_which_it_began(tiny, tmp_path, monkeypatch):
    settings = dict(SHORT, checkpoint=tmp_path / "run.pt", save_every=3)
    with interrupted(monkeypatch, 7):
        fit(network(), tiny, **settings, bfloat16=True)
    monkeypatch.setattr(training.loop, "has_fast_bfloat16", lambda device: False)
    with pytest.raises(ValueError, match="precision was bfloat16 and is now float32"):
        fit(network(), tiny, **settings, bfloat16=False)
    assert fit(network(), tiny, **settings).precision == "bfloat16"
    assert fit(network(), tiny, **SHORT).precision == "float32"


def test_every_generator_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):
    def augment(images):
        noise = random.random() + np.random.random() + torch.rand(())  # noqa: NPY002
        return images + noise

    settings = dict(SHORT, augment=augment, checkpoint=tmp_path / "run.pt", save_every=3)
    with interrupted(monkeypatch, 7):
        fit(network(), tiny, **settings)
    resumed, straight = network(), network()
    fit(resumed, tiny, **settings)
    fit(straight, tiny, **settings | {"checkpoint": None})
    assert_same_state(resumed, straight)


def test_transforms_of_torchvision_are_augmentations(tiny):
    first, second = network(), network()
    for model in (first, second):
        fit(model, tiny, **SHORT, augment=v2.RandomAffine(10))
    assert_same_state(first, second)


def test_training_sees_the_pictures_that_evaluation_sees(tiny):
    class Colour(ImageSet):
        def inputs(self, indices=slice(None)):
            return self.images[indices].float().expand(-1, 3, -1, -1) / 255

    parts = tiny.images, tiny.labels, tiny.class_names
    seen = []
    model = PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(3 * 784, 4)))
    model.feature_extractor.register_forward_hook(lambda _, images, __: seen.append(images[0]))
    data = Colour("Colour", *parts)
    fit(model, data, **SHORT)
    evaluation.embed_all(model, data)
    assert {images.shape[1:] for images in seen} == {(3, 28, 28)}
    assert min(images.min() for images in seen) >= 0
    pictures = torch.cat([images for images in seen[:-1]])
    assert all((picture == seen[-1]).flatten(1).all(1).any() for picture in pictures)


def test_what_compares_is_given_float32(tiny):
    seen = []

    class Mine(PrototypicalNetwork):
        def compare(self, support, labels, query):
            seen.append((support.dtype, (query @ support.mT).dtype))
            return super().compare(support, labels, query)

    model = Mine(nn.Sequential(nn.Flatten(), nn.Linear(784, 4)))
    fit(model, tiny, **SHORT, bfloat16=True)
    fit(model, tiny, **SHORT, bfloat16=True, step=lambda e, y: (seen.append((e.dtype,) * 2), e.mean())[1])
    assert set(seen) == {(torch.float32, torch.float32)}


@pytest.mark.parametrize(
    "model, options, says",
    [
        (lambda: LogisticRegression(Conv4(4)), {}, "scores of LogisticRegression over Conv4 carry no gradient"),
        (lambda: PrototypicalNetwork(FrozenConv4(4)), {}, "over FrozenConv4 carry no gradient"),
        (lambda: PrototypicalNetwork(nn.Flatten()), {}, "nothing to train: neither"),
        (network, {"step": lambda e, y: e.detach().mean()}, "carries no gradient"),
        (network, {"step": "arcface"}, "A loss is called with embeddings and labels, but this is a str"),
        (network, {"step": losses.ArcFaceLoss(5, 8)}, "is for 5 classes, but Tiny has 8"),
        (network, {"way": 1}, "way must be at least 2"),
        (network, {"learning_rate": float("nan")}, "learning_rate must be above zero and finite, but is nan"),
        (network, {"learning_rate": 0}, "learning_rate must be above zero"),
        (network, {"save_every": 0}, "save_every must be a whole number, at least 1, but is 0"),
        (network, {"episodes": 12.0}, "episodes must be a whole number"),
        (network, {"learning_rate": "0.1"}, "learning_rate must be above zero and finite, but is '0.1'"),
        (network, {"device": "gpu"}, "There is no device 'gpu' here"),
        (network, {"augment": "warp"}, "called with images, but this is 'warp'"),
        (network, {"augment": lambda images: None}, "gives as many images as it gets, here 9"),
        (network, {"augment": lambda images: images[1:]}, "gave torch.float32"),
        (network, {"augment": lambda images: images.to(torch.uint8)}, "gave torch.uint8"),
        (network, {"step": lambda e, y: e.mean(1)}, "one number in a tensor, but function gave one of shape"),
        (network, {"step": lambda e, y: 0.5}, "gave one of float"),
        (lambda: Conv4(4), {}, "fit trains a method of fslib.methods over a network, but got a Conv4"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_said(tiny, model, options, says):
    with pytest.raises(ValueError, match=says):
        fit(model(), tiny, **SHORT | options)


def test_a_loss_that_ends_as_no_number_is_never_saved(tiny, tmp_path):
    steps = itertools.count()
    with pytest.raises(ValueError, match="The loss became nan at episode 7"):
        fit(
            network(), tiny, **SHORT, checkpoint=tmp_path / "run.pt", save_every=4,
            step=lambda e, y: e.mean() * (torch.nan if next(steps) == 7 else 1),
        )  # fmt: skip
    assert len(torch.load(tmp_path / "run.pt")["history"]["loss"]) == 4


def test_a_checkpoint_that_cannot_be_written_is_told_before_the_training(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(PrototypicalNetwork, "embed", lambda *_: pytest.fail("it trained"))
    with pytest.raises(OSError, match=r"No checkpoint can be written to .*file.run\.pt"):
        fit(network(), tiny, **SHORT, checkpoint=tmp_path / "file" / "run.pt")
    with pytest.raises(ValueError, match="is a folder"):
        fit(network(), tiny, **SHORT, checkpoint=tmp_path)


@pytest.mark.parametrize("missing", ["model", "optimizer", "random", "settings", "history"])
def test_a_checkpoint_without_a_part_is_named(tiny, checkpoint, missing):
    saved = torch.load(checkpoint)
    torch.save({name: part for name, part in saved.items() if name != missing}, checkpoint)
    with pytest.raises(ValueError, match=r"run\.pt is not a checkpoint that can be read"):
        fit(network(), tiny, **SHORT, checkpoint=checkpoint)


def test_weights_that_two_modules_share_are_trained_once(tiny):
    class OnModel(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def step(self, model, batch):
            return losses.supcon(metrics.cosine_similarity(*2 * [batch.embed(self.model)]), batch.labels)

    first, second = network(), network()
    fit(first, tiny, step=OnModel(first), **SHORT)
    fit(second, tiny, step=losses.SupConLoss(), **SHORT)
    assert_same_state(first, second)


@pytest.mark.parametrize("seed", [2**62, 1_732_800_000_000_000_000])
def test_any_seed_of_a_clock_will_do(tiny, seed):
    fit(network(), tiny, **SHORT, seed=seed, augment=noisy)
