"""The other doors say nothing that pyproject.toml does not, and lead somewhere."""

import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_conda_brings_python_and_pip_brings_what_pyproject_lists():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python, pip, by_pip = environment["dependencies"]
    (line,) = by_pip["pip"]
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", line)[1].split(",")
    assert pip == "pip" and set(extras) <= set(project["optional-dependencies"])
    assert python.removeprefix("python=") == project["requires-python"].removeprefix(">=")


def test_the_container_installs_what_pyproject_lists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = (ROOT / ".devcontainer" / "Dockerfile").read_text()
    described = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    for text in (recipe, described["postCreateCommand"]):
        (extras,) = re.findall(r"\.\[([\w,]+)\]", text)
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (python,) = re.findall(r"FROM python:([\d.]+)", recipe)
    least = project["requires-python"].removeprefix(">=")
    assert [int(part) for part in python.split(".")] >= [int(part) for part in least.split(".")]
    assert (ROOT / ".devcontainer" / described["build"]["dockerfile"]).exists()
    assert (ROOT / ".devcontainer" / described["build"]["context"]).resolve() == ROOT


def test_the_commands_for_windows_are_the_same_wherever_they_stand():
    for page in ("README.md", "book/how_to_use.md"):
        text = (ROOT / page).read_text(encoding="utf8")
        assert 'py -m pip install -e ".[book]"' in text and "py -m jupyter lab chapters" in text, page
