"""What iBOT and DINOv2 share: a teacher without mask token, heads for patches, options that cannot work."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.config import NetworkConfig, check
from sslax.errors import InputError
from sslax.export import to_torch
from sslax.training import build
from tests import tiny
from tests.compiled import init

BOTH = ("ibot", "dinov2")


def configured(name, **options):
    return tiny.config(name, method=dataclasses.replace(tiny.OPTIONS[name], **options))


@pytest.mark.parametrize("name", BOTH)
def test_the_student_alone_has_a_mask_token_which_starts_at_zero(name):
    b = build(configured(name), tiny.dataset(), devices=jax.devices()[:1])
    params, aux = tiny.start(b.method)
    np.testing.assert_array_equal(params["encoder"]["mask_token"], np.zeros((1, 1, 8)))
    network = b.method.evaluated(params, aux)
    plain = jax.eval_shape(lambda key: init(b.backbone, key, jnp.zeros((1, 8, 8, 3))), jax.random.key(0))
    assert jax.tree.structure(network) == jax.tree.structure(plain)
    # What is exported is the plain ViT that it was to start with.
    exported = to_torch(b.backbone, *jax.device_get(network))
    np.testing.assert_array_equal(exported["cls_token"], params["encoder"]["cls_token"])


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("shared", [True, False])
def test_patches_share_the_head_or_have_their_own(name, shared):
    config = configured(name, shared_head=shared, prototypes=24, patch_prototypes=12)
    method = build(config, tiny.dataset(), devices=jax.devices()[:1]).method
    params, aux = jax.eval_shape(lambda key: method.init(key, (8, 8, 3)), jax.random.key(0))
    assert params.keys() == {"encoder", "head"} | ({"patch_head"} if not shared else set())
    assert (aux["center"].shape, aux["patch_center"].shape) == ((24,), (24,) if shared else (12,))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask_ratio": (0.0, 0.5)}, r"method.mask_ratio is 0.0, 0.5; it must be two numbers between 0 and 1"),
        ({"mask_ratio": (0.1, 1.0)}, r"method.mask_ratio is 0.1, 1.0; it must be two numbers between 0 and 1"),
        ({"mask_ratio": (0.5, 0.1)}, r"method.mask_ratio is 0.5, 0.1; .* the lower one first"),
        ({"mask_share": 0.0}, "method.mask_share is 0.0; it must be above 0 and at most 1"),
        ({"patch_prototypes": 1}, "method.patch_prototypes is 1; it must be at least 2"),
        ({"teacher_temperature": 0.0}, "method.teacher_temperature is 0.0; it must be a finite number above 0"),
    ],
)
def test_options_that_cannot_work(name, options, said):
    with pytest.raises(InputError, match=said):
        check(configured(name, **options))


@pytest.mark.parametrize("name", BOTH)
def test_a_network_without_patches_cannot_work(name):
    said = rf"network.name is resnet18; {name} masks patches, so it must be one of vit-tiny, "
    with pytest.raises(InputError, match=said):
        check(dataclasses.replace(configured(name), network=NetworkConfig(name="resnet18")))


def test_groups_and_micro_batches_that_cannot_work():
    with pytest.raises(InputError, match=r"method.group is 5; it must divide the 16 images"):
        check(configured("dinov2", group=5))
    check(configured("dinov2", group=17))
    with pytest.raises(InputError, match="accumulate is 16; KoLeo needs micro-batches of at least 2 images"):
        check(dataclasses.replace(configured("dinov2"), accumulate=16))
