"""A classifier on a backbone: its predictions, and the file format that stores it.

The file is safetensors. It holds the backbone under torch's names (`sslax.export`) and the head in the layout of torch's
Linear layers: `head.weight` and `head.bias`, or `head.0` and `head.2` for two layers with a ReLU between them. Before the head,
each row of features is normalised as by `torch.nn.LayerNorm(d, eps=1e-6, elementwise_affine=False)`. The metadata has the rest:
classes, network, image size, interpolation and normalisation.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from sslax.augment import eval_view
from sslax.config import Config, NetworkConfig
from sslax.data import Dataset
from sslax.data.decode import DEFAULT_CANVAS, read_files
from sslax.data.picture import USUAL, Reading
from sslax.errors import InputError
from sslax.export import from_torch, load_safetensors, save_safetensors, to_torch
from sslax.networks import ClassifierHead, build_backbone, forward, init
from sslax.training.build import compute_dtype, images_at_once, make_backbone
from sslax.training.load import are_files, as_batch, reading_of

_BATCH = 512


class Classifier(NamedTuple):
    """Trained weights: the backbone's parameters and statistics, and the head's parameters."""

    params: PyTree
    statistics: PyTree
    head: PyTree


class Shown(NamedTuple):
    """How images are prepared for a network in evaluation. Every recipe of views has these fields.

    Attributes:
      size: side of the images, in pixels.
      interpolation: method of resizing.
      mean: mean per channel to subtract, or None.
      std: standard deviation per channel to divide by, or None.
    """

    size: int
    interpolation: Any
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None


class Predictor:
    """Computes logits of any number of images in batches, with few compiled shapes. Each call takes the weights."""

    def __init__(self, backbone: Any, head: ClassifierHead, shown: Any):
        self._backbone, self._head, self._shown = backbone, head, shown
        fitting = images_at_once(backbone, shown.size) or _BATCH
        self._most = min(_BATCH, 1 << fitting.bit_length() - 1)
        self._logits = jax.jit(self._classify)

    def __call__(
        self,
        classifier: Classifier,
        images: UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"],
        aspects: Float[np.ndarray, "n"],
    ) -> Float[np.ndarray, "n c"]:
        """Logits of images, uint8 or float in [0, 1], with their original aspect ratios (width / height)."""
        # Images with their original aspect ratio need no geometry, and no resizing if they have the network's size.
        squashed = bool((aspects != 1).any())
        # Batch sizes are powers of two: few programs to compile, and a single image is not padded to a whole batch.
        size = min(self._most, 1 << (len(images) - 1).bit_length())
        found = []
        for start in range(0, len(images), size):
            batch, shapes = images[start : start + size], aspects[start : start + size]
            missing = size - len(batch)
            whole = np.pad(batch, [(0, missing), (0, 0), (0, 0), (0, 0)])
            shapes = np.pad(shapes, (0, missing), constant_values=1)
            logits = self._logits(classifier, whole, shapes if squashed else None)
            found.append(np.asarray(logits, np.float32)[: len(batch)])
        return np.concatenate(found)

    def _classify(self, classifier: Classifier, images: Array, aspects: Array | None) -> Float[Array, "n c"]:
        s = self._shown
        x = eval_view(images, s.size, aspects=aspects, interpolation=s.interpolation, mean=s.mean, std=s.std)
        h, _ = forward(self._backbone, classifier.params, classifier.statistics, x, train=False)
        return forward(self._head, classifier.head, {}, h, train=False)[0]


class LoadedClassifier:
    """A classifier loaded from its file: `classifier(images)` returns the name of the predicted class of each image.

    Images are arrays, or lists of image files, which are read in the same way as the training images.

    Attributes:
      classes: names of the classes, in the order of the probabilities' columns.
      weights: weights of the backbone and the head.
    """

    def __init__(
        self, classes: tuple[str, ...], weights: Classifier, predictor: Predictor, canvas: int, reading: Reading
    ):
        self.classes, self.weights = classes, weights
        self._predictor, self._canvas, self._reading = predictor, canvas, reading

    def __call__(
        self,
        images: UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"] | Array | Sequence[str | os.PathLike[str]],
        aspects: Float[np.ndarray, "n"] | None = None,
    ) -> list[str]:
        """The name of the most probable class of each image. Arguments and errors are those of `probabilities`."""
        return [self.classes[index] for index in self.probabilities(images, aspects).argmax(1)]

    def probabilities(
        self,
        images: UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"] | Array | Sequence[str | os.PathLike[str]],
        aspects: Float[np.ndarray, "n"] | None = None,
    ) -> Float[np.ndarray, "n c"]:
        """Probabilities of the classes, one row per image.

        Args:
          images: uint8 or float in [0, 1], any number of images of one size; the central square is resized for the network.
            Or a list of image files.
          aspects: original aspect ratios (width / height) of images that were resized to a square; None if they were not.

        Raises:
          ValueError: if images have another shape or type, or a file cannot be read.
        """
        if are_files(images):
            images, aspects = read_files(images, self._canvas, self._reading)
        return softmax(self._predictor(self.weights, *as_batch(images, aspects)))

    def accuracy(self, data: Dataset) -> float:
        """Accuracy on the test images of `data`, in [0, 1].

        Raises:
          InputError: if the data has no labels or no test split, or its classes differ from the classifier's.
        """
        if data.test is None or data.test.labels is None:
            raise InputError(f"data is {data.name}, which has no labels or no test split; both are needed.")
        if data.classes != self.classes:
            raise InputError(
                f"data is {data.name}, but its classes ({_some(data.classes)}) differ from the classifier's "
                f"({_some(self.classes)}); they must be the same."
            )
        found = self.probabilities(data.test.images, data.test.aspects).argmax(1)
        return float((found == data.test.labels).mean())


def softmax(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Softmax of each row of logits."""
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def save_classifier(
    path: str | os.PathLike[str],
    config: Config,
    classifier: Classifier,
    classes: tuple[str, ...],
    *,
    canvas: int = DEFAULT_CANVAS,
    reading: Reading | None = None,
) -> None:
    """Write a classifier to one file, in one step. `load_classifier` reads it.

    Args:
      path: path of the file, in an existing folder.
      config: configuration of the run that pretrained the backbone.
      classifier: the weights.
      classes: names of the classes in the order of the logits.
      canvas: side in pixels of the squares that the training images were resized to; image files will be read at this size.
      reading: how the training image files were read; None is as in the run.

    Raises:
      InputError: if the file cannot be written.
    """
    tensors = to_torch(make_backbone(config), classifier.params, classifier.statistics)
    layers = [classifier.head[name] for name in sorted(classifier.head)]
    for name, layer in zip(_head_names(len(layers) == 2), layers, strict=True):
        tensors[f"{name}.weight"] = np.asarray(layer["kernel"], np.float32).T
        tensors[f"{name}.bias"] = np.asarray(layer["bias"], np.float32)
    views = config.method.views
    metadata = {
        "kind": "sslax classifier",
        "method": config.method.NAME,
        "classes": json.dumps(classes),
        "network": json.dumps(dataclasses.asdict(config.network)),
        "head": "mlp" if len(layers) == 2 else "linear",
        "precision": config.precision,
        "image_size": json.dumps(views.size),
        "interpolation": views.interpolation,
        "mean": json.dumps(views.mean),
        "std": json.dumps(views.std),
        "canvas": json.dumps(canvas),
        "reading": json.dumps(reading or reading_of(config)),
    }
    save_safetensors(path, tensors, metadata)


def load_classifier(path: str | os.PathLike[str]) -> LoadedClassifier:
    """Load a classifier from a file that `sslax finetune` wrote. It needs no other file of the run.

    Raises:
      InputError: if the file is missing, damaged or not a classifier, or its weights do not fit the network and the classes
        in its metadata.
    """
    tensors, metadata = load_safetensors(path)
    if metadata.get("kind") != "sslax classifier":
        raise InputError(f"{path} is not a classifier; it must be a weights.safetensors that sslax finetune wrote.")
    try:
        classes = tuple(str(name) for name in json.loads(metadata["classes"]))
        network = NetworkConfig(**json.loads(metadata["network"]))
        mean, std = (json.loads(metadata[name]) for name in ("mean", "std"))
        shown = Shown(
            int(metadata["image_size"]),
            metadata["interpolation"],
            None if mean is None else tuple(mean),
            None if std is None else tuple(std),
        )
        fields = dataclasses.asdict(network) | {"drop_path": 0.0}
        backbone = build_backbone(image_size=shown.size, dtype=compute_dtype(metadata["precision"]), **fields)
        hidden = {"linear": False, "mlp": True}[metadata["head"]]
        # Files from older versions have neither field.
        canvas = int(metadata.get("canvas", max(DEFAULT_CANVAS, 2 * shown.size)))
        exif, background = json.loads(metadata.get("reading", json.dumps(USUAL)))
        reading = Reading(bool(exif), tuple(background))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} has incomplete metadata ({error}); it must be an unchanged file from sslax finetune."
        ) from error
    example = jnp.zeros((1, shown.size, shown.size, 3))
    like = jax.eval_shape(lambda key: init(backbone, key, example), jax.random.key(0))
    try:
        params, statistics = from_torch(backbone, tensors, like_params=like[0], like_stats=like[1])
    except InputError as error:
        raise InputError(f"{path} names {network.name} as its network, but its weights do not fit: {error}") from error
    width = jax.eval_shape(lambda: forward(backbone, params, statistics, example, train=False)[0]).shape[-1]
    head = _head_from(path, tensors, hidden=hidden, width=width, classes=len(classes))
    weights = Classifier(params, statistics, head)
    return LoadedClassifier(
        classes, weights, Predictor(backbone, ClassifierHead(len(classes), hidden), shown), canvas, reading
    )


def _head_names(hidden: bool) -> tuple[str, ...]:
    # In torch's Sequential, the ReLU between the two layers is module 1.
    return ("head.0", "head.2") if hidden else ("head",)


def _head_from(path: Any, tensors: dict[str, np.ndarray], *, hidden: bool, width: int, classes: int) -> PyTree:
    head = {}
    for place, (name, out) in enumerate(
        zip(_head_names(hidden), (width, classes) if hidden else (classes,), strict=True)
    ):
        for part, shape in (("weight", (out, width)), ("bias", (out,))):
            found = tensors.get(f"{name}.{part}")
            if found is None or found.shape != shape:
                had = "is missing" if found is None else f"has shape {list(found.shape)}"
                raise InputError(
                    f"{path} is for {classes} classes on {width} features, but its {name}.{part} {had}; "
                    f"its shape must be {list(shape)}."
                )
        kernel, bias = (jnp.array(tensors[f"{name}.{part}"], copy=True) for part in ("weight", "bias"))
        head[f"Dense_{place}"] = {"kernel": kernel.T, "bias": bias}
    return head


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
