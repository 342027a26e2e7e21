"""DINO's own choices: temperatures by epoch, keys of crops, no centring, attention maps, options that cannot work."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.augment import DINOViews
from sslax.config import check
from sslax.errors import InputError
from sslax.methods import Batch
from sslax.methods.dino import DINO, teacher_temperatures
from sslax.methods.stack import apply_to_crops
from sslax.networks import DINOHead
from sslax.training import build
from tests import tiny


def test_temperatures_are_the_original_codes(golden):
    g = golden("dino_0")
    h = g["hyper"]
    wanted = g["teacher_temp_schedule"]
    options = DINO(
        teacher_temperature=float(wanted[-1]),
        teacher_temperature_start=float(wanted[0]),
        teacher_temperature_epochs=h["warmup_teacher_temp_epochs"],
    )
    ours = [teacher_temperatures(options, epoch) for epoch in range(len(wanted))]
    np.testing.assert_allclose(ours, wanted, rtol=1e-6)


def test_no_rise_is_the_temperature_at_once():
    options = DINO(teacher_temperature=0.04, teacher_temperature_start=0.01, teacher_temperature_epochs=0)
    assert float(teacher_temperatures(options, 0)) == pytest.approx(0.04)


def test_each_size_of_crops_draws_by_a_key_of_its_own(monkeypatch):
    """Two sizes of as many rows would otherwise drop the same paths; without a key, as the teacher, none draws."""
    keys = []

    def forward(module, params, statistics, x, *, train, key=None):
        keys.append(key)
        return x.reshape(len(x), -1)[:, :2], statistics

    monkeypatch.setattr(sys.modules[apply_to_crops.__module__], "forward", forward)
    parts = {"encoder": {}, "head": {}}
    networks = {"encoder": DINOHead(), "head": DINOHead()}
    sizes = [jnp.zeros((3, 2, side, side, 3)) for side in (8, 4)]
    for key in (jax.random.key(2), None):
        apply_to_crops(networks, parts, parts, sizes, key=key)
    large, small, head, *teacher = keys
    assert (jax.random.key_data(large) != jax.random.key_data(small)).any()
    assert [head, *teacher] == [None] * 4


def test_without_centring_the_centre_is_not_used():
    def loss(**options):
        b = build(
            tiny.config("dino", method=dataclasses.replace(tiny.OPTIONS["dino"], **options)),
            tiny.dataset(),
            devices=jax.devices()[:1],
        )
        params, aux = tiny.start(b.method)
        views = tiny.views(b.method)
        fill = [{**aux, "center": jnp.linspace(0, x, 24)} for x in (0.0, 1.0)]
        function = jax.jit(b.method.loss)
        return [float(function(params, aux, Batch(views), jax.random.key(2), 0)[0]) for aux in fill]

    with_centre, without = loss(), loss(centering=False)
    assert with_centre[0] == without[0] == without[1] != with_centre[1]


def test_attention_maps_are_the_patches_shares():
    b = build(tiny.config("dino"), tiny.dataset(), devices=jax.devices()[:1])
    params, aux = tiny.start(b.method)
    maps = jax.jit(b.method.attention)(params, aux, tiny.dataset().train.images[:3])
    assert maps.shape == (3, 4, 4, 4)
    assert (np.asarray(maps) >= 0).all()
    # What is missing to one is the token's attention to itself.
    assert (np.asarray(maps).sum((2, 3)) < 1).all()


def test_patch_features_are_at_the_place_of_their_patch():
    b = build(tiny.config("dino"), tiny.dataset(), devices=jax.devices()[:1])
    params, aux = tiny.start(b.method)
    image = tiny.dataset().train.images[0]
    changed = np.stack([image] * 3)
    changed[1, 3, 6] += 100
    changed[2, 6, 1] += 100

    patches = jax.jit(b.method.patches)(params, aux, changed)
    assert patches.shape == (3, 4, 4, 8)
    # Attention spreads a change to all patches, but most of it stays in the patch of the pixel, row by row.
    change = np.linalg.norm(np.asarray(patches[1:] - patches[:1]), axis=-1)
    assert [np.unravel_index(one.argmax(), one.shape) for one in change] == [(1, 3), (3, 0)]


OPTIONS = tiny.OPTIONS["dino"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teacher_temperature": 0.0}, "method.teacher_temperature is 0.0; it must be a finite number above 0"),
        ({"student_temperature": float("nan")}, "method.student_temperature is nan"),
        ({"decay": -0.1}, r"method.decay is -0.1; it must lie in \[0, 1\]"),
        ({"center_momentum": 1.1}, "method.center_momentum is 1.1"),
        ({"prototypes": 1}, "method.prototypes is 1; it must be at least 2"),
        ({"views": DINOViews.small(8, local_crops=-1)}, "method.views.local_crops is -1"),
        ({"views": DINOViews(size=8, local_size=5)}, "network.patch_size is 2; it must divide method.views.local_size"),
        ({"views": DINOViews(size=9, local_size=4)}, "network.patch_size is 2; it must divide method.views.size"),
        ({"views": DINOViews(size=8, local_size=4, local_area=(0.4, 0.2))}, "method.views.local_area"),
        ({"views": DINOViews(size=8, local_size=4, blur=(1.0, 2.0, 0.0))}, "method.views.blur is .*3 probabilities"),
    ],
)
def test_options_that_cannot_work(options, said):
    with pytest.raises(InputError, match=said):
        check(tiny.config("dino", method=dataclasses.replace(OPTIONS, **options)))


def test_crops_larger_than_the_canvas():
    config = tiny.config("dino", method=dataclasses.replace(OPTIONS, views=DINOViews(size=16, local_size=32)))
    with pytest.raises(InputError, match=r"method.views.size is 16, but the images are 8 pixels"):
        build(config, tiny.dataset())


def test_width_that_the_heads_do_not_divide():
    with pytest.raises(InputError, match=r"network.width is 10; it must be a multiple of vit-micro's 4 heads"):
        check(tiny.config("dino", network=dataclasses.replace(tiny.NETWORKS["dino"], width=10)))
