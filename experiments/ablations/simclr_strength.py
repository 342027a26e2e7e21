"""SimCLR, table 1: strength of the colour jitter. `python -m experiments.ablations.simclr_strength`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """Strengths of 1/8 to 1, and 1 with blur."""
    rows = [(0.125, 59.6), (0.25, 61.0), (0.5, 62.6), (1.0, 63.2)]
    strengths = [
        Setting(
            f"strength {strength:g}",
            {"method.views.strength": strength, "method.views.blur": 0.0},
            paper=paper,
            baseline=strength == 1,
            photographs=True,
            at=(strength,),
        )
        for strength, paper in rows
    ]
    blurred = {"method.views.strength": 1.0, "method.views.blur": 0.5}
    return [*strengths, Setting("strength 1, blur", blurred, paper=64.5, photographs=True)]


TABLE = Table(
    name="simclr_strength",
    title="SimCLR: strength of the colour jitter",
    source="Chen et al. 2020, table 1; ResNet-50, ImageNet, 100 epochs, linear top-1",
    claim="Stronger colour augmentation improves self-supervised features, although it harms supervised learning.",
    settings=settings,
    seeds=3,
)

if __name__ == "__main__":
    main(TABLE)
