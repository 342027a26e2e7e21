"""Resume a run at its newest intact checkpoint, or at the start, and report it."""

import dataclasses
from collections.abc import Callable
from typing import Any

from sslax import processes
from sslax.config import Config
from sslax.errors import InputError
from sslax.runs.checkpoints import Checkpoints
from sslax.runs.run_dir import RunDir
from sslax.training.build import Built, make_schedule
from sslax.training.nonfinite import forgiven
from sslax.training.probe import OnlineProbe
from sslax.training.state import TrainState


def resume(
    config: Config,
    built: Built,
    run: RunDir,
    checkpoints: Checkpoints,
    state: TrainState,
    probe: OnlineProbe | None,
    follow: Callable[[dict[str, Any]], None],
) -> TrainState:
    """The state to resume `run` from; its metrics are truncated to that step, and `probe` gets its saved state.

    Args:
      config: the configuration of the run, possibly with more epochs than before.
      built: the objects built from it.
      run: the folder of the run.
      checkpoints: the checkpoints in that folder.
      state: the initial state.
      probe: the online probe, or None.
      follow: called with each event as a dictionary: {"passed_over": sentences} for damaged checkpoints,
        {"resumed_at": step}, {"restarted": step} if there are metrics up to that step but no checkpoint, and
        {"extended": {"epochs": [from, to], "step": step, "lr": [before, after]}}.

    Raises:
      InputError: if no checkpoint is intact, or a checkpoint should exist and is missing.
    """
    found = checkpoints.newest_whole(state, None if probe is None else probe.state)
    at = 0
    if found is not None:
        at, state = found.step, forgiven(found.state, config.on_nan)
        if probe is not None:
            probe.state = found.observers
        if found.passed_over:
            checkpoints.set_aside(found.passed_over)
            follow({"passed_over": [_sentence(step, reason, at) for step, reason in found.passed_over]})
        follow({"resumed_at": at})
    else:
        reached = max((line["step"] for line in processes.from_first(run.metrics)), default=0)
        # A checkpoint is written right after the line of its step.
        first = min(config.checkpoint_every, (run.extends or config.epochs)) * built.steps_per_epoch
        if reached > first:
            raise InputError(
                f"{run.checkpoints} holds no checkpoint, but the run reached step {reached} and wrote its first at step "
                f"{first}; restore the checkpoints, or use another folder for a new run."
            )
        if reached:
            follow({"restarted": reached})
    if run.extends is not None:
        before = make_schedule(dataclasses.replace(config, epochs=run.extends), built.steps_per_epoch)
        rates = [float(before(at)), float(built.schedule(at))]
        epochs = [run.extends, config.epochs]
        run.extend(at)
        follow({"extended": {"epochs": epochs, "step": at, "lr": rates}})
    run.rewind(at)
    return state


def _sentence(step: int, reason: str, at: int) -> str:
    moved = "it was moved to checkpoints/damaged, and the run resumes from"
    return f"The checkpoint of step {step} is damaged ({reason}); {moved} step {at}."
