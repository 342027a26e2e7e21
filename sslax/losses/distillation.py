"""Losses against a second output of the network or its moving average: BYOL's, SimSiam's and DINO's, and DINO's centre."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sslax.checks import as_array, check_floating, check_pair, check_positive, check_probability
from sslax.numerics import AxisName, at_least_float32, l2_normalize, log_softmax, shifted_logits


def byol(prediction: Float[Array, "n d"], target: Float[Array, "n d"]) -> Float[Array, "n"]:
    """BYOL's regression loss of one direction: the squared distance of the two unit vectors, `2 - 2·cosine`.

    The paper's loss adds both directions, `byol(p1, t2) + byol(p2, t1)`, and takes the batch mean; it is not halved.

    Args:
      prediction: the online network's predictions of one view; need not be normalised.
      target: the target network's projections of the other view. No gradient flows into it.

    Returns:
      One value per row [n], in [0, 4]. float32, or float64 for float64 input.

    Raises:
      ValueError: unless both arrays have the same shape [n, d].
      TypeError: on arrays that are not floating-point.

    References:
      Grill et al. 2020, arXiv:2006.07733, equation 2; `regression_loss` of the released `byol/utils/helpers.py`. As in the
      released code, a row of zeros, which has no direction, is at distance 1 from every unit vector.
    """
    prediction, target = as_array("prediction", prediction), as_array("target", target)
    check_pair("prediction", prediction, "target", target)
    # With a gradient through the target, prediction and target could both collapse to a constant.
    target = lax.stop_gradient(target)
    # 2 - 2·cosine would lose digits to cancellation where the two agree; the difference of the vectors does not.
    difference = l2_normalize(at_least_float32(prediction)) - l2_normalize(at_least_float32(target))
    return jnp.sum(difference * difference, axis=-1)


def simsiam(prediction: Float[Array, "n d"], projection: Float[Array, "n d"]) -> Float[Array, "n"]:
    """SimSiam's loss of one direction: the negative cosine, `-cos(prediction, projection)`.

    The paper's loss is half of both directions, `(simsiam(p1, z2) + simsiam(p2, z1)) / 2`, and takes the batch mean. It is
    `byol / 2 - 1`.

    Args:
      prediction: the predictor's output of one view; need not be normalised.
      projection: the projector's output of the other view, of the same network. No gradient flows into it.

    Returns:
      One value a row [n], in [-1, 1]. float32, or float64 for float64 input.

    Raises:
      ValueError: on other shapes than two equal [n, d].
      TypeError: on arrays that are not floating-point.

    References:
      Chen and He 2021, arXiv:2011.10566, equations 1 to 4; the released `main_simsiam.py`. A row of zeros, which has no
      direction, has cosine 0 to all.
    """
    prediction, projection = as_array("prediction", prediction), as_array("projection", projection)
    check_pair("prediction", prediction, "projection", projection)
    # Without it, as the paper's section 4.1 shows, the network collapses to a constant at once.
    projection = lax.stop_gradient(projection)
    return -jnp.sum(l2_normalize(at_least_float32(prediction)) * l2_normalize(at_least_float32(projection)), axis=-1)


def dino(
    student: Float[Array, "s n k"],
    teacher: Float[Array, "t n k"],
    center: Float[Array, "k"],
    *,
    student_temperature: Float[Array, ""] | float = 0.1,
    teacher_temperature: Float[Array, ""] | float = 0.04,
) -> Float[Array, "n"]:
    """DINO's cross-entropy between the student's distribution of each crop and the teacher's of every other crop.

    With `q_t = softmax((teacher_t - center) / teacher_temperature)` and `p_s = softmax(student_s / student_temperature)`,
    the mean of `-sum_k q_t log p_s` over all pairs of a teacher's crop t and a different student's crop s.

    Args:
      student: the student's logits of all crops, crops first.
      teacher: the teacher's logits of the global crops, which are the student's first t crops, in order. No gradient flows
        into it.
      center: running mean of the teacher's logits (`update_center`, after the loss). No gradient flows into it.
      student_temperature: above 0; may be traced.
      teacher_temperature: above 0; may be traced, for example from a schedule.

    Returns:
      One value per image [n], in nats. float32, or float64 for float64 input.

    Raises:
      ValueError: unless the shapes are [s, n, k], [t, n, k] and [k] with s >= t, at least one pair of different crops
        exists, and both temperatures are positive.
      TypeError: on arrays that are not floating-point.

    References:
      Caron et al. 2021, arXiv:2104.14294, equation 3 and Algorithm 1; `DINOLoss` of the released `main_dino.py`.
    """
    student, teacher, center = _as_crops(student, teacher, center)
    check_positive("student_temperature", student_temperature)
    check_positive("teacher_temperature", teacher_temperature)
    student, teacher, center = at_least_float32(student), at_least_float32(teacher), at_least_float32(center)
    log_p = log_softmax(student, student_temperature)
    # The teacher is a moving average of the student and must not be trained towards it.
    weights = lax.stop_gradient(jnp.exp(shifted_logits(teacher - center[None, None], teacher_temperature)))
    q = weights / weights.sum(axis=-1, keepdims=True)
    # All pairs in one product over k, in full float32 precision, which accelerators do not use by default.
    return _mean_over_pairs(-jnp.einsum("tnk,snk->nts", q, log_p, precision=lax.Precision.HIGHEST))


def dino_mse(
    student: Float[Array, "s n k"], teacher: Float[Array, "t n k"], center: Float[Array, "k"]
) -> Float[Array, "n"]:
    """DINO with BYOL's loss in place of the cross-entropy: the squared distance of the ℓ2-normalised outputs.

    The mean of `|u_s - v_t|²`, which is `2 - 2·cosine`, with `u_s = student_s / |student_s|` and
    `v_t = (teacher_t - center) / |teacher_t - center|`, over the same pairs of crops as in `dino`.

    Args:
      student: the student's outputs of all crops, crops first.
      teacher: the teacher's outputs of the global crops, which are the student's first t crops, in order. No gradient flows
        into it.
      center: running mean of the teacher's outputs. No gradient flows into it.

    Returns:
      One value per image [n], in [0, 4]. float32, or float64 for float64 input.

    Raises:
      ValueError: on shapes that `dino` rejects.
      TypeError: on arrays that are not floating-point.

    References:
      Caron et al. 2021, arXiv:2104.14294, table 14 and its text: "a mean squared error on l2-normalized outputs", with
      centring and without sharpening. The paper does not say where the centre is subtracted; here it is subtracted before
      the normalisation. A row of zeros, which has no direction, is at distance 1 from every unit vector, as in `byol`.
    """
    student, teacher, center = _as_crops(student, teacher, center)
    student, teacher, center = at_least_float32(student), at_least_float32(teacher), at_least_float32(center)
    predicted = l2_normalize(student)
    # As in `dino`, the teacher is not trained.
    targets = lax.stop_gradient(l2_normalize(teacher - center[None, None]))
    # Differences do not cancel where the two agree. One teacher crop at a time, so no [t, s, n, k] array is made.
    distances = [jnp.sum((predicted - target[None]) ** 2, axis=-1) for target in targets]
    return _mean_over_pairs(jnp.stack(distances).transpose(2, 0, 1))


def update_center(
    center: Float[Array, "k"],
    teacher: Float[Array, "t n k"],
    *,
    momentum: Float[Array, ""] | float = 0.9,
    axis_name: AxisName | None = None,
) -> Float[Array, "k"]:
    """DINO's centre after a step: `momentum · center + (1 - momentum) · mean of the teacher's logits`.

    Args:
      center: the centre that this step's loss used.
      teacher: the teacher's logits of this step's global crops. No gradient flows into either.
      momentum: in [0, 1].
      axis_name: mapped axis (or axes) of `shard_map` or `pmap`; the mean is then over the rows of all its devices.

    Returns:
      The new centre, in the type of `center`.

    Raises:
      ValueError: unless the shapes are [k] and [t, n, k] and the momentum is in [0, 1].
      TypeError: on arrays that are not floating-point.

    References:
      Caron et al. 2021, arXiv:2104.14294, equation 4; `update_center` of the released `main_dino.py`.
    """
    center, teacher = as_array("center", center), as_array("teacher", teacher)
    _check_teacher(teacher, center)
    check_probability("momentum", momentum)
    # The centre is a statistic of the teacher; no gradient may flow through it.
    mean = lax.stop_gradient(at_least_float32(teacher)).mean(axis=(0, 1))
    if axis_name is not None:
        mean = lax.pmean(mean, axis_name)
    old = lax.stop_gradient(center)
    return (momentum * old + (1 - momentum) * mean).astype(center.dtype)


def _mean_over_pairs(all_pairs: Array) -> Array:
    """The mean [n] of values of pairs of crops [n, t, s], without the pairs of a crop with itself."""
    _, own, crops = all_pairs.shape
    other = (1 - jnp.eye(own, crops, dtype=all_pairs.dtype)) / (crops * own - own)
    return jnp.einsum("nts,ts->n", all_pairs, other, precision=lax.Precision.HIGHEST)


def _as_crops(student: Array, teacher: Array, center: Array) -> tuple[Array, Array, Array]:
    """Return all three as arrays; raise unless their shapes are [s, n, k], [t, n, k], [k] with a pair of different crops."""
    student, teacher, center = as_array("student", student), as_array("teacher", teacher), as_array("center", center)
    check_floating("student", student, 3)
    _check_teacher(teacher, center)
    if student.shape[1:] != teacher.shape[1:]:
        raise ValueError(
            f"student has shape {student.shape} and teacher {teacher.shape}; both must have as many images and logits."
        )
    crops, own = student.shape[0], teacher.shape[0]
    if crops < own or crops * own - own < 1:
        raise ValueError(
            f"student has {crops} crops and teacher {own}; the teacher's must be the student's first, and one more be left."
        )
    return student, teacher, center


def _check_teacher(teacher: Array, center: Array) -> None:
    check_floating("teacher", teacher, 3)
    check_floating("center", center, 1)
    if center.shape != teacher.shape[-1:]:
        raise ValueError(
            f"center has shape {center.shape}; it must be ({teacher.shape[-1]},), one for each of the teacher's logits."
        )
