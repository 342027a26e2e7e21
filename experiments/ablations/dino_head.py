"""DINO, appendix C: the head's depth, its bottleneck and BatchNorm. `python -m experiments.ablations.dino_head`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table

# Number of layers, with and without the bottleneck.
ROWS = ((1, None, 61.6), (2, 62.2, 62.9), (3, 68.0, 0.1), (4, 69.3, 0.1))


def settings(scale: str) -> list[Setting]:
    """Depths with and without the normalised bottleneck (counting the last layer, to K), and BatchNorm in the head.

    As in the paper, only the row for BatchNorm has BatchNorm in the head.
    """
    plain = {"method.head_batch_norm": False}
    rows = []
    for layers, with_bottleneck, without in ROWS:
        # The paper counts the last layer, to K; the option counts only the layers before it.
        if with_bottleneck is not None:
            rows.append(
                Setting(
                    f"{layers} layers, bottleneck",
                    {**plain, "method.head_layers": layers - 1},
                    paper=with_bottleneck,
                    method="dino",
                    measure="knn20",
                    baseline=layers == 4,
                )
            )
        rows.append(
            Setting(
                f"{layers} layers, no bottleneck",
                {**plain, "method.head_layers": layers, "method.head_bottleneck": 0},
                paper=without,
                method="dino",
                measure="knn20",
            )
        )
    normed = {"method.head_batch_norm": True}
    return [
        *rows,
        Setting("BatchNorm in the head", normed, paper_change=-1.1, method="dino", measure="knn20"),
    ]


TABLE = Table(
    name="dino_head",
    title="DINO: the head's depth and bottleneck",
    source="Caron et al. 2021, appendix C; ViT-S/16, ImageNet, 100 epochs, kNN; K = 4,096",
    claim=("Deeper heads are better. With three layers or more, training collapses without the normalised bottleneck."),
    settings=settings,
    discussion={
        "digits": (
            "As in the paper, deep heads without the bottleneck collapse to the uniform output, and collapse "
            "detection names it. With the bottleneck, deeper heads are worse in runs as short as these: the "
            "entropies suggest that each layer delays the departure from the uniform output. BatchNorm in the "
            "head shortens this phase and is better. Longer runs were not tried."
        )
    },
    seeds=3,
    metrics=("target_entropy", "kl"),
)

if __name__ == "__main__":
    main(TABLE)
