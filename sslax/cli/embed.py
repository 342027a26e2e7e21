"""Compute the features of images with the network of a finished run: `sslax embed RUN --data SPEC --out FILE.npz`.

With `--weights FILE` in place of RUN it uses the network of a weights file.

The command decodes and embeds a few hundred images at a time, so memory does not grow with their number. Until the file is
complete, finished work is kept in FILE.npz.partial/. If the command stops, run it again to resume: the file has the same
bytes. `--search IMAGE` shows the ten nearest neighbours of an image; if the file already exists, without embedding again.
`--patches` also writes the patch features of a ViT, and `--pca IMAGE ...` draws them (see `sslax.cli.patches`).
"""

import dataclasses
import hashlib
import importlib.metadata
import pathlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from sslax.checks import parse_colour
from sslax.cli import feature_files, terminal
from sslax.cli.neighbours import read_query, show_neighbours
from sslax.cli.partial import Partial
from sslax.cli.patches import Dtype, Grid, check_options, draw, embedder_of, grid_of
from sslax.cli.runs import canvas_of, check_out, open_network, reading_of, spec_of
from sslax.data import Chunks, open_chunks
from sslax.data.lazy import unreadable_note
from sslax.data.picture import USUAL, treated_note
from sslax.errors import InputError
from sslax.files import expanded, printable
from sslax.report.patches import Foreground
from sslax.training import Interrupted, Loaded, WeightsOptions, asked_to_stop

# Images per chunk: at most the first number, and at most as many as fit the second, in bytes.
_MOST_IMAGES, _MOST_BYTES = 500, 2**27


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Compute the features of images with the network of a finished run."""

    run: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[RUN]")] = None
    """Folder of the finished run; or give --weights."""
    out: str
    """File to write: FILE.npz or FILE.parquet; with --pca, FILE.png."""
    data: str | None = None
    """Images, in the format of sslax pretrain --data; None uses the images of the run."""
    limit: int | None = None
    """Use only the first N images of each split, with the same number from each class."""
    allow_unreadable: bool = False
    """Continue even if more than 1 % of the image files cannot be read."""
    exif: bool = True
    """Rotate photographs upright by their EXIF orientation, if the run did too; --no-exif keeps the stored pixels."""
    background: str | None = None
    """Background colour behind transparent pixels, R,G,B from 0 to 255; None uses the run's colour."""
    search: str | None = None
    """Image file; show its nearest neighbours as a table and in FILE.search.png."""
    patches: bool = False
    """Also write the patch features of a ViT, and the part of each image that they come from."""
    patch_dtype: Dtype = "float32"
    """Type of the patch features in the file; float16 takes half the space."""
    pca: tuple[str, ...] = ()
    """Image files; draw three principal components of their patch features as colours, instead of embedding."""
    pca_size: int | None = None
    """Side in pixels of the view for --pca, a multiple of the patch size; None uses the run's. Larger is finer."""
    pca_foreground: Foreground = "off"
    """off colours all patches; inner and outer colour one part by the first component: with few or with most edge patches."""
    compilation_cache: str | None = None
    """Folder for compiled programs, or off; None uses SSLAX_COMPILATION_CACHE if set, otherwise $XDG_CACHE_HOME/sslax."""
    weights: str | None = None
    """Weights file in place of RUN: safetensors, a PyTorch pickle (.pth, .pt, .bin), or hf:OWNER/NAME[@REVISION][/FILE]."""
    told: Annotated[WeightsOptions, tyro.conf.arg(name="")] = dataclasses.field(default_factory=WeightsOptions)


def open_images(network: Loaded, options: Options) -> Chunks:
    """Open the images to embed, with the canvas size of the run."""
    config = network.config
    own = options.data is None
    reading = reading_of(network, options.exif, options.background)
    with terminal.reading_progress() as progress:
        return open_chunks(
            spec_of(network, options.data),
            canvas=canvas_of(network),
            limit=config.limit if own and options.limit is None else options.limit,
            split_seed=config.split_seed,
            allow_unreadable=options.allow_unreadable or (own and config.allow_unreadable),
            exif=reading.exif,
            background=reading.background,
            progress=progress,
        )


def identity(network: Loaded, data: Chunks, canvas: int) -> dict[str, Any]:
    """What the features depend on: the weights, the images, and the versions and device, which can affect the last bits."""
    weights = hashlib.sha256()
    for leaf in jax.tree.leaves((network.state.params, network.state.aux)):
        weights.update(np.ascontiguousarray(leaf).data)
    return {
        "method": network.config.method.NAME,
        "step": int(network.state.step),
        "weights": weights.hexdigest(),
        "data": printable(data.name),
        "images": len(data),
        "listing": data.digest,
        "canvas": canvas,
        "reading": data.reading.told(),
        "sslax": importlib.metadata.version("sslax"),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def embed(
    network: Loaded,
    data: Chunks,
    partial: Partial,
    stop: Callable[[], bool],
    *,
    allow_unreadable: bool,
    grid: Grid | None = None,
) -> None:
    """Compute the features that are missing in `partial`, and with `grid` the patch features.

    Raises:
      InputError: if too many files cannot be decoded, or the features cannot be written.
      Interrupted: if `stop` returns True; the chunks that were started are saved first.
    """
    size = partial.size
    embedder = embedder_of(network, min(size, len(data)), grid)
    missing = [chunk for chunk in range(-(-len(data) // size)) if not partial.has(chunk)]
    done = len(data) - sum(min(size, len(data) - chunk * size) for chunk in missing)
    if done:
        terminal.say(f"Going on after {done:,} of {len(data):,} images.")

    def work(chunk: int, decoded) -> None:
        features, beside = embedder(decoded.images, decoded.aspects)
        partial.save(chunk, features, decoded.failures, decoded.treated, beside)

    # The network embeds one chunk while the next one is decoded.
    with terminal.images_progress(len(data), done) as progress, ThreadPoolExecutor(1) as worker:
        pending: Future[None] | None = None
        for chunk in missing:
            start = chunk * size
            decoded = data.read(start, min(start + size, len(data)), None)
            if pending is not None:
                pending.result()
            if decoded.failures:
                failures = [*partial.failures(), *((start + i, why) for i, why in decoded.failures.items())]
                _note_unreadable(data, failures, allow_unreadable)
            pending = worker.submit(work, chunk, decoded)
            done += min(size, len(data) - start)
            progress(done)
            if stop():
                pending.result()
                if done < len(data):
                    raise Interrupted(f"Stopped after {done:,} of {len(data):,} images; their features are saved.")
        if pending is not None:
            pending.result()


def _note_unreadable(data: Chunks, failures: list[tuple[int, str]], allow: bool) -> str | None:
    return unreadable_note(data.name, [(data.names[i], why) for i, why in failures], len(data), allow=allow)


def write_out(
    out: pathlib.Path,
    network: Loaded,
    data: Chunks,
    partial: Partial,
    metadata: dict[str, Any],
    grid: Grid | None = None,
) -> None:
    """Write the features of all readable images to OUT, and with `grid` the patch features."""
    unread = {index for index, _ in partial.failures()}
    kept = [index for index in range(len(data)) if index not in unread]
    canvas = metadata["canvas"]
    example = jax.ShapeDtypeStruct((1, canvas, canvas, 3), np.uint8)
    dim = jax.eval_shape(network.built.method.embed, network.state.params, network.state.aux, example).shape[1]
    labels = data.labels()
    rows = feature_files.Rows(
        names=[printable(data.names[index]) for index in kept],
        splits=[data.splits[index] for index in kept],
        labels=None if labels is None else labels[kept],
        classes=tuple(printable(name) for name in data.classes),
        metadata=metadata,
    )
    try:
        feature_files.write(out, partial.pieces(), dim, rows, None if grid is None else grid.beside(partial))
    except OSError as error:
        raise InputError(f"out is {out}, which cannot be written: {error.strerror}.") from error


def run(options: Options) -> None:
    """Compute the missing features, write the file, and search; or draw the principal components of patch features."""
    out = check_out("out", options.out, (".png",) if options.pca else feature_files.ENDINGS)
    feature_files.check_ending(out)
    check_options(options, out)
    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit is {options.limit}; it must be at least 1.")
    if options.background is not None:
        parse_colour("background", options.background)
    if options.search is not None:
        read_query(expanded(options.search), 1, USUAL)
    network = open_network(options.run, options.weights, options.told)
    if options.pca:
        return draw(out, network, options, reading_of(network, options.exif, options.background))
    grid = grid_of(network, options.patch_dtype) if options.patches else None
    data = open_images(network, options)
    for note in data.notes:
        terminal.say(note)
    canvas = canvas_of(network) or data.read(0, 1, None).images.shape[1]
    metadata = identity(network, data, canvas)
    if grid is not None:
        metadata["patches"] = grid.dtype
    most = max(3 * canvas * canvas, 0 if grid is None else grid.nbytes)
    size = max(1, min(_MOST_IMAGES, _MOST_BYTES // most, network.at_once or _MOST_IMAGES))

    there = (feature_files.read_metadata(out) if out.exists() else None) or {}
    essential = ["weights", "listing", "images", "canvas", "reading", *(["patches"] if options.patches else [])]
    if all(there.get(name) == metadata[name] for name in essential):
        terminal.say(f"{out} already holds the features of these {len(data):,} images.")
    else:
        if out.exists():
            terminal.say(f"{out} exists with other content; it will be replaced when all features are computed.")
        allow = options.allow_unreadable or (options.data is None and network.config.allow_unreadable)
        begun = time.monotonic()
        partial = Partial(out, {**metadata, "chunk": size}, size)
        with asked_to_stop() as stop:
            embed(network, data, partial, stop, allow_unreadable=allow, grid=grid)
            failures = partial.failures()
            left_out = _note_unreadable(data, failures, allow)
            write_out(out, network, data, partial, metadata, grid)
        for said in (left_out, treated_note(partial.treated(), data.reading.background)):
            if said is not None:
                terminal.say(said)
        partial.remove()
        terminal.say(f"{out}: features of {len(data) - len(failures):,} images, {time.monotonic() - begun:.1f} s.")
    if options.search is not None:
        show_neighbours(options.search, out, network, data, canvas)


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="sslax embed")
    terminal.run_script(lambda: run(options), compilation_cache=options.compilation_cache)


if __name__ == "__main__":
    main()
