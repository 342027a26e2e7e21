"""SimCLR: the two views of an image are a positive pair; the views of all other images in the batch are their negatives.

Source: Chen et al. 2020, arXiv:2002.05709, Algorithm 1.
"""

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sslax.augment import SimCLRViews, check_views
from sslax.data import MAX_CANVAS
from sslax.errors import InputError
from sslax.losses import margin_triplet, nt_logistic, nt_xent
from sslax.methods.base import (
    Batch,
    Method,
    Output,
    Setup,
    check_loss_scale,
    scale_gradient,
    spread,
)
from sslax.methods.contrast import over_devices
from sslax.methods.stack import apply_stack, init_stack, interleave, on_stack
from sslax.networks import SimCLRProjector, initial_of

if TYPE_CHECKING:
    from sslax.config import Config


Loss = Literal["nt-xent", "nt-logistic", "margin"]


@dataclasses.dataclass(frozen=True)
class SimCLR:
    """SimCLR's options; the defaults are the paper's."""

    NAME: ClassVar[str] = "simclr"

    views: SimCLRViews = SimCLRViews()
    temperature: float = 0.1
    """τ of the loss; the paper uses 0.1 on ImageNet and 0.5 on CIFAR-10. The margin loss ignores it."""
    projector_layers: int = 2
    """Number of layers of the projection head: 2 in the paper, 3 in the released code; 0 removes the head."""
    projector_dim: int = 128
    """Width of the head's output."""
    projector_offset: bool = False
    """Learn an offset in the head's last BatchNorm too, as lightly's head does."""
    separate_views: bool = False
    """Compute BatchNorm statistics of each view separately, as one forward pass per view would, instead of over both views."""
    loss: Loss = "nt-xent"
    """NT-Xent, or one of the losses that the paper compares it with (table 4): NT-Logistic, or triplets with a margin."""
    semi_hard: bool = False
    """For nt-logistic and margin: use only the closest negative that is farther away than the positive."""
    margin: float = 0.8
    """For margin: how much more similar a positive should be than a negative, in cosine similarity."""
    normalize: bool = True
    """Compare ℓ2-normalised projections, as the paper does; if False, compare inner products (its table 5)."""
    loss_scale: float = 1.0
    """Factor on the optimised loss; 1 is the paper's. A recipe takes it from its source, because it changes the balance with
    weight decay and the updates that LARS does not adapt. Logs show the unscaled loss and the scaled gradient's norm."""

    def check(self, config: "Config") -> None:
        """Raise InputError on invalid options."""
        check_views(self.views, config.canvas or MAX_CANVAS)
        check_loss_scale(self.loss_scale)
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"method.temperature is {self.temperature}; it must be a finite number above 0.")
        if self.loss not in get_args(Loss):
            raise InputError(f"method.loss is {self.loss}; it must be one of {', '.join(get_args(Loss))}.")
        if self.semi_hard and self.loss == "nt-xent":
            raise InputError(
                "method.semi_hard is True, but nt-xent takes all negatives; it must be False, or method.loss another one."
            )
        if not 0 <= self.margin < float("inf"):
            raise InputError(f"method.margin is {self.margin}; it must be a finite number of at least 0.")
        if self.projector_layers < 0:
            raise InputError(f"method.projector_layers is {self.projector_layers}; it must be at least 0.")
        if self.projector_dim < 1:
            raise InputError(f"method.projector_dim is {self.projector_dim}; it must be at least 1.")


def simclr(options: SimCLR, setup: Setup) -> Method:
    """SimCLR with these options on `setup.backbone`."""
    encoder = setup.backbone
    projector = SimCLRProjector(
        layers=options.projector_layers,
        features=options.projector_dim,
        last_offset=options.projector_offset,
        initial=initial_of(encoder),
        dtype=encoder.dtype,
    )
    sides = 2 if options.separate_views else 1
    stack = {"encoder": encoder, "projector": projector}

    def init_networks(key, image_shape):
        return init_stack(setup, {"projector": projector}, key, image_shape)

    def loss(params, aux, batch: Batch, key, step):
        # One forward pass over both views, so BatchNorm statistics cover all 2n images unless separate_views is set.
        out, new_aux = apply_stack(stack, params, aux, interleave(batch.views), views=sides, key=key)
        h, z = out["encoder"], out["projector"]
        losses = contrast(z[0::2], z[1::2], options, setup.mesh)
        # Observers, such as the online probe, train on these features; their gradient must not reach the backbone.
        features = jax.lax.stop_gradient(h[0::2])
        metrics = {"projection_std": spread(z[0::2])}
        if options.loss == "nt-xent":
            # The loss of constant outputs: all 2n - 1 other views are equally likely. The other losses have no single
            # value for uninformative outputs.
            metrics["chance_loss"] = jnp.float32(math.log(len(z) - 1))
        value = scale_gradient(losses.mean(), options.loss_scale)
        return value, Output(new_aux, metrics, features)

    return on_stack(
        stack,
        options.views,
        init=init_networks,
        loss=loss,
        crosses="the negatives of an image",
    )


def contrast(z1: Float[Array, "n z"], z2: Float[Array, "n z"], options: SimCLR, mesh: Mesh) -> Float[Array, "n"]:
    """The loss of each pair; its negatives are the views of all other images on all devices."""
    if options.loss == "nt-logistic":
        return nt_logistic(
            z1, z2, temperature=options.temperature, normalize=options.normalize, semi_hard=options.semi_hard
        )
    if options.loss == "margin":
        return margin_triplet(z1, z2, margin=options.margin, normalize=options.normalize, semi_hard=options.semi_hard)
    loss = functools.partial(nt_xent, temperature=options.temperature, normalize=options.normalize)
    return over_devices(loss, mesh, z1, z2)
