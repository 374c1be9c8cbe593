"""Episodes: small tasks drawn from a data set, by index, from a seed.

Episode number i of a sampler depends on the seed and on i alone. So an episode can be replayed without drawing
those before it, two models meet the very same episodes, and interrupted training goes on where it stopped.

Support and query go by these names everywhere:

==================================  ============================================
``shot``, ``query``                 arguments: how many examples of each class
``episode.support, episode.query``  which examples, as indices into the data set
``episode.shot, episode.n_query``   how many examples of each class they are
==================================  ============================================

Each way of drawing is one function:

========================  ===========================================================================================
:class:`EpisodeSampler`   classes and examples from everywhere, or classes from few groups
:func:`within_groups`     classes of one writing system, support and queries by two writers
:func:`across_domains`    support and queries of two domains
:func:`with_unlabelled`   beside support and queries an unlabelled set, with distractors in it
:func:`unbalanced`        some classes with more queries than others
========================  ===========================================================================================

Within one program, then, the seed is all there is to keep. Episodes that another program drew, or that another is to
meet, go through a file: :func:`save` and :func:`load`.

>>> import torch
>>> sampler = EpisodeSampler(torch.arange(10).repeat(20), way=5, shot=1, query=15)
>>> sampler[7] == EpisodeSampler(torch.arange(10).repeat(20), way=5, shot=1, query=15)[7]
True
"""

from fslib.episodes.domains import across_domains
from fslib.episodes.episode import Episode, check_episodes
from fslib.episodes.groups import within_groups
from fslib.episodes.sampler import EpisodeSampler
from fslib.episodes.stored import load, save
from fslib.episodes.unbalanced import UnbalancedEpisode, unbalanced
from fslib.episodes.unlabelled import SemiSupervisedEpisode, hide_labels, with_unlabelled

__all__ = [
    "Episode", "EpisodeSampler", "SemiSupervisedEpisode", "UnbalancedEpisode", "across_domains", "check_episodes",
    "hide_labels", "load", "save", "unbalanced", "with_unlabelled", "within_groups",
]  # fmt: skip
