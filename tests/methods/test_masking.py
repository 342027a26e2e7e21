"""Block masks against the released loops, with the same draws; the shares of masked crops; the buffers of masked patches."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.methods.ibot import IBOT, masks_of
from sslax.methods.masking import block_masks, group_masks
from sslax.training import data_mesh

SIDE = 6
MESH = data_mesh(jax.devices()[:1])
masks_by = jax.jit(functools.partial(block_masks, mesh=MESH), static_argnames=("side", "smallest"))


def released(key, wanted, side, smallest):
    """The loop of iBOT's loader.py, whose random numbers are those of `block_masks`."""
    mask, count, drawn = np.zeros((side, side), bool), 0, 0
    while count < wanted:
        left_over, delta = wanted - count, 0
        for _ in range(10):
            area, aspect, y, x = (float(u) for u in jax.random.uniform(jax.random.fold_in(key, drawn), (4,)))
            drawn += 1
            area = smallest + area * (left_over - smallest)
            aspect = math.exp(math.log(0.3) + aspect * (math.log(1 / 0.3) - math.log(0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w < side and h < side:
                top, left = math.floor(y * (side - h + 1)), math.floor(x * (side - w + 1))
                new = h * w - mask[top : top + h, left : left + w].sum()
                if 0 < new <= left_over:
                    mask[top : top + h, left : left + w] = True
                    delta = new
            if delta > 0:
                break
        if delta == 0:
            break
        count += delta
    return mask


def test_masks_are_those_of_the_released_loop():
    wanted = np.float32([0, 1, 3.4, 8, 12, 17.9, 30])
    masks = np.asarray(masks_by(jax.random.key(0), wanted, side=SIDE, smallest=4)).reshape(-1, SIDE, SIDE)
    keys = jax.random.split(jax.random.key(0), len(wanted))
    for key, number, mask in zip(keys, wanted, masks, strict=True):
        np.testing.assert_array_equal(mask, released(key, float(number), SIDE, 4))


def test_masks_have_the_wanted_size_in_blocks():
    wanted = jnp.full(200, 60.0)
    masks = np.asarray(masks_by(jax.random.key(1), wanted, side=14, smallest=16)).reshape(-1, 14, 14)
    sizes = masks.sum(axis=(1, 2))
    assert sizes.max() <= 60
    assert (sizes == 60).mean() > 0.6
    assert sizes.mean() > 58
    # Neighbours are alike: of single patches, masked independently, two in five would differ.
    assert (masks[:, 1:] != masks[:, :-1]).mean() < 0.2
    # Fewer blocks reach the corners, but no patch is always or never masked.
    assert 0 < masks.mean(axis=0).min() < masks.mean(axis=0).max() < 0.8
    again, other = (masks_by(jax.random.key(k), wanted, side=14, smallest=16) for k in (1, 2))
    np.testing.assert_array_equal(again.reshape(masks.shape), masks)
    assert (np.asarray(other).reshape(masks.shape) != masks).any(axis=(1, 2)).all()


def test_ibot_masks_half_of_the_crops():
    masks = np.asarray(jax.jit(lambda key: masks_of(IBOT(), key, 1000, side=14, mesh=MESH))(jax.random.key(0)))
    shares = masks.mean(axis=1)
    assert 0.45 < (shares > 0).mean() < 0.55
    masked = shares[shares > 0]
    assert masked.max() <= 0.5
    assert masked.mean() == pytest.approx(0.3, abs=0.02)
    # Uniform between .1 and .5.
    assert np.quantile(masked, [0.25, 0.75]) == pytest.approx([0.2, 0.4], abs=0.03)


@pytest.mark.parametrize(("images", "group"), [(16, 8), (6, 64)])
def test_dinov2_spreads_the_masks_of_each_group(images, group):
    options = {"side": 14, "group": group, "between": (0.1, 0.5), "share": 0.5, "mesh": MESH}
    drawn = jax.jit(lambda key: group_masks(key, images, **options))
    found = jax.device_get(drawn(jax.random.key(3)))
    groups = max(images // group, 1)
    masks = found.masks.reshape(groups, -1, 196)
    patches = np.random.default_rng(0).standard_normal((images, 2, 196, 3)).astype(np.float32)
    taken = np.asarray(found.take(jnp.asarray(patches)))
    for place, of_group in enumerate(masks):
        shares = np.sort(of_group.mean(axis=1))
        half = len(shares) // 2
        assert (shares[:half] == 0).all()
        # One crop for each interval of the range; a mask may miss a patch or two.
        edges = np.linspace(0.1, 0.5, half + 1)
        assert (shares[half:] <= edges[1:]).all()
        assert (shares[half:] > edges[:-1] - 0.04).all()
        # The buffer has the masked patches in order, and room for all.
        mine = patches.reshape(groups, -1, 3)[place]
        count = of_group.sum()
        np.testing.assert_array_equal(taken[place, :count], mine[of_group.reshape(-1)])
        np.testing.assert_array_equal(found.taken[place], np.arange(found.taken.shape[1]) < count)
    of_crop = np.repeat(1 / np.maximum(found.masks.sum(axis=1), 1), 196)[found.masks.reshape(-1)]
    np.testing.assert_allclose(found.weights[found.taken], of_crop / images, rtol=1e-5)
    assert found.weights.sum() == pytest.approx(1)
    assert found.share == 0.5
