"""The linear probe's training against a naive float64 loop: Nesterov momentum, cosine schedule, decay of the weights only."""

import functools

import jax
import numpy as np

from sslax.evaluation.linear import _compiled, _fit, linear_probe

CLASSES, STEPS, BATCH = 3, 30, 16


@functools.partial(jax.jit, static_argnums=2)
def drawn(key, step, count):
    return jax.random.randint(jax.random.fold_in(key, step), (BATCH,), 0, count)


def naive(key, x, y, rate, decay):
    """Weights and biases after the given steps, with explicit gradients and the same batches from the key."""
    w, b = np.zeros((x.shape[1], CLASSES)), np.zeros((1, CLASSES))
    velocities = [np.zeros_like(w), np.zeros_like(b)]
    for step in range(STEPS):
        index = np.asarray(drawn(key, step, len(x)))
        logits = x[index] @ w + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(BATCH), y[index]] -= 1
        gradients = [x[index].T @ p / BATCH + decay * w, p.mean(0, keepdims=True)]
        velocities = [g + 0.9 * v for g, v in zip(gradients, velocities, strict=True)]
        now = rate * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        w, b = (part - now * (g + 0.9 * v) for part, g, v in zip((w, b), gradients, velocities, strict=True))
    return w, b


def test_training_equals_the_naive_loop():
    """Of each candidate."""
    rng = np.random.default_rng(0)
    # The features are not centred, so that the biases matter.
    x, y = rng.normal(0.5, 1, (40, 5)).astype(np.float32), rng.integers(0, CLASSES, 40)
    candidates = ((0.3, 0.1), (0.05, 0.0))
    key = jax.random.key(3)
    found = _compiled(_fit, False)(
        key, x, y, np.array(candidates, np.float32), num_classes=CLASSES, steps=STEPS, batch_size=BATCH
    )
    for candidate, setting in enumerate(candidates):
        w, b = naive(key, x.astype(np.float64), y, *setting)
        np.testing.assert_allclose(found["w"][candidate], w, atol=1e-5)
        np.testing.assert_allclose(found["b"][candidate], b, atol=1e-5)


def test_candidates_are_judged_on_features_that_they_did_not_learn():
    """Labels without any meaning, in so many dimensions that all of what is learnt is answered correctly."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 100), np.float32), rng.integers(0, 10, 50)
    found = linear_probe(jax.random.key(0), x, y, x, y, num_classes=10, steps=100)
    assert found.accuracy == 1
    assert found.held_out_accuracy < 0.6
