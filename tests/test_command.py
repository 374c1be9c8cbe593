"""The command, as its user types it."""

import io
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fslib
from fslib import backbones, command, storage
from fslib.data.alphabets import Alphabet
from fslib.predictor import FewShotPredictor
from tests.test_predictor import STROKES, drawn

ROOT = Path(fslib.__file__).parents[1]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder to work in, with letters to learn and new pictures."""
    monkeypatch.chdir(tmp_path)
    for name in ("cross", "vee", "bøx"):
        Path("letters", name).mkdir(parents=True)
        for i in range(3):
            drawn("box" if name == "bøx" else name, i).save(f"letters/{name}/{i}.png")
    Path("new").mkdir()
    for name in ("cross", "vee"):
        drawn(name, 40).save(f"new/{name}.png")
    return tmp_path


def run(capsys, *arguments):
    status = command.main(arguments)
    return status, *capsys.readouterr()


def test_from_a_folder_to_answers(desk, capsys):
    status, out, err = run(capsys, "fit", "letters", "-o", "my.model")
    assert status == 0 and err == ""
    assert out.splitlines()[:4] == ["bøx: 3", "cross: 3", "vee: 3", "3 classes, 9 pictures: my.model"]
    assert re.fullmatch(
        r"On 164 held-out classes: of known ones 9\d % of the pictures are kept, of the others \d\d % are refused\.",
        out.splitlines()[4],
    )
    status, out, err = run(capsys, "predict", "my.model", "new", "letters/vee/0.png")
    assert status == 0 and err == ""
    lines = out.splitlines()
    assert re.fullmatch(r"cross   +\d+ %  new/cross\.png", lines[0])
    assert re.fullmatch(r"vee     +\d+ %  new/vee\.png", lines[1])
    assert lines[2].endswith("letters/vee/0.png  (nearly the same picture as letters/vee/0.png)")


def test_from_an_alphabet_of_the_pad_to_answers(desk, capsys):
    drawn_once = {name: [[12 + 80 * np.array(stroke) for stroke in STROKES[name]]] for name in ("cross", "vee")}
    Alphabet(drawn_once).save("mine.json")
    status, out, err = run(capsys, "fit", "mine.json", "-o", "my.model")
    assert status == 0 and out.splitlines()[:2] == ["cross: 1", "vee: 1"] and "single picture" in err
    assert [line.split()[0] for line in run(capsys, "predict", "my.model", "new")[1].splitlines()] == ["cross", "vee"]
    with pytest.raises(SystemExit, match=r"^fslib fit: There is no alphabet none\.json"):
        command.main(["fit", "none.json", "-o", "other.model"])


def test_json(desk, capsys):
    _, out, _ = run(capsys, "fit", "letters", "-o", "my.model", "--json", "--keep", "0.9")
    told = json.loads(out)
    assert told["classes"] == {"bøx": 3, "cross": 3, "vee": 3} and told["report"] == []
    assert told["calibration"]["classes"] == 164 and told["calibration"]["kept"] == pytest.approx(0.9, abs=0.01)
    assert '"bøx": 3' in out
    status, out, _ = run(capsys, "predict", "my.model", "new/vee.png", "gone.png", "--json")
    vee, gone = map(json.loads, out.splitlines())
    assert status == 1
    assert (vee["name"], vee["label"], vee["known"], vee["problem"]) == ("new/vee.png", "vee", True, None)
    assert gone["label"] is None and gone["problem"] == "There is no picture gone.png."


def test_json_where_the_alphabet_is_small_or_a_name_is_no_text(monkeypatch):
    told = {"ø": "\udcff"}
    assert json.loads(command._json(told)) == told and command._json({"ø": "字"}) == '{"ø": "字"}'
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert command._json({"ø": 1}) == '{"\\u00f8": 1}'


def test_broken_pictures_are_told_and_the_rest_is_done(desk, capsys):
    Path("letters/vee/1.png").write_text("no picture")
    Path("letters/cross/2.png").unlink()
    Path("letters/cross/1.png").unlink()
    Path("new/a text.png").write_text("no picture")
    Path("new/Thumbs.db").write_text("no picture")
    Path("empty").mkdir()
    Path("empty/.DS_Store").write_text("no picture")
    status, out, err = run(capsys, "fit", "letters", "-o", "my.model")
    assert status == 0 and "vee: 2" in out
    assert "letters/vee/1.png is not a picture that can be read" in err.splitlines()[0]
    assert err.splitlines()[1].startswith("Of 'cross' there is a single picture")
    status, out, err = run(capsys, "predict", "my.model", "new")
    assert status == 1 and len(out.splitlines()) == 2 and len(err.splitlines()) == 2
    assert err.startswith("new/a text.png is not a picture that can be read")
    assert err.splitlines()[1] == "new/Thumbs.db is no picture, as its name says."
    Path("new/a text.png").unlink()
    status, out, err = run(capsys, "predict", "my.model", "new")
    assert status == 0 and len(out.splitlines()) == 2 and err == "new/Thumbs.db is no picture, as its name says.\n"
    for places, answers in ((["empty"], 0), (["empty", "new/vee.png"], 1)):
        status, out, err = run(capsys, "predict", "my.model", *places)
        assert status == 1 and len(out.splitlines()) == answers and err == "empty holds no picture.\n"


def test_what_is_unknown_is_called_so(desk, capsys):
    torch.manual_seed(0)
    for number in range(8):
        Path("others", str(number)).mkdir(parents=True)
        for i in range(3):
            drawn(list(STROKES)[number % 4], 10 * number + i).save(f"others/{number}/{i}.png")
    run(capsys, "fit", "letters", "-o", "my.model", "--held-out", "others", "--keep", "0.02")
    _, out, _ = run(capsys, "predict", "my.model", "new")
    assert re.fullmatch(r"unknown +new/cross\.png  \(of the known classes most like cross\)", out.splitlines()[0])
    for unknown in (None, "none of them"):  # a label that Python set
        FewShotPredictor.load("my.model").set_params(unknown=unknown).save("my.model")
        cross = json.loads(run(capsys, "predict", "my.model", "new", "--json")[1].splitlines()[0])
        assert (cross["label"], cross["most_like"], cross["known"]) == (None, "cross", False)


def test_mistakes_are_told_in_a_sentence(desk, capsys):
    Path("empty").mkdir()
    Path("one/a").mkdir(parents=True)
    drawn("vee", 1).save("one/a/1.png")
    FewShotPredictor().fit("letters").save("my.model")
    Path("half.model").write_bytes(Path("my.model").read_bytes()[:5000])
    wrong = {
        ("fit", "empty", "-o", "m"): "fslib fit: empty holds no folder with pictures",
        ("fit", "gone", "-o", "m"): "fslib fit: There is no folder gone",
        ("fit", "one", "-o", "m"): "there is one class, 'a'",
        ("fit", "letters", "-o", "empty"): "fslib fit: empty is a folder; name a file, as empty/my.model.",
        ("fit", "letters", "-o", "new/vee.png"): "new/vee.png is there and no predictor that fslib has saved, so it is",
        ("fit", "letters", "-o", "half.model"): "half.model is there and no predictor that fslib has saved",
        ("fit", "letters", "-o", "new/vee.png/m"): "m cannot be written, for new/vee.png is a file and no folder.",
        ("fit", "letters", "-o", "m", "--keep", "2"): "keep is a share between 0 and 1",
        ("fit", "letters", "-o", "m", "--photographs", "resnet17"): "torchvision has no model 'resnet17'",
        ("fit", "letters", "-o", "m", "--held-out", "letters"): "Held-out classes are other ones",
        ("predict", "half.model", "new"): "half.model is not a predictor",
        ("predict", "gone.model", "new"): "There is no saved predictor gone.model",
        ("predict", "new", "letters"): "fslib predict: new is a folder, and no saved predictor.",
        ("predict", "new", "my.model"): "The model stands before the pictures: fslib predict my.model new",
        ("predict", "new/vee.png", "new", "my.model"): "fslib predict: The model stands before the pictures: fslib pre",
    }
    for arguments, message in wrong.items():
        with pytest.raises(SystemExit) as refused:
            command.main(arguments)
        assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not Path("m").exists() and Image.open("new/vee.png").size


def test_a_model_is_replaced_and_that_is_told(desk, capsys):
    assert run(capsys, "fit", "letters", "-o", "my.model")[2] == ""
    before = Path("my.model").read_bytes()
    (desk / "letters" / "vee").rename(desk / "letters" / "wee")
    status, out, err = run(capsys, "fit", "letters", "-o", "my.model", "--json")
    assert status == 0 and err == "The model that was in my.model before is replaced.\n" and json.loads(out)
    assert Path("my.model").read_bytes() != before


def test_a_share_is_no_percentage(capsys):
    for command_line in ("--keep 95%", "--keep most"):
        with pytest.raises(SystemExit):
            command.main(["fit", "letters", "-o", "m", *command_line.split()])
        assert "argument --keep: a share between 0 and 1 is meant, such as 0.95, not " in capsys.readouterr().err


def test_who_interrupts_is_told_so_and_nothing_is_left_behind(desk, capsys, monkeypatch):
    before = sorted(desk.rglob("*"))

    def interrupt(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "serialize", interrupt)  # while a file is written
    assert run(capsys, "fit", "letters", "-o", "deep/my.model") == (130, "", "Interrupted.\n")
    assert sorted(desk.rglob("*")) == before
    monkeypatch.setattr(FewShotPredictor, "load", interrupt)
    assert run(capsys, "predict", "my.model", "new") == (130, "", "Interrupted.\n")


def test_help_comes_before_anything_large_is_loaded():
    told = "import sys; from fslib import command; print('torch' in sys.modules, 'fslib.storage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout == "False False\n"


def test_photographs(desk, capsys, monkeypatch):
    """With first weights, for none can be fetched here: of accuracy nothing is claimed."""
    real = backbones.Pretrained
    monkeypatch.setattr(backbones, "Pretrained", lambda name, side, photographs: real(name, None, 32, photographs))
    status, out, _ = run(capsys, "fit", "letters", "-o", "my.model", "--photographs", "resnet18")
    assert status == 0 and out.splitlines()[-1] == "Nothing is held out, so nothing is refused."
    assert run(capsys, "predict", "my.model", "new")[0] == 0
    assert FewShotPredictor.load("my.model")._eye.model.feature_extractor.photographs


def test_names_that_do_not_print(desk, capsys):
    Image.fromarray(np.asarray(drawn("vee", 8))).save("new/new\nline.png")
    run(capsys, "fit", "letters", "-o", "my.model")
    out = run(capsys, "predict", "my.model", "new")[1]
    assert len(out.splitlines()) == 3 and "new/new\\nline.png" in out
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT), "PATH": ""}
    told = [sys.executable, "-m", "fslib.command", "predict", "my.model", "letters/bøx/0.png"]
    done = subprocess.run(told, capture_output=True, env=environment, text=True)
    assert done.returncode == 0 and done.stdout.startswith("b\\xf8x"), done.stderr


def test_who_reads_no_further_is_left_in_peace(desk):
    FewShotPredictor().fit("letters").save("my.model")
    code = "from fslib.command import main; raise SystemExit(main(['predict', 'my.model', *['new'] * 300]))"
    told = f'{sys.executable} -c "{code}" | head -1'
    done = subprocess.run(told, shell=True, capture_output=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    assert done.stdout.startswith(b"cross") and done.stderr == b""


def test_it_is_installed_under_its_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    assert project["scripts"] == {"fslib": "fslib.command:main"}
    with pytest.raises(SystemExit) as told:
        command.main(["--help"])
    assert told.value.code == 0
