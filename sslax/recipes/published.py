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
    linear: Literal["simclr", "byol", "dino"] | None = None
    remark: str = ""


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
    """

    config: str
    source: str
    data: Known
    figures: tuple[Figure, ...]
    gflops: float
    seconds: float | None = None
    device: str = ""


PROTOCOLS = {
    "knn200-best": "kNN k=200, τ=.1, best of all epochs",
    "knn20": "kNN k=20, τ=.07",
    "linear": "linear, frozen features",
}


def told(figure: Figure) -> str:
    """A published figure with its protocol."""
    return f"{100 * figure.value:.1f} % {PROTOCOLS[figure.protocol]}"


_LIGHTLY = "lightly, docs/source/getting_started/benchmarks.rst"

PUBLISHED: dict[str, Published] = {
    entry.config: entry
    for entry in (
        Published(
            "simclr-cifar10",
            f"{_LIGHTLY}, CIFAR-10",
            KNOWN["cifar10"],
            (Figure("knn200-best", 0.848),),
            6.66,
            87.1 * 60,
            "RTX A6000",
        ),
        Published(
            "byol-cifar10",
            f"{_LIGHTLY}, CIFAR-10",
            KNOWN["cifar10"],
            (Figure("knn200-best", 0.868),),
            8.9,
            108.3 * 60,
            "RTX A6000",
        ),
        Published(
            "dino-cifar10",
            f"{_LIGHTLY}, CIFAR-10",
            KNOWN["cifar10"],
            (Figure("knn200-best", 0.813),),
            8.91,
            108.6 * 60,
            "RTX A6000",
        ),
        Published(
            "simclr-cifar10-long",
            "google-research/simclr, README.md",
            KNOWN["cifar10"],
            (Figure("linear", 0.91, "simclr", "as the literature has it; the release names no figure"),),
            6.67,
        ),
        Published(
            "simclr-imagenette",
            f"{_LIGHTLY}, Imagenette",
            KNOWN["imagenette"],
            (Figure("knn200-best", 0.889),),
            6.99,
            193.5 * 60,
            "RTX A6000",
        ),
        Published(
            "dino-imagenette",
            f"{_LIGHTLY}, Imagenette",
            KNOWN["imagenette"],
            (Figure("knn200-best", 0.888),),
            14.9,
            312.3 * 60,
            "RTX A6000",
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
    )
}
