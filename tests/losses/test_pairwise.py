"""nt_logistic and margin_triplet against a naive float64 loop, finite differences, and what they may be given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.losses import margin_triplet, nt_logistic
from tests.losses.gradients import check_gradients

compiled = {loss: jax.jit(loss, static_argnames=("normalize", "semi_hard")) for loss in (nt_logistic, margin_triplet)}
BOTH = [(nt_logistic, "temperature"), (margin_triplet, "margin")]


def naive(loss, z1, z2, number, normalize=True, semi_hard=False):
    """Table 2 of the SimCLR paper with the sign of a loss, a view and a negative at a time, in float64."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    if normalize:
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
    n = len(z1)
    losses = np.zeros(2 * n)
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        positive = z[i] @ z[partner]
        negatives = [z[i] @ z[k] for k in range(2 * n) if k not in (i, partner)]
        if semi_hard:
            least = positive - number if loss is margin_triplet else -np.inf
            negatives = sorted(s for s in negatives if least < s < positive)[-1:]
        if loss is margin_triplet:
            terms = [max(s - positive + number, 0) for s in negatives]
        else:
            losses[i] = np.log1p(np.exp(-positive / number))
            terms = [np.log1p(np.exp(s / number)) for s in negatives]
        losses[i] += np.mean(terms) if terms else 0
    return (losses[:n] + losses[n:]) / 2


def pairs(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n, d)).astype(np.float32)


@pytest.mark.parametrize("semi_hard", [False, True])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("loss", "name"), BOTH)
def test_naive_loop(loss, name, normalize, semi_hard):
    for seed in (0, 1):
        # Pairs that are alike, as training makes them, have negatives on both sides of the partner.
        z1, noise = pairs(9, 4, seed)
        z2 = z1 + noise
        for number in (0.1, 0.8, 1.6):
            actual = compiled[loss](z1, z2, **{name: number}, normalize=normalize, semi_hard=semi_hard)
            wanted = naive(loss, z1, z2, number, normalize, semi_hard)
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("semi_hard", [False, True])
@pytest.mark.parametrize(("loss", "name"), BOTH)
def test_float64_and_finite_differences(loss, name, semi_hard):
    z1, noise = pairs(6, 4).astype(np.float64)
    z2 = z1 + noise
    weights = np.arange(1.0, 7.0)

    def value(z1, z2, number):
        return weights @ loss(z1, z2, **{name: number}, semi_hard=semi_hard)

    with jax.enable_x64(True):
        exact = weights @ naive(loss, z1, z2, 0.5, semi_hard=semi_hard)
        found = jax.jit(value)(z1, z2, 0.5)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, exact, rtol=1e-12)
        # The temperature and the margin are traced here, and their gradients are checked with the others.
        check_gradients(value, (z1, z2, np.float64(0.5)), rtol=1e-6, atol=1e-6)


def test_the_papers_gradients():
    """Table 2's last column: each by the inner product, of one pair with one negative a view."""
    z1, z2 = np.array([[[1.0, 0.0], [0.6, 0.8]], [[0.8, 0.6], [0.0, 1.0]]], np.float32)

    def by_view(loss, **options):
        gradient = jax.jit(jax.grad(lambda z1, z2, options: loss(z1, z2, normalize=False, **options)[0]))
        return np.asarray(gradient(z1, z2, options))[1]

    # Row 1 of z1 is a negative of both views of pair 0, one of two each, and nothing else there.
    s = 1 / (1 + np.exp(-np.array([0.6, 0.96]) / 0.5))
    wanted = (s[0] * z1[0] + s[1] * z2[0]) / 0.5 / 2 / 2
    np.testing.assert_allclose(by_view(nt_logistic, temperature=0.5), wanted, atol=1e-6)
    # Inside the margin of 0.3 of the partners' 0.8 in both directions; of 0.1 in the second alone; of 0 at 0.96.
    np.testing.assert_allclose(by_view(margin_triplet, margin=0.3), (z1[0] + z2[0]) / 4, atol=1e-6)
    np.testing.assert_allclose(by_view(margin_triplet, margin=0.1), z2[0] / 4, atol=1e-6)


def test_semi_hard_takes_the_closest_that_is_farther():
    """Cosines by hand: the partner at 0.8; negatives closer, farther, and beyond the margin."""

    def at(cosine):
        return [cosine, np.sqrt(1 - cosine**2)]

    def of_first_view(loss, others, **options):
        # The first view of pair 0 alone, as the others see it from elsewhere: twice the pair's loss less the other one's.
        z1 = np.array([[1.0, 0.0], *map(at, others)], np.float32)
        z2 = np.array([at(0.8), *([[-1.0, 0.0]] * len(others))], np.float32)
        both = 2 * np.asarray(compiled[loss](z1, z2, semi_hard=True, **options))[0]
        second = np.asarray(z2[0], np.float64)
        negatives = [s for s in [*(np.asarray(z1[1:]) @ second), *(np.asarray(z2[1:]) @ second)] if s < 0.8]
        hardest = max(negatives)
        if loss is margin_triplet:
            return both - max(hardest - 0.8 + options["margin"], 0)
        return both - np.log1p(np.exp(-0.8)) - np.log1p(np.exp(hardest))

    margin = functools.partial(of_first_view, margin_triplet)
    np.testing.assert_allclose(margin([0.9, 0.7, 0.2], margin=0.3), 0.2, atol=1e-5)
    np.testing.assert_allclose(margin([0.9, 0.3, 0.2], margin=0.3), 0.0, atol=1e-5)
    logistic = functools.partial(of_first_view, nt_logistic, temperature=1.0)
    for others, hardest in (([0.9, 0.7, 0.2], 0.7), ([0.9, 0.3, 0.2], 0.3), ([0.9, 0.95, 0.99], -1.0)):
        np.testing.assert_allclose(logistic(others), np.log1p(np.exp(-0.8)) + np.log1p(np.exp(hardest)), atol=1e-5)


@pytest.mark.parametrize("semi_hard", [False, True])
@pytest.mark.parametrize(("loss", "name"), BOTH)
def test_zero_rows_and_not_a_number(loss, name, semi_hard):
    z1, z2 = pairs(4, 3)
    z1[1] = 0

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_and_losses(z1, z2):
        losses = loss(z1, z2, **{name: 0.5}, semi_hard=semi_hard)
        return losses.sum(), losses

    gradient, losses = gradient_and_losses(z1, z2)
    assert np.isfinite(losses).all()
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.asarray(gradient)[1], 0)
    # All outputs the same: nobody is farther than the partner, and the mined negatives are none.
    _, same = gradient_and_losses(z2 * 0, z2 * 0)
    each = np.log(2) if loss is nt_logistic else 0.0
    np.testing.assert_allclose(same, each + (0 if semi_hard else np.log(2) if each else 0.5), atol=1e-6)
    # What is broken in the network is not mined away.
    z1[0] = np.nan
    assert np.isnan(np.asarray(gradient_and_losses(z1, z2)[1])[0])


@pytest.mark.parametrize(("loss", "name"), BOTH)
def test_one_pair_has_no_negatives(loss, name):
    z1, z2 = pairs(1, 3)
    for semi_hard in (False, True):
        np.testing.assert_allclose(
            compiled[loss](z1, z2, **{name: 0.5}, semi_hard=semi_hard),
            naive(loss, z1, z2, 0.5, semi_hard=semi_hard),
            rtol=1e-6,
        )


@pytest.mark.parametrize(("loss", "name"), BOTH)
def test_half_precision_is_computed_in_float32(loss, name):
    @jax.jit
    def run(halves):
        return [(loss(*half), loss(*half.astype(jnp.float32))) for half in halves]

    z = pairs(9, 4)
    for half, wide in run([z.astype(jnp.bfloat16), z.astype(np.float16)]):
        assert half.dtype == jnp.float32
        np.testing.assert_array_equal(half, wide)


@pytest.mark.parametrize(
    ("loss", "options", "says"),
    [
        (nt_logistic, {"temperature": 0.0}, "temperature is 0"),
        (nt_logistic, {"temperature": float("nan")}, "temperature is nan"),
        (margin_triplet, {"margin": -0.1}, "margin is -0.1"),
        (margin_triplet, {"margin": float("inf")}, "margin is inf"),
    ],
)
def test_bad_input_is_named(as_users_have_it, loss, options, says):
    with pytest.raises(ValueError, match=says):
        loss(np.ones((4, 3)), np.ones((4, 3)), **options)
    with pytest.raises(ValueError, match=r"z1 has shape \(4, 3\) and z2 has shape \(5, 3\)"):
        loss(np.ones((4, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="inner products"):
        loss(np.full((4, 3), 1e30), np.ones((4, 3)), normalize=False)
