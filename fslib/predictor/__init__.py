"""Recognise classes of one's own from a few pictures of each.

What :class:`FewShotPredictor` does is what the book does: embed, then compare. Around it stands what pictures of one's
own need: folders, broken files, a threshold for what belongs to none of the classes, and a file to keep it all in. The
command ``fslib`` does the same without a program; ``fslib --help`` tells how.
"""

from fslib.predictor.calibration import Calibration, calibrate
from fslib.predictor.examples import Examples
from fslib.predictor.few_shot import Answer, FewShotPredictor, characters

__all__ = ["Answer", "Calibration", "Examples", "FewShotPredictor", "calibrate", "characters"]
