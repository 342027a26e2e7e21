"""Assignments of a batch to prototypes that use all prototypes alike, as SwAV makes its codes."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sslax.checks import as_array, check_count, check_floating, check_positive
from sslax.numerics import AxisName, at_least_float32, lowest_logit


def sinkhorn_knopp(
    logits: Float[Array, "n k"],
    *,
    temperature: Float[Array, ""] | float,
    iterations: int = 3,
    axis_name: AxisName | None = None,
) -> Float[Array, "n k"]:
    """Sinkhorn-Knopp's assignment of n images to k prototypes: each image's sums to 1, and the prototypes are used alike.

    `exp(logits / temperature)`, whose columns and then rows are divided by their sums, `iterations` times. The rows are last,
    so they sum to 1; the columns come near to n/k each, the nearer the more iterations. One iteration is a softmax over the
    batch and a division of the rows. What is added to a whole column makes no difference, so neither does a centre.

    Args:
      logits: any finite values of any floating type; the arithmetic is float32 at least.
      temperature: above 0, SwAV's ε (0.05 there); may be traced.
      iterations: at least 1.
      axis_name: mapped axis (or axes) of `shard_map` or `pmap`; the columns are then those of all its devices.

    Returns:
      The assignment [n, k], of which no gradient flows back. float32, or float64 for float64 input.

    Raises:
      ValueError: on other shapes than [n, k], a temperature that is not positive, or fewer than one iteration.
      TypeError: on an array that is not floating-point, or iterations that are no whole number.

    References:
      Caron et al. 2020, arXiv:2006.09882, section 3.1, and `distributed_sinkhorn` of SwAV's released `main_swav.py`; as code
      in Caron et al. 2021, arXiv:2104.14294, appendix B.
    """
    logits = as_array("logits", logits)
    check_floating("logits", logits, 2)
    check_positive("temperature", temperature)
    check_count("iterations", iterations)
    # As in SwAV, an assignment is a target: with a gradient it would come to meet what is to predict it.
    logits, temperature = lax.stop_gradient((at_least_float32(logits), temperature))
    lowest = lowest_logit(logits)
    # Logarithms all along, and the largest of each column is 0 before it is divided by a temperature: nothing overflows,
    # and a row that is nobody's best keeps its proportions. The first division of the columns takes the largest off anyhow.
    below = jnp.maximum(logits - _largest(logits, 0, axis_name), lowest)
    log_q = jnp.maximum(below / temperature, lowest)

    def iterate(_, log_q):
        return _log_normalize(_log_normalize(log_q, 0, axis_name), 1)

    return jnp.exp(lax.fori_loop(0, iterations, iterate, log_q))


def _largest(x: Array, axis: int, axis_name: AxisName | None) -> Array:
    largest = x.max(axis=axis, keepdims=True)
    return largest if axis_name is None else lax.pmax(largest, axis_name)


def _log_normalize(log_q: Array, axis: int, axis_name: AxisName | None = None) -> Array:
    """`log_q` less the logarithm of its sums along `axis`, which are those of all devices of `axis_name`."""
    shifted = log_q - _largest(log_q, axis, axis_name)
    total = jnp.exp(shifted).sum(axis=axis, keepdims=True)
    return shifted - jnp.log(total if axis_name is None else lax.psum(total, axis_name))
