"""A stopped and resumed run equals an uninterrupted run; N devices give one device's results."""

import dataclasses
import signal
import sys

import jax
import numpy as np
import pytest

from sslax.config import to_dict
from sslax.data.feed import epoch_order
from sslax.errors import InputError
from sslax.methods import METHODS
from sslax.runs import RunDir
from sslax.runs.run_dir import facts
from sslax.training import Embedder, Interrupted, NonFinite, build, fit, start_state
from tests import tiny


def train(path, config, follow=lambda line: None, data=None):
    run = RunDir(path, to_dict(config))
    return fit(config, tiny.alone(config), data or tiny.dataset(), run, follow=follow), run


def same(a, b):
    a, b = (jax.tree.leaves(tree._replace(key=jax.random.key_data(tree.key))) for tree in (a, b))
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "straight", tiny.config())


def test_run_trains_and_writes_its_metrics(straight):
    state, run = straight
    assert int(state.step) == 12
    lines = run.metrics()
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert all(np.isfinite(line["loss"]) and line["gradient_norm"] > 0 for line in lines)
    assert 0 <= lines[-1]["knn1"] <= 1
    assert all("knn1" not in line for line in lines[:-1])
    assert lines[3]["epoch"] == 2.0
    assert lines[0]["lr"] == pytest.approx(0.01 * 1 / 4)


@pytest.mark.parametrize(("at", "number"), [(4, signal.SIGINT), (6, signal.SIGTERM)])
def test_stopped_and_resumed_equals_uninterrupted(straight, tmp_path, at, number):
    """Stop at the end of an epoch (4) and in the middle of one (6)."""

    def stop(line):
        if line.get("step") == at:
            signal.raise_signal(number)

    with pytest.raises(Interrupted, match=f"step {at + 1} of 12"):
        train(tmp_path / "run", tiny.config(), follow=stop)
    seen = []
    state, run = train(tmp_path / "run", tiny.config(), follow=seen.append)
    assert seen[0] == {"resumed_at": at + 1}
    assert same(state, straight[0])
    for ours, theirs in zip(run.metrics(), straight[1].metrics(), strict=True):
        for measured in ("images_per_s", "seconds"):
            ours.pop(measured, None)
            theirs.pop(measured, None)
        assert ours == theirs


def test_seconds_continue_after_a_stop(tmp_path):
    run = RunDir(tmp_path / "run", to_dict(tiny.config()))
    run.begin(facts(tiny.dataset()))
    run.append({"step": 0, "seconds": 1000.0})
    _, run = train(tmp_path / "run", tiny.config(epochs=3))
    assert run.metrics()[-1]["seconds"] > 1000


def test_killed_run_resumes_from_its_last_checkpoint(straight, tmp_path):
    class Killed(Exception):
        pass

    def kill(line):
        if line["step"] == 6:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "run", tiny.config(), follow=kill)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "lo')
    seen = []
    state, run = train(tmp_path / "run", tiny.config(), follow=seen.append)
    assert seen[0] == {"resumed_at": 4}
    assert same(state, straight[0])
    assert [line["step"] for line in run.metrics()] == [2, 4, 6, 8, 10, 12]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_stops_or_dies_and_resumes_bit_by_bit(name, tmp_path):
    """On eight devices, with queues, prototypes, centres and targets: everything that the next step reads."""
    config, data = tiny.config(name, eval_every=0, log_every=1, on_collapse="ignore"), tiny.dataset()
    built = tiny.built(config)

    def go(folder, follow=lambda line: None, until=lambda: False):
        return fit(config, built, data, RunDir(tmp_path / folder, to_dict(config)), follow=follow, until=until)

    def die(line):
        if line["step"] == 6:
            raise ZeroDivisionError

    straight = go("straight")
    steps = iter([False, False, False, False, True])
    with pytest.raises(Interrupted, match="Stopped after step"):
        go("stopped", until=lambda: next(steps))
    with pytest.raises(ZeroDivisionError):
        go("dead", follow=die)
    for folder in ("stopped", "dead"):
        seen = []
        assert same(go(folder, follow=seen.append), straight)
        assert 0 < seen[0]["resumed_at"] < 12


def test_signal_handlers_are_restored(tmp_path):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    during = []
    follow = lambda line: during.append([signal.getsignal(number) for number in numbers])  # noqa: E731
    train(tmp_path / "run", tiny.config(), follow=follow)
    assert all(a is not b for a, b in zip(during[-1], before, strict=True))
    assert [signal.getsignal(number) for number in numbers] == before


def compiled(caplog, name):
    """The number of programs with this name that jax logged as compiled."""
    return sum(f"Compiling jit({name})" in record.getMessage() for record in caplog.records)


def test_one_program_runs_any_number_of_steps(tmp_path, caplog):
    """Compare calls of 3 and 1 steps, as lines of metrics and epochs divide them, with one step per call."""
    # Not Adam, which turns rounding differences of a nearly zero gradient into a full step.
    optimizer = tiny.OptimizerConfig(name="sgd", lr=0.1, warmup_epochs=1.0)
    # A ViT, because convolutions are slow in a loop on CPU.
    network = tiny.NetworkConfig(name="vit-micro", width=8, depth=1, patch_size=4)
    own = tiny.config(optim=optimizer, network=network, epochs=1, log_every=3, eval_every=1)
    built = build(own, tiny.dataset(), devices=jax.devices()[:1])
    built = built._replace(method=built.method._replace(views=tiny.noisy))
    runs = []
    for count in (1, 3):
        caplog.clear()
        sys.modules["sslax.evaluation.knn"]._scores.clear_cache()
        with jax.log_compiles():
            run = RunDir(tmp_path / str(count), to_dict(own))
            runs.append((fit(dataclasses.replace(own, steps_per_call=count), built, tiny.dataset(), run), run))
        assert compiled(caplog, "run") == 1
        assert compiled(caplog, "_scores") == 1
    (one, one_run), (three, three_run) = runs
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(three.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert [line["step"] for line in one_run.metrics()] == [3, 4]
    for a, b in zip(one_run.metrics(), three_run.metrics(), strict=True):
        assert (a["step"], a["loss"]) == (b["step"], pytest.approx(b["loss"], rel=1e-4))


def test_each_epoch_has_its_own_permutation():
    key = jax.random.key(0)
    orders = [np.asarray(epoch_order(key, epoch, 50)) for epoch in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    np.testing.assert_array_equal(np.sort(orders[2]), np.arange(50))


def test_embedder_pads_and_cuts():
    data, config = tiny.dataset(), tiny.config()
    built = build(config, data)
    state = start_state(config, built)
    embedder = Embedder(built.method, built.mesh, batch_size=64)
    whole = embedder(state, data.train.images, data.train.aspects)
    np.testing.assert_array_equal(embedder.on_device(state, data.train.images, data.train.aspects), whole)
    parts = Embedder(built.method, built.mesh, batch_size=24)(state, data.train.images, data.train.aspects)
    assert whole.shape[0] == 64
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_unlabelled_images_train_without_knn(tmp_path):
    _, run = train(tmp_path / "run", tiny.config(), data=tiny.dataset(labelled=False))
    assert run.metrics()
    assert all("knn1" not in line for line in run.metrics())


def test_a_nan_loss_stops_the_run(tmp_path):
    config = tiny.config(optim=tiny.OptimizerConfig(name="sgd", lr=1e30, warmup_epochs=0.0, momentum=0.0), log_every=1)
    with pytest.raises(NonFinite, match="loss or its gradient is non-finite at step 2"):
        train(tmp_path / "run", config)


def test_other_configuration_in_the_folder(straight, tmp_path):
    config = tiny.config()
    RunDir(tmp_path / "run", to_dict(config)).begin(facts(tiny.dataset()))
    other = dataclasses.replace(config, epochs=5, optim=dataclasses.replace(config.optim, lr=0.5))
    with pytest.raises(InputError, match=r"another configuration \(epochs: 3 there, 5 here; optim.lr: 0.01 there, 0.5"):
        RunDir(tmp_path / "run", to_dict(other))


def test_a_field_added_after_the_run_started_has_its_default(tmp_path):
    fields = to_dict(tiny.config())
    older = {name: value for name, value in fields.items() if name != "accumulate"}
    older["method"] = {name: value for name, value in fields["method"].items() if name != "projector_layers"}
    RunDir(tmp_path / "run", older).begin(facts(tiny.dataset()))
    RunDir(tmp_path / "run", fields)
    with pytest.raises(InputError, match=r"another configuration \(accumulate: 1 there, 2 here\)"):
        RunDir(tmp_path / "run", to_dict(tiny.config(accumulate=2)))


def test_a_folder_of_other_files_is_not_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(InputError, match="holds files but no run"):
        RunDir(tmp_path, to_dict(tiny.config()))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_data_that_changed_since_the_run_started(straight, tmp_path):
    config = tiny.config()
    RunDir(tmp_path / "run", to_dict(config)).begin(facts(tiny.dataset()))
    with pytest.raises(InputError, match=r"changed since this run began \(images: 64 there, 48 here\)"):
        train(tmp_path / "run", config, data=tiny.dataset(48))
