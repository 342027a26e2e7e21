"""MAE against the release's values and gradients, the fixed positions, and options that cannot work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.export import from_torch, to_torch
from sslax.losses import mae as mae_loss
from sslax.methods.mae import random_masking, reconstruct
from sslax.networks import MAEDecoder, ViT, init, sine_positions, to_patches


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
