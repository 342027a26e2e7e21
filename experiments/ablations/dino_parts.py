"""DINO, table 7: its parts removed and others added. `python -m experiments.ablations.dino_parts`."""

from typing import Any, Literal

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

NO_MOMENTUM: dict[str, Any] = {"method.decay": 0.0, "method.decay_schedule": "constant"}
# Without local crops the paper's global crops have areas of (.14, 1). On digits they keep their area, because a smaller crop
# does not show a digit.
NO_LOCAL: dict[str, Any] = {"method.views.local_crops": 0}
ROWS: tuple[tuple[str, dict[str, Any], float, float], ...] = (
    ("DINO", {}, 72.8, 76.1),
    ("no momentum teacher", NO_MOMENTUM, 0.1, 0.1),
    ("Sinkhorn-Knopp for centring", {"method.sinkhorn": 3}, 72.2, 76.0),
    ("no multi-crop", NO_LOCAL, 67.9, 72.5),
    ("mean squared error", {"method.loss": "mse"}, 52.6, 62.4),
    ("with predictor", {"method.predictor": True}, 71.8, 75.6),
)


def settings(scale: str) -> list[Setting]:
    """The rows by kNN and by linear probe."""
    wide = {} if scale == "digits" else {"method.views.global_area": (0.14, 1.0)}
    crops = {"cifar10": {"method.views.local_crops": 4, "method.views.local_size": 16}}.get(scale, {})
    rows = []
    measures: tuple[Literal["knn20", "linear"], ...] = ("knn20", "linear")
    for measure in measures:
        for name, own, knn, linear in ROWS:
            changes = {**crops, **own, **(wide if own is NO_LOCAL else {})}
            rows.append(
                Setting(
                    name,
                    changes,
                    paper=knn if measure == "knn20" else linear,
                    method="dino",
                    group={"knn20": "kNN", "linear": "linear"}[measure],
                    measure=measure,
                    baseline=name == "DINO",
                )
            )
    return rows


TABLE = Table(
    name="dino_parts",
    title="DINO: its parts",
    source="Caron et al. 2021, table 7; ViT-S/16, ImageNet, 300 epochs",
    claim=(
        "The momentum teacher is needed. Multi-crop and cross-entropy gain points; Sinkhorn-Knopp and a predictor "
        "do not."
    ),
    settings=settings,
    discussion={
        "digits": (
            "The momentum teacher is needed for kNN. Multi-crop is harmful: a local crop of six pixels from an "
            "eight-pixel digit shows nearly the same as a global crop, or looks like another digit. As in the "
            "paper, Sinkhorn-Knopp and a predictor do not matter. The squared error does not matter either, but "
            "costs many points in the paper. A teacher that copies its student does not collapse within these "
            "runs."
        )
    },
    seeds=5,
    metrics=("target_entropy", "kl"),
)

if __name__ == "__main__":
    main(TABLE)
