"""Checkpoints of a run's state. This is the only file that imports orbax.

A checkpoint is a folder named by its step. It is written under a temporary name and then renamed, so a checkpoint is either
complete or absent. Its `digest.json` has the SHA-256 of every file and the shape and type of every array. These are checked
before a checkpoint is read, so damage by a disk or a copy is detected and orbax never reads a damaged file.
"""

import json
import logging
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from sslax import processes
from sslax.errors import InputError
from sslax.files import write_atomically
from sslax.runs import digest

_ASIDE, _PARTIAL = "damaged", "partial"
_PARTS = ("state", "observers")
# Devices that hold the same array each save a part of it if a part has at least so many bytes. Cutting smaller arrays, as orbax
# does by default, takes longer than it saves: it compiles a program for each part of each shape.
_LEAST_CUT = 2**24


class PassedOver(NamedTuple):
    """A damaged checkpoint, and the damage."""

    step: int
    reason: str

    def __str__(self) -> str:
        return f"step {self.step} ({self.reason})"


class Found(NamedTuple):
    """The newest complete checkpoint, and the damaged ones that are newer."""

    step: int
    state: Any
    observers: PyTree | None
    passed_over: tuple[PassedOver, ...]


class _Damaged(Exception):
    """A checkpoint cannot be used; the message says why."""


class Checkpoints:
    """The checkpoints of one run: the newest `keep`, and the best by kNN accuracy. Each is written atomically.

    Args:
      folder: folder of the checkpoints, with one sub-folder per step; created if it does not exist.
      keep: number of newest checkpoints to keep.
      read_only: only read, and do not touch files that another process may be writing.

    Raises:
      InputError: if the folder cannot be used.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2, read_only: bool = False):
        # Orbax logs every file at level INFO, and warns about its own default choices.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._folder, self._keep = folder.absolute(), keep
        self._scores: dict[int, float | None] = {}
        try:
            if not read_only:
                self._folder.mkdir(exist_ok=True)
                self._sweep()
            os.listdir(self._folder)
        except OSError as error:
            raise InputError(f"{folder} cannot be used for checkpoints: {error.strerror}.") from error
        self._orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler(**{name: _handler() for name in _PARTS}))

    def steps(self) -> list[int]:
        """The steps of all checkpoints in order, damaged ones included."""
        return sorted(int(name) for name in os.listdir(self._folder) if name.isascii() and name.isdecimal())

    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return max(self.steps(), default=None)

    def is_best(self, knn: float | None) -> bool:
        """Whether a checkpoint with this kNN accuracy would be the best so far; False if `knn` is None."""
        if knn is None:
            return False
        known = processes.from_first(lambda: list(self._known_scores().values()))
        return all(score is None or knn > score for score in known)

    def save(self, state: Any, observers: PyTree | None = None, *, knn: float | None = None) -> None:
        """Save `state` and the states of the run's observers under the state's step. Does nothing if that step is saved.

        Args:
          state: state of the run: a named tuple of any pytrees, with an integer field `step`.
          observers: states of the run's observers, any pytree.
          knn: kNN accuracy, which decides the best checkpoint; None if it was not measured.

        Raises:
          InputError: if it cannot be written, for example because the disk is full; earlier checkpoints stay complete.
        """
        step, before = int(state.step), processes.from_first(self.steps)
        if step in before:
            return
        partial = self._folder / f"{step}.{_PARTIAL}"
        parts = _parts(state, observers)
        try:
            self._orbax.save(
                partial, args=ocp.args.Composite(**{name: ocp.args.PyTreeSave(part) for name, part in parts.items()})
            )
            if processes.first():
                told = {"knn20": knn, "arrays": digest.shapes(parts), "files": digest.files(partial, settle=True)}
                write_atomically(partial / digest.NAME, json.dumps(told))
                os.rename(partial, self._folder / str(step))
                self._scores[step] = knn
                self._thin()
        except Exception as error:  # On a full or missing disk, orbax and tensorstore raise exceptions of many types.
            if processes.lost(error):
                raise
            self._sweep()
            kept = f"the one of step {before[-1]} is whole" if before else "there is no earlier checkpoint"
            raise InputError(
                f"The checkpoint of step {step} cannot be written to {self._folder} ({digest.reason(error)}), but {kept}. "
                "Fix this, and run the same command again."
            ) from error
        processes.together("checkpoint written")

    def newest_whole(self, like: Any, observers: PyTree | None = None) -> Found | None:
        """Read the newest complete checkpoint; None if there are no checkpoints.

        Args:
          like: a state with the shapes, types and devices that the checkpoint must have.
          observers: the same for the states of the observers, if they were saved.

        Raises:
          InputError: if there are checkpoints, but all of them are damaged.
        """
        passed: list[PassedOver] = []
        for step in reversed(processes.from_first(self.steps)):
            try:
                state, learned = self._restore(step, like, observers)
            except _Damaged as error:
                passed.append(PassedOver(step, str(error)))
            else:
                return Found(step, state, learned, tuple(passed))
        if passed:
            raise InputError(
                f"{self._folder} holds no checkpoint that can be used: {'; '.join(map(str, passed))}; "
                "restore a complete checkpoint from a backup, or use another folder for a new run."
            )
        return None

    def set_aside(self, passed_over: Sequence[PassedOver]) -> None:
        """Move damaged checkpoints to the folder `damaged`, because the run will save these steps again.

        Raises:
          InputError: if one cannot be moved.
        """
        aside = self._folder / _ASIDE
        for step, reason in passed_over if processes.first() else ():
            try:
                aside.mkdir(exist_ok=True)
                _remove(aside / str(step))
                os.rename(self._folder / str(step), aside / str(step))
            except OSError as error:
                raise InputError(
                    f"{self._folder / str(step)} is damaged ({reason}) and cannot be moved out of the way: {error.strerror}."
                ) from error
        processes.together("damaged checkpoints set aside")

    def close(self) -> None:
        """Release orbax's resources."""
        self._orbax.close()

    def _restore(self, step: int, like: Any, observers: PyTree | None) -> tuple[Any, PyTree | None]:
        parts, folder = _parts(like, observers), self._folder / str(step)
        self._check(step, digest.shapes(parts))
        args = {name: _restored_as(_abstract(part)) for name, part in parts.items()}
        failed: Exception | None = None
        try:
            restored = self._orbax.restore(folder, args=ocp.args.Composite(**args))
            stored = dict(restored["state"])
        except Exception as error:  # The files are intact, but a different version of orbax may have written them.
            if processes.lost(error):
                raise
            failed = error
        if processes.any_of(failed is not None):
            raise _Damaged("another process cannot read it" if failed is None else digest.reason(failed)) from failed
        if int(stored["step"]) != step:
            raise _Damaged(f"it has the state of step {int(stored['step'])}")
        state = type(like)(**stored)
        # Random keys were saved as integers. They become typed keys again, as in `like`.
        whole = [
            jax.random.wrap_key_data(x, impl=jax.random.key_impl(wanted)) if _is_key(wanted) else x
            for x, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(like), strict=True)
        ]
        state = jax.tree.unflatten(jax.tree.structure(like), whole)
        return state, None if observers is None else restored["observers"]

    def _check(self, step: int, wanted: Mapping[str, Any]) -> None:
        """Raise _Damaged in every process unless all files are as they were written and have the wanted arrays."""
        wrong = processes.from_first(lambda: digest.wrong_with(self._folder / str(step), wanted))
        if wrong is not None:
            raise _Damaged(wrong)

    def _known_scores(self) -> dict[int, float | None]:
        """The kNN accuracy of every checkpoint, or None if it was not measured or cannot be read."""
        known = {}
        for step in self.steps():
            if step not in self._scores:
                try:
                    score = json.loads((self._folder / str(step) / digest.NAME).read_text(encoding="utf-8"))["knn20"]
                except (OSError, ValueError, TypeError, KeyError):
                    score = None
                self._scores[step] = score if isinstance(score, float) else None
            known[step] = self._scores[step]
        return known

    def _thin(self) -> None:
        """Delete all checkpoints except the newest and the best."""
        measured = [(score, step) for step, score in self._known_scores().items() if score is not None]
        steps = self.steps()
        for step in {*steps} - {*steps[-self._keep :], *([max(measured)[1]] if measured else [])}:
            # Renamed first, so that an interrupted deletion does not leave an incomplete checkpoint.
            going = self._folder / f"{step}.{_PARTIAL}"
            os.rename(self._folder / str(step), going)
            _remove(going)

    def _sweep(self) -> None:
        """Remove the remains of failed or killed writes, which would take up space on a full disk."""
        if processes.first():
            for name in os.listdir(self._folder):
                number, _, rest = name.partition(".")
                if number.isdecimal() and rest.startswith((_PARTIAL, "orbax-checkpoint-tmp")):
                    _remove(self._folder / name)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _parts(state: Any, observers: PyTree | None) -> dict[str, PyTree]:
    """The parts of a checkpoint as plain arrays; typed keys are converted to integers."""
    plain = jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state._asdict())
    return {"state": plain} | ({} if observers is None else {"observers": observers})


def _handler() -> ocp.PyTreeCheckpointHandler:
    arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_LEAST_CUT)
    registry = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
    )
    return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


def _restored_as(part: PyTree) -> ocp.args.PyTreeRestore:
    return ocp.args.PyTreeRestore(part, restore_args=ocp.checkpoint_utils.construct_restore_args(part))


def _abstract(part: PyTree) -> PyTree:
    return jax.tree.map(ocp.tree.to_shape_dtype_struct, part)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
