"""Attention maps laid over the images that they belong to.

Sizes are pixels.
"""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_SMALLEST = 64  # smaller images are enlarged to this, so that a map can be seen on them
# What is not looked at keeps a little of its light; what is looked at keeps more and gets the light of a lamp, which
# shows on black too, where no darkening could.
_UNLIT, _LIT = 0.3, 0.55
_LAMP = (1 - _LIT) * np.array([255.0, 190.0, 60.0])


def attention_overlay(
    images: UInt8[np.ndarray, "n h w 3"], attention: Float[np.ndarray, "n heads gh gw"]
) -> UInt8[np.ndarray, "n heads+1 h2 w2 3"]:
    """Each image beside itself as each head sees it: darkened, and lit where the head looks.

    Args:
      images: what the network saw.
      attention: of the [CLS] token to the patches as they lie in the image, one map a head. Each map is enlarged
        bilinearly and scaled by its own maximum: columns compare places, not heads; a constant map lights everything.

    Returns:
      The image and then a column a head, [n, heads + 1, h, w, 3]. Images whose longer side is below 64 pixels are
      enlarged by the whole factor that brings it to 64 or just above, with their pixels kept crisp.

    Raises:
      ValueError: where the numbers of images differ, or the attention is negative or not finite.
    """
    if len(images) != len(attention):
        raise ValueError(f"attention has maps of {len(attention)} images, but there are {len(images)} images.")
    if not (np.isfinite(attention) & (attention >= 0)).all():
        raise ValueError("attention has values that are negative or not finite.")
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
    """One map at the size of its image, its brightest pixel 1; 0 everywhere where nothing is looked at."""
    # Scaled before as well, because attention spread over many patches may be too small for float32.
    share = np.asarray(weights, np.float64) / (float(weights.max()) or 1.0)
    enlarged = Image.fromarray(share.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    light = np.asarray(enlarged, np.float64)
    return light / (light.max() or 1.0)
