"""Read the numbers that the audit compares from a configuration: one function per row name.

Numbers are those of a run: the learning rate after scaling, a view's probabilities by branch, the widths of a head on its
backbone. Branches that agree have one value; otherwise the value is a tuple in the order of the views.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from sslax.augment import Branch
from sslax.config import Config
from sslax.data.known import KNOWN
from sslax.networks import ResNet, build_backbone, patch_side
from sslax.optim import scaled_learning_rate

# Training images of each set; for STL-10 the unlabelled images.
IMAGES = {name.removesuffix("2012"): known.unlabelled or known.train for name, known in KNOWN.items()}

TORCH_UNIFORM = "uniform within ±1/√fan-in"
LECUN = "normal, variance 1/fan-in, truncated"
CONVOLUTIONS = {"release": LECUN, "torch": TORCH_UNIFORM, "torchvision": "normal, variance 2/fan-out"}
HEADS = {"simclr": "normal, deviation 0.01", "byol": LECUN, "dino": "normal, deviation 0.02"}
COVERED = {True: "everything", False: "weights of two dimensions and more"}

Reader = Callable[[Config], Any]


def images(config: Config) -> str:
    """The name of the set: cifar10 for both `folder:data/cifar10` and `tfds:cifar10`."""
    return re.split(r"[:/]", config.data.removeprefix("tfds:").removesuffix(":unlabelled"))[-1]


def steps(config: Config) -> int:
    """Steps of the whole run; an epoch has only full batches."""
    return config.epochs * (IMAGES[images(config)] // config.batch_size)


def backbone(config: Config) -> Any:
    """The network that the configuration builds."""
    network = dataclasses.asdict(config.network)
    return build_backbone(network.pop("name"), image_size=config.method.views.size, **network)


def feature_width(config: Config) -> int:
    """Width of the backbone's features."""
    network = backbone(config)
    if not isinstance(network, ResNet):
        return network.width
    return network.width * 2 ** (len(network.stages) - 1) * (4 if bottleneck(config) else 1)


def bottleneck(config: Config) -> bool:
    """Whether the backbone's blocks are bottlenecks, with outputs four times as wide."""
    return config.network.name == "resnet50"


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
        values = [read(branch) for branch in config.method.views.branches().values() if chosen(branch)]
        if not values:
            return None
        return values[0] if all(value == values[0] for value in values) else tuple(values)

    return reader


def blurred(branch: Branch) -> bool:
    """Whether the branch has a blur."""
    return bool(branch.blur > 0)


def simclr_head(config: Config) -> tuple[int, ...]:
    """Widths of SimCLR's head, with its input first."""
    width = feature_width(config)
    return (width,) * max(config.method.projector_layers, 1) + (config.method.projector_dim,)


def byol_head(which: str) -> Reader:
    """Widths of BYOL's projector or predictor, with its input first."""

    def reader(config: Config) -> tuple[int, ...]:
        m = config.method
        start = feature_width(config) if which == "projector" else m.projector_dim
        hidden = (getattr(m, f"{which}_hidden"),) * (getattr(m, f"{which}_layers") - 1)
        return (start, *hidden, m.projector_dim)

    return reader


def dino_head(config: Config) -> tuple[int, ...]:
    """Widths of DINO's head, with its input first and K last."""
    m = config.method
    return (feature_width(config), *(m.head_hidden,) * (m.head_layers - 1), m.head_bottleneck, m.prototypes)


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
    "norm": field("network.norm"),
    "ReLU after the stem's norm": field("network.stem_relu"),
    "convolutions start from": lambda c: CONVOLUTIONS[c.network.initial],
    "last norm of a block starts at": lambda c: 0 if c.network.zero_residual else 1,
    "first block's shortcut": lambda c: "1x1 convolution and norm" if bottleneck(c) else "identity",
    "padding before a stride": constant("symmetric"),
    "BatchNorm statistics": lambda c: (
        "of each view" if getattr(c.method, "separate_views", True) else "of all views of a resolution"
    ),
    # The optimiser.
    "optimiser": field("optim.name"),
    "momentum": field("optim.momentum"),
    "peak learning rate": lambda c: scaled_learning_rate(c.optim.lr, c.batch_size, rule=c.optim.lr_scaling),
    "last learning rate": field("optim.end_lr"),
    "warmup, epochs": field("optim.warmup_epochs"),
    "warmup": lambda c: {"step": "from 0 by equal steps", "dino": "from 0, with both ends"}[c.optim.warmup],
    "learning rate changes every": field("optim.schedule"),
    "learning rate multiplies": lambda c: "the momentum" if c.optim.lr_after_momentum else "the gradient",
    "weight decay": lambda c: (
        c.optim.weight_decay if c.optim.end_weight_decay is None else (c.optim.weight_decay, c.optim.end_weight_decay)
    ),
    "weight decay covers": lambda c: COVERED[c.optim.decay_all],
    "factor of the paper's loss": field("method.loss_scale"),
    # The views.
    "views": lambda c: len(c.method.views.branches()),
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
    "head's widths": lambda c: (dino_head if c.method.NAME == "dino" else simclr_head)(c),
    "head's layers": lambda c: getattr(c.method, "projector_layers", None) or c.method.head_layers,
    "offset of the head's last norm": field("method.projector_offset"),
    "heads start from": lambda c: HEADS[c.method.NAME] if c.network.initial == "release" else TORCH_UNIFORM,
    # BYOL.
    "projector's widths": byol_head("projector"),
    "predictor's widths": byol_head("predictor"),
    "norms of projector and predictor": lambda c: (c.method.projector_norm, c.method.predictor_norm),
    "bias of the heads' last layer": field("method.output_bias"),
    "target": field("method.target"),
    "target starts from": lambda c: {"own": "weights of its own", "online": "a copy"}[c.method.target_start],
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
}
