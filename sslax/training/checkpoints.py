"""Checkpoints of a run's state; the only file that knows orbax.

A checkpoint is a folder that is named by its step. Orbax writes it beside and renames it, so that it is there whole or not at
all. Beside the state it holds a digest, of every array its shape, type and SHA-256, which is checked when it is read: what a
disk or a copy has done to it does not pass.
"""

import hashlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from sslax.errors import InputError
from sslax.training.state import TrainState

_ASIDE = "damaged"


class PassedOver(NamedTuple):
    """A checkpoint that is not whole, and what is wrong with it."""

    step: int
    reason: str

    def __str__(self) -> str:
        return f"step {self.step} ({self.reason})"


class Found(NamedTuple):
    """A whole checkpoint, and the newer ones that are not."""

    step: int
    state: TrainState
    observers: PyTree | None
    passed_over: tuple[PassedOver, ...]


class _Damaged(Exception):
    """Why a checkpoint cannot be used."""


class Checkpoints:
    """The checkpoints of one run: the newest `keep` and the best by kNN, each written whole or not at all.

    Args:
      folder: where they stand, one folder a step; made if it is missing.
      keep: how many of the newest stay.
      read_only: only read, and leave alone what another process may be writing.

    Raises:
      InputError: where the folder cannot be used.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2, read_only: bool = False):
        # Orbax tells of every file at level INFO, and warns of what it decided by itself.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._folder, self._keep = folder, keep
        self._scores: dict[int, float | None] | None = None
        options = ocp.CheckpointManagerOptions(
            # What stays is decided here, since a damaged checkpoint must neither count nor be in the way.
            max_to_keep=None,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
            lightweight_initialize=True,
        )
        try:
            if folder.exists():
                os.listdir(folder)
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        except OSError as error:
            raise InputError(f"{folder} cannot be used for checkpoints: {error.strerror or error}.") from error

    def steps(self) -> list[int]:
        """The steps of all checkpoints, whole or not, in order."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def is_best(self, knn: float | None) -> bool:
        """Whether a checkpoint of this kNN accuracy would be the best so far; never where nothing was measured."""
        return knn is not None and all(score is None or knn > score for score in self._known_scores().values())

    def save(self, state: TrainState, observers: PyTree | None = None, *, knn: float | None = None) -> None:
        """Write `state`, and what observers of the run have learned, under its step; a step that is saved already is left.

        Args:
          state: of the run.
          observers: of the run, any pytree.
          knn: the accuracy by which the best is kept, where it was measured.

        Raises:
          InputError: where it cannot be written, the disk being full for one; those from before stay whole.
        """
        step = int(state.step)
        before = self.steps()
        if step in before:
            return
        parts = _parts(state, observers)
        digest = {"arrays": _digests(parts), "knn20": knn}
        items = {name: ocp.args.StandardSave(part) for name, part in parts.items()}
        scores = self._known_scores()
        try:
            self._manager.save(step, args=ocp.args.Composite(**items, digest=ocp.args.JsonSave(digest)))
            scores[step] = knn
            self._thin(scores)
        except Exception as error:  # What a full or vanished disk makes of orbax and tensorstore is not one type.
            self._sweep(step)
            kept = f"the one of step {before[-1]} is whole" if before else "there is none from before"
            raise InputError(
                f"The checkpoint of step {step} cannot be written to {self._folder} ({_reason(error)}), but {kept}; "
                "make room, or mend what it says, and run the same command again."
            ) from error

    def newest_whole(self, like: TrainState, observers: PyTree | None = None) -> Found | None:
        """The newest checkpoint that is whole, or None where there is none at all.

        Args:
          like: what it must hold: its shapes, types and devices.
          observers: likewise, where they were saved.

        Raises:
          InputError: where there are checkpoints, and not one of them is whole.
        """
        passed: list[PassedOver] = []
        for step in reversed(self.steps()):
            try:
                state, learned = self._restore(step, like, observers)
            except _Damaged as error:
                passed.append(PassedOver(step, str(error)))
            else:
                return Found(step, state, learned, tuple(passed))
        if passed:
            raise InputError(
                f"{self._folder} holds no checkpoint that can be used: {'; '.join(map(str, passed))}; "
                "bring back a whole one, or take another folder for a new run."
            )
        return None

    def set_aside(self, passed_over: tuple[PassedOver, ...]) -> None:
        """Move what is not whole to the folder `damaged`, as the run will come to these steps again.

        Raises:
          InputError: where it cannot be moved.
        """
        if not passed_over:
            return
        try:
            if jax.process_index() == 0:
                aside = self._folder / _ASIDE
                aside.mkdir(exist_ok=True)
                for step, _ in passed_over:
                    shutil.rmtree(aside / str(step), ignore_errors=True)
                    os.replace(self._folder / str(step), aside / str(step))
        except OSError as error:
            raise InputError(
                f"{self._folder / str(passed_over[0].step)} is damaged ({passed_over[0].reason}) and cannot be moved out of "
                f"the way: {error.strerror}."
            ) from error
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints set aside")
        self._manager.reload()

    def close(self) -> None:
        """Wait for what is being written and let go of the folder."""
        self._manager.close()

    def _restore(self, step: int, like: TrainState, observers: PyTree | None) -> tuple[TrainState, PyTree | None]:
        parts = _parts(like, observers)
        wanted = {name: (list(leaf.shape), str(leaf.dtype)) for name, leaf in _leaves(parts)}
        arrays = self._digest_of(step)["arrays"]
        there = {name: (shape, dtype) for name, (shape, dtype, _) in arrays.items()}
        for name in sorted(wanted.keys() | there.keys()):
            if name not in there or (name not in wanted and not name.startswith("['observers']")):
                having = "lacks" if name not in there else "has"
                raise _Damaged(f"it {having} {name}: another configuration or version wrote it")
            if name in wanted and there[name] != wanted[name]:
                (shape, dtype), (own_shape, own_dtype) = there[name], wanted[name]
                raise _Damaged(
                    f"its {name} is {dtype} of shape {shape}, this configuration's {own_dtype} of shape {own_shape}"
                )
        abstract = jax.tree.map(ocp.tree.to_shape_dtype_struct, parts)
        args = {name: ocp.args.StandardRestore(part) for name, part in abstract.items()}
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**args))
            found = {name: restored[name] for name in parts}
        except Exception as error:  # Whatever broken files make of orbax and tensorstore.
            raise _Damaged(_reason(error)) from error
        for name, digest in _digests(found).items():
            if digest != tuple(arrays[name]):
                raise _Damaged(f"{name} is not what was written")
        stored = dict(found["state"])
        key = jax.random.wrap_key_data(stored.pop("key"), impl=jax.random.key_impl(like.key))
        return TrainState(key=key, **stored), found.get("observers")

    def _digest_of(self, step: int) -> dict[str, Any]:
        try:
            args = ocp.args.Composite(digest=ocp.args.JsonRestore())
            digest = self._manager.restore(step, args=args)["digest"]
            for shape, dtype, sha in digest["arrays"].values():
                if not (isinstance(shape, list) and isinstance(dtype, str) and isinstance(sha, str)):
                    raise TypeError
        except (TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _Damaged("its digest is not what was written") from error
        except Exception as error:  # Whatever broken files make of orbax.
            raise _Damaged(_reason(error)) from error
        return digest

    def _known_scores(self) -> dict[int, float | None]:
        """The kNN accuracy of every checkpoint, None where it was not measured or cannot be read."""
        if self._scores is None:
            self._scores = {}
        for step in self.steps():
            if step not in self._scores:
                try:
                    score = self._digest_of(step).get("knn20")
                except _Damaged:
                    score = None
                self._scores[step] = score if isinstance(score, float) else None
        self._scores = {step: score for step, score in self._scores.items() if step in self.steps()}
        return self._scores

    def _thin(self, scores: Mapping[int, float | None]) -> None:
        """Delete all but the newest and the best."""
        steps = self.steps()
        measured = [(score, step) for step, score in scores.items() if score is not None]
        kept = {*steps[-self._keep :], *([max(measured)[1]] if measured else [])}
        for step in steps:
            if step not in kept:
                self._manager.delete(step)

    def _sweep(self, step: int) -> None:
        """Remove what a failed write has left: on a full disk it takes the room that is missing."""
        for part in self._folder.glob(f"{step}.*tmp*"):
            shutil.rmtree(part, ignore_errors=True)


def _parts(state: TrainState, observers: PyTree | None) -> dict[str, PyTree]:
    """What is saved, as plain arrays: a typed key as its numbers."""
    plain = {**state._asdict(), "key": jax.random.key_data(state.key)}
    return {"state": plain} | ({} if observers is None else {"observers": observers})


def _leaves(tree: PyTree) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _digests(tree: PyTree) -> dict[str, tuple[list[int], str, str]]:
    """Of every array shape, type and SHA-256 of its bytes, whatever devices it is spread over."""

    def whole(leaf: jax.Array) -> np.ndarray:
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    found = {}
    for name, leaf in _leaves(tree):
        sha = hashlib.sha256(np.ascontiguousarray(whole(leaf)).tobytes()).hexdigest()
        found[name] = (list(leaf.shape), str(leaf.dtype), sha)
    return found


def _reason(error: Exception) -> str:
    """A few words for what reading or writing met."""
    said = str(error)
    for sign, reason in (
        ("No space left", "no space left on device"),
        ("RESOURCE_EXHAUSTED", "no space left on device"),
        ("Permission denied", "permission denied"),
        ("PERMISSION_DENIED", "permission denied"),
        ("Read-only file system", "read-only file system"),
    ):
        if sign in said:
            return reason
    if isinstance(error, FileNotFoundError | KeyError) or "NOT_FOUND" in said or "not found" in said:
        return "a part of it is missing, or another version wrote it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return "it cannot be read or written as a checkpoint: " + " ".join(said.split())[:160].rstrip(" .")
