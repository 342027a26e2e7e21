"""SimCLR, figure 5: pairs of augmentations on one branch. `python -m experiments.ablations.simclr_augmentations`."""

import itertools

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

OPS = ("crop", "cutout", "color", "sobel", "noise", "blur", "rotate")
# Row first, column second, as in the figure; the diagonal is the single op.
PAPER = (
    (33.1, 33.9, 56.3, 46.0, 39.9, 35.0, 30.2),
    (32.2, 25.6, 33.9, 40.0, 26.5, 25.2, 22.4),
    (55.8, 35.5, 18.8, 21.0, 11.4, 16.5, 20.8),
    (46.2, 40.6, 20.9, 4.0, 9.3, 6.2, 4.2),
    (38.8, 25.8, 7.5, 7.6, 9.8, 9.8, 9.6),
    (35.1, 25.2, 16.6, 5.8, 9.7, 2.6, 6.7),
    (30.0, 22.5, 20.7, 4.3, 9.7, 6.5, 2.6),
)


def settings(scale: str) -> list[Setting]:
    """The seven single ops and their 21 unordered pairs; the paper's figure for a pair is the mean of its two orders."""
    singles = [_setting((op,), PAPER[i][i]) for i, op in enumerate(OPS)]
    pairs = [
        _setting((OPS[i], OPS[j]), round((PAPER[i][j] + PAPER[j][i]) / 2, 2))
        for i, j in itertools.combinations(range(len(OPS)), 2)
    ]
    return singles + pairs


def _setting(ops: tuple[str, ...], paper: float) -> Setting:
    return Setting(
        " + ".join(ops),
        {"method.views.one_branch": ops},
        paper=paper,
        baseline=ops == ("crop",),
        photographs="color" in ops,
        at=(ops[0], ops[-1]),
    )


TABLE = Table(
    name="simclr_augmentations",
    title="SimCLR: pairs of augmentations on one branch",
    source="Chen et al. 2020, figure 5; ResNet-50, ImageNet, 100 epochs, linear top-1",
    claim="No single augmentation suffices, and of all pairs crop with colour distortion is by far the best.",
    settings=settings,
    discussion={
        "digits": (
            "Gray digits of eight pixels have no colours, and the linear probe is near its ceiling. Even so, the "
            "order of the rows is close to the paper's: every good row contains a crop, and rotating digits is "
            "worst."
        ),
        "cifar10-cpu": (
            "Each of the three best rows combines colour or Sobel edges with a crop or a cutout. The paper's best "
            "pair is among them, but cutout with colour is as good as crop with colour: the interval of their "
            "difference contains 0. All rows are close to raw pixels, because a few hundred steps of a small "
            "network are little training, so the order of the other rows agrees only weakly with the paper's. The "
            "three best rows and the baseline have five seeds. The others have two, which is too few for a "
            "verdict."
        ),
    },
    seeds=2,
    figure="heatmap",
)

if __name__ == "__main__":
    main(TABLE)
