"""With nothing to say, FiLM is the plain network, bit by bit; and what it says comes from the support set alone."""

import pytest
import torch
from torch import nn

from fslib.backbones import Conv4
from fslib.methods import FiLMNetwork, PrototypicalNetwork
from fslib.training import fit

LABELS = torch.tensor([4, 9, 4, 1, 9, 1])


def network(**options):
    torch.manual_seed(0)
    return FiLMNetwork(Conv4(8, pools=3, pooling="none"), channels=8, hidden=5, **options).eval()


@pytest.fixture
def model():
    """With something to say."""
    model = network(temperature=2.0)
    with torch.no_grad():
        model.gamma.normal_()
        model.beta.normal_()
    return model


def images(n, seed):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_as_it_begins_it_is_the_prototypical_network_bit_by_bit():
    model, plain = network(), PrototypicalNetwork(Conv4(8)).eval()
    plain.feature_extractor.load_state_dict(model.feature_extractor.state_dict())
    episode = images(6, 0), LABELS, images(7, 1)
    assert torch.equal(model(*episode), plain(*episode))


@torch.no_grad()
def test_scores_are_those_of_a_loop_over_channels(model):
    support, query = model.embed(images(6, 0)), model.embed(images(7, 1))
    means = torch.stack([support[LABELS == c].mean((0, 2, 3)) for c in (1, 4, 9)])
    hidden = (model.generator[0].weight @ means.mean(0) + model.generator[0].bias).clamp_min(0)
    said = model.generator[2].weight @ hidden + model.generator[2].bias

    def embedded(maps):
        found = torch.empty(len(maps), 8)
        for c in range(8):
            modulated = (1 + model.gamma[c] * said[c]) * maps[:, c] + model.beta[c] * said[8 + c]
            found[:, c] = modulated[:, :2, :2].amax((1, 2)).clamp_min(0)
        return found

    centers = torch.stack([embedded(support)[LABELS == c].mean(0) for c in (1, 4, 9)])
    expected = -(embedded(query)[:, None] - centers).square().sum(2) / 2
    torch.testing.assert_close(model.compare(support, LABELS, query), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_episodes_and_queries_do_not_see_each_other(model):
    support, query = (model.embed(images(4 * n, n)).unflatten(0, (2, 2, n)) for n in (6, 7))
    scores = model.compare(support, LABELS, query)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        torch.testing.assert_close(scores[i, j], model.compare(support[i, j], LABELS, query[i, j]))
        torch.testing.assert_close(scores[i, j, 3:4], model.compare(support[i, j], LABELS, query[i, j, 3:4]))
    assert not torch.equal(*model.modulation(support[:, 0], LABELS)[0])


def test_training_gives_it_something_to_say(tiny):
    model = network()
    fit(model, tiny, way=4, shot=1, query=4, episodes=6, progress=False, device="cpu", bfloat16=False)
    assert model.gamma.abs().max() > 0 and model.beta.abs().max() > 0


def test_scores_are_in_full_precision_under_autocast(model):
    support, query = (model.embed(images(n, n)).detach().bfloat16() for n in (6, 7))
    expected = model.compare(support.float(), LABELS, query.float())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model.compare(support, LABELS, query), expected)


@pytest.mark.parametrize("extractor", [Conv4(8), Conv4(8, pooling="none"), Conv4(4, pools=3, pooling="none")])
def test_what_is_no_maps_of_its_channels_is_refused(extractor):
    with pytest.raises(ValueError, match=r"maps \(n, 8, h, w\) of 2 × 2 locations or more, as Conv4"):
        FiLMNetwork(extractor, channels=8)(images(6, 0), LABELS, images(2, 1))


@pytest.mark.parametrize("options", [dict(channels=0), dict(hidden=0), dict(temperature=-1)])
def test_a_setting_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match="must be"):
        FiLMNetwork(nn.Identity(), **options)
