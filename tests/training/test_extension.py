"""More epochs for an existing run: it resumes, reports the change of the schedule, and behaves like any other run."""

import json
import signal

import pytest

import sslax
from sslax.cli import terminal
from sslax.config import to_dict
from sslax.errors import InputError
from sslax.runs import RunDir
from sslax.training import Interrupted, fit
from tests import tiny
from tests.training.test_training import same


def config(epochs, **changes):
    optim = tiny.OptimizerConfig(lr=1e-2, warmup_epochs=0.5)
    return tiny.config(epochs=epochs, eval_every=0, optim=optim, **changes)


def train(path, config, follow=lambda line: None):
    run = RunDir(path, to_dict(config), extendable=True)
    return fit(config, tiny.alone(config), tiny.dataset(), run, follow=follow), run


def lines(run):
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_s")} for line in run.metrics()]


def finish(path):
    _, run = train(path, config(1))
    run.write_result({"of": "one epoch"})


def test_a_finished_run_is_extended(tmp_path, capsys):
    finish(tmp_path / "straight")
    state, straight = train(tmp_path / "straight", config(2))

    path, told, during = tmp_path / "run", [], []
    finish(path)
    run = RunDir(path, to_dict(config(2)), extendable=True)
    assert run.extends == 1
    assert run.result() is None
    # Reading `extends` writes nothing.
    assert json.loads((path / "config.json").read_text())["epochs"] == 1

    def stop(line):
        told.append(line)
        if line.get("step") == 6:
            during.append((sslax.load(path), json.loads((path / "result.json").read_text())))
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train(path, config(2), follow=stop)
    # The end of the cosine of one epoch; a third into the cosine of two epochs, after two steps of warmup.
    rates = pytest.approx([0, 0.0075], abs=1e-7)
    assert told[:2] == [{"resumed_at": 4}, {"extended": {"epochs": [1, 2], "step": 4, "lr": rates}}]
    network, result = during[0]
    assert int(network.state.step) == 4
    assert result == {"of": "one epoch"}
    assert json.loads((path / "config.json").read_text())["epochs"] == 2
    # A stopped run does not count as finished.
    run = RunDir(path, to_dict(config(2)), extendable=True)
    assert run.result() is None
    assert run.extends is None

    resumed, run = train(path, config(2))
    assert same(resumed, state)
    assert lines(run) == lines(straight)
    assert [line["step"] for line in run.metrics()] == [2, 4, 6, 8]
    run.write_result({"of": "two epochs"})
    assert RunDir(path, to_dict(config(2)), extendable=True).result() == {"of": "two epochs"}
    entries = json.loads((path / "extensions.json").read_text())
    assert entries == [{"from": 1, "to": 2, "step": 4, "done": True}]

    with terminal.training_progress(8, 2) as show:
        show({"extended": {"epochs": [1, 2], "step": 4, "lr": [0.0, 0.0075]}})
    said = capsys.readouterr().out
    assert "Extended from 1 to 2 epochs: every schedule is stretched" in said
    assert "at step 4 the learning rate goes from 0 to 0.0075" in said


def test_an_unfinished_run_is_extended_and_fewer_epochs_are_not(tmp_path):
    def stop(line):
        if line.get("step") == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train(tmp_path / "run", config(1), follow=stop)
    told = []
    _, run = train(tmp_path / "run", config(2), follow=told.append)
    assert told[1]["extended"]["step"] == 3
    assert [line["step"] for line in run.metrics()] == [2, 4, 6, 8]
    with pytest.raises(InputError, match=r"another configuration \(epochs: 2 there, 1 here\)"):
        RunDir(tmp_path / "run", to_dict(config(1)), extendable=True)


def test_only_epochs_can_be_extended(tmp_path):
    run = RunDir(tmp_path / "run", to_dict(config(1)))
    run.begin({"name": "tiny"})
    with pytest.raises(InputError, match="epochs: 1 there, 2 here"):
        RunDir(tmp_path / "run", to_dict(config(2)))
    with pytest.raises(InputError, match="epochs: 1 there, 2 here; log_every: 2 there, 3 here"):
        RunDir(tmp_path / "run", to_dict(config(2, log_every=3)), extendable=True)


def test_a_run_killed_between_its_two_files_is_extended_again(tmp_path):
    path = tmp_path / "run"
    run = RunDir(path, to_dict(config(1)))
    run.begin({"name": "tiny"})
    run.write_result({"of": "one epoch"})
    before = (path / "config.json").read_bytes()
    RunDir(path, to_dict(config(2)), extendable=True).extend(4)
    (path / "config.json").write_bytes(before)
    # The shorter run is unchanged, and the longer one starts again.
    assert RunDir(path, to_dict(config(1)), extendable=True).result() == {"of": "one epoch"}
    again = RunDir(path, to_dict(config(2)), extendable=True)
    assert again.extends == 1
    again.extend(4)
    assert json.loads((path / "extensions.json").read_text()) == [{"from": 1, "to": 2, "step": 4, "done": False}]
