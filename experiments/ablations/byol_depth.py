"""BYOL, table 15: depth of projector and predictor. `python -m experiments.ablations.byol_depth`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

PAPER = ((61.9, 65.0, 65.7), (71.5, 72.5, 71.4), (71.4, 72.1, 72.1))


def settings(scale: str) -> list[Setting]:
    """One to three layers of each."""
    return [
        Setting(
            f"projector {projector}, predictor {predictor}",
            {"method.projector_layers": projector, "method.predictor_layers": predictor},
            paper=PAPER[projector - 1][predictor - 1],
            method="byol",
            baseline=projector == predictor == 2,
            at=(str(projector), str(predictor)),
        )
        for projector in (1, 2, 3)
        for predictor in (1, 2, 3)
    ]


TABLE = Table(
    name="byol_depth",
    title="BYOL: layers of projector and predictor",
    source="Grill et al. 2020, appendix F; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim=(
        "Two layers in each are sufficient. A projector of one layer costs points; the depth of the predictor "
        "matters less."
    ),
    settings=settings,
    seeds=3,
    figure="heatmap",
    x="layers of the predictor",
    y="layers of the projector",
)

if __name__ == "__main__":
    main(TABLE)
