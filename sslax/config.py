"""The typed configuration of a run, and the checks that come before anything is compiled.

Every field is a flag of the scripts, named as it is nested: `--optim.lr`, `--method.views.size`. The named instances stand
in `experiments/configs.py`; a method's own options stand beside the method.
"""

import dataclasses
from typing import Any, ClassVar, Literal, Protocol

from sslax.errors import InputError


class MethodOptions(Protocol):
    """What a method's options must have: the method's name in the table of methods, and their own checks."""

    NAME: ClassVar[str]
    views: Any

    def check(self, config: "Config") -> None: ...


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The backbone."""

    name: Literal["resnet18", "resnet34", "resnet50", "patch-resnet"] = "resnet18"
    """Backbone; patch-resnet is a small one for CPUs."""
    stem: Literal["auto", "imagenet", "small", "patch"] = "auto"
    """First layers: auto takes 3x3 of stride 1 (small) for views up to 32 pixels and torchvision's above."""
    width: int = 64
    """Channels of the first stage."""
    patch_size: int = 4
    """Side of a patch stem's patches, pixels."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its learning rate: warmup, then a cosine to 0."""

    name: Literal["adamw", "sgd", "lars"] = "adamw"
    """Optimiser."""
    lr: float = 1e-3
    """Base learning rate, before scaling by the batch."""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """How the batch scales the rate: none, lr·batch/256 (linear) or lr·√batch (sqrt)."""
    warmup_epochs: float = 10.0
    """Epochs of linear warmup."""
    weight_decay: float = 1e-4
    """Weight decay."""
    decay_all: bool = False
    """Decay (and with LARS adapt) biases and norms' parameters too; papers leave them out."""
    momentum: float = 0.9
    """Momentum of SGD and LARS, b1 of AdamW."""
    lr_after_momentum: bool = False
    """LARS: multiply by the learning rate after the momentum (BYOL) rather than before it (SimCLR)."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A pretraining run."""

    method: Any
    """The method's own options."""
    data: str = "digits"
    """Images: digits, or folder:PATH (class folders, or unlabelled images; train/ and test|val/ where they exist)."""
    limit: int | None = None
    """Take only the first N images of each split, the same number of each class."""
    canvas: int | None = None
    """Side of the square that every image is squashed to in memory, pixels; None keeps images that are square and alike."""
    allow_unreadable: bool = False
    """Go on when more than 1 % of the image files cannot be read."""
    split_seed: int = 0
    """Seed of the held-out split, where the data has none."""
    epochs: int = 200
    """Passes over the training images."""
    batch_size: int = 256
    """Images a step, over all devices."""
    network: NetworkConfig = NetworkConfig()
    optim: OptimizerConfig = OptimizerConfig()
    seed: int = 0
    """Seed of initialisation, order and views."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the networks' arithmetic; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    steps_per_call: int | None = None
    """Steps under one compiled loop; None is 1 on CPU and 10 elsewhere."""
    log_every: int = 10
    """Steps between lines of metrics."""
    eval_every: int = 10
    """Epochs between kNN evaluations; 0 is never."""
    checkpoint_every: int = 10
    """Epochs between checkpoints."""
    run_dir: str | None = None
    """Folder of the run; None is runs/CONFIG. The same command on it again goes on where it stopped."""


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as JSON has it (tuples as lists), with the method's name; `run_dir` is left out: runs may be moved."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    fields = plain(dataclasses.asdict(config))
    del fields["run_dir"]
    fields["method"] = {"name": config.method.NAME, **fields["method"]}
    return fields


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two configurations as `to_dict` gives them: "optim.lr: 0.1 there, 0.3 here"."""
    found = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key}: {before} there, {now} here")
    return found


def _at_least(name: str, value: float, lowest: float) -> None:
    if not value >= lowest:
        raise InputError(f"{name} is {value}; it must be at least {lowest}.")


def check(config: Config) -> None:
    """Raise InputError, one sentence, on the first value that cannot work; needs neither data nor devices."""
    _at_least("epochs", config.epochs, 1)
    _at_least("batch_size", config.batch_size, 2)
    _at_least("log_every", config.log_every, 1)
    _at_least("eval_every", config.eval_every, 0)
    _at_least("checkpoint_every", config.checkpoint_every, 1)
    _at_least("seed", config.seed, 0)
    _at_least("split_seed", config.split_seed, 0)
    for name, value in (("limit", config.limit), ("canvas", config.canvas), ("steps_per_call", config.steps_per_call)):
        if value is not None:
            _at_least(name, value, 1)
    _at_least("network.width", config.network.width, 1)
    _at_least("network.patch_size", config.network.patch_size, 1)
    optim = config.optim
    if not 0 < optim.lr < float("inf"):
        raise InputError(f"optim.lr is {optim.lr}; it must be a finite number above 0.")
    _at_least("optim.weight_decay", optim.weight_decay, 0)
    _at_least("optim.warmup_epochs", optim.warmup_epochs, 0)
    if optim.warmup_epochs > config.epochs:
        raise InputError(
            f"optim.warmup_epochs is {optim.warmup_epochs:g}; it must be at most epochs, which is {config.epochs}."
        )
    if not 0 <= optim.momentum < 1:
        raise InputError(f"optim.momentum is {optim.momentum}; it must lie in [0, 1).")
    config.method.check(config)
    patches = config.network.stem == "patch" or (config.network.name, config.network.stem) == ("patch-resnet", "auto")
    size = config.method.views.size
    if patches and size % config.network.patch_size:
        raise InputError(
            f"network.patch_size is {config.network.patch_size}; it must divide method.views.size, which is {size}."
        )


def check_against_data(config: Config, *, images: int, canvas: int, devices: int) -> None:
    """Raise InputError where the configuration does not fit the data or the devices.

    Args:
      config: a configuration that `check` has passed.
      images: how many training images there are.
      canvas: side of the images in memory, pixels.
      devices: how many devices share a batch.
    """
    if images < config.batch_size:
        raise InputError(
            f"batch_size is {config.batch_size}, but {config.data} has {images} training images; "
            f"it must be at most {images}."
        )
    if config.batch_size % devices:
        raise InputError(f"batch_size is {config.batch_size}; it must be a multiple of the {devices} devices.")
    if config.method.views.size > canvas:
        raise InputError(
            f"method.views.size is {config.method.views.size}, but the images are {canvas} pixels in memory; "
            f"it must be at most {canvas}, or canvas larger."
        )
