"""Open the images of a configuration, and choose their feed."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from sslax import processes
from sslax.checks import parse_colour
from sslax.config import Config
from sslax.data import Dataset, LazyDataset, load, open_lazily
from sslax.data.cache import open_cached
from sslax.data.memory import Feed, choose_feed
from sslax.errors import InputError
from sslax.training.step import data_mesh


def open_images(
    config: Config,
    *,
    progress: Callable[[int, int], None] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Dataset | LazyDataset:
    """The images of `config`: decoded for the resident feed, listed for the streamed feed, or mapped from its cache.

    Raises:
      InputError: if they cannot be opened, or not with these options.
    """
    chosen = {"limit": config.limit, "split_seed": config.split_seed, "allow_unreadable": config.allow_unreadable}
    data = open_lazily(
        config.data,
        canvas=config.canvas,
        limit=config.limit,
        split_seed=config.split_seed,
        allow_unreadable=config.allow_unreadable,
        exif=config.exif,
        background=parse_colour("background", config.background),
        progress=progress,
    )
    if isinstance(data, Dataset):
        if config.cache is not None:
            raise InputError(f"cache is {config.cache}, but {config.data} needs no decoding; leave it out.")
        return data
    if config.cache is not None:
        with processes.first_before_others("cache made"):
            return open_cached(data, config.cache, chosen, progress)
    if choose_feed(config.feed, data.name, data.nbytes(), data_mesh(devices)) == "resident":
        return load(data, progress)
    if config.canvas is None:
        raise InputError(
            f"canvas is None, but the images of {data.name} are streamed and need a common size; set --canvas, for example "
            f"--canvas {data.side()}, which fits the first image."
        )
    return data


def feed_of(config: Config, data: Dataset | LazyDataset, mesh: Mesh) -> Feed:
    """The feed of opened images.

    Raises:
      InputError: if a resident feed is requested and the images do not fit.
    """
    if isinstance(data, LazyDataset):
        return "streamed"
    images = data.train.images
    return choose_feed(
        config.feed, data.name, images.nbytes, mesh, held="disk" if isinstance(images, np.memmap) else "memory"
    )
