"""Non-finite losses and gradients: the compiled step detects them, and the loop reports them with the next line of metrics.

The step counts them in its state, so the host needs no additional synchronisation with the device.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from sslax.config import Config
from sslax.data.feed import epoch_order
from sslax.training.build import Built, compute_dtype
from sslax.training.state import Faults, TrainState

MOST = 100
"""Number of consecutive skipped steps that ends a run with `on_nan` skip, because it no longer learns."""
_SHOWN = 8


class NonFinite(Exception):
    """The loss or its gradient is non-finite; no checkpoint was saved since."""


def guarded(step: Callable[..., Any], on_nan: Literal["stop", "skip"]) -> Callable[..., Any]:
    """Wrap a training step to count its non-finite losses and gradients in `state.faults`.

    Args:
      step: `(state, ...) -> (state, metrics, seen)`, with `loss` and `gradient_norm` among the metrics; not yet compiled.
      on_nan: "skip" restores the parameters, the optimiser state and the method's state from before a non-finite step, and
        only the step number advances. "stop" keeps the update, because the run stops and discards it.
    """

    def guarded_step(state: TrainState, *inputs: Any):
        new, metrics, seen = step(state, *inputs)
        bad = ~(jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"]))
        total, since = state.faults
        since = jnp.where(bad & (since < 0), state.step, since)
        if on_nan == "skip":
            since = jnp.where(bad, since, -1)
            parts = [(s.params, s.opt_state, s.aux) for s in (new, state)]
            params, opt_state, aux = jax.tree.map(lambda made, old: jnp.where(bad, old, made), *parts)
            new = new._replace(params=params, opt_state=opt_state, aux=aux)
        return new._replace(faults=Faults(total + bad, since)), metrics, seen

    return guarded_step


def forgiven(state: TrainState, on_nan: Literal["stop", "skip"]) -> TrainState:
    """The state for resuming: with `on_nan` stop, steps that the run skipped earlier must not stop it now."""
    if on_nan == "skip" or int(state.faults.since) < 0:
        return state
    since = jax.device_put(jnp.full((), -1, jnp.int32), state.faults.since.sharding)
    return state._replace(faults=state.faults._replace(since=since))


def check_finite(
    config: Config,
    built: Built,
    state: TrainState,
    *,
    images: int,
    metrics: Callable[[], Sequence[dict[str, Any]]],
    saved: int | None,
) -> None:
    """Raise NonFinite if the run must stop.

    Args:
      config: the configuration of the run.
      built: the objects built from it.
      state: the current state.
      images: number of training images.
      metrics: returns the lines of metrics so far.
      saved: the step of the last checkpoint; None if there is none.
    """
    since = int(state.faults.since)
    if since < 0 or (config.on_nan == "skip" and int(state.step) - since < MOST):
        return
    if config.on_nan == "skip":
        skipped = int(state.step) - since
        what = f"The last {skipped} steps were skipped, because every loss or gradient is non-finite since step {since + 1}"
    else:
        what = f"The loss or its gradient is non-finite at step {since + 1}"
    epoch, start = since // built.steps_per_epoch, since % built.steps_per_epoch * config.batch_size
    batch = np.asarray(epoch_order(state.key, epoch, images))[start : start + config.batch_size]
    shown = ", ".join(map(str, batch[:_SHOWN])) + (", ..." if len(batch) > _SHOWN else "")
    kept = "there is no checkpoint yet" if saved is None else f"the last good checkpoint is of step {saved}"
    raise NonFinite(
        f"{what}. Its batch was the {len(batch)} training images with index {shown}; {kept}. "
        f"{_cause(config, built, since, metrics())}"
    )


def _cause(config: Config, built: Built, since: int, lines: Sequence[dict[str, Any]]) -> str:
    """The most likely cause, judged from the metrics before it."""
    rate = float(built.schedule(since))
    lower = "a new run with a lower optim.lr or a longer optim.warmup_epochs usually helps"
    norms = [line["gradient_norm"] for line in lines if line["step"] <= since and line.get("gradient_norm") is not None]
    if since == 0:
        start = "the initial weights (init_from), " if config.init_from else ""
        return f"This was the first step, before any update, so check {start}the images and the method's temperatures."
    if len(norms) < 3:
        return f"The run had only started, with a learning rate of {rate:.3g}, which is probably too high: {lower}."
    usual = statistics.median(norms)
    if norms[-1] > 5 * usual:
        return (
            f"The gradient norm had grown to {norms[-1]:.3g}, from a median of {usual:.3g}, with a learning rate of "
            f"{rate:.3g}, which is probably too high: {lower}."
        )
    coarse = "" if compute_dtype(config.precision) == jnp.float32 else " or bfloat16 (try --precision float32)"
    return (
        f"The gradient norm had been {norms[-1]:.3g}, with a median of {usual:.3g}, so the failure was sudden. The cause is "
        f"probably the batch{coarse}; --on-nan skip skips such batches. If that does not help, {lower}."
    )


@jax.jit
def _all_finite(tree: PyTree) -> Bool[Array, ""]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in leaves]))


def check_weights(state: TrainState, *, saved: int | None) -> None:
    """Raise NonFinite if the weights are non-finite, before they are saved; without this only the next loss would show it.

    Args:
      state: the state to save.
      saved: the step of the last checkpoint; None if there is none.
    """
    if not _all_finite(state.params):
        kept = "there is no checkpoint yet" if saved is None else f"the last good checkpoint is of step {saved}"
        raise NonFinite(
            f"The weights are non-finite after step {int(state.step)}, although loss and gradient were finite; {kept}. "
            "The learning rate is probably too high; a new run with a lower optim.lr usually helps."
        )
