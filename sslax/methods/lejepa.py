"""LeJEPA: the views of an image agree, and each view's projections are normally distributed, without a teacher.

Source: Balestriero & LeCun 2025, arXiv:2511.08544, section 5; README.md and MINIMAL.md of rbalestr-lab/lejepa.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sslax.augment import LeJEPAViews
from sslax.losses import sigreg
from sslax.methods.base import Batch, Method, Output, Setup, scale_gradient, spread
from sslax.methods.checks import check_options
from sslax.methods.stack import apply_to_crops, crops_by_size, init_stack, on_stack
from sslax.networks import MLPHead

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class LeJEPA:
    """LeJEPA's options."""

    NAME: ClassVar[str] = "lejepa"

    views: LeJEPAViews = LeJEPAViews()
    projector_hidden: int = 2048
    """Width of the projector's hidden layers."""
    projector_dim: int = 64
    """Width of the projections."""
    projector_layers: int = 3
    """Layers of the projector; the last one is linear."""
    sigreg: float = 0.05
    """λ, the weight of SIGReg, from 0 to 1; the invariance has 1 - λ. At 0 LeJEPA collapses."""
    directions: int = 1024
    """Random directions on which SIGReg tests the projections, drawn anew in every step."""
    knots: int = 17
    """Frequencies of SIGReg's integral."""
    limit: float = 3.0
    """SIGReg's largest frequency."""
    separate_views: bool = False
    """BatchNorm statistics of each crop by itself, and not of all crops together."""
    loss_scale: float = 1.0
    """Factor of the loss that is optimised, 1 being the paper's. The loss that is logged is the paper's."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"projector_hidden": 1, "projector_dim": 1, "projector_layers": 1, "directions": 1, "knots": 2}
        check_options(self, config, least=least, positive=("limit",), shares=("sigreg",))


class Terms(NamedTuple):
    """The two terms of LeJEPA's loss, without weights."""

    sigreg: Float[Array, ""]
    invariance: Float[Array, ""]

    def weighted(self, share: float) -> Float[Array, ""]:
        """The loss, with λ = `share`."""
        return share * self.sigreg + (1 - share) * self.invariance


def random_directions(key: Key[Array, ""], dim: int, count: int, dtype: jnp.dtype = jnp.float32) -> Float[Array, "d s"]:
    """Unit vectors as columns, uniform on the sphere."""
    normal = jax.random.normal(key, (dim, count), dtype)
    return normal / jnp.linalg.norm(normal, axis=0, keepdims=True)


def terms(
    z: Float[Array, "c n d"], directions: Float[Array, "d s"], *, large: int, knots: int = 17, limit: float = 3.0
) -> Terms:
    """SIGReg, the mean over the crops, and the mean squared distance to the mean of the image's `large` first crops.

    Means over n are over all devices, so the terms are those of the global batch. No gradient stops.
    """
    statistic = jax.vmap(lambda crop: sigreg(crop, directions, knots=knots, limit=limit))(z)
    center = z[:large].mean(axis=0, keepdims=True)
    return Terms(statistic.mean(), jnp.square(z - center).mean())


def lejepa(options: LeJEPA, setup: Setup) -> Method:
    """LeJEPA with these options on `setup.backbone`."""
    encoder, large = setup.backbone, options.views.global_crops
    projector = MLPHead(
        hidden=options.projector_hidden,
        features=options.projector_dim,
        layers=options.projector_layers,
        # As in the release; the BatchNorm after a hidden layer removes its bias again.
        hidden_bias=True,
        last_bias=True,
        dtype=encoder.dtype,
    )
    stack = {"encoder": encoder, "projector": projector}

    def init_networks(key, image_shape):
        return init_stack(setup, {"projector": projector}, key, image_shape)

    def loss(params, aux, batch: Batch, key, step):
        directions_key, depth_key = jax.random.split(key)
        crops = crops_by_size(batch.views, large=large)
        out, new_aux = apply_to_crops(stack, params, aux, crops, key=depth_key, separate=options.separate_views)
        z = out["projector"]
        directions = random_directions(directions_key, options.projector_dim, options.directions, z.dtype)
        of = terms(z, directions, large=large, knots=options.knots, limit=options.limit)
        value = of.weighted(options.sigreg)
        # 1 for constant projections, near 0 for normally distributed ones.
        constant = len(z[0]) * sigreg(jnp.zeros_like(z[0, :1]), directions, knots=options.knots, limit=options.limit)
        metrics = {"projection_std": spread(z[0]), "sigreg_share": of.sigreg / constant, **of._asdict()}
        metrics = jax.lax.stop_gradient(metrics)
        output = Output(new_aux, metrics, jax.lax.stop_gradient(out["encoder"][0]))
        return scale_gradient(value, options.loss_scale), output

    return on_stack(
        stack,
        options.views,
        init=init_networks,
        loss=loss,
        crosses="the distribution of the projections",
    )
