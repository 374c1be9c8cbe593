"""Figures show the pictures, colours and classes that they are given, on whatever device these are."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from fslib.book import plots
from fslib.data import to_input
from fslib.episodes import EpisodeSampler


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def shown(figure):
    """What the pictures of a figure hold, in order."""
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def pictures(*shape):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (5, 28, 28), (1, 1, 40, 60)])
@pytest.mark.parametrize("kind", [lambda x: x, torch.Tensor.numpy, list])
def test_grey_pictures_are_shown_as_ink(shape, kind):
    given = pictures(*shape)
    ink = 1 - given.reshape(len(given), *shape[-2:]).float() / 255
    for one, expected in zip(shown(plots.show_images(kind(given), columns=3)), ink, strict=True):
        np.testing.assert_array_equal(one, expected)


def test_network_input_is_shown_as_it_is():
    inputs = to_input(pictures(4, 1, 28, 28))
    for given in (inputs, inputs.double(), inputs.requires_grad_()):
        for one, expected in zip(shown(plots.show_images(given)), inputs.detach(), strict=True):
            np.testing.assert_array_equal(one, expected[0])


def test_colours_are_shown():
    given = pictures(3, 3, 32, 32)
    for images in (given, 1 - given.float() / 255):
        for one, expected in zip(shown(plots.show_images(images)), given, strict=True):
            np.testing.assert_allclose(one, expected.permute(1, 2, 0) / 255, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 2, 28, 28), (2, 28), (2, 1, 1, 28, 28)])
def test_what_are_no_pictures_is_refused(shape):
    with pytest.raises(ValueError, match=r"A picture has shape \(h, w\), \(1, h, w\) or \(3, h, w\)"):
        plots.show_images(pictures(*shape))


@pytest.mark.parametrize("given, columns", [((0, 1, 28, 28), 3), ((2, 1, 28, 28), 0)])
def test_a_grid_needs_pictures_and_columns(given, columns):
    with pytest.raises(ValueError, match="A grid needs pictures and columns"):
        plots.show_images(pictures(*given), columns=columns)


def test_there_is_a_title_for_each_picture():
    figure = plots.show_images(pictures(2, 1, 28, 28), titles=np.array(["one", "two"]))
    assert [ax.get_title(loc="center") for ax in figure.axes[:2]] == ["one", "two"]
    with pytest.raises(ValueError, match="one title for each of the 2 pictures, but there are 1"):
        plots.show_images(pictures(2, 1, 28, 28), titles=["one"])


def test_an_episode_is_shown_class_by_class(tiny):
    episode = EpisodeSampler(tiny, way=3, shot=2, query=4)[0]
    held = shown(plots.show_episode(tiny, episode, queries=3))
    rows = torch.cat([episode.support.view(3, 2), episode.query.view(3, 4)[:, :3]], 1).flatten()
    for one, expected in zip(held, tiny.images[rows], strict=True):
        np.testing.assert_array_equal(one, 1 - expected[0].float() / 255)
    with pytest.raises(ValueError, match="One episode is shown, but this is a stack"):
        plots.show_episode(tiny, EpisodeSampler(tiny, way=3, query=4)[:2])


@pytest.mark.parametrize("classes", [2, 7, 8, 20, 49])
@pytest.mark.parametrize(
    "kind", [torch.clone, torch.Tensor.numpy, torch.Tensor.tolist, lambda x: [f"{i:02}" for i in x]]
)
def test_regions_of_any_number_of_classes_are_told_apart(classes, kind):
    random = torch.Generator().manual_seed(0)
    means, labels = 2 * torch.randn(classes, 2, generator=random), torch.arange(classes).repeat(3)
    _, ax = plt.subplots()
    plots.show_regions(ax, lambda points: -torch.cdist(points, means), means[labels].requires_grad_(), kind(labels))
    assert len(ax.collections) == classes
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in ax.collections}
    assert len(looks) == classes
    for c, examples in enumerate(ax.collections):
        np.testing.assert_allclose(examples.get_offsets(), means[c].expand(3, 2))
    painted = np.asarray(ax.images[0].get_array())
    assert painted.shape == (161, 241, 3) and 0.75 <= painted.min() <= painted.max() <= 1


def test_a_region_has_the_colour_of_its_examples():
    means = torch.tensor([[-2.0, 0], [2.0, 0]])
    _, ax = plt.subplots()
    plots.show_regions(ax, lambda points: -torch.cdist(points, means), means, torch.tensor([0, 1]))
    painted = np.asarray(ax.images[0].get_array())
    for c, column in enumerate((0, -1)):
        color = matplotlib.colors.to_rgb(plots.COLORS[c])
        np.testing.assert_allclose(painted[:, column], np.broadcast_to(0.75 + 0.25 * np.array(color), (161, 3)))


def test_regions_need_labels():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="Labels must be integers"):
        plots.show_regions(ax, lambda points: points, torch.rand(3, 2), torch.rand(3))
