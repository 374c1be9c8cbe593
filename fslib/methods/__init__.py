"""Ways of comparing queries with a support set, one page each."""

from fslib.methods.base import FewShotClassifier
from fslib.methods.baselines import CosineClassifier, LogisticRegression
from fslib.methods.matching import ContextMatchingNetwork, MatchingNetwork
from fslib.methods.prototypical import PrototypicalNetwork, prototypes
from fslib.methods.relation import ConvRelation, RelationModule, RelationNetwork, VectorRelation

__all__ = [
    "ContextMatchingNetwork",
    "ConvRelation",
    "CosineClassifier",
    "FewShotClassifier",
    "LogisticRegression",
    "MatchingNetwork",
    "PrototypicalNetwork",
    "RelationModule",
    "RelationNetwork",
    "VectorRelation",
    "prototypes",
]
