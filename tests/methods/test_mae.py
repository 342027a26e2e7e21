"""MAE against the release's values and gradients, the fixed positions, and options that cannot work."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sslax.config import check
from sslax.errors import InputError
from sslax.export import from_torch, to_torch
from sslax.losses import mae as mae_loss
from sslax.methods.mae import random_masking, reconstruct
from sslax.networks import MAEDecoder, ViT, sine_positions, to_patches
from sslax.training import build
from tests import tiny
from tests.compiled import init


def close(actual, wanted, tolerance, name=""):
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.abs(wanted).max(), err_msg=name)


def decoder_name(path):
    """The release's name of a leaf of the decoder."""
    name = "decoder_" + path.replace("/", ".")
    for ours, theirs in (("kernel", "weight"), ("scale", "weight"), (".fc", ".mlp.fc"), ("decoder_mask", "mask")):
        name = name.replace(ours, theirs)
    parts = name.split(".")
    if parts[0].startswith("decoder_block"):
        parts[0] = f"decoder_blocks.{int(parts[0].removeprefix('decoder_block')) - 1}"
    return ".".join(parts)


def leaves(tree):
    return {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in jax.tree.leaves_with_path(tree)}


def as_torch(leaf):
    return leaf.T if leaf.ndim == 2 else leaf


@pytest.mark.parametrize("case", [0, 1])
def test_values_and_gradients_are_the_releases(golden, case):
    g = golden(f"mae_{case}")
    h, x = g["hyper"], jnp.asarray(g["x"])
    state = {k.removeprefix("state|"): v for k, v in g.items() if k.startswith("state|")}
    patch, side = h["patch_size"], h["img_size"] // h["patch_size"]
    sizes = {"width": h["embed_dim"], "depth": h["depth"], "heads": h["num_heads"], "drop_path": 0.0}
    encoder = ViT(image_size=h["img_size"], patch_size=patch, initial="mae", **sizes)
    sizes = {"width": h["decoder_embed_dim"], "depth": h["decoder_depth"], "heads": h["decoder_num_heads"]}
    decoder = MAEDecoder(pixels=3 * patch**2, side=side, **sizes)
    like = jax.eval_shape(lambda key: init(encoder, key, x), jax.random.key(0))
    shapes, _ = jax.eval_shape(
        lambda key: init(decoder, key, jnp.zeros((1, 1 + side**2, encoder.width))), jax.random.key(0)
    )
    params = {
        "encoder": from_torch(encoder, state, like_params=like[0], like_stats=like[1])[0],
        "decoder": jax.tree_util.tree_map_with_path(
            lambda path, _: jnp.asarray(
                as_torch(state[decoder_name(jax.tree_util.keystr(path, simple=True, separator="/"))])
            ),
            shapes,
        ),
    }
    masking = random_masking(jnp.asarray(g["noise"]), int(side**2 * (1 - h["mask_ratio"])))
    np.testing.assert_array_equal(masking.mask, g["mask"])

    @jax.jit
    def run(params):
        def loss(params):
            prediction, features = reconstruct(encoder, decoder, params, x, masking)
            value = mae_loss(prediction, to_patches(x, patch), masking.mask, normalize=h["norm_pix"]).mean()
            return value, (prediction, features)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (value, (prediction, _)), gradient = run(params)
    close(value, g["loss"], 2e-5)
    close(prediction, g["pred"], 2e-5)
    found = {name: x for name, x in to_torch(encoder, gradient["encoder"], like[1]).items() if name != "pos_embed"} | {
        decoder_name(path): as_torch(x) for path, x in leaves(gradient["decoder"]).items()
    }
    wanted = {k.removeprefix("grad|"): v for k, v in g.items() if k.startswith("grad|")}
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        close(found[name], x, 2e-5, name)
    # The positions of both networks.
    close(sine_positions(encoder.width, side, own=1), state["pos_embed"], 1e-6)
    close(sine_positions(decoder.width, side, own=1), state["decoder_pos_embed"], 1e-6)


def test_the_positions_and_nothing_else_are_fixed():
    config = tiny.config("mae")
    built = build(config, tiny.dataset(), devices=jax.devices()[:1])
    params, _ = jax.eval_shape(lambda key: built.method.init(key, built.image_shape), jax.random.key(0))
    held = built.method.optimizer(optax.sgd(1.0))
    ones = jax.tree.map(lambda p: np.ones(p.shape, np.float32), params)
    updates, _ = jax.jit(held.update)(ones, held.init(ones), ones)
    still = [name for name, update in leaves(updates).items() if not np.any(update)]
    assert still == ["encoder/pos_embed"]


@pytest.mark.parametrize(
    ("options", "network", "said"),
    [
        (
            {"mask_ratio": 0.0},
            {},
            r"method.mask_ratio is 0.0, which keeps 16 of 16 patches; at least one must be kept and",
        ),
        ({"mask_ratio": 1.0}, {}, r"method.mask_ratio is 1.0, which keeps 0 of 16 patches"),
        ({"mask_ratio": 0.95}, {}, r"method.mask_ratio is 0.95, which keeps 0 of 16 patches"),
        ({"mask_ratio": -0.5}, {}, r"method.mask_ratio is -0.5; it must lie in \[0, 1\]"),
        ({"decoder_width": 10}, {}, r"method.decoder_width is 10; it must be a multiple of 4, for its positions"),
        ({"decoder_heads": 3}, {}, r"method.decoder_width is 8; it must be a multiple of method.decoder_heads, 3"),
        ({}, {"name": "resnet18", "initial": "release"}, "network.name is resnet18, which has no patches to mask"),
        ({}, {"positions": "rope"}, "network.positions is rope; MAE encodes some patches alone"),
        ({}, {"initial": "torch"}, "network.initial is torch; for vit-micro it must be one of release, mae, moco-v3"),
        ({}, {"width": 18, "heads": 2}, "network.width is 18; sine-cosine positions need a multiple of 4"),
        ({}, {"heads": 3}, "network.width is 8; it must be a multiple of vit-micro's 3 heads"),
    ],
)
def test_what_cannot_work_is_refused(options, network, said):
    config = tiny.config("mae")
    config = dataclasses.replace(
        config,
        method=dataclasses.replace(config.method, **options),
        network=dataclasses.replace(config.network, **network),
    )
    with pytest.raises(InputError, match=said):
        check(config)
