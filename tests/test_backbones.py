"""Conv4 is the network of the papers, and says what it takes."""

import copy
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from fslib import metrics
from fslib.backbones import Conv4, Ensemble, FrozenConv4, Pretrained, ResNet12
from fslib.methods import ConvRelation, VectorRelation
from tests.pretend_gpu import MISSING, pretend_gpu


@pytest.mark.parametrize("side, expected", [(16, 64), (28, 64), (32, 256), (84, 1600)])
def test_embedding_grows_with_the_picture(side, expected):
    assert Conv4()(torch.zeros(2, 1, side, side)).shape == (2, expected)


def test_channels_are_as_asked():
    assert Conv4(channels=8, in_channels=3)(torch.zeros(2, 3, 28, 28)).shape == (2, 8)


def test_has_as_many_weights_as_the_paper_counts():
    assert sum(weights.numel() for weights in Conv4().parameters()) == 111_936


def test_is_the_network_of_the_papers_to_the_last_bit_and_gradient():
    """They put the ReLU before the pooling."""
    torch.manual_seed(0)
    network = Conv4(channels=8)
    ours, theirs = (torch.rand(5, 1, 28, 28, requires_grad=leaf) for leaf in (True, True))
    theirs.data.copy_(ours.data)
    maps = theirs
    for block in list(network)[:4]:
        convolution, norm = block[:2]
        maps = F.max_pool2d(norm(convolution(maps)).relu(), 2)
    embeddings = network(ours)
    assert torch.equal(embeddings, maps.flatten(1))
    towards = torch.randn_like(embeddings)
    gradients = [
        torch.autograd.grad(out, [image, *network.parameters()], towards)
        for out, image in [(embeddings, ours), (maps.flatten(1), theirs)]
    ]
    assert all(map(torch.equal, *gradients))


def test_unit_embeddings_keep_their_direction():
    torch.manual_seed(0)
    free, unit = Conv4(channels=8), Conv4(channels=8, normalize=True)
    unit.load_state_dict(free.state_dict())
    images = torch.rand(6, 1, 28, 28)
    with torch.no_grad():
        embeddings, directions = free(images), unit(images)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(directions * embeddings.norm(dim=1, keepdim=True), embeddings)


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 15, 28), (2, 1, 28, 15), (1, 28, 28), (28, 28)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"Conv4 takes images of shape \(n, 1, height, width\)") as raised:
        Conv4()(torch.zeros(shape))
    assert str(shape) in str(raised.value)


def test_training_leaves_a_frozen_network_as_it_is():
    torch.manual_seed(0)
    network = FrozenConv4(channels=8).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    embeddings = network(torch.rand(6, 1, 28, 28))
    assert not embeddings.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("pools, side", [(4, 1), (3, 3), (2, 7), (1, 14)])
def test_maps_keep_their_places(pools, side):
    network = Conv4(channels=8, pools=pools, pooling="none")
    maps = network(torch.rand(2, 1, 28, 28))
    assert maps.shape == (2, 8, side, side)
    flat = Conv4(channels=8, pools=pools)
    flat.load_state_dict(network.state_dict())
    assert torch.equal(flat.train()(torch.ones(2, 1, 28, 28)), network(torch.ones(2, 1, 28, 28)).flatten(1))


def test_unit_maps_have_length_one_at_every_place():
    maps = Conv4(channels=8, pools=3, pooling="none", normalize=True)(torch.rand(2, 1, 28, 28))
    torch.testing.assert_close(maps.norm(dim=1), torch.ones(2, 3, 3))


@pytest.mark.parametrize("pools", [0, 5])
def test_impossible_pools_are_refused(pools):
    with pytest.raises(ValueError, match=f"one to four can halve the picture, not {pools}"):
        Conv4(pools=pools)


def test_resnet12_has_the_size_that_is_known():
    weights = sum(w.numel() for w in ResNet12(in_channels=3).parameters())
    ins, outs = (3, 64, 160, 320), (64, 160, 320, 640)
    expected = sum(9 * (a * b + 2 * b * b) + a * b + 8 * b for a, b in zip(ins, outs))
    assert weights == expected and round(weights / 1e6, 1) == 12.4


def test_resnet12_embeds_and_learns():
    network = ResNet12((4, 8, 8, 16))
    embeddings = network(torch.rand(3, 1, 28, 28))
    assert embeddings.shape == (3, 16)
    embeddings.square().sum().backward()
    assert all(w.grad.isfinite().all() for w in network.parameters())
    with pytest.raises(ValueError, match="ResNet12 takes images of shape"):
        network(torch.rand(3, 3, 28, 28))


def test_resnet12_can_embed_on_the_unit_sphere():
    plain, unit = ResNet12((4, 8, 8, 16)).eval(), ResNet12((4, 8, 8, 16), normalize=True).eval()
    unit.load_state_dict(plain.state_dict())
    images = torch.rand(3, 1, 28, 28)
    embeddings = plain(images)
    torch.testing.assert_close(unit(images), embeddings / embeddings.norm(dim=1, keepdim=True))


def test_resnet12_can_give_its_maps():
    images = torch.rand(3, 1, 28, 28)
    maps, flat, mean = (
        ResNet12((4, 8, 8, 16), pools=2, pooling=pooling).eval() for pooling in ("none", "flatten", "mean")
    )
    for network in (flat, mean):
        network.load_state_dict(maps.state_dict())
    assert maps(images).shape == (3, 16, 7, 7)
    assert torch.equal(flat(images), maps(images).flatten(1))
    torch.testing.assert_close(mean(images), maps(images).mean((2, 3)))
    with pytest.raises(ValueError, match="one to four can halve the picture, not 5"):
        ResNet12(pools=5)


def test_the_cosine_of_an_ensemble_is_the_mean_of_its_members():
    torch.manual_seed(0)
    members = [Conv4(channels=4), Conv4(channels=6, normalize=True), ResNet12((2, 2, 2, 3), pooling="flatten")]
    images = torch.rand(5, 1, 28, 28)
    joined = Ensemble(members).eval()(images)
    torch.testing.assert_close(joined.norm(dim=1), torch.ones(5))
    cosines = [metrics.cosine_similarity(*[member.eval()(images)] * 2) for member in members]
    torch.testing.assert_close(metrics.cosine_similarity(joined, joined), torch.stack(cosines).mean(0))


class _Answer(nn.Module):
    """Embeddings that are known, whatever the images."""

    def __init__(self, embeddings):
        super().__init__()
        self.embeddings = embeddings

    def forward(self, images):
        return self.embeddings


def test_the_maps_of_an_ensemble_lie_place_on_place():
    torch.manual_seed(0)
    maps = torch.rand(2, 4, 3, 7, 7)  # of two members
    joined = Ensemble([_Answer(each.flatten(1)) for each in maps])(torch.empty(4, 1))
    both = torch.cat([F.normalize(each.flatten(1), dim=1).view_as(each) for each in maps], 1)
    torch.testing.assert_close(joined.view_as(both), both / 2**0.5)


def test_an_ensemble_needs_a_member():
    with pytest.raises(ValueError, match="needs at least one member"):
        Ensemble([])


def test_pretrained_gives_what_torchvision_gives_before_its_last_layer():
    torch.manual_seed(0)
    network = Pretrained("resnet18", weights=None, side=64).eval()
    whole = models.resnet18().eval()
    whole.load_state_dict(network.network.state_dict(), strict=False)
    images = torch.rand(2, 1, 64, 64)
    normalise = models.ResNet18_Weights.DEFAULT.transforms()
    paper = (1 - images).expand(-1, 3, -1, -1)
    paper = (paper - torch.tensor(normalise.mean)[:, None, None]) / torch.tensor(normalise.std)[:, None, None]
    with torch.no_grad():
        embeddings = network(images)
        assert embeddings.shape == (2, 512)
        torch.testing.assert_close(whole.fc(embeddings), whole(paper), rtol=1e-3, atol=1e-4)


def test_pretrained_sees_photographs_as_they_are():
    torch.manual_seed(0)
    ink = Pretrained("resnet18", weights=None, side=32).eval()
    photographs = Pretrained("resnet18", weights=None, side=32, photographs=True).eval()
    photographs.load_state_dict(ink.state_dict())
    images = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(photographs(images), ink(1 - images), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="photographs must be True or False"):
        Pretrained(weights=None, photographs="yes")


def test_pretrained_without_a_network_says_where_to_put_the_weights(monkeypatch):
    def offline(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", offline)
    says = r"could not be downloaded .* put resnet18-\w+\.pth into .*weights=None"
    with pytest.raises(FileNotFoundError, match=says):
        Pretrained("resnet18")


def test_pretrained_refuses_what_torchvision_does_not_know():
    with pytest.raises(ValueError, match="torchvision has no model 'resnet17'"):
        Pretrained("resnet17")
    with pytest.raises(ValueError, match="resnet18 has no weights 'BEST'"):
        Pretrained("resnet18", weights="BEST")


# Settings and inputs ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2.5, "64", 0, -1, None, True, [64]], ids=repr)
@pytest.mark.parametrize(
    "build, name",
    [
        (lambda n: Conv4(channels=n), "channels"),
        (lambda n: Conv4(in_channels=n), "in_channels"),
        (lambda n: ResNet12((4, n, 4, 4)), "Each of the widths"),
        (lambda n: ResNet12(in_channels=n), "in_channels"),
        (lambda n: Pretrained(weights=None, side=n), "side"),
        (lambda n: VectorRelation(n), "dim"),
        (lambda n: VectorRelation(hidden=n), "hidden"),
        (lambda n: ConvRelation(n), "channels"),
        (lambda n: ConvRelation(hidden=n), "hidden"),
    ],
)
def test_numbers_of_things_are_whole(build, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, at least 1, but is "):
        build(value)


@pytest.mark.parametrize("pools", [3.5, "3", None, -1, True])
@pytest.mark.parametrize("build", [Conv4, ResNet12])
def test_pools_are_one_to_four(build, pools):
    with pytest.raises(ValueError, match="one to four can halve the picture, not"):
        build(pools=pools)


@pytest.mark.parametrize("widths", [(4, 4, 4), (4,) * 5, 64, "4444", None], ids=repr)
def test_widths_are_four(widths):
    with pytest.raises(ValueError, match="widths must be the channels of four blocks"):
        ResNet12(widths)


def test_a_flag_is_true_or_false():
    for build in (Conv4, ResNet12):
        with pytest.raises(ValueError, match="normalize must be True or False, but is 'no'"):
            build(normalize="no")


@pytest.mark.parametrize("pooling", ["max", True, None])
@pytest.mark.parametrize("build", [Conv4, ResNet12])
def test_poolings_are_known(build, pooling):
    with pytest.raises(ValueError, match=f"pooling must be one of 'flatten', 'mean', 'none', but is {pooling!r}"):
        build(pooling=pooling)


@pytest.mark.parametrize(
    "build, former, now",
    [
        (Conv4, dict(unit=True), dict(normalize=True)),
        (Conv4, dict(maps=True), dict(pooling="none")),
        (Conv4, dict(maps=False), dict(pooling="flatten")),
        (ResNet12, dict(unit=True), dict(normalize=True)),
        (ResNet12, dict(mean=False), dict(pooling="flatten")),
    ],
)
def test_former_options_work_and_say_so(build, former, now):
    (option,) = now
    with pytest.warns(FutureWarning, match=option):
        network = build(**former)
    assert network.config == build().config | now
    with pytest.raises(ValueError, match=f"is the former name of {option}; give one of them"):
        build(**former, **now)


def test_former_options_work_together():
    with pytest.warns(FutureWarning):
        assert Conv4(unit=True, maps=True).config == Conv4(normalize=True, pooling="none").config
    with pytest.raises(ValueError, match="pooling must be one of"), pytest.warns(FutureWarning):
        Conv4(maps=[1])


def test_numbers_of_numpy_will_do():
    assert Conv4(np.int64(4), np.int32(1), pools=np.int8(2), normalize=np.True_).config["channels"] == 4
    assert ResNet12(list(np.array([2, 2, 2, 3])))(torch.rand(2, 1, 16, 16)).shape == (2, 3)


@pytest.mark.parametrize("members", [Conv4(4), None, 3, {"a": Conv4(4)}], ids=lambda m: type(m).__name__)
def test_an_ensemble_takes_a_list(members):
    with pytest.raises(ValueError, match="built of a list of networks, but got a"):
        Ensemble(members)


def test_members_of_an_ensemble_are_networks_that_give_the_like():
    with pytest.raises(ValueError, match="are networks, but one is a type"):
        Ensemble([Conv4(4), Conv4])
    for other in (Conv4(4, pools=3, pooling="none"), Conv4(4)):
        with pytest.raises(ValueError, match=r"maps of one height and width, but give \(2, 4, 7, 7\), \(2, 4"):
            Ensemble([Conv4(4, pools=2, pooling="none"), other])(torch.rand(2, 1, 28, 28))


SMALL = {
    "Conv4": Conv4(4),
    "ResNet12": ResNet12((2, 2, 2, 3)),
    "Pretrained": Pretrained(weights=None, side=32),
}
each_small = pytest.mark.parametrize("name", SMALL)


@each_small
@pytest.mark.parametrize(
    "images",
    [None, np.zeros((2, 1, 28, 28), "f"), torch.zeros(2, 1, 28, 28, dtype=torch.uint8), [[0.0]]],
    ids=["None", "NumPy", "uint8", "list"],
)
def test_what_is_no_network_input_is_refused(name, images):
    with pytest.raises(ValueError, match=f"{name} takes network input, .* fslib.data.to_input makes it of pictures"):
        SMALL[name](images)


@each_small
@torch.no_grad()
def test_other_floats_are_taken_in_the_type_of_the_weights(name):
    torch.manual_seed(0)
    network, images = SMALL[name].eval(), torch.rand(2, 1, 28, 28).half()
    expected = network(images.float())
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        found = network(images.to(dtype))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, network(images.to(dtype).float()))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network(images.double()).float(), expected, rtol=0.1, atol=0.1)
    assert copy.deepcopy(network).double()(images).dtype == torch.float64


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@each_small
@torch.no_grad()
def test_pictures_on_another_device_come_to_the_network(name):
    network = copy.deepcopy(SMALL[name]).eval()
    with pretend_gpu():
        assert network.to("cuda")(torch.rand(2, 1, 28, 28)).device.type == "cuda"


@pytest.mark.parametrize("build", [Conv4, lambda **options: Conv4(pooling="none", pools=3, **options), "ensemble"])
@pytest.mark.parametrize("size", [1e-30, 1e25])
@torch.no_grad()
def test_unit_embeddings_of_any_size_keep_their_direction(build, size):
    embeddings = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Ensemble([_Answer(size * embeddings)])(None), F.normalize(embeddings, dim=1))
    if build != "ensemble":
        network = build(normalize=True).eval()
        expected = network(torch.ones(2, 1, 28, 28))
        for part in network[3][1].weight, network[3][1].bias:
            part.mul_(size)
        torch.testing.assert_close(network(torch.ones(2, 1, 28, 28)), expected)


def test_pretrained_refuses_a_detector_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("fetches"))
    for name in ("fasterrcnn_resnet50_fpn", "deeplabv3_resnet50", None):
        with pytest.raises(ValueError, match=f"torchvision has no model {name!r} that classifies pictures"):
            Pretrained(name, weights=None)


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("name, dim", [("googlenet", 1024), ("inception_v3", 2048)])
def test_networks_with_further_heads_give_embeddings_in_training_too(name, dim):
    with torch.random.fork_rng():
        network = Pretrained(name, weights=None, side=112)
    assert network.train()(torch.rand(2, 1, 28, 28)).shape == (2, dim)
