"""The options of fine-tuning, and their checks."""

import dataclasses
from typing import Any, Literal

from sslax.errors import InputError
from sslax.networks import ViT


@dataclasses.dataclass(frozen=True)
class FinetuneOptions:
    """Options for training a classifier on a backbone."""

    steps: int = 500
    """Steps of the optimiser."""
    batch_size: int = 128
    """Images per step. Each epoch has a new random order; in a set smaller than a batch, images repeat within the batch."""
    lr: float = 1e-3
    """Peak learning rate (AdamW); a tenth of the steps is warmup, then a cosine goes to 0."""
    weight_decay: float = 1e-4
    """Weight decay of the kernels."""
    head: Literal["linear", "mlp"] = "linear"
    """Classifier on the features: linear (one layer), or mlp (one hidden layer with the width of the features)."""
    freeze: bool = False
    """Train only the head; the backbone runs as in evaluation. Use a higher lr, such as 1e-2."""
    layer_decay: float = 1.0
    """Layer-wise decay: the factor on the learning rate from each block of a ViT to the one below; 0.65 to 0.75 is usual, 1
    turns it off."""
    crop_area: tuple[float, float] | None = None
    """Smallest and largest area of a training crop, as a share of the image; None uses pretraining's."""
    flip: float | None = None
    """Probability of the horizontal flip; None uses pretraining's."""
    jitter: float = 0.0
    """Probability of SimCLR's colour jitter."""
    strength: float = 0.5
    """Strength s of the colour jitter: brightness, contrast and saturation 0.8 s, hue 0.2 s."""
    grayscale: float = 0.0
    """Probability of converting an image to grayscale."""
    mixup: float = 0.0
    """Mixup's α: each batch draws one mixing weight from Beta(α, α); 0 turns mixup off, 0.2 to 0.8 is usual."""
    label_smoothing: float = 0.0
    """Share of each label that is spread evenly over all classes; 0.1 is usual."""
    eval_every: int | None = None
    """Steps between evaluations on the validation images; None is a twentieth of the steps."""
    patience: int = 10
    """Number of evaluations without a better validation accuracy after which training stops."""

    def check(self, backbone: Any = None, *, prefix: str = "") -> None:
        """Raise InputError for values that cannot work, alone or with this backbone; messages put `prefix` before names."""
        self._check_training(prefix)
        self._check_augmentation(prefix)
        if self.layer_decay == 1:
            return
        said = f"{prefix}layer_decay is {self.layer_decay}"
        if self.freeze:
            raise InputError(f"{said}, but {prefix}freeze trains no layer of the backbone; leave out one of the two.")
        if backbone is not None and not isinstance(backbone, ViT):
            raise InputError(
                f"{said}, but the network is a {type(backbone).__name__}; {prefix}layer_decay must be 1, because "
                "only a ViT has the blocks that it needs."
            )

    def _check_training(self, prefix: str) -> None:
        for name in ("steps", "batch_size", "patience", "eval_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{prefix}{name} is {value}; it must be at least 1.")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"{prefix}lr is {self.lr}; it must be a finite number above 0.")
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"{prefix}layer_decay is {self.layer_decay}; it must lie in (0, 1].")
        for name in ("weight_decay", "mixup"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{prefix}{name} is {getattr(self, name)}; it must be a finite number of at least 0.")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"{prefix}label_smoothing is {self.label_smoothing}; it must lie in [0, 1).")

    def _check_augmentation(self, prefix: str) -> None:
        for name in ("flip", "jitter", "grayscale"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{prefix}{name} is {value}; it must be a probability in [0, 1].")
        if not 0 <= self.strength <= 2.5:
            raise InputError(
                f"{prefix}strength is {self.strength}; it must lie in [0, 2.5], because the hue shift is 0.2 of it and at "
                "most 0.5."
            )
        if self.crop_area is not None and not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise InputError(
                f"{prefix}crop_area is {self.crop_area}; it must be two shares in (0, 1], the smaller first."
            )
