"""A saved classifier comes back the same, or the file is refused in a sentence."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import fslib
from fslib import metrics
from fslib.backbones import Conv4, Ensemble, ResNet12
from fslib.methods import FewShotClassifier, PrototypicalNetwork


@pytest.fixture
def model() -> PrototypicalNetwork:
    torch.manual_seed(0)
    trained = PrototypicalNetwork(Conv4(channels=8, unit=True), metrics.euclidean, temperature=3.0)
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
    members = [Conv4(channels=4), ResNet12((2, 2, 2, 3), mean=False, pools=2)]
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
    with pytest.raises(ValueError, match=r"model\.safetensors is not a classifier that fslib\.save"):
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
