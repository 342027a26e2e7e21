"""The online probe: a linear classifier trained during pretraining, on the features that each step computes anyway.

It is an observer: pure functions of its own state, features and labels, compiled separately. The training step does not
depend on it, so training is bitwise equal with and without the probe.

Source: Grill et al. 2020, arXiv:2006.07733, appendix F (the released code trains such a probe), and solo-learn's online linear
head. Deviations: the features are centred per dimension and scaled by one factor with running statistics, so that one learning
rate works for every network; the optimiser is Adam instead of LARS or SGD.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

LEARNING_RATE = 1e-3
# Decay of the running mean and variance of the features.
_DECAY = 0.99
_ADAM = optax.adam(LEARNING_RATE)


class ProbeState(NamedTuple):
    """The complete state of a probe, saved and restored with the run.

    Attributes:
      params: weights [d, c] and bias [c].
      opt_state: Adam's state.
      mean: running mean of the features, [d].
      variance: running mean over the dimensions of the features' variances.
      weight: total weight of the running averages so far, 0 to 1, for their bias correction.
    """

    params: PyTree
    opt_state: PyTree
    mean: Float[Array, "d"]
    variance: Float[Array, ""]
    weight: Float[Array, ""]


def init_probe(width: int, num_classes: int) -> ProbeState:
    """An untrained probe, with zero weights, for features of `width` dimensions."""
    params = {"w": jnp.zeros((width, num_classes)), "b": jnp.zeros(num_classes)}
    return ProbeState(params, _ADAM.init(params), jnp.zeros(width), jnp.zeros(()), jnp.zeros(()))


def update_probe(
    state: ProbeState, features: Float[Array, "n d"], labels: Int[Array, "n"]
) -> tuple[ProbeState, dict[str, Float[Array, ""]]]:
    """Take one step of the probe on a batch.

    Returns:
      The new state, and `probe_loss`, the cross-entropy in nats on this batch before the step.
    """
    features = jax.lax.stop_gradient(features).astype(jnp.float32)
    # Ignore a non-finite batch, which the run may skip: it would make the running mean non-finite for ever.
    before, finite = state, jnp.isfinite(features).all()
    mean = _DECAY * state.mean + (1 - _DECAY) * features.mean(0)
    variance = _DECAY * state.variance + (1 - _DECAY) * features.var(0).mean()
    state = state._replace(mean=mean, variance=variance, weight=_DECAY * state.weight + 1 - _DECAY)

    def loss(params):
        logits = _classify(state._replace(params=params), features)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    updates, opt_state = _ADAM.update(gradient, state.opt_state)
    params = optax.apply_updates(state.params, updates)
    after = state._replace(params=params, opt_state=opt_state)
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, before), {"probe_loss": value}


def _classify(state: ProbeState, features: Float[Array, "n d"]) -> Float[Array, "n c"]:
    # Bias correction: a running mean that starts at 0 is too small by the factor `weight`.
    seen = jnp.maximum(state.weight, 1e-6)
    centred = features - (state.mean / seen)[None, :]
    x = centred * jax.lax.rsqrt(state.variance / seen + 1e-12)
    return x @ state.params["w"] + state.params["b"][None, :]


class OnlineProbe:
    """The probe of one run: its state, its compiled step, and its predictions.

    Args:
      width: dimensions of the features.
      num_classes: number of classes c.
      mesh: the run's mesh; the probe's state is replicated on all of its devices.
    """

    def __init__(self, width: int, num_classes: int, mesh: Mesh):
        everywhere = NamedSharding(mesh, PartitionSpec())
        self.state = jax.jit(init_probe, static_argnums=(0, 1), out_shardings=everywhere)(width, num_classes)
        self._update: Callable[..., tuple[ProbeState, dict[str, Array]]] = jax.jit(
            update_probe, donate_argnums=0, out_shardings=everywhere
        )
        self._classify = jax.jit(_classify, out_shardings=everywhere)

    def __call__(self, features: Float[Array, "n d"], labels: Int[Array, "n"]) -> dict[str, Float[Array, ""]]:
        """Take a step, and return its metrics, which stay on the device."""
        self.state, metrics = self._update(self.state, features, labels)
        return metrics

    def accuracy(self, features: Float[np.ndarray | Array, "m d"], labels: Int[np.ndarray, "m"]) -> float:
        """Accuracy of the predicted classes, in [0, 1]."""
        predicted = np.asarray(self._classify(self.state, features)).argmax(1)
        return float((predicted == labels).mean())


def feature_width(embed: Callable[..., Array], params: PyTree, aux: PyTree, canvas: int) -> int:
    """Number of dimensions of the features of a method's `embed`, from its shape alone."""
    image = jax.ShapeDtypeStruct((1, canvas, canvas, 3), jnp.uint8)
    return jax.eval_shape(functools.partial(embed, aspects=None), params, aux, image).shape[-1]
