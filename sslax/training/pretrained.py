"""Open the weights of a pretrained network from a file, in the place of a finished run: `open_weights(FILE)`.

The architecture is told from the file (`sslax.export.architecture`). `WeightsOptions` overrides what it does not tell.
"""

import dataclasses
import os
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from sslax.augment import SimCLRViews, check_views
from sslax.config import Config, NetworkConfig, check
from sslax.data import MAX_CANVAS
from sslax.data.decode import DEFAULT_CANVAS
from sslax.errors import InputError
from sslax.export import Architecture, architecture_of, from_torch, load_weights
from sslax.methods import Method
from sslax.methods.base import on_backbone
from sslax.networks import VITS, heads_of, init, patch_side, without_drop_path
from sslax.training.build import Built, make_backbone, shapes_of
from sslax.training.load import Loaded
from sslax.training.state import Faults, TrainState
from sslax.training.step import data_mesh

NAME = "weights"
"""The name of the method, and of the data, of a network that was opened from a weights file."""


@dataclasses.dataclass(frozen=True)
class WeightsOptions:
    """What a weights file need not tell; each option is used with --weights only."""

    size: int | None = None
    """Side of the images in pixels, with --weights; None uses the size of the file's positions, otherwise 224 or its nearest
    multiple of the patch size."""
    heads: int | None = None
    """Number of attention heads of a ViT, with --weights; None uses the file's metadata, otherwise 64 channels per head."""
    positions: Literal["dino", "size", "antialiased"] | None = None
    """How learned positions are resized for another size of the images, with --weights; None uses the file's metadata,
    otherwise antialiased, as timm."""
    norm_epsilon: float | None = None
    """Epsilon of a ViT's LayerNorms, with --weights; None uses the file's metadata, otherwise 1e-6, or 1e-5 for DINOv3."""
    mean: tuple[float, float, float] | None = None
    """Mean per channel that the network expects to be subtracted, with --weights; None uses the file's metadata, otherwise
    ImageNet's."""
    std: tuple[float, float, float] | None = None
    """Standard deviation per channel that the network expects, with --weights; None uses the file's metadata, otherwise
    ImageNet's."""
    canvas: int | None = None
    """Side in pixels of the square that every image is resized to in memory, with --weights; None is 256, more for images of
    more than 224 pixels, or the size of images that are square and all of one size."""

    def given(self) -> list[str]:
        """The names of the options that are given."""
        return [field.name for field in dataclasses.fields(self) if getattr(self, field.name) is not None]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """The place of a method's options for weights from a file; only the views' size and normalisation are used."""

    NAME: ClassVar[str] = NAME

    views: SimCLRViews = SimCLRViews()

    def check(self, config: Config) -> None:
        """Raise InputError on invalid views."""
        check_views(self.views, config.canvas or MAX_CANVAS)


def open_weights(path: str | os.PathLike[str], options: WeightsOptions | None = None) -> Loaded:
    """The network of a weights file, as `load` returns that of a run: call it on images to get features.

    Args:
      path: a safetensors file, a PyTorch pickle, or hf:OWNER/NAME[@REVISION][/FILE] (see `sslax.export.load_weights`).
      options: what the file does not tell.

    Raises:
      InputError: if the file cannot be read, or does not hold a ViT or ResNet that this library has; if an option does not fit
        it.
    """
    options = options or WeightsOptions()
    tensors, metadata = load_weights(path)
    told = told_by(path, tensors, metadata)
    config = _config(told, options)
    backbone = make_backbone(config)
    size = config.method.views.size
    like = shapes_of(backbone, (size, size, 3))
    try:
        params, statistics = from_torch(backbone, tensors, like_params=like[0], like_stats=like[1], resize=True)
    except InputError as error:
        raise InputError(f"weights are {path}; their {error}") from error
    method = _method(without_drop_path(backbone), config)
    mesh = data_mesh(jax.devices()[:1])
    tx = optax.identity()
    built = Built(method, tx, optax.constant_schedule(0.0), mesh, 0, 0, (size, size, 3), backbone)
    state = _state({"encoder": params}, {"encoder": statistics}, mesh)
    facts = {"name": os.fspath(path), "images": 0, "canvas": canvas_for(config), "classes": []}
    return Loaded(config, facts, built, state)


def _state(params: Any, aux: Any, mesh: jax.sharding.Mesh) -> TrainState:
    """The state of a run with these weights; the programs of a run expect it on the mesh."""
    faults = Faults(jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32))
    state = TrainState(jnp.zeros((), jnp.int32), params, optax.EmptyState(), aux, jax.random.key(0), faults)
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def told_by(path: str | os.PathLike[str], tensors: Any, metadata: Any) -> Architecture:
    """The architecture of a file's network; errors name the file."""
    try:
        return architecture_of(tensors, metadata)
    except InputError as error:
        raise InputError(f"weights are {path}; their {error}") from error


def canvas_for(config: Config) -> int:
    """The canvas for photographs: a little larger than the network's images, which are cut out of it."""
    return config.canvas or max(DEFAULT_CANVAS, config.method.views.size * 8 // 7)


def _config(told: Architecture, options: WeightsOptions) -> Config:
    network = NetworkConfig(**told.options)
    name = network.name
    heads = heads_of(name) is not None
    for field in ("heads", "positions", "norm_epsilon"):
        value = getattr(options, field)
        if value is None:
            continue
        if not heads:
            raise InputError(f"{field} is {value}, but the weights are those of a {name}; only a ViT has this option.")
        if field == "positions" and network.positions == "rope":
            raise InputError(f"positions is {value}, but the weights have rotary positions, which need no resizing.")
        network = dataclasses.replace(network, **{field: value})
    size = told.image_size if options.size is None else options.size
    patch = patch_side(name, stem=network.stem, patch_size=network.patch_size)
    if patch and (size < 1 or size % patch):
        below = max(size // patch, 1) * patch
        raise InputError(
            f"size is {size}, which the patches of {patch} pixels do not divide; it must be a multiple of {patch}, such as "
            f"{below} or {below + patch}."
        )
    mean, std = options.mean or told.mean, options.std or told.std
    views = SimCLRViews(size=size, mean=mean, std=std)
    config = Config(method=Pretrained(views), data=NAME, canvas=options.canvas, network=network)
    check(config)
    return config


def _method(encoder: Any, config: Config) -> Method:
    def start(key, image_shape):
        params, statistics = init(encoder, key, jnp.zeros((1, *image_shape)))
        return {"encoder": params}, {"encoder": statistics}

    def loss(params, aux, batch, key, step):
        raise InputError("method is weights, which has no loss; give the weights to a method with --init-from.")

    def evaluated(params, aux):
        return params["encoder"], aux["encoder"]

    return on_backbone(encoder, config.method.views, evaluated, init=start, loss=loss)


def network_from(path: str | os.PathLike[str], usual: NetworkConfig) -> NetworkConfig:
    """The options of a weights file's network, with the stochastic depth and the `initial` of `usual`.

    Raises:
      InputError: as `open_weights`.
    """
    told = told_by(path, *load_weights(path))
    # MAE's and MoCo v3's start also fixes the positions. It is kept, unless it is that of the other kind of networks.
    same = (told.options["name"] in VITS) == (usual.name in VITS)
    return NetworkConfig(**told.options, drop_path=usual.drop_path, initial=usual.initial if same else "release")
