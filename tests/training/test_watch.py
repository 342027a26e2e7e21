"""The collapse watch: metrics with and without each mode of collapse, and the reaction of a run."""

import jax.numpy as jnp
import numpy as np
import pytest

from sslax.cli import terminal
from sslax.config import to_dict
from sslax.evaluation import effective_rank, feature_std
from sslax.runs import RunDir
from sslax.training import Collapsed, Watch, collapse, fit, observe, watch
from tests import tiny

LN_K = float(np.log(256))
HEALTHY = {"loss": 3.0, "feature_std": 0.3, "projection_std": 0.8, "chance_loss": LN_K}
TERMS = {
    "loss": 3.0,
    "feature_std": 0.3,
    "projection_std": 0.8,
    "variance": 0.2,
    "off_diagonal": 0.01,
    "shared_direction": 0.1,
    "sigreg_share": 0.1,
}
DINO = {"loss": 3.0, "feature_std": 0.3, "target_entropy": 2.5, "kl": 0.5, "target_largest": 0.1, "chance_loss": LN_K}
# Of [CLS] and of masked patches; the loss has both.
IBOT = {k: v for k, v in DINO.items() if k != "chance_loss"} | {"uniform_entropy": LN_K, "patch_uniform_entropy": LN_K}
IBOT |= {"patch_target_entropy": 2.0, "patch_kl": 0.7, "patch_target_largest": 0.2}


def lines(numbers, steps=range(10, 310, 10), **changes):
    return [{"step": step, **numbers, **changes} for step in steps]


@pytest.mark.parametrize(
    ("numbers", "mode", "said"),
    [
        (lines(DINO, target_entropy=0.001, kl=1e-5, target_largest=0.999), "one dimension dominating", "centering"),
        (lines(DINO, target_entropy=LN_K - 1e-3, kl=1e-4, loss=LN_K), "uniform output", "teacher_temperature"),
        (lines(IBOT, target_entropy=LN_K - 1e-3, kl=1e-4), "uniform output", "entropy of the target is 5.544"),
        (
            lines(IBOT, patch_target_entropy=LN_K - 1e-3, patch_kl=1e-4),
            "uniform output",
            "of the patches' target is 5.5",
        ),
        (
            lines(IBOT, patch_target_largest=0.99),
            "one dimension dominating",
            "99.0% of the probability of the patches'",
        ),
        (lines(HEALTHY, target_largest=0.95, prototype_usage=0.02), "one dimension dominating", "sinkhorn_iterations"),
        (lines(HEALTHY, neighbour_share=0.97), "one neighbour", "97.0% of the batch"),
        (lines(HEALTHY, feature_std=1e-4), "constant features", "features of all images are nearly the same"),
        (lines(HEALTHY, projection_std=1e-4), "constant features", "projections of all images are nearly the same"),
        (lines(HEALTHY, loss=LN_K + 1e-4), "loss stuck", "5.545"),
        (lines(TERMS, shared_direction=0.7), "constant features", "unit vectors has length 0.7,"),
        (lines(TERMS, variance=0.95), "constant features", "the variance term is 0.95;"),
        (lines(TERMS, sigreg_share=0.99), "constant features", "SIGReg is 0.99 times that of constant"),
        (lines(TERMS, off_diagonal=0.5), "redundant dimensions", "correlation of two dimensions is 0.5;"),
    ],
)
def test_each_mode_is_named(numbers, mode, said):
    alarm = collapse(numbers, warmup_steps=100)
    assert alarm is not None
    assert alarm.mode == mode
    assert said in alarm.sentence


@pytest.mark.parametrize(
    "numbers",
    [
        lines(HEALTHY),
        lines(DINO),
        lines(IBOT),
        # Its loss is that of uniform targets of [CLS] alone.
        lines(IBOT, loss=LN_K),
        lines(TERMS),
        lines(HEALTHY, target_largest=0.02, prototype_usage=0.99),
        lines(HEALTHY, neighbour_share=0.3),
        # Sharp targets over many dimensions are normal for DINO.
        lines(DINO, target_entropy=0.01),
        # A nearly uniform target that still distinguishes images is normal at the start of a run.
        lines(DINO, target_entropy=LN_K - 0.05, kl=0.3),
        # With a squared distance as loss, the entropy of the targets is meaningless.
        [{k: v for k, v in line.items() if k != "chance_loss"} for line in lines(DINO, target_entropy=LN_K, kl=0.0)],
        # A single line is not a sign over a hundred steps.
        [*lines(HEALTHY)[:-1], {"step": 300, **HEALTHY, "feature_std": 0.0}],
        lines(HEALTHY, steps=range(10, 90, 10), feature_std=0.0),
        lines(HEALTHY, steps=[300], feature_std=0.0),
        # Methods that log neither metric give no alarm.
        lines({"loss": 1.0}),
        [],
    ],
)
def test_no_mode_is_named(numbers):
    assert collapse(numbers, warmup_steps=100) is None


def test_uniform_outputs_are_allowed_during_warmup():
    for numbers in (lines(DINO, target_entropy=LN_K - 1e-3, kl=1e-4), lines(TERMS, variance=0.95)):
        assert collapse(numbers, warmup_steps=250) is None
        assert collapse(numbers, warmup_steps=150) is not None


def test_observe_equals_the_evaluation_functions():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(32, 8)) * np.arange(1, 9), jnp.float32)
    seen = observe(x, rank=True)
    np.testing.assert_allclose(seen["feature_std"], feature_std(x) * 8**0.5, rtol=1e-6)
    np.testing.assert_allclose(seen["effective_rank"], effective_rank(x), rtol=1e-5)
    energy = np.mean(np.asarray(x) ** 2, 0)
    np.testing.assert_allclose(seen["largest_share"], energy.max() / energy.sum(), rtol=1e-5)
    assert "effective_rank" not in observe(x)
    assert all(np.isfinite(v) for v in observe(jnp.zeros((4, 3)), rank=True).values())


def test_the_watch_raises_one_alarm_even_after_a_stop():
    first = Watch([], warmup_steps=0)
    flat = jnp.ones((8, 4))
    alarms, written = [], []
    for step in range(10, 310, 10):
        line = {"step": step, "loss": 1.0}
        alarm = first(line, flat)
        alarms.append(alarm)
        written.append(line | ({"collapse": alarm.mode} if alarm else {}))
    assert [i for i, alarm in enumerate(alarms) if alarm] == [9]
    assert Watch(written, warmup_steps=0)({"step": 310, "loss": 1.0}, flat) is None
    # Stopped before the window is full, it continues to count after the stop.
    assert Watch(written[:9], warmup_steps=0)({"step": 100, "loss": 1.0}, flat) is not None


def run(path, config):
    data = tiny.dataset()
    folder = RunDir(path, to_dict(config))
    return fit(config, tiny.alone(config), data, folder), folder


@pytest.fixture
def touchy(monkeypatch):
    """A watch that treats all features as constant, after four steps."""
    monkeypatch.setattr(watch, "WINDOW", 4)
    monkeypatch.setattr(watch, "CONSTANT", dict.fromkeys(watch.CONSTANT, 1e3))


def test_a_collapsed_run_warns_and_continues(touchy, tmp_path):
    state, folder = run(tmp_path / "run", tiny.config(log_every=1))
    assert int(state.step) == 12
    named = [line for line in folder.metrics() if "collapse" in line]
    assert [(line["step"], line["collapse"]) for line in named] == [(4, "constant features")]


def test_a_collapsed_run_stops_with_on_collapse_stop(touchy, tmp_path):
    config = tiny.config(log_every=1, on_collapse="stop")
    for _ in range(2):
        with pytest.raises(Collapsed, match="Stopped at step 4: constant features; the features of all images"):
            run(tmp_path / "run", config)

    def stop():
        raise Collapsed("Stopped.")

    assert terminal.exit_code(stop) == 3


def test_on_collapse_ignore_disables_the_watch(touchy, tmp_path):
    _, folder = run(tmp_path / "run", tiny.config(log_every=1, on_collapse="ignore"))
    assert all("feature_std" not in line for line in folder.metrics())
