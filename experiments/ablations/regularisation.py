"""Parts that the papers call necessary: weight decay, LARS, warmup and BatchNorm, each removed.

`python -m experiments.ablations.regularisation`.
"""

from typing import Any, Literal

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table, changed

NAMES = {"simclr": "SimCLR", "byol": "BYOL", "dino": "DINO"}


def settings(scale: str) -> list[Setting]:
    """For each method its configuration, and variants without one part; the optimiser is replaced by the other kind."""
    return [row for method in NAMES for row in _of(scale, method)]


def _of(scale: str, method: str) -> list[Setting]:
    base = SCALES[scale].configs[method]
    adam = base.optim.name == "adamw"
    swapped: dict[str, Any] = (
        {
            "optim.name": "lars",
            "optim.lr": 1.0,
            "optim.lr_scaling": "linear",
            "optim.weight_decay": 1e-6,
            "optim.end_weight_decay": None,
        }
        if adam
        else {"optim.name": "adamw", "optim.lr": 1e-3, "optim.lr_scaling": "none", "optim.end_weight_decay": None}
    )
    no_norm: dict[str, dict[str, Any]] = {
        "simclr": {"network.norm": "none"},
        "byol": {"network.norm": "none", "method.projector_norm": "none", "method.predictor_norm": "none"},
        "dino": {"method.head_batch_norm": False},
    }
    rows: list[tuple[str, dict[str, Any], Literal[-1, 0, 1]]] = [
        ("as configured", {}, 0),
        ("no weight decay", {"optim.weight_decay": 0.0}, -1),
        ("LARS" if adam else "AdamW", swapped, 0),
        ("no warmup", {"optim.warmup_epochs": 0.0}, -1),
        ("no BatchNorm in the head" if method == "dino" else "no BatchNorm", no_norm[method], -1),
    ]
    return [
        Setting(name, changes, paper_sign=sign, method=method, group=NAMES[method], baseline=name == "as configured")
        for name, changes, sign in rows
        # A recipe may already lack this part.
        if not changes or changed(base, changes) != base
    ]


TABLE = Table(
    name="regularisation",
    title="What breaks without weight decay, LARS, warmup, BatchNorm",
    source="The papers' own recipes; of each difference the sign alone is the literature's",
    claim="Large-batch training is said to need LARS, warmup and a little weight decay, and BYOL to need BatchNorm.",
    settings=settings,
    discussion={
        "digits": (
            "At this scale almost nothing breaks. Removing weight decay or warmup costs nothing. LARS is as good "
            "as AdamW, except for DINO, which was designed with AdamW. Removing BatchNorm harms DINO's head, "
            "where BatchNorm shortens the phase of uniform targets. BYOL without any norm is within the spread of "
            "BYOL, but its outputs become constant, and collapse detection names this in every run."
        )
    },
    seeds=3,
)

if __name__ == "__main__":
    main(TABLE)
