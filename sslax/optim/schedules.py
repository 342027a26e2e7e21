"""Learning rates and decays as functions of the step."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.checks import check_at_least, check_choice, check_count, check_finite, check_probability

Schedule = Callable[[Array | int], Array]
# A Python float or a scalar array, which may be traced.
Number: TypeAlias = Float[Array, ""] | float


def scaled_learning_rate(lr: Number, batch_size: int, *, rule: Literal["none", "linear", "sqrt"] = "linear") -> Number:
    """The learning rate for a batch size: `lr`, `lr · batch / 256`, or `lr · √batch` (Chen et al. 2020, appendix B.1).

    Raises:
      ValueError: on a negative or non-finite rate, a batch size below 1 or an unknown rule.
    """
    check_at_least("lr", lr)
    check_count("batch_size", batch_size)
    check_choice("rule", rule, ("none", "linear", "sqrt"))
    return {"none": lr, "linear": lr * batch_size / 256, "sqrt": lr * batch_size**0.5}[rule]


def warmup_cosine(
    peak: Number,
    *,
    warmup_steps: int,
    steps: int,
    start: float = 0.0,
    end: float = 0.0,
    convention: Literal["step", "dino"] = "step",
) -> Schedule:
    """Linear warmup, then half a cosine period.

    Args:
      peak: value after the warmup.
      warmup_steps: length of the warmup; 0 starts at the peak.
      steps: total length, including the warmup.
      start: first value of the warmup.
      end: final value of the cosine.
      convention: "step" gives `start + (peak - start) · k / warmup_steps` at step k of the warmup and `end` at step `steps`
        (SimCLR's and BYOL's released code). "dino" includes both ends in the warmup, so the peak occurs twice; its cosine
        also reaches `end` only at step `steps`, one after the last (`utils.cosine_scheduler` of DINO's released code).

    Raises:
      ValueError: on a warmup longer than the schedule, negative lengths, non-finite values or an unknown convention.
      TypeError: on lengths that are not integers.
    """
    check_count("steps", steps)
    check_count("warmup_steps", warmup_steps, least=0)
    if warmup_steps > steps:
        raise ValueError(f"warmup_steps is {warmup_steps}; it must lie between 0 and steps, which is {steps}.")
    for name, value in (("peak", peak), ("start", start), ("end", end)):
        check_finite(name, value)
    check_choice("convention", convention, ("step", "dino"))
    # A linspace of w points has w - 1 intervals; with one point it is only its first value, `start`.
    rise = float(max(warmup_steps - 1, 1) if convention == "dino" else max(warmup_steps, 1))
    # As floats, because integers beyond 2^31 overflow JAX's int32.
    first, fall = float(warmup_steps), float(max(steps - warmup_steps, 1))

    def schedule(step):
        step = jnp.maximum(jnp.asarray(step, jnp.float32), 0)
        progress = jnp.clip((step - first) / fall, 0, 1)
        cosine = end + 0.5 * (peak - end) * (1 + jnp.cos(jnp.pi * progress))
        return jnp.where(step < first, start + (peak - start) * (step / rise), cosine)

    return schedule


def cosine_ema_decay(base: Number, steps: int) -> Schedule:
    """BYOL's target decay `τ_k = 1 - (1 - base) · (cos(πk/steps) + 1) / 2`, from `base` to 1.

    Source: Grill et al. 2020, arXiv:2006.07733, section 3.2. DINO's teacher uses the same schedule.

    Raises:
      ValueError: on a base outside [0, 1] or fewer than one step.
    """
    check_probability("base", base)
    check_count("steps", steps)

    def schedule(step):
        progress = jnp.clip(jnp.asarray(step, jnp.float32) / float(steps), 0, 1)
        return 1 - (1 - base) * (jnp.cos(jnp.pi * progress) + 1) / 2

    return schedule
