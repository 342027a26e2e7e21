"""MoCo v3, section 6.2: predictor and moving average. `python -m experiments.ablations.moco_v3_parts`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

# The target's decay and the paper's figure.
DECAYS = ((0.0, 74.3), (0.9, 75.6), (0.99, 76.5), (0.999, 75.0))


def settings(scale: str) -> list[Setting]:
    """Constant decays, where 0 makes the keys' network the queries' of the step before, and no predictor."""
    decays = [
        Setting(
            f"decay {decay:g}",
            {"method.decay": decay, "method.decay_schedule": "constant"},
            paper=paper,
            method="moco-v3",
            baseline=decay == 0.99,
        )
        for decay, paper in DECAYS
    ]
    bare = {"method.decay": 0.99, "method.decay_schedule": "constant", "method.predictor_layers": 0}
    return [*decays, Setting("no predictor", bare, paper=75.5, method="moco-v3")]


TABLE = Table(
    name="moco_v3_parts",
    title="MoCo v3: predictor and moving average",
    source="Chen et al. 2021, section 6.2; ViT-B/16, ImageNet, 300 epochs, linear top-1",
    claim="A slowly moving network for the keys is better, but not needed; the predictor adds one per cent.",
    settings=settings,
    seeds=3,
    metrics=("feature_std", "projection_std"),
)

if __name__ == "__main__":
    main(TABLE)
