"""Embed the classes that are held out to calibrate the default predictor: ``python book/_tools/held_out.py``.

They are those of the validation set of Glyphs. The network of printed characters has not seen them; that of pens was
trained on handwriting of two of their scripts, Greek and N'Ko. To be run anew when its networks change, or what becomes
of a picture before they see it.
"""

import numpy as np
import torch

from fslib import data, files
from fslib.data.transforms import drawing
from fslib.predictor import characters
from fslib.predictor.examples import Eye

EACH = 12  # pictures of a class


def embedded(each: int = EACH) -> np.ndarray:
    """Embeddings of the first pictures of each class, float16 (classes, each, d)."""
    held_out = data.load("glyphs", "validation")
    pictures = [held_out.images[held_out.labels == c][:each] for c in range(len(held_out.class_names))]
    seen = Eye(characters(), drawing).embedded(torch.cat(pictures))
    embeddings = torch.stack([one.embedding for one in seen])
    return embeddings.reshape(len(pictures), each, -1).numpy().astype(np.float16)


if __name__ == "__main__":
    with files.atomic_write(files.came_with("predictor/held-out.npy")) as temporary:
        np.save(temporary.open("wb"), embedded())
