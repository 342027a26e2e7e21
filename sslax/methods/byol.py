"""BYOL: the online network predicts what a slow average of itself, the target, makes of the other view; no negatives.

Source: Grill et al. 2020, arXiv:2006.07733, section 3 and Algorithm 1; deepmind-research `byol/byol_experiment.py`.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp

from sslax import optim
from sslax.augment import BYOLViews, check_views, make_views
from sslax.data import MAX_CANVAS
from sslax.errors import InputError
from sslax.losses import byol as byol_loss
from sslax.methods.base import Batch, Method, Output, Setup, attention_with, ema_schedule, embed_with, spread
from sslax.networks import BYOLMLP, forward, init, with_views, without_drop_path

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class BYOL:
    """BYOL's options; the defaults are the paper's for 1000 epochs."""

    NAME: ClassVar[str] = "byol"

    views: BYOLViews = BYOLViews()
    decay: float = 0.996
    """τ_base, the target's decay at the start: .97 for 40 epochs, .99 for 100 and 300, .996 for 1000."""
    decay_schedule: Literal["cosine", "constant"] = "cosine"
    """How the decay goes on: to 1 along a cosine as in the paper, or not at all."""
    target_start: Literal["own", "online"] = "own"
    """What the target starts from: weights of its own as in the released code, or a copy of the online network."""
    projector_hidden: int = 4096
    """Width of the projector's hidden layer."""
    projector_dim: int = 256
    """Width of the projections and predictions."""
    predictor_hidden: int = 4096
    """Width of the predictor's hidden layer; 0 is no predictor, with which BYOL collapses."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        check_views(self.views, config.canvas or MAX_CANVAS)
        if not 0 <= self.decay <= 1:
            raise InputError(f"method.decay is {self.decay}; it must lie in [0, 1].")
        for name, least in (("projector_hidden", 1), ("projector_dim", 1), ("predictor_hidden", 0)):
            if getattr(self, name) < least:
                raise InputError(f"method.{name} is {getattr(self, name)}; it must be at least {least}.")


def byol(options: BYOL, setup: Setup) -> Method:
    """BYOL with these options on `setup.backbone`."""
    encoder = setup.backbone
    target_encoder = without_drop_path(encoder)
    projector = BYOLMLP(hidden=options.projector_hidden, features=options.projector_dim, dtype=encoder.dtype)
    predictor = BYOLMLP(hidden=options.predictor_hidden, features=options.projector_dim, dtype=encoder.dtype)
    decay = ema_schedule(options.decay, options.decay_schedule, setup.steps)
    both = functools.partial(with_views, views=2)

    def init_projection(key, image_shape):
        """An encoder and its projector: what online network and target both have."""
        encoder_key, projector_key = jax.random.split(key)
        encoder_params, encoder_aux, h = setup.start(encoder_key, image_shape)
        projector_params, projector_aux = init(projector, projector_key, h)
        params = {"encoder": encoder_params, "projector": projector_params}
        return params, {"encoder": encoder_aux, "projector": projector_aux}

    def init_networks(key, image_shape):
        online_key, target_key, predictor_key = jax.random.split(key, 3)
        params, statistics = init_projection(online_key, image_shape)
        target, target_statistics = params, statistics
        if options.target_start == "own":
            target, target_statistics = init_projection(target_key, image_shape)
        predictor_params, predictor_aux = init(predictor, predictor_key, jnp.zeros((1, options.projector_dim)))
        online = {**statistics, "predictor": predictor_aux}
        aux = {"online": online, "target": {"params": target, "statistics": target_statistics}}
        return {**params, "predictor": predictor_params}, aux

    def views(key, images, aspects=None):
        return make_views(key, images, options.views, aspects=aspects)

    def project(network, params, statistics, x, key=None):
        """Features and projections of both views, in training, and the statistics afterwards."""
        h, encoder_aux = forward(both(network), params["encoder"], statistics["encoder"], x, train=True, key=key)
        z, projector_aux = forward(both(projector), params["projector"], statistics["projector"], h, train=True)
        return h, z, {**statistics, "encoder": encoder_aux, "projector": projector_aux}

    def loss(params, aux, batch: Batch, key, step):
        # Each view has BatchNorm statistics of its own, as in the paper's code, where it has a forward of its own. All else
        # takes both at once: a weight then has one gradient, which is summed over the devices once. Side by side, so an
        # image's views stay on the device that made them.
        x = jnp.stack(batch.views, axis=1)
        x = x.reshape(-1, *x.shape[2:])
        h, z, online = project(encoder, params, aux["online"], x, key)
        p, predictor_aux = forward(both(predictor), params["predictor"], online["predictor"], z, train=True)
        online = {**online, "predictor": predictor_aux}
        # The target is a network of its own, with its own statistics; the loss stops the gradient at what it says.
        _, t, target = project(target_encoder, aux["target"]["params"], aux["target"]["statistics"], x)
        features, predictions, targets = h[0::2], (p[0::2], p[1::2]), (t[0::2], t[1::2])
        # Each view's prediction meets the target of the other; the sum of both is not halved.
        losses = byol_loss(predictions[0], targets[1]) + byol_loss(predictions[1], targets[0])
        # Unrelated outputs are at distance 2 in each direction, constant ones at 0.
        metrics = {"projection_std": spread(targets[0]), "decay": decay(step)}
        new_aux = {"online": online, "target": {"params": aux["target"]["params"], "statistics": target}}
        return losses.mean(), Output(new_aux, metrics, jax.lax.stop_gradient(features))

    def after_update(params, aux, step):
        # With the parameters after the optimiser's step; the predictor has no counterpart.
        online = {name: params[name] for name in ("encoder", "projector")}
        target = optim.ema_update(aux["target"]["params"], online, decay(step))
        return params, {**aux, "target": {**aux["target"], "params": target}}

    def evaluated(params, aux):
        return params["encoder"], aux["online"]["encoder"]

    return Method(
        init=init_networks,
        views=views,
        loss=loss,
        embed=embed_with(encoder, options.views, evaluated),
        after_update=after_update,
        evaluated=evaluated,
        attention=attention_with(encoder, options.views, evaluated),
    )
