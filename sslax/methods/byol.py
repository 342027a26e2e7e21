"""BYOL: the online network predicts the projection of the other view by its own moving average, without negatives.

Source: Grill et al. 2020, arXiv:2006.07733, section 3 and Algorithm 1; deepmind-research `byol/byol_experiment.py`. Options
give the variants between BYOL and SimCLR (section 5, tables 5b and 19): without predictor, without target, with negatives.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.augment import BYOLViews, check_views
from sslax.data import MAX_CANVAS
from sslax.errors import InputError
from sslax.losses import byol as byol_loss
from sslax.losses import byol_contrastive
from sslax.methods.base import (
    Batch,
    Method,
    Output,
    Setup,
    check_loss_scale,
    ema_schedule,
    on_backbone,
    scale_gradient,
    spread,
)
from sslax.methods.stack import apply_stack, init_stack, interleave, moving_average
from sslax.networks import BYOLMLP, init, initial_of, without_drop_path
from sslax.numerics import l2_normalize

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class BYOL:
    """BYOL's options; the defaults are the paper's for 1000 epochs."""

    NAME: ClassVar[str] = "byol"

    views: BYOLViews = BYOLViews()
    decay: float = 0.996
    """τ_base, the target's initial decay: .97 for 40 epochs, .99 for 100 and 300, .996 for 1000."""
    decay_schedule: Literal["cosine", "constant"] = "cosine"
    """Schedule of the decay: it rises to 1 along a cosine, as in the paper, or stays constant."""
    target_start: Literal["own", "online"] = "own"
    """The target's initial weights: its own random initialisation, as in the released code, or a copy of the online network."""
    projector_hidden: int = 4096
    """Width of the projector's hidden layers."""
    projector_dim: int = 256
    """Width of the projections and predictions."""
    projector_layers: int = 2
    """Number of layers of the projector: 2 in the paper; 1 is a linear map."""
    projector_norm: Literal["batch", "layer", "none"] = "batch"
    """Norm of the projector's hidden layers."""
    predictor_hidden: int = 4096
    """Width of the predictor's hidden layers; 0 removes the predictor, and BYOL then collapses."""
    predictor_layers: int = 2
    """Number of layers of the predictor: 2 in the paper; 1 is a linear map."""
    predictor_norm: Literal["batch", "layer", "none"] = "batch"
    """Norm of the predictor's hidden layers."""
    output_bias: bool = False
    """Add a bias to the last layer of projector and predictor, as lightly's heads do."""
    target: Literal["average", "online"] = "average"
    """The network that makes the targets: the moving average, or the online network itself, which then also receives a
    gradient through the targets. To stop that gradient, set target average, target_start online and a constant decay of 0."""
    negatives: float = 0.0
    """β, the weight of the other images as negatives, in [0, 1]: 0 is BYOL; 1, without predictor and with target online, is
    SimCLR."""
    temperature: float = 0.1
    """α, the temperature of the negatives: .1 is best for SimCLR; with predictor and target, .3 and above are better."""
    loss_scale: float = 1.0
    """Factor on the optimised loss; 1 is the paper's. A recipe takes it from its source, because it changes the balance with
    weight decay and the updates that LARS does not adapt. Logs show the unscaled loss and the scaled gradient's norm."""

    def check(self, config: "Config") -> None:
        """Raise InputError on invalid options."""
        check_views(self.views, config.canvas or MAX_CANVAS)
        check_loss_scale(self.loss_scale)
        if not 0 <= self.decay <= 1:
            raise InputError(f"method.decay is {self.decay}; it must lie in [0, 1].")
        if not 0 <= self.negatives <= 1:
            raise InputError(f"method.negatives is {self.negatives}; it must lie in [0, 1].")
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"method.temperature is {self.temperature}; it must be a finite number above 0.")
        widths = (("projector_hidden", 1), ("projector_dim", 1), ("predictor_hidden", 0))
        for name, least in (*widths, ("projector_layers", 1), ("predictor_layers", 1)):
            if getattr(self, name) < least:
                raise InputError(f"method.{name} is {getattr(self, name)}; it must be at least {least}.")


def heads(options: BYOL, encoder: Any) -> tuple[BYOLMLP, BYOLMLP]:
    """Build the projector and the predictor for `encoder`."""
    mlp = functools.partial(
        BYOLMLP,
        features=options.projector_dim,
        output_bias=options.output_bias,
        initial=initial_of(encoder),
        dtype=encoder.dtype,
    )
    projector = mlp(hidden=options.projector_hidden, layers=options.projector_layers, norm=options.projector_norm)
    predictor = mlp(hidden=options.predictor_hidden, layers=options.predictor_layers, norm=options.predictor_norm)
    return projector, predictor


def cosines(
    predictions: Sequence[Float[Array, "n d"]], targets: Sequence[Float[Array, "n d"]]
) -> dict[str, Float[Array, ""]]:
    """The mean cosine of each view's predictions with the other view's targets, for the same image and for all others.

    Fetterman & Albrecht 2020, "Understanding self-supervised and contrastive learning with BYOL", detect collapse by the two:
    both are near 1 after collapse. The second is a product of sums minus the first, so no n x n matrix is computed. It is 0
    for a batch of one image.
    """
    same, other = jnp.float32(0), jnp.float32(0)
    count = len(predictions[0])
    for prediction, target in zip(predictions, reversed(targets), strict=True):
        p, t = (l2_normalize(jax.lax.stop_gradient(x).astype(jnp.float32)) for x in (prediction, target))
        own, all_pairs = jnp.sum(p * t), jnp.sum(p.sum(axis=0) * t.sum(axis=0))
        same += own / (2 * count)
        other += (all_pairs - own) / (2 * count * max(count - 1, 1))
    return {"positive_cosine": same, "negative_cosine": other}


def byol(options: BYOL, setup: Setup) -> Method:
    """BYOL with these options on `setup.backbone`."""
    encoder = setup.backbone
    projector, predictor = heads(options, encoder)
    decay = ema_schedule(options.decay, options.decay_schedule, setup.steps)
    online_stack = {"encoder": encoder, "projector": projector, "predictor": predictor}
    target_stack = {"encoder": without_drop_path(encoder), "projector": projector}
    averaged = options.target == "average"

    def init_networks(key, image_shape):
        online_key, target_key, predictor_key = jax.random.split(key, 3)
        heads = {"projector": projector}
        params, statistics = init_stack(setup, heads, online_key, image_shape)
        target, target_statistics = params, statistics
        if averaged and options.target_start == "own":
            target, target_statistics = init_stack(setup, heads, target_key, image_shape)
        predictor_params, predictor_aux = init(predictor, predictor_key, jnp.zeros((1, options.projector_dim)))
        aux = {"online": {**statistics, "predictor": predictor_aux}}
        if averaged:
            aux["target"] = {"params": target, "statistics": target_statistics}
        return {**params, "predictor": predictor_params}, aux

    def loss(params, aux, batch: Batch, key, step):
        # Each view has its own BatchNorm statistics, as in the paper's code, which runs one forward pass per view. All other
        # layers process both views in one pass, so each weight's gradient is summed over the devices once.
        x = interleave(batch.views)
        out, online = apply_stack(online_stack, params, aux["online"], x, views=2, key=key)
        h, t, p = out["encoder"], out["projector"], out["predictor"]
        new_aux = {"online": online}
        if averaged:
            # The target is a separate network with its own BatchNorm statistics.
            there = aux["target"]
            out, statistics = apply_stack(target_stack, there["params"], there["statistics"], x, views=2)
            t = out["projector"]
            new_aux["target"] = {"params": there["params"], "statistics": statistics}
        features, predictions, targets = h[0::2], (p[0::2], p[1::2]), (t[0::2], t[1::2])
        # The loss of each direction is 2 for unrelated outputs and 0 for constant ones.
        metrics = {"projection_std": spread(targets[0]), **cosines(predictions, targets)}
        if averaged:
            metrics["decay"] = decay(step)
        value = scale_gradient(compare(predictions, targets).mean(), options.loss_scale)
        return value, Output(new_aux, metrics, jax.lax.stop_gradient(features))

    def compare(predictions, targets):
        # Each view's prediction is compared with the other view's target; the two terms are summed, not averaged.
        if averaged and not options.negatives:
            # `byol_loss` stops the gradient through the targets.
            return byol_loss(predictions[0], targets[1]) + byol_loss(predictions[1], targets[0])
        if averaged:
            targets = jax.lax.stop_gradient(targets)
        # Targets from the online network receive a gradient, as in the paper (appendix F.4).
        return byol_contrastive(*predictions, *targets, negatives=options.negatives, temperature=options.temperature)

    def after_update(params, aux, step):
        if not averaged:
            return params, aux
        # The average uses the parameters after the optimiser's step. The target has no predictor.
        return params, {**aux, "target": moving_average(aux["target"], params, decay(step))}

    def evaluated(params, aux):
        return params["encoder"], aux["online"]["encoder"]

    return on_backbone(
        encoder,
        options.views,
        evaluated,
        init=init_networks,
        loss=loss,
        after_update=after_update,
        crosses="the negatives of an image" if options.negatives else "",
    )
