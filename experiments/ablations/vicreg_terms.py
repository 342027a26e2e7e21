"""VICReg, table 7: its three terms. `python -m experiments.ablations.vicreg_terms`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

# Weights of invariance, variance and covariance, and the paper's figure; None is "collapse".
PAPER = (
    ((1.0, 0.0, 0.0), None),
    ((25.0, 0.0, 1.0), None),
    ((0.0, 25.0, 1.0), None),
    ((1.0, 1.0, 0.0), 57.5),
    ((1.0, 1.0, 1.0), None),
    ((1.0, 10.0, 1.0), None),
    ((10.0, 1.0, 1.0), None),
    ((5.0, 5.0, 1.0), 68.1),
    ((10.0, 10.0, 1.0), 68.2),
    ((25.0, 25.0, 1.0), 68.6),
    ((50.0, 50.0, 1.0), 68.3),
)


def settings(scale: str) -> list[Setting]:
    """The table's weights; where the paper says "collapse" and no figure, the row is to be worse."""
    return [
        Setting(
            f"invariance {weights[0]:g}, variance {weights[1]:g}, covariance {weights[2]:g}",
            dict(zip(("method.invariance", "method.variance", "method.covariance"), weights, strict=True)),
            paper=paper,
            paper_sign=0 if paper is not None else -1,
            method="vicreg",
            baseline=weights == (25.0, 25.0, 1.0),
        )
        for weights, paper in PAPER
    ]


TABLE = Table(
    name="vicreg_terms",
    title="VICReg: invariance, variance and covariance",
    source="Bardes et al. 2022, table 7; ResNet-50, ImageNet, 100 epochs, linear top-1",
    claim="Without the variance term VICReg collapses, without the covariance term it is much worse, and the weight of the "
    "covariance must be the smallest.",
    settings=settings,
    seeds=3,
    metrics=("feature_std", "projection_std"),
)

if __name__ == "__main__":
    main(TABLE)
