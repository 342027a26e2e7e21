"""VICReg: the views agree (invariance), each dimension keeps a deviation of 1 (variance), no two covary (covariance).

There are no negatives, no predictor and no norm of the projections. Source: Bardes et al. 2022, arXiv:2105.04906, section 4
and Algorithm 1; the released `main_vicreg.py`, which differs from the paper in the variance term (`halved`).
"""

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

import jax

from sslax.augment import BYOLViews
from sslax.errors import InputError
from sslax.losses import vicreg_terms
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
class VICReg:
    """VICReg's options; the defaults are those of the release on ImageNet."""

    NAME: ClassVar[str] = "vicreg"

    views: BYOLViews = BYOLViews(semantics="torchvision")
    projector_hidden: int = 8192
    """Width of the projector's hidden layers; the paper calls the projector the expander."""
    projector_dim: int = 8192
    """Width of the projections."""
    projector_layers: int = 3
    """Layers of the projector; the last one is linear, without a norm or a bias."""
    invariance: float = 25.0
    """λ, the weight of the mean squared difference of the two views."""
    variance: float = 25.0
    """μ, the weight of the hinge on each dimension's deviation; at 0 VICReg collapses."""
    covariance: float = 1.0
    """ν, the weight of the squared covariances of different dimensions."""
    halved: bool = True
    """Halve the sum of the two views' variance terms, as the release does; the paper's Algorithm 1 takes the sum."""
    loss_scale: float = 1.0
    """Factor on the optimised loss; 1 is the paper's. A recipe takes it from its source, because it changes the balance with
    weight decay and the updates that LARS does not adapt. Logs show the unscaled loss and the scaled gradient's norm."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        check_options(self, config, least={"projector_hidden": 1, "projector_dim": 1, "projector_layers": 1})
        for name in ("invariance", "variance", "covariance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"method.{name} is {getattr(self, name)}; it must be a finite number of at least 0.")


def vicreg(options: VICReg, setup: Setup) -> Method:
    """VICReg with these options on `setup.backbone`."""
    encoder = setup.backbone
    projector = MLPHead(
        hidden=options.projector_hidden,
        features=options.projector_dim,
        layers=options.projector_layers,
        # As in the release; the BatchNorm after a hidden layer removes the bias again.
        hidden_bias=True,
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
        terms = vicreg_terms(z1, z2)
        # `terms.variance` is the mean over both views: the release's half of their sum.
        hinge = terms.variance if options.halved else 2 * terms.variance
        value = options.invariance * terms.invariance + options.variance * hinge + options.covariance * terms.covariance
        metrics = {"projection_std": spread(z1), **jax.lax.stop_gradient(terms._asdict())}
        features = jax.lax.stop_gradient(out["encoder"][0::2])
        return scale_gradient(value, options.loss_scale), Output(new_aux, metrics, features)

    return on_stack(
        stack,
        options.views,
        init=init_networks,
        loss=loss,
        crosses="the variances and covariances of the projections",
    )
