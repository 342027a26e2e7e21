"""DINO, figure 7: centring and sharpening, and the two collapses. `python -m experiments.ablations.dino_collapse`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """Both, either one and neither; without sharpening, the teacher's temperature equals the student's, .1."""
    blunt = {"method.teacher_temperature": 0.1, "method.teacher_temperature_start": 0.1}
    uncentred = {"method.centering": False}
    # The figure shows collapse as a KL of 0 and gives no accuracies; collapsed runs have lower ones.
    return [
        Setting("both", {}, method="dino", measure="knn20", baseline=True),
        Setting("no centring", uncentred, paper_sign=-1, method="dino", measure="knn20"),
        Setting("no sharpening", blunt, paper_sign=-1, method="dino", measure="knn20"),
        Setting("neither", {**uncentred, **blunt}, paper_sign=-1, method="dino", measure="knn20"),
    ]


TABLE = Table(
    name="dino_collapse",
    title="DINO: centring, sharpening and the two collapses",
    source="Caron et al. 2021, figure 7; ViT-S/16, ImageNet",
    claim=(
        "Without centring, one dimension dominates (the target's entropy goes to 0). Without sharpening, the "
        "output becomes uniform (the entropy goes to ln K). In both cases the KL goes to 0."
    ),
    settings=settings,
    discussion={
        "digits": (
            "Both collapses agree with the paper. Without centring, the target's entropy goes to zero and one "
            "dimension dominates. Without sharpening, the entropy goes to ln K. The KL goes to zero in both. The "
            "features do not fall to those of the untrained network: they keep what the network learned before "
            "the collapse."
        )
    },
    seeds=5,
    figure="curves",
    metrics=("target_entropy", "kl", "target_largest"),
    curves=("target_entropy", "kl"),
)

if __name__ == "__main__":
    main(TABLE)
