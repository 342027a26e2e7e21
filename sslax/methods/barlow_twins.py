"""Barlow Twins: the cross-correlation matrix of the two views' projections is to be the identity.

Its diagonal of 1 makes the views agree, and its zeros keep the dimensions from saying the same. There are neither negatives
nor a predictor. Source: Zbontar et al. 2021, arXiv:2103.03230, section 2 and Algorithm 1; the released `main.py`.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

import jax

from sslax.augment import BYOLViews
from sslax.errors import InputError
from sslax.losses import barlow_twins_terms
from sslax.methods.base import (
    Batch,
    Method,
    Output,
    Setup,
    scale_gradient,
    spread,
)
from sslax.methods.checks import check_options
from sslax.methods.stack import apply_stack, init_stack, interleave, on_stack
from sslax.networks import MLPHead

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class BarlowTwins:
    """Barlow Twins' options; the defaults are those of the release on ImageNet."""

    NAME: ClassVar[str] = "barlow-twins"

    views: BYOLViews = BYOLViews(semantics="torchvision")
    projector_hidden: int = 8192
    """Width of the projector's hidden layers."""
    projector_dim: int = 8192
    """Width of the projections; the paper finds wider ones better (figure 4)."""
    projector_layers: int = 3
    """Layers of the projector; the last one is linear, without a norm or a bias."""
    off_diagonal: float = 0.0051
    """λ, the weight of the redundancy term; at 0 all dimensions may say the same. The sum has d(d - 1) entries of c, so
    narrower projections need a larger weight."""
    loss_scale: float = 1.0
    """Factor on the optimised loss; 1 is the paper's. A recipe takes it from its source, because it changes the balance with
    weight decay and the updates that LARS does not adapt. Logs show the unscaled loss and the scaled gradient's norm."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        check_options(self, config, least={"projector_hidden": 1, "projector_dim": 1, "projector_layers": 1})
        if not 0 <= self.off_diagonal < math.inf:
            raise InputError(f"method.off_diagonal is {self.off_diagonal}; it must be a finite number of at least 0.")


def barlow_twins(options: BarlowTwins, setup: Setup) -> Method:
    """Barlow Twins with these options on `setup.backbone`."""
    encoder = setup.backbone
    projector = MLPHead(
        hidden=options.projector_hidden,
        features=options.projector_dim,
        layers=options.projector_layers,
        dtype=encoder.dtype,
    )
    stack = {"encoder": encoder, "projector": projector}

    def init_networks(key, image_shape):
        return init_stack(setup, {"projector": projector}, key, image_shape)

    def loss(params, aux, batch: Batch, key, step):
        # Each view has BatchNorm statistics of its own, as in the release, which runs one forward for each view.
        out, new_aux = apply_stack(stack, params, aux, interleave(batch.views), views=2, key=key)
        z1, z2 = out["projector"][0::2], out["projector"][1::2]
        # Means over the batch are over all devices, so the terms are those of the global batch.
        terms = barlow_twins_terms(z1, z2)
        value = terms.on_diagonal + options.off_diagonal * terms.off_diagonal
        d = options.projector_dim
        # Means of the matrix's entries, whatever its size: 0 on both is the identity, off_diagonal 1 is full redundancy.
        means = {"on_diagonal": terms.on_diagonal / d, "off_diagonal": terms.off_diagonal / max(d * (d - 1), 1)}
        metrics = {"projection_std": spread(z1), **jax.lax.stop_gradient(means)}
        features = jax.lax.stop_gradient(out["encoder"][0::2])
        return scale_gradient(value, options.loss_scale), Output(new_aux, metrics, features)

    return on_stack(
        stack,
        options.views,
        init=init_networks,
        loss=loss,
        crosses="the correlations of the projections",
    )
