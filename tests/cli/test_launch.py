"""The launcher's messages about how processes end. The processes are stubs; the slow tests below launch real runs."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from sslax.cli import launch, terminal

ROOT = pathlib.Path(__file__).resolve().parents[2]
SLEEP = "import time; time.sleep(60)"
IGNORE = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(75)); print('ready', flush=True); time.sleep(60)"


class Run:
    """A stub of `RunDir` with the method that the launcher calls."""

    def __init__(self, *steps):
        self._steps = steps

    def metrics(self):
        return [{"step": step} for step in self._steps]


def end(*programs, steps=(4, 8)):
    """Watch these programs; returns the exit code and the processes."""
    started = [launch.Process(i, [sys.executable, "-c", code], dict(os.environ)) for i, code in enumerate(programs)]
    return launch.watch(started, Run(*steps)), started


def dies(number):
    return f"import os; os.kill(os.getpid(), {int(number)})"


def test_exit_code_is_0_if_all_processes_succeed(capsys):
    code, _ = end("print('[Gloo] noise'); print('done')", "print('not heard')")
    assert code == terminal.DONE
    assert capsys.readouterr().out == "done\n"


@pytest.mark.parametrize(("victim", "who"), [(0, "Process 0 of 2, the coordinator, was"), (1, "Process 1 of 2 was")])
def test_a_killed_process_is_named(victim, who, capsys):
    programs = [SLEEP, SLEEP]
    programs[victim] = dies(signal.SIGKILL)
    code, started = end(*programs)
    assert code == terminal.INTERRUPTED
    assert all(process.ended() is not None for process in started) or not time.sleep(0.5)
    assert capsys.readouterr().err == (
        f"{who} ended by SIGKILL; the last logged step is 8. The other processes were ended. "
        "Run the same command again to go on from the last checkpoint.\n"
    )


def test_a_process_that_does_not_respond_is_named(capsys, monkeypatch):
    """JAX aborts the processes that notice the silence; the one that still runs is the culprit."""
    monkeypatch.setattr(launch, "_GRACE", 0.2)
    code, _ = end(dies(signal.SIGABRT), SLEEP, steps=())
    assert code == terminal.INTERRUPTED
    assert capsys.readouterr().err.startswith("Process 1 of 2 stopped responding; no step was logged. The")


def test_an_input_error_of_any_process_is_passed_on(capsys, monkeypatch):
    monkeypatch.setattr(launch, "_GRACE", 0.2)
    code, _ = end(SLEEP, "import sys; print('error: data is gone.', file=sys.stderr); sys.exit(2)")
    assert code == terminal.INPUT
    assert capsys.readouterr().err == "error: data is gone.\n"


def test_a_traceback_is_shown_and_the_process_is_named(capsys):
    code, _ = end(SLEEP, "raise ValueError('a mistake')")
    assert code == 1
    said = capsys.readouterr().err
    assert "ValueError: a mistake\nProcess 1 of 2 ended with exit code 1; the last logged step is 8" in said


def test_ctrl_c_lets_all_processes_save_and_stop(capsys):
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    code, started = end(IGNORE, IGNORE)
    assert code == terminal.INTERRUPTED
    assert [process.ended() for process in started] == [75, 75]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"processes": 0}, "processes is 0; it must be at least 1."),
        ({"devices_per_process": 0}, "devices_per_process is 0; it must be at least 1."),
        ({"heartbeat": 0}, "heartbeat is 0; it must be at least 1."),
        ({"arguments": ("nothing",)}, "CONFIG is nothing, which does not exist"),
        ({"arguments": ("--epochs", "0")}, "epochs is 0; it must be at least 1."),
    ],
)
def test_wrong_options_are_reported_before_any_process_starts(options, sentence, capsys, monkeypatch):
    monkeypatch.setattr(launch, "start", None)
    assert terminal.exit_code(lambda: launch.launch(launch.Options(**options))) == terminal.INPUT
    assert sentence in capsys.readouterr().err


def steps_of(folder):
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    # The last line may be incomplete while the run writes it.
    return [json.loads(line)["step"] for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.slow
def test_a_run_resumes_after_its_processes_are_killed(tmp_path):
    """Kill a worker, kill the coordinator, suspend one, stop one, press Ctrl-C; then let the run finish."""
    folder = tmp_path / "run"
    small = ["--network.name", "patch-resnet", "--network.width", "4", "--network.patch-size", "2", "--limit", "256"]
    often = [
        "--batch-size",
        "64",
        "--epochs",
        "60",
        "--optim.warmup-epochs",
        "1",
        "--eval-every",
        "0",
        "--log-every",
        "2",
    ]
    own = [*small, *often, "--checkpoint-every", "2", "--run-dir", str(folder)]
    command = [sys.executable, "-m", "sslax", "launch", "--processes", "2", "--devices-per-process", "4", "--", *own]

    def begin():
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, **pipes)

    said = {
        (1, signal.SIGKILL): "Process 1 of 2 was ended by SIGKILL; the last logged step is ",
        (0, signal.SIGKILL): "Process 0 of 2, the coordinator, was ended by SIGKILL; the last logged step is ",
        (1, signal.SIGSTOP): "Process 1 of 2 stopped responding; the last logged step is ",
        (1, signal.SIGTERM): "Stopped after step ",
        (None, signal.SIGINT): "Stopped after step ",
    }
    for (victim, number), sentence in said.items():
        launched, before = begin(), len(steps_of(folder))
        while len(steps_of(folder)) < before + 8:
            assert launched.poll() is None
            time.sleep(0.1)
        children = pathlib.Path(f"/proc/{launched.pid}/task/{launched.pid}/children").read_text().split()
        begun = time.monotonic()
        os.kill(launched.pid if victim is None else int(children[victim]), number)
        _, errors = launched.communicate(timeout=60)
        print(f"{victim} {number.name}: {time.monotonic() - begun:.1f} s: {errors.strip()}")
        assert launched.returncode == terminal.INTERRUPTED
        assert errors.startswith(sentence)
        assert errors.count("\n") == 1
        assert not any(pathlib.Path(f"/proc/{child}").exists() for child in children)
    launched = begin()
    _, errors = launched.communicate(timeout=600)
    assert (launched.returncode, errors) == (terminal.DONE, "")
    assert steps_of(folder) == list(range(2, 242, 2))
    assert (folder / "report.html").exists()
    assert set(json.loads((folder / "result.json").read_text())) == {"raw_pixels", "untrained", "pretrained"}
