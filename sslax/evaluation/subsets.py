"""Which labels a few-label protocol may see."""

import numpy as np
from jaxtyping import Int

from sslax.checks import check_at_least, check_count


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
      ValueError: unless exactly one of `fraction` and `per_class` is given and in its range, and on other labels than [n], n
        at least 1.
      TypeError: on labels that are not integers.
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels has dtype {labels.dtype}; it must be an array of integers.")
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels has shape {labels.shape}; it must be [n], with n of at least 1.")
    if (fraction is None) == (per_class is None):
        raise ValueError("exactly one of fraction and per_class must be given.")
    if fraction is not None:
        check_at_least("fraction", fraction)
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction is {fraction}; it must lie in (0, 1].")
    if per_class is not None:
        check_count("per_class", per_class)
    check_count("seed", seed, least=0)
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = per_class if fraction is None else max(1, round(fraction * len(members)))
        chosen.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(chosen)).astype(np.int32)
