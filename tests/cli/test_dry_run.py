"""The dry run: its table, consistent numbers, and no files written."""

import math
import re
import sys

import jax
import pytest

from sslax.cli import dry_run, terminal
from sslax.cli.pretrain import pretrain
from sslax.config import Config
from sslax.errors import InputError
from sslax.training import estimate
from sslax.training import pretrain as from_python
from tests import tiny
from tests.data.images import write_folder


@pytest.fixture(autouse=True)
def three_steps(monkeypatch):
    """Instead of as many as fit into a time."""
    monkeypatch.setattr(sys.modules[estimate.__module__], "_SECONDS", 0.0)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    spec = write_folder(tmp_path_factory.mktemp("images"), {"train/a": 32, "train/b": 32, "test/a": 8, "test/b": 8})
    return tiny.config(method=tiny.PLAIN, data=spec, canvas=8, feed="streamed", dry_run=True)


def test_estimates_of_a_streamed_run(config):
    e = estimate(config)
    params, _ = jax.eval_shape(lambda: _method(config).init(jax.random.key(0), (8, 8, 3)))
    assert e.parameters == {
        name: sum(math.prod(x.shape) for x in jax.tree.leaves(part)) for name, part in params.items()
    }
    # Adam keeps two numbers per parameter; the rest are statistics and counters.
    assert 12 * sum(e.parameters.values()) < e.state < 14 * sum(e.parameters.values())
    # The newest two checkpoints, the best one, and one that is being written.
    assert e.checkpoints == 4 * e.state
    assert (e.steps, e.batch_size, e.devices, e.feed, e.images) == (12, 16, 8, "streamed", 0)
    assert e.temporaries > 0
    # Each parameter is used in one product and two gradients, for each of 32 views.
    assert e.flops > 32 * 2 * 3 * sum(e.parameters.values())
    slower = min(e.step_rate, e.decoding_rate)
    assert e.hours == pytest.approx(12 * 16 / slower / 3600)


def _method(config: Config):
    from sslax.training import build_for

    return build_for(config, images=64, canvas=8).method


def test_the_command_shows_a_table_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def untold(self):
        raise NotImplementedError("a backend that counts nothing")

    # On accelerators XLA reports no operation counts.
    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", untold)
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", untold)
    flags = ["--dry-run", "--network.width", "4", "--batch-size", "64", "--limit", "256", "--method.views.jitter", "0"]
    assert terminal.exit_code(lambda: pretrain(flags)) == terminal.DONE
    said = capsys.readouterr().out
    for word in ("parameters, encoder", "memory, temporaries", "FLOPs per step", "images/s, step", "hours", "disk"):
        assert word in said
    assert re.search(r"FLOPs per step\W+0\.\d G", said)
    assert "nan" not in said
    assert not list(tmp_path.iterdir())


def test_sizes_are_shown_in_mb_and_gb():
    assert [dry_run.size(n) for n in (0, 1.25e6, 4.2e9, 1.5e12)] == ["0.0 MB", "1.2 MB", "4.2 GB", "1,500.0 GB"]


def test_wrong_input_is_reported_before_the_estimate(config, capsys):
    assert terminal.exit_code(lambda: pretrain(["--dry-run", "--batch-size", "4096"])) == terminal.INPUT
    assert "batch_size is 4096, but digits has" in capsys.readouterr().err
    with pytest.raises(InputError, match="dry_run is True, but only the command supports it"):
        from_python(config)
