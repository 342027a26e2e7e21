"""The checks of a configuration that run before anything is compiled."""

import importlib.util

from sslax import processes
from sslax.augment import view_sizes
from sslax.checks import parse_colour
from sslax.config.fields import Config
from sslax.errors import InputError
from sslax.networks import heads_of, patch_side, token_width


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
    optional |= {f"network.{name}": getattr(config.network, name) for name in ("width", "depth", "heads", "patch_size")}
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
    for name in ("momentum", "b2"):
        if not 0 <= getattr(optim, name) < 1:
            raise InputError(f"optim.{name} is {getattr(optim, name)}; it must lie in [0, 1).")
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
    heads = heads_of(network.name, network.heads)
    _at_least("network.registers", network.registers, 0)
    for name in ("layer_scale", "norm_epsilon", "mlp_ratio"):
        value = getattr(network, name)
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"network.{name} is {value}; it must be a finite number above 0.")
    if heads and network.norm != "batch":
        raise InputError(
            f"network.norm is {network.norm}, which is of ResNets; {network.name} has LayerNorms, so it must be left at batch."
        )
    if network.norm == "group" and network.initial != "release":
        raise InputError(
            f"network.initial is {network.initial}; with network.norm group, which standardises the weights, it must be "
            "release."
        )
    width = token_width(network.name, network.width)
    if heads and width % heads:
        raise InputError(f"network.width is {width}; it must be a multiple of {network.name}'s {heads} heads.")
    _check_initial(config)
    if heads and network.positions == "rope" and width // heads % 4:
        raise InputError(
            f"network.positions is rope, but a head has {width // heads} channels; network.width must give a multiple of 4."
        )
    patch = patch_side(network.name, stem=network.stem, patch_size=network.patch_size)
    for size in view_sizes(config.method.views):
        if patch and size % patch:
            name = "size" if size == config.method.views.size else "local_size"
            below = max(1, size // patch) * patch
            raise InputError(
                f"network.patch_size is {patch}; it must divide method.views.{name}, which is {size}; it divides "
                f"{below} and {below + patch}."
            )


def _check_initial(config: Config) -> None:
    network = config.network
    vit = heads_of(network.name) is not None
    known = ("release", "mae", "moco-v3") if vit else ("release", "torch", "torchvision")
    if network.initial not in known:
        raise InputError(
            f"network.initial is {network.initial}; for {network.name} it must be one of {', '.join(known)}."
        )
    width = token_width(network.name, network.width)
    if vit and network.initial != "release" and width % 4:
        raise InputError(f"network.width is {width}; sine-cosine positions need a multiple of 4.")


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
