"""SimCLR, figure 8: the projection head, and h against z. `python -m experiments.ablations.simclr_head`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """No head, a linear and a nonlinear head, with features evaluated before it (h); and the head's output (z) against h."""
    heads = [(2, "nonlinear head", None), (1, "linear head", -3.0), (0, "no head", -10.0)]
    judged = [
        Setting(name, {"method.projector_layers": layers}, paper_change=change, group="h", baseline=layers == 2)
        for layers, name, change in heads
    ]
    h = Setting("h, before the nonlinear head", {"method.projector_layers": 2}, group="h against z", baseline=True)
    z = Setting(
        "z, after it", {"method.projector_layers": 2}, paper_change=-10.0, group="h against z", features="projection"
    )
    widths = [
        Setting(
            f"{width} outputs",
            {"method.projector_layers": 2, "method.projector_dim": width},
            group="width of z",
            paper_change=None if width == 128 else 0.0,
            baseline=width == 128,
        )
        for width in (32, 64, 128, 256)
    ]
    return [*judged, h, z, *widths]


TABLE = Table(
    name="simclr_head",
    title="SimCLR: the projection head",
    source="Chen et al. 2020, figure 8 and section 4.2; ResNet-50, ImageNet, 100 epochs, linear top-1",
    claim=(
        "A nonlinear head is better than a linear one (+3) and much better than none (+10). The features before "
        "the head are over 10 points better than its output. The width of the output does not matter."
    ),
    settings=settings,
    discussion={
        "digits": (
            "The linear probe is near its ceiling in every row, and so are the raw pixels. So the heads do not "
            "differ. The output of the head is worse than the features before it, with an interval that just "
            "reaches zero. As in the paper, the width of the output does not matter."
        )
    },
    seeds=5,
)

if __name__ == "__main__":
    main(TABLE)
