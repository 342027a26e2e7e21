"""DINOv2: DINO on [CLS], iBOT on masked patches, and KoLeo, which spreads the features of a batch.

Source: Oquab et al. 2023, arXiv:2304.07193, section 4; facebookresearch/dinov2 `train/ssl_meta_arch.py`, `loss/` and
`configs/ssl_default_config.yaml`. Known deviation: Sinkhorn-Knopp and centring weigh all masked patches of the batch alike; the
release averages the centres of its GPUs.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sslax import optim
from sslax.augment import DINOViews
from sslax.errors import InputError
from sslax.losses import dino as dino_loss
from sslax.losses import ibot as patch_loss
from sslax.losses import koleo, update_center
from sslax.methods.base import Batch, Method, Output, Setup, ema_schedule, on_backbone, scale_gradient
from sslax.methods.checks import check_options
from sslax.methods.masking import group_masks
from sslax.methods.patches import (
    apply_heads,
    check_masks,
    heads_of,
    init_masked,
    move_teacher,
    teacher_backbone,
    tokens_of_crops,
)
from sslax.methods.stack import crops_by_size
from sslax.methods.teacher import cls_metrics, log_targets, patch_metrics, rising
from sslax.networks import without_drop_path

if TYPE_CHECKING:
    from sslax.config import Config


CENTERS = ("center", "patch_center")


@dataclasses.dataclass(frozen=True)
class DINOv2:
    """DINOv2's options; the defaults are the paper's, and otherwise those of the release's configuration for ImageNet-1k.

    That configuration has `sinkhorn=0` and `shared_head=True`.
    """

    NAME: ClassVar[str] = "dinov2"

    views: DINOViews = DINOViews(global_area=(0.32, 1.0), local_area=(0.05, 0.32))
    prototypes: int = 65536
    """K, the width of the head's output."""
    shared_head: bool = False
    """One head for [CLS] and patches; otherwise one for each."""
    patch_prototypes: int = 65536
    """Width of the patches' own head, if they have one."""
    head_layers: int = 3
    """Number of layers of a head's MLP, including the bottleneck."""
    head_hidden: int = 2048
    """Width of a head's hidden layers."""
    head_bottleneck: int = 256
    """Width of the ℓ2-normalised bottleneck; 0 removes it."""
    norm_last_layer: bool = False
    """Fix the gain of the weight-normed last layers at 1."""
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    """Smallest and largest share of a crop's patches that is masked; the masked crops of a group are spread over this range."""
    mask_share: float = 0.5
    """Share of the global crops that have masked patches."""
    group: int = 64
    """Number of images, one GPU's in the release, whose crops share out the masks and in which KoLeo looks for neighbours; a
    smaller batch is one group."""
    cls_weight: float = 1.0
    """Weight of the loss of [CLS]."""
    patch_weight: float = 1.0
    """Weight of the loss of masked patches."""
    koleo_weight: float = 0.1
    """Weight of KoLeo, which is added for each of the two global crops."""
    sinkhorn: int = 3
    """Iterations of Sinkhorn-Knopp on the teacher's outputs over the batch, which replaces centring; 0 uses centring."""
    student_temperature: float = 0.1
    """τ_s."""
    teacher_temperature: float = 0.07
    """τ_t after its warmup."""
    teacher_temperature_start: float = 0.04
    """τ_t in the first step; it then rises linearly, step by step."""
    teacher_temperature_epochs: int = 30
    """Number of epochs of this warmup; 0 disables it."""
    centering: bool = True
    """Without Sinkhorn-Knopp, subtract a centre from the teacher's logits, one for [CLS] and one for patches."""
    center_momentum: float = 0.9
    """Momentum of both centres."""
    decay: float = 0.992
    """The initial decay of the teacher's moving average; it rises to 1 along a cosine."""
    layer_decay: float = 0.9
    """Factor of the learning rate from one block to the one before it."""
    patch_embedding_rate: float = 0.2
    """Factor of the patch embedding's learning rate."""
    clip: float = 3.0
    """Maximum gradient norm of the backbone and of each head; 0 disables clipping."""
    frozen_epochs: float = 1.0
    """Number of epochs at the start in which the last layers are not updated."""
    loss_scale: float = 1.0
    """Factor on the optimised loss; 1 is the paper's. Logs show the unscaled loss."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"prototypes": 2, "patch_prototypes": 2, "head_layers": 1, "head_hidden": 1, "head_bottleneck": 0}
        least |= {"sinkhorn": 0, "teacher_temperature_epochs": 0, "clip": 0, "frozen_epochs": 0, "group": 2}
        least |= dict.fromkeys(("cls_weight", "patch_weight", "koleo_weight"), 0)
        positive = ["student_temperature", "teacher_temperature", "teacher_temperature_start"]
        positive += ["layer_decay", "patch_embedding_rate"]
        check_options(self, config, least=least, positive=positive, shares=("decay", "center_momentum", "layer_decay"))
        check_masks(self, config)
        images = config.batch_size // config.accumulate
        if images < 2:
            raise InputError(f"accumulate is {config.accumulate}; KoLeo needs micro-batches of at least 2 images.")
        if images > self.group and images % self.group:
            raise InputError(f"method.group is {self.group}; it must divide the {images} images of a (micro-)batch.")


def dinov2(options: DINOv2, setup: Setup) -> Method:
    """DINOv2 with these options on `setup.backbone`, a ViT."""
    student_encoder, encoder = setup.backbone.clone(mask_token=True), without_drop_path(setup.backbone)
    heads = heads_of(options, encoder.dtype)
    decay = ema_schedule(options.decay, "cosine", setup.steps)
    drawn = {"side": options.views.size // encoder.patch_size, "group": options.group}
    drawn |= {"between": options.mask_ratio, "share": options.mask_share, "mesh": setup.mesh}
    warmup = options.teacher_temperature_epochs * setup.steps_per_epoch

    def init_networks(key, image_shape):
        return init_masked(setup, heads, key, image_shape)

    def outputs(encoder, params, statistics, crops, masked, **seen):
        """[CLS] of all crops, its logits, and the logits of the masked patches, in groups."""
        cls, patches = tokens_of_crops(encoder, params["encoder"], crops, **seen)
        rows = masked.take(patches)
        by_group = cls.reshape(len(rows), -1, cls.shape[-1])
        logits, patch_logits, _ = apply_heads(heads, params, statistics, by_group, rows)
        return cls, jnp.moveaxis(logits.reshape(*cls.shape[:2], -1), 1, 0), patch_logits

    def loss(params, aux, batch: Batch, key, step):
        crops, there = crops_by_size(batch.views), aux["teacher"]
        mask_key, path_key = jax.random.split(key)
        masked = group_masks(mask_key, len(crops[0]), **drawn)
        cls, student, student_patches = outputs(
            student_encoder, params, aux["student"], crops, masked, masks=masked.masks, key=path_key
        )
        # The teacher sees the global crops, and all of their patches. It receives no gradient.
        features, teacher, teacher_patches = jax.lax.stop_gradient(
            outputs(encoder, there["params"], there["statistics"], crops[:1], masked)
        )

        now = rising(options.teacher_temperature_start, options.teacher_temperature, warmup, step)
        center, patch_center = (aux[n] if options.centering else jnp.zeros_like(aux[n]) for n in CENTERS)
        log_q = log_targets(teacher, center, now, sinkhorn=options.sinkhorn)
        patch_log_q = log_targets(teacher_patches, patch_center, now, sinkhorn=options.sinkhorn, where=masked.taken)
        # At a temperature of 1, the softmax of the logarithms is the targets.
        temperatures = {"student_temperature": options.student_temperature, "teacher_temperature": 1.0}
        cls_loss = dino_loss(student, log_q, jnp.zeros(options.prototypes), **temperatures).mean()
        rows = masked.rows(student_patches), jnp.exp(masked.rows(patch_log_q)), masked.rows(masked.taken)
        losses = patch_loss(*rows, temperature=options.student_temperature).reshape(masked.taken.shape)
        # Of each crop that has masked patches the mean over them, and 0 of all others.
        masked_loss = (masked.weights * losses).sum()
        spread = nearest(cls[:, 0], len(masked.places)) + nearest(cls[:, 1], len(masked.places))
        value = options.cls_weight * cls_loss + options.patch_weight * masked.share * masked_loss
        value = value + options.koleo_weight * spread

        new_aux = jax.lax.stop_gradient(aux)
        if not options.sinkhorn:
            # After the loss; only masked patches count.
            taken = masked.taken[:, :, None]
            mean = jnp.where(taken, teacher_patches, 0).sum(axis=(0, 1)) / jnp.maximum(taken.sum(), 1)
            for name, logits in (("center", teacher), ("patch_center", mean[None, None])):
                new_aux[name] = update_center(aux[name], logits, momentum=options.center_momentum)
        metrics = cls_metrics(log_q, cls_loss) | patch_metrics(patch_log_q, masked_loss, masked.weights)
        metrics |= {"teacher_temperature": now, "koleo": jax.lax.stop_gradient(spread)}
        return scale_gradient(value, options.loss_scale), Output(new_aux, metrics, features[:, 0])

    def after_update(params, aux, step):
        return move_teacher(params, aux, decay(step))

    def optimizer(tx):
        tx = optim.hold(tx, optim.named("last_layer"), steps=round(options.frozen_epochs * setup.steps_per_epoch))
        factors = optim.vit_rates(layer_decay=options.layer_decay, patch_embedding=options.patch_embedding_rate)
        tx = optim.scale_rates(tx, factors)
        return optax.chain(optim.clip_parts(options.clip), tx) if options.clip else tx

    crosses = ["KoLeo's nearest neighbours"] if options.koleo_weight else []
    crosses += ["the targets that Sinkhorn-Knopp assigns"] if options.sinkhorn else []
    return on_backbone(
        encoder,
        options.views,
        teacher_backbone,
        init=init_networks,
        loss=loss,
        after_update=after_update,
        optimizer=optimizer,
        means=CENTERS,
        crosses=", ".join(crosses),
    )


def nearest(cls: Float[Array, "n d"], groups: int) -> Float[Array, ""]:
    """The mean of KoLeo within each group."""
    return jax.vmap(koleo)(cls.reshape(groups, -1, cls.shape[-1])).mean()
