"""TensorBoard scalars equal metrics.jsonl, and have each step once even if the run was stopped."""

import dataclasses
import json
import struct

import pytest

from sslax.config import check, differences, to_dict
from sslax.errors import InputError
from sslax.runs import RunDir, scalars, write_scalars
from sslax.training import config_from
from tests import tiny

CONFIG = tiny.config(tensorboard=True)


def read(folder):
    """Read the event files: a dict from (step, name) to value. Fails if an entry occurs twice."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in folder.glob("events.*"):
        data, at = path.read_bytes(), 0
        while at < len(data):
            # A record has the length, a checksum, the event, and a checksum.
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                assert (event.step, value.tag) not in found
                found[event.step, value.tag] = value.simple_value
    return found


def line(step, **more):
    return {"step": step, "epoch": step / 4, "loss": 1.0 / step, "seconds": float(step), **more}


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "run", to_dict(CONFIG))
    run.begin({"name": "tiny"})
    return run


def train(run, lines, resumed_at=None):
    with scalars(CONFIG, run, lambda line: None) as follow:
        if resumed_at is not None:
            follow({"resumed_at": resumed_at})
        run.rewind(resumed_at or 0)
        for each in lines:
            run.append(each)
            follow(each)


def test_a_killed_and_resumed_run_has_each_step_once(run):
    (run.path / "tensorboard").mkdir()
    (run.path / "tensorboard" / "notes.txt").write_text("mine")
    train(run, [line(1), line(2), line(3)])
    # Killed after step 3, with its checkpoint at 2.
    train(run, [line(3, loss=9.0), line(4, collapse="uniform output", knn20=0.5, kl=float("nan"))], resumed_at=2)
    found = read(run.path / "tensorboard")
    assert {step for step, _ in found} == {1, 2, 3, 4}
    assert found[3, "loss"] == 9.0
    assert found[4, "knn20"] == 0.5
    assert {name for step, name in found if step == 4} == {"epoch", "loss", "seconds", "knn20"}
    assert (run.path / "tensorboard" / "notes.txt").exists()
    # Killed before its first checkpoint: the run starts again.
    train(run, [line(1)])
    assert {step for step, _ in read(run.path / "tensorboard")} == {1}


def test_all_metrics_of_a_finished_run_are_written(run):
    for step in (1, 2):
        run.append(line(step))
    write_scalars(run)
    write_scalars(run)
    assert {step for step, _ in read(run.path / "tensorboard")} == {1, 2}


def test_the_tensorboard_flag_does_not_change_the_stored_configuration():
    plain = dataclasses.replace(CONFIG, tensorboard=False)
    assert not differences(to_dict(plain), to_dict(CONFIG))
    assert config_from(json.loads(json.dumps(to_dict(CONFIG)))) == plain


def test_without_the_flag_nothing_is_written(run):
    with scalars(dataclasses.replace(CONFIG, tensorboard=False), run, print) as follow:
        assert follow is print
    assert not (run.path / "tensorboard").exists()


def test_an_unwritable_folder_is_an_input_error(run):
    (run.path / "tensorboard").write_text("a file")
    with pytest.raises(InputError, match=r"tensorboard: .* cannot be written to: "):
        write_scalars(run)


def test_a_missing_package_is_an_input_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tensorboard is True.*pip install \"tensorboardX>=2.6\""):
        check(CONFIG)
