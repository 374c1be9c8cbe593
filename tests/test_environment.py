"""environment.yml says nothing that pyproject.toml does not."""

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
