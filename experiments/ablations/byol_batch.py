"""BYOL, figure 3a: batch size, beside SimCLR. `python -m experiments.ablations.byol_batch`."""

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES
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
    """Batches from the largest down by halves, for as many epochs each."""
    rows = []
    for method, figures in PAPER.items():
        for size, paper in list(zip(SIZES, figures, strict=True))[: len(SIZES) - LEFT_OUT[scale]]:
            batch = size // SHRUNK[scale]
            rows.append(
                Setting(
                    f"batch {batch} (paper: {size})",
                    {"batch_size": batch, **_rate(scale, method, batch)},
                    paper=paper,
                    method=method,
                    group={"byol": "BYOL", "simclr": "SimCLR"}[method],
                    baseline=size == SIZES[0],
                    at=(batch,),
                )
            )
    return rows


def _rate(scale: str, method: str, batch: int) -> dict[str, float]:
    """Adam's rate by the root of the batch; the others' are scaled by their configurations, or here in proportion."""
    optim = SCALES[scale].configs[method].optim
    if optim.name == "adamw":
        return {"optim.lr": optim.lr * (batch / 256) ** 0.5}
    return {"optim.lr": optim.lr * batch / 512} if optim.lr_scaling == "none" else {}


TABLE = Table(
    name="byol_batch",
    title="BYOL and SimCLR: batch size",
    source="Grill et al. 2020, figure 3a; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim="BYOL, which has no negatives, loses little down to a batch of 256, SimCLR loses from the start.",
    settings=settings,
    seeds=3,
    figure="lines",
    x="batch",
)

if __name__ == "__main__":
    main(TABLE)
