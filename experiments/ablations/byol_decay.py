"""BYOL, table 5a: decay of the target. `python -m experiments.ablations.byol_decay`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """Constant decays; 1 keeps the target that was drawn at random, 0 makes it the online network of the step before."""
    names = {1.0: "decay 1: random target", 0.0: "decay 0: no average"}
    return [
        Setting(
            names.get(decay, f"decay {decay:g}"),
            {"method.decay": decay, "method.decay_schedule": "constant"},
            paper=paper,
            method="byol",
            baseline=decay == 0.99,
        )
        for decay, paper in ((1.0, 18.8), (0.999, 69.8), (0.99, 72.5), (0.9, 68.4), (0.0, 0.3))
    ]


TABLE = Table(
    name="byol_decay",
    title="BYOL: decay of the target",
    source="Grill et al. 2020, table 5a; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim="A slowly moving target is needed: with none (decay 0) BYOL collapses, with a random one (decay 1) it learns little.",
    settings=settings,
    seeds=5,
    metrics=("feature_std", "projection_std"),
)

if __name__ == "__main__":
    main(TABLE)
