"""How a classifier is trained on a backbone, and what of it cannot work."""

import dataclasses
from typing import Any, Literal

from sslax.errors import InputError
from sslax.networks import ViT


@dataclasses.dataclass(frozen=True)
class FinetuneOptions:
    """How a classifier is trained on a backbone."""

    steps: int = 500
    """Steps of the optimiser."""
    batch_size: int = 128
    """Images a step, drawn from epochs in random order; sets that are smaller are repeated in it."""
    lr: float = 1e-3
    """Peak learning rate (AdamW), after a tenth of the steps and before a cosine to 0."""
    weight_decay: float = 1e-4
    """Weight decay of kernels."""
    head: Literal["linear", "mlp"] = "linear"
    """Classifier on the features: one layer, or one hidden layer of the features' width."""
    freeze: bool = False
    """Train the head alone, the backbone as in evaluation; a higher lr, 1e-2, suits it."""
    layer_decay: float = 1.0
    """Factor on the learning rate from each block of a ViT to the one below it; 0.65 to 0.75 is usual, 1 is none."""
    crop_area: tuple[float, float] | None = None
    """Smallest and largest training crop, share of the image's area; None is pretraining's."""
    flip: float | None = None
    """Probability of the horizontal flip; None is pretraining's."""
    jitter: float = 0.0
    """Probability of SimCLR's colour jitter."""
    strength: float = 0.5
    """Its strength s: brightness, contrast, saturation 0.8 s, hue 0.2 s."""
    grayscale: float = 0.0
    """Probability of grayscale."""
    mixup: float = 0.0
    """α of mixup's Beta(α, α), from which each batch draws one share; 0 mixes nothing, 0.2 to 0.8 is usual."""
    label_smoothing: float = 0.0
    """Share of each label that is spread evenly over the classes; 0.1 is usual."""
    eval_every: int | None = None
    """Steps between looks at the validation images; None is a twentieth of the steps."""
    patience: int = 10
    """Looks without a better validation accuracy before training stops."""

    def check(self, backbone: Any = None, *, prefix: str = "") -> None:
        """Raise InputError on values that cannot work, or not on this backbone; `prefix` stands before fields' names."""
        self._check_training(prefix)
        self._check_augmentation(prefix)
        if self.layer_decay == 1:
            return
        said = f"{prefix}layer_decay is {self.layer_decay}"
        if self.freeze:
            raise InputError(
                f"{said}, but {prefix}freeze trains no layer of the backbone; one of them must be left out."
            )
        if backbone is not None and not isinstance(backbone, ViT):
            raise InputError(
                f"{said}, but the network is a {type(backbone).__name__}, which has no blocks that it is counted by; "
                "it must be 1, or the network a ViT."
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
                f"{prefix}strength is {self.strength}; it must lie in [0, 2.5], as hues turn by up to 0.2 of it, "
                "at most 0.5."
            )
        if self.crop_area is not None and not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise InputError(
                f"{prefix}crop_area is {self.crop_area}; it must be two shares in (0, 1], the smaller first."
            )
