"""BYOL, figure 3b and table 18: removed augmentations, with SimCLR. `python -m experiments.ablations.byol_augmentations`."""

from typing import Any

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

ROWS = (
    ("baseline", 72.5, 67.9),
    ("no flip", 71.9, 67.3),
    ("no blur", 71.2, 65.2),
    ("no grayscale", 70.3, 61.9),
    ("no jitter", 71.8, 63.7),
    ("no colour (both)", 63.4, 45.7),
    ("crop and colour only", 70.7, 64.2),
    ("crop and blur only", 61.1, 41.7),
    ("crop and flip only", 60.1, 40.2),
    ("crop only", 59.4, 40.3),
)
FLIP, COLOUR = {"flip"}, {"jitter", "grayscale"}
REMOVED: dict[str, set[str]] = {
    "baseline": set(),
    "no flip": FLIP,
    "no blur": {"blur"},
    "no grayscale": {"grayscale"},
    "no jitter": {"jitter"},
    "no colour (both)": COLOUR,
    "crop and colour only": FLIP | {"blur", "solarize"},
    "crop and blur only": FLIP | COLOUR | {"solarize"},
    "crop and flip only": COLOUR | {"blur", "solarize"},
    "crop only": FLIP | COLOUR | {"blur", "solarize"},
}


def settings(scale: str) -> list[Setting]:
    """Both methods with BYOL's views, including blur and solarisation, minus the removed augmentations.

    Digits are gray, never mirrored and too small for blur. Their jitter changes only brightness and contrast; without it, only
    crops remain.
    """
    rows = []
    for method in ("byol", "simclr"):
        for name, byol, simclr in ROWS:
            paper = byol if method == "byol" else simclr
            rows.append(
                Setting(
                    name,
                    _changes(scale, method, REMOVED[name]),
                    paper=paper,
                    method=method,
                    group={"byol": "BYOL", "simclr": "SimCLR"}[method],
                    baseline=name == "baseline",
                    photographs=name not in ("baseline", "crop only"),
                )
            )
    return rows


def _changes(scale: str, method: str, removed: set[str]) -> dict[str, Any]:
    if scale == "digits":
        return {"method.views.jitter": 0.0} if "jitter" in removed else {}
    # The configurations for small images have no blur; this table needs it, to remove it.
    blur: Any = 0.5 if method == "simclr" else (1.0, 0.1)
    ops: dict[str, Any] = {"flip": 0.5, "blur": blur, "grayscale": 0.2, "jitter": 0.8}
    if method == "byol":
        ops["solarize"] = (0.0, 0.2)
    off = {"blur": 0.0 if method == "simclr" else (0.0, 0.0), "solarize": (0.0, 0.0)}
    return {f"method.views.{op}": off.get(op, 0.0) if op in removed else value for op, value in ops.items()}


TABLE = Table(
    name="byol_augmentations",
    title="BYOL and SimCLR: augmentations removed",
    source="Grill et al. 2020, figure 3b and table 18; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim=(
        "BYOL depends less on its augmentations than SimCLR, which without colour augmentation can tell images "
        "apart by their colour histograms."
    ),
    settings=settings,
    discussion={
        "digits": (
            "Of the augmentations that the paper removes, digits have only the jitter of brightness and contrast, "
            "and neither method needs it. In photographs, colours can identify an image; digits have none. This "
            "table needs photographs."
        )
    },
    seeds=3,
)

if __name__ == "__main__":
    main(TABLE)
