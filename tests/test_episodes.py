"""Episodes keep their promises in every setting, depend on the seed and their number alone, and survive a file."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fslib import episodes
from fslib.data import ImageSet
from fslib.episodes import Episode, EpisodeSampler, check_episodes, within_groups

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


@pytest.fixture
def drawn() -> ImageSet:
    """Three groups of 5, 6 and 9 classes in mixed order, each class once by 7 drawers, in mixed order."""
    random = np.random.default_rng(0)
    groups = random.permutation([*"aaaaabbbbbbccccccccc"]).tolist()
    cells = torch.from_numpy(random.permutation(20 * 7))
    labels, drawers = cells // 7, 10 * (cells % 7)  # drawers need not be numbered without gaps
    names = [f"{group}{c}" for c, group in enumerate(groups)]
    return ImageSet("Drawn", torch.zeros(140, 1, 28, 28, dtype=torch.uint8), labels, names, groups, drawers)


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


def test_within_groups_classes_and_pairs_of_drawers_are_drawn_evenly(drawn):
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
        (dict(domains=torch.zeros(140).long()), {}, "Drawn has a single drawer"),
        ({}, dict(way=6), "6-way episode within a group needs 6 classes of each, but a has only 5"),
        ({}, dict(seed=-1), "seed must be at least 0, but is -1"),
        ({}, dict(way=0), "way must be at least 1, but is 0"),
        ({}, dict(episodes=0), "episodes must be at least 1, but is 0"),
    ],
)
def test_what_gives_no_episodes_within_groups_is_refused(drawn, change, task, message):
    with pytest.raises(ValueError, match=message):
        within_groups(dataclasses.replace(drawn, **change), **{"way": 5, **task})


@pytest.mark.parametrize("missing, number", [(True, 0), (False, 2)])
def test_a_class_that_a_drawer_left_out_or_drew_twice_is_named(drawn, missing, number):
    cell = (drawn.labels == 4) & (drawn.domains == 20)
    kept = torch.arange(140)[~cell] if missing else torch.cat([torch.arange(140), cell.nonzero()[0]])
    parts = {name: getattr(drawn, name)[kept] for name in ("images", "labels", "domains")}
    with pytest.raises(ValueError, match=rf"but {drawn.class_names[4]} has {number} by drawer 20\."):
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


@pytest.mark.parametrize("content", ["", "junk", "half", "damaged", "one array", "other arrays", "no data"])
def test_a_damaged_file_of_episodes_is_named(stored, tiny, content):
    sampler, path = stored
    whole = path.read_bytes()
    if content == "one array":
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
