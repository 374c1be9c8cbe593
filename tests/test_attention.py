"""Attention blocks agree with the libraries' and with their formulas, and drop into both backbones."""

import math

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation as TorchvisionSE

from fslib import attention
from fslib.attention import BLOCKS, CBAM, SelfAttention, SqueezeExcitation
from fslib.backbones import Conv4, ResNet12


def maps(channels=16, side=5):
    return torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_squeeze_excitation_is_torchvisions():
    ours, theirs = SqueezeExcitation(16, reduction=4), TorchvisionSE(16, 4)
    theirs.load_state_dict(
        {key.replace("channel_mlp.0", "fc1").replace("channel_mlp.2", "fc2"): w for key, w in ours.state_dict().items()}
    )
    torch.testing.assert_close(ours(maps()), theirs(maps()))


def test_self_attention_is_the_softmax_over_all_locations():
    block, x = SelfAttention(16, reduction=2), maps()
    nn.init.constant_(block.gamma, 0.7)
    q, k, v = block.qkv(x).flatten(2).split(8, 1)  # (n, 8, locations)
    expected = x.clone().flatten(2)
    for i in range(25):
        weights = torch.stack([(q[:, :, i] * k[:, :, j]).sum(1) for j in range(25)], 1) / math.sqrt(8)
        read = (weights.softmax(1)[:, None] * v).sum(2)
        expected[:, :, i] += 0.7 * (read @ block.proj.weight[:, :, 0, 0].T + block.proj.bias)
    torch.testing.assert_close(block(x), expected.view_as(x), rtol=1e-4, atol=1e-5)


def test_self_attention_starts_by_doing_nothing():
    assert torch.equal(SelfAttention(16)(maps()), maps())


def test_cbam_weighs_channels_then_locations():
    block, x = CBAM(16, reduction=4, kernel=3), maps()
    shared = lambda z: block.channel_mlp(z[..., None, None])[..., 0, 0]  # noqa: E731
    channel = torch.sigmoid(shared(x.mean((2, 3))) + shared(x.amax((2, 3))))
    weighed = channel[..., None, None] * x
    padded = nn.functional.pad(torch.stack([weighed.mean(1), weighed.amax(1)], 1), (1, 1, 1, 1))
    place = torch.zeros(3, 5, 5)
    for i in range(5):
        for j in range(5):
            place[:, i, j] = (padded[:, :, i : i + 3, j : j + 3] * block.spatial.weight[0]).sum((1, 2, 3)).sigmoid()
    torch.testing.assert_close(block(x), weighed * place[:, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("backbone", [lambda **o: Conv4(8, **o), lambda **o: ResNet12((4, 8, 8, 8), **o)])
def test_blocks_drop_in_and_learn(backbone, name):
    torch.manual_seed(0)
    plain, network = backbone(), backbone(block=name)
    images = torch.rand(6, 1, 28, 28)
    assert network(images).shape == plain(images).shape
    assert sum(isinstance(module, BLOCKS[name]) for module in network.modules()) == 4
    network(images).square().sum().backward()
    blocks = [module for module in network.modules() if isinstance(module, BLOCKS[name])]
    assert all(any(w.grad is not None and w.grad.abs().sum() > 0 for w in b.parameters()) for b in blocks)


def test_unknown_block_is_refused():
    with pytest.raises(ValueError, match="no attention block 'sae'; there are 'se', 'cbam', 'self'"):
        attention.block("sae", 8)
    with pytest.raises(ValueError, match="no attention block"):
        ResNet12((4, 8, 8, 8), block="sae")
