"""DINO: the student learns to match the teacher's distribution over K learned prototypes, across crops of an image.

Source: Caron et al. 2021, arXiv:2104.14294, section 3 and Algorithm 1; facebookresearch/dino `main_dino.py`.
"""

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sslax import optim
from sslax.augment import DINOViews, check_views
from sslax.data import MAX_CANVAS
from sslax.errors import InputError
from sslax.losses import dino as dino_loss
from sslax.losses import dino_mse, sinkhorn_knopp, update_center
from sslax.methods.base import (
    Batch,
    Method,
    Output,
    Setup,
    check_loss_scale,
    ema_schedule,
    on_backbone,
    scale_gradient,
)
from sslax.methods.stack import apply_to_crops, crops_by_size, init_stack, moving_average
from sslax.methods.teacher import rising, target_metrics
from sslax.networks import DINOHead, initial_of, without_drop_path

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class DINO:
    """DINO's options; the defaults are the paper's.

    The released code's defaults differ in one value: its teacher temperature is .04 throughout (`teacher_temperature=0.04`).
    """

    NAME: ClassVar[str] = "dino"

    views: DINOViews = DINOViews()
    prototypes: int = 65536
    """K, the width of the head's output."""
    head_layers: int = 3
    """Number of layers of the head's MLP, including the bottleneck. The paper's table of depths also counts the layer after
    the bottleneck: its 4 is 3 here, or 4 without a bottleneck."""
    head_hidden: int = 2048
    """Width of the head's hidden layers."""
    head_bottleneck: int = 256
    """Width of the ℓ2-normalised bottleneck; 0 removes it: the MLP's last layer then outputs the K logits directly."""
    head_batch_norm: bool = False
    """Use BatchNorm in the head, as the released code's option for ResNets does."""
    norm_last_layer: bool = True
    """Fix the gain of the weight-normed last layer at 1."""
    predictor: bool = False
    """Add a BYOL-style predictor on the student's bottleneck, with one hidden layer of `head_hidden`; the teacher has none."""
    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    """The student's loss: the cross-entropy to the teacher's distribution, or the squared distance between the ℓ2-normalised
    outputs (the teacher's after centring), which uses no temperature."""
    sinkhorn: int = 0
    """Iterations of Sinkhorn-Knopp on the teacher's output over the batch, which replaces centring: SwAV uses 3; 1 is the
    paper's softmax over the batch; 0 uses centring instead."""
    student_temperature: float = 0.1
    """τ_s."""
    teacher_temperature: float = 0.07
    """τ_t after its warmup."""
    teacher_temperature_start: float = 0.04
    """τ_t in the first epoch; it then rises linearly, epoch by epoch, to teacher_temperature."""
    teacher_temperature_epochs: int = 30
    """Number of epochs of this warmup; 0 disables it."""
    centering: bool = True
    """Subtract the centre from the teacher's logits; without it, one dimension comes to dominate."""
    center_momentum: float = 0.9
    """Momentum of the centre."""
    decay: float = 0.996
    """The initial decay of the teacher's moving average."""
    decay_schedule: Literal["cosine", "constant"] = "cosine"
    """Schedule of the decay: it rises to 1 along a cosine, as in the paper, or stays constant."""
    clip: float = 3.0
    """Maximum gradient norm of each tensor; 0 disables clipping."""
    frozen_epochs: float = 1.0
    """Number of epochs at the start in which the last layer is not updated."""
    separate_views: bool = False
    """Compute BatchNorm statistics of each crop separately, as one forward pass per crop would, instead of over all crops."""
    evaluate: Literal["teacher", "student"] = "teacher"
    """The backbone that is evaluated and exported: the teacher's, as in the paper, or the student's, as in lightly's
    benchmarks."""
    loss_scale: float = 1.0
    """Factor on the optimised loss; 1 is the paper's. A recipe takes it from its source, because it changes the balance with
    weight decay and clipping. Logs show the unscaled loss and the scaled gradient's norm."""

    def check(self, config: "Config") -> None:
        """Raise InputError on invalid options."""
        check_views(self.views, config.canvas or MAX_CANVAS)
        check_loss_scale(self.loss_scale)
        for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"method.{name} is {getattr(self, name)}; it must be a finite number above 0.")
        for name in ("decay", "center_momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"method.{name} is {getattr(self, name)}; it must lie in [0, 1].")
        lowest = {"prototypes": 2, "head_layers": 1, "head_hidden": 1, "head_bottleneck": 0, "sinkhorn": 0}
        for name, least in (lowest | {"teacher_temperature_epochs": 0, "clip": 0, "frozen_epochs": 0}).items():
            if not getattr(self, name) >= least:
                raise InputError(f"method.{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.loss not in ("cross-entropy", "mse"):
            raise InputError(f"method.loss is {self.loss!r}; it must be 'cross-entropy' or 'mse'.")
        if self.loss == "mse" and self.sinkhorn:
            raise InputError(
                f"method.sinkhorn is {self.sinkhorn}; with method.loss mse, which compares no distributions, it must be 0."
            )
        if self.predictor and not self.head_bottleneck:
            raise InputError(
                "method.predictor is True; it predicts the bottleneck, so method.head_bottleneck must be at least 1."
            )


def teacher_temperatures(options: DINO, epoch: jax.Array | int) -> jax.Array:
    """τ_t of an epoch: a linspace over the warmup's epochs that includes both ends, then constant."""
    start, epochs = options.teacher_temperature_start, options.teacher_temperature_epochs
    return rising(start, options.teacher_temperature, epochs, epoch)


def target_logits(
    options: DINO, teacher: Float[Array, "t n k"], center: Float[Array, "k"], temperature: Float[Array, ""]
) -> tuple[Float[Array, "t n k"], Float[Array, "k"]]:
    """Logits and centre such that `softmax((logits - centre) / temperature)` is the student's target distribution.

    Without Sinkhorn-Knopp they are the teacher's logits and the running centre. Sinkhorn-Knopp (the paper's appendix B)
    replaces centring; a centre would not change its result. It runs on each crop separately, as in SwAV's release; the
    paper's code for it takes n x K logits, with n the number of images, and does not specify this.
    """
    if not options.sinkhorn:
        return teacher, center if options.centering else jnp.zeros_like(center)
    assign = functools.partial(sinkhorn_knopp, temperature=temperature, iterations=options.sinkhorn)
    q = jnp.stack([assign(crop) for crop in teacher])
    # An assignment can underflow to 0; clamping it to the smallest normal float keeps its logarithm finite.
    return temperature * jnp.log(jnp.maximum(q, jnp.finfo(q.dtype).tiny)), jnp.zeros_like(center)


def dino(options: DINO, setup: Setup) -> Method:
    """DINO with these options on `setup.backbone`."""
    encoder = setup.backbone
    head = DINOHead(
        features=options.prototypes,
        layers=options.head_layers,
        hidden=options.head_hidden,
        bottleneck=options.head_bottleneck,
        batch_norm=options.head_batch_norm,
        norm_last_layer=options.norm_last_layer,
        predictor=options.predictor,
        initial=initial_of(encoder),
        dtype=encoder.dtype,
    )
    # Only the student has stochastic depth and a predictor.
    teacher_encoder = without_drop_path(encoder)
    student_stack = {"encoder": encoder, "head": head}
    teacher_stack = {"encoder": teacher_encoder, "head": head.clone(predictor=False)}
    decay = ema_schedule(options.decay, options.decay_schedule, setup.steps)
    outputs = functools.partial(apply_to_crops, separate=options.separate_views)

    def init_networks(key, image_shape):
        params, statistics = init_stack(setup, {"head": head}, key, image_shape)
        # The teacher starts as a copy of the student and is its moving average from then on.
        teacher = {"params": _without_predictor(params), "statistics": _without_predictor(statistics)}
        return params, {"student": statistics, "teacher": teacher, "center": jnp.zeros(options.prototypes)}

    def loss(params, aux, batch: Batch, key, step):
        resolutions, there = crops_by_size(batch.views), aux["teacher"]
        out, student_aux = outputs(student_stack, params, aux["student"], resolutions, key=key)
        student, student_features = out["head"], out["encoder"]
        # The teacher sees only the global crops; the student must match its output from the local crops too.
        out, teacher_aux = outputs(teacher_stack, there["params"], there["statistics"], resolutions[:1])
        teacher, features = out["head"], out["encoder"]
        # The teacher receives no gradient, even if a caller differentiates with respect to aux.
        teacher, features = jax.lax.stop_gradient((teacher, features))

        temperature = teacher_temperatures(options, step // setup.steps_per_epoch)
        target, center = target_logits(options, teacher, aux["center"], temperature)
        cross_entropy = dino_loss(
            student,
            target,
            center,
            student_temperature=options.student_temperature,
            teacher_temperature=temperature,
        ).mean()
        value = cross_entropy if options.loss == "cross-entropy" else dino_mse(student, target, center).mean()
        # The centre is updated after the loss. Its mean is over both global crops and, as the batch is one array, over all
        # devices.
        new_center = update_center(aux["center"], teacher, momentum=options.center_momentum)

        log_q = jax.nn.log_softmax((target - center[None, None]) / temperature, axis=-1)
        metrics = target_metrics(log_q, cross_entropy) | {"teacher_temperature": temperature}
        # The cross-entropy of a uniform output. The MSE loss has no such reference value.
        if options.loss != "mse":
            metrics["chance_loss"] = jnp.float32(math.log(options.prototypes))
        new_aux = {"student": student_aux, "teacher": {**there, "statistics": teacher_aux}, "center": new_center}
        seen = jax.lax.stop_gradient(student_features) if options.evaluate == "student" else features
        return scale_gradient(value, options.loss_scale), Output(new_aux, metrics, seen[0])

    def after_update(params, aux, step):
        # At a decay of 0, the teacher is a copy of the student after every step, without gradient: the paper's "no momentum".
        return params, {**aux, "teacher": moving_average(aux["teacher"], _without_predictor(params), decay(step))}

    def optimizer(tx):
        frozen = round(options.frozen_epochs * setup.steps_per_epoch)
        tx = optim.hold(tx, optim.named("last_layer"), steps=frozen)
        return optax.chain(optim.clip_each(options.clip), tx) if options.clip else tx

    def evaluated(params, aux):
        if options.evaluate == "student":
            return params["encoder"], aux["student"]["encoder"]
        return aux["teacher"]["params"]["encoder"], aux["teacher"]["statistics"]["encoder"]

    return on_backbone(
        teacher_encoder,
        options.views,
        evaluated,
        init=init_networks,
        loss=loss,
        after_update=after_update,
        optimizer=optimizer,
        means=("center",),
        crosses="the targets that Sinkhorn-Knopp assigns" if options.sinkhorn else "",
    )


def _without_predictor(tree):
    """Parameters or statistics of encoder and head without the predictor, as the teacher has them."""
    return {**tree, "head": {name: value for name, value in tree["head"].items() if name != "predictor"}}
