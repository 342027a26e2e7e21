"""SimSiam, table 2: batch size. `python -m experiments.ablations.simsiam_batch`."""

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES, rate_for_batch
from experiments.ablations.table import Setting, Table

# The paper's batches and figures.
PAPER = ((4096, 64.0), (2048, 67.9), (1024, 68.0), (512, 68.1), (256, 68.1), (128, 67.3), (64, 66.1))
# How many of the paper's images one of ours stands for.
SHRUNK = {"digits": 8, "cifar10-cpu": 8, "cifar10": 4, "imagenette": 8}
# The smallest batches take most of the time.
LEFT_OUT = {"digits": 2, "cifar10-cpu": 2, "cifar10": 1, "imagenette": 2}


def settings(scale: str) -> list[Setting]:
    """Batches from the largest down by halves, for as many epochs each."""
    base = SCALES[scale].configs["simsiam"]
    return [
        Setting(
            f"batch {size // SHRUNK[scale]} (paper: {size})",
            {"batch_size": size // SHRUNK[scale], **rate_for_batch(base, size // SHRUNK[scale])},
            paper=paper,
            method="simsiam",
            baseline=size == 512,
            at=(size // SHRUNK[scale],),
        )
        for size, paper in PAPER[: len(PAPER) - LEFT_OUT[scale]]
    ]


TABLE = Table(
    name="simsiam_batch",
    title="SimSiam: batch size",
    source="Chen & He 2021, table 2; ResNet-50, ImageNet, 100 epochs, linear top-1",
    claim="Batches from 256 to 2048 do equally well, smaller ones lose little, and 4096 is too large for SGD.",
    settings=settings,
    seeds=3,
    figure="lines",
    x="batch",
)

if __name__ == "__main__":
    main(TABLE)
