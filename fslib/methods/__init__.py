"""Ways of comparing queries with a support set, one page each."""

from fslib.methods.alignment import PreClassifierAlignment
from fslib.methods.base import FewShotClassifier
from fslib.methods.baselines import CosineClassifier, LogisticRegression
from fslib.methods.feat import FEAT
from fslib.methods.film import FiLMNetwork
from fslib.methods.fine_tuned import FineTunedNetwork
from fslib.methods.guided import GuidedPrototypicalNetwork, Prior, posterior_means, prior_means
from fslib.methods.mahalanobis import MahalanobisClassifier
from fslib.methods.matching import ContextMatchingNetwork, MatchingNetwork
from fslib.methods.prototypical import PrototypicalNetwork, prototypes
from fslib.methods.refined import (
    BalancedSoftKMeans,
    MaskedSoftKMeans,
    PseudoLabels,
    SoftKMeans,
    SoftKMeansWithCluster,
)
from fslib.methods.relation import ConvRelation, RelationModule, RelationNetwork, VectorRelation
from fslib.methods.spreading import LabelSpreading
from fslib.methods.subspace import SubspaceNetwork

__all__ = [
    "FEAT",
    "BalancedSoftKMeans",
    "ContextMatchingNetwork",
    "ConvRelation",
    "CosineClassifier",
    "FewShotClassifier",
    "FiLMNetwork",
    "FineTunedNetwork",
    "GuidedPrototypicalNetwork",
    "LabelSpreading",
    "LogisticRegression",
    "MahalanobisClassifier",
    "MaskedSoftKMeans",
    "MatchingNetwork",
    "PreClassifierAlignment",
    "Prior",
    "PrototypicalNetwork",
    "PseudoLabels",
    "RelationModule",
    "RelationNetwork",
    "SoftKMeans",
    "SoftKMeansWithCluster",
    "SubspaceNetwork",
    "VectorRelation",
    "posterior_means",
    "prior_means",
    "prototypes",
]
