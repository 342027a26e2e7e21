"""Stops at the worst moments, and a full disk: the files stay intact, and the same command resumes."""

import contextlib
import itertools
import os
import pathlib
import signal
import subprocess
import sys

import orbax.checkpoint as ocp
import pytest

from sslax.cli import terminal
from sslax.config import to_dict
from sslax.errors import InputError
from sslax.runs import RunDir
from sslax.runs.checkpoints import Checkpoints
from sslax.training import Interrupted, fit, loop
from tests import tiny
from tests.training.test_training import same

ROOT = pathlib.Path(__file__).resolve().parents[2]


def config():
    return tiny.config(eval_every=1, epochs=2)


def train(path, follow=lambda line: None, built=None):
    run, data = RunDir(path, to_dict(config())), tiny.dataset()
    return fit(config(), built or tiny.alone(config()), data, run, follow=follow), run


def lines(run):
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_s")} for line in run.metrics()]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "straight")


def ends_as(straight, path):
    state, run = train(path)
    assert same(state, straight[0])
    assert lines(run) == lines(straight[1])
    text = (path / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    assert text.count("\n") == len(run.metrics()) == 4


def code_of(path, **options):
    return terminal.exit_code(lambda: train(path, **options))


def once(wrapped, before=lambda: None, after=lambda: None):
    """Wrap `wrapped` with an action before and after its first call."""
    called = []

    def call(*args, **kwargs):
        first = not called
        called.append(1)
        if first:
            before()
        result = wrapped(*args, **kwargs)
        if first:
            after()
        return result

    return call


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def ctrl_c():
    """Python's handler for Ctrl-C; a shell that starts the tests in the background makes it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_stop_during_compilation(straight, tmp_path):
    built = tiny.alone(config())._replace(programs=None)
    # Its Python code runs during tracing.
    method = built.method._replace(loss=once(built.method.loss, before=interrupt))
    assert code_of(tmp_path / "run", built=built._replace(method=method)) == terminal.INTERRUPTED
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [1]
    ends_as(straight, tmp_path / "run")


def test_a_stop_during_evaluation(straight, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "measure", once(loop.measure, before=interrupt))
        assert code_of(tmp_path / "run") == terminal.INTERRUPTED
    assert capsys.readouterr().err == (
        "Stopped after step 5 of 8; its state is saved. Run the same command again to go on.\n"
    )
    ends_as(straight, tmp_path / "run")


def test_a_stop_while_a_checkpoint_is_written(straight, tmp_path, monkeypatch):
    """The first Ctrl-C waits for the write to finish, and the step after it is saved too."""
    with monkeypatch.context() as patch:
        patch.setattr(ocp.Checkpointer, "save", once(ocp.Checkpointer.save, before=interrupt))
        with pytest.raises(Interrupted, match="step 5 of 8"):
            train(tmp_path / "run")
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [4, 5]
    ends_as(straight, tmp_path / "run")


def test_two_stops_while_a_checkpoint_is_written(straight, tmp_path, monkeypatch, capsys):
    """The second Ctrl-C ends it at once, after the arrays are written but before the checkpoint is complete."""

    def twice():
        interrupt()
        interrupt()

    with monkeypatch.context() as patch:
        patch.setattr(ocp.Checkpointer, "save", once(ocp.Checkpointer.save, after=twice))
        assert code_of(tmp_path / "run") == terminal.INTERRUPTED
    assert "Run the same command again" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["4.partial"]
    ends_as(straight, tmp_path / "run")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a separate disk of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(file: pathlib.Path):
    """Fill the rest of the disk of `file`."""
    with open(file, "ab", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def test_a_full_disk(straight, small_disk, capsys):
    path, filler = small_disk / "run", small_disk / "filler"
    assert code_of(path, follow=lambda line: fill(filler) if line.get("step") == 6 else None) == terminal.INPUT
    said = capsys.readouterr().err
    assert said.startswith(f"error: The checkpoint of step 8 cannot be written to {path / 'checkpoints'} (")
    assert "o space left on device" in said
    assert "but the one of step 4 is whole" in said
    assert said.count("\n") == 1
    assert [entry.name for entry in (path / "checkpoints").iterdir()] == ["4"]
    # The disk is still full: the error is one sentence again, and nothing is lost.
    fill(filler)
    assert code_of(path) == terminal.INPUT
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    filler.unlink()
    ends_as(straight, path)


def test_a_line_of_metrics_is_written_completely_or_not_at_all(small_disk):
    run = RunDir(small_disk / "run", to_dict(config()))
    run.begin({"name": "tiny"})
    steps = itertools.count()

    def write_on():
        while True:
            run.append({"step": next(steps), "seconds": 1.0, "what": "x" * 300})

    with pytest.raises(InputError, match=r"metrics\.jsonl cannot be written: No space left on device"):
        write_on()
    text = (small_disk / "run" / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    assert text.count("\n") == len(run.metrics()) == next(steps) - 1


def test_a_full_disk_elsewhere_gives_one_sentence(capsys):
    def write():
        raise OSError(28, os.strerror(28), "report.html")

    assert terminal.exit_code(write) == terminal.INPUT
    said = "error: report.html: No space left on device; make room, and run the same command again.\n"
    assert capsys.readouterr().err == said


LOST = """
import os, signal, time
from sslax.cli import terminal

class Cleared:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

def script():
    Cleared()
    print("went on", flush=True)
    time.sleep(60)

terminal._AGAIN = 0.1
terminal.run_script(script)
"""


def test_a_stop_request_that_python_loses_is_repeated():
    """Python drops an exception that is raised while an object is deallocated."""
    ended = subprocess.run(
        [sys.executable, "-c", LOST], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == terminal.INTERRUPTED
    assert ended.stdout == "went on\n"
    assert ended.stderr.endswith("Asked to end. Run the same command again to go on from the last checkpoint.\n")


def test_messages_of_a_resumed_run(capsys):
    with terminal.training_progress(100, 10) as show:
        show({"passed_over": ["The checkpoint of step 8 is damaged (it has [brackets])."]})
        show({"resumed_at": 4})
        show({"restarted": 3})
    assert capsys.readouterr().out == (
        "The checkpoint of step 8 is damaged (it has [brackets]).\n"
        "Going on from step 4 of 100, where the run stopped.\n"
        "The run had come to step 3 and ended before its first checkpoint, so it starts from step 0.\n"
    )
