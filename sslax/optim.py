"""Optimisers, schedules and the moving average, as pure functions on optax.

Steps are counted from 0; learning rates are per step, decay is per step and unitless. Source of each convention: the
function that has it.
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
# A number that may be traced.
Number: TypeAlias = Float[Array, ""] | float

_SQUARABLE = 1e18


def kernels_only(params: PyTree) -> PyTree:
    """True for parameters of two dimensions or more: biases and norms' scales are neither decayed nor adapted.

    By number of dimensions and never by name, so that it holds for any network.
    """
    return jax.tree.map(lambda p: jnp.ndim(p) > 1, params)


def scaled_learning_rate(lr: Number, batch_size: int, *, rule: Literal["none", "linear", "sqrt"] = "linear") -> Number:
    """The learning rate for a batch: `lr`, `lr · batch / 256`, or `lr · √batch` (Chen et al. 2020, appendix B.1).

    Raises:
      ValueError: on a rate that is negative or not finite, a batch below 1 or an unknown rule.
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
    """Linear warmup, then half a cosine.

    Args:
      peak: value after the warmup.
      warmup_steps: length of the warmup; 0 starts at the peak.
      steps: length of warmup and cosine together.
      start: value that the warmup comes from.
      end: value that the cosine goes to.
      convention: "step", `start + (peak - start) · k / warmup_steps` at step k and `end` at step `steps` (SimCLR's and
        BYOL's releases); "dino", the warmup has both its ends, so the peak comes twice, and the last step is one short of `end`
        (`utils.cosine_scheduler` of DINO's release).

    Raises:
      ValueError: on a warmup longer than the schedule, negative lengths, values that are not finite or an unknown convention.
      TypeError: on lengths that are not whole numbers.
    """
    check_count("steps", steps)
    check_count("warmup_steps", warmup_steps, least=0)
    if warmup_steps > steps:
        raise ValueError(f"warmup_steps is {warmup_steps}; it must lie between 0 and steps, which is {steps}.")
    for name, value in (("peak", peak), ("start", start), ("end", end)):
        check_finite(name, value)
    check_choice("convention", convention, ("step", "dino"))
    # A linspace of w points has w - 1 intervals; with one point it is just its first value, 0.
    rise = float(max(warmup_steps - 1, 1) if convention == "dino" else max(warmup_steps, 1))
    # As floats, since whole numbers beyond 2^31 do not fit into JAX's.
    first, fall = float(warmup_steps), float(max(steps - warmup_steps, 1))

    def schedule(step):
        step = jnp.maximum(jnp.asarray(step, jnp.float32), 0)
        progress = jnp.clip((step - first) / fall, 0, 1)
        cosine = end + 0.5 * (peak - end) * (1 + jnp.cos(jnp.pi * progress))
        return jnp.where(step < first, start + (peak - start) * (step / rise), cosine)

    return schedule


def cosine_ema_decay(base: Number, steps: int) -> Schedule:
    """BYOL's target decay `τ_k = 1 - (1 - base) · (cos(πk/steps) + 1) / 2`, from `base` to 1.

    Source: Grill et al. 2020, arXiv:2006.07733, section 3.2. DINO's teacher takes the same curve.

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
    """`decay · target + (1 - decay) · online`, leaf by leaf, in the target's types; one fused program under jit.

    Raises:
      ValueError: on trees of different structure or leaves of different shape, or a concrete decay outside [0, 1].
      TypeError: on leaves that are not floating-point: an average of whole numbers would be rounded to where it was.
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
        # Written as a step towards `online`, equal trees stay equal to the last bit. In float32 at least: bfloat16 loses
        # steps of less than a 256th.
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
    """LARS (You et al. 2017, arXiv:1708.03888), in either of the two orders that papers use.

    Weight decay is added to the gradient, each tensor is scaled by `trust_coefficient · |p| / |g|` (1 where either norm is
    0), then momentum and learning rate follow.

    Args:
      learning_rate: a number or a schedule.
      weight_decay: coefficient added to the gradient.
      momentum: of the classic, not the Nesterov kind.
      trust_coefficient: η of the papers.
      clip: LARC's clipping: the rate of a tensor, `η · |p| / |g|`, replaces the learning rate where it is lower and never
        exceeds it, while LARS multiplies the two. Source: `LARC` of NVIDIA's apex; solo-learn's `LARS` has it as `clip_lr`.
      lr_after_momentum: True is BYOL's, Barlow Twins', MoCo v3's and DINO's order: the learning rate multiplies the momentum.
        False is SimCLR's (and `optax.lars`'): it goes into the momentum. The two part as soon as the rate changes.
      mask: which parameters are decayed and adapted, a tree of booleans or a function to one. None: those of two
        dimensions or more. `optax.lars` by default takes all, which no paper does.

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
    """`optax.scale_by_trust_ratio` with norms that gradients of 1e30 do not overflow and those of 1e-30 do not lose."""

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
    """SGD with momentum and weight decay added to the gradient, as torch has it; `mask` and what is raised as for `lars`."""
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
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); `mask` as for `lars`, and the decay may be a schedule (DINO's).

    Gradients beyond ±1e18, whose squares float32 cannot hold, count as that: their step is as long, as Adam divides by
    their size. With an infinite second moment a parameter would never move again.

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
    """Scale each tensor's gradient down to the norm `max_norm` where it is longer, tensor by tensor, as DINO does.

    `optax.clip_by_global_norm` takes one norm over all tensors, which is another thing. Source: `clip_gradients` of DINO's
    released `utils.py`, with its 1e-6 beside the norm.

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
    """State of `hold`: updates so far, and `tx`'s states for the parameters that move and for those that are held."""

    taken: Int[Array, ""]
    moving: PyTree
    held: PyTree


# What counts updates for a schedule, and not for a parameter's own memory.
# In a trace, since computing anything here would open the devices before several processes have found each other.
_DecayState = type(jax.eval_shape(optax.add_decayed_weights(lambda count: count).init, None))
_CLOCKS = (optax.ScaleByScheduleState, _DecayState)


def hold(
    tx: optax.GradientTransformation, held: Callable[[PyTree], PyTree], *, steps: int
) -> optax.GradientTransformation:
    """`tx`, but for its first `steps` updates the parameters that `held` marks are left exactly as they are.

    No gradient, no decay and no memory: momenta and Adam's own count start with the first update after. A zero gradient would
    be another thing (after 1000 of them Adam's first step is 2.5 times as long). Schedules go on counting.

    Args:
      tx: any optimiser that treats each parameter alone, as all of this file do.
      held: parameters -> tree of booleans.
      steps: how many updates; 0 holds nothing.

    Raises:
      ValueError: on negative steps.

    Source: `cancel_gradients_last_layer` of DINO's released `utils.py`, where torch's optimisers skip what has no gradient.
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
