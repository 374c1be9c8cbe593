"""All our methods keep the contract; and each way of breaking it is named."""

import pytest
import torch
from torch import nn

from fslib.backbones import Conv4
from fslib.methods import (
    FEAT,
    ContextMatchingNetwork,
    ConvRelation,
    CosineClassifier,
    FewShotClassifier,
    FiLMNetwork,
    FineTunedNetwork,
    GuidedPrototypicalNetwork,
    LabelSpreading,
    LogisticRegression,
    MahalanobisClassifier,
    MaskedSoftKMeans,
    MatchingNetwork,
    PreClassifierAlignment,
    PrototypicalNetwork,
    PseudoLabels,
    RelationNetwork,
    SoftKMeans,
    SoftKMeansWithCluster,
    SubspaceNetwork,
    VectorRelation,
)
from fslib.metrics import Mahalanobis
from fslib.testing import check_method
from tests.pretend_gpu import MISSING, pretend_gpu

METHODS = {
    "prototypical": lambda: PrototypicalNetwork(Conv4(8)),
    "prototypical, learned metric": lambda: PrototypicalNetwork(Conv4(8), Mahalanobis(8, 4)),
    "matching": lambda: MatchingNetwork(Conv4(8)),
    "matching, two networks": lambda: MatchingNetwork(Conv4(8), Conv4(8)),
    "matching in context": lambda: ContextMatchingNetwork(Conv4(8), dim=8, steps=2),
    "relation over vectors": lambda: RelationNetwork(Conv4(8), VectorRelation(8)),
    "relation over maps": lambda: RelationNetwork(Conv4(8, pools=3, pooling="none"), ConvRelation(8), "sum", "bce"),
    "relation, mean of scores": lambda: RelationNetwork(Conv4(8), VectorRelation(8), "score mean"),
    "relation, greatest score": lambda: RelationNetwork(Conv4(8), VectorRelation(8), "score max"),
    "logistic regression": lambda: LogisticRegression(Conv4(8), steps=20),
    "cosine classifier": lambda: CosineClassifier(Conv4(8), steps=20),
    "subspaces": lambda: SubspaceNetwork(Conv4(8)),
    "covariances": lambda: MahalanobisClassifier(Conv4(8)),
    "alignment": lambda: PreClassifierAlignment(Conv4(8), steps=5),
    "alignment, diagonal, leave one out": lambda: PreClassifierAlignment(
        Conv4(8), "diagonal", steps=5, leave_one_out=True
    ),
    "FEAT": lambda: FEAT(Conv4(8), 8),
    "FiLM": lambda: FiLMNetwork(Conv4(8, pools=3, pooling="none"), 8),
    "fine-tuned layers": lambda: FineTunedNetwork(Conv4(8), layers=2, steps=3),
    "fine-tuned residual": lambda: FineTunedNetwork(Conv4(8), tuned="residual", steps=3),
    "guided": lambda: GuidedPrototypicalNetwork(Conv4(8), torch.zeros(3, 8)),
    "soft k-means": lambda: SoftKMeans(Conv4(8)),
    "soft k-means of queries": lambda: SoftKMeans(Conv4(8), "queries", steps=2),
    "with a cluster, of queries": lambda: SoftKMeansWithCluster(Conv4(8), "queries"),
    "masked, of queries": lambda: MaskedSoftKMeans(Conv4(8), "queries"),
    "label spreading": lambda: LabelSpreading(Conv4(8)),
    "pseudo-labels of queries": lambda: PseudoLabels(Conv4(8), "queries", threshold=0.4),
}


@pytest.fixture(params=METHODS)
def model(request):
    torch.manual_seed(0)
    model = METHODS[request.param]()
    model.train()(torch.rand(5, 1, 28, 28), torch.arange(5), torch.rand(9, 1, 28, 28))  # moves the statistics
    return model


def test_every_method_of_the_package_keeps_the_contract(model):
    check_method(model)
    assert model.training  # it was tried on a copy


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_every_method_keeps_it_on_a_gpu_too(model):
    with pretend_gpu():
        check_method(model)


class Base(FewShotClassifier):
    """Nearest class mean in a few lines, which keeps the contract."""

    def __init__(self, network=None):
        super().__init__(network or nn.Sequential(nn.Flatten(), nn.Linear(784, 4)))

    def compare(self, support, support_labels, query):
        support, labels, query = self._ready(support, support_labels, query)
        return PrototypicalNetwork(nn.Identity()).compare(support, labels, query)


class NoColumn(Base):
    def compare(self, *episode):
        return super().compare(*episode)[..., :2]


class NotANumber(Base):
    def compare(self, *episode):
        return super().compare(*episode) * torch.nan


class OrderOfAppearance(Base):
    def compare(self, support, labels, query):
        first = list(dict.fromkeys(labels.tolist() if labels.ndim == 1 else labels[0, 0].tolist()))
        columns = torch.tensor([sorted(first).index(label) for label in first])
        return super().compare(support, labels, query)[..., columns]


class FirstCountsMore(Base):
    def compare(self, support, labels, query):
        weights = torch.linspace(2, 1, support.shape[-2])[:, None]
        return super().compare(support * weights, labels, query)


class Transductive(Base):
    def compare(self, support, labels, query):
        return super().compare(support, labels, query - query.mean(-2, keepdim=True))


class OneEpisodeOnly(Base):
    def compare(self, support, labels, query):
        return super().compare(support.reshape(-1, support.shape[-1]), labels, query)


class NoSlope(Base):
    def compare(self, *episode):
        scores = super().compare(*episode)
        return scores + (scores - scores).sqrt()


class Remembers(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("asked", torch.zeros(()))

    def compare(self, *episode):
        self.asked += 1
        return super().compare(*episode)


class Peeks(SoftKMeans):
    """Says that it uses an unlabelled set, and looks at the queries."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(784, 4)))

    def compare(self, support, labels, query, unlabelled=None):
        if unlabelled is not None:
            unlabelled = torch.cat([unlabelled, query], -2)
        return super().compare(support, labels, query, unlabelled)


class LastCountsMore(Peeks):
    def compare(self, support, labels, query, unlabelled=None):
        if unlabelled is not None:
            unlabelled = torch.cat([unlabelled, unlabelled[..., -1:, :]], -2)
        return SoftKMeans.compare(self, support, labels, query, unlabelled)


class OneSetForAll(Peeks):
    def compare(self, support, labels, query, unlabelled=None):
        if unlabelled is not None:
            unlabelled = unlabelled.flatten(0, -3)[:1].expand_as(unlabelled) if unlabelled.ndim > 2 else unlabelled
        return SoftKMeans.compare(self, support, labels, query, unlabelled)


BROKEN = {
    NoColumn: "one for each query and class: they have shape (5, 2)",
    NotANumber: "some are NaN",
    OrderOfAppearance: "Columns stand in the order of the sorted labels",
    FirstCountsMore: "The order of the support set plays no part",
    Transductive: "other queries change the answer",
    OneEpisodeOnly: "Episodes stacked along leading axes",
    NoSlope: "is NaN or infinite",
    Remembers: "it changed asked",
    Peeks: "with it, other queries change the answer",
    LastCountsMore: "its order plays a part",
    OneSetForAll: "not in a stack",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_breaks_the_contract_is_named(kind):
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=f"{kind.__name__} breaks a promise") as broken:
        check_method(kind())
    assert BROKEN[kind] in str(broken.value)


def test_a_method_of_one_s_own_keeps_it():
    check_method(Base())
    check_method(PrototypicalNetwork(nn.Flatten()), shape=(3, 8, 8))


def test_what_is_declared_is_no_fault():
    class Declared(Transductive):
        transductive = True

    class InOrder(FirstCountsMore):
        reads_in_order = True

    check_method(Declared())
    check_method(InOrder())


def test_a_network_is_no_method():
    with pytest.raises(AssertionError, match="this is a Conv4"):
        check_method(Conv4(4))
