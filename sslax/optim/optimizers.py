"""The optimisers: LARS in both orders, SGD, AdamW, and clipping of each tensor."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from sslax.checks import check_at_least, check_positive, check_probability
from sslax.numerics import unit_and_norm
from sslax.optim.groups import kernels_only
from sslax.optim.schedules import Number, Schedule

_SQUARABLE = 1e18


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


def clip_parts(max_norm: float) -> optax.GradientTransformation:
    """Clip the gradient of each top-level entry of the parameters, such as the encoder and each head, to the norm `max_norm`.

    Source: `do_train` of DINOv2's released `train/train.py`, with the 1e-6 that torch's `clip_grad_norm_` adds to the norm.

    Raises:
      ValueError: on a norm that is not positive.
    """
    check_positive("max_norm", max_norm)

    def clip(part):
        lengths = jnp.stack([unit_and_norm(gradient)[1] for gradient in jax.tree.leaves(part)])
        _, length = unit_and_norm(lengths)
        factor = jnp.minimum(1.0, max_norm / (length + 1e-6))
        return jax.tree.map(lambda gradient: (gradient * factor).astype(gradient.dtype), part)

    def update(updates):
        return {name: clip(part) if jax.tree.leaves(part) else part for name, part in updates.items()}

    return optax.stateless(lambda updates, params: update(updates))
