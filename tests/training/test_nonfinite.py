"""A non-finite loss is detected, reported and never saved; or its step is skipped, counted and has no effect."""

import dataclasses
import functools
import signal
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.cli import terminal
from sslax.config import check, to_dict
from sslax.data.feed import epoch_order, resident
from sslax.errors import InputError
from sslax.runs import RunDir
from sslax.training import Faults, Interrupted, NonFinite, compile_steps, fit, loop, make_step, start_state
from sslax.training.nonfinite import MOST, check_finite, check_weights, forgiven, guarded
from tests import tiny
from tests.training.test_training import same

BAD = 5  # The step whose loss is no number, counted from 0.


def built_with(config, bad=None):
    """The run's parts, with a loss that is multiplied by a factor at some steps, by default NaN."""
    built = tiny.alone(config)

    def loss(params, aux, batch, key, step):
        found, output = built.method.loss(params, aux, batch, key, step)
        for number, value in (bad or {BAD: jnp.nan}).items():
            found = found * jnp.where(step == number, value, 1.0)
        return found, output

    return built._replace(method=built.method._replace(loss=loss))


@functools.cache
def failing(config):
    """The parts of a run whose loss is no number at step BAD, and its programs."""
    return tiny.with_programs(config, built_with(config))


def train(path, config, follow=lambda line: None):
    data = tiny.dataset()
    run = RunDir(path, to_dict(config))
    return fit(config, failing(config), data, run, follow=follow), run


def config(**changes):
    return tiny.config(**{"log_every": 4, "epochs": 2, "eval_every": 0, **changes})


def lines(run):
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_s")} for line in run.metrics()]


def saved(run):
    return sorted(int(path.name) for path in run.checkpoints.iterdir())


def test_a_non_finite_loss_stops_the_run_and_names_the_step(tmp_path, capsys):
    run = RunDir(tmp_path / "run", to_dict(config()))
    with pytest.raises(NonFinite) as raised:
        train(tmp_path / "run", config())
    said = str(raised.value)
    order = np.asarray(epoch_order(start_state(config(), tiny.alone(config())).key, 1, 64))
    assert "The loss or its gradient is non-finite at step 6. Its batch was the 16 training images with index " in said
    assert f"index {', '.join(map(str, order[16:24]))}, ...;" in said
    assert "the last good checkpoint is of step 4" in said
    assert "optim.lr" in said
    assert saved(run) == [4]
    assert [line["step"] for line in run.metrics()] == [4]

    def again():
        raise raised.value

    assert terminal.exit_code(again) == terminal.NON_FINITE
    assert capsys.readouterr().err == f"stopped: {said}\n"


def test_a_non_finite_state_is_not_saved_on_a_stop_request(tmp_path, monkeypatch):
    """The stop request comes between the bad step and the line that would report it."""

    @contextmanager
    def at_the_seventh_step():
        asked = iter([False] * 6 + [True])
        yield lambda: next(asked)

    monkeypatch.setattr(loop, "asked_to_stop", at_the_seventh_step)
    with pytest.raises(NonFinite, match="non-finite at step 6"):
        train(tmp_path / "run", config())
    assert saved(RunDir(tmp_path / "run", to_dict(config()))) == [4]


def test_skipped_counted_and_resumed(tmp_path):
    skipping = config(on_nan="skip", log_every=2)
    straight, run = train(tmp_path / "straight", skipping)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(straight._replace(key=None)))
    assert int(straight.faults.total) == 1
    assert [line["skipped"] for line in run.metrics()] == [0, 0, 1, 1]
    # The line of the step itself: the loss is not a number, and the optimiser has not advanced.
    assert run.metrics()[2]["loss"] is None
    assert [line["lr"] for line in run.metrics()] == [
        float(tiny.alone(skipping).schedule(step)) for step in (1, 3, 4, 6)
    ]

    def stop(line):
        if line.get("step") == 6:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(tmp_path / "run", skipping, follow=stop)
    state, run = train(tmp_path / "run", skipping)
    assert same(state, straight)
    assert lines(run) == lines(RunDir(tmp_path / "straight", to_dict(skipping)))


def test_a_stopped_run_resumes_with_skip(tmp_path):
    with pytest.raises(NonFinite):
        train(tmp_path / "run", config(log_every=2))
    told = []
    state, run = train(tmp_path / "run", config(log_every=2, on_nan="skip"), follow=told.append)
    assert told[0] == {"resumed_at": 4}
    assert int(state.faults.total) == 1
    assert [line["step"] for line in run.metrics()] == [2, 4, 6, 8]


def test_skipped_steps_do_not_change_the_state():
    """A NaN loss, then an infinite one, then two steps that train."""
    data, own = tiny.dataset(), config(on_nan="skip")
    built = built_with(own, bad={0: jnp.nan, 1: jnp.inf})
    step = make_step(built.method, built.tx, built.mesh, batch_size=16, steps_per_epoch=4)
    run = compile_steps(guarded(step, "skip"), built.mesh)
    images = resident(data.train.images, data.train.aspects, data.train.labels, built.mesh)
    before, state = start_state(own, built), start_state(own, built)
    order = epoch_order(before.key, 0, 64)
    for number in (0, 1):
        state, _, _ = run(state, images, order, 1)
        assert same(state._replace(step=before.step, faults=before.faults), before)
        assert (int(state.step), *map(int, state.faults)) == (number + 1, number + 1, 0)
    # The first learning rate of a warmup is 0.
    for _ in range(2):
        state, _, _ = run(state, images, order, 1)
    assert (int(state.step), *map(int, state.faults)) == (4, 2, -1)
    pairs = zip(jax.tree.leaves(state.params), jax.tree.leaves(before.params), strict=True)
    assert any((a != b).any() for a, b in pairs)


@pytest.mark.parametrize("feed", ["resident", "streamed"])
def test_runs_of_both_feeds_skip(feed, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def reached(step, on_nan):
        raise Reached(on_nan)

    monkeypatch.setattr(loop, "guarded", reached)
    own, data, built = config(on_nan="skip", feed=feed), tiny.dataset(), tiny.alone(config())
    built = built._replace(programs=built.programs._replace(steps=None, update=None))
    with pytest.raises(Reached, match="skip"):
        fit(own, built, data, RunDir(tmp_path / "run", to_dict(own)))


def test_stop_adds_only_a_few_numbers_to_the_program():
    data, own = tiny.dataset(), config()
    built = tiny.alone(own)
    step = make_step(built.method, built.tx, built.mesh, batch_size=16, steps_per_epoch=4)
    images = resident(data.train.images, data.train.aspects, data.train.labels, built.mesh)
    state = start_state(own, built)
    order = epoch_order(state.key, 0, 64)
    plain, stopping = (
        len(compile_steps(made, built.mesh).lower(state, images, order, 1).as_text().splitlines())
        for made in (step, guarded(step, "stop"))
    )
    assert stopping - plain < 30


def told(state, **changes):
    """Call `check_finite` on a state, after lines of metrics with these gradient norms."""
    norms = changes.pop("norms", [1.0] * 10)
    own = config(epochs=100, **changes)
    built = tiny.alone(own)
    metrics = [{"step": i + 1, "gradient_norm": norm} for i, norm in enumerate(norms)]
    check_finite(own, built, state, images=64, metrics=lambda: metrics, saved=None)


@pytest.fixture(scope="module")
def started():
    return start_state(config(), tiny.alone(config()))


def at(state, step, since):
    number = jnp.int32
    return state._replace(step=number(step), faults=Faults(number(step - since), number(since)))


def test_the_likely_cause(started):
    for since, norms, words in (
        (0, [], "before any update"),
        (2, [1.0, 1.0], "had only started, with a learning rate of 0.00"),
        (30, [1.0] * 9 + [80.0], "had grown to 80, from a median of 1"),
        (
            30,
            [1.0] * 9 + [2.0],
            "had been 2, with a median of 1, so the failure was sudden. The cause is probably the batch; --on-nan skip",
        ),
    ):
        with pytest.raises(NonFinite, match=words) as raised:
            told(at(started, 32, since), norms=norms)
        assert "there is no checkpoint yet" in str(raised.value)


def test_many_consecutive_skipped_steps_end_a_run(started):
    told(at(started, 40 + MOST - 1, 40), on_nan="skip")
    with pytest.raises(
        NonFinite, match=f"The last {MOST} steps were skipped, because every loss or gradient is non-finite .* step 41"
    ):
        told(at(started, 40 + MOST, 40), on_nan="skip")


def test_non_finite_weights_are_not_saved(started):
    check_weights(started, saved=None)
    leaves, tree = jax.tree.flatten(started.params)
    broken = started._replace(params=jax.tree.unflatten(tree, [leaves[0] * jnp.inf, *leaves[1:]]))
    with pytest.raises(
        NonFinite, match=r"weights are non-finite after step 0, .*; the last good checkpoint is of step 8"
    ):
        check_weights(broken, saved=8)


def test_earlier_skipped_steps_do_not_stop_a_run(started):
    after = at(started, 41, 40)
    assert forgiven(after, "skip") is after
    told(forgiven(after, "stop"))


def test_options():
    for name, value in (("keep_checkpoints", 0),):
        with pytest.raises(InputError, match=f"{name} is {value}; it must be at least 1"):
            check(dataclasses.replace(config(), **{name: value}))
