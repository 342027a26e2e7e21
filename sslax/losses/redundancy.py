"""Losses of a batch's statistics, without negatives: Barlow Twins' cross-correlation and VICReg's variance and covariance."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from sslax.checks import as_array, check_at_least, check_pair, is_concrete, value_range
from sslax.losses.blocks import dot
from sslax.numerics import AxisName, at_least_float32


class BarlowTwinsTerms(NamedTuple):
    """The two terms of Barlow Twins' loss, without weights."""

    on_diagonal: Float[Array, ""]
    """`sum over i of (1 - c_ii)²`: how far the views are from agreeing; from 0 to 4d."""
    off_diagonal: Float[Array, ""]
    """`sum over i != j of c_ij²`: how redundant the features are."""


class VICRegTerms(NamedTuple):
    """The three terms of VICReg's loss, without weights."""

    invariance: Float[Array, ""]
    """Mean squared difference of the views, over rows and features."""
    variance: Float[Array, ""]
    """Mean over features and both views of `max(0, 1 - std)`, from 0 to 0.99: the released code's; twice it is the paper's."""
    covariance: Float[Array, ""]
    """Squared covariances of different features, summed over both views and divided by d."""


def barlow_twins(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    *,
    off_diagonal: Float[Array, ""] | float = 0.0051,
    axis_name: AxisName | None = None,
) -> Float[Array, ""]:
    """Barlow Twins' loss: the cross-correlation of the two views' features is to be the identity.

    `sum over i of (1 - c_ii)² + off_diagonal · sum over i != j of c_ij²`, with `c = u1ᵀ u2 / n`, where u is z with each
    feature standardised over the batch, `(z - mean) / sqrt(biased variance + 1e-5)`, as BatchNorm does.

    Args:
      z1: projections of the first views; row i of `z1` and row i of `z2` show the same image. Any floating type; the
        arithmetic is float32 at least.
      z2: projections of the second views.
      off_diagonal: λ, at least 0; may be traced.
      axis_name: mapped axis (or axes) of `shard_map` or `pmap`. Means, variances and correlations are then those of the rows
        of all its devices, and every device returns the loss of the whole batch. Under `shard_map` with `check_vma=True`
        differentiate the loss, or its `pmean`, which is the same. Under `pmap`, or with `check_vma=False`, differentiate
        the loss and `pmean` the parameters' gradients. Both give the gradient of the whole batch on one device.

    Returns:
      One value of the batch, neither scaled nor divided by d. float32, or float64 for float64 input.

    Raises:
      ValueError: on other shapes than two equal [n, d], fewer than two rows in the whole batch, or a negative weight.
      TypeError: on arrays that are not floating-point.

    References:
      Zbontar et al. 2021, arXiv:2103.03230, equations 1 and 2; the released `main.py`. A feature that is constant over
      the batch has correlation 0 with all.
    """
    check_at_least("off_diagonal", off_diagonal)
    terms = barlow_twins_terms(z1, z2, axis_name=axis_name)
    return terms.on_diagonal + jnp.asarray(off_diagonal, terms.off_diagonal.dtype) * terms.off_diagonal


def barlow_twins_terms(
    z1: Float[Array, "n d"], z2: Float[Array, "n d"], *, axis_name: AxisName | None = None
) -> BarlowTwinsTerms:
    """The two terms of `barlow_twins` apart, as metrics show them; `on_diagonal + λ · off_diagonal` is the loss.

    Args:
      z1: projections of the first views.
      z2: projections of the second views.
      axis_name: as in `barlow_twins`, with the same rules for differentiating.

    Returns:
      The terms, without weights. float32, or float64 for float64 input.

    Raises:
      ValueError, TypeError: as `barlow_twins`.

    References:
      Zbontar et al. 2021, arXiv:2103.03230, equation 1.
    """
    z = _both_views(z1, z2, axis_name)
    centred, scale = _centred(z, axis_name)
    # Where float32 cannot hold ε / scale², the scale is above 1 and so is half of the feature's range: the variance is not 0.
    u1, u2 = centred * lax.rsqrt(_mean(jnp.square(centred), axis_name) + 1e-5 / scale / scale)
    correlation = _average(dot(u1.T, u2) / len(u1), axis_name)
    return BarlowTwinsTerms(
        on_diagonal=jnp.sum(jnp.square(1 - jnp.diagonal(correlation))),
        off_diagonal=jnp.sum(jnp.square(_off_diagonal(correlation))),
    )


def vicreg(
    z1: Float[Array, "n d"],
    z2: Float[Array, "n d"],
    *,
    invariance: Float[Array, ""] | float = 25.0,
    variance: Float[Array, ""] | float = 25.0,
    covariance: Float[Array, ""] | float = 1.0,
    halved: bool = True,
    axis_name: AxisName | None = None,
) -> Float[Array, ""]:
    """VICReg's loss: views agree, every feature has a standard deviation of at least 1, and no two features covary.

    The weighted sum of three terms. Invariance: the mean of `(z1 - z2)²` over rows and features. Variance: the mean over
    features of `max(0, 1 - sqrt(var + 1e-4))`. Covariance: the sum of the squared covariances of different features, over
    d. Variances and covariances are unbiased; the last two terms have a part of each view.

    Args:
      z1: projections of the first views; row i of `z1` and row i of `z2` show the same image. Any floating type; the
        arithmetic is float32 at least.
      z2: projections of the second views.
      invariance: weight of the invariance term, λ in the paper. All three weights are at least 0 and may be traced.
      variance: weight of the variance term, μ in the paper.
      covariance: weight of the covariance term, ν in the paper.
      halved: take half of the sum of the two views' variance terms, as the released code does. False takes the sum, as the
        paper does. The covariance terms are summed in both.
      axis_name: mapped axis (or axes) of `shard_map` or `pmap`. All terms are then of the rows of all its devices, and
        every device returns the loss of the whole batch. Under `shard_map` with `check_vma=True` differentiate the loss,
        or its `pmean`, which is the same. Under `pmap`, or with `check_vma=False`, differentiate the loss and `pmean` the
        parameters' gradients. Both give the gradient of the whole batch on one device.

    Returns:
      One value of the batch. float32, or float64 for float64 input.

    Raises:
      ValueError: on other shapes than two equal [n, d], fewer than two rows in the whole batch, a negative weight, or values
        whose squared covariances overflow (about 1e8 in float32); of traced arrays these come out as inf or NaN.
      TypeError: on arrays that are not floating-point.

    References:
      Bardes et al. 2022, arXiv:2105.04906, equations 1 to 6 and Algorithm 1; the released `main_vicreg.py`.
    """
    for name, weight in (("invariance", invariance), ("variance", variance), ("covariance", covariance)):
        check_at_least(name, weight)
    terms = vicreg_terms(z1, z2, axis_name=axis_name)
    weights = (jnp.asarray(weight, terms.variance.dtype) for weight in (invariance, variance, covariance))
    by_invariance, by_variance, by_covariance = weights
    spread = terms.variance if halved else 2 * terms.variance
    return by_invariance * terms.invariance + by_variance * spread + by_covariance * terms.covariance


def vicreg_terms(z1: Float[Array, "n d"], z2: Float[Array, "n d"], *, axis_name: AxisName | None = None) -> VICRegTerms:
    """The three terms of `vicreg` apart, as metrics show them.

    Args:
      z1: projections of the first views.
      z2: projections of the second views.
      axis_name: as in `vicreg`, with the same rules for differentiating.

    Returns:
      The terms, without weights; `variance` is the halved one. float32, or float64 for float64 input.

    Raises:
      ValueError, TypeError: as `vicreg`.

    References:
      Bardes et al. 2022, arXiv:2105.04906, equations 1 to 5.
    """
    z = _both_views(z1, z2, axis_name)
    _check_covariances(z)
    centred, scale = _centred(z, axis_name)
    centred = centred * scale
    n = _rows(z, axis_name)
    variances = _mean(jnp.square(centred), axis_name) * (n / (n - 1))
    covariances = _average(dot(jnp.swapaxes(centred, 1, 2), centred) / z.shape[1], axis_name) * (n / (n - 1))
    return VICRegTerms(
        invariance=_average(jnp.square(z[0] - z[1]).mean(), axis_name),
        variance=jax.nn.relu(1 - jnp.sqrt(variances + 1e-4)).mean(),
        covariance=jnp.sum(jnp.square(_off_diagonal(covariances))) / z.shape[-1],
    )


def _both_views(z1: Array, z2: Array, axis_name: AxisName | None) -> Float[Array, "2 n d"]:
    """Both views stacked, so that devices exchange their statistics together; raises unless there are two rows in all."""
    z1, z2 = as_array("z1", z1), as_array("z2", z2)
    check_pair("z1", z1, "z2", z2)
    z = jnp.stack([at_least_float32(z1), at_least_float32(z2)])
    if _rows(z, axis_name) < 2:
        raise ValueError(f"z1 has shape {z1.shape}; statistics of a batch need at least 2 rows.")
    return z


def _rows(z: Float[Array, "2 n d"], axis_name: AxisName | None) -> int:
    """How many rows the batch has on all devices."""
    return z.shape[1] * (1 if axis_name is None else lax.psum(1, axis_name))


def _average(x: Array, axis_name: AxisName | None) -> Array:
    return x if axis_name is None else lax.pmean(x, axis_name)


def _mean(z: Float[Array, "2 n d"], axis_name: AxisName | None) -> Float[Array, "2 1 d"]:
    """The mean over the rows of all devices."""
    return _average(z.mean(axis=1, keepdims=True), axis_name)


def _centred(
    z: Float[Array, "2 n d"], axis_name: AxisName | None
) -> tuple[Float[Array, "2 n d"], Float[Array, "2 1 d"]]:
    """Features less their mean, over a scale of at least 1, and the scale: half of a feature's range where that is more.

    No square of them overflows. As the middle of the range goes off first, a constant feature is 0 to the last bit, where
    a rounded mean would leave noise that a standardisation makes large. Neither middle nor scale needs a gradient: what is
    computed of the two results does not depend on them.
    """
    fixed = lax.stop_gradient(z)
    bounds = jnp.stack([fixed.max(axis=1, keepdims=True), -fixed.min(axis=1, keepdims=True)])
    high, low = (bounds if axis_name is None else lax.pmax(bounds, axis_name)) / 2
    scale = jnp.maximum(high + low, 1)
    shifted = (z - (high - low)) / scale
    return shifted - _mean(shifted, axis_name), scale


def _off_diagonal(matrices: Float[Array, "... d d"]) -> Float[Array, "... d d"]:
    """The matrices with zeros on their diagonals."""
    return jnp.where(jnp.broadcast_to(np.eye(matrices.shape[-1], dtype=bool), matrices.shape), 0, matrices)


def _check_covariances(z: Float[Array, "2 n d"]) -> None:
    """Raise ValueError where a sum of squared covariances of the rows of z1 and z2, stacked, may overflow."""
    if is_concrete(z):
        largest = max(map(abs, value_range(z)))
        # A covariance is at most 8 times the square of the largest value.
        if not 128 * z.shape[-1] * largest**4 < float(jnp.finfo(z.dtype).max) or largest == np.inf:
            raise ValueError(
                f"z1 and z2 have values up to {largest:g}, whose squared covariances {z.dtype} cannot hold; scale them down."
            )
