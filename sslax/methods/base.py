"""What a method is: a handful of pure functions over one pytree of parameters and one of everything else."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float, Int, PyTree


class Batch(NamedTuple):
    """What a loss sees: the views that the method made, and labels where the data has them (no loss here uses them)."""

    views: Any
    labels: Int[Array, "n"] | None = None


class Output(NamedTuple):
    """What a loss gives besides its value: `aux` for the next step, metrics to log, and features for observers."""

    aux: PyTree
    metrics: dict[str, Array]
    features: Float[Array, "n d"]


class Setup(NamedTuple):
    """What a method is built for: the backbone and how long the run is."""

    backbone: Any
    steps: int
    steps_per_epoch: int
    mesh: jax.sharding.Mesh


def _keep(params: PyTree, aux: PyTree, step: Array) -> tuple[PyTree, PyTree]:
    return params, aux


def _as_it_is(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    return tx


class Method(NamedTuple):
    """A self-supervised method.

    Attributes:
      init: (key, image_shape) -> (params, aux), for views of image_shape [h, w, c]. `params` are what gradients reach; `aux`
        is all other state: BatchNorm statistics, target networks, centres, queues.
      views: (key, images, aspects) -> views; images uint8 [n, s, s, 3], aspects [n] their true width over height.
      loss: (params, aux, batch, key, step) -> (scalar, Output); features carry no gradient.
      embed: (params, aux, images, aspects) -> features [n, d] of uint8 images (aspects None: not squashed), by the
        evaluation view and the network that the paper evaluates.
      after_update: (params, aux, step) -> (params, aux), after the optimiser's step: moving averages, renormalisation.
      optimizer: tx -> tx: freezing, clipping, parameter groups.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    views: Callable[..., Any]
    loss: Callable[..., tuple[Array, Output]]
    embed: Callable[..., Array]
    after_update: Callable[..., tuple[PyTree, PyTree]] = _keep
    optimizer: Callable[[optax.GradientTransformation], optax.GradientTransformation] = _as_it_is
