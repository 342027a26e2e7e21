"""Optimisers, schedules and the moving average, as pure functions on optax.

Steps are counted from 0; learning rates are per step, decay is per step and unitless. Source of each convention: the
function that has it.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

Schedule = Callable[[Array | int], Array]


def kernels_only(params: PyTree) -> PyTree:
    """True for parameters of two dimensions or more: biases and norms' scales are neither decayed nor adapted.

    By number of dimensions and never by name, so that it holds for any network.
    """
    return jax.tree.map(lambda p: p.ndim > 1, params)


def scaled_learning_rate(lr: float, batch_size: int, *, rule: Literal["none", "linear", "sqrt"] = "linear") -> float:
    """The learning rate for a batch: `lr`, `lr · batch / 256`, or `lr · √batch` (Chen et al. 2020, appendix B.1)."""
    return {"none": lr, "linear": lr * batch_size / 256, "sqrt": lr * batch_size**0.5}[rule]


def warmup_cosine(
    peak: float,
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
      ValueError: on a warmup longer than the schedule or negative lengths.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1.")
    if not 0 <= warmup_steps <= steps:
        raise ValueError(f"warmup_steps is {warmup_steps}; it must lie between 0 and steps, which is {steps}.")
    if convention not in ("step", "dino"):
        raise ValueError(f'convention is {convention!r}; it must be "step" or "dino".')
    # A linspace of w points has w - 1 intervals; with one point it is just its first value, 0.
    rise = max(warmup_steps - 1, 1) if convention == "dino" else max(warmup_steps, 1)

    def schedule(step):
        step = jnp.asarray(step, jnp.float32)
        progress = jnp.clip((step - warmup_steps) / max(steps - warmup_steps, 1), 0, 1)
        cosine = end + 0.5 * (peak - end) * (1 + jnp.cos(jnp.pi * progress))
        return jnp.where(step < warmup_steps, start + (peak - start) * step / rise, cosine)

    return schedule


def cosine_ema_decay(base: float, steps: int) -> Schedule:
    """BYOL's target decay `τ_k = 1 - (1 - base) · (cos(πk/steps) + 1) / 2`, from `base` to 1.

    Source: Grill et al. 2020, arXiv:2006.07733, section 3.2. DINO's teacher takes the same curve.

    Raises:
      ValueError: on a base outside [0, 1] or fewer than one step.
    """
    if not 0 <= base <= 1:
        raise ValueError(f"base is {base}; a decay must lie in [0, 1].")
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1.")

    def schedule(step):
        progress = jnp.clip(jnp.asarray(step, jnp.float32) / steps, 0, 1)
        return 1 - (1 - base) * (jnp.cos(jnp.pi * progress) + 1) / 2

    return schedule


def ema_update(target: PyTree, online: PyTree, decay: Float[Array, ""] | float) -> PyTree:
    """`decay · target + (1 - decay) · online`, leaf by leaf, in the target's types; one fused program under jit.

    Raises:
      ValueError: on trees of different structure or leaves of different shape, or a concrete decay outside [0, 1].
    """
    if not isinstance(decay, jax.core.Tracer) and not 0 <= decay <= 1:
        raise ValueError(f"decay is {float(decay):g}; it must lie in [0, 1].")
    structures = str(jax.tree.structure(target)), str(jax.tree.structure(online))
    if structures[0] != structures[1]:
        raise ValueError(f"target is a tree {structures[0]} and online {structures[1]}; they must be the same.")

    def move(path, t, o):
        if jnp.shape(t) != jnp.shape(o):
            where = jax.tree_util.keystr(path)
            raise ValueError(
                f"target{where} has shape {jnp.shape(t)} and online{where} {jnp.shape(o)}; they must agree."
            )
        # Written as a step towards `online`, equal trees stay equal to the last bit.
        return (t + (1 - decay) * (o - t)).astype(jnp.asarray(t).dtype)

    return jax.tree_util.tree_map_with_path(move, target, online)


def lars(
    learning_rate: float | Schedule,
    *,
    weight_decay: float,
    momentum: float = 0.9,
    trust_coefficient: float = 1e-3,
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
      lr_after_momentum: True is BYOL's, Barlow Twins', MoCo v3's and DINO's order: the learning rate multiplies the momentum.
        False is SimCLR's (and `optax.lars`'): it goes into the momentum. The two part as soon as the rate changes.
      mask: which parameters are decayed and adapted, a tree of booleans or a function to one. None: those of two
        dimensions or more. `optax.lars` by default takes all, which no paper does.
    """
    mask = kernels_only if mask is None else mask
    adapted = [
        optax.masked(optax.add_decayed_weights(weight_decay), mask),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), mask),
    ]
    moving = [optax.trace(decay=momentum), optax.scale_by_learning_rate(learning_rate)]
    return optax.chain(*adapted, *(moving if lr_after_momentum else moving[::-1]))


def sgd(
    learning_rate: float | Schedule,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> optax.GradientTransformation:
    """SGD with momentum and weight decay added to the gradient, as torch has it; `mask` as for `lars`."""
    mask = kernels_only if mask is None else mask
    return optax.chain(
        optax.masked(optax.add_decayed_weights(weight_decay), mask),
        optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov),
    )


def adamw(
    learning_rate: float | Schedule,
    *,
    weight_decay: float | Schedule = 0.01,
    b1: float = 0.9,
    b2: float = 0.999,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); `mask` as for `lars`, and the decay may be a schedule (DINO's)."""
    mask = kernels_only if mask is None else mask
    return optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask)


def clip_each(max_norm: float) -> optax.GradientTransformation:
    """Scale each tensor's gradient down to the norm `max_norm` where it is longer, tensor by tensor, as DINO does.

    `optax.clip_by_global_norm` takes one norm over all tensors, which is another thing. Source: `clip_gradients` of DINO's
    released `utils.py`, with its 1e-6 beside the norm.

    Raises:
      ValueError: on a norm that is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm}; it must be above 0.")

    def clip(gradient):
        return gradient * jnp.minimum(1.0, max_norm / (jnp.linalg.norm(gradient.ravel()) + 1e-6))

    return optax.stateless(lambda updates, params: jax.tree.map(clip, updates))


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

    Source: `cancel_gradients_last_layer` of DINO's released `utils.py`, where torch's optimisers skip what has no gradient.
    """
    if steps <= 0:
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
