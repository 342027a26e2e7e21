"""Checkpoints of a run's state; the only file that knows orbax."""

import logging
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

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

    def save(self, state: TrainState) -> None:
        """Write `state` under its own step; nothing happens where that step is already saved."""
        step = int(state.step)
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(_storable(state)))

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state saved at `step`, with the shapes, types and devices of `like`."""
        abstract = jax.tree.map(ocp.tree.to_shape_dtype_struct, _storable(like))
        stored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        key = jax.random.wrap_key_data(stored.pop("key"), impl=jax.random.key_impl(like.key))
        return TrainState(key=key, **stored)

    def close(self) -> None:
        """Wait for what is being written and let go of the folder."""
        self._manager.close()


def _storable(state: TrainState) -> dict[str, Any]:
    """A dictionary of plain arrays: a typed key is saved as its numbers."""
    return {**state._asdict(), "key": jax.random.key_data(state.key)}
