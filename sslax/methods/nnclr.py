"""NNCLR: the positive of a view is not the other view itself but its nearest neighbour in a queue of earlier projections.

Source: Dwibedi et al. 2021, arXiv:2104.14548, section 3 and equation 2. There is no release of its authors; heads and queue
are as in lightly `models/modules/nn_memory_bank.py` and solo-learn `methods/nnclr.py`.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from sslax.augment import BYOLViews
from sslax.methods.checks import check_options, check_queue

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class NNCLR:
    """NNCLR's options; the defaults are the paper's."""

    NAME: ClassVar[str] = "nnclr"

    views: BYOLViews = BYOLViews()
    projector_hidden: int = 2048
    """Width of the projector's hidden layers."""
    projector_dim: int = 256
    """Width of the projections and predictions."""
    projector_layers: int = 3
    """Layers of the projector, each with BatchNorm, the last one too."""
    predictor_hidden: int = 4096
    """Width of the predictor's hidden layer; 0 is no predictor."""
    temperature: float = 0.1
    """τ of the loss."""
    queue: int = 98304
    """Earlier projections of view 1 that neighbours are looked for in."""
    loss: Literal["info-nce", "nt-xent"] = "info-nce"
    """Of n images, the negatives of a neighbour: the n - 1 other predictions (the paper), or also the n - 1 other neighbours
    (lightly)."""
    loss_scale: float = 1.0
    """Factor of the loss that is optimised, 1 being the paper's. Logged are the paper's loss and the norm of the scaled
    gradient."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"projector_hidden": 1, "projector_dim": 1, "projector_layers": 1, "predictor_hidden": 0}
        check_options(self, config, least=least, positive=("temperature",))
        check_queue(self.queue, config.batch_size)
