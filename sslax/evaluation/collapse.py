"""Two metrics that show whether features have collapsed."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.checks import as_array, check_floating
from sslax.numerics import at_least_float32, l2_normalize


def feature_std(features: Float[Array, "n d"]) -> Float[Array, ""]:
    """The standard deviation over the batch of each dimension of the ℓ2-normalised features, averaged over dimensions.

    Near 1/√d for directions spread uniformly over the sphere, 0 for constant features. The variance is unbiased (n - 1).

    Raises:
      ValueError: on other than two dimensions or fewer than two rows.
      TypeError: on features that are not floating-point.

    Source: Chen & He 2021, arXiv:2011.10566, section 4.1; lightly's `std_of_l2_normalized`.
    """
    return jnp.std(l2_normalize(_rows(features)), axis=0, ddof=1).mean()


def effective_rank(features: Float[Array, "n d"]) -> Float[Array, ""]:
    """RankMe: exp of the entropy of the normalised singular values, in [1, min(n, d)]; features are not centred.

    Raises:
      ValueError: on other than two dimensions or fewer than two rows.
      TypeError: on features that are not floating-point.

    Source: Garrido et al. 2023, arXiv:2210.02885, equation 1, with its ε of 1e-7 added to each share.
    """
    features = _rows(features)
    largest = jnp.max(jnp.abs(features))
    values = jnp.linalg.svd(features / jnp.where(largest == 0, 1, largest), compute_uv=False)
    total = values.sum()
    shares = values / jnp.where(total == 0, 1, total) + 1e-7
    return jnp.exp(-jnp.sum(shares * jnp.log(shares)))


def _rows(features: Array) -> Array:
    features = as_array("features", features)
    check_floating("features", features, 2)
    if len(features) < 2:
        raise ValueError(f"features has shape {features.shape}; it must have at least 2 rows to have a spread.")
    return at_least_float32(features)
