"""Pretraining from Python: the same run as the command, optionally on your own arrays and with your own method."""

import dataclasses
import os
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from sslax import compilation, processes
from sslax.config import Config, check, to_dict
from sslax.data import Dataset, LazyDataset, Split
from sslax.errors import InputError
from sslax.files import expanded
from sslax.methods import METHODS, Method, Setup
from sslax.runs.run_dir import RunDir, facts
from sslax.runs.tensorboard import scalars
from sslax.training.build import build
from sslax.training.images import open_images
from sslax.training.load import Loaded
from sslax.training.loop import fit


def pretrain(
    config: Config,
    *,
    images: UInt8[np.ndarray, "n s s 3"] | None = None,
    labels: Int[np.ndarray, "n"] | None = None,
    test_images: UInt8[np.ndarray, "m s s 3"] | None = None,
    test_labels: Int[np.ndarray, "m"] | None = None,
    aspects: Float[np.ndarray, "n"] | None = None,
    method: Callable[[Any, Setup], Method] | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    follow: Callable[[dict[str, Any]], None] = lambda line: None,
) -> Loaded:
    """Train as `sslax pretrain` does, and return the network.

    Args:
      config: as in `sslax/recipes`. With `workers`, call this under `if __name__ == "__main__"`, because the worker
        processes import your script.
      images: uint8 training images, squares of one size; None opens `config.data`.
      labels: labels of the images, from 0, for kNN and the online probe; the method does not use them.
      test_images: test images for kNN, together with `test_labels`.
      test_labels: labels of the test images.
      aspects: original widths / heights of images that were squashed to squares.
      method: your own builder for `config.method`, which replaces the one in `METHODS` for this run.
      run_dir: the folder for metrics and checkpoints; a run in it is resumed. None uses a temporary folder, which is deleted.
      follow: called with each line of metrics.

    Returns:
      The trained network, as `load` returns it: call it on images to get features.

    Raises:
      InputError: if the configuration and the images do not work together.
      Interrupted, Collapsed, NonFinite: as `sslax.training.fit`.
    """
    if config.dry_run:
        raise InputError(
            "dry_run is True, but only the command supports it; it must be False here, and sslax.training.estimate "
            "estimates a run."
        )
    if config.deterministic:
        compilation.make_deterministic()
    processes.connect(config.distributed)
    # Without the option, the caller's own jax settings decide about the compilation cache.
    if config.compilation_cache is not None and (said := compilation.keep_programs(config.compilation_cache)):
        warnings.warn(said, stacklevel=2)
    if images is None:
        data: Dataset | LazyDataset = open_images(config)
    else:
        if config.cache is not None:
            raise InputError(
                f"cache is {config.cache}, but images are given, which need no cache; leave one of them out."
            )
        data = _dataset(images, labels, test_images, test_labels, aspects)
        config = dataclasses.replace(config, data="arrays")
    name = config.method.NAME
    before = METHODS.get(name)
    if method is not None:
        METHODS[name] = method
    try:
        check(config)
        built = build(config, data)
    finally:
        if method is not None:
            if before is None:
                del METHODS[name]
            else:
                METHODS[name] = before
    with tempfile.TemporaryDirectory() as temporary:
        place = run_dir or processes.from_first(lambda: f"{temporary}/run")
        run = RunDir(expanded(place), to_dict(config), extendable=True)
        with scalars(config, run, follow) as following:
            state = fit(config, built, data, run, follow=following)
        if run_dir is not None and run.result() is None:
            run.write_result({})
    return Loaded(config, facts(data), built, state)


def _dataset(images, labels, test_images, test_labels, aspects) -> Dataset:
    for name, array in (("images", images), ("test_images", test_images)):
        if array is not None and (
            array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != (*array.shape[1:2] * 2, 3)
        ):
            raise InputError(
                f"{name} are {array.dtype} of shape {array.shape}; they must be uint8 squares [n, s, s, 3]."
            )
    if (test_images is None) != (test_labels is None):
        raise InputError("test_images and test_labels must be given together.")
    if labels is not None and len(labels) != len(images):
        raise InputError(f"labels has {len(labels)} rows and images {len(images)}; they must have the same number.")

    def split(images, labels, aspects=None):
        names = tuple(f"{i:08d}" for i in range(len(images)))
        shown = np.ones(len(images), np.float32) if aspects is None else np.asarray(aspects, np.float32)
        return Split(images, None if labels is None else np.asarray(labels, np.int32), shown, names)

    classes = () if labels is None else tuple(str(c) for c in range(int(np.max(labels)) + 1))
    test = None if test_images is None else split(test_images, test_labels)
    return Dataset("arrays", split(images, labels, aspects), test, classes, ())
