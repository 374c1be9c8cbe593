"""Conv4 is the network of the papers, and says what it takes."""

import pytest
import torch

from fslib.backbones import Conv4


@pytest.mark.parametrize("side, expected", [(16, 64), (28, 64), (32, 256), (84, 1600)])
def test_embedding_grows_with_the_picture(side, expected):
    assert Conv4()(torch.zeros(2, 1, side, side)).shape == (2, expected)


def test_channels_are_as_asked():
    assert Conv4(channels=8, in_channels=3)(torch.zeros(2, 3, 28, 28)).shape == (2, 8)


def test_has_as_many_weights_as_the_paper_counts():
    assert sum(weights.numel() for weights in Conv4().parameters()) == 111_936


def test_unit_embeddings_keep_their_direction():
    torch.manual_seed(0)
    free, unit = Conv4(channels=8), Conv4(channels=8, unit=True)
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
