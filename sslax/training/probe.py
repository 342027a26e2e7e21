"""The online probe: a linear classifier trained beside pretraining, on the features that each step gives anyway.

It is an observer: functions of its own state, features and labels, in programs of their own. Pretraining's program does not
know of it, and trains to the same bits with it or without.

Source: Grill et al. 2020, arXiv:2006.07733, appendix F (the released code trains such a probe), and solo-learn's online linear
head. Deviation: the features are centred and scaled as a whole by running statistics, so that one learning rate serves every
network, and Adam takes the place of LARS or SGD.
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
# Of the running mean and variance of the features.
_DECAY = 0.99
_ADAM = optax.adam(LEARNING_RATE)


class ProbeState(NamedTuple):
    """All of a probe: saved and resumed with the run.

    Attributes:
      params: weights [d, c] and bias [c].
      opt_state: Adam's.
      mean: of the features so far, [d].
      variance: mean over the dimensions of their variances.
      weight: how much of mean and variance has been seen, 0 to 1.
    """

    params: PyTree
    opt_state: PyTree
    mean: Float[Array, "d"]
    variance: Float[Array, ""]
    weight: Float[Array, ""]


def init_probe(width: int, num_classes: int) -> ProbeState:
    """A probe of features of `width` dimensions that says nothing yet."""
    params = {"w": jnp.zeros((width, num_classes)), "b": jnp.zeros(num_classes)}
    return ProbeState(params, _ADAM.init(params), jnp.zeros(width), jnp.zeros(()), jnp.zeros(()))


def update_probe(
    state: ProbeState, features: Float[Array, "n d"], labels: Int[Array, "n"]
) -> tuple[ProbeState, dict[str, Float[Array, ""]]]:
    """A step of the probe on one batch.

    Returns:
      The state afterwards, and `probe_loss`, the cross-entropy in nats on this batch before the step.
    """
    features = jax.lax.stop_gradient(features).astype(jnp.float32)
    # One batch that is not finite, which the run may skip, would stay in the running mean for good.
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
    # A running mean that began at 0 is that much too small.
    seen = jnp.maximum(state.weight, 1e-6)
    centred = features - (state.mean / seen)[None, :]
    x = centred * jax.lax.rsqrt(state.variance / seen + 1e-12)
    return x @ state.params["w"] + state.params["b"][None, :]


class OnlineProbe:
    """The probe of one run: its state, its compiled step, and what it says of features.

    Args:
      width: dimensions of the features.
      num_classes: c.
      mesh: the state is on all of its devices, as the run's is.
    """

    def __init__(self, width: int, num_classes: int, mesh: Mesh):
        everywhere = NamedSharding(mesh, PartitionSpec())
        self.state = jax.jit(init_probe, static_argnums=(0, 1), out_shardings=everywhere)(width, num_classes)
        self._update: Callable[..., tuple[ProbeState, dict[str, Array]]] = jax.jit(
            update_probe, donate_argnums=0, out_shardings=everywhere
        )
        self._classify = jax.jit(_classify, out_shardings=everywhere)

    def __call__(self, features: Float[Array, "n d"], labels: Int[Array, "n"]) -> dict[str, Float[Array, ""]]:
        """Take a step, and give its metrics, which stay on the device."""
        self.state, metrics = self._update(self.state, features, labels)
        return metrics

    def accuracy(self, features: Float[np.ndarray, "m d"], labels: Int[np.ndarray, "m"]) -> float:
        """Share of the features that are taken for what they are, in [0, 1]."""
        predicted = np.asarray(self._classify(self.state, features)).argmax(1)
        return float((predicted == labels).mean())


def feature_width(embed: Callable[..., Array], params: PyTree, aux: PyTree, canvas: int) -> int:
    """Dimensions of the features that a method's `embed` gives, without computing any."""
    image = jax.ShapeDtypeStruct((1, canvas, canvas, 3), jnp.uint8)
    return jax.eval_shape(functools.partial(embed, aspects=None), params, aux, image).shape[-1]
