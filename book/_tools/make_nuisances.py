"""Write what nuisances.mjs turns up and down: pictures of five test characters as four networks see them.

    python book/_tools/make_nuisances.py     # seconds on a CPU; writes nuisances.f16.bin and nuisances_data.mjs

The characters are in all twelve faces. What tells a weight, a family or a slant is fitted on the training characters
that are. All lengths of a network are in mean distances of a training picture from their centre, which is the origin.
"""

import base64
import json

import torch
from torch import Tensor, nn

from fslib import data
from fslib.backbones import Conv4
from fslib.book.experiments.kept import trained
from fslib.book.export import sprite
from fslib.book.figures import FOLDER
from fslib.data.glyphs import ATTRIBUTES, attributes, balanced
from fslib.evaluation import embed_all
from fslib.files import atomic_write
from fslib.methods import FewShotClassifier, PrototypicalNetwork
from fslib.nuisances import leace

NUMBERS, ABOUT = FOLDER / "nuisances.f16.bin", FOLDER / "nuisances_data.mjs"
HEADER = """// The pictures of nuisances.mjs, a row for each character and a column for each face, and which value
// of an attribute each face has. Written by make_nuisances.py.
"""
NUISANCES = ("weight", "family", "slant")
#: Of 300 random choices, the one whose counts in the figure lie nearest to the mean of all.
CHARACTERS = (
    "ARMENIAN CAPITAL LETTER SEH", "ARMENIAN SMALL LETTER JA", "ARMENIAN SMALL LETTER GHAD", "GEORGIAN LETTER GHAN",
    "GEORGIAN LETTER FI",
)  # fmt: skip


def networks() -> dict[str, FewShotClassifier]:
    """In the order of the file."""
    torch.manual_seed(0)
    return {
        "pixels": PrototypicalNetwork(nn.Flatten()),
        "untrained": PrototypicalNetwork(Conv4()),
        "prototypical": trained("glyphs/prototypical"),
        "supcon": trained("glyphs/loss-supcon"),
    }


def pictures() -> tuple[data.ImageSet, data.ImageSet]:
    """Of the training characters, and of those that are shown; each character in twelve faces."""
    test = balanced(data.load("glyphs", "test"))
    return balanced(data.load("glyphs", "train")), test.select([test.class_names.index(name) for name in CHARACTERS])


def means(points: Tensor, labels: Tensor) -> Tensor:
    """Of the points (n, d) with each label from zero on, (labels, d)."""
    return torch.stack([points[labels == label].mean(0) for label in labels.unique()])


def spread(points: Tensor) -> Tensor:
    """Directions (k − 1, d) in which k points lie apart, farthest first, each with the last point on its far side."""
    centred = points - points.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:-1]
    return directions * (directions @ centred[-1]).sign()[:, None]


def plane(characters: Tensor, moves: Tensor) -> Tensor:
    """Where the drawing has a point, right and up, (2, d).

    The two directions in which the means of the characters lie farthest apart, across what is turned; over them lies
    what is turned, one direction rising to the right, or two as they are.
    """
    apart = spread(characters - characters @ moves.T @ moves)[:2]
    return apart + (moves if len(moves) == 2 else 0.5**0.5 * moves.expand(2, -1))


def scene(model: FewShotClassifier, train: data.ImageSet, shown: data.ImageSet) -> Tensor:
    """All that the figure needs of a network, (91, 64), one under the other.

    The pictures; then of each nuisance the training means of its values, and three parts: ``moves`` and ``reads``, of
    as many rows as there are directions, such that x ↦ x − movesᵀ reads x is what :func:`leace` fits, and ``plane``.
    Last these three of the characters themselves, whose means the map x ↦ x − movesᵀ moves x makes one.

    They lie in a space of 64 dimensions, which the 60 pictures and four directions span. In it all distances are what
    they are in that of the network.
    """
    x, y = (embed_all(model, part).cpu().double() for part in (train, shown))
    centre = x.mean(0)
    size = (x - centre).norm(dim=1).mean()
    x, y, of = (x - centre) / size, (y - centre) / size, attributes(train.domains)
    characters, rows, span = means(y, shown.labels), [y], [y]
    for name in NUISANCES:
        moves = spread(means(x, of[name]))
        reads = moves - moves @ leace(x, of[name]).weight
        rows += [means(x, of[name]), moves, reads, plane(characters, moves)]
        span.append(moves)
    moves = spread(characters)
    rows += [moves, moves, plane(characters, span[1])]
    return torch.cat(rows) @ torch.linalg.qr(torch.cat(span).mT).Q


def about(shown: data.ImageSet) -> dict:
    """What the figure says of the pictures, and the pictures themselves."""
    each = len(shown) // len(CHARACTERS)
    of = attributes(shown.domains[:each])
    picture = base64.b64encode(sprite(shown.images.reshape(len(CHARACTERS), each, *shown.images.shape[-2:]))).decode()
    return {
        "names": [name.capitalize() for name in CHARACTERS],
        "each": each,
        "values": {name: ATTRIBUTES[name][: len(of[name].unique())] for name in NUISANCES},
        "faces": {name: of[name].tolist() for name in NUISANCES},
        "sprite": f"data:image/png;base64,{picture}",
    }


def main() -> None:
    """Embed, fit and write."""
    train, shown = pictures()
    numbers = torch.stack([scene(model, train, shown) for model in networks().values()])
    lines = ",\n".join(f'"{key}": {json.dumps(value)}' for key, value in about(shown).items())
    with atomic_write(NUMBERS) as path:
        path.write_bytes(numbers.half().numpy().astype("<f2").tobytes())
    with atomic_write(ABOUT) as path:
        path.write_text(f"{HEADER}export default {{\n{lines}\n}};\n", encoding="utf8")
    print(f"{NUMBERS.name}: {tuple(numbers.shape)}")


if __name__ == "__main__":
    main()
