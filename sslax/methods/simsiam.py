"""SimSiam: each view's prediction meets the projection of the other view, through which no gradient flows.

There are neither negatives nor a target network. Source: Chen & He 2021, arXiv:2011.10566, section 3 and Algorithm 1; the
released `simsiam/builder.py` and `main_simsiam.py`.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from sslax.augment import IMAGENET_MEAN, IMAGENET_STD, SimCLRViews, check_views
from sslax.data import MAX_CANVAS
from sslax.methods.base import (
    check_loss_scale,
    check_sizes,
)

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class SimSiam:
    """SimSiam's options; the defaults are those of the release on ImageNet."""

    NAME: ClassVar[str] = "simsiam"

    views: SimCLRViews = SimCLRViews(
        crop_area=(0.2, 1.0),
        crop_sampling="torchvision",
        interpolation="bilinear",
        strength=0.5,
        semantics="torchvision",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    projector_hidden: int = 2048
    """Width of the projector's hidden layers; the release takes the backbone's width, 2048 for ResNet-50."""
    projector_dim: int = 2048
    """Width of the projections and predictions."""
    projector_layers: int = 3
    """Layers of the projector: 3 on ImageNet, 2 on CIFAR-10 (appendix D)."""
    predictor_hidden: int = 512
    """Width of the predictor's hidden layer; 0 means no predictor, which makes SimSiam collapse."""
    stop_gradient: bool = True
    """Stop the gradient at the projections; without the stop SimSiam collapses (section 4.1)."""
    constant_predictor_rate: bool = True
    """Keep the predictor's learning rate at its peak instead of on the schedule, as the release's --fix-pred-lr does."""
    loss_scale: float = 1.0
    """Factor of the optimised loss; 1 is the paper's loss. A recipe takes it from its source, because weight decay and
    parameters that LARS does not adapt depend on it. The log shows the paper's loss and the norm of the scaled gradient."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        check_views(self.views, config.canvas or MAX_CANVAS)
        check_loss_scale(self.loss_scale)
        check_sizes(self, projector_hidden=1, projector_dim=1, projector_layers=1, predictor_hidden=0)
