"""Patch features of images: `sslax embed RUN --patches` writes them, `sslax embed RUN --pca IMAGE ...` draws them.

`--patches` adds two arrays to the .npz file, with a row per image:

- `patches` [n, rows, columns, d], float32 or float16: the features of the patches after the last norm. Patch (0, 0) is at the
  top left of the evaluation view.
- `boxes` float32 [n, 4]: top, left, height and width of the evaluation view in the upright original image, as shares of the
  image's height (top, height) and width (left, width). The view is a square in the original image's pixels. Patch (r, c) covers
  the rows from top + height · r / rows to top + height · (r + 1) / rows, and the columns from left + width · c / columns to
  left + width · (c + 1) / columns, in the same shares.
"""

import math
import pathlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32
from PIL import Image

from sslax.augment import eval_view
from sslax.augment.branch import central_box, central_share
from sslax.cli import terminal
from sslax.cli.feature_files import Beside
from sslax.cli.partial import Partial
from sslax.data.decode import decode_files
from sslax.data.picture import Reading
from sslax.errors import InputError
from sslax.files import expanded, replacing
from sslax.methods import Method
from sslax.report import patch_pictures
from sslax.report.patches import sheet, sheet_side
from sslax.training import Embedder, Loaded

Dtype = Literal["float32", "float16"]
_NAMES = ("patches", "boxes")
# Attention is computed between all pairs of patches: with 64 x 64 patches and six heads, 0.4 GB.
_MOST_ROWS = 64


def check_options(options: Any, out: pathlib.Path) -> None:
    """Check the options of `sslax embed` about patches, before anything is loaded.

    Raises:
      InputError: if two of them exclude each other.
    """
    if options.patches and out.suffix == ".parquet":
        raise InputError(f"out is {options.out}, but patch features are written only to FILE.npz.")
    excluded = ("data", "limit", "search", "patches") if options.pca else ("pca_size",)
    for name in excluded:
        if (value := getattr(options, name)) not in (None, False):
            reason = "but pca draws a picture of its own images" if options.pca else "which needs pca"
            raise InputError(
                f"{name} is {value}, {reason}; leave it out, or {'leave out' if options.pca else 'give'} pca."
            )


class Grid(NamedTuple):
    """The patch features of one image.

    Attributes:
      shape: rows, columns and dimension.
      dtype: dtype in the file.
      size: side of the evaluation view in pixels.
    """

    shape: tuple[int, int, int]
    dtype: Dtype
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of one image's patch features in memory."""
        return 4 * math.prod(self.shape)

    def split(
        self, outputs: Float32[np.ndarray, "m o"], aspects: Float32[np.ndarray, "m"], canvas: int
    ) -> tuple[Float32[np.ndarray, "m d"], dict[str, np.ndarray]]:
        """The features in the outputs of `joint` for canvases with this side, and the arrays beside them.

        Raises:
          InputError: if float16 cannot hold a value.
        """
        dim = outputs.shape[1] - math.prod(self.shape)
        with np.errstate(over="ignore"):
            patches = outputs[:, dim:].reshape(-1, *self.shape).astype(self.dtype)
        if not np.isfinite(patches).all() and np.isfinite(outputs).all():
            raise InputError(
                f"patch_dtype is {self.dtype}, but patch features reach {np.abs(outputs[:, dim:]).max():.3g}; use float32."
            )
        central = central_share(canvas, canvas, self.size)
        boxes = jax.vmap(lambda aspect: central_box(canvas, canvas, aspect, central))(jnp.asarray(aspects)) / canvas
        return outputs[:, :dim], {"patches": patches, "boxes": np.asarray(boxes, np.float32)}

    def beside(self, partial: Partial) -> dict[str, Beside]:
        """The arrays for the feature file."""
        shapes, dtypes = (self.shape, (4,)), (np.dtype(self.dtype).str, "<f4")
        return {
            name: Beside(partial.pieces(name), shape, dtype)
            for name, shape, dtype in zip(_NAMES, shapes, dtypes, strict=True)
        }


def embedder_of(
    network: Loaded, size: int, grid: Grid | None
) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The function (images, aspects) -> (features, arrays beside them) of a command that embeds `size` images at a time."""
    method = network.built.method
    embedder = Embedder(method if grid is None else joint(method), network.built.mesh, batch_size=size)

    def compute(images: np.ndarray, aspects: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if not len(images):
            return np.zeros((0, 0), np.float32), {}
        outputs = embedder(network.state, images, aspects)
        return (outputs, {}) if grid is None else grid.split(outputs, aspects, images.shape[1])

    return compute


def grid_of(network: Loaded, dtype: Dtype) -> Grid:
    """The grid of patches of a network.

    Raises:
      InputError: if it has no patches.
    """
    patches = _patches_of(network, "patches is True")
    state, size = network.state, network.config.method.views.size
    example = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
    _, rows, columns, dim = jax.eval_shape(patches, state.params, state.aux, example).shape
    return Grid((rows, columns, dim), dtype, size)


def _patches_of(network: Loaded, said: str) -> Callable[..., Array]:
    """The method's `patches`; InputError if it has none. `said` names the option that needs it."""
    if network.built.method.patches is None:
        raise InputError(
            f"{said}, but the network is a {network.config.network.name}, which has no patch features; it must be a ViT."
        )
    return network.built.method.patches


def joint(method: Method) -> Method:
    """`method` with an `embed` that returns the features and, flattened behind them, the patch features, [n, d + rows ·
    columns · d]. As one program, they share the forward pass."""
    patches = method.patches
    assert patches is not None, "grid_of has checked it"

    def embed(params, aux, images, aspects=None):
        of = params, aux, images, aspects
        return jnp.concatenate([method.embed(*of), patches(*of).reshape(len(images), -1)], axis=1)

    return method._replace(embed=embed)


def draw(out: pathlib.Path, network: Loaded, options: Any, reading: Reading) -> None:
    """Draw the principal components of the patch features of the image files `options.pca`, and write the picture `out`.

    Raises:
      InputError: if the network has no patches, the size does not suit it, an image cannot be read, or the picture cannot be
        written.
    """
    patches_of = _patches_of(network, f"pca is {' '.join(options.pca)}")
    usual = network.config.method.views.size
    size = usual if options.pca_size is None else options.pca_size
    _check_size(size, network.built.backbone.patch_size)
    # Read at a canvas that is larger by the same factor as the view, so that the view shows the same part of the image.
    canvas = network.config.canvas or network.data["canvas"]
    files = [expanded(path) for path in options.pca]
    decoded = decode_files(files, math.ceil(canvas * size / usual), reading=reading)
    for index, why in sorted(decoded.failures.items()):
        raise InputError(f"pca has {options.pca[index]}, which cannot be read as an image: {why}.")
    patches, seen = _compute(patches_of, network, decoded.images, decoded.aspects, size)
    side = sheet_side(patches.shape[1])
    pictures = patch_pictures(
        np.stack([_shown(view, side) for view in seen]), patches, foreground=options.pca_foreground
    )
    try:
        with replacing(out) as file:
            sheet(pictures).save(file, "PNG")
    except OSError as error:
        raise InputError(f"out is {out}, which cannot be written: {error.strerror}.") from error
    terminal.say(f"Picture: {out}")


def _check_size(size: int, patch: int) -> None:
    most = _MOST_ROWS * patch
    if size % patch or not patch <= size <= most:
        raise InputError(
            f"pca_size is {size}; it must be a multiple of the patch size, {patch}, from {patch} to {most} pixels."
        )


def _compute(
    patches_of: Callable[..., Array], network: Loaded, images: np.ndarray, aspects: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Patch features [n, rows, columns, d] of canvases, and the views in [0, 1] that they come from, one image at a time."""
    state, interpolation = network.state, network.config.method.views.interpolation

    @jax.jit
    def one(params: Any, aux: Any, image: Any, aspect: Any) -> tuple[Array, Array]:
        view = eval_view(image, size, aspects=aspect, interpolation=interpolation)
        return patches_of(params, aux, image, aspect, size=size), view

    found = [one(state.params, state.aux, images[i : i + 1], aspects[i : i + 1]) for i in range(len(images))]
    patches, views = (
        np.concatenate([np.asarray(part, np.float32) for part in parts]) for parts in zip(*found, strict=True)
    )
    return patches, views


def _shown(view: np.ndarray, side: int) -> np.ndarray:
    """A view in [0, 1] as uint8, resized to `side`."""
    pixels = Image.fromarray((view * 255 + 0.5).astype(np.uint8))
    return np.asarray(pixels.resize((side, side), Image.Resampling.BICUBIC))
