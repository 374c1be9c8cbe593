"""The command ``fslib``: recognise classes of one's own without a program.

    fslib fit letters -o letters.model          # letters/alpha/1.png, letters/beta/1.png, …
    fslib predict letters.model photo.jpg more/

Where no such command is found, ``python -m fslib.command`` is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what takes seconds to import waits until main listens to Ctrl-C, and help does without
    from fslib.predictor import Answer, FewShotPredictor


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. The exit status is 1 if anything could not be read, though the rest was done; 130 by Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names need not be of the terminal's alphabet
            stream.reconfigure(errors="backslashreplace")
    chosen = _parser().parse_args(arguments)
    warnings.simplefilter("ignore", UserWarning)  # what they say is printed, whole
    try:
        return _fit(chosen) if chosen.do == "fit" else _predict(chosen)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # of head, say: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        raise SystemExit(f"fslib {chosen.do}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fslib",
        description="Recognise characters, or other things, from a few pictures of each.",
    )
    commands = parser.add_subparsers(dest="do", required=True, metavar="fit | predict")
    fit = commands.add_parser(
        "fit",
        help="learn classes from a folder for each, or a drawn alphabet",
        description="Learn classes from a folder for each, or a drawn alphabet. A model saved before is replaced.",
    )
    fit.add_argument(
        "folder", help="holds a folder for each class, as letters/alpha/1.png; or a .json file of the drawing pad"
    )
    fit.add_argument("-o", "--output", required=True, metavar="MODEL", help="file to write")
    fit.add_argument(
        "--photographs",
        metavar="NETWORK",
        help="for photographs of things: a network of torchvision, as resnet18, with its ImageNet weights",
    )
    fit.add_argument("--held-out", metavar="FOLDER", help="pictures of other classes, to calibrate on")
    fit.add_argument(
        "--keep",
        type=_share,
        default=0.95,
        help="share of pictures of known classes that predict is not to call unknown (default: %(default)s)",
    )
    predict = commands.add_parser(
        "predict",
        help="say of which class pictures are, or that it is unknown",
        description="Say of which class pictures are. What fits none well enough is refused and called unknown, unless "
        "nothing was held out in fit. The percentage of a class is for a picture that is of one of the classes. In "
        "JSON, what is refused has no label, and most_like is the class that fits best.",
    )
    predict.add_argument("model", help="file that fslib fit has written")
    predict.add_argument("images", nargs="+", help="pictures, or folders of them")
    for command in (fit, predict):
        command.add_argument("--json", action="store_true", help="print JSON, one object a line")
    return parser


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a share between 0 and 1 is meant, such as 0.95, not {text}") from None


def _fit(chosen: argparse.Namespace) -> int:
    from fslib.backbones import Pretrained
    from fslib.methods import PrototypicalNetwork
    from fslib.predictor.few_shot import FewShotPredictor, replaces

    replaced = replaces(chosen.output)  # said before the work is done
    network = None
    if chosen.photographs:
        network = PrototypicalNetwork(Pretrained(chosen.photographs, side=224, photographs=True))
    predictor = FewShotPredictor(network, keep=chosen.keep, held_out=chosen.held_out).fit(chosen.folder)
    predictor.save(chosen.output)
    classes = {name: int((predictor.examples_.labels == name).sum()) for name in predictor.classes_.tolist()}
    calibration = predictor.calibration_
    if chosen.json:
        told = {"model": chosen.output, "classes": classes, "report": predictor.report_}
        print(_json(told | {"calibration": calibration and asdict(calibration)}))
    else:
        for name, count in classes.items():
            print(f"{_shown(name)}: {count}")
        print(f"{len(classes)} classes, {sum(classes.values())} pictures: {chosen.output}")
        print(calibration or "Nothing is held out, so nothing is refused.")
        for each in predictor.report_:
            print(_shown(each), file=sys.stderr)
    if replaced:
        print(_shown(f"The model that was in {chosen.output} before is replaced."), file=sys.stderr)
    return 0


def _predict(chosen: argparse.Namespace) -> int:
    predictor = _loaded(chosen)
    width = min(max(len(_shown(name)) for name in ["unknown", *predictor.classes_.tolist()]), 30)
    status, left_out, empty = 0, list[str](), list[str]()
    for answer in predictor.recognise(_pictures(chosen.images, left_out, empty)):
        status |= answer.problem is not None
        if chosen.json:
            told = asdict(answer)
            print(_json(told | {"label": None} if answer.known is False else told))
        elif answer.problem is not None:
            print(_shown(answer.problem), file=sys.stderr)
        else:
            print(_line(answer, width))
    for each in left_out + empty:
        print(_shown(each), file=sys.stderr)
    return status or bool(empty)


def _loaded(chosen: argparse.Namespace) -> FewShotPredictor:
    """The model, which stands before the pictures."""
    from fslib.predictor import FewShotPredictor

    try:
        return FewShotPredictor.load(chosen.model)
    except (ValueError, OSError) as error:
        for each in chosen.images:
            with suppress(ValueError, OSError):
                FewShotPredictor.load(each)
                raise SystemExit(
                    f"fslib predict: The model stands before the pictures: fslib predict {each} {chosen.model}"
                ) from error
        raise


def _pictures(places: Sequence[str], left_out: list[str], empty: list[str]) -> Iterator[str | Path]:
    """The pictures in some places, which are files or folders, and a sentence for what is none and where none is."""
    from fslib.data.pictures import pictures_in

    for place in places:
        if not os.path.isdir(place):
            yield place
            continue
        path = None
        for path in pictures_in(place, left_out):
            yield path
        if path is None:
            empty.append(f"{place} holds no picture.")


def _line(answer: Answer, width: int) -> str:
    """What the command prints of one picture: class, probability, path, and what else is to be said.

    What is refused has no probability there, which would be taken for how sure the class is.
    """
    sure = f"{100 * (answer.probability or 0):3.0f} %"
    label = _shown(answer.most_like)
    said = [] if answer.known is not False else [f"of the known classes most like {label}"]
    if answer.duplicate is not None:
        said.append(f"nearly the same picture as {_shown(answer.duplicate)}")
    notes = f"  ({'; '.join(said)})" if said else ""
    first = f"{'unknown':{width}}      " if answer.known is False else f"{label:{width}} {sure}"
    return f"{first}  {_shown(answer.name)}{notes}"


def _json(told: dict[str, Any]) -> str:
    """JSON on a line, escaped only where the terminal's alphabet is too small for it."""
    text = json.dumps(told, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf8")
    except UnicodeEncodeError:
        return json.dumps(told)
    return text


def _shown(text: Any) -> str:
    """A name as it can be printed on a line."""
    return str(text) if str(text).isprintable() else repr(str(text))[1:-1]


if __name__ == "__main__":
    raise SystemExit(main())
