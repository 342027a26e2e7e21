"""DINO, appendix C: K, the width of the head's output. `python -m experiments.ablations.dino_prototypes`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

# The paper's K and figures; the values of K between the first and the last are 4,096, 16,384 and 65,536.
PAPER = ((1024, 67.8), (4096, 69.3), (16384, 69.2), (65536, 69.7), (262144, 69.1))
# The paper's K divided by ours.
SHRUNK = {"digits": 64, "cifar10-cpu": 32, "cifar10": 16, "imagenette": 16}


def settings(scale: str) -> list[Setting]:
    """Five widths, each four times the one before."""
    return [
        Setting(
            f"K {k // SHRUNK[scale]:,} (paper: {k:,})",
            {"method.prototypes": k // SHRUNK[scale]},
            paper=paper,
            method="dino",
            measure="knn20",
            baseline=k == 65536,
            at=(k // SHRUNK[scale],),
        )
        for k, paper in PAPER
    ]


TABLE = Table(
    name="dino_prototypes",
    title="DINO: number of prototypes",
    source="Caron et al. 2021, appendix C; ViT-S/16, ImageNet, 100 epochs, kNN",
    claim="A wider output is better, up to tens of thousands of dimensions.",
    settings=settings,
    discussion={
        "digits": (
            "As in the paper, more prototypes are better up to a point, after which their number does not matter. "
            "No difference is larger than the spread."
        )
    },
    seeds=3,
    figure="lines",
    x="K",
)

if __name__ == "__main__":
    main(TABLE)
