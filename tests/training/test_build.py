"""The optimiser that a configuration becomes: groups of parameters with learning rates of their own."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from sslax import optim
from sslax.config import OptimizerConfig, check
from sslax.errors import InputError
from sslax.training.build import make_optimizer, make_schedule
from tests import tiny

STEPS, PER_EPOCH = 12, 4
PARAMS = {
    name: {"kernel": np.full((2, 2), size, np.float32), "bias": np.full(2, size, np.float32)}
    for name, size in (("encoder", 1.0), ("predictor", 2.0))
}
GRADIENTS = [jax.tree.map(lambda p, k=k: np.float32(0.1 * (k + 1)) * p, PARAMS) for k in range(STEPS)]


def optimiser(name, constant_rate=None, **options):
    changed = {"lr": 0.2, "lr_scaling": "linear", "warmup_epochs": 1.0, "weight_decay": 0.1, **options}
    config = tiny.config(optim=OptimizerConfig(name=name, **changed))
    return make_optimizer(config, make_schedule(config, PER_EPOCH), STEPS, constant_rate)


def trained(tx):
    """Parameters after each step."""

    @jax.jit
    def step(gradient, state, params):
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params, state, each = PARAMS, jax.jit(tx.init)(PARAMS), []
    for gradient in GRADIENTS:
        params, state = jax.device_get(step(gradient, state, params))
        each.append(params)
    return each


def same(found, wanted, part, leaf):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one[part][leaf], other[part][leaf], rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_biases_have_a_learning_rate_of_their_own(name):
    """Kernels move as at `lr`, biases as at `bias_lr`: as each would in a run at that one rate."""
    found = trained(optimiser(name, bias_lr=0.01))
    kernels, biases = trained(optimiser(name)), trained(optimiser(name, lr=0.01))
    for part in PARAMS:
        same(found, kernels, part, "kernel")
        same(found, biases, part, "bias")


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_constant_rate_is_the_peak_from_the_first_step(name):
    found = trained(optimiser(name, optim.named("predictor"), bias_lr=0.01))
    scheduled = trained(optimiser(name, bias_lr=0.01))
    peak = 0.2 * 16 / 256
    make = {"adamw": optim.adamw, "sgd": optim.sgd}[name]
    momentum = {"b1": 0.9} if name == "adamw" else {"momentum": 0.9}
    for leaf, rate in (("kernel", peak), ("bias", peak * 0.01 / 0.2)):
        same(found, scheduled, "encoder", leaf)
        same(found, trained(make(rate, weight_decay=0.1, **momentum)), "predictor", leaf)


def test_groups_can_be_held():
    """After the hold a parameter starts with an empty memory, at the rate of its group."""
    tx = optim.hold(optimiser("adamw", bias_lr=0.01), optim.named("predictor"), steps=5)
    found, free = trained(tx), trained(optimiser("adamw", bias_lr=0.01))
    for leaf in ("kernel", "bias"):
        same(found, free, "encoder", leaf)
        np.testing.assert_array_equal(found[4]["predictor"][leaf], PARAMS["predictor"][leaf])
        assert (np.asarray(found[5]["predictor"][leaf]) != PARAMS["predictor"][leaf]).all()


def test_a_rate_for_biases_must_be_positive():
    with pytest.raises(InputError, match=r"optim\.bias_lr is 0; it must be a finite number above 0\."):
        check(dataclasses.replace(tiny.config(), optim=OptimizerConfig(bias_lr=0)))
