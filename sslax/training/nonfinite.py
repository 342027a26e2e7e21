"""Losses and gradients that are not finite: noticed inside the compiled step, told where a line of metrics is due.

The step counts them in its own state, so that the host waits for no number that it would not have waited for anyway.
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
"""So many skipped steps in a row end a run that skips them: nothing is learned any more."""
_SHOWN = 8


class NonFinite(Exception):
    """The loss or its gradient is no longer finite; nothing was saved since."""


def guarded(step: Callable[..., Any], on_nan: Literal["stop", "skip"]) -> Callable[..., Any]:
    """A training step that counts what is not finite of its own, in `state.faults`.

    Args:
      step: `(state, ...) -> (state, metrics, seen)`, with `loss` and `gradient_norm` among the metrics; not yet compiled.
      on_nan: "skip" gives the parameters, the optimiser's and the method's state back as they were before such a step, and only
        the step's number goes on; "stop" lets it happen, since what follows is thrown away.
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
    """The state that a run goes on from: one that stops now is not stopped by what it skipped before."""
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
    """Raise NonFinite where the run has to stop.

    Args:
      config: of the run.
      built: what it became.
      state: after some steps.
      images: how many training images there are.
      metrics: gives the lines of metrics so far.
      saved: the step of the last checkpoint.
    """
    since = int(state.faults.since)
    if since < 0 or (config.on_nan == "skip" and int(state.step) - since < MOST):
        return
    if config.on_nan == "skip":
        skipped = int(state.step) - since
        what = (
            f"The last {skipped} steps were skipped, as no loss or gradient is finite any more since step {since + 1}"
        )
    else:
        what = f"The loss or its gradient is not finite at step {since + 1}"
    epoch, start = since // built.steps_per_epoch, since % built.steps_per_epoch * config.batch_size
    batch = np.asarray(epoch_order(state.key, epoch, images))[start : start + config.batch_size]
    shown = ", ".join(map(str, batch[:_SHOWN])) + (", ..." if len(batch) > _SHOWN else "")
    kept = "there is no checkpoint yet" if saved is None else f"the last good checkpoint is of step {saved}"
    raise NonFinite(
        f"{what}, whose batch was the {len(batch)} training images of index {shown}; {kept}. "
        f"{_cause(config, built, since, metrics())}"
    )


def _cause(config: Config, built: Built, since: int, lines: Sequence[dict[str, Any]]) -> str:
    """What is the likeliest, from what the run showed before."""
    rate = float(built.schedule(since))
    lower = "a new run with a lower optim.lr or a longer optim.warmup_epochs usually helps"
    norms = [line["gradient_norm"] for line in lines if line["step"] <= since and line.get("gradient_norm") is not None]
    if since == 0:
        start = "the weights that it starts from (init_from), " if config.init_from else ""
        return f"It was so before anything was learned, so look at {start}the images and the method's temperatures."
    if len(norms) < 3:
        return f"The run had only begun, with a learning rate of {rate:.3g}: likely it is too high, and {lower}."
    usual = statistics.median(norms)
    if norms[-1] > 5 * usual:
        return (
            f"The norm of the gradient had grown to {norms[-1]:.3g}, from {usual:.3g} in the median, under a learning rate of "
            f"{rate:.3g}: likely it is too high, and {lower}."
        )
    coarse = "" if compute_dtype(config.precision) == jnp.float32 else " or bfloat16, in place of --precision float32,"
    return (
        f"The norm of the gradient had been {norms[-1]:.3g}, {usual:.3g} in the median, so it came at once: likely it is the "
        f"batch,{coarse} and --on-nan skip leaves such batches out; if not, {lower}."
    )


@jax.jit
def _all_finite(tree: PyTree) -> Bool[Array, ""]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in leaves]))


def check_weights(state: TrainState, *, saved: int | None) -> None:
    """Raise NonFinite before weights are saved that an update has made infinite, of which only the next loss would tell.

    Args:
      state: about to be saved.
      saved: the step of the last checkpoint.
    """
    if not _all_finite(state.params):
        kept = "there is no checkpoint yet" if saved is None else f"the last good checkpoint is of step {saved}"
        raise NonFinite(
            f"The weights are not finite after step {int(state.step)}, though loss and gradient were; {kept}. "
            "Likely the learning rate is too high, and a new run with a lower optim.lr helps."
        )
