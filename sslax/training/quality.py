"""What features are worth on a data set: kNN along the way, and the closing table beside two baselines."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from sslax.data import Dataset
from sslax.evaluation import knn_scores, linear_probe
from sslax.training.probe import OnlineProbe

NEIGHBOURS = (1, 20)
# Pixels as features are a baseline, not a burden: larger images are averaged down to this side first.
_RAW_SIDE = 32


def knn_accuracy(
    train: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, "m"],
    *,
    num_classes: int,
) -> dict[str, float]:
    """`knn1` and `knn20`, accuracies in [0, 1]; a k above the number of training features is left out."""
    accuracies = {}
    for k in NEIGHBOURS:
        if k <= len(train):
            scores = knn_scores(
                jnp.asarray(test), jnp.asarray(train), jnp.asarray(train_labels), num_classes=num_classes, k=k
            )
            accuracies[f"knn{k}"] = float((np.asarray(scores).argmax(1) == test_labels).mean())
    return accuracies


def measure(
    features: Callable[[UInt8[np.ndarray, "n s s 3"], Float[np.ndarray, "n"]], Float[np.ndarray, "n d"]],
    data: Dataset,
    *,
    probe_key: Key[Array, ""] | None = None,
    probe: OnlineProbe | None = None,
) -> dict[str, float]:
    """Accuracies of `features` on a set: `knn1`, `knn20`, `linear` where a key is given, `probe` of an online probe.

    Raises:
      ValueError: on a set without labels or without a test split.
    """
    if data.test is None or data.train.labels is None or data.test.labels is None:
        raise ValueError(f"{data.name} has no labels or no test split; accuracies need both.")
    train, test = (features(split.images, split.aspects) for split in (data.train, data.test))
    classes = len(data.classes)
    accuracies = knn_accuracy(train, data.train.labels, test, data.test.labels, num_classes=classes)
    if probe_key is not None:
        linear = linear_probe(probe_key, train, data.train.labels, test, data.test.labels, num_classes=classes)
        accuracies["linear"] = linear.accuracy
    if probe is not None:
        accuracies["probe"] = probe.accuracy(test, data.test.labels)
    return accuracies


def can_measure(data: Dataset) -> bool:
    """Whether the set has the labels and the test split that accuracies need."""
    return data.test is not None and data.train.labels is not None and data.test.labels is not None


def raw_pixels(
    images: UInt8[np.ndarray, "n s s 3"], aspects: Float[np.ndarray, "n"] | None = None
) -> Float[np.ndarray, "n d"]:
    """The pixels themselves as features, in [0, 1], at 32 pixels a side at most; aspects do not matter."""
    side = min(images.shape[1], _RAW_SIDE)

    @jax.jit
    def shrink(batch):
        batch = batch.astype(jnp.float32) / 255
        return jax.image.resize(batch, (len(batch), side, side, 3), "linear").reshape(len(batch), -1)

    return np.concatenate([np.asarray(shrink(images[i : i + 1000])) for i in range(0, len(images), 1000)])
