"""Episodes keep their promises in every setting, and depend on the seed and their number alone."""

import numpy as np
import pytest
import torch

from fslib.episodes import Episode, EpisodeSampler

LABELS = torch.arange(10).repeat(20)


def parts(episode: Episode):
    return episode.classes, episode.support, episode.query


def same(a: Episode, b: Episode) -> bool:
    return all(torch.equal(p, q) for p, q in zip(parts(a), parts(b)))


@pytest.mark.parametrize("seed", range(40))
def test_every_episode_is_well_formed(seed):
    random = np.random.default_rng(seed)
    way, shot, query = random.integers(1, 6, 3)
    classes = random.choice(2000, way + random.integers(4), replace=False) - 1000
    sizes = shot + query + random.integers(0, 5, len(classes))  # classes of different sizes
    labels = torch.from_numpy(random.permutation(np.repeat(classes, sizes)))
    sampler = EpisodeSampler(labels, way, shot, query, episodes=15, seed=seed)
    assert len(list(sampler)) == len(sampler) == 15
    for episode in sampler:
        drawn = episode.classes.tolist()
        assert (episode.way, episode.shot) == (way, shot)
        assert len(set(drawn)) == way
        assert len({*episode.support.tolist(), *episode.query.tolist()}) == way * (shot + query)
        assert labels[episode.support].tolist() == [c for c in drawn for _ in range(shot)]
        assert labels[episode.query].tolist() == [c for c in drawn for _ in range(query)]
        assert episode.support_labels.tolist() == [i for i in range(way) for _ in range(shot)]
        assert episode.query_labels.tolist() == [i for i in range(way) for _ in range(query)]


def test_same_seed_gives_the_same_episodes():
    assert all(same(a, b) for a, b in zip(EpisodeSampler(LABELS, seed=3), EpisodeSampler(LABELS, seed=3)))


def test_another_seed_gives_other_episodes():
    first, second = (EpisodeSampler(LABELS, episodes=100, seed=seed) for seed in (0, 1))
    assert not any(same(a, b) for a, b in zip(first, second))


def test_episodes_of_a_sampler_differ():
    sampler = EpisodeSampler(LABELS, episodes=200)
    assert len({tuple(episode.support.tolist()) for episode in sampler}) > 190


@pytest.mark.parametrize("start, stop", [(0, 30), (7, 19), (-5, 30), (3, 4)])
def test_a_slice_stacks_single_episodes(start, stop):
    sampler = EpisodeSampler(LABELS, 4, 2, 3, episodes=30)
    stack, singles = sampler[start:stop], [sampler[i] for i in range(*slice(start, stop).indices(30))]
    for stacked, alone in zip(parts(stack), zip(*map(parts, singles))):
        assert torch.equal(stacked, torch.stack(alone))


def test_negative_index_counts_from_the_end():
    sampler = EpisodeSampler(LABELS, episodes=30)
    assert same(sampler[-1], sampler[29])


def test_an_episode_depends_on_no_other():
    long, short = EpisodeSampler(LABELS, episodes=5000), EpisodeSampler(LABELS, episodes=10)
    long[4321]
    assert same(long[9], short[9])


def test_global_random_state_is_neither_read_nor_moved():
    sampler, drawn = EpisodeSampler(LABELS), []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        drawn.append(sampler[5])
        assert torch.equal(before[0], torch.get_rng_state())
        assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert same(*drawn)


def test_classes_and_examples_are_drawn_evenly():
    sizes = np.array([3, 3, 4, 5, 6, 7, 8, 9, 9, 12])
    labels = np.repeat(np.arange(10), sizes)
    episodes = EpisodeSampler(labels, way=3, shot=1, query=2, episodes=4000)[:]
    for drawn, chance in [
        (episodes.classes, np.full(10, 0.3)),
        (episodes.support, 0.3 * 1 / sizes[labels]),
        (episodes.query, 0.3 * 2 / sizes[labels]),
    ]:
        count = np.bincount(drawn.flatten(), minlength=len(chance))
        spread = np.sqrt(4000 * chance * (1 - chance))
        assert (abs(count - 4000 * chance) < 4.5 * spread).all()


def test_labels_may_be_any_numbers_in_any_order():
    labels = torch.tensor([900, -7, 900, 31, -7, 31, 900, -7, 31])
    episode = EpisodeSampler(labels, way=3, shot=1, query=2, episodes=1)[0]
    assert set(episode.classes.tolist()) == {900, -7, 31}
    assert labels[episode.support].tolist() == episode.classes.tolist()


def test_a_data_set_stands_for_its_labels(tiny):
    assert same(EpisodeSampler(tiny, query=5)[0], EpisodeSampler(tiny.labels, query=5)[0])


def test_seed_and_index_may_be_numpy_integers():
    assert same(EpisodeSampler(LABELS, seed=np.int64(3))[np.int32(2)], EpisodeSampler(LABELS, seed=3)[2])


def test_way_beyond_the_classes_is_refused():
    with pytest.raises(ValueError, match="11-way episode needs 11 classes, but the data set has 10"):
        EpisodeSampler(LABELS, way=11)


def test_more_examples_than_the_smallest_class_are_refused():
    labels = torch.cat([LABELS, torch.full((7,), 99)])
    with pytest.raises(ValueError, match="make 8 of each class, but class 99 has only 7"):
        EpisodeSampler(labels, shot=3, query=5)


@pytest.mark.parametrize("name", ["way", "shot", "query", "episodes"])
def test_zero_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, but is 0"):
        EpisodeSampler(LABELS, **{name: 0})


@pytest.mark.parametrize("index", [30, -31])
def test_index_out_of_range_is_refused(index):
    with pytest.raises(IndexError, match=f"Episode {index} was asked for, but the sampler holds 30"):
        EpisodeSampler(LABELS, episodes=30)[index]
