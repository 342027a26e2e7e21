"""The typed configuration of a run, and the checks that come before anything is compiled.

Every field is a flag of the scripts, named as it is nested: `--optim.lr`, `--method.views.size`. The named instances stand
in `sslax/recipes`; a method's own options stand beside the method.
"""

import dataclasses
import importlib.util
from typing import Any, ClassVar, Literal, Protocol

from sslax import processes
from sslax.augment import view_sizes
from sslax.checks import parse_colour
from sslax.errors import InputError
from sslax.networks import heads_of, patch_side
from sslax.processes import DistributedConfig


class MethodOptions(Protocol):
    """What a method's options must have: the method's name in the table of methods, and their own checks."""

    NAME: ClassVar[str]
    views: Any

    def check(self, config: "Config") -> None: ...


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The backbone."""

    name: Literal[
        "resnet18", "resnet34", "resnet50", "patch-resnet", "vit-tiny", "vit-small", "vit-base", "vit-micro"
    ] = "resnet18"
    """Backbone; patch-resnet and vit-micro are small ones for CPUs."""
    stem: Literal["auto", "imagenet", "small", "patch"] = "auto"
    """First layers of a ResNet: auto takes 3x3 of stride 1 (small) for views up to 32 pixels and torchvision's above."""
    width: int | None = None
    """Channels of a ResNet's first stage, or of a ViT's tokens; None is what the name says."""
    depth: int | None = None
    """Blocks of a ViT; None is what the name says."""
    patch_size: int | None = None
    """Side of the patches of a ViT or a patch stem, pixels; None is 16 for the ViTs of the papers, 4 for the small ones."""
    drop_path: float = 0.1
    """Stochastic depth of a ViT's last block in training."""
    norm: Literal["batch", "group", "none"] = "batch"
    """Norm of a ResNet: batch; group, which is GroupNorm with standardised weights, so that nothing crosses the batch; or
    none. Export to torch knows batch alone."""
    initial: Literal["release", "torch", "torchvision"] = "release"
    """What a ResNet's convolutions and the heads on it start from: as in the methods' releases; torch's defaults; or, of the
    convolutions, torchvision's (He's normal over the fan-out), with torch's defaults in the heads."""
    zero_residual: bool = True
    """Start the last norm of a ResNet's blocks at a scale of 0, so that each block is the identity; or at 1."""
    stem_relu: bool = True
    """ReLU after the norm of a ResNet's stem; lightly's benchmark on CIFAR-10 has none."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its learning rate: warmup, then a cosine."""

    name: Literal["adamw", "sgd", "lars"] = "adamw"
    """Optimiser."""
    lr: float = 1e-3
    """Base learning rate, before scaling by the batch."""
    bias_lr: float | None = None
    """Base learning rate of biases and norms' parameters, as Barlow Twins has it; None is lr."""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """How the batch scales the rate: none, lr·batch/256 (linear) or lr·√batch (sqrt)."""
    warmup_epochs: float = 10.0
    """Epochs of linear warmup."""
    start_lr: float = 0.0
    """Learning rate that the warmup starts from; not scaled by the batch."""
    end_lr: float = 0.0
    """Learning rate that the cosine goes to; not scaled by the batch."""
    warmup: Literal["step", "dino"] = "step"
    """Whose warmup: from 0 by equal steps (SimCLR, BYOL), or DINO's, which has the peak twice."""
    schedule: Literal["step", "epoch"] = "step"
    """How often the learning rate changes: with every step, or with every epoch, as torch's schedulers are usually stepped."""
    weight_decay: float = 1e-4
    """Weight decay."""
    end_weight_decay: float | None = None
    """Weight decay at the end of a cosine (AdamW); None keeps it constant."""
    decay_all: bool = False
    """Decay (and with LARS adapt) biases and norms' parameters too; papers leave them out."""
    momentum: float = 0.9
    """Momentum of SGD and LARS, b1 of AdamW."""
    lr_after_momentum: bool = False
    """LARS: multiply by the learning rate after the momentum (BYOL) rather than before it (SimCLR)."""
    trust_coefficient: float = 1e-3
    """LARS: η, the length of a step over the parameters' own at a learning rate of 1."""
    clip_trust: bool = False
    """LARS: clip the learning rate at each tensor's own instead of multiplying the two, as LARC does."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A pretraining run. The fields that most people change come first, which is also their order in `--help`."""

    method: Any
    """The method's own options."""
    data: str = "digits"
    """Images: digits, folder:PATH (class folders, or unlabelled images; train/ and test|val/ where they exist), or
    tfds:NAME[/CONFIG][:SPLIT] as TensorFlow Datasets has prepared them."""
    run_dir: str | None = None
    """Folder of the run; None is runs/CONFIG. The same command on it again goes on where it stopped."""
    epochs: int = 200
    """Passes over the training images."""
    batch_size: int = 256
    """Images a step, over all devices."""
    seed: int = 0
    """Seed of initialisation, order and views."""
    canvas: int | None = None
    """Side of the square that every image is squashed to in memory, pixels; None keeps images that are square and alike."""
    limit: int | None = None
    """Take only the first N images of each split, the same number of each class."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the networks' arithmetic; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    init_from: str | None = None
    """Weights that the backbone starts from: a safetensors file with torchvision's, timm's or DINO's names."""
    dry_run: bool = False
    """Show what the run would take (parameters, memory, FLOPs, images/s, hours, disk) and write nothing."""
    network: NetworkConfig = NetworkConfig()
    optim: OptimizerConfig = OptimizerConfig()
    allow_unreadable: bool = False
    """Go on when more than 1 % of the image files cannot be read."""
    exif: bool = True
    """Turn photographs upright by their EXIF orientation; --no-exif takes the pixels as they are stored."""
    background: str = "255,255,255"
    """Colour that shows where an image is transparent: R,G,B from 0 to 255."""
    split_seed: int = 0
    """Seed of the held-out split, where the data has none."""
    feed: Literal["auto", "resident", "streamed"] = "auto"
    """Where the images are: on the devices (resident), or decoded as they are needed (streamed); auto is resident up to 40 %
    of the free memory. Both give the same batches."""
    workers: int = 0
    """Processes that decode what is streamed; 0 decodes in threads of this one."""
    cache: str | None = None
    """Folder for decoded images: written once, later runs read them from there and decode nothing."""
    remat: bool = False
    """Keep only what goes from block to block of the backbone for the gradient, and compute what is inside again: less memory
    for a third more arithmetic."""
    accumulate: int = 1
    """Micro-batches that a batch is cut into, one after the other, their gradients averaged: less memory. Exact where nothing
    crosses the batch, as DINO on a ViT; BatchNorm and negatives are then of the micro-batch."""
    online_probe: bool = False
    """Train a linear classifier on the features along the way; it sees the labels, the network does not see it."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do when loss or gradient are not finite: stop the run, or skip that update and count it."""
    on_collapse: Literal["warn", "stop", "ignore"] = "warn"
    """What to do when the features collapse: say so and go on, stop the run, or not watch at all."""
    steps_per_call: int | None = None
    """Steps under one compiled loop of resident images; None is 1 on CPU and 10 elsewhere. Streamed ones come step by step."""
    log_every: int = 10
    """Steps between lines of metrics."""
    eval_every: int = 10
    """Epochs between kNN evaluations; 0 is never."""
    knn: tuple[Literal[1, 20, 200], ...] = (1, 20)
    """Neighbours of these evaluations: 1 and 20 vote by DINO's protocol (temperature .07), 200 by lightly's (.1)."""
    checkpoint_every: int = 10
    """Epochs between checkpoints."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay; the best by kNN stays as well, and is saved when it is met."""
    tensorboard: bool = False
    """Write the metrics as TensorBoard's scalars too, to the folder tensorboard of the run; needs tensorboardX."""
    compilation_cache: str | None = None
    """Folder of compiled programs, or off; None takes SSLAX_COMPILATION_CACHE, or $XDG_CACHE_HOME/sslax."""
    deterministic: bool = False
    """Take kernels on GPU that give the same bits in every run, so that a resumed run is exact there too; slower on GPU. On
    CPU every run is exact."""
    fsdp: bool = False
    """Spread parameters, optimiser and the method's state over the devices in place of a copy on each; for networks that do
    not fit otherwise."""
    distributed: DistributedConfig = DistributedConfig()


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as JSON has it (tuples as lists), with the method's name.

    Left out is what makes no other run: `run_dir`, as runs may be moved, `dry_run`, which is none, `tensorboard` and `knn`,
    which only watch, `keep_checkpoints`, what changes only the way that the same images take, or the memory of the same step,
    which may be another on another machine, as may the devices and how the run is spread over them, and `on_nan`, so that a
    run that was stopped may go on by skipping. `compilation_cache` and `deterministic` change how XLA compiles the same step.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    fields = plain(dataclasses.asdict(config))
    own = (
        "run_dir",
        "dry_run",
        "tensorboard",
        "keep_checkpoints",
        "on_nan",
        "feed",
        "workers",
        "cache",
        "remat",
        "knn",
        "compilation_cache",
        "deterministic",
    )
    for name in (*own, "fsdp", "distributed"):
        del fields[name]
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
    _at_least("accumulate", config.accumulate, 1)
    if config.batch_size % config.accumulate:
        raise InputError(f"accumulate is {config.accumulate}; it must divide batch_size, which is {config.batch_size}.")
    _at_least("log_every", config.log_every, 1)
    _at_least("eval_every", config.eval_every, 0)
    _at_least("checkpoint_every", config.checkpoint_every, 1)
    _at_least("keep_checkpoints", config.keep_checkpoints, 1)
    _at_least("workers", config.workers, 0)
    _at_least("seed", config.seed, 0)
    _at_least("split_seed", config.split_seed, 0)
    parse_colour("background", config.background)
    optional = {name: getattr(config, name) for name in ("limit", "canvas", "steps_per_call")}
    optional |= {f"network.{name}": getattr(config.network, name) for name in ("width", "depth", "patch_size")}
    for name, value in optional.items():
        if value is not None:
            _at_least(name, value, 1)
    for k in config.knn:
        if k not in (1, 20, 200):
            raise InputError(f"knn has {k}; every number of neighbours must be 1, 20 or 200.")
    optim = config.optim
    if not 0 < optim.lr < float("inf"):
        raise InputError(f"optim.lr is {optim.lr}; it must be a finite number above 0.")
    if optim.bias_lr is not None and not 0 < optim.bias_lr < float("inf"):
        raise InputError(f"optim.bias_lr is {optim.bias_lr}; it must be a finite number above 0.")
    _at_least("optim.weight_decay", optim.weight_decay, 0)
    _at_least("optim.warmup_epochs", optim.warmup_epochs, 0)
    _at_least("optim.start_lr", optim.start_lr, 0)
    _at_least("optim.end_lr", optim.end_lr, 0)
    if not 0 < optim.trust_coefficient < float("inf"):
        raise InputError(f"optim.trust_coefficient is {optim.trust_coefficient}; it must be a finite number above 0.")
    if optim.end_weight_decay is not None:
        _at_least("optim.end_weight_decay", optim.end_weight_decay, 0)
        if optim.name != "adamw":
            raise InputError(
                f"optim.end_weight_decay is {optim.end_weight_decay}; {optim.name} takes none, only adamw has a schedule."
            )
    if optim.warmup_epochs > config.epochs:
        raise InputError(
            f"optim.warmup_epochs is {optim.warmup_epochs:g}; it must be at most epochs, which is {config.epochs}."
        )
    if not 0 <= optim.momentum < 1:
        raise InputError(f"optim.momentum is {optim.momentum}; it must lie in [0, 1).")
    if config.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise InputError('tensorboard is True, which needs a package; install it by pip install "tensorboardX>=2.6".')
    if config.compilation_cache == "":
        raise InputError("compilation_cache is empty; it must be a folder, or off.")
    config.method.check(config)
    _check_network(config)
    processes.check(config.distributed)
    if config.dry_run and (config.distributed.auto or config.distributed.coordinator):
        raise InputError("dry_run is True, which is of one process; leave the flags of distributed out.")


def _check_network(config: Config) -> None:
    network = config.network
    if not 0 <= network.drop_path < 1:
        raise InputError(f"network.drop_path is {network.drop_path}; it must lie in [0, 1).")
    heads = heads_of(network.name)
    if heads and network.norm != "batch":
        raise InputError(
            f"network.norm is {network.norm}, which is of ResNets; {network.name} has LayerNorms, so it must be left at batch."
        )
    if network.norm == "group" and network.initial != "release":
        raise InputError(
            f"network.initial is {network.initial}; with network.norm group, of standardised weights, it must be release."
        )
    if heads and (network.width or heads) % heads:
        raise InputError(f"network.width is {network.width}; it must be a multiple of {network.name}'s {heads} heads.")
    patch = patch_side(network.name, stem=network.stem, patch_size=network.patch_size)
    for size in view_sizes(config.method.views):
        if patch and size % patch:
            name = "size" if size == config.method.views.size else "local_size"
            raise InputError(f"network.patch_size is {patch}; it must divide method.views.{name}, which is {size}.")


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
    if config.batch_size // config.accumulate % devices:
        raise InputError(
            f"accumulate is {config.accumulate}; the micro-batches of {config.batch_size // config.accumulate} images must be "
            f"a multiple of the {devices} devices."
        )
    for name in ("size", "local_size"):
        size = getattr(config.method.views, name, 0)
        if size > canvas:
            raise InputError(
                f"method.views.{name} is {size}, but the images are {canvas} pixels in memory; "
                f"it must be at most {canvas}, or canvas larger."
            )
