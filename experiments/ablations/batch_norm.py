"""BatchNorm in BYOL: its position, its replacements, and remedies for BYOL without it.

`python -m experiments.ablations.batch_norm`. Fetterman & Albrecht 2020 ("Understanding self-supervised and contrastive learning
with Bootstrap Your Own Latent", untitled-ai.github.io) and Richemond et al. 2020, arXiv:2010.10241.
"""

import functools
from typing import Any

from experiments.ablations.engine import main
from experiments.ablations.scales import LARS
from experiments.ablations.table import Setting, Table

NO_BN: dict[str, Any] = {"method.projector_norm": "none", "method.predictor_norm": "none"}


def settings(scale: str) -> list[Setting]:
    """The norms of the MLPs, the remedies for BYOL without them, and the norms of the encoder."""
    byol, rescue, all_norms = (
        functools.partial(Setting, method="byol", group=group)
        for group in ("norms of the MLPs", "rescues without BN", "norms of the encoder and the MLPs")
    )
    layer = {"method.projector_norm": "layer", "method.predictor_norm": "layer"}
    decayed = {**NO_BN, "optim.weight_decay": 1e-1 if scale in ("digits", "cifar10-cpu") else 1.5e-3}
    contrastive = {**NO_BN, "method.predictor_hidden": 0, "method.target": "online", "method.negatives": 1.0}
    weights = {"network.norm": "group", **layer}
    return [
        byol("BN in projector and predictor", {}, paper=57.7, baseline=True),
        byol("BN in the projector only", {"method.predictor_norm": "none"}, paper=55.3),
        byol("BN in the predictor only", {"method.projector_norm": "none"}, paper=48.0),
        byol("no BN in either", NO_BN, paper=28.3),
        byol("LayerNorm in both", layer, paper=29.4),
        byol("negatives in place of BN", contrastive, paper=44.1),
        byol("untrained network", {}, paper=28.8, features="untrained"),
        rescue("no BN in either", NO_BN, paper=28.3, baseline=True),
        rescue("more weight decay", decayed, paper=56.0),
        rescue("LARS", {**NO_BN, **LARS}, paper_sign=1),
        rescue("GroupNorm, weight standardisation", weights, paper=51.0),
        all_norms("BN everywhere", {}, paper=74.3, baseline=True),
        all_norms("BN in the encoder only", NO_BN, paper=72.1),
        all_norms("no norm at all", {**NO_BN, "network.norm": "none"}, paper=0.1),
        all_norms("GroupNorm, weight standardisation", weights, paper=73.9),
    ]


TABLE = Table(
    name="batch_norm",
    title="BYOL: batch normalisation",
    source="Fetterman & Albrecht 2020; ResNet-18, STL-10, 10 epochs, linear top-1. Encoder: Richemond et al. 2020; ResNet-50, "
    "ImageNet, 300 and 1000 epochs",
    claim=(
        "Without BatchNorm in its MLPs, BYOL collapses to the untrained network, as if BatchNorm supplied the "
        "negatives. Later work finds that weight decay, LARS, or GroupNorm with weight standardisation also "
        "prevent the collapse."
    ),
    settings=settings,
    discussion={
        "digits": (
            "Without BatchNorm in its MLPs, BYOL's predictions become the same for all images, as the cosines "
            "show and as Fetterman & Albrecht found. Negatives have the same effect as BatchNorm. The features do "
            "not fall to those of the untrained network: the network learns features before it collapses. One "
            "BatchNorm, in either MLP, is nearly as good as two. None of the remedies was seen to work. GroupNorm "
            "with standardised weights learns little in so few steps, at a learning rate that was chosen for "
            "BatchNorm; no other rate was tried. Without any norm, the predictions are constant at the end, but "
            "the features are as good as with BatchNorm within the spread. The untrained network without norms is "
            "a different network and was not measured."
        )
    },
    seeds=5,
    metrics=("positive_cosine", "negative_cosine"),
)

if __name__ == "__main__":
    main(TABLE)
