"""Build the objects that a configuration describes: networks, method, optimiser, schedule, number of steps."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from sslax import optim
from sslax.config import Config, check_against_data
from sslax.data import Dataset, LazyDataset
from sslax.errors import InputError
from sslax.export import architecture_of, from_torch, load_weights
from sslax.methods import METHODS, Method, Setup
from sslax.networks import ViT, build_backbone, init
from sslax.training.sharding import gathering
from sslax.training.step import data_mesh


class Programs(NamedTuple):
    """Compiled programs that a run uses instead of compiling its own.

    Attributes:
      start: key -> the state before the first step.
      steps: (state, images, order, count) -> (state, metrics, seen), from `compile_steps`.
      update: (state, images) -> (state, metrics, seen), from `compile_update`.
      features: (state, images, aspects) -> features, as an `Embedder`.
    """

    start: Callable[..., Any]
    steps: Callable[..., Any]
    update: Callable[..., Any]
    features: Callable[..., Any]


class Built(NamedTuple):
    """The objects built from a configuration, for a set of a given size and the available devices.

    `programs` come from `build_shared`; None if the run compiles its own.
    """

    method: Method
    tx: optax.GradientTransformation
    schedule: optim.Schedule
    mesh: jax.sharding.Mesh
    steps: int
    steps_per_epoch: int
    image_shape: tuple[int, int, int]
    backbone: Any
    programs: Programs | None = None


def build(config: Config, data: Dataset | LazyDataset, *, devices: Sequence[jax.Device] | None = None) -> Built:
    """Networks, method and optimiser of `config` for the images of `data`, on `devices` (None: all).

    Raises:
      InputError: if configuration, data and devices do not fit together.
    """
    canvas = data.train.canvas if isinstance(data, Dataset) else data.side()
    return build_for(config, images=len(data.train), canvas=canvas, devices=devices)


def build_for(config: Config, *, images: int, canvas: int, devices: Sequence[jax.Device] | None = None) -> Built:
    """As `build`, from the number of training images and the side of their canvas.

    An epoch has only full batches; the remaining images at the end of its order are dropped.
    """
    mesh = data_mesh(devices)
    check_against_data(config, images=images, canvas=canvas, devices=mesh.size)
    steps_per_epoch = images // config.batch_size
    steps = config.epochs * steps_per_epoch
    size = config.method.views.size
    backbone = make_backbone(config)
    start = None if config.init_from is None else weights_of(config.init_from, backbone, (size, size, 3))
    method = METHODS[config.method.NAME](config.method, Setup(backbone, steps, steps_per_epoch, mesh, start))
    if config.fsdp:
        method = gathering(method, mesh)
    schedule = make_schedule(config, steps_per_epoch)
    tx = method.optimizer(make_optimizer(config, schedule, steps, method.constant_rate))
    return Built(method, tx, schedule, mesh, steps, steps_per_epoch, (size, size, 3), backbone)


def make_schedule(config: Config, steps_per_epoch: int) -> optim.Schedule:
    """The learning-rate schedule of `config`, as a function of the step."""
    schedule = optim.warmup_cosine(
        optim.scaled_learning_rate(config.optim.lr, config.batch_size, rule=config.optim.lr_scaling),
        warmup_steps=round(config.optim.warmup_epochs * steps_per_epoch),
        steps=config.epochs * steps_per_epoch,
        start=config.optim.start_lr,
        end=config.optim.end_lr,
        convention=config.optim.warmup,
    )
    if config.optim.schedule == "epoch":
        return lambda step: schedule(step // steps_per_epoch * steps_per_epoch)
    return schedule


def make_backbone(config: Config) -> Any:
    """The backbone that `config` describes, for the size of its views."""
    fields = dataclasses.asdict(config.network)
    dtype = compute_dtype(config.precision)
    return build_backbone(image_size=config.method.views.size, remat=config.remat, dtype=dtype, **fields)


def images_at_once(backbone: Any, size: int) -> int | None:
    """The number of images of `size` pixels that a ViT embeds in one batch; None for the usual number.

    The attention maps of one block stay within 2 GiB. Images of 518 pixels, DINOv2's, have 1370 tokens.
    """
    if not isinstance(backbone, ViT):
        return None
    tokens = backbone.prefix + (size // backbone.patch_size) ** 2
    fitting = 2**31 // (4 * backbone.heads * tokens**2)
    return None if fitting >= 500 else max(1, fitting)


def shapes_of(backbone: Any, image_shape: tuple[int, int, int]) -> tuple[PyTree, PyTree]:
    """The shapes of a backbone's parameters and BatchNorm statistics for images of `image_shape` [h, w, c]."""
    return jax.eval_shape(lambda key: init(backbone, key, jnp.zeros((1, *image_shape))), jax.random.key(0))


def weights_of(path: str, backbone: Any, image_shape: tuple[int, int, int]) -> Callable[..., tuple[PyTree, PyTree]]:
    """Initial weights for `backbone` from a weights file with torch's names, as a function for `Setup.init_backbone`.

    A ViT's learned positions are resized to the images, as timm does when it loads weights.

    Raises:
      InputError: if the file cannot be read, or holds another architecture; the message names the options that fit the file.
    """
    tensors, metadata = load_weights(path)
    like = shapes_of(backbone, image_shape)
    try:
        loaded = from_torch(backbone, tensors, like_params=like[0], like_stats=like[1], resize=True)
    except InputError as error:
        raise InputError(f"init_from is {path}; its {str(error).rstrip('.')}{_fitting(tensors, metadata)}.") from error
    return lambda key, image: loaded


def _fitting(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """The options that fit a file, as part of a sentence; empty if the file tells none."""
    try:
        options = architecture_of(tensors, metadata).options
    except InputError:
        return ""
    flags = (f"--network.{name.replace('_', '-')} {value}" for name, value in options.items())
    switches = {
        "--network.qkv-bias False": "--network.no-qkv-bias",
        "--network.stem-relu False": "--network.no-stem-relu",
    }
    return f"; this file fits {' '.join(switches.get(flag, flag) for flag in flags)}"


def compute_dtype(precision: str) -> jnp.dtype:
    """The dtype of the networks' arithmetic; "auto" is float32 on CPU and bfloat16 on accelerators."""
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(precision)


def make_optimizer(
    config: Config,
    schedule: optim.Schedule,
    steps: int,
    constant_rate: Callable[[PyTree], PyTree] | None = None,
) -> optax.GradientTransformation:
    """The configured optimiser with the learning-rate `schedule`, for a run of `steps` steps.

    `optim.bias_lr` gives biases and the parameters of norms a schedule of the same shape. `constant_rate`, params -> tree of
    booleans, marks parameters that keep the peak learning rate.
    """
    o = config.optim
    if o.bias_lr is None and constant_rate is None:
        return _optimizer(config, schedule, steps)
    peak = optim.scaled_learning_rate(o.lr, config.batch_size, rule=o.lr_scaling)
    ratio = 1.0 if o.bias_lr is None else o.bias_lr / o.lr
    rates = {
        "kernels": schedule,
        "others": lambda step: ratio * schedule(step),
        "constant kernels": optax.constant_schedule(peak),
        "constant others": optax.constant_schedule(ratio * peak),
    }

    def label(params):
        constant = jax.tree.map(lambda _: False, params) if constant_rate is None else constant_rate(params)
        return jax.tree.map(
            lambda kernel, held: ("constant " if held else "") + ("kernels" if kernel else "others"),
            optim.kernels_only(params),
            constant,
        )

    return optax.partition({name: _optimizer(config, rate, steps) for name, rate in rates.items()}, label)


def _optimizer(config: Config, schedule: optim.Schedule, steps: int) -> optax.GradientTransformation:
    o = config.optim
    mask = (lambda params: jax.tree.map(lambda _: True, params)) if o.decay_all else optim.kernels_only
    if o.name == "adamw":
        decay: float | optim.Schedule = o.weight_decay
        if o.end_weight_decay is not None:
            decay = optim.warmup_cosine(
                o.weight_decay, warmup_steps=0, steps=steps, end=o.end_weight_decay, convention=o.warmup
            )
        return optim.adamw(schedule, weight_decay=decay, b1=o.momentum, b2=o.b2, mask=mask)
    if o.name == "sgd":
        return optim.sgd(schedule, weight_decay=o.weight_decay, momentum=o.momentum, mask=mask)
    return optim.lars(
        schedule,
        weight_decay=o.weight_decay,
        momentum=o.momentum,
        trust_coefficient=o.trust_coefficient,
        clip=o.clip_trust,
        lr_after_momentum=o.lr_after_momentum,
        mask=mask,
    )
