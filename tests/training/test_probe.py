"""The online probe: it learns from the features, and does not change the network's training."""

import signal

import jax
import numpy as np
import pytest

from sslax.config import to_dict
from sslax.errors import InputError
from sslax.runs import RunDir
from sslax.training import Interrupted, build, fit, init_probe, load, loop, update_probe
from tests import tiny

ON = tiny.config(online_probe=True)


def test_it_learns_linearly_separable_classes_at_any_scale():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 256)
    centres = 3 * rng.standard_normal((3, 6))
    start, step = jax.jit(init_probe, static_argnums=(0, 1)), jax.jit(update_probe)
    for scale in (1e-3, 1.0, 1e3):
        features = np.asarray(scale * (centres[labels] + 0.3 * rng.standard_normal((256, 6)) + 50), np.float32)
        state, losses = start(6, 3), []
        for _ in range(300):
            state, metrics = step(state, features, labels)
            losses.append(float(metrics["probe_loss"]))
        assert losses[0] == pytest.approx(np.log(3), rel=1e-5)
        assert losses[-1] < 0.4 * losses[0]


def test_features_get_no_gradient():
    features, labels = np.ones((4, 3), np.float32), np.zeros(4, np.int32)
    loss = lambda x, labels: update_probe(init_probe(3, 2), x, labels)[1]["probe_loss"]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(features, labels)
    np.testing.assert_array_equal(gradient, 0)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run without and one with the probe: the state, the run, and the lowered text of the program that trained it."""
    compile_steps, texts = loop.compile_steps, []

    def recording(step, mesh, **placed):
        compiled, before = compile_steps(step, mesh, **placed), len(texts)

        def call(*arguments):
            if len(texts) == before:
                texts.append(compiled.lower(*arguments).as_text())
            return compiled(*arguments)

        return call

    def run(name, config):
        built, run = tiny.alone(config), RunDir(tmp_path_factory.mktemp(name) / "run", to_dict(config))
        built = built._replace(programs=built.programs._replace(steps=None))
        return fit(config, built, tiny.dataset(), run), run, texts[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compile_steps", recording)
        return run("off", tiny.config()), run("on", ON)


def test_the_probe_changes_neither_the_program_nor_the_weights(recorded):
    (off, _, off_text), (on, run, on_text) = recorded
    assert on_text == off_text
    for a, b in zip(jax.tree.leaves(on.params), jax.tree.leaves(off.params), strict=True):
        np.testing.assert_array_equal(a, b)
    lines = run.metrics()
    assert lines[-1]["probe_loss"] < lines[0]["probe_loss"]
    # The two classes differ in mean colour.
    assert lines[-1]["probe"] > 0.5
    assert all("probe" not in line for line in lines[:-1])


def test_it_is_resumed_with_the_run(recorded, tmp_path):
    def stop(line):
        if line.get("step") == 6:
            signal.raise_signal(signal.SIGINT)

    built, data, (_, straight, _) = tiny.alone(ON), tiny.dataset(), recorded[1]
    with pytest.raises(Interrupted):
        fit(ON, built, data, RunDir(tmp_path / "run", to_dict(ON)), follow=stop)
    resumed = RunDir(tmp_path / "run", to_dict(ON))
    fit(ON, built, data, resumed)
    for name in ("probe_loss", "probe"):
        ours, theirs = ([line.get(name) for line in run.metrics()] for run in (resumed, straight))
        assert ours == theirs


def test_without_labels_the_probe_is_an_error(tmp_path):
    data = tiny.dataset(labelled=False)
    with pytest.raises(InputError, match="online_probe is on, but tiny has no labels"):
        fit(ON, build(ON, data), data, RunDir(tmp_path / "run", to_dict(ON)))
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_loaded_without_its_probe(recorded):
    _, run, _ = recorded[1]
    run.write_result({})
    assert load(run.path).config.online_probe
