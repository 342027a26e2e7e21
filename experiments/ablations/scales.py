"""The scales of the tables: the base configuration of each method, its images and its length."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from experiments.ablations.table import changed
from sslax.augment import BYOLViews, DINOViews, SimCLRViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.methods import BYOL, DINO, BarlowTwins, MoCoV3, SimCLR, SimSiam, SwAV, VICReg
from sslax.recipes import CONFIGS

ScaleName = Literal["digits", "cifar10-cpu", "cifar10", "imagenette"]


@dataclasses.dataclass(frozen=True)
class Scale:
    """A scale at which a table can be run.

    Attributes:
      name: name on the command line.
      about: images, network and machine, in a few words.
      configs: the base configuration of each method.
      photographs: whether the images have colours and objects.
      resplit: whether each seed holds out different images, because the set has no test split.
    """

    name: str
    about: str
    configs: Mapping[str, Config]
    photographs: bool = True
    resplit: bool = False


# The optimiser of the BYOL paper, with a learning rate for small batches.
LARS: dict[str, Any] = {
    "optim.name": "lars",
    "optim.lr": 0.5,
    "optim.lr_scaling": "linear",
    "optim.weight_decay": 1e-6,
    "optim.lr_after_momentum": True,
}

# Runs of a grid need no kNN during training, and only the last checkpoint.
_LEAN: dict[str, Any] = {"eval_every": 0, "keep_checkpoints": 1, "online_probe": False}


def _digits() -> Scale:
    # In the same time, this batch size gives twice the steps of 256. DINO uses a ResNet, which learns three times as fast as
    # a ViT.
    half: dict[str, Any] = {"epochs": 40, "batch_size": 128}
    own = {
        "simclr": half,
        "byol": half,
        "dino": {"epochs": 40, "network": CONFIGS["simclr-digits"].network},
        "simsiam": half,
        "barlow-twins": half,
        "vicreg": half,
        "moco-v3": half,
        "swav": half,
    }
    configs = {name: _lean(CONFIGS[f"{name}-digits"], changes, log_every=10) for name, changes in own.items()}
    about = "1,437 gray digits of 8 pixels, a network of a few layers, two CPU cores"
    return Scale("digits", about, configs, photographs=False, resplit=True)


# The base configurations of the tables on photographs of 32 pixels. They are separate from the named configurations, which
# follow benchmarks of other codebases, so that the tables do not change with them.
_PLAIN = BYOLViews(size=32, saturation=0.4, semantics="torchvision", blur=(0.0, 0.0), solarize=(0.0, 0.0))
_PHOTOGRAPHS: dict[str, Any] = {
    "simclr": SimCLR(views=SimCLRViews.small(32), temperature=0.5, projector_layers=3),
    "byol": BYOL(
        views=_PLAIN,
        decay=0.99,
        decay_schedule="constant",
        projector_hidden=1024,
        predictor_hidden=1024,
    ),
    "dino": DINO(
        views=DINOViews(
            size=32,
            local_size=16,
            local_crops=0,
            saturation=0.4,
            blur=(0.0, 0.0, 0.0),
            solarize=(0.0, 0.0),
        ),
        prototypes=2048,
        head_layers=2,
        head_batch_norm=True,
        teacher_temperature=0.04,
        teacher_temperature_epochs=0,
        decay=0.99,
        decay_schedule="constant",
    ),
    "simsiam": SimSiam(
        views=dataclasses.replace(SimCLRViews.small(32), crop_area=(0.2, 1.0)),
        projector_hidden=1024,
        projector_dim=1024,
        projector_layers=2,
        predictor_hidden=256,
    ),
    "barlow-twins": BarlowTwins(
        views=_PLAIN, projector_hidden=1024, projector_dim=1024, projector_layers=2, off_diagonal=0.005
    ),
    "vicreg": VICReg(views=_PLAIN, projector_hidden=1024, projector_dim=1024),
    "moco-v3": MoCoV3(views=_PLAIN, projector_hidden=1024, predictor_hidden=1024, temperature=0.2),
    "swav": SwAV(
        views=DINOViews(
            size=32,
            global_area=(0.14, 1.0),
            local_size=16,
            local_crops=0,
            saturation=0.4,
            blur=(0.0, 0.0, 0.0),
            solarize=(0.0, 0.0),
        ),
        projector_hidden=512,
        prototypes=512,
    ),
}


def _cifar10_cpu() -> Scale:
    small = {
        "network": NetworkConfig(name="patch-resnet", width=32),
        "optim": OptimizerConfig(name="adamw", lr=3e-3, warmup_epochs=2.0),
        "limit": 10_000,
        "epochs": 10,
        "batch_size": 256,
    }
    configs = {
        name: _lean(CONFIGS[f"{name}-cifar10"], {**small, "method": method}, log_every=10)
        for name, method in _PHOTOGRAPHS.items()
    }
    return Scale("cifar10-cpu", "10,000 images of CIFAR-10, a network of a few layers, two CPU cores", configs)


def _cifar10() -> Scale:
    own = {"epochs": 100, "batch_size": 512, "network": NetworkConfig(name="resnet18")}
    # Each uses the optimiser of a recipe; BYOL's gradient has the same scale as in its recipe.
    named = {name: f"{name}-cifar10" for name in _PHOTOGRAPHS} | {"simclr": "simclr-cifar10-long"}
    methods = _PHOTOGRAPHS | {"byol": dataclasses.replace(_PHOTOGRAPHS["byol"], loss_scale=0.25)}
    configs = {
        name: _lean(CONFIGS[named[name]], {**own, "method": method}, log_every=50) for name, method in methods.items()
    }
    return Scale("cifar10", "CIFAR-10, ResNet-18, one GPU", configs)


def _imagenette() -> Scale:
    own = {"epochs": 200, "batch_size": 256}
    configs = {name: _lean(CONFIGS[f"{name}-imagenette"], own, log_every=50) for name in _PHOTOGRAPHS}
    return Scale("imagenette", "Imagenette at 128 pixels, ResNet-18, one GPU", configs)


def _lean(config: Config, changes: Mapping[str, Any], *, log_every: int) -> Config:
    config = changed(config, {**changes, **_LEAN, "log_every": log_every})
    # A run of a few minutes is saved at its end, or when it is stopped; a long run also during training.
    return changed(config, {"checkpoint_every": config.epochs if config.epochs <= 50 else 20})


def rate_for_batch(config: Config, batch: int) -> dict[str, float]:
    """The learning rate: Adam's scales with the root of the batch; others scale in their configuration, or here linearly."""
    optim = config.optim
    if optim.name == "adamw":
        return {"optim.lr": optim.lr * (batch / 256) ** 0.5}
    return {"optim.lr": optim.lr * batch / 512} if optim.lr_scaling == "none" else {}


SCALES = {scale.name: scale for scale in (_digits(), _cifar10_cpu(), _cifar10(), _imagenette())}
assert tuple(SCALES) == get_args(ScaleName)
