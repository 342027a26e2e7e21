"""DINO, table 8: multi-crop. `python -m experiments.ablations.dino_crops`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

# Number of local crops, and the paper's figures after 300 epochs.
ROWS = ((0, 72.5), (2, 74.5), (6, 75.9), (10, 76.1))


def settings(scale: str) -> list[Setting]:
    """Two global crops and 0 to 10 local ones."""
    size = {"cifar10": {"method.views.local_size": 16}, "cifar10-cpu": {"method.views.local_size": 16}}.get(scale, {})
    return [
        Setting(
            f"2 global, {crops} local" if crops else "2 global",
            {"method.views.local_crops": crops, **size},
            paper=paper,
            method="dino",
            baseline=crops == 0,
            at=(crops,),
        )
        for crops, paper in ROWS
    ]


TABLE = Table(
    name="dino_crops",
    title="DINO: local crops",
    source="Caron et al. 2021, table 8; ViT-S/16, ImageNet, 300 epochs, linear top-1",
    claim="Local crops help, the first ones most.",
    settings=settings,
    discussion={
        "digits": (
            "The order is reversed, but no difference is larger than the spread: on digits of eight pixels, crops "
            "of six pixels are not local views. This table needs photographs."
        )
    },
    seeds=3,
    figure="lines",
    x="local crops",
)

if __name__ == "__main__":
    main(TABLE)
