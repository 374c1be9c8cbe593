"""Ways of comparing, one page each."""

from fslib.methods.base import FewShotClassifier
from fslib.methods.prototypical import PrototypicalNetwork, prototypes

__all__ = ["FewShotClassifier", "PrototypicalNetwork", "prototypes"]
