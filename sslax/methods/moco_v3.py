"""MoCo v3: each view's query finds the key that a slow average of the network makes of the other view of its image.

Source: Chen et al. 2021, arXiv:2104.02057, Algorithm 1; facebookresearch/moco-v3 `moco/builder.py` and `main_moco.py`.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sslax import optim
from sslax.augment import BYOLViews
from sslax.losses import info_nce
from sslax.methods.base import Batch, Method, Output, Setup, ema_schedule, on_backbone, scale_gradient, spread
from sslax.methods.checks import check_options
from sslax.methods.contrast import over_devices
from sslax.methods.queue import push, random_queue
from sslax.methods.stack import apply_stack, init_stack, interleave, moving_average, target_of
from sslax.networks import MLPHead, ViT, without_drop_path
from sslax.numerics import l2_normalize

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class MoCoV3:
    """MoCo v3's options. The defaults are the release's for a ResNet-50 and 100 epochs.

    For ViTs the release has `projector_layers=3`, `predictor_norm="plain"`, `temperature=0.2` and, with `network.initial`
    moco-v3, fixed sine-cosine positions.
    """

    NAME: ClassVar[str] = "moco-v3"

    views: BYOLViews = BYOLViews(semantics="torchvision", interpolation="bilinear")
    projector_layers: int = 2
    """Layers of the projector: 2 for ResNets, 3 for ViTs."""
    projector_hidden: int = 4096
    """Width of the projector's hidden layers."""
    projector_dim: int = 256
    """Width of queries and keys."""
    projector_norm: Literal["none", "plain", "affine"] = "plain"
    """BatchNorm after the projector's last layer: none, plain (neither scale nor offset) or affine."""
    predictor_layers: int = 2
    """Layers of the predictor; 0 is no predictor."""
    predictor_hidden: int = 4096
    """Width of the predictor's hidden layers."""
    predictor_norm: Literal["none", "plain", "affine"] = "none"
    """BatchNorm after the predictor's last layer: none for ResNets, plain for ViTs."""
    temperature: float = 1.0
    """τ: 1 for ResNets, 0.2 for ViTs."""
    decay: float = 0.99
    """The target's decay at the start: .99 for 100 and 300 epochs, .996 for 1000."""
    decay_schedule: Literal["cosine", "constant"] = "cosine"
    """How the decay goes on: to 1 along a cosine, or constant."""
    freeze_patch_embedding: bool = True
    """Leave a ViT's patch embedding as it is drawn, which keeps the training stable (section 4.2). ResNets have none."""
    queue: int = 0
    """Keys of earlier batches that are further negatives, for each view; 0 is MoCo v3. MoCo v2 has 65536."""
    loss_scale: float = 1.0
    """Factor of the loss that is optimised, 1 being the paper's. The loss that is logged is the paper's."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"projector_layers": 1, "projector_hidden": 1, "projector_dim": 1, "predictor_layers": 0}
        least |= {"predictor_hidden": 1, "queue": 0}
        check_options(self, config, least=least, positive=("temperature",), shares=("decay",))


Views = Sequence[Float[Array, "n d"]]


def symmetric(
    queries: Views, keys: Views, *, temperature: float, mesh: Mesh, queue: Float[Array, "2 m d"] | None = None
) -> Float[Array, "n"]:
    """2τ times InfoNCE of each view's query among the keys of the other view, both directions added (Algorithm 1)."""
    loss = functools.partial(info_nce, temperature=temperature)
    (q1, q2), (k1, k2) = queries, jax.lax.stop_gradient(tuple(keys))
    earlier1, earlier2 = (None, None) if queue is None else jax.lax.stop_gradient(queue)
    one = over_devices(loss, mesh, q1, k2, negatives=earlier2)
    return 2 * temperature * (one + over_devices(loss, mesh, q2, k1, negatives=earlier1))


def moco_v3(options: MoCoV3, setup: Setup) -> Method:
    """MoCo v3 with these options on `setup.backbone`."""
    encoder, dim = setup.backbone, options.projector_dim
    mlp = functools.partial(MLPHead, features=dim, dtype=encoder.dtype)
    projector = mlp(options.projector_hidden, layers=options.projector_layers, last_norm=options.projector_norm)
    predictor = mlp(options.predictor_hidden, layers=options.predictor_layers, last_norm=options.predictor_norm)
    heads = {"projector": projector, "predictor": predictor}
    online_stack = {"encoder": encoder, **heads}
    target_stack = {"encoder": without_drop_path(encoder), "projector": projector}
    decay = ema_schedule(options.decay, options.decay_schedule, setup.steps)

    def init_networks(key, image_shape):
        networks_key, queue_key = jax.random.split(key)
        params, statistics = init_stack(setup, heads, networks_key, image_shape)
        # The target starts as the online network, and has no predictor.
        aux = {"online": statistics, "target": target_of(target_stack, params, statistics)}
        if options.queue:
            aux["queue"] = random_queue(queue_key, 2, options.queue, dim)
        return params, aux

    def loss(params, aux, batch: Batch, key, step):
        # Each view has BatchNorm statistics of its own, as in the release, where it has a forward of its own.
        x, target = interleave(batch.views), aux["target"]
        out, online = apply_stack(online_stack, params, aux["online"], x, views=2, key=key)
        q, features = out["predictor"], jax.lax.stop_gradient(out["encoder"][0::2])
        out, statistics = apply_stack(target_stack, target["params"], target["statistics"], x, views=2)
        k = l2_normalize(out["projector"])
        keys = k[0::2], k[1::2]
        new_aux = {**aux, "online": online, "target": {**target, "statistics": statistics}}
        earlier = aux["queue"]["rows"] if options.queue else None
        losses = symmetric((q[0::2], q[1::2]), keys, temperature=options.temperature, mesh=setup.mesh, queue=earlier)
        if options.queue:
            # Each view's keys have a ring of their own, as in solo-learn's `mocov2plus.py`.
            new_aux["queue"] = push(aux["queue"], jnp.stack(keys), setup.mesh)
        # Constant outputs find all keys alike.
        chance = 4 * options.temperature * math.log(len(k) // 2 + options.queue)
        metrics = {"projection_std": spread(keys[0]), "decay": decay(step), "chance_loss": jnp.float32(chance)}
        return scale_gradient(losses.mean(), options.loss_scale), Output(new_aux, metrics, features)

    def after_update(params, aux, step):
        # The release moves the target before it makes a step's keys, by that step's decay and parameters. These are the
        # parameters that the step before left, so this is the same, and holds for all micro-batches of a step.
        return params, {**aux, "target": moving_average(aux["target"], params, decay(step + 1))}

    def optimizer(tx):
        if not isinstance(encoder, ViT):
            return tx
        names = ["patch_embed"] if options.freeze_patch_embedding else []
        names += ["pos_embed"] if encoder.fixed_positions else []
        return optim.freeze(tx, optim.named(*names)) if names else tx

    def evaluated(params, aux):
        return params["encoder"], aux["online"]["encoder"]

    return on_backbone(
        encoder,
        options.views,
        evaluated,
        init=init_networks,
        loss=loss,
        after_update=after_update,
        optimizer=optimizer,
        crosses="the negatives of an image" + (", the keys that enter the queue at once" if options.queue else ""),
    )
