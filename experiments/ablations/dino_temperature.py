"""DINO, appendix D: temperature of the teacher. `python -m experiments.ablations.dino_temperature`."""

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table

PAPER = ((0.0, 43.9), (0.02, 66.7), (0.04, 69.6), (0.06, 68.7), (0.08, 0.1))


def settings(scale: str) -> list[Setting]:
    """Constant temperatures, and the paper's rising one; .001 replaces 0, the hard maximum."""
    constant = {"method.teacher_temperature_epochs": 0}
    rows = [
        Setting(
            f"τ {t:g}",
            {"method.teacher_temperature": t or 0.001, **constant},
            paper=paper,
            method="dino",
            measure="knn20",
            baseline=t == 0.04,
        )
        for t, paper in PAPER
    ]
    # In the paper the rise takes 30 of 100 epochs.
    rise = max(2, round(0.3 * SCALES[scale].configs["dino"].epochs))
    rising = {
        "method.teacher_temperature": 0.07,
        "method.teacher_temperature_start": 0.04,
        "method.teacher_temperature_epochs": rise,
    }
    return [*rows, Setting("τ from .04 to .07", rising, paper=69.7, method="dino", measure="knn20")]


TABLE = Table(
    name="dino_temperature",
    title="DINO: temperature of the teacher",
    source="Caron et al. 2021, appendix D; ViT-S/16, ImageNet, 100 epochs, kNN",
    claim="A temperature of .02 to .06 works. At .08 training collapses, unless the temperature rises to it slowly.",
    settings=settings,
    discussion={
        "digits": (
            "As in the paper, a teacher temperature of .08 collapses to the uniform output. Otherwise, sharper is "
            "better: these runs spend many of their steps with nearly uniform targets, and a sharper teacher "
            "leaves this phase sooner. A rise to .07 prolongs it; the paper's warmup is meant to avoid this phase "
            "in the first of many epochs. The hard maximum (here .001) does no harm with ten classes. Longer runs "
            "were not tried."
        )
    },
    seeds=5,
    metrics=("target_entropy", "kl"),
)

if __name__ == "__main__":
    main(TABLE)
