"""SwAV, appendix C.1 and C.2: prototypes. `python -m experiments.ablations.swav_prototypes`."""

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """From a quarter of the baseline's prototypes to four times as many, and prototypes that stay as they are drawn.

    Of numbers from its 3,000 on the paper says that they differ by 0.3 at most.
    """
    base = SCALES[scale].configs["swav"]
    count = base.method.prototypes
    numbers = [
        Setting(
            f"{count * quarters // 4} prototypes",
            {"method.prototypes": count * quarters // 4},
            paper=73.9 if quarters == 4 else None,
            method="swav",
            baseline=quarters == 4,
        )
        for quarters in (1, 2, 4, 8, 16)
    ]
    frozen = {"method.frozen_epochs": float(base.epochs)}
    return [*numbers, Setting("prototypes never learned", frozen, paper=73.1, method="swav")]


TABLE = Table(
    name="swav_prototypes",
    title="SwAV: prototypes",
    source="Caron et al. 2020, appendix C.1 and C.2; ResNet-50, ImageNet, 400 epochs, 2 x 160 and 4 x 96 pixels, linear top-1",
    claim="The number of prototypes matters little once there are enough, and even fixed random ones do almost as well.",
    settings=settings,
    seeds=3,
)

if __name__ == "__main__":
    main(TABLE)
