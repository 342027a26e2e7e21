"""What a classifier does class by class."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class PerClass(NamedTuple):
    """Figures of each class, in [0, 1]; NaN where there is nothing to divide by.

    Attributes:
      precision: share of the images taken for the class that are of it; NaN where none was taken for it.
      recall: share of the class's images that are taken for it; NaN where it has none.
      f1: harmonic mean of both, 2 tp / (2 tp + fp + fn); NaN where the class has no images and none was taken for it.
      support: the class's images.
    """

    precision: Float[np.ndarray, "c"]
    recall: Float[np.ndarray, "c"]
    f1: Float[np.ndarray, "c"]
    support: Int[np.ndarray, "c"]


def confusion_matrix(
    labels: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], *, num_classes: int
) -> Int[np.ndarray, "c c"]:
    """How many images of each class (row) were taken for each class (column).

    Raises:
      ValueError: where a label or a prediction is not in [0, num_classes).
    """
    for name, values in (("labels", labels), ("predicted", predicted)):
        if len(values) and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(f"{name} has {values.min()} to {values.max()}; it must lie in [0, {num_classes}).")
    pairs = np.asarray(labels, np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(confusion: Int[np.ndarray, "c c"]) -> PerClass:
    """Precision, recall, F1 and support of each class from a confusion matrix, true classes in rows."""
    right = np.diagonal(confusion).astype(np.float64)
    taken, support = confusion.sum(0), confusion.sum(1)

    def share(part, whole):
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)

    return PerClass(share(right, taken), share(right, support), share(2 * right, taken + support), support)
