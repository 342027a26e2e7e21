"""MoCo v3: each view's query finds the key that a slow average of the network makes of the other view of its image.

Source: Chen et al. 2021, arXiv:2104.02057, Algorithm 1; facebookresearch/moco-v3 `moco/builder.py` and `main_moco.py`.
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from sslax.augment import BYOLViews
from sslax.methods.checks import check_options, check_queue

if TYPE_CHECKING:
    from sslax.config import Config


@dataclasses.dataclass(frozen=True)
class MoCoV3:
    """MoCo v3's options. The defaults are the release's for a ResNet-50 and 100 epochs.

    For ViTs the release has `projector_layers=3`, `predictor_norm="plain"` and `temperature=0.2`.
    """

    NAME: ClassVar[str] = "moco-v3"

    views: BYOLViews = BYOLViews(semantics="torchvision", interpolation="bilinear")
    projector_layers: int = 2
    """Layers of the projector: 2 for ResNets, 3 for ViTs."""
    projector_hidden: int = 4096
    """Width of the projector's hidden layers."""
    projector_dim: int = 256
    """Width of queries and keys."""
    projector_norm: Literal["none", "plain", "affine"] = "plain"
    """BatchNorm after the projector's last layer: none, plain (neither scale nor offset) or affine."""
    predictor_layers: int = 2
    """Layers of the predictor; 0 is no predictor."""
    predictor_hidden: int = 4096
    """Width of the predictor's hidden layers."""
    predictor_norm: Literal["none", "plain", "affine"] = "none"
    """BatchNorm after the predictor's last layer: none for ResNets, plain for ViTs."""
    temperature: float = 1.0
    """τ: 1 for ResNets, 0.2 for ViTs."""
    decay: float = 0.99
    """The target's decay at the start: .99 for 100 and 300 epochs, .996 for 1000."""
    decay_schedule: Literal["cosine", "constant"] = "cosine"
    """How the decay goes on: to 1 along a cosine, or constant."""
    freeze_patch_embedding: bool = True
    """Leave a ViT's patch embedding as it is drawn, which keeps the training stable (section 4.2). ResNets have none."""
    queue: int = 0
    """Keys of earlier batches that are further negatives, for each view; 0 is MoCo v3. MoCo v2 has 65536."""
    loss_scale: float = 1.0
    """Factor of the loss that is optimised, 1 being the paper's. Logged are the paper's loss and the norm of the scaled
    gradient."""

    def check(self, config: "Config") -> None:
        """Raise InputError on options that cannot work."""
        least = {"projector_layers": 1, "projector_hidden": 1, "projector_dim": 1, "predictor_layers": 0}
        least |= {"predictor_hidden": 1, "queue": 0}
        check_options(self, config, least=least, positive=("temperature",), shares=("decay",))
        if self.queue:
            check_queue(self.queue, config.batch_size)
