"""SimSiam's own parts: heads as released, the stop-gradient, the predictor and its constant learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.config import OptimizerConfig, check
from sslax.errors import InputError
from sslax.losses import simsiam as simsiam_loss
from sslax.methods.simsiam import heads
from tests import tiny
from tests.methods import siamese


@pytest.fixture(scope="module")
def start():
    """SimSiam, its parameters and its statistics."""
    b = siamese.built("simsiam")
    return b, *tiny.start(b.method)


def cosine(a, b):
    return jnp.sum(a * b, axis=-1) / jnp.linalg.norm(a, axis=-1) / jnp.linalg.norm(b, axis=-1)


def test_the_heads_are_those_of_the_release():
    width, found = siamese.head_shapes("simsiam")
    kernels = {"Dense_0/kernel": (width, 2048), "Dense_1/kernel": (2048, 2048), "Dense_2/kernel": (2048, 2048)}
    norms = {f"BatchNorm_{index}/{name}": (2048,) for index in range(2) for name in ("scale", "bias")}
    # The last BatchNorm has neither scale nor offset.
    assert found["projector"] == kernels | norms
    assert found["predictor"] == {
        "Dense_0/kernel": (2048, 512),
        "BatchNorm_0/scale": (512,),
        "BatchNorm_0/bias": (512,),
        "Dense_1/kernel": (512, 2048),
        "Dense_1/bias": (2048,),
    }


def test_projections_are_standardised_within_each_view(start):
    b, params, aux = start
    for out in siamese.by_view(b, heads(tiny.OPTIONS["simsiam"], b.backbone), params, aux):
        z = np.asarray(out["projector"])
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
        assert (z.std(axis=0) > 0.9).all()


def test_without_the_stop_the_gradient_flows_through_the_projections_too(start):
    """The gradient with the stop is that of the plain loop in test_reference.py."""
    _, params, aux = start
    b = siamese.built("simsiam", stop_gradient=False)
    parts = heads(tiny.OPTIONS["simsiam"], b.backbone)

    def by_hand(params):
        first, second = siamese.by_view(b, parts, params, aux)
        directions = ((first, second), (second, first))
        return -sum(cosine(a["predictor"], b["projector"]).mean() for a, b in directions) / 2

    wanted, wanted_gradient = jax.jit(jax.value_and_grad(by_hand))(params)
    loss, output, gradient = siamese.evaluated(b, params, aux)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    np.testing.assert_allclose(output.metrics["positive_cosine"], -wanted, rtol=1e-5)
    largest = max(np.abs(g).max() for g in jax.tree.leaves(wanted_gradient))
    for found, expected in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted_gradient), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5 * largest)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_gradients_reach_the_projector_through_the_predictor_alone(start, stop_gradient):
    _, params, aux = start
    b = siamese.built("simsiam", stop_gradient=stop_gradient)
    # Predictions are then a constant, whatever the projections.
    last = params["predictor"]["Dense_1"]
    last = {"kernel": jnp.zeros_like(last["kernel"]), "bias": jnp.ones_like(last["bias"])}
    params = {**params, "predictor": {**params["predictor"], "Dense_1": last}}
    _, _, gradient = siamese.evaluated(b, params, aux)
    for name in ("projector", "encoder"):
        largest = max(np.abs(g).max() for g in jax.tree.leaves(gradient[name]))
        assert (largest == 0) == stop_gradient, (name, largest)


def test_without_a_predictor_projections_meet_each_other(start):
    _, params, aux = start
    b = siamese.built("simsiam", predictor_hidden=0)
    params, aux = {**params, "predictor": {}}, {**aux, "predictor": {}}
    parts = {"projector": heads(tiny.OPTIONS["simsiam"], b.backbone)["projector"]}
    (first, second), (loss, _, _) = siamese.by_view(b, parts, params, aux), siamese.evaluated(b, params, aux)
    np.testing.assert_allclose(loss, simsiam_loss(first["projector"], second["projector"]).mean(), rtol=1e-5)


@pytest.mark.parametrize("constant", [True, False])
def test_the_predictors_learning_rate_stays_at_its_peak(start, constant):
    _, params, _ = start
    optim = OptimizerConfig(name="sgd", lr=0.5, weight_decay=0.0, momentum=0.0, warmup_epochs=1.0)
    tx = siamese.built("simsiam", optim=optim, constant_predictor_rate=constant).tx
    gradient, state, update = jax.tree.map(jnp.ones_like, params), tx.init(params), jax.jit(tx.update)
    moved = {"encoder": [], "projector": [], "predictor": []}
    # The first epoch of four steps is the warmup; two epochs of the cosine follow.
    for _ in range(12):
        updates, state = update(gradient, state, params)
        for name, rates in moved.items():
            rates.append({float(-u.ravel()[0]) for u in jax.tree.leaves(updates[name])})
    scheduled = [0.5 * k / 4 for k in range(4)] + [0.25 * (1 + np.cos(np.pi * k / 8)) for k in range(8)]
    for name, rates in moved.items():
        wanted = [0.5] * 12 if constant and name == "predictor" else scheduled
        for step, (found, rate) in enumerate(zip(rates, wanted, strict=True)):
            np.testing.assert_allclose(sorted(found), [rate] * len(found), atol=1e-6, err_msg=f"{name}, {step}")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("projector_layers", 0, "method.projector_layers is 0; it must be at least 1"),
        ("predictor_hidden", -1, "method.predictor_hidden is -1; it must be at least 0"),
        ("loss_scale", 0.0, "method.loss_scale is 0.0"),
    ],
)
def test_options_that_cannot_work(field, value, said):
    with pytest.raises(InputError, match=said):
        check(siamese.configured("simsiam", **{field: value}))
