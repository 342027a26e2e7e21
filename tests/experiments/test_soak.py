"""A run killed while it writes a checkpoint gives the same result as an uninterrupted run; a difference is detected."""

import json

import jax
import pytest

import sslax
from experiments import soak
from sslax.cli import terminal
from sslax.runs.checkpoints import Checkpoints
from tests import compilation


@pytest.mark.slow
def test_one_run_killed_and_resumed(tmp_path, monkeypatch, capsys):
    # One device and unoptimised programs, for both runs.
    for name, value in compilation.environment().items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "soak"
    assert soak.run(soak.Options(runs=1, kills=1, out=str(out)))
    summary = json.loads((out / "soak.json").read_text())
    (outcome,) = summary.pop("runs")
    assert summary == {"same": 1, "of": 1}
    assert outcome["different"] == []
    assert outcome["kills"][0].startswith("checkpoint at ")
    assert "1 of 1" in capsys.readouterr().out

    run, alone = out / "run000", out / "alone-simclr-resident"
    text = (run / "metrics.jsonl").read_text()
    whole = text.splitlines(keepends=True)
    line = json.loads(whole[3])
    for wrong in (
        whole[:-1],
        [*whole, whole[-1]],
        [*whole[:3], json.dumps(line | {"loss": line["loss"] + 1e-7}) + "\n"],
    ):
        (run / "metrics.jsonl").write_text("".join(wrong))
        assert soak.differences(run, alone) == ["metrics"]
    (run / "metrics.jsonl").write_text(text)

    # A difference in the last bit of one weight.
    checkpoints = Checkpoints(run / "checkpoints")
    state = sslax.load(run).state
    leaves, tree = jax.tree.flatten(state.params)
    leaves[0] = leaves[0].at[(0,) * leaves[0].ndim].multiply(1 + 2e-7)
    checkpoints.save(state._replace(step=state.step + 1, params=jax.tree.unflatten(tree, leaves)))
    checkpoints.close()
    assert len([name for name in soak.differences(run, alone) if name.startswith(".params")]) == 1


def test_invalid_options(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    for options, words in (
        ({"runs": 0}, "runs is 0; it must be at least 1"),
        ({"kills": -1}, "kills is -1"),
        ({"out": str(tmp_path)}, "which already exists"),
    ):
        assert terminal.exit_code(lambda options=options: soak.run(soak.Options(**options))) == terminal.INPUT
        assert words in capsys.readouterr().err


def test_a_run_that_fails(tmp_path, monkeypatch):
    class Process:
        def wait(self, seconds):
            return 4

    with pytest.raises(ValueError, match=r"ended with exit code 4; see .*run\.log"):
        soak.finish(Process(), tmp_path / "run")
