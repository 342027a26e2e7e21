"""The method interface: a few pure functions over two pytrees, the trained parameters and all other state."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from sslax import optim
from sslax.augment import eval_view, make_views
from sslax.errors import InputError
from sslax.evaluation import feature_std
from sslax.networks import ViT, forward, init


class Batch(NamedTuple):
    """The input of a loss: the views that the method made, and labels if the data has them (no loss here uses them)."""

    views: Any
    labels: Int[Array, "n"] | None = None


class Output(NamedTuple):
    """The output of a loss besides its value: `aux` for the next step, metrics to log, and features for observers."""

    aux: PyTree
    metrics: dict[str, Array]
    features: Float[Array, "n d"]


class Setup(NamedTuple):
    """The run that a method is built for.

    Attributes:
      backbone: the network to train.
      steps: number of steps in the run.
      steps_per_epoch: number of steps in an epoch.
      mesh: the device mesh.
      init_backbone: (key, image) -> (params, statistics), the backbone's initial values; None for random initialisation.
    """

    backbone: Any
    steps: int
    steps_per_epoch: int
    mesh: jax.sharding.Mesh
    init_backbone: Callable[..., tuple[PyTree, PyTree]] | None = None

    def start(self, key: Key[Array, ""], image_shape: tuple[int, int, int]) -> tuple[PyTree, PyTree, Array]:
        """The backbone's initial parameters and statistics, and its features of one all-zero image."""
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
      init: (key, image_shape) -> (params, aux), for views of image_shape [h, w, c]. `params` receive gradients; `aux` is all
        other state: BatchNorm statistics, target networks, centres, queues.
      views: (key, images, aspects) -> views; images are uint8 [n, s, s, 3], aspects [n] their original width / height. The
        images are the first axis of every array of views.
      loss: (params, aux, batch, key, step) -> (scalar, Output); the features carry no gradient.
      embed: (params, aux, images, aspects) -> features [n, d] of uint8 images, from the evaluation view and the network that
        the paper evaluates. With aspects None, the images already have their original aspect ratio.
      after_update: (params, aux, step) -> (params, aux), after the optimiser's step: moving averages, renormalisation.
      optimizer: tx -> tx: freezing, clipping, parameter groups.
      constant_rate: params -> tree of booleans: True for parameters that keep the peak learning rate instead of following the
        schedule, such as SimSiam's predictor. None if all follow it.
      evaluated: (params, aux) -> the parameters and BatchNorm statistics of the backbone that the paper evaluates.
        Fine-tuning starts from them and export writes them. None if the method has no such backbone.
      means: names of the entries of aux that are moving averages of a batch mean, such as a centre. Gradient accumulation
        then computes them over the whole batch.
      crosses: the part of the loss that depends on the rest of the batch, in a few words, such as "the negatives of an
        image"; empty if each image's loss is independent. Leave BatchNorm out.
      attention: (params, aux, images, aspects) -> attention maps [n, heads, rows, columns] of the last block's [CLS] token
        over the patches, for a ViT; None if the method provides no maps.
      project: (params, aux, images, aspects) -> outputs [n, z] of the projection head on `embed`'s features, which the loss
        compares; None if the method provides no projections.
      patches: (params, aux, images, aspects, size=None) -> patch features [n, rows, columns, d] after the last norm, for a ViT,
        from the evaluation view with a side of `size` pixels (None: as for `embed`); None if the method provides none.
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
    patches: Callable[..., Array] | None = None


def ema_schedule(decay: optim.Number, schedule: Literal["cosine", "constant"], steps: int) -> optim.Schedule:
    """The decay schedule of a target's moving average: from `decay` to 1 along a cosine over `steps`, or constant."""
    return optim.cosine_ema_decay(decay, steps) if schedule == "cosine" else optax.constant_schedule(decay)


def embed_with(
    encoder: Any, recipe: Any, evaluated: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
) -> Callable[..., Array]:
    """Make a method's `embed`, which computes features of images with `encoder` in evaluation mode.

    Args:
      encoder: the backbone.
      recipe: the view recipe, for size, interpolation and normalisation.
      evaluated: (params, aux) -> the parameters and BatchNorm statistics of the network that the paper evaluates.

    Returns:
      (params, aux, images, aspects=None, last_blocks=1) -> features. With last_blocks above 1, the features are the [CLS]
      tokens of that many last blocks of a ViT, each after the final norm, concatenated, as in DINO's linear evaluation.
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
    """Make a method's `project`; like `embed_with`, with the projection head added.

    Args:
      encoder: the backbone.
      projector: the projection head on the backbone's features.
      recipe: the view recipe, for size, interpolation and normalisation.
      evaluated: (params, aux) -> the backbone's parameters and BatchNorm statistics.
      projected: (params, aux) -> the head's parameters and BatchNorm statistics.

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
    """Make a method's `attention`, with the arguments of `embed_with`; None if the encoder is not a ViT."""
    if not isinstance(encoder, ViT):
        return None

    def attention(params, aux, images, aspects=None):
        x = _evaluation_views(recipe, images, aspects)
        outputs, _ = forward(encoder, *evaluated(params, aux), x, train=False, outputs=True)
        maps = outputs.attention[:, :, 0, encoder.prefix :]
        side = recipe.size // encoder.patch_size
        return maps.reshape(*maps.shape[:2], side, side)

    return attention


def patches_with(
    encoder: Any, recipe: Any, evaluated: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
) -> Callable[..., Array] | None:
    """Make a method's `patches`, with the arguments of `embed_with`; None if the encoder is not a ViT.

    Row 0 of the result is the top of the evaluation view, column 0 its left edge.
    """
    if not isinstance(encoder, ViT):
        return None

    def patches(params, aux, images, aspects=None, size=None):
        x = _evaluation_views(recipe, images, aspects, size)
        outputs, _ = forward(encoder, *evaluated(params, aux), x, train=False, outputs=True)
        side = x.shape[1] // encoder.patch_size
        return outputs.tokens[:, encoder.prefix :].reshape(len(x), side, side, -1)

    return patches


def on_backbone(
    encoder: Any, recipe: Any, evaluated: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]], **own: Any
) -> Method:
    """A method that trains `encoder`, with views, embeddings, attention maps and patch features by the recipe.

    Args:
      encoder: the backbone, as it is evaluated.
      recipe: of the views.
      evaluated: (params, aux) -> the backbone's parameters and BatchNorm statistics.
      own: the other fields of `Method`.
    """

    def views(key, images, aspects=None):
        return make_views(key, images, recipe, aspects=aspects)

    of = encoder, recipe, evaluated
    return Method(
        views=views,
        embed=embed_with(*of),
        attention=attention_with(*of),
        patches=patches_with(*of),
        evaluated=evaluated,
        **own,
    )


def _evaluation_views(
    recipe: Any,
    images: UInt8[Array, "n h w 3"] | Float[Array, "n h w 3"],
    aspects: Float[Array, " n"] | None,
    size: int | None = None,
) -> Float[Array, "n s s 3"]:
    return eval_view(
        images,
        size or recipe.size,
        aspects=aspects,
        interpolation=recipe.interpolation,
        mean=recipe.mean,
        std=recipe.std,
    )


def scale_gradient(loss: Float[Array, ""], scale: float) -> Float[Array, ""]:
    """Multiply the gradient of `loss` by `scale` and keep its value, so that the logs show the paper's loss."""
    if scale == 1:
        return loss
    held = jax.lax.stop_gradient(loss)
    return held + scale * (loss - held)


def check_loss_scale(scale: float) -> None:
    """Raise InputError unless the loss factor is finite and positive."""
    if not 0 < scale < math.inf:
        raise InputError(f"method.loss_scale is {scale}; it must be a finite number above 0.")


def spread(outputs: Float[Array, "n d"]) -> Float[Array, ""]:
    """`feature_std` times √d, without gradient: 1 for directions spread uniformly over the sphere, 0 for constant outputs."""
    return jax.lax.stop_gradient(feature_std(outputs.astype(jnp.float32)) * outputs.shape[-1] ** 0.5)


def prototype_use(codes: Float[Array, "... k"]) -> dict[str, Float[Array, ""]]:
    """How alike the prototypes are used, by the mean of a batch's codes, whose rows sum to 1.

    Returns:
      `target_largest`, the largest share of the batch that one prototype has; `prototype_usage`, the exponential of the mean
      code's entropy over K: 1 where all are used alike, 1/K where one takes all.
    """
    mean = codes.mean(axis=tuple(range(codes.ndim - 1)))
    usage = jnp.exp(jax.scipy.special.entr(mean).sum()) / len(mean)
    return {"target_largest": mean.max(), "prototype_usage": usage}
