"""Accuracies of features on a data set: kNN during training, and the final table with two baselines."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from sslax import processes
from sslax.data import Dataset, LazyDataset, LazySplit, Split
from sslax.data.stream import Once, read_batches
from sslax.evaluation import linear_probe
from sslax.evaluation.knn import knn_accuracies
from sslax.training.probe import OnlineProbe

# The raw-pixel baseline must be cheap, so larger images are resized to this side first.
_RAW_SIDE = 32
# Maximum number of images that are evaluated of a streamed split: the size of ImageNet's validation split.
MOST = 50_000
_AT_ONCE = 500


def measure(
    features: Callable[[UInt8[np.ndarray, "n s s 3"], Float[np.ndarray, "n"]], Float[np.ndarray | Array, "n d"]],
    data: Dataset | LazyDataset,
    *,
    probe_key: Key[Array, ""] | None = None,
    probe: OnlineProbe | None = None,
    knn: Sequence[int] = (1, 20),
    workers: int = 0,
) -> dict[str, float]:
    """Accuracies of `features` on a set: `knn1`, `knn20`, `linear` if `probe_key` is given, `probe` if `probe` is given.

    `knn` are the numbers of neighbours, 1, 20 or 200, each with its protocol (`sslax.evaluation.PROTOCOLS`).

    A set that is listed but not decoded is evaluated on at most 50,000 images of each split, evenly spaced in its order.
    They are decoded on demand, by `workers` processes or in threads.

    Raises:
      ValueError: on a set without labels or without a test split.
      InputError: if a listed image cannot be decoded.
    """
    if not can_measure(data) or data.test is None:
        raise ValueError(f"{data.name} has no labels or no test split; accuracies need both.")
    train, train_labels = _looked_at(features, data.train, workers)
    test, test_labels = _looked_at(features, data.test, workers)
    classes = len(data.classes)

    def judged() -> dict[str, float]:
        protocols = [f"knn{k}" for k in knn]
        accuracies = knn_accuracies(train, train_labels, test, test_labels, num_classes=classes, protocols=protocols)
        if probe_key is not None:
            linear = linear_probe(probe_key, train, train_labels, test, test_labels, num_classes=classes)
            accuracies["linear"] = linear.accuracy
        return accuracies

    # The features come from the devices of all processes, but only the first process evaluates them.
    accuracies = processes.from_first(judged)
    if probe is not None:
        accuracies["probe"] = probe.accuracy(test, test_labels)
    return accuracies


def looked_at_note(data: Dataset | LazyDataset) -> str | None:
    """The note that `measure` evaluates only a part of a set; None if it evaluates the whole set."""
    if isinstance(data, Dataset) or not can_measure(data) or max(map(len, data.splits)) <= MOST:
        return None
    return f"Accuracies use at most {MOST:,} images of each split, evenly spaced in its order."


def _looked_at(features, split: Split | LazySplit, workers: int) -> tuple[Any, np.ndarray]:
    """Features and labels of a split, or of the evaluated part of a streamed split."""
    if isinstance(split, Split):
        assert split.labels is not None, "can_measure has seen to it"
        return features(split.images, split.aspects), split.labels
    index = np.unique(np.linspace(0, len(split) - 1, min(MOST, len(split))).astype(int))
    found, labels = [], []
    for batch in read_batches(split, Once(index, _AT_ONCE), workers=workers):
        found.append(features(batch.images, batch.aspects))
        labels.append(np.asarray(batch.labels))
    return np.concatenate(found), np.concatenate(labels)


def can_measure(data: Dataset | LazyDataset) -> bool:
    """Whether the set has the labels and the test split that evaluation needs."""
    return data.test is not None and data.train.labelled and data.test.labelled


def raw_pixels(
    images: UInt8[np.ndarray, "n s s 3"], aspects: Float[np.ndarray, "n"] | None = None
) -> Float[np.ndarray, "n d"]:
    """The pixels themselves as features, in [0, 1], at a side of at most 32 pixels; `aspects` is ignored."""
    side = min(images.shape[1], _RAW_SIDE)

    @jax.jit
    def shrink(batch):
        batch = batch.astype(jnp.float32) / 255
        return jax.image.resize(batch, (len(batch), side, side, 3), "linear").reshape(len(batch), -1)

    return np.concatenate([np.asarray(shrink(images[i : i + 1000])) for i in range(0, len(images), 1000)])
