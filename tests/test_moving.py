"""The ledger in files of an experiment holds what the ledger in files of a record held, to the letter.

For the one commit in which it moved.
"""

import json
import subprocess
from pathlib import Path

from fslib.book import ledger

ROOT = Path(__file__).parents[1]


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_no_record_is_lost_or_changed():
    gone = "results/omniglot/recipe-20way-1shot-views0-seed0.json"
    before = git("log", "-1", "--diff-filter=D", "--format=%H^", "--", gone)
    commit = before.strip() or "HEAD"  # as long as the move is not committed
    names = [name for name in git("ls-tree", "-r", "--name-only", commit, "results").split() if name.endswith(".json")]
    old = {name: json.loads(git("show", f"{commit}:{name}")) for name in names}
    new = {record["id"]: record for record in ledger.find()}
    assert len(old) == len(new) == 663
    for name, record in old.items():
        id = name.removeprefix("results/").removesuffix(".json")
        # As texts: in the same order of keys, and each number with the same digits.
        assert json.dumps(new[id]) == json.dumps(record)
