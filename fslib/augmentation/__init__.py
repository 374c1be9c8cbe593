"""Other pictures of the same character: warps, crops, turns, mirrors, ink, mixtures of two, and looks at test time.

All take a batch of pictures and know nothing of labels. What makes another class of a character, as a mirror makes q of
p, is one for :meth:`fslib.data.ImageSet.with_new_classes`. To act on the support set, on the queries or on some classes
alone is the part of a step of training, :class:`fslib.training.Augmented`; to train on mixtures, that of
:class:`fslib.training.Mixed`.
"""

from fslib.augmentation.ink import inverted, random_thickness, thickened
from fslib.augmentation.mixing import cutmix, kept_share, mixup, random_box
from fslib.augmentation.test_time import TestTimeAugmentation
from fslib.augmentation.turns import mirrored, random_mirror, random_turn, turned
from fslib.augmentation.warps import random_crop, random_warp
from fslib.deprecation import renamed_in

__all__ = [
    "TestTimeAugmentation", "cutmix", "inverted", "kept_share", "mirrored", "mixup", "random_box", "random_crop",
    "random_mirror", "random_thickness", "random_turn", "random_warp", "thickened", "turned",
]  # fmt: skip

__getattr__ = renamed_in(__name__, globals(), Views="TestTimeAugmentation")
