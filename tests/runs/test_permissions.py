"""Checkpoints without read permission. This file runs itself in a process of the user nobody."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import jax
import pytest

import sslax
from sslax.errors import InputError
from sslax.training import DamagedCheckpoint, build, start_state
from tests import compilation, tiny
from tests.runs.saved import data_file, goes_on, make

FORBIDDEN = {
    "a folder": lambda folder: (folder / "12").chmod(0),
    "a file": lambda folder: data_file(folder / "12").chmod(0),
    "the digest": lambda folder: (folder / "12" / "digest.json").chmod(0),
    "all": lambda folder: folder.chmod(0),
}


def test_loading_skips_unreadable_checkpoints_and_resuming_stops_with_an_error():
    if os.getuid() != 0:
        pytest.skip("permissions are tried as the user nobody, which only root can become")
    here = {"cwd": compilation.ROOT, "env": compilation.environment()}
    # Not in pytest's folder, which only root can read.
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        place.chmod(0o755)
        make(place / "whole")
        for case in FORBIDDEN:
            shutil.copytree(place / "whole", place / case)
        for case, forbid in FORBIDDEN.items():
            forbid(place / case / "checkpoints")
        command = [sys.executable, "-m", "tests.runs.test_permissions", *(str(place / case) for case in FORBIDDEN)]
        tried = subprocess.run(command, **here, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr
    said = json.loads(tried.stdout)
    for case in ("a folder", "a file", "the digest"):
        assert said[case]["load"] == 8, said[case]
        # The checkpoint cannot be moved either, so the run does not resume.
        assert "is damaged (permission denied) and cannot be moved out of the way" in said[case]["resume"]
    for attempt in ("load", "resume"):
        assert "cannot be used for checkpoints: Permission denied" in said["all"][attempt]


def as_nobody(folders):
    """Load and resume each folder as a user without permissions; print the outcomes as JSON."""
    config = tiny.config()
    built = build(config, tiny.dataset(), devices=jax.devices()[:1])
    made = (None, config, built, start_state(config, built))
    attempts = {"load": lambda folder: sslax.load(folder).state, "resume": lambda folder: goes_on(folder, made)}
    warnings.simplefilter("ignore", DamagedCheckpoint)
    for attempt in attempts.values():
        # Import everything while this process still has its permissions.
        attempt(folders[0].with_name("whole"))
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    said = {}
    for folder in folders:
        said[folder.name] = {}
        for name, attempt in attempts.items():
            try:
                said[folder.name][name] = int(attempt(folder).step)
            except InputError as error:
                said[folder.name][name] = str(error)
    print(json.dumps(said))


if __name__ == "__main__":
    as_nobody([pathlib.Path(folder) for folder in sys.argv[1:]])
