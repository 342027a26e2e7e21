"""Checkpoints of a run's state; the only file that knows orbax."""

import logging
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from sslax.training.state import TrainState


class Checkpoints:
    """The checkpoints of one run: the newest `keep`, each written whole or not at all.

    Args:
      folder: where they stand, one folder a step; made if it is missing.
      keep: how many of the newest stay.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2):
        # Orbax tells of every file at level INFO, and warns of what it decided by itself.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        )

    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, observers: PyTree | None = None) -> None:
        """Write `state`, and what observers of the run have learned, under its step; a step that is saved already is left."""
        step = int(state.step)
        if step not in self._manager.all_steps():
            items = {"state": ocp.args.StandardSave(_storable(state))}
            if observers is not None:
                items["observers"] = ocp.args.StandardSave(observers)
            self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state saved at `step`, with the shapes, types and devices of `like`."""
        stored = self._restore(step, "state", _storable(like))
        key = jax.random.wrap_key_data(stored.pop("key"), impl=jax.random.key_impl(like.key))
        return TrainState(key=key, **stored)

    def restore_observers(self, step: int, like: PyTree) -> PyTree:
        """What the observers had learned at `step`, with the shapes, types and devices of `like`."""
        return self._restore(step, "observers", like)

    def _restore(self, step: int, item: str, like: PyTree) -> Any:
        abstract = jax.tree.map(ocp.tree.to_shape_dtype_struct, like)
        args = ocp.args.Composite(**{item: ocp.args.StandardRestore(abstract)})
        return self._manager.restore(step, args=args)[item]

    def close(self) -> None:
        """Wait for what is being written and let go of the folder."""
        self._manager.close()


def _storable(state: TrainState) -> dict[str, Any]:
    """A dictionary of plain arrays: a typed key is saved as its numbers."""
    return {**state._asdict(), "key": jax.random.key_data(state.key)}
