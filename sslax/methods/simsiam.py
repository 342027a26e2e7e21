"""SimSiam: each view's prediction meets the projection of the other view, through which no gradient flows.

There are neither negatives nor a target network. Source: Chen & He 2021, arXiv:2011.10566, section 3 and Algorithm 1; the
released `simsiam/builder.py` and `main_simsiam.py`.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax import optim
from sslax.augment import IMAGENET_MEAN, IMAGENET_STD, SimCLRViews
from sslax.losses import simsiam as simsiam_loss
from sslax.methods.base import (
    Batch,
    Method,
    Output,
    Setup,
    scale_gradient,
    spread,
)
from sslax.methods.byol import cosines
from sslax.methods.checks import check_options
from sslax.methods.stack import apply_stack, init_stack, interleave, on_stack
from sslax.networks import MLPHead
from sslax.numerics import at_least_float32, l2_normalize

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class SimSiam:
    """SimSiam's options; the defaults are those of the release on ImageNet."""

    NAME: ClassVar[str] = "simsiam"

    views: SimCLRViews = SimCLRViews(
        crop_area=(0.2, 1.0),
        crop_sampling="torchvision",
        interpolation="bilinear",
        strength=0.5,
        semantics="torchvision",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    projector_hidden: int = 2048
    """Width of the projector's hidden layers; the release takes the backbone's width, 2048 for ResNet-50."""
    projector_dim: int = 2048
    """Width of the projections and predictions."""
    projector_layers: int = 3
    """Layers of the projector: 3 on ImageNet, 2 on CIFAR-10 (appendix D)."""
    predictor_hidden: int = 512
    """Width of the predictor's hidden layer; 0 means no predictor, which makes SimSiam collapse."""
    stop_gradient: bool = True
    """Stop the gradient at the projections; without the stop SimSiam collapses (section 4.1)."""
    constant_predictor_rate: bool = True
    """Keep the predictor's learning rate at its peak instead of on the schedule, as the release's --fix-pred-lr does."""
    loss_scale: float = 1.0
    """Factor on the optimised loss; 1 is the paper's. A recipe takes it from its source, because it changes the balance with
    weight decay and the updates that LARS does not adapt. Logs show the unscaled loss and the scaled gradient's norm."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        check_options(
            self,
            config,
            least={"projector_hidden": 1, "projector_dim": 1, "projector_layers": 1, "predictor_hidden": 0},
        )


def heads(options: SimSiam, encoder: Any) -> dict[str, MLPHead]:
    """The projector and the predictor of these options on `encoder`."""
    return {
        # The release gives the last layer a bias that does not train. The BatchNorm after it removes any bias.
        "projector": MLPHead(
            hidden=options.projector_hidden,
            features=options.projector_dim,
            layers=options.projector_layers,
            last_norm="plain",
            dtype=encoder.dtype,
        ),
        "predictor": MLPHead(
            hidden=options.predictor_hidden,
            features=options.projector_dim,
            layers=2 if options.predictor_hidden else 0,
            last_bias=True,
            dtype=encoder.dtype,
        ),
    }


def simsiam(options: SimSiam, setup: Setup) -> Method:
    """SimSiam with these options on `setup.backbone`."""
    encoder = setup.backbone
    networks = heads(options, encoder)
    stack = {"encoder": encoder, **networks}

    def init_networks(key, image_shape):
        return init_stack(setup, networks, key, image_shape)

    def loss(params, aux, batch: Batch, key, step):
        # Each view has BatchNorm statistics of its own, as in the release, which runs one forward for each view.
        out, new_aux = apply_stack(stack, params, aux, interleave(batch.views), views=2, key=key)
        (z1, z2), (p1, p2) = ((out[name][0::2], out[name][1::2]) for name in ("projector", "predictor"))
        value = (compare(p1, z2, options) + compare(p2, z1, options)).mean() / 2
        # The last BatchNorm centres the projections, so collapsed ones differ in length: most share a direction, and a few
        # long ones point the other way.
        shared = jnp.linalg.norm(l2_normalize(jax.lax.stop_gradient(z1)).mean(axis=0))
        metrics = {"projection_std": spread(z1), "shared_direction": shared, **cosines((p1, p2), (z1, z2))}
        features = jax.lax.stop_gradient(out["encoder"][0::2])
        return scale_gradient(value, options.loss_scale), Output(new_aux, metrics, features)

    return on_stack(
        stack,
        options.views,
        init=init_networks,
        loss=loss,
        constant_rate=optim.named("predictor") if options.constant_predictor_rate else None,
    )


def compare(prediction: Float[Array, "n d"], projection: Float[Array, "n d"], options: SimSiam) -> Float[Array, "n"]:
    """The negative cosine of each prediction with the projection of the other view."""
    if options.stop_gradient:
        # The loss itself stops the gradient at the projection.
        return simsiam_loss(prediction, projection)
    p, z = (l2_normalize(at_least_float32(x)) for x in (prediction, projection))
    return -jnp.sum(p * z, axis=-1)
