"""SimSiam, figure 2 and table 1: stop-gradient and predictor. `python -m experiments.ablations.simsiam_parts`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

_DECAYED = {"method.constant_predictor_rate": False}


def settings(scale: str) -> list[Setting]:
    """With and without stop-gradient and predictor, and the predictor at a constant learning rate.

    The table's predictor that is fixed at its start is no option here.
    """
    return [
        Setting("SimSiam, all rates on a cosine", _DECAYED, paper=67.7, method="simsiam", baseline=True),
        Setting("no stop-gradient", {**_DECAYED, "method.stop_gradient": False}, paper=0.1, method="simsiam"),
        Setting("no predictor", {**_DECAYED, "method.predictor_hidden": 0}, paper=0.1, method="simsiam"),
        Setting("predictor at a constant rate", {"method.constant_predictor_rate": True}, paper=68.1, method="simsiam"),
    ]


TABLE = Table(
    name="simsiam_parts",
    title="SimSiam: stop-gradient and predictor",
    source="Chen & He 2021, figure 2 and table 1; ResNet-50, ImageNet, 100 epochs, linear top-1",
    claim="Without stop-gradient or without predictor SimSiam collapses; a predictor at a constant rate is a little better.",
    settings=settings,
    seeds=5,
    metrics=("feature_std", "projection_std"),
)

if __name__ == "__main__":
    main(TABLE)
