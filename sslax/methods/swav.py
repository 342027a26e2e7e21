"""SwAV: an image's crops are assigned to prototypes, and each crop is to predict the assignment of another.

Source: Caron et al. 2020, arXiv:2006.09882, section 3; facebookresearch/swav `main_swav.py` and `src/resnet50.py`.
"""

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax import optim
from sslax.augment import DINOViews
from sslax.losses import sinkhorn_knopp
from sslax.losses import swav as swav_loss
from sslax.methods.base import Batch, Method, Output, Setup, on_backbone, prototype_use, scale_gradient, spread
from sslax.methods.checks import check_options
from sslax.methods.queue import empty_queue, push
from sslax.methods.stack import apply_to_crops, crops_by_size, init_stack
from sslax.networks import MLPHead
from sslax.numerics import l2_normalize

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class SwAV:
    """SwAV's options; the defaults are the release's for ImageNet and a batch of 4096."""

    NAME: ClassVar[str] = "swav"

    views: DINOViews = DINOViews.swav()
    projector_hidden: int = 2048
    """Width of the projector's hidden layer."""
    projector_dim: int = 128
    """Width of the projections and of the prototypes, which are ℓ2-normalised."""
    prototypes: int = 3000
    """K, how many prototypes."""
    temperature: float = 0.1
    """τ of the predicted distribution over the prototypes."""
    epsilon: float = 0.05
    """ε of the assignment: smaller is sharper."""
    sinkhorn_iterations: int = 3
    """Iterations of Sinkhorn-Knopp; 0 is a softmax of each image by itself, with which SwAV collapses."""
    frozen_epochs: float = 1.0
    """Epochs in which the prototypes get no update at all. The release has 313 iterations, an epoch of batches of 4096."""
    queue: int = 0
    """Earlier projections of each large crop that are assigned with the batch; the release has 3840 with a batch of 256."""
    queue_start_epoch: int = 15
    """The first epoch, from 0, whose projections enter the queue, which is used once it is full."""
    separate_views: bool = False
    """BatchNorm statistics of each crop by itself, and not of all crops of a resolution together."""
    loss_scale: float = 1.0
    """Factor of the loss that is optimised, 1 being the paper's. The loss that is logged is the paper's."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"projector_hidden": 1, "projector_dim": 1, "prototypes": 2, "sinkhorn_iterations": 0}
        least |= {"frozen_epochs": 0, "queue": 0, "queue_start_epoch": 0}
        check_options(self, config, least=least, positive=("temperature", "epsilon"))


def swapped(scores: Float[Array, "c n k"], codes: Float[Array, "a n k"], *, temperature: float) -> Float[Array, "n"]:
    """The mean over the assigned crops, which come first, and over all other crops of what each predicts (equation 1)."""
    pairs = [(scores[c], codes[a]) for a in range(len(codes)) for c in range(len(scores)) if c != a]
    return jnp.stack([swav_loss(*pair, temperature=temperature) for pair in pairs]).mean(axis=0)


def assign(
    scores: Float[Array, "a n k"], *, epsilon: float, iterations: int, earlier: Float[Array, "a m k"] | None = None
) -> Float[Array, "a n k"]:
    """The codes of each crop's scores, assigned together with `earlier` ones, or without iterations each row by itself."""
    if not iterations:
        return jax.nn.softmax(jax.lax.stop_gradient(scores) / epsilon, axis=-1)
    own, together = scores.shape[1], scores if earlier is None else jnp.concatenate([earlier, scores], axis=1)
    codes = [sinkhorn_knopp(crop, temperature=epsilon, iterations=iterations)[-own:] for crop in together]
    return jnp.stack(codes)


def swav(options: SwAV, setup: Setup) -> Method:
    """SwAV with these options on `setup.backbone`."""
    encoder, dim = setup.backbone, options.projector_dim
    projector = MLPHead(options.projector_hidden, dim, hidden_bias=True, last_bias=True, dtype=encoder.dtype)
    stack = {"encoder": encoder, "projector": projector}
    outputs = functools.partial(apply_to_crops, separate=options.separate_views)
    sinkhorn = functools.partial(assign, epsilon=options.epsilon, iterations=options.sinkhorn_iterations)

    def init_networks(key, image_shape):
        networks_key, prototypes_key = jax.random.split(key)
        params, statistics = init_stack(setup, {"projector": projector}, networks_key, image_shape)
        # Torch's default for a layer, but for its scale.
        kernel = jax.random.uniform(prototypes_key, (dim, options.prototypes), minval=-1.0)
        aux = {"statistics": statistics}
        if options.queue:
            aux["queue"] = empty_queue(2, options.queue, dim)
        return {**params, "prototypes": {"kernel": normalized(kernel)}}, aux

    def normalized(kernel):
        return l2_normalize(kernel.T).T

    def loss(params, aux, batch: Batch, key, step):
        crops, kernel = crops_by_size(batch.views), params["prototypes"]["kernel"]
        out, statistics = outputs(stack, params, aux["statistics"], crops, key=key)
        z = l2_normalize(out["projector"])
        scores = jnp.matmul(z, kernel, precision="highest")
        new_aux = {**aux, "statistics": statistics}
        if options.queue:
            queue = aux["queue"]
            codes = jax.lax.cond(
                # As in the release: its last row is no longer 0, so it is full.
                jnp.any(queue["rows"][0, -1] != 0),
                lambda scores, rows, kernel: sinkhorn(scores, earlier=jnp.matmul(rows, kernel, precision="highest")),
                lambda scores, rows, kernel: sinkhorn(scores),
                *jax.lax.stop_gradient((scores[:2], queue["rows"], kernel)),
            )
            started = step // setup.steps_per_epoch >= options.queue_start_epoch
            new_aux["queue"] = push(queue, z[:2], setup.mesh, when=started)
        else:
            codes = sinkhorn(scores[:2])
        metrics = {"projection_std": spread(z[0]), "chance_loss": jnp.float32(math.log(options.prototypes))}
        value = swapped(scores, codes, temperature=options.temperature).mean()
        output = Output(new_aux, metrics | prototype_use(codes), jax.lax.stop_gradient(out["encoder"][0]))
        return scale_gradient(value, options.loss_scale), output

    def after_update(params, aux, step):
        # The release does it before a step, which is the same.
        return {**params, "prototypes": {"kernel": normalized(params["prototypes"]["kernel"])}}, aux

    def optimizer(tx):
        return optim.hold(tx, optim.named("prototypes"), steps=round(options.frozen_epochs * setup.steps_per_epoch))

    def evaluated(params, aux):
        return params["encoder"], aux["statistics"]["encoder"]

    crosses = ["the codes that Sinkhorn-Knopp assigns"] if options.sinkhorn_iterations else []
    crosses += ["the projections that enter the queue at once"] if options.queue else []
    return on_backbone(
        encoder,
        options.views,
        evaluated,
        init=init_networks,
        loss=loss,
        after_update=after_update,
        optimizer=optimizer,
        crosses=", ".join(crosses),
    )
