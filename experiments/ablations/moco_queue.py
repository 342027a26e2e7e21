"""MoCo, figure 3: size of the queue. `python -m experiments.ablations.moco_queue`."""

from experiments.ablations.engine import main
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """Queues of one to eight batches on MoCo v3, and none. The paper's figure has no numbers; larger queues are better."""
    batch = SCALES[scale].configs["moco-v3"].batch_size
    return [
        Setting(
            f"queue of {batches * batch}" if batches else "no queue",
            {"method.queue": batches * batch},
            paper_sign=0 if batches == 8 else -1,
            method="moco-v3",
            baseline=batches == 8,
            at=(batches * batch,),
        )
        for batches in (0, 1, 2, 4, 8)
    ]


TABLE = Table(
    name="moco_queue",
    title="MoCo: size of the queue",
    source="He et al. 2020, figure 3; ResNet-50, ImageNet, linear top-1",
    claim="The more keys the queue holds the better, where the queue gives all negatives.",
    settings=settings,
    seeds=3,
    figure="lines",
    x="queue",
)

if __name__ == "__main__":
    main(TABLE)
