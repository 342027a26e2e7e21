"""Functions shared by the commands on a finished run or a weights file: opening the network and its images, output paths."""

import pathlib
import re
from collections.abc import Sequence

from sslax.checks import parse_colour
from sslax.cli import terminal
from sslax.data import Dataset, open_dataset
from sslax.data.decode import DEFAULT_CANVAS
from sslax.data.picture import Reading
from sslax.errors import InputError
from sslax.export.hub import on_hub
from sslax.files import expanded
from sslax.networks import ViT
from sslax.training import Loaded, WeightsOptions, can_measure, load, open_weights
from sslax.training.pretrained import NAME as WEIGHTS


def open_network(run: str | None, weights: str | None, options: WeightsOptions) -> Loaded:
    """The network of a finished run, or of a weights file.

    Args:
      run: folder of the run, or None.
      weights: weights file, as for `sslax.export.load_weights`, or None.
      options: what the weights file does not tell.

    Raises:
      InputError: unless exactly one of `run` and `weights` is given; if options of weights are given for a run; as `load` and
        `open_weights`.
    """
    if run is not None and weights is not None:
        raise InputError(f"RUN is {run} and weights are {weights}; give only one of the two.")
    if weights is not None:
        network = open_weights(weights, options)
        terminal.say(_told(weights, network))
        return network
    if run is None:
        raise InputError("RUN is missing; give the folder of a finished run, or a weights file with --weights.")
    if given := options.given():
        raise InputError(f"{given[0]} is given, but RUN tells it; leave it out, or give --weights in place of RUN.")
    return load(run)


def _told(weights: str, network: Loaded) -> str:
    """What was found in a weights file, as a sentence."""
    config, backbone = network.config, network.built.backbone
    found = f"{weights}: {config.network.name}"
    if isinstance(backbone, ViT):
        found += f", {backbone.depth} blocks of {backbone.width} channels and {backbone.heads} heads"
        found += f", patches of {backbone.patch_size} pixels"
    size = config.method.views.size
    return f"{found}, images of {size} x {size} pixels."


def folder_for(run: str | None, weights: str | None) -> pathlib.Path:
    """The folder of a run, or that for what is computed from a weights file: runs/weights-NAME."""
    if run is not None:
        return expanded(run)
    # Of a file of the hub the whole name, because most are called "model".
    name = str(weights).removeprefix("hf:") if on_hub(str(weights)) else pathlib.PurePath(str(weights)).stem
    return expanded("runs/weights-" + re.sub(r"[^\w.-]+", "-", name))


def canvas_of(network: Loaded) -> int | None:
    """The canvas for the images of a command: the run's. With weights, None keeps small images at their own size."""
    config = network.config
    own = config.method.NAME == WEIGHTS and network.data["canvas"] <= DEFAULT_CANVAS
    return config.canvas or (None if own else network.data["canvas"])


def spec_of(network: Loaded, spec: str | None) -> str:
    """`spec`, or the images of the run if `spec` is None.

    Raises:
      InputError: if `spec` is None and there is no run, or it was trained on arrays, which are not stored.
    """
    if spec is None and network.config.data == WEIGHTS:
        raise InputError("data is missing, and a weights file names no images; name them with --data.")
    if spec is None and network.config.data == "arrays":
        raise InputError(
            "data is missing, and RUN was trained on arrays, which are not stored; name images with --data."
        )
    return spec or network.config.data


def reading_of(network: Loaded, exif: bool, background: str | None) -> Reading:
    """How to read image files: as the run read them, with the given changes.

    Raises:
      InputError: if `background` is not a colour.
    """
    config = network.config
    colour = config.background if background is None else background
    return Reading(exif and config.exif, parse_colour("background", colour))


def open_labelled(
    network: Loaded, spec: str | None = None, *, exif: bool = True, background: str | None = None
) -> Dataset:
    """Open labelled images: those of `spec`, or the run's own if it is None, with the canvas size of the run.

    `reading_of` explains `exif` and `background`.

    Raises:
      InputError: if the images have no labels or no test split.
    """
    config = network.config
    reading = reading_of(network, exif, background)
    with terminal.reading_progress() as progress:
        data = open_dataset(
            spec_of(network, spec),
            canvas=canvas_of(network),
            limit=config.limit if spec is None else None,
            split_seed=config.split_seed,
            allow_unreadable=config.allow_unreadable,
            exif=reading.exif,
            background=reading.background,
            progress=progress,
        )
    if not can_measure(data):
        raise InputError(f"data is {data.name}, which has no labels or no test split; both are needed.")
    return data


def check_out(name: str, value: str, endings: Sequence[str]) -> pathlib.Path:
    """Check the path of an output file, so that a wrong path fails before hours of work. The file may exist already.

    Raises:
      InputError: if the name has none of `endings`, the path is a folder, or the file's folder does not exist.
    """
    path = expanded(value)
    if path.suffix not in endings:
        raise InputError(f"{name} is {value}; its name must end in {' or '.join(endings)}.")
    if path.is_dir():
        raise InputError(f"{name} is {value}, which is a folder; it must be a file to write.")
    if not path.parent.is_dir():
        raise InputError(f"{name} is {value}, but there is no folder {path.parent}; create it, or give another path.")
    return path
