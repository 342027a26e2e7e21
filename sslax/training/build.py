"""From a configuration to the things that it names: networks, method, optimiser, lengths."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sslax import optim
from sslax.config import Config, check_against_data
from sslax.data import Dataset
from sslax.methods import METHODS, Method, Setup
from sslax.networks import build_backbone
from sslax.training.step import data_mesh


class Built(NamedTuple):
    """What a configuration becomes, for a set of a given size on the devices that are there."""

    method: Method
    tx: optax.GradientTransformation
    schedule: optim.Schedule
    mesh: jax.sharding.Mesh
    steps: int
    steps_per_epoch: int
    image_shape: tuple[int, int, int]


def build(config: Config, data: Dataset, *, devices: Sequence[jax.Device] | None = None) -> Built:
    """Networks, method and optimiser of `config` for the images of `data`, on `devices` (None: all).

    Epochs are whole batches: the images left over at the end of an epoch's order are left out of that epoch.

    Raises:
      InputError: where configuration, data and devices do not fit each other.
    """
    mesh = data_mesh(devices)
    check_against_data(config, images=len(data.train), canvas=data.train.images.shape[1], devices=mesh.size)
    steps_per_epoch = len(data.train) // config.batch_size
    steps = config.epochs * steps_per_epoch
    size = config.method.views.size
    backbone = build_backbone(
        config.network.name,
        image_size=size,
        stem=config.network.stem,
        width=config.network.width,
        depth=config.network.depth,
        patch_size=config.network.patch_size,
        drop_path=config.network.drop_path,
        dtype=compute_dtype(config.precision),
    )
    method = METHODS[config.method.NAME](config.method, Setup(backbone, steps, steps_per_epoch, mesh))
    schedule = optim.warmup_cosine(
        optim.scaled_learning_rate(config.optim.lr, config.batch_size, rule=config.optim.lr_scaling),
        warmup_steps=round(config.optim.warmup_epochs * steps_per_epoch),
        steps=steps,
        end=config.optim.end_lr,
        convention=config.optim.warmup,
    )
    tx = method.optimizer(make_optimizer(config, schedule, steps))
    return Built(method, tx, schedule, mesh, steps, steps_per_epoch, (size, size, 3))


def compute_dtype(precision: str) -> jnp.dtype:
    """The type of the networks' arithmetic: bfloat16 where the hardware has it, unless the configuration says otherwise."""
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(precision)


def make_optimizer(config: Config, schedule: optim.Schedule, steps: int) -> optax.GradientTransformation:
    """The configured optimiser on `schedule`, for a run of `steps`."""
    o = config.optim
    mask = (lambda params: jax.tree.map(lambda _: True, params)) if o.decay_all else optim.kernels_only
    if o.name == "adamw":
        decay: float | optim.Schedule = o.weight_decay
        if o.end_weight_decay is not None:
            decay = optim.warmup_cosine(
                o.weight_decay, warmup_steps=0, steps=steps, end=o.end_weight_decay, convention=o.warmup
            )
        return optim.adamw(schedule, weight_decay=decay, b1=o.momentum, mask=mask)
    if o.name == "sgd":
        return optim.sgd(schedule, weight_decay=o.weight_decay, momentum=o.momentum, mask=mask)
    return optim.lars(
        schedule,
        weight_decay=o.weight_decay,
        momentum=o.momentum,
        lr_after_momentum=o.lr_after_momentum,
        mask=mask,
    )
