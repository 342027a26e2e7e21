"""SwAV: an image's crops are assigned to prototypes, and each crop is to predict the assignment of another.

Source: Caron et al. 2020, arXiv:2006.09882, section 3; facebookresearch/swav `main_swav.py` and `src/resnet50.py`.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from sslax.augment import DINOViews
from sslax.methods.checks import check_options, check_queue

if TYPE_CHECKING:
    from sslax.config import Config

# `src/multicropdataset.py` of the release: two large crops and six small ones, all with SimCLR's colours.
VIEWS = DINOViews(
    global_area=(0.14, 1.0),
    local_area=(0.05, 0.14),
    local_crops=6,
    interpolation="bilinear",
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    hue=0.2,
    blur=(0.5, 0.5, 0.5),
    solarize=(0.0, 0.0),
    std=(0.228, 0.224, 0.225),
)


@dataclasses.dataclass(frozen=True)
class SwAV:
    """SwAV's options; the defaults are the release's for ImageNet and a batch of 4096."""

    NAME: ClassVar[str] = "swav"

    views: DINOViews = VIEWS
    projector_hidden: int = 2048
    """Width of the projector's hidden layer."""
    projector_dim: int = 128
    """Width of the projections and of the prototypes, which are ℓ2-normalised."""
    prototypes: int = 3000
    """K, how many prototypes."""
    temperature: float = 0.1
    """τ of the predicted distribution over the prototypes."""
    epsilon: float = 0.05
    """ε of the assignment: smaller is sharper."""
    sinkhorn_iterations: int = 3
    """Iterations of Sinkhorn-Knopp; 0 is a softmax of each image by itself, with which SwAV collapses."""
    frozen_epochs: float = 1.0
    """Epochs in which the prototypes get no update at all. The release has 313 iterations, an epoch of batches of 4096."""
    queue: int = 0
    """Earlier projections of each large crop that are assigned with the batch, for batches smaller than some hundred; the
    release has 3840 with a batch of 256."""
    queue_start_epoch: int = 15
    """The first epoch, from 0, whose projections enter the queue, which is used once it is full."""
    separate_views: bool = False
    """BatchNorm statistics of each crop by itself, and not of all crops of a resolution together."""
    loss_scale: float = 1.0
    """Factor of the loss that is optimised, 1 being the paper's. Logged are the paper's loss and the norm of the scaled
    gradient."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"projector_hidden": 1, "projector_dim": 1, "prototypes": 2, "sinkhorn_iterations": 0}
        least |= {"frozen_epochs": 0, "queue": 0, "queue_start_epoch": 0}
        check_options(self, config, least=least, positive=("temperature", "epsilon"))
        if self.queue:
            check_queue(self.queue, config.batch_size)
