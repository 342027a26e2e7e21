"""Optimisers, schedules and the moving average, as pure functions on optax.

Steps are counted from 0; learning rates are per step; decay is per step and unitless. Each function names the source of its
convention.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from sslax.checks import (
    as_array,
    check_at_least,
    check_choice,
    check_count,
    check_finite,
    check_positive,
    check_probability,
)
from sslax.numerics import at_least_float32, unit_and_norm

Schedule = Callable[[Array | int], Array]
# A Python float or a scalar array, which may be traced.
Number: TypeAlias = Float[Array, ""] | float

_SQUARABLE = 1e18


def kernels_only(params: PyTree) -> PyTree:
    """True for parameters of two dimensions or more; biases and norm scales get no weight decay and no LARS adaptation.

    The rule uses the number of dimensions and not names, so it works for any network.
    """
    return jax.tree.map(lambda p: jnp.ndim(p) > 1, params)


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


def ema_update(target: PyTree, online: PyTree, decay: Number) -> PyTree:
    """`decay · target + (1 - decay) · online`, leaf by leaf, in the target's dtypes; one fused program under jit.

    Raises:
      ValueError: on trees of different structure, leaves of different shape, or a concrete decay outside [0, 1].
      TypeError: on leaves that are not floating-point: rounding would undo small updates of an integer average.
    """
    check_probability("decay", decay)
    structures = str(jax.tree.structure(target)), str(jax.tree.structure(online))
    if structures[0] != structures[1]:
        raise ValueError(f"target is a tree {structures[0]} and online {structures[1]}; they must be the same.")

    def move(path, t, o):
        where = jax.tree_util.keystr(path)
        t, o = as_array(f"target{where}", t), as_array(f"online{where}", o)
        if t.shape != o.shape:
            raise ValueError(f"target{where} has shape {t.shape} and online{where} {o.shape}; they must agree.")
        for name, leaf in (("target", t), ("online", o)):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise TypeError(f"{name}{where} has dtype {leaf.dtype}; it must be a floating-point array.")
        # As a step towards `online`, equal trees stay bitwise equal. In float32 at least, because bfloat16 rounds away
        # relative changes below 1/256.
        wide = at_least_float32(t)
        return (wide + (1 - decay) * (at_least_float32(o) - wide)).astype(t.dtype)

    return jax.tree_util.tree_map_with_path(move, target, online)


def lars(
    learning_rate: Number | Schedule,
    *,
    weight_decay: Number,
    momentum: float = 0.9,
    trust_coefficient: float = 1e-3,
    clip: bool = False,
    lr_after_momentum: bool = True,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> optax.GradientTransformation:
    """LARS (You et al. 2017, arXiv:1708.03888), with momentum and learning rate in either order.

    Weight decay is added to the gradient, each tensor is scaled by `trust_coefficient · |p| / |g|` (1 if either norm is 0),
    then momentum and learning rate follow.

    Args:
      learning_rate: a number or a schedule.
      weight_decay: coefficient added to the gradient.
      momentum: classical momentum, not Nesterov.
      trust_coefficient: η of the papers.
      clip: clip as LARC does: a tensor's own rate, `η · |p| / |g|`, replaces the learning rate where it is lower. Without
        clipping the two are multiplied. Source: `LARC` of NVIDIA's apex, and `clip_lr` of solo-learn's `LARS`.
      lr_after_momentum: True multiplies the momentum by the learning rate, as BYOL, Barlow Twins, MoCo v3 and DINO do. False
        multiplies the gradient by it before the momentum, as SimCLR and `optax.lars` do. They differ once the rate changes.
      mask: the parameters that get weight decay and adaptation: a tree of booleans, or a function from parameters to one.
        None: those of two dimensions or more. The default of `optax.lars` is all parameters, which no paper uses.

    Raises:
      ValueError: on a negative rate or decay, a momentum outside [0, 1], a trust coefficient that is not positive.
    """
    _check_rate("learning_rate", learning_rate)
    check_at_least("weight_decay", weight_decay)
    check_probability("momentum", momentum)
    check_positive("trust_coefficient", trust_coefficient)
    mask = kernels_only if mask is None else mask
    adapted = [
        optax.masked(optax.add_decayed_weights(weight_decay), mask),
        optax.masked(
            _clip_at_trust_ratio(trust_coefficient, learning_rate)
            if clip
            else _scale_by_trust_ratio(trust_coefficient),
            mask,
        ),
    ]
    moving = [optax.trace(decay=momentum), optax.scale_by_learning_rate(learning_rate)]
    return optax.chain(*adapted, *(moving if lr_after_momentum else moving[::-1]))


def _scale_by_trust_ratio(coefficient: float) -> optax.GradientTransformation:
    """`optax.scale_by_trust_ratio` with norms that neither overflow for gradients of 1e30 nor underflow for 1e-30."""

    def scale(gradient, param):
        direction, length = unit_and_norm(gradient)
        _, size = unit_and_norm(param)
        moved = direction * (coefficient * size)
        return jnp.where((length == 0) | (size == 0), gradient, moved).astype(gradient.dtype)

    return optax.stateless(lambda gradients, params: jax.tree.map(scale, gradients, params))


def _clip_at_trust_ratio(coefficient: float, learning_rate: Number | Schedule) -> optax.GradientTransformation:
    """Gradients times `min(coefficient · |p| / |g| / learning_rate, 1)`, before the learning rate multiplies them."""

    def update(gradients, state, params=None):
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate

        def scale(gradient, param):
            direction, length = unit_and_norm(gradient)
            _, size = unit_and_norm(param)
            longest = coefficient * size / jnp.maximum(rate, 1e-12)
            moved = direction * jnp.minimum(longest, length)
            return jnp.where((length == 0) | (size == 0), gradient, moved).astype(gradient.dtype)

        return jax.tree.map(scale, gradients, params), optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(lambda _: optax.ScaleByScheduleState(jnp.zeros((), jnp.int32)), update)


def _check_rate(name: str, value: Number | Schedule) -> None:
    if not callable(value):
        check_at_least(name, value)


def sgd(
    learning_rate: Number | Schedule,
    *,
    weight_decay: Number = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> optax.GradientTransformation:
    """SGD with momentum and with weight decay added to the gradient, as in torch; `mask` and errors are those of `lars`."""
    _check_rate("learning_rate", learning_rate)
    check_at_least("weight_decay", weight_decay)
    check_probability("momentum", momentum)
    mask = kernels_only if mask is None else mask
    return optax.chain(
        optax.masked(optax.add_decayed_weights(weight_decay), mask),
        optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov),
    )


def adamw(
    learning_rate: Number | Schedule,
    *,
    weight_decay: Number | Schedule = 0.01,
    b1: float = 0.9,
    b2: float = 0.999,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); `mask` as for `lars`; weight decay may be a schedule, as in DINO.

    Gradients are clipped to ±1e18, because the squares of larger ones can overflow float32. An infinite second moment would
    freeze the parameter for ever; the clipping hardly changes the step, because Adam divides by the gradient's magnitude.

    Raises:
      ValueError: on a negative rate or decay, or betas outside [0, 1).
    """
    _check_rate("learning_rate", learning_rate)
    _check_rate("weight_decay", weight_decay)
    check_probability("b1", b1, below_one=True)
    check_probability("b2", b2, below_one=True)
    mask = kernels_only if mask is None else mask
    adam = optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask)

    def update(gradients, state, params=None):
        bounded = jax.tree.map(lambda g: jnp.clip(g, -_SQUARABLE, _SQUARABLE).astype(g.dtype), gradients)
        return adam.update(bounded, state, params)

    return optax.GradientTransformation(adam.init, update)


def clip_each(max_norm: float) -> optax.GradientTransformation:
    """Clip the gradient of each tensor to the norm `max_norm` separately, as DINO does.

    In contrast, `optax.clip_by_global_norm` uses one norm over all tensors. Source: `clip_gradients` of DINO's released
    `utils.py`, including the 1e-6 that it adds to the norm.

    Raises:
      ValueError: on a norm that is not positive.
    """
    check_positive("max_norm", max_norm)

    def clip(gradient):
        _, length = unit_and_norm(gradient)
        return (gradient * jnp.minimum(1.0, max_norm / (length + 1e-6))).astype(gradient.dtype)

    return optax.stateless(lambda updates, params: jax.tree.map(clip, updates))


def freeze(tx: optax.GradientTransformation, frozen: Callable[[PyTree], PyTree]) -> optax.GradientTransformation:
    """`tx`, but the parameters that `frozen` marks never change: no gradient, no decay, no memory.

    Args:
      tx: any optimiser that treats each parameter alone, as all of this file do.
      frozen: parameters -> tree of booleans.
    """

    def label(params):
        return jax.tree.map(lambda marked: "frozen" if marked else "trained", frozen(params))

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, label)


def named(*names: str) -> Callable[[PyTree], PyTree]:
    """Parameters -> tree of booleans: True below a key that is one of `names`."""

    def mark(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: any(getattr(part, "key", None) in names for part in path), params
        )

    return mark


class HoldState(NamedTuple):
    """State of `hold`: the number of updates so far, and `tx`'s states for the free and for the held parameters."""

    taken: Int[Array, ""]
    moving: PyTree
    held: PyTree


# Optimiser states that count updates for a schedule; they hold no per-parameter memory. The type comes from `eval_shape`,
# because a computation at import would initialise the devices before `jax.distributed` starts.
_DecayState = type(jax.eval_shape(optax.add_decayed_weights(lambda count: count).init, None))
_CLOCKS = (optax.ScaleByScheduleState, _DecayState)


def hold(
    tx: optax.GradientTransformation, held: Callable[[PyTree], PyTree], *, steps: int
) -> optax.GradientTransformation:
    """Apply `tx`, but freeze the parameters that `held` marks during the first `steps` updates.

    Frozen parameters get no gradient, no weight decay and no optimiser memory: their momenta and Adam's count start with the
    first update after the freeze. A zero gradient would not do the same: after 1000 zero gradients, Adam's first step is 2.5
    times as long. Schedules keep counting during the freeze.

    Args:
      tx: an optimiser that treats each parameter independently, as all optimisers in this file do.
      held: function from parameters to a tree of booleans.
      steps: number of updates; 0 freezes nothing.

    Raises:
      ValueError: on negative steps.

    Source: `cancel_gradients_last_layer` of DINO's released `utils.py`; torch's optimisers skip parameters without gradient.
    """
    check_count("steps", steps, least=0)
    if steps == 0:
        return tx
    rest = optax.masked(tx, lambda params: jax.tree.map(lambda marked: not marked, held(params)))
    own = optax.masked(tx, held)

    def init(params):
        return HoldState(jnp.zeros((), jnp.int32), rest.init(params), own.init(params))

    def update(gradients, state, params):
        free = state.taken >= steps
        updates, moving = rest.update(gradients, state.moving, params)
        updates, now = own.update(updates, state.held, params)
        updates = jax.tree.map(lambda u, marked: jnp.where(free, u, 0) if marked else u, updates, held(params))

        def select(new, old):
            return new if isinstance(new, _CLOCKS) else jnp.where(free, new, old)

        memory = jax.tree.map(select, now, state.held, is_leaf=lambda x: isinstance(x, _CLOCKS))
        return updates, HoldState(optax.safe_increment(state.taken), moving, memory)

    return optax.GradientTransformation(init, update)
