"""What a method is: a handful of pure functions over one pytree of parameters and one of everything else."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from sslax import optim
from sslax.augment import eval_view
from sslax.errors import InputError
from sslax.evaluation import feature_std
from sslax.networks import ViT, forward, init


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
    """What a method is built for.

    Attributes:
      backbone: the network under training.
      steps: how long the run is.
      steps_per_epoch: and an epoch of it.
      mesh: the devices.
      init_backbone: (key, image) -> (params, statistics) that the backbone starts from, where that is not random.
    """

    backbone: Any
    steps: int
    steps_per_epoch: int
    mesh: jax.sharding.Mesh
    init_backbone: Callable[..., tuple[PyTree, PyTree]] | None = None

    def start(self, key: Key[Array, ""], image_shape: tuple[int, int, int]) -> tuple[PyTree, PyTree, Array]:
        """Parameters and statistics that the backbone starts from, and its features of one black image."""
        image = jnp.zeros((1, *image_shape))
        params, statistics = (self.init_backbone or functools.partial(init, self.backbone))(key, image)
        return params, statistics, forward(self.backbone, params, statistics, image, train=False)[0]


def _keep(params: PyTree, aux: PyTree, step: Array | int) -> tuple[PyTree, PyTree]:
    return params, aux


def _as_it_is(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    return tx


class Method(NamedTuple):
    """A self-supervised method.

    Attributes:
      init: (key, image_shape) -> (params, aux), for views of image_shape [h, w, c]. `params` are what gradients reach; `aux`
        is all other state: BatchNorm statistics, target networks, centres, queues.
      views: (key, images, aspects) -> views; images uint8 [n, s, s, 3], aspects [n] their true width over height. Arrays have
        the images first.
      loss: (params, aux, batch, key, step) -> (scalar, Output); features carry no gradient.
      embed: (params, aux, images, aspects) -> features [n, d] of uint8 images (aspects None: not squashed), by the
        evaluation view and the network that the paper evaluates.
      after_update: (params, aux, step) -> (params, aux), after the optimiser's step: moving averages, renormalisation.
      optimizer: tx -> tx: freezing, clipping, parameter groups.
      constant_rate: params -> tree of booleans that marks the parameters which keep the peak learning rate instead of following
        the schedule, as SimSiam's predictor does; None where all follow it.
      evaluated: (params, aux) -> the parameters and BatchNorm statistics of the backbone that the paper evaluates, which is
        what fine-tuning starts from and export writes; None where there is no such backbone.
      means: names of those entries of aux that are moving averages of a batch's mean, as a centre is; gradient accumulation
        then gives them what the whole batch would.
      crosses: what of the loss is of the batch and not of an image, in a few words, as an image's negatives are; empty where
        nothing is. BatchNorm need not be named.
      attention: (params, aux, images, aspects) -> attention maps [n, heads, rows, columns] of the last block's [CLS] token
        over the patches, on a ViT; None for methods that have none to show.
      project: (params, aux, images, aspects) -> outputs [n, z] of the projection head on `embed`'s features, which is what the
        loss compares; None for methods that have none to show.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    views: Callable[..., Any]
    loss: Callable[..., tuple[Array, Output]]
    embed: Callable[..., Array]
    after_update: Callable[..., tuple[PyTree, PyTree]] = _keep
    optimizer: Callable[[optax.GradientTransformation], optax.GradientTransformation] = _as_it_is
    constant_rate: Callable[[PyTree], PyTree] | None = None
    evaluated: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]] | None = None
    attention: Callable[..., Array] | None = None
    means: tuple[str, ...] = ()
    crosses: str = ""
    project: Callable[..., Array] | None = None


def ema_schedule(decay: optim.Number, schedule: Literal["cosine", "constant"], steps: int) -> optim.Schedule:
    """The decay of a target's moving average: from `decay` to 1 along a cosine over `steps`, or constant."""
    return optim.cosine_ema_decay(decay, steps) if schedule == "cosine" else optax.constant_schedule(decay)


def embed_with(
    encoder: Any, recipe: Any, evaluated: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
) -> Callable[..., Array]:
    """A method's `embed`: features of images as `encoder` is evaluated on them.

    Args:
      encoder: the backbone.
      recipe: the views', for size, interpolation and normalisation.
      constant_rate: params -> tree of booleans that marks the parameters which keep the peak learning rate instead of following
        the schedule, as SimSiam's predictor does; None where all follow it.
      evaluated: (params, aux) -> the parameters and BatchNorm statistics of the network that the paper evaluates.

    Returns:
      (params, aux, images, aspects=None, last_blocks=1) -> features; with more than one block the [CLS] tokens of so many of a
      ViT's last blocks, each through the last norm, side by side, as DINO's linear evaluation takes them.
    """

    def embed(params, aux, images, aspects=None, last_blocks=1):
        x, network = _evaluation_views(recipe, images, aspects), evaluated(params, aux)
        if last_blocks == 1:
            return forward(encoder, *network, x, train=False)[0]
        outputs, _ = forward(encoder, *network, x, train=False, outputs=True)
        return jnp.concatenate(list(outputs.class_tokens[-last_blocks:]), axis=-1)

    return embed


def project_with(
    encoder: Any,
    projector: Any,
    recipe: Any,
    evaluated: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    projected: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
) -> Callable[..., Array]:
    """A method's `project`, of the same arguments as `embed_with`, the head beside them.

    Args:
      encoder: the backbone.
      projector: the head on it.
      recipe: the views', for size, interpolation and normalisation.
      evaluated: (params, aux) -> the backbone's parameters and BatchNorm statistics.
      projected: (params, aux) -> the head's.

    Returns:
      (params, aux, images, aspects=None) -> the head's outputs.
    """
    embed = embed_with(encoder, recipe, evaluated)

    def project(params, aux, images, aspects=None):
        h = embed(params, aux, images, aspects)
        return forward(projector, *projected(params, aux), h, train=False)[0]

    return project


def attention_with(
    encoder: Any, recipe: Any, evaluated: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
) -> Callable[..., Array] | None:
    """A method's `attention`, of the same arguments as `embed_with`; None where the encoder is no ViT."""
    if not isinstance(encoder, ViT):
        return None

    def attention(params, aux, images, aspects=None):
        x = _evaluation_views(recipe, images, aspects)
        outputs, _ = forward(encoder, *evaluated(params, aux), x, train=False, outputs=True)
        maps = outputs.attention[:, :, 0, encoder.prefix :]
        side = recipe.size // encoder.patch_size
        return maps.reshape(*maps.shape[:2], side, side)

    return attention


def _evaluation_views(
    recipe: Any, images: UInt8[Array, "n h w 3"] | Float[Array, "n h w 3"], aspects: Float[Array, " n"] | None
) -> Float[Array, "n s s 3"]:
    return eval_view(
        images,
        recipe.size,
        aspects=aspects,
        interpolation=recipe.interpolation,
        mean=recipe.mean,
        std=recipe.std,
    )


def scale_gradient(loss: Float[Array, ""], scale: float) -> Float[Array, ""]:
    """`loss` itself, with `scale` times its gradient: what is logged and watched stays the paper's loss."""
    if scale == 1:
        return loss
    held = jax.lax.stop_gradient(loss)
    return held + scale * (loss - held)


def check_loss_scale(scale: float) -> None:
    """Raise InputError on a factor of the loss that cannot work."""
    if not 0 < scale < math.inf:
        raise InputError(f"method.loss_scale is {scale}; it must be a finite number above 0.")


def spread(outputs: Float[Array, "n d"]) -> Float[Array, ""]:
    """`feature_std` times √d, without gradient: 1 for directions spread evenly over the sphere, 0 for constant outputs."""
    return jax.lax.stop_gradient(feature_std(outputs.astype(jnp.float32)) * outputs.shape[-1] ** 0.5)
