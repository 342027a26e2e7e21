"""Subsets of labels for few-label protocols."""

import numpy as np
from jaxtyping import Int

from sslax.checks import check_at_least, check_count


def balanced_subset(
    labels: Int[np.ndarray, "n"], *, fraction: float | None = None, per_class: int | None = None, seed: int = 0
) -> Int[np.ndarray, "k"]:
    """Indices of a class-balanced subset of the labels, with at least one label of each class, in increasing order.

    Args:
      labels: labels of all images.
      fraction: share of each class, in (0, 1]; the number is rounded to the nearest integer.
      per_class: alternatively the number of labels per class, at least 1; a class with fewer labels contributes all of them.
      seed: seed of the random selection.

    Raises:
      ValueError: unless exactly one of `fraction` and `per_class` is given and in range, and labels are [n] with n >= 1.
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
