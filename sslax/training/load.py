"""Load a finished run from its folder: `load(RUN)` returns its network, which computes features of any images."""

import dataclasses
import functools
import json
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree, UInt8

from sslax.checks import parse_colour
from sslax.config import Config, check
from sslax.data.decode import read_files
from sslax.data.picture import Reading
from sslax.errors import InputError
from sslax.files import expanded
from sslax.runs.checkpoints import Checkpoints
from sslax.runs.stored import config_from
from sslax.training.build import Built, build_for, images_at_once
from sslax.training.loop import start_state
from sslax.training.state import TrainState, initial_state
from sslax.training.step import Embedder


class DamagedCheckpoint(UserWarning):
    """Warns that the newest checkpoint of a run is damaged and an older one was loaded."""


class Loaded:
    """The network of a run: `loaded(images)` computes features, compiled once, in batches of one shape.

    Attributes:
      config: the configuration of the run.
      data: facts about the training data: name, number of images, canvas, classes.
      built: the objects built from the configuration.
      state: the newest checkpoint.
      at_once: the most images per batch for which the attention maps are small enough; None is the usual number.
    """

    def __init__(self, config: Config, data: Mapping[str, Any], built: Built, state: TrainState):
        self.config, self.data, self.built, self.state = config, data, built, state
        self.at_once = images_at_once(built.backbone, built.image_shape[0])
        self.embedder = Embedder(built.method, built.mesh, batch_size=self.at_once)

    def __call__(
        self,
        images: UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"] | Array | Sequence[str | os.PathLike[str]],
        aspects: Float[np.ndarray, "n"] | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Features [n, d] of images, uint8 or float in [0, 1], of any size; the network sees the resized central square.

        Args:
          images: images of one size; or a list of image files, which are read with the run's options.
          aspects: original widths / heights of images that were squashed to a square; None for images that were not.

        Raises:
          ValueError: on other shapes or types, and on files that cannot be read.
        """
        if are_files(images):
            images, aspects = read_files(images, self.data["canvas"], reading_of(self.config))
        return self.embedder(self.state, *as_batch(images, aspects))

    def backbone(self) -> tuple[PyTree, PyTree]:
        """Parameters and BatchNorm statistics of the backbone that the method's paper evaluates.

        Raises:
          InputError: if the method does not define `evaluated`.
        """
        if self.built.method.evaluated is None:
            raise InputError(
                f"method is {self.config.method.NAME}, which defines no backbone to evaluate; its Method must set `evaluated`."
            )
        return self.built.method.evaluated(self.state.params, self.state.aux)

    def untrained(self) -> TrainState:
        """The initial state of the run, before training.

        Raises:
          InputError: if the run started from a weights file that can no longer be read.
        """
        if self.config.init_from is None:
            return start_state(self.config, self.built)
        data = self.data
        built = build_for(self.config, images=data["images"], canvas=data["canvas"], devices=jax.devices()[:1])
        return start_state(self.config, built)


def are_files(images: Any) -> TypeGuard[Sequence[str | os.PathLike[str]]]:
    """Whether `images` is a list of file paths."""
    return isinstance(images, list | tuple) and bool(images) and isinstance(images[0], str | os.PathLike)


def reading_of(config: Config) -> Reading:
    """The run's options for decoding image files."""
    return Reading(config.exif, parse_colour("background", config.background))


def as_batch(
    images: Any, aspects: Float[np.ndarray, "n"] | None = None
) -> tuple[UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"], Float[np.ndarray, "n"]]:
    """Check a user's images and aspects, and convert them to the networks' input.

    Returns:
      The images, uint8 or float32 in [0, 1], and their aspects; without `aspects` they are 1, for images not squashed.

    Raises:
      ValueError: on other shapes or types.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise ValueError(f"images have shape {images.shape}; they must be [n, h, w, 3] with n of at least 1.")
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating):
            raise ValueError(f"images are {images.dtype}; they must be uint8, or float in [0, 1].")
        images = images.astype(np.float32)
    return images, np.ones(len(images), np.float32) if aspects is None else np.asarray(aspects, np.float32)


def load(run_dir: str | os.PathLike[str], *, unfinished: bool = False) -> Loaded:
    """The network of the run in `run_dir`, from its newest intact checkpoint.

    Warns with `DamagedCheckpoint` if a newer checkpoint is damaged.

    Args:
      run_dir: a folder that `sslax pretrain` or `sslax.pretrain` wrote.
      unfinished: also accept a run that has not finished.

    Raises:
      InputError: if the folder is not a run, the run has not finished, no checkpoint is intact, or its method is not in
        `METHODS`.
    """
    path = expanded(run_dir)
    if not (path / "config.json").is_file():
        raise InputError(f"RUN is {path}, which is not a run; it must be a folder that sslax pretrain wrote.")
    if not unfinished and not (path / "result.json").exists():
        raise InputError(
            f"RUN is {path}, which has not finished; repeat the command that started it to resume the run."
        )
    config = config_from(_read(path / "config.json"))
    check(config)
    data = _read(path / "data.json")
    # A finished run does not need the file that it started from.
    without = dataclasses.replace(config, init_from=None)
    built = build_for(without, images=data["images"], canvas=data["canvas"], devices=jax.devices()[:1])
    none = InputError(f"RUN is {path}, which holds no checkpoint; repeat the command that started the run.")
    if not (path / "checkpoints").exists():
        raise none
    # Read-only, because another process may be writing the next checkpoint.
    checkpoints = Checkpoints(path / "checkpoints", read_only=True)
    try:
        found = checkpoints.newest_whole(_shapes(built))
    finally:
        checkpoints.close()
    if found is None:
        raise none
    if found.passed_over:
        damaged = "; ".join(map(str, found.passed_over))
        warnings.warn(
            f"RUN is {path}; its newest checkpoints are damaged: {damaged}; the checkpoint of step {found.step} was loaded.",
            DamagedCheckpoint,
            stacklevel=2,
        )
    return Loaded(config, data, built, found.state)


def _shapes(built: Built) -> TrainState:
    """The state of a run by its shapes alone: to draw weights that the checkpoint replaces takes longer than to read it."""
    everywhere = NamedSharding(built.mesh, PartitionSpec())
    # The key stays one, because its kind is no part of a shape.
    key = jax.random.key(0)
    state = jax.eval_shape(initial_state(built.method, built.tx, built.image_shape, built.mesh), key)
    struct = functools.partial(jax.ShapeDtypeStruct, sharding=everywhere)
    return jax.tree.map(lambda x: struct(x.shape, x.dtype), state)._replace(key=key)


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON; repair the file, or train the run again.") from error
