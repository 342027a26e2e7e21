"""Supervised training of a backbone with a classifier on it: fine-tuning, and the same from scratch."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sslax import optim
from sslax.augment import Branch, branch_views, eval_view
from sslax.data import Split
from sslax.errors import InputError
from sslax.networks import ClassifierHead, forward, init


@dataclasses.dataclass(frozen=True)
class FinetuneOptions:
    """How a classifier is trained on a backbone."""

    steps: int = 500
    """Steps of the optimiser."""
    batch_size: int = 128
    """Images a step, drawn from epochs in random order; sets that are smaller are repeated in it."""
    lr: float = 1e-3
    """Peak learning rate (AdamW), after a tenth of the steps and before a cosine to 0."""
    weight_decay: float = 1e-4
    """Weight decay of kernels."""
    head: Literal["linear", "mlp"] = "linear"
    """Classifier on the features: one layer, or one hidden layer of the features' width."""
    freeze: bool = False
    """Train the head alone, the backbone as in evaluation."""
    layer_decay: float = 1.0
    """Factor on the learning rate from each block of a ViT to the one below it; 0.65 to 0.75 is usual, 1 is none."""
    crop_area: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest training crop, share of the image's area."""
    flip: float = 0.5
    """Probability of the horizontal flip."""
    eval_every: int = 100
    """Steps between looks at the validation images, where there are any."""
    patience: int = 5
    """Looks without a better validation accuracy before training stops."""

    def check(self) -> None:
        """Raise InputError on values that cannot work."""
        for name in ("steps", "batch_size", "eval_every", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"lr is {self.lr}; it must be a finite number above 0.")
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"layer_decay is {self.layer_decay}; it must lie in (0, 1].")
        if not self.weight_decay >= 0:
            raise InputError(f"weight_decay is {self.weight_decay}; it must be at least 0.")
        if not 0 <= self.flip <= 1:
            raise InputError(f"flip is {self.flip}; it must be a probability in [0, 1].")
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise InputError(f"crop_area is {self.crop_area}; it must be two shares in (0, 1], the smaller first.")


class Classifier(NamedTuple):
    """Trained weights: the backbone's parameters and statistics, and the head's parameters."""

    params: PyTree
    statistics: PyTree
    head: PyTree


class _Run(NamedTuple):
    weights: PyTree
    statistics: PyTree
    opt_state: PyTree


class Finetuner:
    """Trains classifiers on one backbone; its programs are compiled once, whatever labels and weights they are run with.

    Args:
      backbone: the network.
      recipe: the views' of pretraining, for size, interpolation and normalisation.
      train: images to learn from; which of them is said with each training.
      num_classes: c.
      options: see there.

    Source: the protocol of Chen et al. 2020, appendix B.8 (crop and flip, no other augmentation). Deviations: AdamW with
    warmup in place of Nesterov momentum, as sets of ten images want fewer choices; a number of steps, not of epochs, for
    the same reason.
    """

    def __init__(self, backbone: Any, recipe: Any, train: Split, *, num_classes: int, options: FinetuneOptions):
        if train.labels is None:
            raise InputError("data has no labels; fine-tuning needs them.")
        options.check()
        self._backbone, self._recipe, self._options = backbone, recipe, options
        self._head = ClassifierHead(classes=num_classes, hidden=options.head == "mlp")
        self._images = jax.tree.map(jnp.asarray, (train.images, train.aspects, train.labels))
        self._squashed = bool((train.aspects != 1).any())
        schedule = optim.warmup_cosine(options.lr, warmup_steps=max(1, options.steps // 10), steps=options.steps)
        self._adam = optim.adamw(schedule, weight_decay=options.weight_decay)
        self._step = jax.jit(self._take_step, donate_argnums=0)
        self._logits = jax.jit(self._classify)

    def train(
        self,
        key: Key[Array, ""],
        params: PyTree,
        statistics: PyTree,
        index: Int[np.ndarray, "k"],
        *,
        validation: Split | None = None,
        follow: Callable[[dict[str, float]], None] = lambda line: None,
    ) -> Classifier:
        """A classifier trained from these weights on the images at `index`.

        With `validation` images the weights are those of the step that did best on them, and training stops early.
        """
        o = self._options
        order_key, head_key, step_key = jax.random.split(key, 3)
        width = jax.eval_shape(
            lambda: self._features(params, statistics, self._views(jnp.zeros(1, int)), False)[0]
        ).shape[-1]
        head, _ = init(self._head, head_key, jnp.zeros((1, width)))
        # Copies, as the step takes its arguments for its own.
        weights = {"head": head} if o.freeze else {"head": head, "backbone": jax.tree.map(jnp.array, params)}
        run = _Run(weights, jax.tree.map(jnp.array, statistics), self._adam.init(weights))
        order = self._order(order_key, index)
        frozen = params if o.freeze else {}
        best, best_accuracy, waited = None, -1.0, 0
        for step in range(o.steps):
            run, loss = self._step(run, frozen, step_key, step, order[step])
            last = step + 1 == o.steps
            if validation is not None and ((step + 1) % o.eval_every == 0 or last):
                now = self._classifier(run, params)
                accuracy = self.accuracy(now, validation)
                follow({"step": step + 1, "loss": float(loss), "validation": accuracy})
                waited = 0 if accuracy > best_accuracy else waited + 1
                if accuracy > best_accuracy:
                    best, best_accuracy = jax.device_get(now), accuracy
                if waited >= o.patience:
                    break
        return best or self._classifier(run, params)

    def predict(self, classifier: Classifier, split: Split, *, batch_size: int = 500) -> Int[np.ndarray, "n"]:
        """The class that each image is taken for."""
        found = []
        for start in range(0, len(split), batch_size):
            images, aspects = (x[start : start + batch_size] for x in (split.images, split.aspects))
            # One compiled shape: the last batch is filled up.
            fill = [(0, batch_size - len(images)), (0, 0), (0, 0), (0, 0)]
            logits = self._logits(classifier, np.pad(images, fill), np.pad(aspects, fill[0], constant_values=1))
            found.append(np.asarray(logits).argmax(1)[: len(images)])
        return np.concatenate(found)

    def accuracy(self, classifier: Classifier, split: Split) -> float:
        """Share of the images that are taken for what they are."""
        return float((self.predict(classifier, split) == split.labels).mean())

    def _classifier(self, run: _Run, params: PyTree) -> Classifier:
        return Classifier(run.weights.get("backbone", params), run.statistics, run.weights["head"])

    def _order(self, key: Key[Array, ""], index: Int[np.ndarray, "k"]) -> Int[np.ndarray, "steps batch"]:
        """Epochs of the images in random order, cut into batches: small sets are passed through several times in one."""
        o = self._options
        epochs = -(-o.steps * o.batch_size // len(index))
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32).tolist())
        passes = np.concatenate([rng.permutation(index) for _ in range(epochs)])
        return passes[: o.steps * o.batch_size].reshape(o.steps, o.batch_size).astype(np.int32)

    def _views(self, index: Int[Array, "n"], key: Key[Array, ""] | None = None) -> Float[Array, "n s s 3"]:
        images, aspects, _ = self._images
        shown = aspects[index] if self._squashed else None
        if key is None:
            return self._evaluation_view(images[index], shown)
        return branch_views(key, images[index], [self._branch()], aspects=shown)[0]

    def _evaluation_view(self, images: Array, aspects: Array | None) -> Float[Array, "n s s 3"]:
        r = self._recipe
        return eval_view(images, r.size, aspects=aspects, interpolation=r.interpolation, mean=r.mean, std=r.std)

    def _branch(self) -> Branch:
        """Crop and flip, normalised as in pretraining."""
        first = next(iter(self._recipe.branches().values()))
        o = self._options
        return dataclasses.replace(
            first,
            crop_area=o.crop_area,
            crop_min_covered=0.0,
            flip=o.flip,
            jitter=0.0,
            grayscale=0.0,
            blur=0.0,
            solarize=0.0,
        )

    def _features(
        self, params: PyTree, statistics: PyTree, x: Array, train: bool, key: Any = None
    ) -> tuple[Array, PyTree]:
        return forward(self._backbone, params, statistics, x, train=train, key=key)

    def _classify(self, classifier: Classifier, images: Array, aspects: Array) -> Float[Array, "n c"]:
        x = self._evaluation_view(images, aspects if self._squashed else None)
        h, _ = self._features(classifier.params, classifier.statistics, x, False)
        return forward(self._head, classifier.head, {}, h, train=False)[0]

    def _take_step(self, run: _Run, frozen: PyTree, key: Array, step: Array, index: Array) -> tuple[_Run, Array]:
        view_key, drop_key = jax.random.split(jax.random.fold_in(key, step))
        x, labels = self._views(index, view_key), self._images[2][index]

        def loss(weights):
            if self._options.freeze:
                h, statistics = self._features(frozen, run.statistics, x, False)
            else:
                h, statistics = self._features(weights["backbone"], run.statistics, x, True, drop_key)
            logits, _ = forward(self._head, weights["head"], {}, h, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), statistics

        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(run.weights)
        updates, opt_state = self._adam.update(gradient, run.opt_state, run.weights)
        updates = jax.tree_util.tree_map_with_path(lambda path, u: u * self._rate(path), updates)
        return _Run(optax.apply_updates(run.weights, updates), statistics, opt_state), value

    def _rate(self, path: tuple[Any, ...]) -> float:
        """Layer-wise decay (Clark et al. 2020, arXiv:2003.10555; BEiT): the head whole, and a factor for each block below."""
        if self._options.layer_decay == 1 or path[0].key != "backbone":
            return 1.0
        depth = getattr(self._backbone, "depth", 0)
        name = str(path[1].key)
        if name.startswith("block"):
            return self._options.layer_decay ** (depth + 1 - int(name.removeprefix("block")))
        # The last norm is above all blocks; embeddings and positions are below them.
        return self._options.layer_decay if name == "norm" else self._options.layer_decay ** (depth + 1)


def held_out(
    labels: Int[np.ndarray, "n"], index: Int[np.ndarray, "k"], *, fraction: float, seed: int
) -> Bool[np.ndarray, "k"]:
    """Which of the images at `index` are for validation: the share of each class, none of classes with a single image."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(len(index), bool)
    for label in np.unique(labels[index]):
        members = rng.permutation(np.flatnonzero(labels[index] == label))
        mask[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    return mask
