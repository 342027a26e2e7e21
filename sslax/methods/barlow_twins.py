"""Barlow Twins: the cross-correlation matrix of the two views' projections is to be the identity.

Its diagonal of 1 makes the views agree, and its zeros keep the dimensions from saying the same. There are neither negatives
nor a predictor. Source: Zbontar et al. 2021, arXiv:2103.03230, section 2 and Algorithm 1; the released `main.py`.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

from sslax.augment import BYOLViews, check_views
from sslax.data import MAX_CANVAS
from sslax.errors import InputError
from sslax.methods.base import (
    check_loss_scale,
    check_sizes,
)

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class BarlowTwins:
    """Barlow Twins' options; the defaults are those of the release on ImageNet."""

    NAME: ClassVar[str] = "barlow-twins"

    views: BYOLViews = BYOLViews(semantics="torchvision")
    projector_hidden: int = 8192
    """Width of the projector's hidden layers."""
    projector_dim: int = 8192
    """Width of the projections; the paper finds wider ones better (figure 4)."""
    projector_layers: int = 3
    """Layers of the projector; the last one is linear, without a norm or a bias."""
    off_diagonal: float = 0.0051
    """λ, the weight of the redundancy term; at 0 all dimensions may say the same. The sum has d(d - 1) entries of c, so
    narrower projections need a larger weight."""
    loss_scale: float = 1.0
    """Factor of the optimised loss; 1 is the paper's loss. A recipe takes it from its source, because weight decay and
    parameters that LARS does not adapt depend on it. The log shows the paper's loss and the norm of the scaled gradient."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        check_views(self.views, config.canvas or MAX_CANVAS)
        check_loss_scale(self.loss_scale)
        check_sizes(self, projector_hidden=1, projector_dim=1, projector_layers=1)
        if not 0 <= self.off_diagonal < math.inf:
            raise InputError(f"method.off_diagonal is {self.off_diagonal}; it must be a finite number of at least 0.")
