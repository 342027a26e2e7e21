"""The shared recipe of `experiments.benchmarks.peers`: the options, sslax's flags, and lightly's recipe derived from them.

The flags follow lightly's pipeline for CIFAR-10, `SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0)` and
`SimCLRProjectionHead`: crops of 0.08 to 1 of the area, brightness, contrast and saturation of 0.4, hue of 0.1, with
torchvision's sampling and semantics.
"""

import dataclasses
import os
import pathlib
from typing import Any, Literal

from PIL import Image

from sslax.augment.views import IMAGENET_MEAN, IMAGENET_STD
from sslax.config import Config, OptimizerConfig
from sslax.data import LazyDataset, LazySplit, open_lazily
from sslax.errors import InputError

Network = Literal["patch-resnet", "resnet18"]
WIDTHS: dict[str, int] = {"patch-resnet": 32, "resnet18": 64}
SIZE, NEIGHBOURS = 32, 20
_PATCH, _TEMPERATURE = 4, 0.07


@dataclasses.dataclass(frozen=True)
class Options:
    """SimCLR in sslax and in lightly on the same images: kNN and seconds."""

    data: str
    """Images: folder:PATH, with class folders of 32-pixel images in train/ and test/."""
    limit: int | None = 10_000
    """Take only the first N images of each split, the same number of each class; None takes all."""
    network: Network = "patch-resnet"
    """Backbone: the small one for CPUs, or ResNet-18."""
    epochs: int = 20
    """Passes over the training images; the warmup is two epochs, but at most a tenth of all."""
    batch_size: int = 256
    """Images per step."""
    lr: float = 3e-3
    """Peak learning rate of AdamW."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds; each is one run of each side."""
    peer_python: str | None = None
    """Python of an environment with lightly and torch; None uses this environment."""


def flags(options: Options, seed: int, precision: str = "auto") -> list[str]:
    """The command line of `sslax pretrain` that follows lightly's pipeline."""
    views: dict[str, Any] = {
        "size": SIZE,
        "crop-area": "0.08 1.0",
        "crop-sampling": "torchvision",
        "interpolation": "bilinear",
        "flip": 0.5,
        "jitter": 0.8,
        "strength": 0.5,
        "semantics": "torchvision",
        "jitter-order": "image",
        "grayscale": 0.2,
        "blur": 0.0,
        "mean": " ".join(map(str, IMAGENET_MEAN)),
        "std": " ".join(map(str, IMAGENET_STD)),
    }
    method = {"temperature": 0.5, "projector-layers": 2, "projector-dim": 128}
    network = {"name": options.network, "width": WIDTHS[options.network], "patch-size": _PATCH}
    optim: dict[str, Any] = {
        "name": "adamw",
        "lr": options.lr,
        "lr-scaling": "none",
        "warmup-epochs": min(2.0, options.epochs / 10),
        "warmup": "step",
        "end-lr": 0.0,
        "weight-decay": 1e-4,
        "momentum": 0.9,
    }
    if any(field.name == "schedule" for field in dataclasses.fields(OptimizerConfig)):
        # Stepped once an epoch, the warmup's first epoch would have a rate of 0.
        optim["schedule"] = "step"
    run: dict[str, Any] = {
        "limit": options.limit,
        "epochs": options.epochs,
        "batch-size": options.batch_size,
        "seed": seed,
    }
    run |= {"precision": precision, "eval-every": 0, "checkpoint-every": max(options.epochs, 1)}
    words = ["simclr-cifar10", "--data", options.data, "--optim.no-decay-all"]
    groups: dict[str, dict[str, Any]] = {
        "": run,
        "network.": network,
        "optim.": optim,
        "method.": method,
        "method.views.": views,
    }
    for group, values in groups.items():
        for name, value in values.items():
            words += [f"--{group}{name}", *str(value).split(" ")]
    return words


def recipe_of(config: Config, data: LazyDataset) -> dict[str, Any]:
    """The recipe for lightly's side: the numbers of sslax's configuration, and the files that sslax reads."""
    assert data.test is not None, "listed() has seen to it"
    method, network, optim = config.method, config.network, config.optim
    return {
        "train": files_of(data.train),
        "test": files_of(data.test),
        "classes": len(data.classes),
        "network": network.name,
        "width": network.width,
        "patch_size": network.patch_size,
        "size": method.views.size,
        "strength": method.views.strength,
        "blur": method.views.blur,
        "temperature": method.temperature,
        "projector_layers": method.projector_layers,
        "projector_dim": method.projector_dim,
        # Options that a configuration may lack; the defaults here describe its behaviour without them.
        "projector_offset": getattr(method, "projector_offset", False),
        "separate_views": getattr(method, "separate_views", False),
        "initial": getattr(network, "initial", "release"),
        "zero_residual": getattr(network, "zero_residual", True),
        "stem_relu": getattr(network, "stem_relu", True),
        "lr": optim.lr,
        "warmup_epochs": optim.warmup_epochs,
        "weight_decay": optim.weight_decay,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "k": NEIGHBOURS,
        "knn_temperature": _TEMPERATURE,
        "cores": len(os.sched_getaffinity(0)),
    }


def files_of(split: LazySplit) -> list[tuple[str, int]]:
    """Path and class of each image of a split."""
    stored = [split.fetch(index) for index in range(len(split))]
    return [(os.path.abspath(str(image.file)), image.label) for image in stored]


def listed(options: Options) -> LazyDataset:
    """List the images.

    Raises:
      InputError: unless they are class folders with a test split, and images of 32 pixels.
    """
    if not options.data.startswith("folder:"):
        raise InputError(f"data is {options.data}; it must be folder:PATH, files that both sides can read.")
    data = open_lazily(options.data, limit=options.limit)
    assert isinstance(data, LazyDataset), "a folder is listed"
    if not data.classes or data.test is None:
        raise InputError(f"data is {options.data}, which has no class folders or no test images; kNN needs both.")
    if len(data.train) < NEIGHBOURS:
        raise InputError(
            f"data is {options.data}, which has {len(data.train)} training images; it must have at least {NEIGHBOURS}."
        )
    first = files_of(data.train)[0][0]
    with Image.open(first) as image:
        if image.size != (SIZE, SIZE):
            width, height = image.size
            raise InputError(
                f"data is {options.data}, where {pathlib.Path(first).name} is {width}x{height} pixels; "
                f"all images must be {SIZE}x{SIZE}, like CIFAR-10."
            )
    return data
