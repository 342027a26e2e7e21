"""Per-class metrics of a classifier."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sslax.checks import check_count, check_labels


class PerClass(NamedTuple):
    """Metrics of each class, in [0, 1]; NaN where the denominator is 0.

    Attributes:
      precision: share of the images predicted as the class that belong to it; NaN if no image is predicted as the class.
      recall: share of the class's images that are predicted as it; NaN if the class has no images.
      f1: harmonic mean of both, 2 tp / (2 tp + fp + fn); NaN if the class has no images and no image is predicted as it.
      support: number of images of the class.
    """

    precision: Float[np.ndarray, "c"]
    recall: Float[np.ndarray, "c"]
    f1: Float[np.ndarray, "c"]
    support: Int[np.ndarray, "c"]


def confusion_matrix(
    labels: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], *, num_classes: int
) -> Int[np.ndarray, "c c"]:
    """The number of images of each true class (row) that are predicted as each class (column).

    Raises:
      ValueError: on labels or predictions outside [0, num_classes), or different numbers of them.
      TypeError: on labels or predictions that are not integers.
    """
    check_count("num_classes", num_classes)
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    check_labels("labels", labels, num_classes=num_classes)
    check_labels("predicted", predicted, num_classes=num_classes)
    if labels.shape != predicted.shape:
        raise ValueError(f"labels has shape {labels.shape} and predicted {predicted.shape}; they must be the same.")
    pairs = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class(confusion: Int[np.ndarray, "c c"]) -> PerClass:
    """Precision, recall, F1 and support of each class, from a confusion matrix with true classes in rows.

    Raises:
      ValueError: on another shape than [c, c] or negative counts.
      TypeError: on counts that are not integers.
    """
    confusion = np.asarray(confusion)
    if not np.issubdtype(confusion.dtype, np.integer):
        raise TypeError(f"confusion has dtype {confusion.dtype}; it must be an array of integers.")
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or not confusion.size:
        raise ValueError(f"confusion has shape {confusion.shape}; it must be a square [c, c].")
    if confusion.min() < 0:
        raise ValueError(f"confusion has the value {confusion.min()}; counts must be at least 0.")
    confusion = confusion.astype(np.int64)
    right = np.diagonal(confusion).astype(np.float64)
    taken, support = confusion.sum(0), confusion.sum(1)

    def share(part, whole):
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)

    return PerClass(share(right, taken), share(right, support), share(2 * right, taken + support), support)
