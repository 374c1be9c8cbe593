"""Does the drawing pad see what Python sees? Omniglot's own pen strokes, replayed in the page as drags of a mouse.

    python benchmarks/strokes.py

Omniglot tells how each of its pictures was drawn. We draw support sets and queries of 5-way 1-shot episodes anew on
the pad, and give the same network the pictures of the same drawings. Both accuracies go into the ledger.

The strokes come in `strokes_background_small1.zip` of the Omniglot repository, to be put beside the images. Of its five
alphabets only Early Aramaic is not for training, so the network here is trained on the training classes alone, and for
fewer episodes than the one that the site ships.
"""

import io
import math
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from fslib import data
from fslib.backbones import Conv4
from fslib.book import export, ledger
from fslib.book.experiments import RECIPES
from fslib.evaluation import Accuracy
from fslib.files import data_dir
from fslib.methods import PrototypicalNetwork
from fslib.training import fit
from tests.page import ROOT, chromium, drag, served

ALPHABET, EPISODES, WAY, QUERIES, TRAINING = "Early_Aramaic", 32, 5, 2, 600
PAGE = '<script type="module" src="/fslib/book/figures/pad.mjs"></script><few-shot-pad></few-shot-pad>'


def network():
    """A Prototypical Network trained on the training classes, or from the checkpoint, and how it was trained."""
    settings = RECIPES["omniglot/prototypical"].settings | {"episodes": TRAINING}
    torch.manual_seed(0)
    model = PrototypicalNetwork(Conv4())
    checkpoint = Path("runs") / "page-strokes-seed0.pt"
    history = fit(model, data.load("omniglot", "train"), **settings, seed=0, checkpoint=checkpoint)
    return model.cpu(), {"train_seconds": round(history.seconds, 1), "precision": history.precision}


def drawings() -> dict[str, list[tuple[list, np.ndarray]]]:
    """The strokes and the picture of every drawing of the alphabet, by character."""
    folder = data_dir() / "omniglot"
    found: dict[str, list] = {}
    with (
        zipfile.ZipFile(folder / "strokes_background_small1.zip") as strokes,
        zipfile.ZipFile(folder / "images_background.zip") as images,
    ):
        pictures = {Path(name).stem: name for name in images.namelist() if f"/{ALPHABET}/" in name}
        for name in sorted(strokes.namelist()):
            if f"/{ALPHABET}/" in name and name.endswith(".txt"):
                picture = Image.open(io.BytesIO(images.read(pictures[Path(name).stem]))).convert("L")
                drawing = parse(strokes.read(name).decode()), np.array(picture)
                found.setdefault(Path(name).parent.name, []).append(drawing)
    return found


def parse(text: str) -> list[list[list[float]]]:
    """Strokes in the frame of 105 × 105 from lines of x, −y and a time, `BREAK` after each stroke.

    The tablet reported every 30 ms; points less than half a pen's width from the one before are left out.
    """
    strokes = [[]]
    for line in text.split():
        if line == "BREAK":
            strokes.append([])
        elif line != "START":
            x, y, _ = map(float, line.split(","))
            if not strokes[-1] or math.dist(strokes[-1][-1], (x, -y)) > 2.5:
                strokes[-1].append([x, -y])
    return [stroke for stroke in strokes if stroke]


def in_python(model, support, query) -> list[int]:
    """The answers to the pictures of the queries."""
    pictures = data.to_input(torch.from_numpy(np.stack([picture for _, picture in support + query]))[:, None])
    with torch.no_grad():
        embeddings = model.embed(pictures)
    return model.compare(embeddings[:WAY], torch.arange(WAY), embeddings[WAY:]).argmax(-1).tolist()


def in_the_page(page, support, query) -> list[int]:
    """The answers of the pad to the strokes, drawn by mouse."""
    page.get_by_role("button", name="Clear all").click()
    for letter, (strokes, _) in zip("ABCDE", support):
        drag(page, page.get_by_role("application", name=f"example 1 of character {letter}:"), strokes)
    answers = []
    for strokes, _ in query:
        surface = page.get_by_role("application", name="the new drawing:")
        surface.press("Delete")
        drag(page, surface, strokes)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shares = page.locator("few-shot-pad").evaluate("pad => pad.result.shares")
        answers.append(shares.index(max(shares)))
    return answers


def main() -> None:
    """Draw, compare, and enter both accuracies in the ledger."""
    began = time.perf_counter()
    (model, training), characters = network(), drawings()
    weights = export.to_bytes(model.feature_extractor)
    random = np.random.default_rng(0)
    right = {"page": [], "python": []}
    with served(ROOT) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.route("**/conv4.f16.bin", lambda route: route.fulfill(body=weights))
        page.route("**/strokes.html", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        page.goto(f"{address}/strokes.html")
        page.wait_for_selector("few-shot-pad[data-ready]")
        page.get_by_label("Characters").select_option(str(WAY))
        page.get_by_label("Centre and scale").uncheck()  # Python sees the pictures as they are
        for _ in range(EPISODES):
            names = random.choice(sorted(characters), WAY, replace=False)
            chosen = [random.choice(len(characters[name]), 1 + QUERIES, replace=False) for name in names]
            support = [characters[name][i[0]] for name, i in zip(names, chosen)]
            query = [characters[name][k] for name, i in zip(names, chosen) for k in i[1:]]
            labels = torch.arange(WAY).repeat_interleave(QUERIES)
            for where, answers in (
                ("page", in_the_page(page, support, query)),
                ("python", in_python(model, support, query)),
            ):
                right[where].append((torch.tensor(answers) == labels).double().mean())
            print(*(f"{where} {torch.stack(values).mean():.4f}" for where, values in right.items()), flush=True)
    seconds = round(time.perf_counter() - began, 1)
    accuracies = {where: Accuracy(torch.stack(values)) for where, values in right.items()}
    for where, accuracy in accuracies.items():
        ledger.write({
            "id": f"omniglot/strokes-{where}-5way-1shot",
            "command": "python benchmarks/strokes.py",
            "method": f"strokes-{where}", "dataset": "omniglot", "split": "validation", "alphabet": ALPHABET,
            "way": WAY, "shot": 1, "query": QUERIES, "episodes": EPISODES, "seeds": [0],
            "metric": "accuracy", "mean": round(accuracy.mean, 6), "ci95": round(accuracy.ci95, 6), "seconds": seconds,
            "train_split": "train", "train_episodes": TRAINING, **training,
            **ledger.circumstances(torch.device("cpu")),
        })  # fmt: skip
    print(f"page − Python: {accuracies['page'] - accuracies['python']}, {EPISODES * WAY * QUERIES} queries")


if __name__ == "__main__":
    main()
