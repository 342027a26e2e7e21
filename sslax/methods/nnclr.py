"""NNCLR: the positive of a view is not the other view itself but its nearest neighbour in a queue of earlier projections.

Source: Dwibedi et al. 2021, arXiv:2104.14548, section 3 and equation 2. There is no release of its authors; heads and queue
are as in lightly `models/modules/nn_memory_bank.py` and solo-learn `methods/nnclr.py`.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from sslax.augment import BYOLViews
from sslax.losses import info_nce, nt_xent
from sslax.methods.base import Batch, Method, Output, Setup, on_backbone, scale_gradient, spread
from sslax.methods.checks import check_options
from sslax.methods.contrast import over_devices
from sslax.methods.queue import push, random_queue
from sslax.methods.stack import apply_stack, init_stack, interleave
from sslax.networks import MLPHead
from sslax.numerics import l2_normalize

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class NNCLR:
    """NNCLR's options; the defaults are the paper's."""

    NAME: ClassVar[str] = "nnclr"

    views: BYOLViews = BYOLViews()
    projector_hidden: int = 2048
    """Width of the projector's hidden layers."""
    projector_dim: int = 256
    """Width of the projections and predictions."""
    projector_layers: int = 3
    """Layers of the projector, each with BatchNorm, the last one too."""
    predictor_hidden: int = 4096
    """Width of the predictor's hidden layer; 0 is no predictor."""
    temperature: float = 0.1
    """τ of the loss."""
    queue: int = 98304
    """Earlier projections of view 1 that neighbours are looked for in."""
    loss: Literal["info-nce", "nt-xent"] = "info-nce"
    """Of n images, the negatives of a neighbour: the n - 1 other predictions (the paper), or also the n - 1 other neighbours
    (lightly)."""
    loss_scale: float = 1.0
    """Factor of the loss that is optimised, 1 being the paper's. The loss that is logged is the paper's."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"projector_hidden": 1, "projector_dim": 1, "projector_layers": 1, "predictor_hidden": 0}
        least |= {"queue": 1}
        check_options(self, config, least=least, positive=("temperature",))


def nearest(z: Float[Array, "n d"], rows: Float[Array, "m d"]) -> Int[Array, "n"]:
    """The place of the row that each projection is the most similar to; both are ℓ2-normalised."""
    return jnp.argmax(jnp.matmul(z, rows.T, precision="highest"), axis=1)


Views = Sequence[Float[Array, "n d"]]


def symmetric(
    neighbours: Views, predictions: Views, *, loss: Literal["info-nce", "nt-xent"], temperature: float, mesh: Mesh
) -> Float[Array, "n"]:
    """The loss of each view's neighbour with the prediction of the other view, the mean of both directions."""
    function = functools.partial(info_nce if loss == "info-nce" else nt_xent, temperature=temperature)
    (n1, n2), (p1, p2) = jax.lax.stop_gradient(tuple(neighbours)), predictions
    return (over_devices(function, mesh, n1, p2) + over_devices(function, mesh, n2, p1)) / 2


def nnclr(options: NNCLR, setup: Setup) -> Method:
    """NNCLR with these options on `setup.backbone`."""
    encoder, dim = setup.backbone, options.projector_dim
    mlp = functools.partial(MLPHead, features=dim, dtype=encoder.dtype)
    projector = mlp(options.projector_hidden, layers=options.projector_layers, last_norm="affine")
    predictor = mlp(options.predictor_hidden, layers=2 if options.predictor_hidden else 0, last_bias=True)
    heads = {"projector": projector, "predictor": predictor}

    def init_networks(key, image_shape):
        networks_key, queue_key = jax.random.split(key)
        params, statistics = init_stack(setup, heads, networks_key, image_shape)
        return params, {"statistics": statistics, "queue": random_queue(queue_key, options.queue, dim)}

    def loss(params, aux, batch: Batch, key, step):
        # Each view has BatchNorm statistics of its own, as lightly and solo-learn have a forward for each.
        stack, queue = {"encoder": encoder, **heads}, aux["queue"]
        out, statistics = apply_stack(stack, params, aux["statistics"], interleave(batch.views), views=2, key=key)
        h, p = out["encoder"], out["predictor"]
        # The choice of a neighbour has no gradient, so the projections learn through the predictions alone.
        z = l2_normalize(jax.lax.stop_gradient(out["projector"]))
        index = nearest(z, queue["rows"])
        neighbours = queue["rows"][index]
        losses = symmetric(
            (neighbours[0::2], neighbours[1::2]),
            (p[0::2], p[1::2]),
            loss=options.loss,
            temperature=options.temperature,
            mesh=setup.mesh,
        )
        # After the loss, so that no projection is its own neighbour.
        new_aux = {"statistics": statistics, "queue": push(queue, z[0::2], setup.mesh)}
        others = len(z) - 1 if options.loss == "nt-xent" else len(z) // 2
        metrics = {
            "projection_std": spread(z[0::2]),
            "chance_loss": jnp.float32(math.log(others)),
            "neighbour_share": jnp.bincount(index, length=options.queue).max() / len(z),
        }
        value = scale_gradient(losses.mean(), options.loss_scale)
        return value, Output(new_aux, metrics, jax.lax.stop_gradient(h[0::2]))

    def evaluated(params, aux):
        return params["encoder"], aux["statistics"]["encoder"]

    return on_backbone(
        encoder,
        options.views,
        evaluated,
        init=init_networks,
        loss=loss,
        crosses="the negatives of an image, the projections that enter the queue at once",
    )
