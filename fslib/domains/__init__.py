"""Domains: what makes a network see pictures of another domain as it sees those it was trained on.

The source is where the labels are, the target where the network is used: another pen, another face, another camera. Of
the target nothing is needed here but pictures, and their labels are never looked at. Pictures on which accuracy is
measured should not be among them; :func:`fslib.data.halves` makes two sets of one.

=====================  ======================================  =====================================
what                   when                                    what becomes alike
=====================  ======================================  =====================================
:func:`adabn`          after training, no weight changes       mean and variance of each channel
:func:`coral`          in training, a loss                     the covariance of embeddings
:func:`mmd`            in training, a loss                     their whole distribution, by a kernel
:class:`Adversary`     in training, a loss that is trained     what a discriminator could tell
=====================  ======================================  =====================================

The losses take embeddings of both domains, (n, d) and (m, d); :class:`fslib.training.Aligned` is the step that lowers
one beside the loss of the source. To look alike is not to mean the same: where the two domains do not hold the same
classes in the same shares, alignment draws pictures of one class to those of another.
"""

from fslib.domains.adversary import Adversary, DomainDiscriminator, reverse_gradient
from fslib.domains.batch_norm import adabn
from fslib.domains.moments import coral, mmd

__all__ = ["Adversary", "DomainDiscriminator", "adabn", "coral", "mmd", "reverse_gradient"]
