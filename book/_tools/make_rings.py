"""Train the relation module that rings.mjs runs, and write its weights for the page.

    python book/_tools/make_rings.py     # seconds on a CPU; writes rings_weights.mjs for the page

The world is that of chapter 7: a class is a ring around the origin with a radius between 0.5 and 3, and an episode
gives one example of each class. The module is like the chapter's, with 16 hidden units in place of 64.
"""

import json
import math

import torch
from torch import Tensor, nn

from fslib.book.figures import FOLDER
from fslib.evaluation import Accuracy
from fslib.files import atomic_write
from fslib.methods import RelationModule, RelationNetwork

WEIGHTS = FOLDER / "rings_weights.mjs"
HEADER = "// The relation module of rings.mjs, trained and written by make_rings.py: weights are (out, in).\n"


def relation_network(layers: list[dict] | None = None) -> RelationNetwork:
    """A relation module over points of the plane, which are their own embeddings: untrained, or with given weights."""
    linear = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 1)
    for layer, numbers in zip(linear, layers or []):
        layer.weight.data = torch.tensor(numbers["weights"])
        layer.bias.data = torch.tensor(numbers["biases"])
    module = RelationModule(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2], nn.Sigmoid())
    return RelationNetwork(nn.Identity(), module, criterion="bce")


def ring_episodes(count: int, ways: int, queries: int = 5) -> tuple[Tensor, ...]:
    """Examples (count, ways, 2), labels (ways,), queries (count, ways · queries, 2), labels (ways · queries,)."""
    radius = 0.5 + 2.5 * torch.rand(count, ways, 1)
    radius = radius + 0.05 * torch.randn(count, ways, 1 + queries)
    angle = 2 * math.pi * torch.rand(count, ways, 1 + queries)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)
    support, query = points[:, :, 0], points[:, :, 1:].flatten(1, 2)
    labels = torch.arange(ways)
    return support, labels, query, labels.repeat_interleave(queries)


def train(steps: int = 3000, seed: int = 0) -> RelationNetwork:
    """Train with binary cross-entropy on batches of 5-way episodes, at a rate that falls to zero."""
    torch.manual_seed(seed)
    model = relation_network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        support, labels, query, answers = ring_episodes(32, ways=5)
        loss = model.loss(model.compare(support, labels, query), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def accuracy(model: RelationNetwork, seed: int = 1) -> Accuracy:
    """On 1,000 new 5-way episodes, one example a class."""
    torch.manual_seed(seed)
    support, labels, query, answers = ring_episodes(1000, ways=5)
    right = model.compare(support, labels, query).argmax(-1) == answers
    return Accuracy(right.float().mean(-1))


def weights(model: RelationNetwork) -> list[dict]:
    """The numbers of the linear layers, to four digits."""
    layers = [
        {"weights": layer.weight.tolist(), "biases": layer.bias.tolist()}
        for layer in model.relation_module
        if isinstance(layer, nn.Linear)
    ]
    return json.loads(json.dumps(layers), parse_float=lambda text: float(f"{float(text):.4g}"))


def main() -> None:
    """Train, write, and say how good the module is as it was written."""
    layers = weights(train())
    result = accuracy(relation_network(layers))
    claim = {"mean": round(result.mean, 4), "ci95": round(result.ci95, 4)}
    claim |= {"way": 5, "shot": 1, "episodes": len(result.per_episode)}
    lines = ",\n".join(map(json.dumps, layers))
    with atomic_write(WEIGHTS) as path:
        path.write_text(
            f'{HEADER}export default {{\n"accuracy": {json.dumps(claim)},\n"layers": [\n{lines}\n]}};\n'
        )
    print(f"{WEIGHTS.name}: 5-way 1-shot {result}")


if __name__ == "__main__":
    main()
