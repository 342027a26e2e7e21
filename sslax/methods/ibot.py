"""iBOT: DINO on [CLS], and on patches: the student predicts the teacher's distributions of patches that it does not see.

Source: Zhou et al. 2022, arXiv:2111.07832, section 3 and Algorithm 1; bytedance/ibot `main_ibot.py`, `loader.py` and
`models/head.py`. Known deviation: without a shared head, [CLS] and patches have a head each; the release's two share all but
the last layer.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Key

from sslax import optim
from sslax.augment import DINOViews
from sslax.losses import dino as dino_loss
from sslax.losses import ibot as patch_loss
from sslax.losses import update_center
from sslax.methods.base import Batch, Method, Output, Setup, ema_schedule, on_backbone, scale_gradient
from sslax.methods.checks import check_options
from sslax.methods.masking import block_masks, random_ratios
from sslax.methods.patches import (
    apply_heads,
    check_masks,
    heads_of,
    init_masked,
    mean_weights,
    move_teacher,
    teacher_backbone,
    tokens_of_crops,
)
from sslax.methods.stack import crops_by_size
from sslax.methods.teacher import cls_metrics, log_targets, patch_metrics, rising
from sslax.networks import without_drop_path

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class IBOT:
    """iBOT's options; the defaults are the paper's for ViTs, and those of the release's command for ViT-S/16."""

    NAME: ClassVar[str] = "ibot"

    views: DINOViews = DINOViews(global_area=(0.25, 1.0), local_area=(0.05, 0.25), local_crops=10)
    prototypes: int = 8192
    """K, the width of the head's output."""
    shared_head: bool = True
    """One head for [CLS] and patches; otherwise one for each."""
    patch_prototypes: int = 8192
    """Width of the patches' own head, if they have one."""
    head_layers: int = 3
    """Number of layers of a head's MLP, including the bottleneck."""
    head_hidden: int = 2048
    """Width of a head's hidden layers."""
    head_bottleneck: int = 256
    """Width of the ℓ2-normalised bottleneck; 0 removes it."""
    head_batch_norm: bool = False
    """Use BatchNorm in the heads, an option of the release."""
    norm_last_layer: bool = False
    """Fix the gain of the weight-normed last layers at 1, as the release does for ViT-B."""
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    """Smallest and largest share of a crop's patches that is masked: 0.3 ± 0.2."""
    mask_share: float = 0.5
    """Probability that a global crop has masked patches."""
    cls_weight: float = 1.0
    """Weight of the loss of [CLS]."""
    patch_weight: float = 1.0
    """Weight of the loss of masked patches."""
    sinkhorn: int = 0
    """Iterations of Sinkhorn-Knopp over the batch, which replaces centring, as in DINOv2; 0 uses centring."""
    student_temperature: float = 0.1
    """τ_s."""
    teacher_temperature: float = 0.07
    """τ_t of [CLS] after its warmup."""
    patch_temperature: float = 0.07
    """τ_t of patches after its warmup."""
    teacher_temperature_start: float = 0.04
    """τ_t of both in the first epoch; it then rises linearly, epoch by epoch."""
    teacher_temperature_epochs: int = 30
    """Number of epochs of this warmup; 0 disables it."""
    centering: bool = True
    """Subtract a centre from the teacher's logits, one for [CLS] and one for patches."""
    center_momentum: float = 0.9
    """Momentum of both centres."""
    decay: float = 0.996
    """The initial decay of the teacher's moving average; it rises to 1 along a cosine."""
    clip: float = 3.0
    """Maximum gradient norm of each tensor; 0 disables clipping."""
    frozen_epochs: float = 1.0
    """Number of epochs at the start in which the last layers are not updated."""
    loss_scale: float = 1.0
    """Factor on the optimised loss; 1 is the paper's. Logs show the unscaled loss."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"prototypes": 2, "patch_prototypes": 2, "head_layers": 1, "head_hidden": 1, "head_bottleneck": 0}
        least |= {"sinkhorn": 0, "teacher_temperature_epochs": 0, "clip": 0, "frozen_epochs": 0}
        least |= {"cls_weight": 0, "patch_weight": 0}
        temperatures = ("student_temperature", "teacher_temperature", "patch_temperature", "teacher_temperature_start")
        check_options(self, config, least=least, positive=temperatures, shares=("decay", "center_momentum"))
        check_masks(self, config)


def masks_of(options: IBOT, key: Key[Array, ""], crops: int, *, side: int, mesh: Mesh) -> Bool[Array, "crops t"]:
    """The masks of this many global crops with side x side patches."""
    ratio_key, block_key = jax.random.split(key)
    ratios = random_ratios(ratio_key, crops, between=options.mask_ratio, probability=options.mask_share)
    return block_masks(block_key, ratios * side * side, side=side, smallest=(side // 3) ** 2, mesh=mesh)


def ibot(options: IBOT, setup: Setup) -> Method:
    """iBOT with these options on `setup.backbone`, a ViT."""
    student_encoder, encoder = setup.backbone.clone(mask_token=True), without_drop_path(setup.backbone)
    heads = heads_of(options, encoder.dtype, batch_norm=options.head_batch_norm)
    side = options.views.size // encoder.patch_size
    decay = ema_schedule(options.decay, "cosine", setup.steps)

    def init_networks(key, image_shape):
        return init_masked(setup, heads, key, image_shape)

    def outputs(encoder, params, statistics, crops, **masked):
        cls, patches = tokens_of_crops(encoder, params["encoder"], crops, **masked)
        flat = patches.reshape(len(patches), -1, patches.shape[-1])
        logits, patch_logits, statistics = apply_heads(heads, params, statistics, cls, flat)
        return cls, jnp.moveaxis(logits, 1, 0), patch_logits, statistics

    def loss(params, aux, batch: Batch, key, step):
        crops, there = crops_by_size(batch.views), aux["teacher"]
        mask_key, path_key = jax.random.split(key)
        masks = masks_of(options, mask_key, 2 * len(crops[0]), side=side, mesh=setup.mesh)
        _, student, student_patches, student_aux = outputs(
            student_encoder, params, aux["student"], crops, masks=masks, key=path_key
        )
        # The teacher sees the global crops, and all of their patches. It receives no gradient.
        features, teacher, teacher_patches, teacher_aux = jax.lax.stop_gradient(
            outputs(encoder, there["params"], there["statistics"], crops[:1])
        )

        def targets(logits, name, temperature):
            center = aux[name] if options.centering else jnp.zeros_like(aux[name])
            warmup, epoch = options.teacher_temperature_epochs, step // setup.steps_per_epoch
            now = rising(options.teacher_temperature_start, temperature, warmup, epoch)
            return now, log_targets(logits, center, now, sinkhorn=options.sinkhorn)

        now, log_q = targets(teacher, "center", options.teacher_temperature)
        _, patch_log_q = targets(teacher_patches, "patch_center", options.patch_temperature)
        by_crop = (len(masks), side * side, -1)
        patch_log_q = patch_log_q.reshape(by_crop)
        temperatures = {"student_temperature": options.student_temperature, "teacher_temperature": 1.0}
        # At a temperature of 1, the softmax of the logarithms is the targets.
        cls_loss = dino_loss(student, log_q, jnp.zeros(options.prototypes), **temperatures).mean()
        losses = patch_loss(
            student_patches.reshape(by_crop), jnp.exp(patch_log_q), masks, temperature=options.student_temperature
        )
        value = options.cls_weight * cls_loss + options.patch_weight * losses.mean()

        new_aux = {"student": student_aux, "teacher": {**there, "statistics": teacher_aux}}
        for name, logits in (("center", teacher), ("patch_center", teacher_patches)):
            # After the loss; the mean is over all patches, masked or not.
            new_aux[name] = update_center(aux[name], logits, momentum=options.center_momentum)
        metrics = cls_metrics(log_q, cls_loss) | {"teacher_temperature": now}
        masked_loss = losses.sum() / jnp.maximum(masks.any(axis=1).sum(), 1)
        metrics |= patch_metrics(patch_log_q, masked_loss, mean_weights(masks))
        return scale_gradient(value, options.loss_scale), Output(new_aux, metrics, features[:, 0])

    def after_update(params, aux, step):
        return move_teacher(params, aux, decay(step))

    def optimizer(tx):
        tx = optim.hold(tx, optim.named("last_layer"), steps=round(options.frozen_epochs * setup.steps_per_epoch))
        return optax.chain(optim.clip_each(options.clip), tx) if options.clip else tx

    return on_backbone(
        encoder,
        options.views,
        teacher_backbone,
        init=init_networks,
        loss=loss,
        after_update=after_update,
        optimizer=optimizer,
        means=("center", "patch_center"),
        crosses="the targets that Sinkhorn-Knopp assigns" if options.sinkhorn else "",
    )
