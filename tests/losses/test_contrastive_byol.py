"""byol_contrastive against a naive float64 loop and finite differences, and its ends: BYOL's loss and SimCLR's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.losses import byol, byol_contrastive, nt_xent
from tests.losses.gradients import check_gradients

compiled = jax.jit(byol_contrastive)


def four(n, d, seed=0):
    return list(np.random.default_rng(seed).standard_normal((4, n, d)).astype(np.float32))


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


def test_naive_loop():
    arrays = four(7, 5)

    @jax.jit
    def known(*arrays, temperature):
        return byol_contrastive(*arrays, negatives=0.0, temperature=temperature)

    for temperature in (0.07, 1.0):
        for negatives in (0.0, 0.3, 1.0):
            wanted = naive(*(x.astype(np.float64) for x in arrays), negatives, temperature)
            actual = compiled(*arrays, negatives=negatives, temperature=temperature)
            np.testing.assert_allclose(actual, wanted, rtol=2e-6)
            if not negatives:
                # Known to be none when it is compiled, the weight costs no matrix of all pairs; the value is the same.
                np.testing.assert_allclose(known(*arrays, temperature=temperature), actual, rtol=2e-6)


def test_without_negatives_it_is_byols():
    @jax.jit
    def both(p1, p2, t1, t2):
        return byol_contrastive(p1, p2, t1, t2, negatives=0.0), byol(p1, t2) + byol(p2, t1)

    np.testing.assert_array_equal(*both(*four(6, 4)))
    # One pair is all that there is to find: its direction costs 2 - 2s + 2s.
    np.testing.assert_allclose(compiled(*(x[:1] for x in four(6, 4)), negatives=1.0), [4.0], rtol=1e-6)


def test_of_projections_it_is_simclrs():
    """4 + 4α·nt_xent, and the gradient that of it: through what is predicted and through what predicts."""
    z1, z2, *_ = four(9, 6)

    def ours(z1, z2, temperature):
        return byol_contrastive(z1, z2, z1, z2, negatives=1.0, temperature=temperature)

    def theirs(z1, z2, temperature):
        return 4 + 4 * temperature * nt_xent(z1, z2, temperature=temperature)

    @jax.jit
    def both(*arguments):
        pulled = [jax.vjp(loss, *arguments) for loss in (ours, theirs)]
        return [(value, *pull(jnp.linspace(0.5, 1.5, 9))) for value, pull in pulled]

    for temperature in (0.1, 0.5):
        for a, b in zip(*both(z1, z2, np.float32(temperature)), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_gradients_are_those_of_finite_differences():
    weights = np.arange(1.0, 5.0)

    def loss(arrays, negatives, temperature):
        return weights @ byol_contrastive(*arrays, negatives=negatives, temperature=temperature)

    with jax.enable_x64(True):
        arrays = [x.astype(np.float64) for x in four(4, 3)]
        check_gradients(loss, (arrays, np.float64(0.4), np.float64(0.3)), order=2)


def test_targets_get_a_gradient_with_and_without_negatives():
    @jax.jit
    def gradients(arrays):
        return [jax.grad(lambda x, n=n: byol_contrastive(*x, negatives=n).sum())(arrays) for n in (0.0, 1.0)]

    assert all(np.abs(g).max() > 1e-3 for g in jax.tree.leaves(gradients(four(5, 4))))


def test_half_precision_is_computed_in_float32():
    arrays = [x.astype(jnp.bfloat16) for x in four(5, 4)]
    actual = compiled(*arrays, negatives=1.0)
    assert actual.dtype == jnp.float32
    wanted = naive(*(x.astype(np.float64) for x in arrays), 1.0, 0.1)
    np.testing.assert_allclose(actual, wanted, rtol=2e-6)


def test_shapes_that_would_broadcast_are_refused(as_users_have_it):
    p1, p2, t1, t2 = four(5, 4)
    with pytest.raises(ValueError, match="target2 has shape"):
        byol_contrastive(p1, p2, t1, t2[:1], negatives=1.0)
