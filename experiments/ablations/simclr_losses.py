"""SimCLR, table 4: five contrastive losses. `python -m experiments.ablations.simclr_losses`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """NT-Xent, and the logistic and the margin loss, each with all negatives and with semi-hard negatives."""
    logistic, margin = {"method.loss": "nt-logistic"}, {"method.loss": "margin"}
    mined = {"method.semi_hard": True}
    return [
        Setting("NT-Xent", {}, paper=63.9, baseline=True),
        Setting("NT-Logistic", logistic, paper=51.6),
        Setting("margin triplet", margin, paper=50.9),
        Setting("NT-Logistic, semi-hard", {**logistic, **mined}, paper=57.9),
        Setting("margin triplet, semi-hard", {**margin, **mined}, paper=57.5),
    ]


TABLE = Table(
    name="simclr_losses",
    title="SimCLR: the contrastive loss",
    source="Chen et al. 2020, table 4; ResNet-50, ImageNet, 100 epochs, linear top-1",
    claim="NT-Xent is best. Semi-hard negatives improve the other losses, but these stay far behind.",
    settings=settings,
    discussion={
        "digits": (
            "The linear probe is near its ceiling in every row, and so are the raw pixels. So digits do not "
            "distinguish the losses."
        )
    },
    seeds=5,
)

if __name__ == "__main__":
    main(TABLE)
