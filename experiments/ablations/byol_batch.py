"""BYOL, figure 3a: batch size, beside SimCLR. `python -m experiments.ablations.byol_batch`."""

from typing import Any

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES, rate_for_batch
from experiments.ablations.table import Setting, Table

SIZES = (4096, 2048, 1024, 512, 256, 128, 64)
PAPER = {
    "byol": (72.5, 72.4, 72.2, 72.2, 71.8, 69.6, 59.7),
    "simclr": (67.9, 67.8, 67.4, 66.5, 64.3, 63.6, 59.2),
}
# How many of the paper's images one of ours stands for.
SHRUNK = {"digits": 8, "cifar10-cpu": 8, "cifar10": 4, "imagenette": 8}
# The smallest batches take most of the time, and the digits' would be of eight images.
LEFT_OUT = {"digits": 2, "cifar10-cpu": 2, "cifar10": 1, "imagenette": 2}


def settings(scale: str) -> list[Setting]:
    """Batches from the largest down by halves, for as many epochs each; on the digits some also for as many steps each."""
    rows = []
    for method, figures in PAPER.items():
        name = {"byol": "BYOL", "simclr": "SimCLR"}[method]
        sizes = list(zip(SIZES, figures, strict=True))[: len(SIZES) - LEFT_OUT[scale]]
        rows += [_setting(scale, method, size, paper, group=name) for size, paper in sizes]
        if scale == "digits":
            base = SCALES[scale].configs[method]
            for size, paper in sizes[::2]:
                # A batch as large again makes half the steps of an epoch.
                epochs = base.epochs * size // SHRUNK[scale] // base.batch_size
                rows.append(_setting(scale, method, size, paper, group=f"tried: {name}, as many steps", epochs=epochs))
    return rows


def _setting(scale: str, method: str, size: int, paper: float, *, group: str, **changes: Any) -> Setting:
    batch = size // SHRUNK[scale]
    return Setting(
        f"batch {batch} (paper: {size})",
        {"batch_size": batch, **rate_for_batch(SCALES[scale].configs[method], batch), **changes},
        paper=paper,
        method=method,
        group=group,
        baseline=size == SIZES[0],
        at=(batch,),
    )


TABLE = Table(
    name="byol_batch",
    title="BYOL and SimCLR: batch size",
    source="Grill et al. 2020, figure 3a; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim="BYOL, which has no negatives, loses little down to a batch of 256, SimCLR loses from the start.",
    settings=settings,
    discussion={
        "digits": "Small batches are better, and BYOL gains more by them than SimCLR: in as many epochs of a small set "
        "they make more steps, and of those the largest batch has far too few. So the same was tried for as "
        "many steps: small batches are then no better, BYOL's smallest is worst in the mean, and no difference is seen."
    },
    seeds=3,
    figure="lines",
    x="batch",
)

if __name__ == "__main__":
    main(TABLE)
