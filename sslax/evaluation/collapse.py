"""Two numbers that tell whether features have collapsed."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def feature_std(features: Float[Array, "n d"]) -> Float[Array, ""]:
    """How much the directions of features vary: ℓ2-normalise, deviation over the batch of each dimension, mean of those.

    Near 1/√d for directions spread evenly over the sphere, 0 for constant features. The deviation is unbiased (n - 1).

    Raises:
      ValueError: on other than two dimensions or fewer than two rows.

    Source: Chen & He 2021, arXiv:2011.10566, section 4.1; lightly's `std_of_l2_normalized`.
    """
    _check_rows(features)
    largest = jnp.max(jnp.abs(features), axis=1, keepdims=True)
    x = features / jnp.where(largest == 0, 1, largest)
    norms = jnp.linalg.norm(x, axis=1, keepdims=True)
    return jnp.std(x / jnp.where(norms == 0, 1, norms), axis=0, ddof=1).mean()


def effective_rank(features: Float[Array, "n d"]) -> Float[Array, ""]:
    """RankMe: exp of the entropy of the singular values' shares, in [1, min(n, d)]; features are not centred.

    Raises:
      ValueError: on other than two dimensions or fewer than two rows.

    Source: Garrido et al. 2023, arXiv:2210.02885, equation 1, with its ε of 1e-7 added to each share.
    """
    _check_rows(features)
    largest = jnp.max(jnp.abs(features))
    values = jnp.linalg.svd(features / jnp.where(largest == 0, 1, largest), compute_uv=False)
    total = values.sum()
    shares = values / jnp.where(total == 0, 1, total) + 1e-7
    return jnp.exp(-jnp.sum(shares * jnp.log(shares)))


def _check_rows(features: Array) -> None:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features have shape {features.shape}; they must be [n, d] with n of at least 2.")
