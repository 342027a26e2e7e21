"""Groups of parameters: which are decayed, which are frozen, and which are held for the first steps."""

import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from sslax.checks import check_count, check_positive, check_probability

# The parameters of a ViT before its blocks.
_EMBEDDINGS = ("patch_embed", "cls_token", "pos_embed", "mask_token", "reg_token")


def kernels_only(params: PyTree) -> PyTree:
    """True for parameters of two dimensions or more; biases and norm scales get no weight decay and no LARS adaptation.

    The rule uses the number of dimensions and not names, so it works for any network.
    """
    return jax.tree.map(lambda p: jnp.ndim(p) > 1, params)


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


def scale_rates(tx: optax.GradientTransformation, factors: Callable[[PyTree], PyTree]) -> optax.GradientTransformation:
    """`tx`, with the learning rate of each parameter multiplied by the number that `factors` gives for it.

    A factor multiplies the whole update: the step and, for AdamW, the weight decay, as torch's parameter groups do.

    Args:
      tx: any optimiser whose last operation is the learning rate.
      factors: parameters -> tree of numbers.
    """

    def scale(updates, params):
        return jax.tree.map(lambda u, factor: u * factor, updates, factors(params))

    return optax.chain(tx, optax.stateless(scale))


def vit_rates(*, layer_decay: float = 1.0, patch_embedding: float = 1.0) -> Callable[[PyTree], PyTree]:
    """Parameters -> factors of the learning rate that fall with the distance from a ViT's last block.

    Block b of L has `layer_decay` to the power of L + 1 - b, the embeddings to the power of L + 1, and the last norm and all
    other networks 1; `patch_embedding` is one more factor of the patch embedding.

    Args:
      layer_decay: factor from one block to the one before it, in (0, 1].
      patch_embedding: factor of the patch embedding, above 0.

    Raises:
      ValueError: on factors outside these ranges.

    Source: Clark et al. 2020, arXiv:2003.10555; `get_vit_lr_decay_rate` of DINOv2's released `utils/param_groups.py`.
    """
    check_positive("layer_decay", layer_decay)
    check_probability("layer_decay", layer_decay)
    check_positive("patch_embedding", patch_embedding)

    def factors(params):
        paths, tree = jax.tree_util.tree_flatten_with_path(params)
        names = [[getattr(part, "key", "") for part in path] for path, _ in paths]
        top = 1 + max((_layer(path, 0) for path in names), default=0)
        rates = [layer_decay ** (top - _layer(path, top)) for path in names]
        embedding = [patch_embedding if "patch_embed" in path else 1 for path in names]
        return jax.tree.unflatten(tree, [rate * factor for rate, factor in zip(rates, embedding, strict=True)])

    return factors


def _layer(path: list[str], otherwise: int) -> int:
    """0 for a parameter of a ViT's embeddings, b for one of its block b, `otherwise` for all others."""
    for name in path:
        if name in _EMBEDDINGS:
            return 0
        if block := re.fullmatch(r"block(\d+)", name):
            return int(block[1])
    return otherwise


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
