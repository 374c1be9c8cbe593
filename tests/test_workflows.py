"""What GitHub runs is what runs here, one `make` target a step, with few rights and no secret."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.everywhere import CHAPTERS

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf8")) for path in FILES}
for workflow in WORKFLOWS.values():
    workflow["on"] = workflow.pop(True)  # as which YAML reads that word
JOBS = {(name, job): what for name, workflow in WORKFLOWS.items() for job, what in workflow["jobs"].items()}
STEPS = [(name, step) for (name, _), job in JOBS.items() for step in job.get("steps", [])]
RUNS = [(name, step["run"]) for name, step in STEPS if "run" in step]
OTHERS = {"Make room for the image", "Open an issue, unless one is open"}  # steps that are no target
WRITES = {  # what a job may do beside reading; all others may do nothing
    ("site", "deploy"): {"pages": "write", "id-token": "write"},
    ("weekly", "issue"): {"issues": "write"},
    ("monthly", "issue"): {"issues": "write"},
    ("issue", "open"): {"issues": "write"},
}
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def targets(*names):
    """What these workflows make."""
    return {run.split()[1] for name, run in RUNS if name in names and run.startswith("make ")}


def test_each_step_is_one_target_that_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    made = set(re.findall(r"^([\w-]+):(?!=)", makefile, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", makefile, re.MULTILINE)[1].replace("\\", "").split())
    assert targets(*WORKFLOWS) <= made & phony
    for name, step in STEPS:
        if "run" in step and step.get("name") not in OTHERS:
            setting = r" [A-Z_]+=(\S+|\$\{\{ (matrix|vars)\.\w+ \}\})"
            assert re.fullmatch(rf"make [\w-]+({setting})*", step["run"]), (name, step)
    assert {step.get("name") for _, step in STEPS} - {None} == OTHERS


def test_a_change_meets_all_that_it_must_pass_here():
    (listed,) = re.findall(r"^for target in (.*); do$", (ROOT / ".ci" / "run").read_text(encoding="utf8"), re.MULTILINE)
    assert set(listed.split()) <= targets("tests", "site")
    assert all({"push", "pull_request"} <= WORKFLOWS[name]["on"].keys() for name in ("tests", "site"))


def test_it_is_tried_on_every_system_and_every_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    matrix = JOBS["tests", "units"]["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    oldest = project["requires-python"].removeprefix(">=")
    minors = [int(python.removeprefix("3.")) for python in matrix["python"]]
    assert matrix["python"][0] == oldest and minors == [*range(minors[0], minors[0] + len(minors))] and len(minors) > 3
    for name, step in STEPS:
        version = step.get("with", {}).get("python-version")
        assert version in (None, "${{ matrix.python }}", *matrix["python"]), name


def test_every_chapter_runs_everywhere_once_a_month():
    parts = JOBS["monthly", "everywhere"]["strategy"]["matrix"]["part"]
    for what in (*(path.stem for path in CHAPTERS), "tests"):
        assert len([part for part in parts if what.startswith(part)]) == 1, f"monthly.yml runs {what} in one part"
    (run,) = (run for name, run in RUNS if name == "monthly")
    assert run.startswith("make everywhere AGAIN=1 ")


@pytest.mark.parametrize("name", ["weekly", "monthly"])
def test_a_scheduled_run_that_is_red_opens_an_issue(name):
    assert len(WORKFLOWS[name]["on"]["schedule"]) == 1
    job = JOBS[name, "issue"]
    assert job["uses"] == "./.github/workflows/issue.yml"
    assert job["if"] == "${{ !success() && github.event_name == 'schedule' }}"
    assert {*job["needs"]} == {other for workflow, other in JOBS if workflow == name} - {"issue", "gpu"}


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize("is_open", [0, 1])
def test_one_issue_is_opened_and_no_second(tmp_path, is_open):
    gh, said = tmp_path / "gh", tmp_path / "said"
    gh.write_text(f'#!/bin/sh\nif [ "$2" = list ]; then echo {is_open}; fi\nprintf "%s|" "$@" >> "{said}"\n')
    gh.chmod(0o755)
    (run,) = (run for name, run in RUNS if name == "issue")
    words = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TITLE": "Weekly run failed", "RUN": "https://a.org/1"}
    subprocess.run(["bash", "-e", "-c", run], env=words, check=True)
    opens = "issue|create|--title|Weekly run failed|--body|https://a.org/1|"
    assert (opens in said.read_text()) == (not is_open) and 'in:title "Weekly run failed"' in said.read_text()


def test_each_action_is_of_github_and_has_one_version():
    used = {step["uses"] for _, step in STEPS if "uses" in step}
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)
    assert len({action.partition("@")[0] for action in used}) == len(used)


@each_file
def test_it_has_no_secret_and_no_more_rights_than_it_needs(path):
    workflow, text = WORKFLOWS[path.stem], path.read_text(encoding="utf8")
    assert "secrets" not in text and ("github.token" in text) == (path.stem == "issue")
    assert workflow["permissions"] in ({}, {"contents": "read"}) and "pull_request_target" not in workflow["on"]
    for job, what in workflow["jobs"].items():
        assert what.get("permissions", {}) == WRITES.get((path.stem, job), {})


@each_file
def test_it_neither_runs_for_ever_nor_twice_at_once(path):
    workflow = WORKFLOWS[path.stem]
    assert path.stem == "issue" or path.stem in workflow["concurrency"]["group"]
    for job, what in workflow["jobs"].items():
        assert "timeout-minutes" in what or job in ("issue", "open", "deploy")


def test_nothing_is_kept_between_runs_but_what_pip_fetched():
    assert {step["with"].get("cache", "pip") for _, step in STEPS if "with" in step} == {"pip"}
    assert not [path for path in FILES if "actions/cache" in path.read_text(encoding="utf8")]


def test_they_are_what_github_reads():
    if not (check := shutil.which("check-jsonschema")):
        pytest.skip("there is no check-jsonschema: pip install check-jsonschema")
    command = [check, "--builtin-schema", "vendor.github-workflows", *FILES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr


def test_contributing_names_each():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
    assert [path.name for path in FILES if f"`{path.name}`" not in text] == []
