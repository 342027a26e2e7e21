"""Published results that the recipes are to reach: the source's figure, its protocol, and the images that it is about."""

import dataclasses
from typing import Literal

from sslax.data.known import KNOWN, Known


@dataclasses.dataclass(frozen=True)
class Figure:
    """One published accuracy.

    Attributes:
      protocol: "knn200-best", k=200 and temperature .1 after every epoch, the best of all; "knn20", k=20 and temperature .07 at
        the end, DINO's; or "linear", a linear classifier on frozen features.
      value: the accuracy in [0, 1].
      linear: whose linear protocol trains that classifier.
      remark: what a reader of the figure should know.
    """

    protocol: Literal["knn200-best", "knn20", "linear"]
    value: float
    linear: Literal["simclr", "byol", "dino", "barlow-twins", "vicreg", "moco-v3"] | None = None
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class Reached:
    """What a run of a recipe reached here, as `results/reproduced` has it: the mean over the seeds.

    Attributes:
      protocol: of the published figure.
      value: the accuracy in [0, 1], to a thousandth.
      device: where it ran.
      epochs: as the results' page has them: "185.05 of 200" of a run that its budget stopped.
    """

    protocol: Literal["knn200-best", "knn20", "linear"]
    value: float
    device: str
    epochs: str


@dataclasses.dataclass(frozen=True)
class Published:
    """What a source reports of a run that a named configuration repeats.

    Attributes:
      config: the configuration's name, which is also the result's.
      source: where the figures stand.
      data: the images.
      figures: the source's figures.
      gflops: model FLOPs of a training step for one image, in 10^9, as `sslax.training.flops` counts them.
      seconds: the source's own training time on the device beside it, where it says so.
      device: that device.
      reached: what runs here reached; a test keeps it equal to `results/reproduced`.
    """

    config: str
    source: str
    data: Known
    figures: tuple[Figure, ...]
    gflops: float
    seconds: float | None = None
    device: str = ""
    reached: tuple[Reached, ...] = ()


PROTOCOLS = {
    "knn200-best": "kNN k=200, τ=.1, best of all epochs",
    "knn20": "kNN k=20, τ=.07",
    "linear": "linear, frozen features",
}


def told(figure: Figure | Reached) -> str:
    """A figure with its protocol."""
    return f"{100 * figure.value:.1f} % {PROTOCOLS[figure.protocol]}"


_LIGHTLY = "lightly, docs/source/getting_started/benchmarks.rst"
_SOLO = "solo-learn, README.md"
_ONLINE = "online in the source"


def _lightly(config: str, value: float, gflops: float, minutes: float, *reached: Reached) -> Published:
    """An entry of lightly's tables, which are of one protocol and one device."""
    data = KNOWN[config.rpartition("-")[2]]
    figures = (Figure("knn200-best", value),)
    source = f"{_LIGHTLY}, {data.title}"
    return Published(config, source, data, figures, gflops, minutes * 60, "RTX A6000", reached)


def _on_h100(value: float, epochs: str) -> Reached:
    return Reached("knn200-best", value, "NVIDIA H100 80GB HBM3", epochs)


PUBLISHED: dict[str, Published] = {
    entry.config: entry
    for entry in (
        _lightly("simclr-cifar10", 0.848, 6.66, 87.1, Reached("knn200-best", 0.776, "NVIDIA H200", "185.05 of 200")),
        _lightly("byol-cifar10", 0.868, 8.9, 108.3),
        _lightly("dino-cifar10", 0.813, 8.91, 108.6),
        _lightly("simsiam-cifar10", 0.764, 6.75, 87.8),
        _lightly("barlow-twins-cifar10", 0.819, 6.75, 153.3, _on_h100(0.781, "200")),
        _lightly("swav-cifar10", 0.842, 6.66, 88.7),
        _lightly("nnclr-cifar10", 0.815, 6.71, 88.1),
        Published(
            "vicreg-cifar10",
            f"{_SOLO}, CIFAR-10",
            KNOWN["cifar10"],
            (Figure("linear", 0.9207, "byol", _ONLINE),),
            6.82,
        ),
        Published(
            "moco-v3-cifar10",
            f"{_SOLO}, CIFAR-10",
            KNOWN["cifar10"],
            (Figure("linear", 0.931, "byol", _ONLINE),),
            8.96,
        ),
        Published(
            "vicreg-cifar100",
            f"{_SOLO}, CIFAR-100",
            KNOWN["cifar100"],
            (Figure("linear", 0.6854, "byol", _ONLINE),),
            6.82,
        ),
        Published(
            "moco-v3-cifar100",
            f"{_SOLO}, CIFAR-100",
            KNOWN["cifar100"],
            (Figure("linear", 0.6883, "byol", _ONLINE),),
            8.96,
        ),
        Published(
            "simclr-cifar10-long",
            "google-research/simclr, README.md",
            KNOWN["cifar10"],
            (Figure("linear", 0.91, "simclr", "as the literature has it; the release names no figure"),),
            6.67,
        ),
        _lightly("simclr-imagenette", 0.889, 6.99, 193.5),
        _lightly("dino-imagenette", 0.888, 14.9, 312.3),
        _lightly("simsiam-imagenette", 0.872, 7.12, 206.4),
        _lightly("barlow-twins-imagenette", 0.852, 7.12, 298.5),
        _lightly("vicreg-imagenette", 0.845, 7.15, 205.6),
        _lightly("swav-imagenette", 0.902, 12.3, 283.2),
        _lightly("nnclr-imagenette", 0.884, 7.08, 212.5),
        _lightly("mae-imagenette", 0.610, 8.64, 248.2),
        Published(
            "lejepa-imagenette",
            "rbalestr-lab/lejepa, MINIMAL.md",
            KNOWN["imagenette"],
            (Figure("linear", 0.907, "byol", _ONLINE),),
            146.1,
            200 * 60,
            "one GPU",
        ),
        Published(
            "byol-imagenette",
            "deepmind-research, byol/README.md",
            KNOWN["imagenette"],
            (Figure("linear", 0.923, "byol", "online, on the training run's own features"),),
            9.43,
            4 * 3600,
            "V100",
        ),
        Published(
            "simclr-imagenet",
            "google-research/simclr, README.md; Chen et al. 2020, table B.1",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.645, "simclr"),),
            48.8,
        ),
        Published(
            "byol-imagenet",
            "Grill et al. 2020, table 5",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.725, "byol"),),
            65.3,
        ),
        Published(
            "dino-imagenet",
            "Caron et al. 2021, table 7",
            KNOWN["imagenet2012"],
            (Figure("knn20", 0.728), Figure("linear", 0.761, "dino")),
            114.0,
        ),
        Published(
            "ibot-imagenet",
            "bytedance/ibot, README.md",
            KNOWN["imagenet2012"],
            (
                Figure("knn20", 0.752, remark="the source tries k of 10, 20, 100 and 200"),
                Figure("linear", 0.779, "dino"),
            ),
            146.4,
        ),
        Published(
            "dinov2-imagenet-large",
            "facebookresearch/dinov2, README.md",
            KNOWN["imagenet2012"],
            (
                Figure("knn20", 0.816, remark="the source tries k of 10, 20, 100 and 200"),
                Figure("linear", 0.829, "dino", "the best of many classifiers in the source, here by DINO's protocol"),
            ),
            1538.5,
        ),
        Published(
            "simsiam-imagenet",
            "facebookresearch/simsiam, README.md; Chen & He 2021, table 1",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.681, "simclr", "by LARS in the source"),),
            48.9,
        ),
        Published(
            "barlow-twins-imagenet",
            "facebookresearch/barlowtwins, README.md",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.735, "barlow-twins"),),
            50.9,
        ),
        Published(
            "vicreg-imagenet",
            "facebookresearch/vicreg, README.md",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.732, "vicreg"),),
            51.3,
        ),
        Published(
            "moco-v3-imagenet",
            "facebookresearch/moco-v3, CONFIG.md",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.689, "moco-v3"),),
            65.3,
        ),
        Published(
            "moco-v3-imagenet-vit",
            "facebookresearch/moco-v3, CONFIG.md",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.732, "moco-v3"),),
            73.8,
        ),
        Published(
            "swav-imagenet",
            "facebookresearch/swav, README.md",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.721, "barlow-twins"),),
            75.8,
        ),
        Published(
            "nnclr-imagenet",
            "Dwibedi et al. 2021, abstract",
            KNOWN["imagenet2012"],
            (Figure("linear", 0.756, "simclr", "the abstract's figure; here by SimCLR's protocol"),),
            49.0,
        ),
    )
}
