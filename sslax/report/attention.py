"""Attention maps drawn over their images.

Sizes are in pixels.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_SMALLEST = 64  # smaller images are enlarged to this size, so that the map is visible
# Brightness of the image where the attention is 0 and where it is 1. Where it is 1, a lamp colour is added too, because on
# black pixels a change of brightness would not be visible.
_UNLIT, _LIT = 0.3, 0.55
_LAMP = (1 - _LIT) * np.array([255.0, 190.0, 60.0])


def attention_overlay(
    images: UInt8[np.ndarray, "n h w 3"], attention: Float[np.ndarray, "n heads gh gw"]
) -> UInt8[np.ndarray, "n heads+1 h2 w2 3"]:
    """Draw each image next to one copy per head: the copy is darkened, and bright where the head attends.

    Args:
      images: the images that the network saw.
      attention: attention of the [CLS] token to the grid of patches, one map per head. Each map is enlarged bilinearly and
        divided by its own maximum, so brightness compares places within a map, not heads. A constant map is bright everywhere.

    Returns:
      The image, then one column per head, [n, heads + 1, h, w, 3]. If the longer side is below 64 pixels, images are enlarged
      without smoothing, by the smallest integer factor that makes it at least 64.

    Raises:
      ValueError: if the numbers of images differ, or the attention is negative or not finite.
    """
    if len(images) != len(attention):
        raise ValueError(
            f"attention has maps of {len(attention)} images, but images has {len(images)}; the numbers must be the same."
        )
    if not (np.isfinite(attention) & (attention >= 0)).all():
        raise ValueError("attention has values that are negative or not finite; all must be finite and at least 0.")
    n, heads = attention.shape[:2]
    factor = max(1, -(-_SMALLEST // max(images.shape[1:3])))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    columns = [images]
    for head in range(heads):
        light = np.stack([_light(attention[i, head], images.shape[1:3]) for i in range(n)])[..., None] if n else 0
        lit = images * (_UNLIT + (_LIT - _UNLIT) * light) + _LAMP * light
        columns.append((lit + 0.5).astype(np.uint8))
    return np.stack(columns, axis=1)


def _light(weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge one map to the size of its image and scale its maximum to 1; an all-zero map stays 0."""
    # Scaled before resizing too, because attention over many patches may be too small for float32.
    share = np.asarray(weights, np.float64) / (float(weights.max()) or 1.0)
    enlarged = Image.fromarray(share.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    light = np.asarray(enlarged, np.float64)
    return light / (light.max() or 1.0)
