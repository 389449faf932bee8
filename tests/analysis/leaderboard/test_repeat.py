"""The command on the page that makes a cell again says what its record says."""

import copy
import json
import shlex
from pathlib import Path

from medssl_bench.analysis.leaderboard.repeat import command

EXAMPLE = Path(__file__).parents[2] / "example_record.json"


def options(record: dict) -> dict[str, str]:
    words = shlex.split(command(record))
    assert words[:2] == ["bench", "run"]
    return dict(zip(words[2::2], words[3::2], strict=True))


def test_a_task_that_the_package_does_not_bring_is_named_as_the_file_it_was() -> None:
    record = json.loads(EXAMPLE.read_bytes())
    own = copy.deepcopy(record)
    record["cell"]["task"], own["cell"]["task"] = "phantom_ct", "hippocampus"
    assert options(record)["--tasks"] == "phantom_ct"
    assert options(own)["--tasks"] == "hippocampus.yaml"
    assert options(own)["--methods"] == own["cell"]["method"]
    assert int(options(own)["--draws"]) == own["cell"]["draw"] + 1
