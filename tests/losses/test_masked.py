"""ibot and mae against the original code's values and naive float64 loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sslax.losses import ibot, mae


def close(actual, expected, tolerance):
    """Within `tolerance` of the expected array's largest magnitude."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("case", range(4))
def test_golden_ibot(golden, case):
    g = golden(f"ibot_{case}")
    student, target, mask = (jnp.asarray(g[name]) for name in ("student", "target", "mask"))
    temperature = g["hyper"]["student_temp"]

    @jax.jit
    def value_and_gradient(student):
        return jax.value_and_grad(lambda s: ibot(s, target, mask, temperature=temperature).mean())(student)

    value, gradient = value_and_gradient(student)
    close(value, g["loss"], 5e-6)
    close(gradient, g["grad_student"], 5e-6)
    # The first image has no masked patch.
    assert not g["mask"][0].any()
    assert float(ibot(student, target, mask, temperature=temperature)[0]) == 0


@pytest.mark.parametrize("normalize", [True, False])
def test_mae_equals_a_naive_loop(normalize):
    rng = np.random.default_rng(0)
    prediction, patches = rng.standard_normal((2, 3, 5, 12))
    patches[0, 1] = 0.5
    mask = rng.random((3, 5)) < 0.5
    mask[2] = False
    found = mae(*(jnp.asarray(x, jnp.float32) for x in (prediction, patches)), jnp.asarray(mask), normalize=normalize)
    for image in range(3):
        errors = []
        for patch in np.flatnonzero(mask[image]):
            pixels = patches[image, patch]
            if normalize:
                pixels = (pixels - pixels.mean()) / np.sqrt(pixels.var(ddof=1) + 1e-6)
            errors.append(np.mean((prediction[image, patch] - pixels) ** 2))
        np.testing.assert_allclose(found[image], np.mean(errors) if errors else 0.0, rtol=1e-5)


def test_gradients_reach_the_network_alone():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        x, y = (jnp.asarray(rng.standard_normal((2, 4, 6))) for _ in range(2))
        mask = jnp.asarray(rng.random((2, 4)) < 0.6)
        target = jax.nn.softmax(y)
        check_grads(jax.jit(lambda x, t: ibot(x, target, mask, temperature=t)), (x, jnp.asarray(0.5)), 1, modes=["rev"])
        check_grads(jax.jit(lambda x: mae(x, y, mask)), (x,), 1, modes=["rev"])
        for gradient in (
            jax.grad(lambda target: ibot(x, target, mask).sum())(target),
            jax.grad(lambda y: mae(x, y, mask).sum())(y),
        ):
            assert not np.any(gradient)


@pytest.mark.parametrize("call", [ibot, mae])
def test_a_mask_must_be_boolean_and_fit(as_users_have_it, call):
    x = jnp.ones((2, 4, 6))
    with pytest.raises(TypeError, match=r"mask has dtype int32; it must be a boolean array\."):
        call(x, x, jnp.ones((2, 4), jnp.int32))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 3\), but \w+ has 2 images of 4 patches\."):
        call(x, x, jnp.ones((2, 3), bool))
