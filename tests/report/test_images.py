"""Images for the page: small ones unchanged, large ones reduced."""

import numpy as np
import pytest

from sslax.report import images
from tests.report.pages import decode


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 20), (1, 64)])
def test_small_images_keep_their_pixels(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    uri, shown, small = images.encode_image(image)
    np.testing.assert_array_equal(decode(uri), image)
    assert small
    assert shown % width == 0
    enlarged = images.fit(image, 200)
    factor = 200 // max(height, width)
    np.testing.assert_array_equal(enlarged[::factor, ::factor], image)
    assert enlarged.shape == (factor * height, factor * width, 3)


@pytest.mark.parametrize(("height", "width", "stored"), [(65, 65, (65, 65)), (300, 200, (96, 64)), (1000, 1, (96, 1))])
def test_large_images_are_reduced(height, width, stored):
    uri, shown, small = images.encode_image(np.full((height, width, 3), 77, np.uint8))
    assert decode(uri).shape[:2] == stored
    assert np.abs(decode(uri).astype(int) - 77).max() <= 2
    assert (shown, small) == (stored[1], False)
