"""Losses of masked patches: iBOT's distribution over prototypes, and MAE's pixels."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from sslax.checks import as_array, check_floating, check_positive
from sslax.numerics import at_least_float32, log_softmax

# Added to the variance of a patch's pixels, as in MAE's released code.
_PIXEL_EPSILON = 1e-6


def ibot(
    student: Float[Array, "n t k"],
    target: Float[Array, "n t k"],
    mask: Bool[Array, "n t"],
    *,
    temperature: Float[Array, ""] | float = 0.1,
) -> Float[Array, "n"]:
    """iBOT's loss of masked patches: cross-entropy of softmax(student / temperature) to the teacher's distribution.

    Args:
      student: logits of every patch, from an image whose masked patches the network did not see. Any floating type; the
        arithmetic is float32 at least.
      target: the teacher's probabilities of every patch, from the whole image. They receive no gradient.
      mask: True for masked patches; only they count.
      temperature: of the student, above 0; may be traced.

    Returns:
      One value per image: the mean over its masked patches, and 0 for an image without any. float32, or float64 for float64
      input.

    Raises:
      ValueError: on shapes that do not fit each other, or a temperature that is not positive.
      TypeError: on logits and targets that are not floating-point, or a mask that is not boolean.

    References:
      Zhou et al. 2022, arXiv:2111.07832, equation 2; `forward_masked` of DINOv2's released `loss/ibot_patch_loss.py`.
    """
    student, target = as_array("student", student), as_array("target", target)
    check_floating("student", student, 3)
    check_floating("target", target, 3)
    if student.shape != target.shape:
        raise ValueError(f"student has shape {student.shape} and target {target.shape}; they must agree.")
    check_positive("temperature", temperature)
    mask = _as_mask(mask, student.shape[:2], "student")
    student, target = at_least_float32(student), lax.stop_gradient(at_least_float32(target))
    return _mean_over_masked(-(target * log_softmax(student, temperature)).sum(axis=-1), mask)


def mae(
    prediction: Float[Array, "n t p"],
    patches: Float[Array, "n t p"],
    mask: Bool[Array, "n t"],
    *,
    normalize: bool = True,
) -> Float[Array, "n"]:
    """MAE's loss: mean squared error of the pixels of masked patches.

    Args:
      prediction: pixels of every patch. Any floating type; the arithmetic is float32 at least.
      patches: the true pixels. They receive no gradient.
      mask: True for masked patches; only they count.
      normalize: standardise the true pixels of each patch by their mean and unbiased variance, plus 1e-6, as the paper's best
        setting does.

    Returns:
      One value per image: the mean over its masked patches, and 0 for an image without any. With the same number of masked
      patches in every image, its mean is the released code's loss. float32, or float64 for float64 input.

    Raises:
      ValueError: on shapes that do not fit each other; with `normalize` on patches of one number, which have no variance.
      TypeError: on pixels that are not floating-point, or a mask that is not boolean.

    References:
      He et al. 2022, arXiv:2111.06377, section 3; `forward_loss` of the released `models_mae.py`.
    """
    prediction, patches = as_array("prediction", prediction), as_array("patches", patches)
    check_floating("prediction", prediction, 3)
    check_floating("patches", patches, 3)
    if prediction.shape != patches.shape:
        raise ValueError(f"prediction has shape {prediction.shape} and patches {patches.shape}; they must agree.")
    mask = _as_mask(mask, prediction.shape[:2], "prediction")
    prediction, patches = at_least_float32(prediction), lax.stop_gradient(at_least_float32(patches))
    if normalize:
        if patches.shape[-1] < 2:
            raise ValueError(f"patches has shape {patches.shape}; with normalize a patch must have at least 2 numbers.")
        centred = patches - patches.mean(axis=-1, keepdims=True)
        patches = centred * lax.rsqrt(jnp.var(patches, axis=-1, ddof=1, keepdims=True) + _PIXEL_EPSILON)
    return _mean_over_masked(jnp.square(prediction - patches).mean(axis=-1), mask)


def _as_mask(mask: Array, shape: tuple[int, ...], of: str) -> Array:
    mask = as_array("mask", mask)
    if mask.dtype != jnp.bool_:
        raise TypeError(f"mask has dtype {mask.dtype}; it must be a boolean array.")
    if mask.shape != shape:
        raise ValueError(f"mask has shape {mask.shape}, but {of} has {shape[0]} images of {shape[1]} patches.")
    return mask


def _mean_over_masked(losses: Float[Array, "n t"], mask: Bool[Array, "n t"]) -> Float[Array, "n"]:
    return jnp.where(mask, losses, 0).sum(axis=-1) / jnp.maximum(mask.sum(axis=-1), 1)
