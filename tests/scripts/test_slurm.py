"""scripts/slurm.sbatch under a real SLURM: stopped before its time limit, killed, put back into the queue, and ended."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from tests import compilation
from tests.data.images import write_folder
from tests.scripts import cluster

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "slurm.sbatch"
SMALL = (
    "--network.name patch-resnet --network.width 4 --network.patch-size 2 --batch-size 64 --eval-every 0 --log-every 2"
)
# The heartbeat is for loaded machines, on which a process may say nothing for longer than the usual 20 s.
FEW = ["--optim.warmup-epochs", "1", "--distributed.heartbeat", "300", *SMALL.split()]

MISSING = ", ".join(cluster.missing())


def on_slurm(test):
    """Mark a test that starts a SLURM."""
    return pytest.mark.slow(
        pytest.mark.skipif(bool(MISSING), reason=f"SLURM (Debian: slurm-wlm) lacks {MISSING}")(test)
    )


@pytest.mark.parametrize(
    ("left_with", "settings", "requeue", "code", "asked"),
    [
        (0, {}, 0, 0, ""),
        (75, {}, 0, 75, "requeue 7\n"),
        (75, {"MAX_RESTARTS": "3", "SLURM_RESTART_COUNT": "2"}, 0, 75, "requeue 7\n"),
        (75, {"MAX_RESTARTS": "3", "SLURM_RESTART_COUNT": "3"}, 0, 75, ""),
        (75, {}, 1, 75, "requeue 7\n"),
        (2, {}, 0, 2, ""),
        (134, {}, 0, 134, ""),
        (134, {"REQUEUE_ON": "75 134"}, 0, 75, "requeue 7\n"),
        (34, {"REQUEUE_ON": "75 134"}, 0, 34, ""),
    ],
)
def test_what_the_script_does_with_an_exit_code(tmp_path, left_with, settings, requeue, code, asked):
    """With an srun and a scontrol that only leave with a code; scontrol may refuse."""
    for name, text in {
        "srun": f'echo "$@"; exit {left_with}',
        "scontrol": f'echo "$@" > asked; exit {requeue}',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]"}
    command = ["bash", str(SCRIPT), "simclr-digits", "--run-dir", "a folder"]
    done = subprocess.run(command, cwd=tmp_path, env=environment | settings, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
    assert " sslax pretrain simclr-digits --run-dir a folder --distributed.auto\n" in done.stdout
    assert ((tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else "") == asked


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    command = folder / "bin" / "sslax"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sslax "$@"\n')
    command.chmod(0o755)
    with cluster.started(folder) as started:
        started.environment |= {
            "PATH": f"{command.parent}:{started.environment['PATH']}",
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": compilation.FLAGS.replace("device_count=8", "device_count=1"),
        }
        yield started


def submit(slurm, folder, *options, extra=None):
    """Two tasks on CPU; gives the job's number. Of what follows `--`, the run's own flags."""
    own, flags = options[: options.index("--")], options[options.index("--") + 1 :]
    given = ["--gpus-per-node=0", "--ntasks-per-node=2", "--cpus-per-task=1", f"--chdir={folder}", *own]
    command = ["sbatch", "--parsable", *given, str(SCRIPT), *flags, "--run-dir", f"{folder}/run"]
    return slurm(*command, extra=extra or {}).strip()


def wait(slurm, job, until, seconds=600):
    """Wait until the job's fields are as wanted; gives them. Shows the log where it ends before that, or takes too long."""
    deadline = time.monotonic() + seconds
    while not until(fields := slurm.job(job)):
        if ended(fields) or time.monotonic() > deadline:
            with contextlib.suppress(OSError):
                print(log(fields))
            raise AssertionError(fields)
        time.sleep(0.2)
    return fields


def ended(fields):
    return fields["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


def log(fields):
    return pathlib.Path(fields["StdOut"]).read_text()


def steps_of(folder):
    path = folder / "run" / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line)["step"] for line in text.splitlines(keepends=True) if line.endswith("\n")]


@on_slurm
def test_a_run_that_is_stopped_and_killed_goes_on(slurm, tmp_path):
    flags = ["simclr-digits", "--limit", "256", "--epochs", "100", "--checkpoint-every", "5", *FEW]
    job = submit(slurm, tmp_path, "--time=60", "--signal=TERM@20", "--", *flags)
    # As before a time limit: all processes of the step get the signal, the script does not.
    wait(slurm, job, lambda fields: len(steps_of(tmp_path)) > 10)
    slurm("scancel", "--signal=TERM", job)
    wait(slurm, job, lambda fields: "Stopped after step" in log(fields) and "restart 1" in log(fields))
    before = len(steps_of(tmp_path))
    # As SLURM preempts a job without grace: SIGTERM to all, SIGKILL after KillWait, and the script is not asked.
    wait(slurm, job, lambda fields: fields["JobState"] == "RUNNING" and len(steps_of(tmp_path)) > before + 10)
    slurm("scontrol", "requeue", job)
    fields = wait(slurm, job, ended, seconds=900)
    said = log(fields)
    print(said)
    assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0")
    # On a loaded machine the processes may also lose each other, and the job goes back into the queue once more.
    assert int(fields["Restarts"]) >= 2
    assert said.count("goes back into the queue") >= 1
    stopped, resumed = (
        [int(step) for step in re.findall(rf"{what} step (\d+)", said)] for what in ("Stopped after", "Going on from")
    )
    assert resumed[0] == stopped[0]
    assert len(resumed) >= 2
    assert resumed == sorted(resumed)
    assert set(stopped) <= set(resumed)
    assert steps_of(tmp_path) == list(range(2, 401, 2))
    assert set(json.loads((tmp_path / "run" / "result.json").read_text())) == {"raw_pixels", "untrained", "pretrained"}


@on_slurm
def test_a_job_whose_requeue_is_forbidden_saves_and_ends(slurm, tmp_path):
    """With worker processes, which get the SIGTERM too."""
    data = write_folder(tmp_path / "images", {"train/a": 64, "train/b": 64, "test/a": 4, "test/b": 4})
    flags = ["simclr-digits", "--data", data, "--canvas", "8", "--feed", "streamed", "--workers", "1"]
    job = submit(slurm, tmp_path, "--time=10", "--", *flags, "--epochs", "5000", *FEW)
    wait(slurm, job, lambda fields: len(steps_of(tmp_path)) > 4)
    slurm("scontrol", "update", f"JobId={job}", "Requeue=0")
    slurm("scancel", "--signal=TERM", job)
    fields = wait(slurm, job, ended)
    said = log(fields)
    print(said)
    assert (fields["JobState"], fields["ExitCode"], fields["Restarts"]) == ("FAILED", "75:0", "0")
    (stopped,) = set(re.findall(r"Stopped after step (\d+)", said))
    assert int(stopped) in [
        int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()
    ]


@on_slurm
def test_a_wrong_input_is_not_repeated(slurm, tmp_path):
    job = submit(slurm, tmp_path, "--time=10", "--", "simclr-digits", "--epochs", "0")
    fields = wait(slurm, job, ended)
    assert (fields["JobState"], fields["ExitCode"], fields["Restarts"]) == ("FAILED", "2:0", "0")
    assert "error: epochs is 0" in log(fields)
    assert f"Job {job} ended with exit code 2." in log(fields)
