"""Which labels a few-label protocol may see."""

import numpy as np
from jaxtyping import Int


def balanced_subset(
    labels: Int[np.ndarray, "n"], *, fraction: float | None = None, per_class: int | None = None, seed: int = 0
) -> Int[np.ndarray, "k"]:
    """Indices of a part of the labels, the same share of each class and at least one of it, in ascending order.

    Args:
      labels: classes.
      fraction: in (0, 1]; of each class, rounded to the nearest number.
      per_class: or how many of each class, at least 1; a class that has fewer gives what it has.
      seed: which ones.

    Raises:
      ValueError: unless exactly one of `fraction` and `per_class` is given and in its range.
    """
    if (fraction is None) == (per_class is None):
        raise ValueError("exactly one of fraction and per_class must be given.")
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; it must lie in (0, 1].")
    if per_class is not None and per_class < 1:
        raise ValueError(f"per_class is {per_class}; it must be at least 1.")
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = per_class if fraction is None else max(1, round(fraction * len(members)))
        chosen.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(chosen)).astype(np.int32)
