"""Barlow Twins, table 5 and figure 5: λ, the weight off the diagonal. `python -m experiments.ablations.barlow_lambda`."""

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table

# λ over the baseline's, and the paper's figure. The figure shows the others within a per cent of each other.
ROWS = ((0.0, 57.3), (0.2, None), (0.4, None), (1.0, 71.4), (2.0, None), (4.0, None))


def settings(scale: str) -> list[Setting]:
    """λ of 0, which leaves the invariance term alone, and from a fifth of the baseline's to four times as much."""
    base = SCALES[scale].configs["barlow-twins"].method.off_diagonal
    return [
        Setting(
            "λ 0: invariance alone" if not times else f"λ {times * base:.3g} (paper: {times * 0.005:.3g})",
            {"method.off_diagonal": times * base},
            paper=paper,
            method="barlow-twins",
            baseline=times == 1,
            at=(times * base,),
        )
        for times, paper in ROWS
    ]


TABLE = Table(
    name="barlow_lambda",
    title="Barlow Twins: λ",
    source="Zbontar et al. 2021, table 5 and figure 5; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim="Without the redundancy term much is lost; the weight of that term matters little.",
    settings=settings,
    seeds=3,
    figure="lines",
    x="λ",
    metrics=("feature_std", "projection_std"),
)

if __name__ == "__main__":
    main(TABLE)
