"""BYOL, table 5a: decay of the target. `python -m experiments.ablations.byol_decay`."""

from typing import Any

from experiments.ablations.engine import main
from experiments.ablations.scales import LARS, SCALES
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """Constant decays: 1 keeps the random initial target, 0 makes it the online network of the previous step.

    On digits, decay 0 does not collapse, so there are also the variants that were tried to make it collapse.
    """
    rows = _rows((1.0, 18.8), (0.999, 69.8), (0.99, 72.5), (0.9, 68.4), (0.0, 0.3))
    if scale != "digits":
        return rows
    ends = ((0.99, 72.5), (0.0, 0.3))
    longer = _rows(*ends, group="tried: four times as long", epochs=4 * SCALES[scale].configs["byol"].epochs)
    return rows + longer + _rows(*ends, group="tried: LARS", **LARS)


def _rows(*figures: tuple[float, float], group: str = "", **changes: Any) -> list[Setting]:
    names = {1.0: "decay 1: random target", 0.0: "decay 0: no average"}
    return [
        Setting(
            names.get(decay, f"decay {decay:g}"),
            {"method.decay": decay, "method.decay_schedule": "constant", **changes},
            paper=paper,
            method="byol",
            group=group,
            baseline=decay == 0.99,
        )
        for decay, paper in figures
    ]


TABLE = Table(
    name="byol_decay",
    title="BYOL: decay of the target",
    source="Grill et al. 2020, table 5a; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim=(
        "A slowly moving target is needed: without averaging (decay 0) BYOL collapses, with a random target "
        "(decay 1) it learns little."
    ),
    settings=settings,
    discussion={
        "digits": (
            "Without averaging BYOL is as good as with any decay here, while in the paper it collapses. It still "
            "has a predictor and a stop-gradient on the target, which Chen & He 2020 (SimSiam, arXiv:2011.10566) "
            "found to be sufficient, and collapse detection reports no collapse. Runs four times as long, and "
            "runs with the paper's optimiser, do not collapse either. Slow decays are too slow for runs of a few "
            "hundred steps: such a target hardly moves and stays almost random. A random target alone already "
            "teaches these networks most of what they learn."
        )
    },
    seeds=5,
    metrics=("feature_std", "projection_std"),
)

if __name__ == "__main__":
    main(TABLE)
