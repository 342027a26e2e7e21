"""Barlow Twins, figure 4: width of the projector's output. `python -m experiments.ablations.barlow_width`."""

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """The baseline's width, its half, quarter and so on, with the same λ, as in the paper, whose figure has no numbers."""
    base = SCALES[scale].configs["barlow-twins"].method.projector_dim
    return [
        Setting(
            f"width {base // shrunk} (paper: {16384 // shrunk:,})",
            {"method.projector_dim": base // shrunk},
            paper_sign=0 if shrunk == 1 else -1,
            method="barlow-twins",
            baseline=shrunk == 1,
            at=(base // shrunk,),
        )
        for shrunk in (1, 2, 4, 8, 16)
    ]


TABLE = Table(
    name="barlow_width",
    title="Barlow Twins: width of the projector's output",
    source="Zbontar et al. 2021, figure 4; ResNet-50, ImageNet, 300 epochs, linear top-1",
    claim="The wider the output the better, up to the widest that was tried.",
    settings=settings,
    seeds=3,
    figure="lines",
    x="width",
)

if __name__ == "__main__":
    main(TABLE)
