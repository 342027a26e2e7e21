"""What a run's report shows of a ViT: attention and patch features over the part of the image that the network sees."""

from types import SimpleNamespace

import jax
import numpy as np

from sslax.cli.reports import attention_and_patches, evaluation_view
from sslax.training import build
from tests import tiny


def test_attention_and_patches_belong_to_the_view_that_is_shown():
    config = tiny.config("dino")
    built = build(config, tiny.dataset(), devices=jax.devices()[:1])
    params, aux = tiny.start(built.method)
    # The left quarter of the canvas is white, except in the last image. The views of the images that are twice as wide as high
    # leave this quarter out.
    images, aspects = np.zeros((3, 16, 16, 3), np.uint8), np.array([1, 2, 2], np.float32)
    images[:2, :, :4] = 255
    seen = evaluation_view(config, images, aspects)
    assert (seen.shape, seen.dtype) == ((3, 8, 8, 3), np.uint8)
    assert (seen[0, :, 0] > 200).all()
    assert (seen[0, :, 4:] == 0).all()
    assert (seen[1:] == 0).all()

    state = SimpleNamespace(params=params, aux=aux)
    maps, patches = attention_and_patches(built, state, images, aspects)
    assert (maps.shape, patches.shape) == ((3, 4, 4, 4), (3, 4, 4, 8))
    np.testing.assert_allclose(patches[1], patches[2], atol=1e-5)
    assert np.abs(patches[0, :, 0] - patches[2, :, 0]).max() > 0.1

    # Images at the size of the view are shown unchanged.
    same = tiny.dataset().train.images[:2]
    np.testing.assert_array_equal(evaluation_view(config, same, np.ones(2, np.float32)), same)
    without = built._replace(method=built.method._replace(attention=None, patches=None))
    assert attention_and_patches(without, state, same, np.ones(2, np.float32)) == (None, None)
