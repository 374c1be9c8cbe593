"""A student learns from its teacher, and the teacher learns nothing from its student."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fslib import distillation, losses
from fslib.augmentation import TestTimeAugmentation
from fslib.backbones import Conv4, Ensemble
from fslib.evaluation import embed_all
from fslib.methods import LogisticRegression, PrototypicalNetwork, RelationNetwork, VectorRelation
from fslib.training import Augmented, Batch, Distilled, Episodic, Mixed, OnBatch, fit
from tests.steps.test_plain import SHORT, drawn, network

WAYS = ["scores", "embeddings", "relations"]
each_way = pytest.mark.parametrize("by", WAYS)


def conv(seed=0, channels=8):
    """With batch norm and dropout, whose buffers and draws would tell if a teacher were trained."""
    torch.manual_seed(seed)
    return PrototypicalNetwork(nn.Sequential(Conv4(channels), nn.Dropout(0.5)))


def teachers():
    return {
        "network": conv(1),
        "ensemble": PrototypicalNetwork(Ensemble([Conv4(4), Conv4(4)])),
        "test-time augmentation": PrototypicalNetwork(TestTimeAugmentation(Conv4(8), copies=2)),
        "relation": RelationNetwork(Conv4(8), VectorRelation(8)),
        "classifier": LogisticRegression(Conv4(8), steps=3),
    }


@each_way
@pytest.mark.parametrize("name", teachers())
def test_nothing_of_the_teacher_changes_and_its_weights_are_not_trained(tiny, name, by):
    teacher = teachers()[name]
    teacher.train()
    before, modes = copy.deepcopy(teacher.state_dict()), [m.training for m in teacher.modules()]
    step = Distilled(losses.SupConLoss(), teacher, by)
    kept = copy.deepcopy(step.teacher.model.state_dict())
    fit(conv(), tiny, step, **SHORT | {"episodes": 3})
    for state, was in ((teacher.state_dict(), before), (step.teacher.model.state_dict(), kept)):
        assert state.keys() == was.keys() and all(torch.equal(state[key], was[key]) for key in was)
    assert modes == [m.training for m in teacher.modules()]
    assert not any(m.training for m in step.teacher.model.modules())
    assert not list(step.parameters()) and not step.state_dict()
    assert all(w.grad is None for model in (teacher, step.teacher.model) for w in model.parameters())
    assert all(w.requires_grad for w in teacher.parameters())


@each_way
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("step", [None, losses.SupConLoss()], ids=["episodic", "on the batch"])
def test_the_loss_is_the_step_s_own_and_the_teacher_s_in_their_weights(tiny, by, weight, step):
    model, teacher = network(), conv(3)
    found = Distilled(step, teacher, by, weight, temperature=3.0).step(model, drawn(tiny))
    batch = drawn(tiny)
    own = (Episodic() if step is None else OnBatch(step)).step(model, batch)
    teacher.eval()
    student, told = model.embed(batch.images), teacher.embed(batch.images)
    if by == "scores":
        labels, of_queries = batch.episode.support_labels, slice(len(batch.episode.support), None)
        ours, theirs = (
            method.compare(x[: of_queries.start], labels, x[of_queries])
            for method, x in ((model, student), (teacher, told))
        )
        learned = F.kl_div((ours / 3).log_softmax(1), (theirs / 3).softmax(1), reduction="batchmean") * 9
    else:
        learned = getattr(distillation, by)(student, told)
    torch.testing.assert_close(found, (1 - weight) * own + weight * learned)
    found.backward()
    assert all(w.grad.isfinite().all() for w in model.parameters())


@each_way
def test_who_is_the_teacher_has_nothing_to_learn(tiny, by):
    model = network().eval()
    loss = Distilled(None, model, by, weight=1.0).step(model, drawn(tiny))
    loss.backward()
    assert loss < 1e-6 and all(w.grad.abs().max() < 1e-4 for w in model.parameters())


@pytest.mark.parametrize("by", ["scores", "relations"])
def test_a_student_of_another_size_comes_nearer_to_its_teacher(tiny, by):
    teacher = PrototypicalNetwork(nn.Sequential(nn.Flatten(), nn.Linear(784, 20)))
    fit(teacher, tiny, **SHORT | {"episodes": 40})
    history = fit(network(), tiny, Distilled(None, teacher, by, weight=1.0), **SHORT | {"episodes": 60})
    assert sum(history.loss[-10:]) < 0.7 * sum(history.loss[:10])


def test_teacher_and_student_see_the_same_pictures(tiny):
    seen = []

    class Watching(PrototypicalNetwork):
        def embed(self, images):
            seen.append(images)
            return super().embed(images)

    watching = Watching(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))
    torch.manual_seed(0)
    for step in (Augmented(None, lambda images: images + torch.rand_like(images)), Mixed()):
        seen.clear()
        batch, plain = drawn(tiny), drawn(tiny).images
        Distilled(step, watching, "scores").step(watching, batch)
        student, teacher = seen
        assert torch.equal(student, teacher) and torch.equal(student, batch.images)
        assert not torch.equal(student, plain)


def test_a_step_that_does_not_embed_the_batch_is_distilled_too(tiny):
    class Own:
        def step(self, model, batch):
            return model.embed(2 * batch.images).square().mean()

    for by in WAYS:
        assert Distilled(Own(), conv(1), by).step(network(), drawn(tiny)).requires_grad


@pytest.mark.parametrize("outer", [False, True])
def test_weights_of_the_loss_within_are_trained(tiny, outer):
    inner = losses.SoftmaxLoss(8, 8)
    before = inner.weight.detach().clone()
    step = Distilled(inner, conv(1))
    fit(network(), tiny, Augmented(step, torch.relu) if outer else step, **SHORT)
    assert not torch.equal(inner.weight, before)


def test_a_run_goes_on_with_its_teacher_and_with_no_other(tiny, tmp_path):
    path = tmp_path / "run.pt"
    settings = SHORT | {"checkpoint": path}
    history = fit(conv(), tiny, Distilled(None, conv(1)), **settings)
    assert fit(conv(), tiny, Distilled(None, conv(1)), **settings).loss == history.loss
    for other, says in [
        (Distilled(None, conv(2)), "step.teacher.digest was .* and is now"),
        (Distilled(None, conv(1, channels=4)), "step.teacher"),
        (Distilled(None, PrototypicalNetwork(TestTimeAugmentation(Conv4(8)))), "step.teacher"),
        (Distilled(None, conv(1), "relations"), "step.by was scores and is now relations"),
        (Distilled(None, conv(1), weight=0.4), "step.weight was 0.5 and is now 0.4"),
        (Episodic(), "belongs to another training"),
    ]:
        with pytest.raises(ValueError, match=says):
            fit(conv(), tiny, other, **settings)


def test_a_teacher_that_is_the_model_is_the_model_as_it_was(tiny):
    model = network()
    step = Distilled(None, model)
    fit(model, tiny, step, **SHORT)
    fresh = network()
    assert not torch.equal(model.feature_extractor[1].weight, fresh.feature_extractor[1].weight)
    assert torch.equal(step.teacher.model.feature_extractor[1].weight, fresh.feature_extractor[1].weight)


def test_embeddings_in_bfloat16_are_distilled_in_float32(tiny):
    batch = drawn(tiny)
    batch = Batch(batch.images, batch.labels, batch.episode, bfloat16=True)
    for by in WAYS:
        loss = Distilled(losses.SupConLoss(), conv(1), by).step(conv(), batch)
        assert loss.dtype == torch.float32 and loss.isfinite()


@each_way
def test_a_teacher_that_remembers_says_what_it_would_say_if_asked(tiny, by):
    model, teacher = network(), conv(3)
    asked = Distilled(None, teacher, by).step(model, drawn(tiny))
    step = Distilled(None, teacher, by, remembered=embed_all(teacher, tiny))
    torch.testing.assert_close(step.step(model, drawn(tiny)), asked, rtol=1e-4, atol=1e-6)


def test_a_teacher_that_remembers_does_not_look_again(tiny):
    """Of a picture that is bent since, it says what it said of the picture as it was."""
    model, teacher, batch = network(), conv(3), drawn(tiny)
    step = Distilled(None, teacher, "relations", weight=1.0, remembered=embed_all(teacher, tiny))
    expected = distillation.relations(model.embed(batch.images.flip(-1)), teacher.eval().embed(batch.images))
    batch.images = batch.images.flip(-1)
    torch.testing.assert_close(step.step(model, batch), expected, rtol=1e-4, atol=1e-6)


def test_a_teacher_that_saw_fewer_images_is_said(tiny):
    step = Distilled(None, conv(3), remembered=embed_all(conv(3), tiny)[:2])
    with pytest.raises(ValueError, match=r"remembers 2 images, but is asked of image \d+; it must have seen those"):
        step.step(network(), drawn(tiny))


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(teacher=Conv4(8)), r"A teacher is a method .* got a Conv4; methods\.PrototypicalNetwork\(network\)"),
        (dict(by="logits"), "by must be \"scores\", \"embeddings\" or \"relations\", but is 'logits'"),
        (dict(weight=1.5), "between 0 and 1, but is 1.5"),
        (dict(weight=math.nan), "between 0 and 1, but is nan"),
        (dict(temperature=0), "The temperature must be above zero"),
        (dict(remembered=torch.zeros(3)), r"an embedding for each image, floats \(images, d\), but this is .* \(3,\)"),
        (dict(remembered=torch.zeros(3, 2).long()), "floats .*, but this is torch.int64"),
    ],
)
def test_settings_make_sense(options, says):
    with pytest.raises(ValueError, match=says):
        Distilled(None, **{"teacher": network()} | options)


def test_teacher_and_student_that_do_not_go_together_are_said(tiny):
    teacher = conv(1, channels=5)
    with pytest.raises(ValueError, match=r"in 8 dimensions and the teacher in 5, .* by distillation\.relations"):
        Distilled(None, teacher, "embeddings").step(network(), drawn(tiny))

    class Odd(PrototypicalNetwork):
        def compare(self, support, support_labels, query):
            return super().compare(support, support_labels, query)[:, :-1]

    with pytest.raises(ValueError, match=r"over the same classes, .* shapes \(8, 4\) and \(8, 3\)"):
        Distilled(None, Odd(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))).step(network(), drawn(tiny))
    with pytest.raises(ValueError, match="No scores can be taught to LogisticRegression over Conv4: they carry no"):
        Distilled(losses.SupConLoss(), teacher).step(LogisticRegression(Conv4(8), steps=3), drawn(tiny))


def test_a_loss_for_too_few_classes_is_found_within(tiny):
    with pytest.raises(ValueError, match="SoftmaxLoss is for 7 classes, but Tiny has 8"):
        fit(network(), tiny, Distilled(losses.SoftmaxLoss(7, 8), network()), **SHORT)
