"""DINO, appendix D: momentum of the centre. `python -m experiments.ablations.dino_center`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """From a centre of the current batch only to one averaged over about a thousand batches."""
    rows = ((0.0, 69.1), (0.9, 69.7), (0.99, 69.4), (0.999, 0.1))
    return [
        Setting(
            f"momentum {momentum:g}",
            {"method.center_momentum": momentum},
            paper=paper,
            method="dino",
            measure="knn20",
            baseline=momentum == 0.9,
        )
        for momentum, paper in rows
    ]


TABLE = Table(
    name="dino_center",
    title="DINO: momentum of the centre",
    source="Caron et al. 2021, appendix D; ViT-S/16, ImageNet, 100 epochs, kNN",
    claim="The momentum of the centre does not matter, unless it is so slow that training collapses (.999).",
    settings=settings,
    discussion={
        "digits": (
            "As in the paper, momenta up to .99 differ by less than the spread, and .999 collapses. In most of "
            "these runs one dimension dominates, and collapse detection names it: the centre is too slow to "
            "prevent this."
        )
    },
    seeds=5,
    metrics=("target_entropy", "kl"),
)

if __name__ == "__main__":
    main(TABLE)
