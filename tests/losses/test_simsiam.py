"""simsiam against the original code, a naive float64 loop, finite differences, BYOL's loss and extreme rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.losses import byol, simsiam
from tests.losses.gradients import check_gradients
from tests.losses.naive import naive_simsiam

compiled = jax.jit(simsiam)
value_and_gradients = jax.jit(jax.value_and_grad(lambda p, z: simsiam(p, z).sum(), (0, 1)))


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", range(4))
def test_golden(golden, case):
    g = {name: jnp.asarray(x) for name, x in golden(f"simsiam_{case}").items() if name != "hyper"}

    def loss(p1, p2):
        return (simsiam(p1, g["z2"]) + simsiam(p2, g["z1"])).mean() / 2

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(g["p1"], g["p2"])
    np.testing.assert_allclose(value, g["loss"], rtol=5e-6)
    for gradient, name in zip(gradients, ("grad_p1", "grad_p2"), strict=True):
        np.testing.assert_allclose(gradient, g[name], atol=5e-6 * np.abs(g[name]).max())


def test_naive_loop_and_byol():
    prediction, projection = draw(7, 5), draw(7, 5, seed=1)
    np.testing.assert_allclose(compiled(prediction, projection), naive_simsiam(prediction, projection), atol=1e-6)
    np.testing.assert_allclose(
        compiled(prediction, projection), jax.jit(byol)(prediction, projection) / 2 - 1, atol=1e-6
    )


def test_finite_differences_and_no_gradient_of_the_projection():
    prediction, projection = (draw(4, 5, seed=s).astype(np.float64) for s in (0, 1))
    weights = np.arange(1.0, 5.0)
    with jax.enable_x64(True):
        check_gradients(lambda p: simsiam(p, jnp.asarray(projection)) @ weights, (prediction,))
        _, gradients = value_and_gradients(prediction, projection)
    assert np.abs(gradients[0]).max() > 0
    assert np.all(np.asarray(gradients[1]) == 0)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30])
def test_extreme_rows(scale):
    prediction, projection = draw(4, 3), draw(4, 3, seed=1)
    scale = np.float32(scale)
    for p, z in ((prediction * scale, projection), (prediction, projection * scale)):
        p[0] = 0
        value, gradients = value_and_gradients(p, z)
        assert not any(np.isnan(g).any() for g in gradients)
        np.testing.assert_array_equal(np.asarray(gradients[0])[0], 0)
        if scale > 1e-40:
            np.testing.assert_allclose(value, naive_simsiam(prediction[1:], projection[1:]).sum(), rtol=1e-5)
            assert all(np.isfinite(g).all() for g in gradients)


def test_half_precision_is_computed_in_float32():
    p, z = (draw(7, 5, seed=s).astype(jnp.bfloat16) for s in (0, 1))
    np.testing.assert_array_equal(compiled(p, z), compiled(p.astype(np.float32), z.astype(np.float32)))
    for dtype in (jnp.bfloat16, jnp.float16):
        assert jax.eval_shape(simsiam, *2 * [jax.ShapeDtypeStruct((7, 5), dtype)]).dtype == jnp.float32


def test_what_is_wrong_is_named(as_users_have_it):
    with pytest.raises(ValueError, match=r"prediction has shape \(4, 3\) and projection has shape \(1, 3\)"):
        simsiam(draw(4, 3), draw(1, 3))
    with pytest.raises(TypeError, match="projection has dtype int32"):
        simsiam(draw(4, 3), np.ones((4, 3), np.int32))
