"""The linear evaluation of the papers: a classifier trained on the frozen backbone's features of augmented images.

Published figures use this protocol; `sslax.evaluation.linear_probe` is faster, because it computes the features of each image
only once. Each step crops and flips its images again, computes their features with the backbone in evaluation mode, and
updates the classifiers of all learning rates at once.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from sslax.augment import branch_views, eval_view
from sslax.data import Dataset, Split
from sslax.evaluation import balanced_subset
from sslax.networks import ViT, forward
from sslax.training import Loaded


@dataclasses.dataclass(frozen=True)
class LinearProtocol:
    """A paper's linear evaluation: SGD with momentum .9, a cosine schedule to 0 and no weight decay.

    Attributes:
      epochs: passes over the training images.
      batch_size: images per step, at most the number of training images.
      learning_rates: for a batch of 256, scaled linearly with the batch size; of several, the most accurate one on held-out
        training images is used.
      nesterov: use Nesterov momentum.
      last_blocks: number of a ViT's last blocks; their concatenated [CLS] tokens are the features. Ignored for other networks.
    """

    epochs: int
    batch_size: int
    learning_rates: tuple[float, ...]
    nesterov: bool = False
    last_blocks: int = 1


# Chen et al. 2020, appendix B.6.
SIMCLR_LINEAR = LinearProtocol(epochs=90, batch_size=4096, learning_rates=(0.1,), nesterov=True)
# Grill et al. 2020, appendix C.1; its rates are for a batch of 1024.
BYOL_LINEAR = LinearProtocol(
    epochs=80, batch_size=1024, learning_rates=tuple(lr / 4 for lr in (0.4, 0.3, 0.2, 0.1, 0.05)), nesterov=True
)
# Caron et al. 2021, appendix F.2; `eval_linear.py` of the release.
DINO_LINEAR = LinearProtocol(epochs=100, batch_size=1024, learning_rates=(0.001,), last_blocks=4)
# `evaluate.py` of Barlow Twins' release, and `eval_linear.py` of SwAV's, which has the same numbers. Deviation: both decay by
# 1e-6.
BARLOW_TWINS_LINEAR = LinearProtocol(epochs=100, batch_size=256, learning_rates=(0.3,))
# `evaluate.py` of VICReg's release with its README's `--lr-head 0.02`.
VICREG_LINEAR = dataclasses.replace(BARLOW_TWINS_LINEAR, learning_rates=(0.02,))
# `main_lincls.py` of MoCo v3's release.
MOCO_V3_LINEAR = LinearProtocol(epochs=90, batch_size=1024, learning_rates=(0.1,))
LINEAR = {
    "simclr": SIMCLR_LINEAR,
    "byol": BYOL_LINEAR,
    "dino": DINO_LINEAR,
    "barlow-twins": BARLOW_TWINS_LINEAR,
    "vicreg": VICREG_LINEAR,
    "moco-v3": MOCO_V3_LINEAR,
}
# Share of the training images that is held out to select the learning rate.
_HELD_OUT = 0.1


class LinearResult(NamedTuple):
    """Accuracy in [0, 1] on the test images, and the selected learning rate."""

    accuracy: float
    learning_rate: float


def linear_evaluation(
    key: Key[Array, ""],
    network: Loaded,
    data: Dataset,
    protocol: LinearProtocol,
    *,
    crop_area: tuple[float, float] = (0.08, 1.0),
    check: Callable[[], None] = lambda: None,
) -> LinearResult:
    """Train `protocol`'s classifier on the frozen features of `network` and test it.

    Args:
      key: PRNG key for the order, the views and the held-out images.
      network: the pretrained network; its view recipe determines size, interpolation and normalisation.
      data: labelled images, with a test split.
      protocol: the protocol.
      crop_area: smallest and largest training crop, as a share of the image's area.
      check: called between steps; it raises an exception to stop.

    Source: see the protocols. Deviation: BYOL holds out 10 images of each class, and retrains on all images with the selected
    rate; here a tenth is held out, and the selected classifier is tested without retraining.
    """
    assert data.test is not None, "the caller has seen to a test split"
    probe = _Probe(network, data.train, protocol, crop_area, len(data.classes))
    split_key, order_key, view_key = jax.random.split(key, 3)
    index = np.arange(len(data.train))
    held_out = np.empty(0, int)
    if len(protocol.learning_rates) > 1:
        seed = int(jax.random.randint(split_key, (), 0, 2**31 - 1))
        held_out = balanced_subset(np.asarray(data.train.labels), fraction=_HELD_OUT, seed=seed)
        index = np.setdiff1d(index, held_out)
    weights = probe.train(order_key, view_key, index, check)
    best = 0
    if len(held_out):
        rows = data.train.read(held_out)
        assert rows.labels is not None
        best = int(np.argmax(probe.accuracies(weights, rows.images, rows.aspects, rows.labels)))
    test = data.test
    assert test.labels is not None
    accuracies = probe.accuracies(weights, test.images, test.aspects, test.labels)
    return LinearResult(float(accuracies[best]), protocol.learning_rates[best])


class _Probe:
    """The compiled programs: a training step of all classifiers, and their predictions."""

    def __init__(
        self, network: Loaded, train: Split, protocol: LinearProtocol, crop_area: tuple[float, float], classes: int
    ):
        self._backbone, self._recipe = network.built.backbone, network.config.method.views
        self._protocol, self._classes, self._crop_area = protocol, classes, crop_area
        self._images = jax.tree.map(jnp.asarray, (train.images, train.aspects, train.labels))
        self._squashed = bool((train.aspects != 1).any())
        method = network.built.method
        assert method.evaluated is not None, "a registered method has a backbone that is evaluated"
        self._frozen = method.evaluated(network.state.params, network.state.aux)
        self._tx = optax.trace(decay=0.9, nesterov=protocol.nesterov)
        # What the step returns must have the sharding of what it takes, or it is compiled a second time.
        self._place = jax.NamedSharding(network.built.mesh, jax.P())
        self._step = jax.jit(self._take_step, donate_argnums=0, static_argnums=5, out_shardings=self._place)
        self._predict = jax.jit(self._answers)

    def train(
        self, order_key: Key[Array, ""], view_key: Key[Array, ""], index: np.ndarray, check: Callable[[], None]
    ) -> Any:
        """Train all classifiers; the learning rate is the first axis of their weights."""
        protocol = self._protocol
        batch = min(protocol.batch_size, len(index))
        steps_per_epoch = len(index) // batch
        steps = protocol.epochs * steps_per_epoch
        rates, width = len(protocol.learning_rates), self._width()
        weights = {"w": jnp.zeros((rates, width, self._classes)), "b": jnp.zeros((rates, 1, self._classes))}
        run = jax.device_put((weights, self._tx.init(weights)), self._place)
        waiting: Any = ()
        for step in range(steps):
            check()
            epoch, place = divmod(step, steps_per_epoch)
            if place == 0:
                order = np.asarray(jax.random.permutation(jax.random.fold_in(order_key, epoch), jnp.asarray(index)))
            rows = order[place * batch : (place + 1) * batch]
            run, loss = self._step(run, self._frozen, view_key, step, rows, steps)
            # Queue at most one step ahead, not thousands.
            jax.block_until_ready(waiting)
            waiting = loss
        return run[0]

    def accuracies(self, weights: Any, images: np.ndarray, aspects: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Accuracy of each classifier."""
        right = np.zeros(len(self._protocol.learning_rates))
        for start in range(0, len(images), 500):
            rows = slice(start, start + 500)
            shown = aspects[rows] if self._squashed else None
            found = np.asarray(self._predict(weights, self._frozen, images[rows], shown))
            right += (found == labels[rows][None]).sum(axis=1)
        return right / len(images)

    def _width(self) -> int:
        size = self._recipe.size
        x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        return jax.eval_shape(self._features, self._frozen, x).shape[-1]

    def _features(self, frozen: Any, x: Float[Array, "n s s 3"]) -> Float[Array, "n d"]:
        blocks = self._protocol.last_blocks
        params, statistics = frozen
        if blocks == 1 or not isinstance(self._backbone, ViT):
            return forward(self._backbone, params, statistics, x, train=False)[0]
        outputs, _ = forward(self._backbone, params, statistics, x, train=False, outputs=True)
        return jnp.concatenate(list(outputs.class_tokens[-blocks:]), axis=-1)

    def _take_step(self, run, frozen, key, step, index, steps):
        weights, momentum = run
        images, aspects, labels = self._images
        first = next(iter(self._recipe.branches().values()))
        plain = {"jitter": 0.0, "grayscale": 0.0, "blur": 0.0, "solarize": 0.0, "composed": None, "flip": 0.5}
        branch = dataclasses.replace(first, crop_area=self._crop_area, crop_min_covered=0.0, **plain)
        shown = aspects[index] if self._squashed else None
        (x,) = branch_views(jax.random.fold_in(key, step), images[index], [branch], aspects=shown)
        h = self._features(frozen, x)

        def loss(weights):
            logits = jnp.einsum("nd,rdc->rnc", h, weights["w"]) + weights["b"]
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, jnp.broadcast_to(labels[index][None], logits.shape[:2])
            )
            # A sum over the classifiers, because their gradients are independent.
            return losses.mean(axis=1).sum()

        value, gradient = jax.value_and_grad(loss)(weights)
        updates, momentum = self._tx.update(gradient, momentum)
        scaled = jnp.asarray(self._protocol.learning_rates) * len(index) / 256
        rate = scaled * (1 + jnp.cos(jnp.pi * step / steps)) / 2
        weights = jax.tree.map(lambda w, u: w - rate.reshape(-1, 1, 1) * u, weights, updates)
        return (weights, momentum), value

    def _answers(self, weights, frozen, images, aspects):
        r = self._recipe
        x = eval_view(images, r.size, aspects=aspects, interpolation=r.interpolation, mean=r.mean, std=r.std)
        h = self._features(frozen, x)
        return (jnp.einsum("nd,rdc->rnc", h, weights["w"]) + weights["b"]).argmax(axis=-1)
