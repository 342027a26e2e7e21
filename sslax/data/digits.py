"""scikit-learn's digits: 1797 real handwritten digits of 8 x 8 pixels, included in the library, so no download."""

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from sslax.data.dataset import TEST_FRACTION, Dataset, Request, Split, hold_out, keep_first, limit_note

_WHITE = 16.0  # The set's values count inked pixels in 4 x 4 blocks: 0 to 16.


def open_digits(location: str, request: Request) -> Dataset:
    """Open `"digits"`: gray repeated to three channels, with a stratified fifth held out as the test split.

    Args:
        location: empty; the source takes no location.
        request: `canvas=None` keeps the 8 x 8 pixels, any other canvas resizes them (bicubic); `progress` is not called.

    Returns:
        The set with labels 0 to 9 and names `digits/0000` to `digits/1796`, numbered as in scikit-learn.
    """
    # Imported here because importing scikit-learn takes a second, which other sources should not pay.
    from sklearn.datasets import load_digits

    values, digits = load_digits(return_X_y=True)
    pixels = np.rint(values * (255.0 / _WHITE)).astype(np.uint8).reshape(-1, 8, 8)
    labels = digits.astype(np.int32)
    names = [f"digits/{index:04d}" for index in range(len(labels))]
    classes = tuple(str(digit) for digit in range(10))
    train, test = (
        indices if request.limit is None else indices[keep_first(labels[indices], request.limit)]
        for indices in hold_out(names, labels, request.split_seed)
    )

    def split(indices: Int[np.ndarray, "m"]) -> Split:
        return Split(
            images=_canvases(pixels[indices], request.canvas),
            labels=labels[indices],
            aspects=np.ones(len(indices), dtype=np.float32),
            names=tuple(names[index] for index in indices),
        )

    notes = [f"{TEST_FRACTION:.0%} of each class is held out as the test split (split seed {request.split_seed})."]
    if note := limit_note(labels[train], classes):
        notes.append(note)
    return Dataset(request.spec, split(train), split(test), classes, tuple(notes))


def _canvases(pixels: UInt8[np.ndarray, "n 8 8"], canvas: int | None) -> UInt8[np.ndarray, "n s s 3"]:
    if canvas not in (None, 8):
        resized = [Image.fromarray(image).resize((canvas, canvas), Image.Resampling.BICUBIC) for image in pixels]
        pixels = np.stack([np.asarray(image) for image in resized])
    return np.repeat(pixels[..., None], 3, axis=-1)
