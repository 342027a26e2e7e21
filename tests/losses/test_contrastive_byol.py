"""byol_contrastive against a naive float64 loop and finite differences, and its ends: BYOL's loss and SimCLR's."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sslax.losses import byol, byol_contrastive, nt_xent

compiled = jax.jit(byol_contrastive)


def four(n, d, seed=0):
    return list(jax.random.normal(jax.random.key(seed), (4, n, d)))


def naive(p1, p2, t1, t2, negatives, temperature):
    """Equation 8 of the appendix, negated, with BYOL's constant, for both directions; one cosine at a time."""

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    losses = np.zeros(len(p1))
    for p, own, other in ((p1, t1, t2), (p2, t2, t1)):
        for i in range(len(p)):
            total = sum(np.exp(cosine(p[i], own[j]) / temperature) for j in range(len(p)) if j != i)
            total += sum(np.exp(cosine(p[i], other[j]) / temperature) for j in range(len(p)))
            losses[i] += 2 - 2 * cosine(p[i], other[i]) + 2 * temperature * negatives * np.log(total)
    return losses


@pytest.mark.parametrize("negatives", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_naive_loop(negatives, temperature):
    arrays = four(7, 5)
    wanted = naive(*(np.asarray(x, np.float64) for x in arrays), negatives, temperature)
    actual = compiled(*arrays, negatives=negatives, temperature=temperature)
    np.testing.assert_allclose(actual, wanted, rtol=2e-6)
    # Known to be none when it is compiled, the weight costs no matrix of all pairs; the value is the same.
    known = byol_contrastive(*arrays, negatives=negatives, temperature=temperature)
    np.testing.assert_allclose(known, actual, rtol=2e-6)


def test_without_negatives_it_is_byols():
    p1, p2, t1, t2 = four(6, 4)
    np.testing.assert_array_equal(byol_contrastive(p1, p2, t1, t2, negatives=0.0), byol(p1, t2) + byol(p2, t1))
    # One pair is all that there is to find: its direction costs 2 - 2s + 2s.
    np.testing.assert_allclose(compiled(p1[:1], p2[:1], t1[:1], t2[:1], negatives=1.0), [4.0], rtol=1e-6)


def test_of_projections_it_is_simclrs():
    """4 + 4α·nt_xent, and the gradient that of it: through what is predicted and through what predicts."""
    z1, z2, *_ = four(9, 6)

    def ours(z1, z2, temperature):
        return byol_contrastive(z1, z2, z1, z2, negatives=1.0, temperature=temperature)

    def theirs(z1, z2, temperature):
        return 4 + 4 * temperature * nt_xent(z1, z2, temperature=temperature)

    for temperature in (0.1, 0.5):
        found = []
        for loss in (ours, theirs):
            value, pull = jax.vjp(jax.jit(loss), z1, z2, jnp.float32(temperature))
            found.append((value, *pull(jnp.linspace(0.5, 1.5, 9))))
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_gradients_are_those_of_finite_differences():
    with jax.enable_x64(True):
        arrays = [jnp.asarray(x, jnp.float64) for x in four(4, 3)]

        def loss(arrays, negatives, temperature):
            weights = jnp.arange(1.0, 5.0)
            return jnp.sum(weights * compiled(*arrays, negatives=negatives, temperature=temperature))

        check_grads(loss, (arrays, jnp.asarray(0.4), jnp.asarray(0.3)), order=2, modes=["rev"])


def test_targets_get_a_gradient_with_and_without_negatives():
    arrays = four(5, 4)
    for negatives in (0.0, 1.0):
        gradients = jax.grad(lambda x, n=negatives: byol_contrastive(*x, negatives=n).sum())(arrays)
        assert all(np.abs(g).max() > 1e-3 for g in gradients)


def test_half_precision_is_computed_in_float32():
    arrays = [x.astype(jnp.bfloat16) for x in four(5, 4)]
    actual = compiled(*arrays, negatives=1.0)
    assert actual.dtype == jnp.float32
    wanted = naive(*(np.asarray(x.astype(jnp.float32), np.float64) for x in arrays), 1.0, 0.1)
    np.testing.assert_allclose(actual, wanted, rtol=2e-6)


def test_shapes_that_would_broadcast_are_refused():
    p1, p2, t1, t2 = four(5, 4)
    with pytest.raises(ValueError, match="target2 has shape"):
        inspect.unwrap(byol_contrastive)(p1, p2, t1, t2[:1], negatives=1.0)
