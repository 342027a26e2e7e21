"""SimCLR, table 5: temperature, with and without ℓ2. `python -m experiments.ablations.simclr_temperature`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """Four temperatures for cosines, two for plain inner products."""
    cosines = [(0.05, 59.7), (0.1, 64.4), (0.5, 60.7), (1.0, 58.0)]
    products = [(10.0, 57.2), (100.0, 57.0)]
    return [
        Setting(f"ℓ2, τ {t:g}", {"method.temperature": t}, paper=paper, baseline=t == 0.1, at=(t,))
        for t, paper in cosines
    ] + [
        Setting(f"no ℓ2, τ {t:g}", {"method.temperature": t, "method.normalize": False}, paper=paper, at=(t,))
        for t, paper in products
    ]


TABLE = Table(
    name="simclr_temperature",
    title="SimCLR: temperature and ℓ2 normalisation",
    source="Chen et al. 2020, table 5; ResNet-50, ImageNet, 100 epochs, linear top-1",
    claim=(
        "Normalised projections with a suitable temperature (0.1) are best; without normalisation the loss works "
        "less well."
    ),
    settings=settings,
    discussion={
        "digits": (
            "The linear probe is near its ceiling in every row, and so are the raw pixels. So digits do not "
            "distinguish temperatures, nor cosines from inner products."
        )
    },
    seeds=5,
)

if __name__ == "__main__":
    main(TABLE)
