"""SimCLR, figure 9: batch size and length of training. `python -m experiments.ablations.simclr_batch_epochs`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

PAPER = {
    256: (57.5, 61.9, 64.7, 66.6),
    1024: (62.8, 65.3, 67.2, 68.5),
    4096: (64.6, 66.5, 68.2, 68.9),
}
# Smaller batches and fewer epochs replace the paper's; the largest batch is sixteen times the smallest, and the longest run
# eight times the shortest.
BATCHES = {
    "digits": (32, 128, 512),
    "cifar10-cpu": (64, 256, 1024),
    "cifar10": (64, 256, 1024),
    "imagenette": (32, 128, 512),
}
EPOCHS = {
    "digits": (10, 20, 40, 80),
    "cifar10-cpu": (5, 10, 20, 40),
    "cifar10": (50, 100, 200, 400),
    "imagenette": (50, 100, 200, 400),
}


def settings(scale: str) -> list[Setting]:
    """Three batch sizes and four training lengths; the learning rate grows with the batch size, as in the paper."""
    # Adam's rate scales with the root of the batch size, LARS' and SGD's linearly; the factor is 1 at the base batch size.
    rows = []
    for batch, (of, figures) in zip(BATCHES[scale], PAPER.items(), strict=True):
        for epochs, length, paper in zip(EPOCHS[scale], (100, 200, 400, 800), figures, strict=True):
            rows.append(
                Setting(
                    f"batch {batch}, {epochs} epochs (paper: {of}, {length})",
                    {"batch_size": batch, "epochs": epochs, **_rate(scale, batch)},
                    paper=paper,
                    baseline=(of, length) == (256, 100),
                    at=(epochs, batch),
                )
            )
    return rows


def _rate(scale: str, batch: int) -> dict[str, float]:
    if scale in ("digits", "cifar10-cpu"):
        return {"optim.lr": 3e-3 * (batch / 256) ** 0.5}
    return {"optim.lr": batch / 512} if scale == "cifar10" else {"optim.lr": 0.075}


TABLE = Table(
    name="simclr_batch_epochs",
    title="SimCLR: batch size and length of training",
    source="Chen et al. 2020, figure 9; ResNet-50, ImageNet, linear top-1",
    claim=(
        "Larger batches are better for short training, and more so the shorter it is. Longer training is always better."
    ),
    settings=settings,
    discussion={
        "digits": (
            "As in the paper, longer training is better for every batch size, until the linear probe is near its "
            "ceiling. Larger batches are not better for short training: with so small a dataset, an epoch has "
            "only a few steps of a large batch. The shortest training has a few dozen steps, the paper's shortest "
            "has tens of thousands."
        )
    },
    seeds=3,
    figure="lines",
    x="epochs",
)

if __name__ == "__main__":
    main(TABLE)
