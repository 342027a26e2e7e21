"""BYOL, figure 3a: batch size, with SimCLR. `python -m experiments.ablations.byol_batch`."""

from typing import Any

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES, rate_for_batch
from experiments.ablations.table import Setting, Table

SIZES = (4096, 2048, 1024, 512, 256, 128, 64)
PAPER = {
    "byol": (72.5, 72.4, 72.2, 72.2, 71.8, 69.6, 59.7),
    "simclr": (67.9, 67.8, 67.4, 66.5, 64.3, 63.6, 59.2),
}
# The paper's batch size divided by ours.
SHRUNK = {"digits": 8, "cifar10-cpu": 8, "cifar10": 4, "imagenette": 8}
# Number of the smallest batch sizes to leave out: they take the most time, and on digits they would have eight images.
LEFT_OUT = {"digits": 2, "cifar10-cpu": 2, "cifar10": 1, "imagenette": 2}


def settings(scale: str) -> list[Setting]:
    """Batch sizes, each half the previous one, with equal epochs; on digits some also with equal steps."""
    rows = []
    for method, figures in PAPER.items():
        name = {"byol": "BYOL", "simclr": "SimCLR"}[method]
        sizes = list(zip(SIZES, figures, strict=True))[: len(SIZES) - LEFT_OUT[scale]]
        rows += [_setting(scale, method, size, paper, group=name) for size, paper in sizes]
        if scale == "digits":
            base = SCALES[scale].configs[method]
            for size, paper in sizes[::2]:
                # Twice the batch gives half the steps per epoch.
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
    claim=(
        "BYOL, which has no negatives, loses little down to a batch size of 256; SimCLR loses accuracy at every "
        "reduction."
    ),
    settings=settings,
    discussion={
        "digits": (
            "Small batches are better, and BYOL gains more from them than SimCLR. On a small dataset, the same "
            "number of epochs has more steps with small batches, and far too few with the largest batch. So the "
            "rows were repeated with the same number of steps. Small batches are then no better, BYOL's smallest "
            "batch has the lowest mean, and no difference is seen."
        )
    },
    seeds=3,
    figure="lines",
    x="batch",
)

if __name__ == "__main__":
    main(TABLE)
