"""Supervised training of a backbone with a classifier on it: fine-tuning, or training from scratch."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from sslax import optim
from sslax.augment import Branch, branch_views, eval_view
from sslax.data import Split
from sslax.errors import InputError
from sslax.finetuning.classifier import Classifier, Predictor, softmax
from sslax.finetuning.options import FinetuneOptions
from sslax.finetuning.techniques import layers_above, mix
from sslax.networks import ClassifierHead, forward, init
from sslax.training.estimate import Estimate, flops_of, seconds_of
from sslax.training.loop import asked_to_stop
from sslax.training.nonfinite import NonFinite


class _Run(NamedTuple):
    weights: PyTree
    statistics: PyTree
    opt_state: PyTree


class Finetuner:
    """Trains classifiers on one backbone. Its programs are compiled once, for all labels and weights.

    Args:
      backbone: the network.
      recipe: the recipe of views from pretraining, for size, interpolation and normalisation.
      train: training images; each training selects some of them by index.
      num_classes: number of classes c.
      options: see `FinetuneOptions`.

    Raises:
      InputError: if the images have no labels, or the options cannot work.

    Source: the protocol of Chen et al. 2020, appendix B.8 (crop and flip, no other augmentation). Deviations: AdamW with
    warmup instead of Nesterov momentum, because it needs less tuning on sets as small as ten images; a number of steps instead
    of epochs, for the same reason; mixup (Zhang et al. 2018, arXiv:1710.09412), label smoothing (Szegedy et al. 2016,
    arXiv:1512.00567) and colour jitter as options.
    """

    def __init__(self, backbone: Any, recipe: Any, train: Split, *, num_classes: int, options: FinetuneOptions):
        if train.labels is None:
            raise InputError("data has no labels; fine-tuning needs them.")
        options.check(backbone)
        self._backbone, self._recipe, self._options = backbone, recipe, options
        self._head = ClassifierHead(classes=num_classes, hidden=options.head == "mlp")
        self._images = jax.tree.map(jnp.asarray, (train.images, train.aspects, train.labels))
        self._squashed = bool((train.aspects != 1).any())
        self._schedule = optim.warmup_cosine(options.lr, warmup_steps=max(1, options.steps // 10), steps=options.steps)
        self._adam = optim.adamw(self._schedule, weight_decay=options.weight_decay)
        # All weights are placed as the images are, and as the step returns them, or it is compiled a second time.
        self._place = self._images[0].sharding
        self._start = jax.jit(self._begin, out_shardings=self._place)
        self._step = jax.jit(self._take_step, donate_argnums=0)
        self._rate_at = jax.jit(self._schedule)
        self._predictor = Predictor(backbone, self._head, recipe)

    def train(
        self,
        key: Key[Array, ""],
        params: PyTree,
        statistics: PyTree,
        index: Int[np.ndarray, "k"],
        *,
        validation: Split | None = None,
        follow: Callable[[dict[str, Any]], None] = lambda line: None,
    ) -> Classifier:
        """Train a classifier from these weights on the images at `index`.

        With `validation` images, the returned weights are those with the best validation accuracy, and training can stop
        early. The lower loss decides between equal accuracies, because a few images soon reach 100 %.

        Args:
          key: random key for the head, the order and the views.
          params: parameters of the backbone.
          statistics: BatchNorm statistics of the backbone.
          index: indices of the training images to use.
          validation: images that decide the best weights and when to stop.
          follow: called at each evaluation with `step`, `epoch`, `loss` (mean since the last evaluation) and `lr`, and with
            validation images `validation` (accuracy in [0, 1]), `validation_loss` and `best` (whether it is the best so far).

        Raises:
          NonFinite: if the loss becomes NaN or infinite.
          KeyboardInterrupt: after Ctrl-C or SIGTERM, at the end of the step.
        """
        o = self._options
        order_key, head_key, step_key = jax.random.split(key, 3)
        params, statistics = jax.device_put((params, statistics), self._place)
        run = self._start(head_key, params, statistics)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(order_key)).astype(np.uint32).tolist())
        order = self._order(rng, index)
        shares = rng.beta(o.mixup, o.mixup, o.steps) if o.mixup else np.ones(o.steps)
        frozen = params if o.freeze else {}
        every = o.eval_every or max(1, round(o.steps / 20))
        best, best_score, waited = None, (-1.0, 0.0), 0
        losses: list[Array] = []
        with asked_to_stop() as stop:
            for step in range(o.steps):
                run, loss = self._step(run, frozen, step_key, step, order[step], shares[step])
                # Limits the queue to one step ahead: a process that exits during a computation may crash.
                stopping = stop()
                jax.block_until_ready(loss if stopping else losses[-1:])
                if stopping:
                    raise KeyboardInterrupt
                losses.append(loss)
                if (step + 1) % every and step + 1 < o.steps:
                    continue
                line = self._line(step, losses, len(index))
                losses = []
                if validation is not None:
                    now = self._classifier(run, params)
                    accuracy, validation_loss = self._measure(now, validation)
                    better = (accuracy, -validation_loss) > best_score
                    waited = 0 if better else waited + 1
                    if better:
                        best, best_score = jax.device_get(now), (accuracy, -validation_loss)
                    line |= {"validation": accuracy, "validation_loss": validation_loss, "best": better}
                follow(line)
                if waited >= o.patience:
                    break
        return best or self._classifier(run, params)

    def estimate(
        self, key: Key[Array, ""], params: PyTree, statistics: PyTree, index: Int[np.ndarray, "k"]
    ) -> Estimate:
        """Estimate the cost of `train` with these arguments (an upper bound). Compiles the step and times it on some images."""
        o = self._options
        params, statistics = jax.device_put((params, statistics), self._place)
        run, frozen = self._start(key, params, statistics), params if o.freeze else {}
        rest = (frozen, key, 0, np.resize(index, o.batch_size).astype(np.int32), 0.5)
        lowered = self._step.lower(run, *rest)
        compiled = lowered.compile()
        memory = compiled.memory_analysis()
        parameters = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in run.weights.items()}
        weights = sum(x.nbytes for x in jax.tree.leaves((run.weights, run.statistics, frozen)))
        state = sum(x.nbytes for x in jax.tree.leaves((run, frozen)))
        rate = o.batch_size / seconds_of(lambda run: compiled(run, *rest), run)
        return Estimate(
            parameters=parameters,
            steps=o.steps,
            batch_size=o.batch_size,
            devices=1,
            flops=flops_of(self._step, run, *rest),
            state=state,
            temporaries=None if memory is None else memory.temp_size_in_bytes,
            images=sum(x.nbytes for x in self._images),
            step_rate=rate,
            decoding_rate=None,
            feed="resident",
            hours=o.steps * o.batch_size / rate / 3600,
            checkpoints=weights,
        )

    def probabilities(self, classifier: Classifier, split: Split) -> Float[np.ndarray, "n c"]:
        """Probabilities of the classes, one row per image."""
        return softmax(self._predictor(classifier, split.images, split.aspects))

    def predict(self, classifier: Classifier, split: Split) -> Int[np.ndarray, "n"]:
        """The predicted class of each image."""
        return self._predictor(classifier, split.images, split.aspects).argmax(1)

    def accuracy(self, classifier: Classifier, split: Split) -> float:
        """Share of the images that are classified correctly, in [0, 1]."""
        return float((self.predict(classifier, split) == split.labels).mean())

    def _begin(self, key: Key[Array, ""], params: PyTree, statistics: PyTree) -> _Run:
        """Initialise a head and the optimiser for these weights."""
        example = jax.eval_shape(lambda: self._views(jnp.zeros(1, int)))
        width = jax.eval_shape(lambda x: self._features(params, statistics, x, False)[0], example).shape[-1]
        head, _ = init(self._head, key, jnp.zeros((1, width)))
        # Copies, because the step donates its arguments.
        backbone = {} if self._options.freeze else {"backbone": jax.tree.map(jnp.array, params)}
        weights = {"head": head, **backbone}
        return _Run(weights, jax.tree.map(jnp.array, statistics), self._adam.init(weights))

    def _line(self, step: int, losses: list[Array], images: int) -> dict[str, Any]:
        loss = float(np.mean(jax.device_get(losses)))
        if not math.isfinite(loss):
            raise NonFinite(f"The loss is {loss} at step {step + 1} of fine-tuning; a lower lr usually helps.")
        epoch = (step + 1) * self._options.batch_size / images
        return {"step": step + 1, "epoch": epoch, "loss": loss, "lr": float(self._rate_at(step))}

    def _measure(self, classifier: Classifier, split: Split) -> tuple[float, float]:
        """Accuracy and mean cross-entropy."""
        found = self.probabilities(classifier, split)
        own = np.take_along_axis(found, np.asarray(split.labels)[:, None], axis=1)
        return float((found.argmax(1) == split.labels).mean()), float(-np.log(np.maximum(own, 1e-30)).mean())

    def _classifier(self, run: _Run, params: PyTree) -> Classifier:
        return Classifier(run.weights.get("backbone", params), run.statistics, run.weights["head"])

    def _order(self, rng: np.random.Generator, index: Int[np.ndarray, "k"]) -> Int[np.ndarray, "steps batch"]:
        """Epochs in random order, cut into batches. In a small set, one batch may contain an image several times."""
        o = self._options
        epochs = -(-o.steps * o.batch_size // len(index))
        passes = np.concatenate([rng.permutation(index) for _ in range(epochs)])
        return passes[: o.steps * o.batch_size].reshape(o.steps, o.batch_size).astype(np.int32)

    def _views(self, index: Int[Array, "n"], key: Key[Array, ""] | None = None) -> Float[Array, "n s s 3"]:
        images, aspects, _ = self._images
        shown = aspects[index] if self._squashed else None
        if key is None:
            r = self._recipe
            return eval_view(
                images[index], r.size, aspects=shown, interpolation=r.interpolation, mean=r.mean, std=r.std
            )
        return branch_views(key, images[index], [self._branch()], aspects=shown)[0]

    def _branch(self) -> Branch:
        """The training augmentation: crop, flip and colour jitter, with pretraining's normalisation."""
        first = next(iter(self._recipe.branches().values()))
        o = self._options
        return dataclasses.replace(
            first,
            crop_area=o.crop_area or first.crop_area,
            crop_min_covered=0.0,
            flip=first.flip if o.flip is None else o.flip,
            jitter=o.jitter,
            brightness=0.8 * o.strength,
            contrast=0.8 * o.strength,
            saturation=0.8 * o.strength,
            hue=0.2 * o.strength,
            semantics="simclr",
            grayscale=o.grayscale,
            blur=0.0,
            solarize=0.0,
            composed=None,
        )

    def _features(
        self, params: PyTree, statistics: PyTree, x: Array, train: bool, key: Any = None
    ) -> tuple[Array, PyTree]:
        return forward(self._backbone, params, statistics, x, train=train, key=key)

    def _take_step(
        self, run: _Run, frozen: PyTree, key: Array, step: Array, index: Array, share: Array
    ) -> tuple[_Run, Array]:
        view_key, drop_key = jax.random.split(jax.random.fold_in(key, step))
        x, labels = self._views(index, view_key), self._images[2][index]
        targets = jax.nn.one_hot(labels, self._head.classes)
        targets = optax.smooth_labels(targets, self._options.label_smoothing)
        if self._options.mixup > 0:
            x, targets = mix(x, targets, share)

        def loss(weights):
            if self._options.freeze:
                h, statistics = self._features(frozen, run.statistics, x, False)
            else:
                h, statistics = self._features(weights["backbone"], run.statistics, x, True, drop_key)
            logits, _ = forward(self._head, weights["head"], {}, h, train=True)
            return optax.softmax_cross_entropy(logits, targets).mean(), statistics

        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(run.weights)
        updates, opt_state = self._adam.update(gradient, run.opt_state, run.weights)
        updates = jax.tree_util.tree_map_with_path(lambda path, u: u * self._rate(path), updates)
        return _Run(optax.apply_updates(run.weights, updates), statistics, opt_state), value

    def _rate(self, path: tuple[Any, ...]) -> float:
        """The factor on a parameter's learning rate, from the layer-wise decay."""
        if self._options.layer_decay == 1 or path[0].key != "backbone":
            return 1.0
        return self._options.layer_decay ** layers_above(str(path[1].key), self._backbone.depth)
