"""The commands in docs/clusters.md are ones that `sslax pretrain` takes."""

import pathlib
import re
import shlex

import pytest

from sslax.cli.pretrain import parse
from sslax.config import check

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
# What the cluster's environment would hold in one of the processes.
SET = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "JOB_COMPLETION_INDEX": "3"}


def commands():
    """What follows `sslax pretrain`, or the job script, in the page's blocks of code."""
    for block in PAGE.split("```")[1::2]:
        if block.startswith("text"):
            continue
        # A YAML text that is folded ends where the next key begins.
        joined = re.split(r"\n +resources:", block.replace("\\\n", " "))[0]
        folded = joined if "apiVersion" not in block else re.sub(r"\s*\n\s+", " ", joined)
        for found in re.findall(r"(?:sslax pretrain|slurm\.sbatch) ([^\n'\"]*)", folded):
            yield re.sub(r"\$(\w+)", lambda name: SET[name[1]], found)


@pytest.mark.parametrize("command", list(commands()))
def test_its_commands_are_understood(command):
    _, config = parse(shlex.split(command))
    check(config)
    spread = config.distributed
    assert spread.coordinator is None or (spread.processes, spread.process) == (4, 3)


def test_every_kind_of_cluster_has_a_command():
    found = list(commands())
    assert sum("--distributed.auto" in command for command in found) == 2
    assert sum("--distributed.process 3" in command for command in found) == 2
    assert len(found) == 6
