"""BYOL, table 5b: predictor, target network and negatives. `python -m experiments.ablations.byol_parts`."""

from collections.abc import Iterable, Mapping
from typing import Any

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table

# Predictor, target network, negatives, and the paper's figure.
ROWS = (
    (True, True, 0, 72.5),
    (True, True, 1, 70.9),
    (False, True, 1, 70.7),
    (False, False, 1, 69.4),
    (True, False, 1, 69.1),
    (True, False, 0, 0.3),
    (False, True, 0, 0.2),
    (False, False, 0, 0.1),
)


def settings(scale: str) -> list[Setting]:
    """All eight combinations of a predictor, a target network and negatives (β).

    On digits, where negatives help, also longer runs of BYOL and SimCLR.
    """
    rows = _rows(ROWS)
    if scale != "digits":
        return rows
    longer = {"epochs": 4 * SCALES[scale].configs["byol"].epochs}
    return rows + _rows((ROWS[0], ROWS[3]), "tried: four times as long", longer)


def _rows(
    figures: Iterable[tuple[bool, bool, int, float]], group: str = "", more: Mapping[str, Any] | None = None
) -> list[Setting]:
    return [
        Setting(
            _name(predictor, target, negatives),
            {
                **({} if predictor else {"method.predictor_hidden": 0}),
                **({} if target else {"method.target": "online"}),
                **({"method.negatives": 1.0} if negatives else {}),
                **(more or {}),
            },
            paper=paper,
            method="byol",
            group=group,
            baseline=predictor and target and not negatives,
        )
        for predictor, target, negatives, paper in figures
    ]


def _name(predictor: bool, target: bool, negatives: int) -> str:
    parts = [name for name, there in (("predictor", predictor), ("target", target), ("negatives", negatives)) if there]
    known = {"predictor, target": "BYOL: ", "negatives": "SimCLR: "}
    told = ", ".join(parts) or "none of them"
    return known.get(told, "") + told


TABLE = Table(
    name="byol_parts",
    title="BYOL: predictor, target network, negatives",
    source="Grill et al. 2020, table 5b; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim=("Without negatives, both the predictor and the target network are needed; otherwise the features collapse."),
    settings=settings,
    discussion={
        "digits": (
            "The rows that collapse in the paper collapse here too, whichever part is missing, and collapse "
            "detection names the collapse in every run. The projections become constant, and the features fall to "
            "those of the untrained network, or close to them if the target is still averaged. The order of the "
            "rows without collapse is reversed: with negatives, a run of a few hundred steps learns more. In runs "
            "four times as long the two are equal."
        )
    },
    seeds=5,
    metrics=("feature_std", "projection_std"),
)

if __name__ == "__main__":
    main(TABLE)
