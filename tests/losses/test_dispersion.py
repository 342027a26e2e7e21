"""koleo and sigreg against the original code's values, naive float64 loops, and eight devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from sslax.losses import koleo, sigreg


def close(actual, expected, tolerance):
    """Within `tolerance` of the expected array's largest magnitude."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("case", range(4))
def test_golden_koleo(golden, case):
    g = golden(f"koleo_{case}")
    value, gradient = jax.jit(jax.value_and_grad(lambda x: koleo(x).mean()))(g["x"])
    close(value, g["loss"], 3e-5)
    close(gradient, g["grad_x"], 3e-5)


def test_koleo_of_equal_rows_is_finite():
    x = np.concatenate([np.ones((3, 4), np.float32), np.zeros((2, 4), np.float32)])
    value, gradient = jax.jit(jax.value_and_grad(lambda x: koleo(x).mean()))(x)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("case", range(4))
def test_golden_lejepa(golden, case):
    """SIGReg of each view and the distance to the mean of the global views, which is the rest of LeJEPA's loss."""
    g = golden(f"lejepa_{case}")
    h, directions = g["hyper"], jnp.asarray(g["directions"])

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def value_and_gradient(z):
        statistic = jnp.stack([sigreg(view, directions, knots=h["knots"], limit=h["t_max"]) for view in z]).mean()
        invariance = jnp.square(z - z[: h["global_views"]].mean(axis=0, keepdims=True)).mean()
        return h["lambda_param"] * statistic + (1 - h["lambda_param"]) * invariance, (statistic, invariance)

    (value, (statistic, invariance)), gradient = value_and_gradient(g["z"])
    close(statistic, g["sigreg"], 1e-5)
    close(invariance, g["invariance"], 1e-5)
    close(value, g["loss"], 1e-5)
    close(gradient, g["grad_z"], 1e-5)


def test_sigreg_is_the_integral_of_its_definition():
    """n times the mean over directions of the distance of characteristic functions, by a fine integral over both halves."""
    rng = np.random.default_rng(0)
    z, directions = rng.standard_normal((9, 4)), rng.standard_normal((4, 3))
    directions /= np.linalg.norm(directions, axis=0)
    t = np.linspace(-3, 3, 8001)
    total = 0.0
    for s in range(3):
        empirical = np.exp(1j * t[:, None] * (z @ directions[:, s])[None]).mean(axis=1)
        gap = np.abs(empirical - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)
        total += 9 * np.trapezoid(gap, t) / 3
    found = jax.jit(functools.partial(sigreg, knots=513))(z.astype(np.float32), directions.astype(np.float32))
    np.testing.assert_allclose(found, total, rtol=1e-4)


@pytest.mark.parametrize("check_vma", [True, False])
def test_sigreg_on_eight_devices_is_that_of_one(check_vma):
    rng = np.random.default_rng(1)
    z, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((24, 5), (5, 5)))
    directions = jnp.asarray(rng.standard_normal((5, 6)).astype(np.float32))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def local(w, z):
        value, gradient = jax.value_and_grad(lambda w: sigreg(z @ w, directions, axis_name="data"))(w)
        return value, gradient if check_vma else jax.lax.pmean(gradient, "data")

    rows, everywhere = PartitionSpec("data"), PartitionSpec()
    run = jax.shard_map(local, mesh=mesh, in_specs=(everywhere, rows), out_specs=everywhere, check_vma=check_vma)
    value, gradient = jax.jit(run)(w, z)
    wanted, wanted_gradient = jax.jit(jax.value_and_grad(lambda w: sigreg(z @ w, directions)))(w)
    close(value, wanted, 1e-5)
    close(gradient, wanted_gradient, 1e-5)


def test_one_row_has_no_neighbour(as_users_have_it):
    with pytest.raises(ValueError, match=r"features has shape \(1, 4\); there must be at least 2 rows"):
        koleo(np.ones((1, 4)))


def test_directions_must_fit(as_users_have_it):
    with pytest.raises(ValueError, match=r"z has 4 columns and directions 3 rows; they must agree\."):
        sigreg(np.ones((2, 4)), np.ones((3, 5)))
