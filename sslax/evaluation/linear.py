"""The linear probe: the accuracy of a linear classifier on frozen features."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from sslax.checks import as_array, check_at_least, check_count, check_floating, check_labels, check_positive

# Features are scaled to unit variance first, so one grid works for both pixels and networks.
LEARNING_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
WEIGHT_DECAYS = (1e-2, 1e-3, 1e-4, 0.0)
_MANY_STEPS = 500


class LinearProbe(NamedTuple):
    """A trained probe: its test accuracy in [0, 1], the options selected on held-out training data, and its predictions.

    `predictions` are the predicted classes of the test features, [m].
    """

    accuracy: float
    learning_rate: float
    weight_decay: float
    held_out_accuracy: float
    predictions: Int[np.ndarray, "m"]


def linear_probe(
    key: Key[Array, ""],
    train_features: Float[np.ndarray | Array, "n d"],
    train_labels: Int[np.ndarray | Array, "n"],
    test_features: Float[np.ndarray | Array, "m d"],
    test_labels: Int[np.ndarray | Array, "m"],
    *,
    num_classes: int,
    steps: int = 2000,
    batch_size: int = 512,
    learning_rates: tuple[float, ...] = LEARNING_RATES,
    weight_decays: tuple[float, ...] = WEIGHT_DECAYS,
) -> LinearProbe:
    """Multinomial logistic regression on frozen features: SGD with Nesterov momentum 0.9 and a cosine schedule to 0.

    The probe selects learning rate and weight decay by accuracy on a held-out fifth of the training features (ties go to the
    lowest rate, then the highest decay), and is then retrained on all training features. The test set is used only for the
    final accuracy. All candidates train at once, under vmap, on the same batches.

    Args:
      key: PRNG key for the held-out fifth and the batches.
      train_features: training features; centred here and divided by one number, the root of their mean variance.
      train_labels: labels in [0, num_classes).
      test_features: test features; shifted and scaled like the training features.
      test_labels: labels of the test features.
      num_classes: number of classes c.
      steps: number of SGD steps.
      batch_size: size of the batches, drawn with replacement.
      learning_rates: candidates.
      weight_decays: candidates; the bias is not decayed.

    Raises:
      ValueError: on fewer than two training features, arrays that are empty or have shapes that do not match, or labels or
        options out of range.
      TypeError: on features that are not floating-point or labels that are not integers.

    Source: the protocol of Chen et al. 2020, appendix B.6, with BYOL's selection on held-out training data. Deviations: weight
    decay is swept too, which matters for pixels and small sets; all features are scaled by the same factor, which keeps their
    relative sizes (scaling each by its own deviation would amplify pixels that are nearly always black); no augmentation.
    """
    train_x, test_x = (
        as_array(name, x) for name, x in (("train_features", train_features), ("test_features", test_features))
    )
    train_y, test_y = as_array("train_labels", train_labels), as_array("test_labels", test_labels)
    check_floating("train_features", train_x, 2)
    check_floating("test_features", test_x, 2)
    n = len(train_x)
    if n < 2:
        raise ValueError(f"train_features has shape {train_x.shape}; a probe needs at least 2 rows.")
    if train_x.shape[1] != test_x.shape[1]:
        raise ValueError(
            f"train_features has shape {train_x.shape} and test_features {test_x.shape}; they must be [n, d] and [m, d]."
        )
    for name, count in (("num_classes", num_classes), ("steps", steps), ("batch_size", batch_size)):
        check_count(name, count)
    check_labels("train_labels", train_y, count=n, of="train_features", num_classes=num_classes)
    check_labels("test_labels", test_y, count=len(test_x), of="test_features", num_classes=num_classes)
    if not learning_rates or not weight_decays:
        raise ValueError("learning_rates and weight_decays must each have at least one number.")
    for rate in learning_rates:
        check_positive("learning_rates", rate)
    for decay in weight_decays:
        check_at_least("weight_decays", decay)
    candidates = np.asarray(
        [(lr, decay) for lr in sorted(learning_rates) for decay in sorted(weight_decays, reverse=True)], np.float32
    )
    sizes = {"num_classes": num_classes, "steps": steps, "batch_size": batch_size}
    # Many steps justify full optimisation, even if the process disabled it in XLA to compile short programs faster. Few steps
    # take less time than it.
    full = steps >= _MANY_STEPS and jax.default_backend() == "cpu"
    accuracies = np.asarray(_compiled(_select, full)(key, train_x, train_y, candidates, **sizes))
    best = int(accuracies.argmax())
    predictions = np.asarray(
        _compiled(_judge, full)(key, train_x, train_y, test_x, candidates[best : best + 1], **sizes)
    )
    return LinearProbe(
        accuracy=float((predictions == np.asarray(test_y)).mean()),
        learning_rate=float(candidates[best, 0]),
        weight_decay=float(candidates[best, 1]),
        held_out_accuracy=float(accuracies[best]),
        predictions=predictions,
    )


@functools.cache
def _compiled(function, full):
    options = {"xla_backend_optimization_level": 3} if full else {}
    return jax.jit(function, static_argnames=("num_classes", "steps", "batch_size"), compiler_options=options)


def _select(key, x, y, candidates, **sizes):
    """The accuracies [candidates] on a held-out fifth of the features, after training on the rest."""
    split_key, choose_key, _ = jax.random.split(key, 3)
    (x,) = _standardised(x)
    shuffled = jax.random.permutation(split_key, len(x))
    held_out, rest = jnp.split(shuffled, [max(1, len(x) // 5)])
    chosen = _predict(_fit(choose_key, x[rest], y[rest], candidates, **sizes), x[held_out])
    return (chosen == y[held_out][None, :]).mean(axis=1)


def _judge(key, x, y, test_x, candidate, **sizes):
    """The predicted classes [m] of the test features, after training on all others with one candidate [1, 2]."""
    final_key = jax.random.split(key, 3)[2]
    x, test_x = _standardised(x, test_x)
    return _predict(_fit(final_key, x, y, candidate, **sizes), test_x)[0]


def _standardised(x, *others):
    """Features in float32 and others like them, centred and scaled by the first ones' mean and root of the mean variance."""
    # Scaled before squaring, so that 1e30 does not overflow and 1e-30 does not underflow; a power of two causes no rounding.
    _, exponent = jnp.frexp(jnp.max(jnp.abs(x.astype(jnp.float32))))
    scaled = [jnp.ldexp(part.astype(jnp.float32), -exponent) for part in (x, *others)]
    mean = scaled[0].mean(0, keepdims=True)
    deviation = jnp.sqrt(scaled[0].var(0).mean())
    return [(part - mean) / jnp.where(deviation > 0, deviation, 1) for part in scaled]


def _fit(key, x, y, candidates, *, num_classes, steps, batch_size):
    """Weights [candidates, d, c] and biases [candidates, 1, c]: one classifier per (learning rate, weight decay)."""
    schedule = optax.cosine_decay_schedule(1.0, steps)
    momentum = optax.trace(decay=0.9, nesterov=True)
    start = {"w": jnp.zeros((x.shape[1], num_classes)), "b": jnp.zeros((1, num_classes))}

    def train(candidate):
        rate, decay = candidate

        def loss(p, index):
            losses = optax.softmax_cross_entropy_with_integer_labels(x[index] @ p["w"] + p["b"], y[index])
            return losses.mean() + 0.5 * decay * jnp.sum(p["w"] ** 2)

        def step(carry, step):
            p, state = carry
            index = jax.random.randint(jax.random.fold_in(key, step), (batch_size,), 0, len(x))
            update, state = momentum.update(jax.grad(loss)(p, index), state)
            return (jax.tree.map(lambda p, u: p - rate * schedule(step) * u, p, update), state), None

        return jax.lax.scan(step, (start, momentum.init(start)), jnp.arange(steps))[0][0]

    return jax.vmap(train)(candidates)


def _predict(p, x):
    return jnp.argmax(jnp.einsum("nd,rdc->rnc", x, p["w"]) + p["b"], axis=-1)
