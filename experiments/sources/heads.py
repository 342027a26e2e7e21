"""What the audit reads of networks: the backbone that a configuration builds, and the heads on it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from sslax.config import Config, NetworkConfig
from sslax.networks import ResNet, build_backbone

TORCH_UNIFORM = "uniform within ±1/√fan-in"
LECUN = "normal, variance 1/fan-in, truncated"
CONVOLUTIONS = {"release": LECUN, "torch": TORCH_UNIFORM, "torchvision": "normal, variance 2/fan-out"}
_SINES = "Xavier's uniform; fixed sine-cosine positions"
VIT_STARTS = {
    "release": "normal, deviation 0.02; learned positions",
    "mae": _SINES,
    "moco-v3": f"{_SINES}; queries, keys and values apart",
}
# The other methods' heads start as torch's layers whatever the backbone.
HEADS = {"simclr": "normal, deviation 0.01", "byol": LECUN, "dino": "normal, deviation 0.02"}
HEADS |= dict.fromkeys(("ibot", "dinov2"), HEADS["dino"])
# The norm after the last layer of projector and predictor, where a method has no option for it.
LAST_NORMS = {
    "simsiam": ("plain", "none"),
    "barlow-twins": "none",
    "vicreg": "none",
    "swav": "none",
    "nnclr": ("affine", "none"),
}


def backbone(config: Config) -> Any:
    """The network that the configuration builds."""
    return _built(config.network, config.method.views.size)


@functools.lru_cache(maxsize=8)
def _built(network: NetworkConfig, size: int) -> Any:
    fields = dataclasses.asdict(network)
    return build_backbone(fields.pop("name"), image_size=size, **fields)


def feature_width(config: Config) -> int:
    """Width of the backbone's features."""
    network = backbone(config)
    if not isinstance(network, ResNet):
        return network.width
    return network.width * 2 ** (len(network.stages) - 1) * (4 if bottleneck(config) else 1)


def bottleneck(config: Config) -> bool:
    """Whether the backbone's blocks are bottlenecks, with outputs four times as wide."""
    return config.network.name == "resnet50"


def simclr_head(config: Config) -> tuple[int, ...]:
    """Widths of SimCLR's head, with its input first."""
    width = feature_width(config)
    return (width,) * max(config.method.projector_layers, 1) + (config.method.projector_dim,)


def mlp_head(which: str) -> Callable[[Config], Any]:
    """Widths of a projector or a predictor, with its input first; empty without a predictor."""

    def reader(config: Config) -> tuple[int, ...]:
        m = config.method
        start = feature_width(config) if which == "projector" else m.projector_dim
        # Those without an option have two layers.
        width, layers = getattr(m, f"{which}_hidden"), getattr(m, f"{which}_layers", 2)
        return (start, *(width,) * (layers - 1), m.projector_dim) if width and layers else ()

    return reader


def last_norms(config: Config) -> Any:
    """The norm after the last layer of the projector, and of the predictor where there is one."""
    m = config.method
    return LAST_NORMS.get(m.NAME) or (m.projector_norm, m.predictor_norm)


def heads_start(config: Config) -> str:
    """What the heads' layers start from."""
    own = HEADS.get(config.method.NAME, TORCH_UNIFORM)
    return own if config.network.initial == "release" else TORCH_UNIFORM


def dino_head(config: Config) -> tuple[int, ...]:
    """Widths of DINO's head, with its input first and K last."""
    m = config.method
    return (feature_width(config), *(m.head_hidden,) * (m.head_layers - 1), m.head_bottleneck, m.prototypes)
