"""SwAV's codes, assignments of a batch to prototypes that use all prototypes alike, and its loss of predicting them."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from sslax.checks import as_array, check_count, check_floating, check_pair, check_positive, is_concrete, value_range
from sslax.numerics import AxisName, at_least_float32, log_softmax, lowest_logit


def sinkhorn_knopp(
    logits: Float[Array, "n k"],
    *,
    temperature: Float[Array, ""] | float,
    iterations: int = 3,
    where: Bool[Array, "n"] | None = None,
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
      where: True for the rows that are assigned, such as the masked patches in a buffer of fixed length, as in DINOv2. The
        other rows do not affect them; each of those still sums to 1.
      axis_name: mapped axis (or axes) of `shard_map` or `pmap`; the columns are then those of all its devices.

    Returns:
      The assignment [n, k], of which no gradient flows back. float32, or float64 for float64 input.

    Raises:
      ValueError: on other shapes than [n, k] and [n], a temperature that is not positive, or fewer than one iteration.
      TypeError: on logits that are not floating-point, a `where` that is not boolean, or iterations that are no whole number.

    References:
      Caron et al. 2020, arXiv:2006.09882, section 3.1, and `distributed_sinkhorn` of SwAV's released `main_swav.py`; as code
      in Caron et al. 2021, arXiv:2104.14294, appendix B.
    """
    logits = as_array("logits", logits)
    check_floating("logits", logits, 2)
    check_positive("temperature", temperature)
    check_count("iterations", iterations)
    counted = None if where is None else _as_rows(where, len(logits))
    # As in SwAV, an assignment is a target: with a gradient it would come to meet what is to predict it.
    logits, temperature = lax.stop_gradient((at_least_float32(logits), temperature))
    lowest = lowest_logit(logits)
    # Logarithms all along, and the largest of each column is 0 before it is divided by a temperature: nothing overflows,
    # and a row that is nobody's best keeps its proportions. The first division of the columns takes the largest off anyhow.
    below = jnp.maximum(logits - _largest(logits, 0, axis_name, counted), lowest)
    log_q = jnp.maximum(below / temperature, lowest)
    if counted is not None:
        # Those left out could be larger than all that count, without bound.
        log_q = jnp.where(counted, log_q, 0)

    def iterate(_, log_q):
        return _log_normalize(_log_normalize(log_q, 0, axis_name, counted), 1)

    return jnp.exp(lax.fori_loop(0, iterations, iterate, log_q))


def swav(
    scores: Float[Array, "n k"], codes: Float[Array, "n k"], *, temperature: Float[Array, ""] | float = 0.1
) -> Float[Array, "n"]:
    """SwAV's cross-entropy of one crop's distribution over prototypes to another crop's codes.

    `-sum over k of codes_k · log softmax(scores / temperature)_k`. The paper's loss takes the batch mean of
    `swav(scores[c], codes[a])`, with a one of the two crops that have codes and c any other crop. It is the mean over a of
    the mean over c.

    Args:
      scores: inner products of one crop's ℓ2-normalised projections with the prototypes.
      codes: `sinkhorn_knopp` of another crop's scores; rows in [0, 1] that sum to 1. No gradient flows into them. For SwAV's
        queue, assign the queue's scores and the batch's together and keep the batch's rows:
        `sinkhorn_knopp(jnp.concatenate([queue_scores, scores]), temperature=0.05)[-n:]`.
      temperature: above 0; may be traced.

    Returns:
      One value a row [n], in nats. float32, or float64 for float64 input.

    Raises:
      ValueError: on other shapes than two equal [n, k], codes outside [0, 1], or a temperature that is not positive.
      TypeError: on arrays that are not floating-point.

    References:
      Caron et al. 2020, arXiv:2006.09882, equations 1 and 2; the released `main_swav.py`.
    """
    scores, codes = as_array("scores", scores), as_array("codes", codes)
    check_pair("scores", scores, "codes", codes)
    check_positive("temperature", temperature)
    if is_concrete(codes):
        low, high = value_range(codes)
        # Rounded, a code may be a little more than 1.
        if not 0 <= low <= high < 1.01:
            raise ValueError(f"codes has values from {low:g} to {high:g}; they must lie in [0, 1].")
    # A code is what is to be predicted, not a second learner, as the targets of `byol` and `dino`.
    codes = lax.stop_gradient(at_least_float32(codes))
    return -jnp.sum(codes * log_softmax(at_least_float32(scores), temperature), axis=-1)


def _as_rows(where: Array, n: int) -> Bool[Array, "n 1"]:
    where = as_array("where", where)
    if where.dtype != jnp.bool_:
        raise TypeError(f"where has dtype {where.dtype}; it must be a boolean array.")
    if where.shape != (n,):
        raise ValueError(f"where has shape {where.shape}; it must be ({n},), one for each row of logits.")
    return where[:, None]


def _largest(x: Array, axis: int, axis_name: AxisName | None, counted: Array | None = None) -> Array:
    initial = None if counted is None else lowest_logit(x)
    largest = x.max(axis=axis, keepdims=True, where=counted, initial=initial)
    return largest if axis_name is None else lax.pmax(largest, axis_name)


def _log_normalize(log_q: Array, axis: int, axis_name: AxisName | None = None, counted: Array | None = None) -> Array:
    """`log_q` less the logarithm of its sums along `axis`, over the counted rows and those of all devices of `axis_name`."""
    shifted = log_q - _largest(log_q, axis, axis_name, counted)
    total = jnp.exp(shifted).sum(axis=axis, keepdims=True, where=counted)
    total = total if axis_name is None else lax.psum(total, axis_name)
    # Without any row that counts, the sum is 0.
    return shifted - jnp.log(total if counted is None else jnp.maximum(total, jnp.finfo(total.dtype).tiny))
