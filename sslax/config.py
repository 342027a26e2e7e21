"""The typed configuration of a run, and the checks that run before anything is compiled.

Every field is a command-line flag. The flag's name follows the nesting: `--optim.lr`, `--method.views.size`. The named
configurations are in `sslax/recipes`; each method defines its own options in its file in `sslax/methods`.
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
    """What every method's options must provide: the method's name in `METHODS`, its views, and a check of the options."""

    NAME: ClassVar[str]
    views: Any

    def check(self, config: "Config") -> None: ...


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The backbone."""

    name: Literal[
        "resnet18", "resnet34", "resnet50", "patch-resnet", "vit-tiny", "vit-small", "vit-base", "vit-micro"
    ] = "resnet18"
    """Backbone; patch-resnet and vit-micro are small networks for CPUs."""
    stem: Literal["auto", "imagenet", "small", "patch"] = "auto"
    """First layers of a ResNet; auto uses a 3x3 convolution of stride 1 (small) for views of up to 32 pixels, and
    torchvision's stem (imagenet) for larger views."""
    width: int | None = None
    """Channels of a ResNet's first stage, or of a ViT's tokens; None uses the width that belongs to the name."""
    depth: int | None = None
    """Number of blocks of a ViT; None uses the depth that belongs to the name."""
    patch_size: int | None = None
    """Side of the patches of a ViT or of a patch stem, in pixels; None is 16 for the papers' ViTs and 4 for the small
    networks."""
    drop_path: float = 0.1
    """Stochastic depth: the probability of dropping a ViT's last block in training; earlier blocks have a lower one."""
    norm: Literal["batch", "group", "none"] = "batch"
    """Normalisation of a ResNet: batch (BatchNorm), group (GroupNorm with standardised weights, which does not mix
    images of a batch), or none. Only batch can be exported to torch."""
    initial: Literal["release", "torch", "torchvision"] = "release"
    """Initialisation of a ResNet's convolutions and of the heads on it: release, as in the methods' released code; torch,
    torch's defaults; torchvision, He's normal over the fan-out for convolutions, and torch's defaults for the heads."""
    zero_residual: bool = True
    """Initialise the scale of the last norm of each ResNet block to 0, so that each block starts as the identity;
    otherwise to 1."""
    stem_relu: bool = True
    """Apply a ReLU after the norm of a ResNet's stem; lightly's benchmark on CIFAR-10 does not."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser and its learning rate schedule: a linear warmup, then a cosine."""

    name: Literal["adamw", "sgd", "lars"] = "adamw"
    """Optimiser."""
    lr: float = 1e-3
    """Base learning rate, before scaling by the batch size."""
    bias_lr: float | None = None
    """Base learning rate of biases and of the parameters of norms, as in Barlow Twins; None uses lr."""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """How the batch size scales the learning rate: none, linear (lr·batch/256) or sqrt (lr·√batch)."""
    warmup_epochs: float = 10.0
    """Epochs of linear warmup."""
    start_lr: float = 0.0
    """Learning rate that the warmup starts from; not scaled by the batch."""
    end_lr: float = 0.0
    """Learning rate at the end of the cosine; not scaled by the batch size."""
    warmup: Literal["step", "dino"] = "step"
    """Warmup convention: step increases from 0 in equal steps (SimCLR, BYOL); dino reaches the peak at the last warmup
    step and has it again at the first step of the cosine (DINO)."""
    schedule: Literal["step", "epoch"] = "step"
    """When the learning rate changes: at every step, or once per epoch, as torch's schedulers are usually stepped."""
    weight_decay: float = 1e-4
    """Weight decay."""
    end_weight_decay: float | None = None
    """Weight decay at the end of its cosine schedule (AdamW only); None keeps it constant."""
    decay_all: bool = False
    """Also apply weight decay (and LARS adaptation) to biases and to the parameters of norms; the papers exclude them."""
    momentum: float = 0.9
    """Momentum of SGD and LARS; b1 of AdamW."""
    lr_after_momentum: bool = False
    """LARS only: multiply by the learning rate after the momentum (BYOL) instead of before it (SimCLR)."""
    trust_coefficient: float = 1e-3
    """LARS only: η, the length of a step relative to the parameters, at a learning rate of 1."""
    clip_trust: bool = False
    """LARS only: use the lower of the learning rate and the tensor's own rate, as LARC does, instead of their product."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A pretraining run. The fields that most people change come first, in `--help` too."""

    method: Any
    """The options of the method."""
    data: str = "digits"
    """Images: digits; folder:PATH (a folder per class, or unlabelled images; train/ and test/ or val/ if they exist); or
    tfds:NAME[/CONFIG][:SPLIT], a dataset that TensorFlow Datasets has prepared."""
    run_dir: str | None = None
    """Folder of the run; None is runs/CONFIG. Run the same command again to resume a stopped run."""
    epochs: int = 200
    """Passes over the training images."""
    batch_size: int = 256
    """Images per step, over all devices."""
    seed: int = 0
    """Seed of the initialisation, the order of the images and the views."""
    canvas: int | None = None
    """Side in pixels of the square that every image is resized to in memory, whatever its aspect ratio; None keeps the
    size of images that are square and all of one size."""
    limit: int | None = None
    """Use only the first N images of each split, with the same number from each class."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type of the networks' arithmetic; auto is bfloat16 on GPU and TPU, and float32 on CPU."""
    init_from: str | None = None
    """Initial weights of the backbone: a safetensors file that uses torchvision's, timm's or DINO's names."""
    dry_run: bool = False
    """Show what the run would need (parameters, memory, FLOPs, images/s, hours, disk) and write nothing."""
    network: NetworkConfig = NetworkConfig()
    optim: OptimizerConfig = OptimizerConfig()
    allow_unreadable: bool = False
    """Continue even if more than 1 % of the image files cannot be read."""
    exif: bool = True
    """Rotate photographs upright by their EXIF orientation; --no-exif keeps the pixels as they are stored."""
    background: str = "255,255,255"
    """Background colour behind transparent pixels: R,G,B from 0 to 255."""
    split_seed: int = 0
    """Seed that chooses the held-out test images if the data has no test split."""
    feed: Literal["auto", "resident", "streamed"] = "auto"
    """Where the images are kept: in device memory (resident), or on disk and decoded when needed (streamed); auto is
    resident if they take up to 40 % of the free memory. Both give the same batches."""
    workers: int = 0
    """Number of processes that decode streamed images; 0 decodes in threads of the main process."""
    cache: str | None = None
    """Folder for decoded images. The first run writes them; later runs read them and decode nothing."""
    remat: bool = False
    """Rematerialisation: keep only the activations between the backbone's blocks, and recompute those inside the blocks
    for the gradient. It saves memory and costs a third more arithmetic."""
    accumulate: int = 1
    """Number of micro-batches per batch. They are computed one after the other and their gradients are averaged, which
    saves memory. The result is exact if no computation mixes images of a batch, as for DINO on a ViT; BatchNorm and
    negatives see the micro-batch only."""
    online_probe: bool = False
    """Train a linear classifier on the features during pretraining. It uses the labels, and it does not affect the
    network."""
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do if the loss or the gradient is not finite: stop the run, or skip that update and count it."""
    on_collapse: Literal["warn", "stop", "ignore"] = "warn"
    """What to do if the features collapse: warn and continue, stop the run, or do not check (ignore)."""
    steps_per_call: int | None = None
    """Steps per call of the compiled loop, for resident images; None is 1 on CPU and 10 elsewhere. Streamed images always
    take one step per call."""
    log_every: int = 10
    """Steps between lines of metrics."""
    eval_every: int = 10
    """Epochs between kNN evaluations; 0 turns them off."""
    knn: tuple[Literal[1, 20, 200], ...] = (1, 20)
    """Numbers of neighbours in the kNN evaluations: 1 and 20 vote by DINO's protocol (temperature 0.07), 200 by lightly's
    (0.1)."""
    checkpoint_every: int = 10
    """Epochs between checkpoints."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep. The checkpoint with the best kNN accuracy is kept too, and is saved as soon as
    it is measured."""
    tensorboard: bool = False
    """Also write the metrics as TensorBoard scalars, to the folder tensorboard inside the run; needs tensorboardX."""
    compilation_cache: str | None = None
    """Folder for compiled programs, or off; None uses SSLAX_COMPILATION_CACHE if it is set, otherwise
    $XDG_CACHE_HOME/sslax."""
    deterministic: bool = False
    """Use GPU kernels that give bit-identical results in every run, so that a resumed run is exact; slower on GPU. On CPU
    every run is exact."""
    fsdp: bool = False
    """Shard the parameters, the optimiser state and the method's state over the devices instead of keeping a copy on each;
    for networks that do not fit otherwise."""
    distributed: DistributedConfig = DistributedConfig()


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as JSON values (tuples become lists), with the method's name.

    It leaves out the fields that you may change when you resume a run:

    - `run_dir`, because you may move a run, and `dry_run`, which trains nothing;
    - `tensorboard`, `knn` and `keep_checkpoints`, which do not affect training;
    - `feed`, `workers`, `cache`, `remat`, `fsdp` and `distributed`, which adapt the same training to another machine;
    - `on_nan`, so that a run that stopped can resume with `skip`;
    - `compilation_cache` and `deterministic`, which change only how XLA compiles the same step.
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
    """The differences between two configurations from `to_dict`, as text: "optim.lr: 0.1 there, 0.3 here"."""
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
    """Raise InputError for the first value that cannot work. The check needs neither data nor devices."""
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
                f"optim.end_weight_decay is {optim.end_weight_decay}; it must be None, because {optim.name} has no schedule "
                "of the weight decay; only adamw has one."
            )
    if optim.warmup_epochs > config.epochs:
        raise InputError(
            f"optim.warmup_epochs is {optim.warmup_epochs:g}; it must be at most epochs, which is {config.epochs}."
        )
    if not 0 <= optim.momentum < 1:
        raise InputError(f"optim.momentum is {optim.momentum}; it must lie in [0, 1).")
    if config.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise InputError('tensorboard is True, which needs tensorboardX; run pip install "tensorboardX>=2.6".')
    if config.compilation_cache == "":
        raise InputError("compilation_cache is empty; it must be a folder, or off.")
    config.method.check(config)
    _check_network(config)
    processes.check(config.distributed)
    if config.dry_run and (config.distributed.auto or config.distributed.coordinator):
        raise InputError("dry_run is True, which runs in a single process; leave out the flags of distributed.")


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
            f"network.initial is {network.initial}; with network.norm group, which standardises the weights, it must be "
            "release."
        )
    if heads and (network.width or heads) % heads:
        raise InputError(f"network.width is {network.width}; it must be a multiple of {network.name}'s {heads} heads.")
    patch = patch_side(network.name, stem=network.stem, patch_size=network.patch_size)
    for size in view_sizes(config.method.views):
        if patch and size % patch:
            name = "size" if size == config.method.views.size else "local_size"
            raise InputError(f"network.patch_size is {patch}; it must divide method.views.{name}, which is {size}.")


def check_against_data(config: Config, *, images: int, canvas: int, devices: int) -> None:
    """Raise InputError if the configuration does not fit the data or the devices.

    Args:
      config: a configuration that passed `check`.
      images: number of training images.
      canvas: side of the images in memory, in pixels.
      devices: number of devices that share a batch.
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
                f"it must be at most {canvas}, or canvas must be larger."
            )
