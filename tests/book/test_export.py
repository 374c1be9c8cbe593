"""The files that the page reads hold the network of the ledger, and what a training that is watched comes to."""

import base64
import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from fslib import load
from fslib.backbones import Conv4, FrozenConv4, ResNet12
from fslib.book import export, ledger
from fslib.book.experiments.kept import trained
from fslib.methods import (
    ConvRelation,
    LogisticRegression,
    MatchingNetwork,
    PrototypicalNetwork,
    RelationNetwork,
    VectorRelation,
)
from fslib.storage import save
from fslib.training import fit
from tests.page import LIVE
from tests.pretend_gpu import MISSING, pretend_gpu

LEDGER_MODELS = ledger.folder() / "omniglot"
LEDGER_MODEL = LEDGER_MODELS / "prototypical-seed0.safetensors"


def blocks(network):
    return list(network.children())[:4]


def lively(network: Conv4) -> Conv4:
    """With batch norms that have seen something."""
    network.train()
    for _ in range(3):
        network(torch.rand(8, 1, 28, 28))
    for block in blocks(network):
        nn.init.normal_(block[1].weight)
        nn.init.normal_(block[1].bias)
    return network.eval()


def test_folding_changes_nothing():
    torch.manual_seed(0)
    network, images = lively(Conv4()), torch.rand(5, 1, 28, 28)
    x = images
    for block in blocks(network):
        x = F.max_pool2d(F.conv2d(x, *export.fold(block), padding=1).relu(), 2)
    torch.testing.assert_close(x.flatten(1), network(images), atol=1e-5, rtol=1e-4)


def test_numbers_are_in_the_order_that_the_page_reads():
    torch.manual_seed(0)
    network = lively(Conv4())
    numbers = np.frombuffer(export.to_bytes(network), "<f2")
    weights, biases = export.fold(network[0])
    first = numbers[:576].reshape(3, 3, 1, 64)
    np.testing.assert_allclose(first[2, 1, 0, 7], weights[7, 0, 2, 1].item(), rtol=1e-3)
    np.testing.assert_allclose(numbers[576:640], biases.detach(), rtol=1e-3, atol=1e-6)
    weights, biases = export.fold(network[3])
    np.testing.assert_allclose(numbers[-64:], biases.detach(), rtol=1e-3, atol=1e-6)
    last = numbers[-64 - 9 * 64 * 64 : -64].reshape(3, 3, 64, 64)
    np.testing.assert_allclose(last[0, 2, 5, 9], weights[9, 5, 0, 2].item(), rtol=1e-3)


def test_relation_module_is_written_layer_by_layer():
    torch.manual_seed(0)
    module = VectorRelation(64, hidden=5)
    nn.init.normal_(module[1].weight)
    module.train()(torch.randn(40, 128))  # a batch norm that has seen something
    module.eval()
    numbers = torch.from_numpy(np.frombuffer(export.to_bytes(module), "<f2").astype(np.float32))
    weights, biases, last, bias = numbers.split([5 * 128, 5, 5, 1])
    pairs = torch.randn(7, 128)
    scores = (pairs @ weights.reshape(5, 128).T + biases).relu() @ last + bias
    torch.testing.assert_close(scores.sigmoid(), module(pairs), atol=2e-3, rtol=0)


def test_relation_module_for_other_embeddings_is_refused():
    with pytest.raises(ValueError, match="embeddings of 64 numbers, but this relation module is for 32"):
        export.to_bytes(VectorRelation(32))


@pytest.mark.parametrize(
    "model, file, size",
    [("prototypical", "conv4", "222,848"), ("relation-frozen", "relation", "16,642")],
)
def test_the_command_writes_what_is_committed(tmp_path, capsys, model, file, size):
    export.main([str(LEDGER_MODELS / f"{model}-seed0.safetensors"), str(tmp_path / "network.bin")])
    assert (tmp_path / "network.bin").read_bytes() == (LIVE / f"{file}.f16.bin").read_bytes()
    assert f"{size} bytes" in capsys.readouterr().out


def test_the_relation_module_was_trained_on_the_embedding_of_the_page():
    shared, own = (
        load(LEDGER_MODELS / f"{name}-seed0.safetensors").feature_extractor
        for name in ("prototypical", "relation-frozen")
    )
    assert export.to_bytes(shared) == export.to_bytes(own)


def test_another_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match="page runs a Conv4"):
        export.to_bytes(nn.Flatten())
    save(PrototypicalNetwork(Conv4(channels=32)), tmp_path / "narrow.safetensors")
    with pytest.raises(SystemExit, match="page runs a Conv4"):
        export.main([str(tmp_path / "narrow.safetensors"), str(tmp_path / "out.bin")])
    assert not (tmp_path / "out.bin").exists()


def test_a_weight_beyond_float16_is_refused():
    network = load(LEDGER_MODEL).feature_extractor
    with torch.no_grad():
        network[0][0].weight[0] = 1e9
    with pytest.raises(ValueError, match="too large for float16"):
        export.to_bytes(network)


def test_a_missing_model_gets_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="no saved classifier"):
        export.main([str(tmp_path / "none.safetensors"), str(tmp_path / "out.bin")])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_any_width_are_written(dtype):
    for network in (Conv4(), VectorRelation(64)):
        wanted = export.to_bytes(network.to(torch.bfloat16).float())
        written = export.to_bytes(network.to(dtype))
        numbers = (np.frombuffer(content, "<f2").astype(np.float32) for content in (wanted, written))
        np.testing.assert_allclose(*numbers, rtol=2e-2, atol=1e-3)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_network_on_a_gpu_is_written():
    for network in (lively(Conv4()), VectorRelation(64)):
        wanted = export.to_bytes(network)
        with pretend_gpu():
            assert export.to_bytes(network.cuda()) == wanted
            network.cpu()


@pytest.mark.parametrize("method", [PrototypicalNetwork, MatchingNetwork, LogisticRegression])
@pytest.mark.parametrize("backbone", [Conv4, FrozenConv4])
def test_the_network_of_any_method_is_written(tmp_path, method, backbone):
    model = method(backbone())
    save(model, tmp_path / "model.safetensors")
    export.main([str(tmp_path / "model.safetensors"), str(tmp_path / "new" / "network.bin")])
    assert (tmp_path / "new" / "network.bin").read_bytes() == export.to_bytes(model.feature_extractor)


@pytest.mark.parametrize(
    "model, says",
    [
        (lambda: PrototypicalNetwork(Conv4(pools=2)), "page runs a Conv4"),
        (lambda: PrototypicalNetwork(Conv4(block="se")), "page runs a Conv4"),
        (lambda: PrototypicalNetwork(ResNet12((2, 2, 2, 2))), "this is a ResNet12"),
        (lambda: RelationNetwork(Conv4(pools=3, pooling="none"), ConvRelation()), "this is a ConvRelation"),
        (lambda: RelationNetwork(Conv4(channels=8), VectorRelation(8)), "embeddings of 64 numbers"),
    ],
)
def test_what_the_page_does_not_run_is_told_with_its_file(tmp_path, model, says):
    save(model(), tmp_path / "other.safetensors")
    with pytest.raises(SystemExit, match=rf"other\.safetensors: .*{says}"):
        export.main([str(tmp_path / "other.safetensors"), str(tmp_path / "out.bin")])
    assert not (tmp_path / "out.bin").exists()


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_is_no_model_is_named(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(SystemExit, match=r"x\.safetensors") as refused:
        export.main([str(path), str(tmp_path / "out.bin")])
    assert "\n" not in refused.value.code and not (tmp_path / "out.bin").exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for target in ("file/out.bin", "folder"):
        with pytest.raises(SystemExit, match=rf"{target} cannot be written: ") as refused:
            export.main([str(LEDGER_MODEL), str(tmp_path / target)])
        assert "\n" not in refused.value.code
    assert not list((tmp_path / "folder").iterdir())


def test_a_model_is_not_written_over(tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(LEDGER_MODEL.read_bytes())
    with pytest.raises(SystemExit, match="named like a model"):
        export.main([str(model), str(model)])
    assert model.read_bytes() == LEDGER_MODEL.read_bytes()


@pytest.mark.parametrize("method", [PrototypicalNetwork, lambda network: RelationNetwork(network, VectorRelation(64))])
def test_a_network_of_a_notebook_is_written_for_the_pad(tmp_path, method):
    """The Conv-4 of any method, or alone, in evaluation or still in training."""
    network = lively(Conv4())
    for number, model in enumerate((method(network), method(network).train(), network)):
        file = tmp_path / f"{number}.f16.bin"
        export.write(model, file)
        assert file.read_bytes() == export.to_bytes(network)


@pytest.mark.parametrize(
    "model, name, says",
    [
        (PrototypicalNetwork(Conv4(channels=32)), "x.f16.bin", "page runs a Conv4"),
        (nn.Flatten(), "x.f16.bin", "page runs a Conv4"),
        (Conv4(), "x.safetensors", "named like a model"),
    ],
)
def test_what_the_pad_does_not_open_is_not_written(tmp_path, model, name, says):
    with pytest.raises(ValueError, match=says):
        export.write(model, tmp_path / name)
    assert not list(tmp_path.iterdir())


# An embedding while it is learned ----------------------------------------------------------------


def test_nearest_neighbours_are_those_of_a_plain_double_loop():
    points = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 4
    right = 0
    for i, point in enumerate(points):
        apart = {j: (point - other).norm().item() for j, other in enumerate(points) if j != i}
        right += labels[min(apart, key=apart.get)].item() == labels[i].item()
    assert export.with_own_nearest(points, labels) == right
    assert 0 < right < 30


def test_the_plane_is_that_of_the_last_embedding_for_all():
    """Its principal components; and neither the scale of an embedding nor its centre plays a part."""
    random = torch.Generator().manual_seed(0)
    first, last = torch.randn(2, 40, 6, generator=random) * torch.arange(1, 7)
    planes = export.in_a_plane([first, 7 * first + 3, last])
    torch.testing.assert_close(planes[0], planes[1], atol=1e-5, rtol=0)
    centred = (last - last.mean(0)).double().numpy()
    centred /= np.linalg.norm(centred, axis=1).mean()
    variances = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    np.testing.assert_allclose(planes[2].square().sum(0), variances[:2], rtol=1e-5)
    moved = np.linalg.lstsq(centred, planes[2].numpy(), rcond=None)[0]
    own = (first - first.mean(0)).double().numpy()
    np.testing.assert_allclose(planes[0], own / np.linalg.norm(own, axis=1).mean() @ moved, atol=1e-5)


def test_to_watch_a_training_changes_nothing(tiny):
    """The same weights come out, and each look sees the model as it is after so many steps, in the mode it was in."""
    settings = dict(way=4, shot=1, query=2, episodes=3, device="cpu", progress=False)
    embeddings, images = [], tiny.inputs(torch.arange(5))

    def look(model, taken):
        assert taken == len(embeddings) and model.training
        embeddings.append(export.embedded(model, images))
        assert model.training

    outcomes = []
    for step in (None, export.Watched(look)):
        torch.manual_seed(0)
        model = PrototypicalNetwork(Conv4(channels=4))
        before = export.embedded(model.eval(), images)
        fit(model, tiny, step, **settings)
        outcomes.append(model.state_dict())
    assert len(embeddings) == 3
    torch.testing.assert_close(embeddings[0], before)
    assert (embeddings[1] - embeddings[0]).abs().max() > 1e-3
    for name, weights in outcomes[0].items():
        assert torch.equal(weights, outcomes[1][name]), name


def test_a_sprite_has_a_row_for_each_character():
    images = torch.arange(2 * 3 * 16, dtype=torch.uint8).reshape(2, 3, 4, 4) * 2
    picture = np.asarray(Image.open(io.BytesIO(export.sprite(images))).convert("L"))
    assert picture.shape == (8, 12)
    assert abs(picture[4:, 8:].astype(int) - images[1, 2].numpy()).max() <= 64


def test_what_the_figure_shows_are_test_images_and_as_good_as_the_kept_network():
    """Another machine rounds otherwise, so the network of the ledger is another one, with some others right."""
    text = (LIVE / "learning_data.mjs").read_text("utf8")
    told = json.loads(text.partition("export default")[2].rstrip(";\n"))
    images, chosen = export.chosen_images()
    labels = images.labels[chosen.flatten()]
    assert told["names"] == [images.class_names[c].capitalize() for c in labels[:: export.IMAGES]]
    drawn = export.sprite(images.images[chosen, 0]), base64.b64decode(told["sprite"].partition(",")[2])
    ours, theirs = (np.asarray(Image.open(io.BytesIO(one)).convert("L")) for one in drawn)
    np.testing.assert_array_equal(ours, theirs)
    assert tuple(told["steps"]) == export.MOMENTS and len(told["nearest"]) == len(export.MOMENTS)
    kept = export.embedded(trained(export.RECIPE), images.inputs(chosen.flatten()))
    assert kept.shape[1] == told["dimensions"]
    assert abs(told["nearest"][-1] - export.with_own_nearest(kept, labels)) <= 6
    assert told["nearest"][-1] > 2 * told["nearest"][0]


@pytest.mark.parametrize("arguments", [["out.mjs"], ["--learning", "model.safetensors", "out.mjs"]])
def test_a_model_is_named_or_trained(arguments, capsys):
    with pytest.raises(SystemExit) as refused:
        export.main(arguments)
    assert refused.value.code == 2 and "give a model, or --learning and none" in capsys.readouterr().err
