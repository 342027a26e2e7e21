"""ibot and mae against the original code's values and naive float64 loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.losses import ibot, mae
from tests.losses.gradients import check_gradients


def close(actual, expected, tolerance):
    """Within `tolerance` of the expected array's largest magnitude."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("case", range(4))
def test_golden_ibot(golden, case):
    g = golden(f"ibot_{case}")

    target, mask = jnp.asarray(g["target"]), jnp.asarray(g["mask"])

    def loss(student):
        losses = ibot(student, target, mask, temperature=g["hyper"]["student_temp"])
        return losses.mean(), losses

    (value, losses), gradient = jax.device_get(jax.jit(jax.value_and_grad(loss, has_aux=True))(g["student"]))
    close(value, g["loss"], 5e-6)
    close(gradient, g["grad_student"], 5e-6)
    # The first image has no masked patch.
    assert not g["mask"][0].any()
    assert losses[0] == 0


def test_mae_equals_a_naive_loop():
    rng = np.random.default_rng(0)
    prediction, patches = rng.standard_normal((2, 3, 5, 12)).astype(np.float32)
    patches[0, 1] = 0.5
    mask = rng.random((3, 5)) < 0.5
    mask[2] = False
    both = jax.jit(lambda *arrays: [mae(*arrays, normalize=normalize) for normalize in (False, True)])
    for normalize, found in enumerate(jax.device_get(both(prediction, patches, mask))):
        for image in range(3):
            errors = []
            for patch in np.flatnonzero(mask[image]):
                pixels = patches[image, patch].astype(np.float64)
                if normalize:
                    pixels = (pixels - pixels.mean()) / np.sqrt(pixels.var(ddof=1) + 1e-6)
                errors.append(np.mean((prediction[image, patch] - pixels) ** 2))
            np.testing.assert_allclose(found[image], np.mean(errors) if errors else 0.0, rtol=1e-5)


def test_gradients_reach_the_network_alone():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 2, 4, 6))
    held = y, np.exp(y) / np.exp(y).sum(-1, keepdims=True), rng.random((2, 4)) < 0.6
    weights = np.array([1.0, 2.0])

    def loss(x, temperature):
        y, target, mask = map(jnp.asarray, held)
        return ibot(x, target, mask, temperature=temperature) @ weights + mae(x, y, mask) @ weights

    @jax.jit
    def by_targets(x, y, target, mask):
        return jax.grad(lambda y, target: ibot(x, target, mask).sum() + mae(x, y, mask).sum(), (0, 1))(y, target)

    with jax.enable_x64(True):
        check_gradients(loss, (x, np.float64(0.5)))
        assert not any(np.any(gradient) for gradient in by_targets(x, *held))


@pytest.mark.parametrize("call", [ibot, mae])
def test_a_mask_must_be_boolean_and_fit(as_users_have_it, call):
    x = np.ones((2, 4, 6), np.float32)
    with pytest.raises(TypeError, match=r"mask has dtype int32; it must be a boolean array\."):
        call(x, x, np.ones((2, 4), np.int32))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 3\), but \w+ has 2 images of 4 patches\."):
        call(x, x, np.ones((2, 3), bool))
