"""Episodes keep their promises in every setting, depend on the seed and their number alone, and survive a file."""

import copy
import dataclasses
import functools
import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fslib import episodes
from fslib.data import ImageSet
from fslib.episodes import (
    Episode,
    EpisodeSampler,
    across_domains,
    check_episodes,
    hide_labels,
    unbalanced,
    with_unlabelled,
    within_groups,
)
from fslib.evaluation import evaluate
from fslib.methods import PrototypicalNetwork

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
        assert (episode.way, episode.shot, episode.queries) == (way, shot, query)
        assert len(set(drawn)) == way
        assert len({*episode.support.tolist(), *episode.query.tolist()}) == way * (shot + query)
        assert labels[episode.support].tolist() == [c for c in drawn for _ in range(shot)]
        assert labels[episode.query].tolist() == [c for c in drawn for _ in range(query)]
        assert episode.support_labels.tolist() == [i for i in range(way) for _ in range(shot)]
        assert episode.query_labels.tolist() == [i for i in range(way) for _ in range(query)]


def test_with_groups_an_episode_takes_whole_ones_and_part_of_the_last():
    groups = np.array([*"aaabbbbcccccddddddeeeeeee"])
    labels = 100 + torch.arange(len(groups)).repeat_interleave(4)
    sampler = EpisodeSampler(labels, way=11, shot=1, query=3, episodes=2000, seed=1, groups=groups)
    check_episodes(sampler[:], labels)
    first = []
    for episode in sampler:
        drawn = groups[episode.classes.numpy() - 100]
        first.append(drawn[0])
        order = list(dict.fromkeys(drawn))
        assert drawn.tolist() == sorted(drawn, key=order.index)  # one group after the other
        assert all((drawn == group).sum() == (groups == group).sum() for group in order[:-1])
    assert min(first.count(group) for group in "abcde") > 330  # of 400
    last = [groups[e.classes[-1].item() - 100] == "e" and e.classes[-1].item() - 118 for e in sampler]
    assert {c for c in last if c is not False} == set(range(7))  # any class of a group may be left out


def test_there_is_a_group_for_each_class():
    with pytest.raises(ValueError, match="one group for each of the 10 classes, but there are 3"):
        EpisodeSampler(LABELS, groups=["a", "b", "c"])


def naive(labels, way, shot, query, seed, index, groups=None):
    """One episode, drawn as the sampler says, in Python's own words."""
    random = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index]))
    examples = {c: [i for i, label in enumerate(labels) if label == c] for c in sorted(set(labels))}
    if groups is None:
        rows = random.choice(len(examples), way, replace=False)
    else:
        names = sorted(set(groups))
        turn = random.permutation(len(names))
        place = turn[[names.index(group) for group in groups]] + random.random(len(groups))
        rows = sorted(range(len(groups)), key=place.__getitem__)[:way]
    drawn = [examples[[*examples][row]] for row in rows]
    largest = max(map(len, examples.values()))
    if largest <= 8192:
        keys = random.random((way, largest))
        order = [sorted(range(len(own)), key=keys[k].__getitem__) for k, own in enumerate(drawn)]
    else:
        order = [random.choice(len(own), shot + query, replace=False) for own in drawn]
    drawn = [[own[i] for i in order[k][: shot + query]] for k, own in enumerate(drawn)]
    support = [i for own in drawn for i in own[:shot]]
    return [[*examples][row] for row in rows], support, [i for own in drawn for i in own[shot:]]


@pytest.mark.parametrize("seed", range(24))
def test_draws_are_those_of_a_naive_sampler_and_stay_so(seed):
    random = np.random.default_rng(seed)
    way, shot, query = random.integers(1, 6, 3)
    sizes = shot + query + random.integers(0, random.choice([1, 9, 300]), way + random.integers(4))
    if seed % 8 == 7:
        sizes[0] = random.choice([8192, 8193, 9000])
    classes = random.choice(2000, len(sizes), replace=False) - 1000
    labels = random.permutation(np.repeat(classes, sizes))
    groups = random.choice([*"abc"], len(sizes)).tolist() if seed % 3 == 0 else None
    sampler = EpisodeSampler(labels, way, shot, query, 1000, seed, groups)
    for index in (0, 1, 7, 999):
        expected = naive(labels.tolist(), way, shot, query, seed, index, groups)
        assert [part.tolist() for part in parts(sampler[index])] == [*expected]


def test_a_large_class_costs_no_more_than_its_labels():
    labels = torch.cat([torch.arange(2000).repeat(20), torch.full((200_000,), 2000)])
    sampler = EpisodeSampler(labels, way=5, shot=1, query=15, episodes=200)
    held = sum(part.nbytes for part in vars(sampler).values() if isinstance(part, np.ndarray))
    assert held < 2 * labels.nbytes
    tracemalloc.start()  # NumPy's arrays are counted
    sampler[0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000  # a number for each example of the class would take 1.6 MB
    check_episodes(sampler[:], labels)


def test_examples_of_a_large_class_are_drawn_evenly():
    labels = torch.cat([torch.zeros(10_000), torch.ones(20)]).long()
    stack = EpisodeSampler(labels, way=2, shot=1, query=4, episodes=4000, seed=3)[:]
    for own in (stack.support, stack.query):
        large = own[labels[own] == 0]
        count = torch.histc(large.float(), 10, 0, 10_000)
        assert (count - len(large) / 10).abs().max() < 4.5 * (0.09 * len(large)) ** 0.5
        small = (own[labels[own] == 1] - 10_000).bincount(minlength=20)
        assert (small - small.sum() / 20).abs().max() < 4.5 * (0.0475 * small.sum()) ** 0.5


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


def test_a_stack_gives_its_episodes_back():
    sampler = EpisodeSampler(LABELS, 4, 2, 3, episodes=30)
    stack = sampler[:]
    assert len(stack) == len(list(stack)) == 30
    assert (stack.way, stack.shot, stack.queries) == (4, 2, 3)
    assert all(same(one, drawn) for one, drawn in zip(stack, sampler))
    assert same(stack[7:19], sampler[7:19])


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


@pytest.mark.parametrize(
    "kind",
    [
        list, tuple, np.array, *(lambda x, t=t: np.array(x, t) for t in ("uint8", "uint16", "int32", "uint64")),
        *(lambda x, t=t: torch.tensor(x, dtype=t) for t in (torch.uint8, torch.int16)),
        lambda x: [torch.tensor(i) for i in x],
    ],
)  # fmt: skip
def test_labels_may_be_integers_of_any_kind(kind):
    episode = EpisodeSampler(kind(LABELS.tolist()), episodes=5)[4]
    assert same(episode, EpisodeSampler(LABELS, episodes=5)[4]) and episode.classes.dtype == torch.int64


def test_names_are_numbered_in_sorted_order():
    names = [f"class {c}" for c in LABELS.tolist()]
    for given in (names, np.array(names)):
        assert same(EpisodeSampler(given)[4], EpisodeSampler(LABELS)[4])


@pytest.mark.parametrize(
    "labels", [torch.eye(10).long(), torch.rand(40), torch.arange(40) > 20, None, 3, "names", [], [[1], [2, 3]]]
)
def test_what_are_no_labels_is_refused(labels):
    with pytest.raises(ValueError, match=r"^(Labels|A 5-way episode needs 5 classes)"):
        EpisodeSampler(labels)


def test_groups_may_be_of_any_kind():
    numbers = [3, 3, 1, 1, 1, 9, 9, 3, 1, 9]
    expected = EpisodeSampler(LABELS, groups=numbers)[3]
    for groups in (np.array(numbers, np.uint8), torch.tensor(numbers), tuple(f"group {g}" for g in numbers)):
        assert same(EpisodeSampler(LABELS, groups=groups)[3], expected)
    with pytest.raises(ValueError, match="Groups are given as labels are: Labels must be integers"):
        EpisodeSampler(LABELS, groups=np.random.default_rng(0).random(10))


def test_labels_may_be_any_numbers_in_any_order():
    labels = torch.tensor([900, -7, 900, 31, -7, 31, 900, -7, 31])
    episode = EpisodeSampler(labels, way=3, shot=1, query=2, episodes=1)[0]
    assert set(episode.classes.tolist()) == {900, -7, 31}
    assert labels[episode.support].tolist() == episode.classes.tolist()


def test_a_data_set_stands_for_its_labels(tiny):
    assert same(EpisodeSampler(tiny, query=5)[0], EpisodeSampler(tiny.labels, query=5)[0])


def test_seed_and_index_may_be_numpy_integers():
    assert same(EpisodeSampler(LABELS, seed=np.int64(3))[np.int32(2)], EpisodeSampler(LABELS, seed=3)[2])


@pytest.mark.parametrize("index", [torch.tensor(3), np.uint8(3), np.int64(3), torch.tensor(3, dtype=torch.int16)])
def test_an_index_may_be_a_whole_number_of_any_kind(index):
    sampler = EpisodeSampler(LABELS, episodes=5)
    assert same(sampler[index], sampler[3]) and same(sampler[:][index], sampler[3])
    assert same(sampler[index:], sampler[3:])


@pytest.mark.parametrize("index", [2.0, "3", None, [1, 2], torch.tensor([1, 2]), torch.tensor(2.0)])
def test_what_is_no_index_is_refused(index):
    with pytest.raises(TypeError, match="ask for one by a whole number, or for several by a slice"):
        EpisodeSampler(LABELS)[index]


@pytest.mark.parametrize("name", ["way", "shot", "query", "episodes"])
@pytest.mark.parametrize("wrong", [5.0, True, "5", None, np.float32(2), torch.tensor(2.0), [5]])
def test_what_is_no_whole_number_is_refused(drawn, name, wrong):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, at least 1, but is "):
        EpisodeSampler(LABELS, **{name: wrong})
    if name in ("way", "episodes"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number, at least 1, but is "):
            within_groups(drawn, **{name: wrong})


@pytest.mark.parametrize(
    "seed, message",
    [
        (-1, "must be a whole number, at least 0 and below .*, but is -1"), (2**63, "must be a whole number"),
        (1.0, "must be a whole number, .* but is 1.0"), ("0", "must be a whole number, .* but is '0'"),
        (None, "must be a whole number"), (True, "must be a whole number"),
    ],
)  # fmt: skip
def test_a_seed_is_a_whole_number(drawn, seed, message):
    for make in (lambda: EpisodeSampler(LABELS, seed=seed), lambda: within_groups(drawn, way=5, seed=seed)):
        with pytest.raises(ValueError, match=f"A seed {message}"):
            make()


def test_any_whole_number_is_a_seed():
    """Of those that PyTorch takes too."""
    seeds = [0, 1, 2**32, 2**63 - 1]
    assert len({EpisodeSampler(LABELS, seed=seed)[0] for seed in seeds}) == 4
    torch.Generator().manual_seed(seeds[-1])


# Episodes as values ----------------------------------------------------------------------------------------------


def test_episodes_are_compared_by_what_they_hold():
    sampler, other = EpisodeSampler(LABELS, episodes=9), EpisodeSampler(LABELS, episodes=9, seed=1)
    assert sampler[3] == sampler[3] and not sampler[3] != sampler[3]
    assert sampler[:] == sampler[:] and sampler[:4] != sampler[:5] and sampler[:1] != sampler[0]
    assert sampler[3] != other[3] and sampler[3] != sampler[4] and sampler[3] != "episode" and sampler[3] is not None
    assert sampler[3] in list(sampler) and sampler[3] not in list(other)
    assert sampler[3] == copy.copy(sampler[3]) == pickle.loads(pickle.dumps(sampler[3]))
    small = Episode(*(part.to(torch.int32) for part in parts(sampler[3])))
    assert small == sampler[3] and hash(small) == hash(sampler[3])


@pytest.mark.parametrize("part", ["classes", "support", "query"])
def test_each_part_of_an_episode_counts(part):
    episode = EpisodeSampler(LABELS)[0]
    changed = getattr(episode, part).clone()
    changed[-1] += 1
    assert dataclasses.replace(episode, **{part: changed}) != episode


def test_episodes_may_be_kept_in_a_set():
    sampler = EpisodeSampler(LABELS, episodes=50)
    assert len({*sampler, *sampler}) == 50 and hash(sampler[:]) == hash(sampler[:])


def test_a_single_episode_gives_its_examples_support_first():
    episode = EpisodeSampler(LABELS, way=3, shot=2, query=4)[0]
    assert list(episode) == episode.support.tolist() + episode.query.tolist()
    assert len(episode) == 18 and all(type(i) is int for i in episode)


@pytest.mark.parametrize("index", [0, slice(2), torch.tensor([0, 1]), -1])
def test_a_single_episode_has_no_parts_by_number(index):
    with pytest.raises(TypeError, match=r"single episode.* its parts are classes, support and query"):
        EpisodeSampler(LABELS)[0][index]


def test_a_stack_is_taken_from_by_indices_of_many_kinds():
    stack = EpisodeSampler(LABELS, episodes=9)[:]
    for index in ([4, 0, 4], np.array([4, 0, 4]), torch.tensor([4, 0, 4])):
        assert [*stack[index]] == [stack[4], stack[0], stack[4]]
    assert stack[range(2, 5)] == stack[2:5] and stack[torch.arange(9) > 6] == stack[7:]
    with pytest.raises(IndexError, match="Episode 9 was asked for, but the stack holds 9"):
        stack[9]


def test_stacks_of_stacks_give_stacks():
    stack = EpisodeSampler(LABELS, episodes=6)[:]
    grid = Episode(*(part.unflatten(0, (2, 3)) for part in parts(stack)))
    assert len(grid) == 2 and [*grid] == [stack[:3], stack[3:]] and grid[1, 2] == stack[5]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_makes_the_batches_of_a_loader(tiny, workers):
    sampler = EpisodeSampler(tiny, way=4, shot=2, query=3, episodes=6)
    loader = DataLoader(tiny, batch_sampler=sampler, num_workers=workers)
    batches = list(loader)
    assert len(loader) == len(batches) == 6
    for episode, (images, labels) in zip(sampler, batches):
        support, query = images.split([len(episode.support), len(episode.query)])
        assert torch.equal(support, tiny.inputs(episode.support)) and torch.equal(query, tiny.inputs(episode.query))
        assert torch.equal(labels, tiny.labels[torch.cat([episode.support, episode.query])])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_makes_stacks_of_a_sampler(workers):
    sampler = EpisodeSampler(LABELS, episodes=7)
    assert list(DataLoader(sampler, batch_size=3, num_workers=workers)) == [sampler[:3], sampler[3:6], sampler[6:]]
    assert list(DataLoader(sampler, batch_size=None, num_workers=workers)) == list(sampler)


def test_way_beyond_the_classes_is_refused():
    with pytest.raises(ValueError, match="11-way episode needs 11 classes, but the data set has 10"):
        EpisodeSampler(LABELS, way=11)


def test_more_examples_than_the_smallest_class_are_refused():
    labels = torch.cat([LABELS, torch.full((7,), 99)])
    with pytest.raises(ValueError, match="make 8 of each class, but class 99 has only 7"):
        EpisodeSampler(labels, shot=3, query=5)


@pytest.mark.parametrize("name", ["way", "shot", "query", "episodes"])
def test_zero_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number, at least 1, but is 0"):
        EpisodeSampler(LABELS, **{name: 0})


@pytest.mark.parametrize("index", [30, -31])
def test_index_out_of_range_is_refused(index):
    with pytest.raises(IndexError, match=f"Episode {index} was asked for, but the sampler holds 30"):
        EpisodeSampler(LABELS, episodes=30)[index]


@pytest.fixture
def drawn() -> ImageSet:
    """Three groups of 5, 6 and 9 classes in mixed order, each class once by 7 writers, in mixed order."""
    random = np.random.default_rng(0)
    groups = random.permutation([*"aaaaabbbbbbccccccccc"]).tolist()
    cells = torch.from_numpy(random.permutation(20 * 7))
    labels, writers = cells // 7, 10 * (cells % 7)  # writers need not be numbered without gaps
    names = [f"{group}{c}" for c, group in enumerate(groups)]
    return ImageSet("Drawn", torch.zeros(140, 1, 28, 28, dtype=torch.uint8), labels, names, groups, writers)


def test_within_groups_many_classes_do_not_overflow_small_integers(drawn):
    small = dataclasses.replace(drawn, labels=drawn.labels.to(torch.uint8), domains=drawn.domains.to(torch.uint8))
    assert within_groups(small, way=5, episodes=30) == within_groups(drawn, way=5, episodes=30)


def test_within_groups_groups_and_writers_may_be_named(drawn):
    named = dataclasses.replace(
        drawn, class_groups=np.array(drawn.class_groups), domains=[f"{d:02}" for d in drawn.domains.tolist()]
    )
    assert within_groups(named, way=5, episodes=30) == within_groups(drawn, way=5, episodes=30)


@pytest.mark.parametrize("seed", range(5))
def test_within_groups_one_hand_draws_the_support_and_another_the_queries(drawn, seed):
    stack = within_groups(drawn, way=5, episodes=60, seed=seed)
    check_episodes(stack, drawn.labels)  # no class twice, every example in its place
    assert (len(stack), stack.way, stack.shot, stack.queries) == (60, 5, 1, 1)
    for i, episode in enumerate(stack):
        assert {drawn.class_groups[c] for c in episode.classes} == {"abc"[i % 3]}
        (first,), (second,) = (
            set(drawn.domains[side].tolist()) for side in (episode.support, episode.query)
        )
        assert first != second


def test_within_groups_the_seed_and_the_number_alone_decide(drawn):
    stack = within_groups(drawn, way=5, episodes=60, seed=3)
    assert same(stack, within_groups(drawn, way=5, episodes=60, seed=3))
    assert same(stack[:7], within_groups(drawn, way=5, episodes=7, seed=3))
    other = within_groups(drawn, way=5, episodes=60, seed=4)
    assert not any(same(a, b) for a, b in zip(stack, other))
    assert len({tuple(episode.support.tolist()) for episode in stack}) > 55


def test_within_groups_classes_and_pairs_of_writers_are_drawn_evenly(drawn):
    stack = within_groups(drawn, way=3, episodes=6000)
    # A group has every third episode.
    share = 3 / torch.tensor([drawn.class_groups.count(group) for group in drawn.class_groups])
    first, second = (drawn.domains[side[:, 0]] // 10 for side in (stack.support, stack.query))
    pairs = torch.bincount(7 * first + second, minlength=49)
    for counts, draws, chance in [
        (stack.classes.flatten().bincount(), 2000, share),
        (pairs[pairs > 0], 6000, torch.full((42,), 1 / 42)),
    ]:
        spread = (draws * chance * (1 - chance)).sqrt()
        assert ((counts - draws * chance).abs() < 4.5 * spread).all()


@pytest.mark.parametrize(
    "change, task, message",
    [
        (dict(domains=None), {}, r"Drawn does not tell the group .* \(class_groups and domains\); Omniglot does"),
        (dict(class_groups=()), {}, r"Drawn does not tell the group of each class"),
        (dict(domains=torch.zeros(140).long()), {}, "Drawn has a single writer"),
        ({}, dict(way=6), "6-way episode within a group needs 6 classes of each, but a has only 5"),
        ({}, dict(seed=-1), "seed must be a whole number, at least 0"),
        ({}, dict(way=0), "way must be a whole number, at least 1, but is 0"),
        ({}, dict(episodes=0), "episodes must be a whole number, at least 1, but is 0"),
    ],
)
def test_what_gives_no_episodes_within_groups_is_refused(drawn, change, task, message):
    with pytest.raises(ValueError, match=message):
        within_groups(dataclasses.replace(drawn, **change), **{"way": 5, **task})


@pytest.mark.parametrize("missing, number", [(True, 0), (False, 2)])
def test_a_class_that_a_writer_left_out_or_drew_twice_is_named(drawn, missing, number):
    cell = (drawn.labels == 4) & (drawn.domains == 20)
    kept = torch.arange(140)[~cell] if missing else torch.cat([torch.arange(140), cell.nonzero()[0]])
    parts = {name: getattr(drawn, name)[kept] for name in ("images", "labels", "domains")}
    with pytest.raises(ValueError, match=rf"but {drawn.class_names[4]} has {number} by writer 20\."):
        within_groups(dataclasses.replace(drawn, **parts), way=5)


def well_formed(stack: Episode, labels) -> bool:
    """By the words of the definition, one episode and one example at a time."""
    for episode in stack:
        drawn, sides = episode.classes.tolist(), [episode.support.tolist(), episode.query.tolist()]
        if not all(0 <= i < len(labels) for side in sides for i in side):
            return False
        for side in sides:
            each = len(side) // len(drawn)
            if [labels[i] for i in side] != [c for c in drawn for _ in range(each)]:
                return False
        if len({*drawn}) < len(drawn) or len({*sides[0], *sides[1]}) < len(sides[0] + sides[1]):
            return False
    return True


@pytest.mark.parametrize("seed", range(30))
def test_episodes_are_refused_where_and_only_where_they_break_a_promise(seed):
    random = np.random.default_rng(seed)
    labels = torch.from_numpy(random.permutation(np.arange(4).repeat(7)))
    verdicts = set()
    for trial in range(10):
        stack = EpisodeSampler(labels, way=3, shot=2, query=2, episodes=3, seed=trial)[:]
        for _ in range(trial % 3):  # changes
            part = getattr(stack, random.choice(["support", "query", "classes"], p=[0.4, 0.4, 0.2]))
            value = random.integers(4) if part is stack.classes else random.integers(-1, 29)
            part[random.integers(3), random.integers(part.shape[1])] = int(value)
        verdicts.add(good := well_formed(stack, labels.tolist()))
        if good:
            check_episodes(stack, labels)
        else:
            with pytest.raises(ValueError, match=r"^(Episode \d .* (another class|twice)|The episodes hold)"):
                check_episodes(stack, labels)
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda e: e.support[2].copy_(e.support[3]), "Episode 2 has an example in the place of another class"),
        (lambda e: e.query[4].copy_(e.query[4].flip(0)), "Episode 4 has an example in the place of another class"),
        (lambda e: e.query[1, 0].copy_(e.support[1, 0]), "Episode 1 uses an example twice"),
        (lambda e: [part[3, 1].copy_(part[3, 0]) for part in parts(e)], "Episode 3 draws a class twice"),
        (lambda e: e.query[0, 0].fill_(200), r"hold the examples \d+ to 200, but the data set has 0 to 199"),
        (lambda e: e.query[0, 0].fill_(-1), r"hold the examples -1 to \d+, but the data set has 0 to 199"),
    ],
)
def test_a_broken_promise_is_named(change, message):
    stack = EpisodeSampler(LABELS, way=3, shot=1, query=1, episodes=5)[:]
    check_episodes(stack, LABELS)
    change(stack)
    with pytest.raises(ValueError, match=message):
        check_episodes(stack, LABELS)


@pytest.mark.parametrize(
    "change",
    [
        dict(classes=torch.arange(5)),
        dict(support=torch.zeros(4, 6).long()),
        dict(support=torch.zeros(3, 4).long()),
        dict(query=torch.zeros(3, 3, 3).long()),
        dict(query=torch.zeros(3, 0).long()),
    ],
)
def test_what_is_no_stack_is_refused(change):
    stack = EpisodeSampler(LABELS, way=3, shot=2, query=1, episodes=3)[:]
    with pytest.raises(ValueError, match=r"has classes \(episodes, way\), .* but the shapes here are \("):
        check_episodes(dataclasses.replace(stack, **change), LABELS)


@pytest.mark.parametrize("kind", [list, np.array, lambda x: np.array(x, np.uint8), lambda x: [f"c{i}" for i in x]])
def test_labels_and_indices_to_check_may_be_of_any_kind(kind):
    stack = EpisodeSampler(LABELS, way=3, query=2, episodes=5)[:]
    check_episodes(Episode(*(part.to(torch.uint8) for part in parts(stack))), kind(LABELS.tolist()))


def test_episodes_of_fractions_are_refused():
    stack = EpisodeSampler(LABELS, way=3, query=2, episodes=5)[:]
    with pytest.raises(ValueError, match="Episodes are made of integers, but these are of torch"):
        check_episodes(dataclasses.replace(stack, query=stack.query.float()), LABELS)


@pytest.fixture
def stored(tiny, tmp_path) -> tuple[EpisodeSampler, Path]:
    sampler = EpisodeSampler(tiny, way=4, shot=2, query=3, episodes=200, seed=7)
    episodes.save(sampler, tmp_path / "stored.npz", tiny)
    return sampler, tmp_path / "stored.npz"


def test_stored_episodes_come_back(stored, tiny):
    sampler, path = stored
    back = episodes.load(str(path), tiny)
    assert same(back, sampler[:]) and back.support.dtype == torch.int64
    episodes.save(back[:50], path, tiny)  # a stack from anywhere
    assert same(episodes.load(path, tiny), sampler[:50])


def test_the_file_can_be_read_without_us_and_is_small(stored, tiny):
    sampler, path = stored
    with np.load(path) as file:
        arrays, about = {name: file[name] for name in ("classes", "support", "query")}, json.loads(str(file["about"]))
    assert all(np.array_equal(arrays[name], part) for name, part in vars(sampler[:]).items())
    assert about == dict(
        data="Tiny", images=96, digest=tiny.digest, way=4, shot=2, query=3, episodes=200, seed=7
    )
    assert path.stat().st_size < 2 * sum(array.size for array in arrays.values())


def test_broken_episodes_are_not_stored(tiny, tmp_path):
    stack = EpisodeSampler(tiny, query=3, episodes=4)[:]
    stack.query[2, 1] = stack.query[2, 0]
    with pytest.raises(ValueError, match="Episode 2 uses an example twice"):
        episodes.save(stack, tmp_path / "stored.npz", tiny)
    assert not list(tmp_path.iterdir())


def changed(data: ImageSet, name: str) -> ImageSet:
    if name == "name":
        return dataclasses.replace(data, name="Other")
    if name == "number":
        parts = {part: getattr(data, part)[:-1] for part in ("images", "labels", "domains")}
        return dataclasses.replace(data, **parts)
    part = getattr(data, name).clone()
    part.view(-1)[17] += 1
    return dataclasses.replace(data, **{name: part})


@pytest.mark.parametrize("what", ["name", "number", "images", "labels"])
def test_episodes_of_other_data_are_refused(stored, tiny, what):
    other = changed(tiny, what)
    message = (
        rf"stored\.npz holds episodes of other data: of Tiny, 96 images, digest {tiny.digest}; "
        rf"this is {other.name}, {len(other)} images, digest {other.digest}\."
    )
    with pytest.raises(ValueError, match=message):
        episodes.load(stored[1], other)


def test_a_missing_file_of_episodes_is_named(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file of episodes .*gone\.npz"):
        episodes.load(tmp_path / "gone.npz", tiny)


@pytest.mark.parametrize("what", [None, [1, 2], "stack", 3])
def test_what_are_no_episodes_is_not_stored(tiny, tmp_path, what):
    with pytest.raises(ValueError, match="What is saved is a sampler or a stack of episodes, not"):
        episodes.save(what, tmp_path / "stored.npz", tiny)


def test_broken_episodes_in_a_file_are_named(stored, tiny):
    path = stored[1]
    with np.load(path) as file:
        arrays = dict(file)
    arrays["query"][17, 1] = arrays["query"][17, 0]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"stored\.npz holds broken episodes: Episode 17 uses an example twice"):
        episodes.load(path, tiny)


def rewritten(path, **changes):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | changes)


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "uint64", ">i4", ">u8"])
def test_integers_of_any_kind_are_read(stored, tiny, kind):
    sampler, path = stored
    rewritten(path, **{name: part.numpy().astype(kind) for name, part in vars(sampler[:]).items()})
    back = episodes.load(path, tiny)
    assert back == sampler[:] and back.support.dtype == torch.int64


@pytest.mark.parametrize(
    "change",
    [
        dict(query=np.ones((200, 12))), dict(query=np.ones((200, 12), bool)), dict(query=np.array([["a"]])),
        dict(query=np.array([[None, 2**70]])), dict(about="[1, 2]"), dict(about="{"), dict(about='"text"'),
        dict(about="[" * 10_000), dict(about=np.array(3)), dict(about=np.array([None])),
    ],
)  # fmt: skip
def test_a_file_of_other_things_is_named(stored, tiny, change):
    rewritten(stored[1], **change)
    with pytest.raises(ValueError, match=r"stored\.npz is not a file that fslib\.episodes\.save has written"):
        episodes.load(stored[1], tiny)


@pytest.mark.parametrize(
    "change",
    [dict(query=np.zeros((200, 0), int)), dict(query=np.full((200, 12), 2**62)), dict(classes=np.zeros(4, int))],
)
def test_a_file_of_other_shapes_or_numbers_is_named(stored, tiny, change):
    rewritten(stored[1], **change)
    with pytest.raises(ValueError, match=r"stored\.npz holds broken episodes: "):
        episodes.load(stored[1], tiny)


@pytest.mark.parametrize(
    "content", ["", "junk", "half", "damaged", "one array", "other arrays", "no data", "pickle", "folder", "huge"]
)
def test_a_damaged_file_of_episodes_is_named(stored, tiny, content):
    sampler, path = stored
    whole = path.read_bytes()
    if content == "folder":
        path.unlink()
        path.mkdir()
    elif content == "pickle":
        path.write_bytes(pickle.dumps({"classes": [1]}))
    elif content == "huge":  # an array that says it is larger than any memory
        header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (9999999999999,), }"
        path.write_bytes(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n")
    elif content == "one array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif content == "other arrays":
        np.savez(path, support=np.arange(3))
    elif content == "no data":
        np.savez(path, about=json.dumps({"way": 5}), **{k: v.numpy() for k, v in vars(sampler[:]).items()})
    else:
        middle = len(whole) // 2
        damaged = whole[:middle] + bytes(64) + whole[middle + 64 :]
        path.write_bytes({"": b"", "junk": b"junk" * 100, "half": whole[:middle], "damaged": damaged}[content])
    with pytest.raises(ValueError, match=r"stored\.npz is not a file that fslib\.episodes\.save has written"):
        episodes.load(path, tiny)


def test_an_interrupted_save_leaves_the_old_episodes(stored, tiny, monkeypatch):
    def killed(file, **arrays):
        file.write(b"half of it")
        raise KeyboardInterrupt

    sampler, path = stored
    monkeypatch.setattr(np, "savez_compressed", killed)
    with pytest.raises(KeyboardInterrupt):
        episodes.save(sampler[:3], path, tiny)
    assert same(episodes.load(path, tiny), sampler[:])
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", [lambda part: part.numpy().astype(np.int32), torch.Tensor.tolist])
def test_episodes_of_arrays_and_lists_are_of_tensors(kind):
    episode = EpisodeSampler(LABELS)[0]
    given = Episode(*(kind(part) for part in (episode.classes, episode.support, episode.query)))
    assert given == episode and given.support_labels.equal(episode.support_labels)


@pytest.mark.parametrize("wrong", [None, "cat", np.array([0.5]), 3])
def test_parts_of_an_episode_are_integers(wrong):
    with pytest.raises(ValueError, match="support of an episode is a tensor of integers, but is"):
        Episode(torch.arange(2), wrong, torch.arange(2))


# Across domains -----------------------------------------------------------------------------------------------


@pytest.fixture
def uneven() -> ImageSet:
    """Twelve classes with zero to four images in each of four domains, in mixed order; eight classes have enough."""
    random = np.random.default_rng(1)
    sizes = random.integers(2, 5, (12, 4))
    sizes[8:] = random.integers(0, 2, (4, 4))
    cells = torch.from_numpy(random.permutation(np.repeat(np.arange(48), sizes.flatten())))
    images = torch.zeros(len(cells), 1, 28, 28, dtype=torch.uint8)
    return ImageSet("Uneven", images, cells // 4, [f"c{c}" for c in range(12)], domains=10 * (cells % 4))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shot, query, same", [(1, 1, False), (2, 2, False), (1, 2, False), (1, 1, True)])
def test_across_domains_support_and_queries_are_of_one_domain_each(uneven, seed, shot, query, same):
    stack = across_domains(uneven, 5, shot, query, 60, seed, same=same)
    check_episodes(stack, uneven.labels)  # no class twice, no example twice, every example in its place
    assert (len(stack), stack.way, stack.shot, stack.queries) == (60, 5, shot, query)
    for episode in stack:
        (first,), (second,) = (set(uneven.domains[side].tolist()) for side in (episode.support, episode.query))
        assert (first == second) == same


def test_across_domains_the_seed_and_the_number_alone_decide(uneven):
    stack = across_domains(uneven, 5, 2, 1, 60, seed=3)
    assert same(stack, across_domains(uneven, 5, 2, 1, 60, seed=3))
    assert same(stack[:7], across_domains(uneven, 5, 2, 1, 7, seed=3))
    assert not any(same(a, b) for a, b in zip(stack, across_domains(uneven, 5, 2, 1, 60, seed=4)))


def test_across_domains_classes_pairs_and_examples_are_drawn_evenly(uneven):
    balanced = uneven.select(range(8))  # which all have enough
    stack = across_domains(balanced, 3, 1, 1, 6000)
    first, second = (balanced.domains[side[:, 0]] // 10 for side in (stack.support, stack.query))
    pairs = torch.bincount(4 * first + second, minlength=16)
    cells = balanced.labels * 4 + balanced.domains // 10
    share = 1 / cells.bincount()[cells] / 32  # each class and domain alike, then each of its images
    for counts, draws, chance in [
        (stack.classes.flatten().bincount(), 6000, torch.full((8,), 3 / 8)),
        (pairs[pairs > 0], 6000, torch.full((12,), 1 / 12)),
        (stack.query.flatten().bincount(minlength=len(balanced)), 18_000, share),
    ]:
        spread = (draws * chance * (1 - chance)).sqrt()
        assert ((counts - draws * chance).abs() < 4.5 * spread).all()


def test_across_domains_other_domains_may_be_given_by_name(uneven):
    names = [f"{d:02}" for d in uneven.domains.tolist()]
    told = across_domains(dataclasses.replace(uneven, domains=None), 5, episodes=9, domains=names)
    assert told == across_domains(uneven, 5, episodes=9)


def test_across_domains_pairs_with_too_few_classes_are_not_drawn(uneven):
    """Of a domain that four classes have alone, nothing comes in a 5-way episode."""
    rare = torch.where(uneven.labels >= 4, uneven.domains % 30, uneven.domains)
    stack = across_domains(uneven, 5, episodes=200, domains=rare)
    assert set(rare[torch.cat([stack.support, stack.query], 1)].unique().tolist()) == {0, 10, 20}


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(way=13), "needs 13 classes that have them, but Uneven has at most"),
        (dict(way=5, shot=5), "5 support and 1 query examples of two domains needs 5 classes"),
        (dict(way=5, shot=2, query=3, same=True), "query examples of a domain needs 5 classes"),
        (dict(way=5, domains=[0] * 5), "one domain for each of the"),
        (dict(way=2, domains="alike"), "at most 0; lower way, shot or query"),
        (dict(way=0), "way must be a whole number"),
        (dict(way=5, query=0), "query must be a whole number"),
        (dict(way=5, seed=-1), "A seed must be a whole number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_across_domains_what_cannot_be_drawn_is_refused(uneven, options, says):
    if options.get("domains") == "alike":
        options = options | dict(domains=torch.zeros(len(uneven), dtype=torch.long))
    with pytest.raises(ValueError, match=says):
        across_domains(uneven, **options)


def test_across_domains_data_must_tell_its_domains(uneven):
    with pytest.raises(ValueError, match="Uneven does not tell the domain of each image"):
        across_domains(dataclasses.replace(uneven, domains=None), way=5)


# With an unlabelled set ------------------------------------------------------------------------------------------


def unlabelled_by_hand(stack, labels, unlabelled):
    """What is wrong with the unlabelled sets of a stack, one example at a time."""
    for episode in stack:
        classes = [*episode.classes.tolist(), *episode.distractors.tolist()]
        expected = [c for c in classes for _ in range(unlabelled)]
        told = [classes.index(c) if c in episode.classes.tolist() else -1 for c in expected]
        seen = [*episode.support.tolist(), *episode.query.tolist(), *episode.unlabelled.tolist()]
        yield len({*classes}) < len(classes), "a class twice"
        yield labels[episode.unlabelled].tolist() != expected, "an example of another class"
        yield episode.unlabelled_labels.tolist() != told, "a label that is not so"
        yield len({*seen}) < len(seen), "an example twice"


@pytest.mark.parametrize("seed", range(12))
def test_with_unlabelled_every_example_stands_once_and_for_its_class(seed):
    random = np.random.default_rng(seed)
    way, shot, query, unlabelled = random.integers(1, 5, 4).tolist()
    distractors = int(random.integers(0, 4))
    sizes = shot + query + unlabelled + random.integers(0, 4, way + distractors + 2)
    labels = torch.from_numpy(random.permutation(np.repeat(np.arange(len(sizes)) * 7 - 20, sizes)))
    stack = with_unlabelled(labels, way, shot, query, unlabelled, distractors, episodes=20, seed=seed)
    check_episodes(stack, labels)
    assert (stack.way, stack.shot, stack.n_query, stack.n_unlabelled) == (way, shot, query, unlabelled)
    assert [what for wrong, what in unlabelled_by_hand(stack, labels, unlabelled) if wrong] == []
    (first,) = DataLoader([*stack][:3], batch_size=3)  # and they can be stacked again
    assert first == stack[:3] and len(stack[0]) == len([*stack[0]]) == (way + distractors) * unlabelled + way * (
        shot + query
    )


def test_with_unlabelled_support_and_queries_are_those_of_the_plain_episodes():
    plain = EpisodeSampler(LABELS, 5, 2, 3, episodes=50, seed=4)[:]
    stack = with_unlabelled(LABELS, 5, 2, 3, unlabelled=6, episodes=50, seed=4)
    assert all(torch.equal(getattr(stack, name), part) for name, part in vars(plain).items())
    assert stack != plain and plain != stack  # which says that it is not all the same


def test_with_unlabelled_the_seed_and_the_number_alone_decide():
    draw = functools.partial(with_unlabelled, LABELS, 3, 1, 2, 4, 2)
    assert draw(60, seed=3) == draw(60, seed=3) and draw(60, seed=3)[:7] == draw(7, seed=3)
    assert not any(a == b for a, b in zip(draw(60, seed=3), draw(60, seed=4)))


def test_with_unlabelled_distractors_are_drawn_evenly():
    stack = with_unlabelled(LABELS, 3, 1, 1, 1, 2, episodes=5000)
    for classes, chance in ((stack.classes, 0.3), (stack.distractors, 0.2)):
        spread = (5000 * chance * (1 - chance)) ** 0.5
        assert ((classes.flatten().bincount(minlength=10) - 5000 * chance).abs() < 4.5 * spread).all()


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(unlabelled=0), "unlabelled must be a whole number, at least 1, but is 0"),
        (dict(distractors=-1), "distractors must be a whole number, at least 0, but is -1"),
        (dict(distractors=6), "5 classes and 6 distractors, .* A 11-way episode needs 11 classes, but"),
        (dict(unlabelled=15), "5 queries and 15 unlabelled examples of each, .* has only 20"),
    ],
)
def test_with_unlabelled_what_cannot_be_drawn_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        with_unlabelled(LABELS, **options)


def test_a_class_and_a_query_are_left():
    plain = EpisodeSampler(LABELS, 4, 1, 3)[0]
    assert hide_labels(plain, 2, 3).way == 1
    with pytest.raises(ValueError, match="Of the 4 classes of an episode 4 are to be distractors, and none is left"):
        hide_labels(plain, 1, 4)
    with pytest.raises(ValueError, match="Of the 3 queries of a class 3 are to be unlabelled, and none is left to ask"):
        hide_labels(plain, 3)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda e: e.unlabelled[1, 0].copy_(e.query[1, 0]), "Episode 1 uses an example twice"),
        (lambda e: e.unlabelled[2, -1].copy_(e.unlabelled[2, 0]), "Episode 2 has an example in the place of another"),
        (lambda e: e.distractors[3].copy_(e.classes[3, :2]), "Episode 3 "),
        (lambda e: e.unlabelled[0, 0].fill_(200), "hold the examples .* to 200"),
    ],
)
def test_a_broken_promise_about_the_unlabelled_set_is_named(change, says):
    stack = with_unlabelled(LABELS, 3, 1, 2, 4, 2, episodes=5)
    check_episodes(stack, LABELS)
    change(stack)
    with pytest.raises(ValueError, match=says):
        check_episodes(stack, LABELS)


def test_unlabelled_sets_of_other_shapes_are_refused():
    stack = with_unlabelled(LABELS, 3, 1, 2, 4, 2, episodes=5)
    for change in (stack.unlabelled[:, :-1], stack.unlabelled[0], stack.unlabelled[:, :0], stack.unlabelled[:4]):
        with pytest.raises(ValueError, match=r"and unlabelled \(episodes, \(way \+ distractors\) · any number\), but"):
            check_episodes(dataclasses.replace(stack, unlabelled=change), LABELS)


# With unbalanced queries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("concentration", [0.3, 2.0, 1000.0])
def test_unbalanced_queries_are_told_by_their_classes(seed, concentration):
    random = np.random.default_rng(seed)
    way, shot, query = random.integers(1, 6, 3).tolist()
    sizes = shot + way * query + random.integers(0, 9, way + 2)
    labels = torch.from_numpy(random.permutation(np.repeat(np.arange(way + 2) * 3 + 5, sizes)))
    stack = unbalanced(labels, way, shot, query, concentration, episodes=20, seed=seed)
    check_episodes(stack, labels)
    assert (stack.way, stack.shot, stack.n_query, len(stack)) == (way, shot, query, 20)
    assert stack.query_labels.shape == stack.query.shape == (20, way * query)
    for i, episode in enumerate(stack):
        classes = episode.classes.tolist()
        assert episode.query_labels.tolist() == [classes.index(c) for c in labels[episode.query].tolist()]
        assert episode.query_labels.bincount(minlength=way).tolist() == episode.counts.tolist()
        assert torch.equal(episode.query_labels, stack.query_labels[i])


def test_unbalanced_episodes_are_those_plain_ones_of_which_fewer_queries_stay():
    plain = EpisodeSampler(LABELS, 4, 2, 18, episodes=50, seed=4)[:]
    stack = unbalanced(LABELS, 4, 2, 3, episodes=50, seed=4)
    assert torch.equal(stack.classes, plain.classes) and torch.equal(stack.support, plain.support)
    for counts, kept, of in zip(stack.counts.tolist(), stack.query.tolist(), plain.query.unflatten(1, (4, 18))):
        assert kept == [i for n, row in zip(counts, of.tolist()) for i in row[:n]]


def test_unbalanced_the_seed_and_the_number_alone_decide():
    draw = functools.partial(unbalanced, LABELS, 3, 1, 2, 2.0)
    assert draw(60, seed=3) == draw(60, seed=3) and draw(60, seed=3)[:7] == draw(7, seed=3)
    assert not any(a == b for a, b in zip(draw(60, seed=3), draw(60, seed=4)))


@pytest.mark.parametrize("concentration", [0.5, 2.0, 10.0])
def test_shares_have_mean_and_spread_of_their_distribution(concentration):
    """Of a share of Dirichlet(a, …, a) the variance is (1/n)(1 − 1/n)/(n·a + 1), and rounding adds 1/12 at most."""
    many = torch.arange(4).repeat_interleave(60)
    shares = unbalanced(many, 4, 1, 14, concentration, episodes=4000).counts.double() / 56
    variance = 0.25 * 0.75 / (4 * concentration + 1)
    assert (shares.mean(0) - 0.25).abs().max() < 4.5 * (variance / 4000) ** 0.5
    assert shares.var().item() == pytest.approx(variance, rel=0.08)


def test_no_class_gives_more_than_it_has():
    stack = unbalanced(LABELS, 5, 1, 10, concentration=0.7, episodes=300)
    assert stack.counts.max() <= 19 and stack.counts.min() == 0 and (stack.counts.sum(1) == 50).all()
    with pytest.raises(ValueError, match="none gives each of 5 classes at most 19 of 90 queries"):
        unbalanced(LABELS, 5, 1, 18, concentration=0.1, episodes=3)


@pytest.mark.parametrize("concentration", [0, -1.0, float("nan"), float("inf"), "2"])
def test_a_concentration_is_a_number_above_zero(concentration):
    with pytest.raises(ValueError, match="concentration must be above zero and finite, but is"):
        unbalanced(LABELS, concentration=concentration)


def test_counts_add_up_to_the_queries():
    stack = unbalanced(LABELS, 3, 1, 4, episodes=5)
    for counts in (stack.counts + 1, stack.counts[:, :2], stack.counts - 50):
        with pytest.raises(ValueError, match=r"counts \(episodes, way\) that add up to the queries, but the shapes"):
            check_episodes(dataclasses.replace(stack, counts=counts), LABELS)
    swapped = stack.counts.clone()
    swapped[1, 0], swapped[1, 1] = swapped[1, 0] + 1, swapped[1, 1] - 1
    with pytest.raises(ValueError, match="Episode 1 has an example in the place of another class"):
        check_episodes(dataclasses.replace(stack, counts=swapped), LABELS)


# Both are kept as the others are -----------------------------------------------------------------------------------

KINDS = {
    "unlabelled": lambda data: with_unlabelled(data, 3, 2, 2, 4, 2, episodes=40),
    "unbalanced": lambda data: unbalanced(data, 4, 1, 3, episodes=40),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_episodes_comes_back_from_a_file_and_from_a_copy(kind, tiny, tmp_path):
    stack = KINDS[kind](tiny)
    episodes.save(stack, tmp_path / "stored.npz", tiny)
    back = episodes.load(tmp_path / "stored.npz", tiny)
    assert type(back) is type(stack) and back == stack and back[3:9] == stack[3:9]
    assert pickle.loads(pickle.dumps(stack)) == stack == copy.deepcopy(stack) == stack.to("cpu")
    with pytest.raises(TypeError, match=f"its parts are classes, support, query.* and {[*vars(stack)][-1]}"):
        stack[0][0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_episodes_is_measured_by_the_right_classes(kind, tiny):
    """A model that knows the answers is right in all, and one whose classes are shifted by one in none."""
    stack, known = KINDS[kind](tiny), torch.nn.functional.one_hot(tiny.labels).float()
    model = PrototypicalNetwork(torch.nn.Identity())
    assert evaluate(model, tiny, episodes=stack, embeddings=known, chunk=7).mean == 1

    class Shifted(PrototypicalNetwork):
        def compare(self, *episode):
            return super().compare(*episode).roll(1, -1)

    assert evaluate(Shifted(torch.nn.Identity()), tiny, episodes=stack, embeddings=known).mean == 0
