"""LeJEPA's terms and their weights against golden values, and the directions of a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.methods.lejepa import random_directions, terms


def close(actual, wanted, tolerance):
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("case", [0, 3])
def test_terms_and_loss_are_golden(golden, case):
    g = golden(f"lejepa_{case}")
    h, directions = g["hyper"], jnp.asarray(g["directions"])

    @jax.jit
    def value_and_gradient(z):
        def loss(z):
            of = terms(z, directions, large=h["global_views"], knots=h["knots"], limit=h["t_max"])
            return of.weighted(h["lambda_param"]), of

        return jax.value_and_grad(loss, has_aux=True)(z)

    (value, of), gradient = value_and_gradient(jnp.asarray(g["z"]))
    close(of.sigreg, g["sigreg"], 1e-5)
    close(of.invariance, g["invariance"], 1e-5)
    close(value, g["loss"], 1e-5)
    close(gradient, g["grad_z"], 1e-5)


def test_directions_are_unit_vectors_in_all_directions():
    found = random_directions(jax.random.key(0), 3, 2000)
    np.testing.assert_allclose(jnp.linalg.norm(found, axis=0), 1, rtol=1e-5)
    # A third of the variance in each dimension.
    np.testing.assert_allclose(found @ found.T / 2000, np.eye(3) / 3, atol=0.03)
