"""What a fine-tuning does to images, rates and splits: mixup, the layer-wise decay, and a held-out share of each class."""

import numpy as np
from jaxtyping import Array, Bool, Float, Int


def layers_above(name: str, depth: int) -> int:
    """The exponent of the layer-wise decay for a ViT's module `name`: the number of blocks from its own to the last.

    The last norm and the head are above all blocks and are not decayed (0). The patch embedding, the class token and the
    positions are below all blocks (depth + 1).

    Source: Clark et al. 2020, arXiv:2003.10555; `optim_factory.py` of BEiT's release and `util/lr_decay.py` of MAE's.
    """
    if name.startswith("block"):
        return depth + 1 - int(name.removeprefix("block"))
    return 0 if name == "norm" else depth + 1


def mix(
    x: Float[Array, "n h w c"], targets: Float[Array, "n k"], share: Float[Array, ""]
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"]]:
    """Mixup: a weighted mean of each image and target with those of the reversed batch; `share` is the weight of the first.

    Source: Zhang et al. 2018, arXiv:1710.09412. Batches are already in random order, so reversing replaces a permutation.
    """
    return share * x + (1 - share) * x[::-1], share * targets + (1 - share) * targets[::-1]


def held_out(
    labels: Int[np.ndarray, "n"], index: Int[np.ndarray, "k"], *, fraction: float, seed: int
) -> Bool[np.ndarray, "k"]:
    """A mask of the images at `index` to hold out for validation: `fraction` of each class, but never all of a class."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(len(index), bool)
    for label in np.unique(labels[index]):
        members = rng.permutation(np.flatnonzero(labels[index] == label))
        mask[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    return mask
