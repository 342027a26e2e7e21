"""SwAV, appendix C.4: iterations of Sinkhorn-Knopp. `python -m experiments.ablations.swav_sinkhorn`."""

from experiments.ablations.engine import main
from experiments.ablations.table import Setting, Table


def settings(scale: str) -> list[Setting]:
    """The paper's 3 iterations, 1, with which its loss does not converge, and 10; the softmax of 0 is not in the paper."""
    return [
        Setting("no iteration: softmax", {"method.sinkhorn_iterations": 0}, method="swav"),
        Setting("1 iteration", {"method.sinkhorn_iterations": 1}, paper_sign=-1, method="swav"),
        Setting("3 iterations", {}, paper=73.9, method="swav", baseline=True),
        Setting("10 iterations", {"method.sinkhorn_iterations": 10}, paper_sign=-1, method="swav"),
    ]


TABLE = Table(
    name="swav_sinkhorn",
    title="SwAV: iterations of Sinkhorn-Knopp",
    source="Caron et al. 2020, appendix C.4; ResNet-50, ImageNet, 400 epochs, 2 x 160 and 4 x 96 pixels, linear top-1",
    claim="Three iterations are enough; with fewer the loss does not converge, and more are slightly worse.",
    settings=settings,
    seeds=3,
    metrics=("feature_std", "projection_std"),
)

if __name__ == "__main__":
    main(TABLE)
