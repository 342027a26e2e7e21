"""Read the numbers that the audit compares from a configuration: one function per row name.

Numbers are those of a run: the learning rate after scaling, a view's probabilities by branch, the widths of a head on its
backbone. Branches that agree have one value; otherwise the value is a tuple in the order of the views.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

from experiments.sources.heads import (
    CONVOLUTIONS,
    VIT_STARTS,
    backbone,
    bottleneck,
    dino_head,
    feature_width,
    heads_start,
    last_norms,
    mlp_head,
    simclr_head,
)
from sslax.augment import Branch
from sslax.config import Config
from sslax.data.known import KNOWN
from sslax.networks import ViT, patch_side
from sslax.optim import scaled_learning_rate

# Training images of each set; for STL-10 the unlabelled images.
IMAGES = {name.removesuffix("2012"): known.unlabelled or known.train for name, known in KNOWN.items()}

COVERED = {True: "everything", False: "weights of two dimensions and more"}

Reader = Callable[[Config], Any]


def images(config: Config) -> str:
    """The name of the set: cifar10 for both `folder:data/cifar10` and `tfds:cifar10`."""
    return re.split(r"[:/]", config.data.removeprefix("tfds:").removesuffix(":unlabelled"))[-1]


def steps(config: Config) -> int:
    """Steps of the whole run; an epoch has only full batches."""
    return config.epochs * (IMAGES[images(config)] // config.batch_size)


@functools.lru_cache(maxsize=8)
def _branches(views: Any) -> tuple[Branch, ...]:
    return tuple(views.branches().values())


def stem(config: Config) -> str:
    """The first layers, in words."""
    network = backbone(config)
    patches = patch_side(config.network.name, stem=config.network.stem, patch_size=config.network.patch_size)
    if patches:
        return f"patches of {patches}"
    return "3x3 of stride 1" if network.stem == "small" else "7x7 of stride 2, then max-pool of stride 2"


def of_branches(read: Callable[[Branch], Any], chosen: Callable[[Branch], bool] = lambda _: True) -> Reader:
    """A value of the `chosen` branches: one if they agree, otherwise one per branch; None if no branch is chosen."""

    def reader(config: Config) -> Any:
        values = [read(branch) for branch in _branches(config.method.views) if chosen(branch)]
        if not values:
            return None
        return values[0] if all(value == values[0] for value in values) else tuple(values)

    return reader


def blurred(branch: Branch) -> bool:
    """Whether the branch has a blur."""
    return bool(branch.blur > 0)


def optimiser(config: Config) -> str:
    """The optimiser, with what LARS may have otherwise than its paper."""
    o = config.optim
    told: list[str] = [o.name]
    if o.name == "lars" and o.trust_coefficient != 1e-3:
        told += [f"trust coefficient {o.trust_coefficient:g}"]
    if o.name == "lars" and o.clip_trust:
        told += ["rates clipped"]
    return ", ".join(told)


def peak_rate(config: Config) -> Any:
    """The peak learning rate as a run has it; with that of biases and norms where they have their own."""
    o = config.optim
    rates = [o.lr] if o.bias_lr is None else [o.lr, o.bias_lr]
    peaks = tuple(scaled_learning_rate(lr, config.batch_size, rule=o.lr_scaling) for lr in rates)
    return peaks if len(peaks) > 1 else peaks[0]


def warmup(config: Config) -> str:
    """What the warmup comes from, and how."""
    o = config.optim
    return f"from {o.start_lr:g}" + {"step": " by equal steps", "dino": ", with both ends"}[o.warmup]


def teacher_temperature(config: Config) -> Any:
    """τ_t: a number, or its start, its final value and its epochs of warmup."""
    m = config.method
    if not m.teacher_temperature_epochs:
        return m.teacher_temperature
    return (m.teacher_temperature_start, m.teacher_temperature, m.teacher_temperature_epochs)


def field(path: str) -> Reader:
    """Reads the field at `path`."""

    def reader(config: Config) -> Any:
        value: Any = config
        for name in path.split("."):
            value = getattr(value, name)
        return value

    return reader


def constant(value: Any) -> Reader:
    """Reads a value that is the same for every configuration of the library."""
    return lambda config: value


READ: dict[str, Reader] = {
    "images": images,
    "epochs": field("epochs"),
    "batch size": field("batch_size"),
    "steps": steps,
    # The backbone.
    "network": field("network.name"),
    "stem": stem,
    "width of the features": feature_width,
    "depth": lambda c: getattr(backbone(c), "depth", None),
    "stochastic depth": field("network.drop_path"),
    "registers": field("network.registers"),
    "layer scale starts at": field("network.layer_scale"),
    "MLP": lambda c: f"{vit.mlp}, {vit.mlp_ratio:g} x width" if isinstance(vit := backbone(c), ViT) else None,
    "bias of queries, keys and values": field("network.qkv_bias"),
    "LayerNorm's ε": field("network.norm_epsilon"),
    "positions": field("network.positions"),
    "norm": field("network.norm"),
    "ReLU after the stem's norm": field("network.stem_relu"),
    "convolutions start from": lambda c: CONVOLUTIONS.get(c.network.initial, c.network.initial),
    "attention heads": lambda c: getattr(backbone(c), "heads", None),
    "ViT starts from": lambda c: VIT_STARTS.get(c.network.initial, c.network.initial),
    "last norm of a block starts at": lambda c: 0 if c.network.zero_residual else 1,
    "first block's shortcut": lambda c: "1x1 convolution and norm" if bottleneck(c) else "identity",
    "padding before a stride": constant("symmetric"),
    "BatchNorm statistics": lambda c: (
        "of each view" if getattr(c.method, "separate_views", True) else "of all views of a resolution"
    ),
    # The optimiser.
    "optimiser": optimiser,
    "momentum": field("optim.momentum"),
    "second moment's decay": field("optim.b2"),
    "peak learning rate": peak_rate,
    "last learning rate": field("optim.end_lr"),
    "warmup, epochs": field("optim.warmup_epochs"),
    "warmup": warmup,
    "learning rate changes every": field("optim.schedule"),
    "learning rate multiplies": lambda c: "the momentum" if c.optim.lr_after_momentum else "the gradient",
    "weight decay": lambda c: (
        c.optim.weight_decay if c.optim.end_weight_decay is None else (c.optim.weight_decay, c.optim.end_weight_decay)
    ),
    "weight decay covers": lambda c: COVERED[c.optim.decay_all],
    "factor of the paper's loss": field("method.loss_scale"),
    # The views.
    "views": lambda c: len(_branches(c.method.views)),
    "size, pixels": of_branches(lambda b: b.size),
    "crop's area": of_branches(lambda b: b.crop_area),
    "crop's aspect": of_branches(lambda b: b.crop_aspect),
    "crops drawn as by": of_branches(lambda b: b.crop_sampling),
    "least area covered": of_branches(lambda b: b.crop_min_covered),
    "interpolation": of_branches(lambda b: b.interpolation),
    "where no crop fits": constant("drawn again, ten times"),
    "shrinking": constant("antialiased"),
    "flip": of_branches(lambda b: b.flip),
    "jitter": of_branches(lambda b: b.jitter),
    "brightness, contrast, saturation, hue": of_branches(lambda b: (b.brightness, b.contrast, b.saturation, b.hue)),
    "jitter's ops": of_branches(lambda b: b.semantics),
    "jitter's order drawn for each": field("method.views.jitter_order"),
    "grayscale": of_branches(lambda b: b.grayscale),
    "blur": of_branches(lambda b: b.blur),
    "blur's sigma, pixels": of_branches(lambda b: b.blur_sigma, blurred),
    "blur's kernel, pixels": of_branches(lambda b: 2 * (b.blur_kernel // 2) + 1, blurred),
    "blur beyond the edge": of_branches(lambda b: b.blur_padding, blurred),
    "solarisation": of_branches(lambda b: b.solarize),
    "ops on one view alone": lambda c: c.method.views.one_branch,
    "mean": of_branches(lambda b: b.mean),
    "deviation": of_branches(lambda b: b.std),
    "canvas in memory, pixels": field("canvas"),
    "evaluation view": lambda c: (
        "the whole image" if c.canvas in (None, c.method.views.size) else "the central 0.875 of the shorter side"
    ),
    # SimCLR.
    "loss": lambda c: c.method.loss if getattr(c.method, "normalize", True) else f"{c.method.loss}, not normalised",
    "temperature": field("method.temperature"),
    "head's widths": lambda c: (dino_head if hasattr(c.method, "head_bottleneck") else simclr_head)(c),
    "head's layers": lambda c: getattr(c.method, "projector_layers", None) or c.method.head_layers,
    "offset of the head's last norm": field("method.projector_offset"),
    "heads start from": heads_start,
    # BYOL.
    "projector's widths": mlp_head("projector"),
    "predictor's widths": mlp_head("predictor"),
    "norms of projector and predictor": lambda c: (c.method.projector_norm, c.method.predictor_norm),
    "bias of the heads' last layer": field("method.output_bias"),
    "target": field("method.target"),
    "target starts from": lambda c: {"own": "weights of its own", "online": "a copy"}[
        getattr(c.method, "target_start", "online")
    ],
    "negatives": field("method.negatives"),
    "decay of the moving average": field("method.decay"),
    "the decay goes": lambda c: {"cosine": "to 1 along a cosine", "constant": "nowhere"}[c.method.decay_schedule],
    # DINO.
    "norm in the head": lambda c: "batch" if c.method.head_batch_norm else "none",
    "gain of the last layer": lambda c: "1" if c.method.norm_last_layer else "learned",
    "predictor": field("method.predictor"),
    "Sinkhorn-Knopp": field("method.sinkhorn"),
    "student's temperature": field("method.student_temperature"),
    "teacher's temperature": teacher_temperature,
    "centring": field("method.centering"),
    "centre's momentum": field("method.center_momentum"),
    "gradient clipped at, each tensor": field("method.clip"),
    "last layer frozen, epochs": field("method.frozen_epochs"),
    "teacher's head starts from": constant("a copy"),
    "BatchNorms of the head": constant("one for each layer"),
    "evaluated network": field("method.evaluate"),
    # iBOT and DINOv2.
    "head for patches": lambda c: (
        "that of [CLS]" if c.method.shared_head else f"its own, to {c.method.patch_prototypes}"
    ),
    "teacher's temperature for patches": field("method.patch_temperature"),
    "masked patches of a crop": field("method.mask_ratio"),
    "crops with masked patches": field("method.mask_share"),
    "masks": constant("blocks"),
    "weights of [CLS] and patches": lambda c: (c.method.cls_weight, c.method.patch_weight),
    "weight of KoLeo, each global crop": field("method.koleo_weight"),
    "images whose crops share out the masks, and KoLeo's": field("method.group"),
    "learning rate from block to block": field("method.layer_decay"),
    "learning rate of the patch embedding": field("method.patch_embedding_rate"),
    "gradient clipped at, each network": field("method.clip"),
    "teacher's temperature rises every": constant("step"),
    "stochastic depth of the blocks": constant("rises to it from 0"),
    "[CLS] token starts from": constant("normal, deviation 0.02"),
    "centres over GPUs": constant("the mean over all patches"),
    # SimSiam, Barlow Twins and VICReg.
    "norm after the heads' last layers": last_norms,
    "stop-gradient": field("method.stop_gradient"),
    "predictor's learning rate": lambda c: (
        "the peak throughout" if c.method.constant_predictor_rate else "as the others'"
    ),
    "λ, weight off the diagonal": field("method.off_diagonal"),
    "features standardised by": constant("the biased variance, ε 1e-5"),
    "weights of invariance, variance, covariance": lambda c: (
        c.method.invariance,
        c.method.variance,
        c.method.covariance,
    ),
    "variance terms of the two views": lambda c: "half their sum" if c.method.halved else "their sum",
    "solarisation stands": constant("after the blur"),
    # MoCo v3, SwAV and NNCLR.
    "queue": field("method.queue"),
    "prototypes": field("method.prototypes"),
    "bias of the prototypes": constant(False),
    "ε of the assignments": field("method.epsilon"),
    "Sinkhorn-Knopp iterations": field("method.sinkhorn_iterations"),
    "prototypes frozen, steps": lambda c: c.method.frozen_epochs * steps(c) / c.epochs,
    "weight decay is added to": lambda c: "the step" if c.optim.name == "adamw" else "the gradient",
    "ratio of lengths": constant("|p| over |g + wd·p|"),
    "patch embedding": lambda c: "fixed" if c.method.freeze_patch_embedding else "trained",
    # MAE and LeJEPA.
    "masked patches": field("method.mask_ratio"),
    "decoder's width, blocks, heads": lambda c: (
        c.method.decoder_width,
        c.method.decoder_depth,
        c.method.decoder_heads,
    ),
    "pixels of a patch": lambda c: "standardised" if c.method.normalize_pixels else "as they are",
    "λ, weight of SIGReg": field("method.sigreg"),
    "SIGReg's directions, frequencies, largest": lambda c: (c.method.directions, c.method.knots, c.method.limit),
}
