"""The ViT and DINO's head against the outputs and gradients of the original code and of timm (tests/golden)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.export import from_torch, to_torch
from sslax.networks import DINOHead, resize_positions
from tests.compiled import forward, init
from tests.networks.released import state_of, vit_of


def dense(state, name):
    return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}


def norm(state, name):
    return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}


def close(actual, wanted, tolerance):
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.fixture(scope="module", params=[0, 1])
def released(request, golden):
    g = golden(f"vit_{request.param}")
    model = vit_of(g["hyper"], mlp_ratio=g["hyper"]["mlp_ratio"])
    like_params, like_stats = jax.eval_shape(lambda x: init(model, jax.random.key(0), x), jnp.asarray(g["x_32"]))
    params, _ = from_torch(model, state_of(g), like_params=like_params, like_stats=like_stats)
    return g, model, params


def test_vit_golden_at_both_resolutions(released):
    g, model, params = released
    for size in [name.removeprefix("x_") for name in g if name.startswith("x_")]:
        x = g[f"x_{size}"]
        outputs = jax.device_get(forward(model, params, {}, x, train=False, outputs=True)[0])
        close(outputs.features, g[f"cls_{size}"], 2e-5)
        close(outputs.tokens[:1], g[f"tokens_{size}"], 2e-5)
        close(outputs.attention[:1], g[f"attention_{size}"], 2e-5)
        features, _ = forward(model, params, {}, x, train=False)
        np.testing.assert_allclose(features, outputs.features, atol=1e-6)
        np.testing.assert_allclose(outputs.class_tokens[-1], outputs.features, atol=1e-6)
        assert outputs.class_tokens.shape == (model.depth, *features.shape)
        np.testing.assert_allclose(outputs.attention.sum(-1), 1, atol=1e-6)


def test_positions_golden(released):
    g, model, params = released
    side = model.image_size // model.patch_size
    (name,) = [k for k in g if k.startswith("pos_embed_") and not k.endswith("_by_size")]
    cells = int(name.removeprefix("pos_embed_")) // model.patch_size
    positions = jnp.asarray(params["pos_embed"])
    resize = jax.jit(resize_positions, static_argnums=(1, 2), static_argnames="how")
    close(np.asarray(resize(positions, side, (cells, cells)))[0], g[name], 2e-6)
    close(np.asarray(resize(positions, side, (cells, cells), how="size"))[0], g[f"{name}_by_size"], 2e-6)
    assert resize_positions(positions, side, (side, side)) is positions


def test_vit_gradients_golden(released):
    g, model, params = released
    x, v = jnp.asarray(g["x_32"]), jnp.asarray(g["v"])
    gradients = jax.jit(jax.grad(lambda p: (forward(model, p, {}, x, train=False)[0] * v).sum()))(params)
    last = f"block{model.depth}"
    for actual, name in (
        (gradients["pos_embed"], "pos_embed"),
        (gradients["patch_embed"]["bias"], "patch_embed.proj.bias"),
        (gradients["block1"]["norm1"]["scale"], "blocks.0.norm1.weight"),
        (gradients[last]["fc2"]["bias"], f"blocks.{model.depth - 1}.mlp.fc2.bias"),
    ):
        close(actual, g[f"grad|{name}"], 2e-5)


LATER = {
    "vit_dinov2_0": {"mlp_ratio": 4.0},
    "vit_dinov2_1": {"mlp_ratio": 4.0, "registers": 4},
    "vit_dinov2_2": {"mlp_ratio": 128 / 48, "registers": 4, "mlp": "swiglu"},
    "vit_dinov3_0": {"mlp_ratio": 4.0, "registers": 4, "qkv_bias": False, "positions": "rope"},
    "vit_dinov3_1": {"mlp_ratio": 3.0, "registers": 4, "mlp": "swiglu", "positions": "rope"},
}


@pytest.fixture(scope="module", params=LATER)
def later(request, golden):
    """DINOv2's and DINOv3's backbones, small, with timm's weights and tokens."""
    g = golden(request.param)
    h = g["hyper"]
    options = {"positions": "antialiased"} | LATER[request.param]
    model = vit_of(h, layer_scale=1e-5, norm_epsilon=h["layer_norm_eps"], **options)
    example = jnp.zeros((1, h["img_size"], h["img_size"], 3))
    like = jax.eval_shape(lambda key: init(model, key, example), jax.random.key(0))
    params, _ = from_torch(model, state_of(g), like_params=like[0], like_stats=like[1])
    return g, model, params


def test_dinov2_and_dinov3_golden_at_two_sizes(later):
    g, model, params = later
    run = jax.jit(lambda x: forward(model, params, {}, x, train=False, outputs=True)[0])
    for size in [name.removeprefix("x_") for name in g if name.startswith("x_")]:
        outputs = jax.device_get(run(g[f"x_{size}"]))
        close(outputs.tokens, g[f"tokens_{size}"], 2e-5)
        np.testing.assert_array_equal(outputs.features, outputs.tokens[:, 0])
        patches = (int(size) // model.patch_size) ** 2
        assert outputs.tokens.shape[1] == model.prefix + patches
    exported = to_torch(model, params, {})
    assert exported.keys() == state_of(g).keys()
    for name, array in state_of(g).items():
        np.testing.assert_array_equal(exported[name], array)


def test_dinov2_gradients_golden(later):
    g, model, params = later
    if "v" not in g:
        pytest.skip("there are no gradients of DINOv3")
    x, v = jnp.asarray(g[f"x_{model.image_size}"]), jnp.asarray(g["v"])
    gradients = jax.jit(jax.grad(lambda p: (forward(model, p, {}, x, train=False)[0] @ v).sum()))(params)
    found, wanted = to_torch(model, gradients, {}), state_of(g, "grad")
    assert found.keys() == wanted.keys()
    # A tensor's gradient against the largest of its kind: those behind a layer scale of 1e-5 are as small.
    for name, gradient in wanted.items():
        close(found[name], gradient, 2e-5)


@pytest.mark.parametrize("case", range(3))
def test_dino_head_golden(golden, case):
    g = golden(f"dino_head_{case}")
    h, state = g["hyper"], state_of(g)
    head = DINOHead(
        features=h["out_dim"],
        layers=h["nlayers"],
        hidden=h["hidden_dim"],
        bottleneck=h["bottleneck_dim"],
        batch_norm=h["use_bn"],
        norm_last_layer=h["norm_last_layer"],
    )
    params, statistics, after = {"last_layer": {"v": state["last_layer.weight_v"].T}}, {}, {}
    if not h["norm_last_layer"]:
        params["last_layer"]["g"] = state["last_layer.weight_g"].T
    # Torch numbers every module of the Sequential: Dense, norm if there is one, GELU.
    stride = 3 if h["use_bn"] else 2
    for i in range(h["nlayers"]):
        params[f"mlp{i + 1}"] = dense(state, f"mlp.{stride * i}")
        if h["use_bn"] and i < h["nlayers"] - 1:
            name = f"mlp.{stride * i + 1}"
            params[f"norm{i + 1}"] = norm(state, name)
            statistics[f"norm{i + 1}"] = {"mean": state[f"{name}.running_mean"], "var": state[f"{name}.running_var"]}
            after[f"norm{i + 1}"] = g[f"state_after|{name}.running_mean"]
    x, v = jnp.asarray(g["x"]), jnp.asarray(g["v"])

    @functools.partial(jax.jit, static_argnames="train")
    def run(params, statistics, x, train):
        y, new = forward(head, params, statistics, x, train=train)
        return (y * v).sum(), (y, new)

    (_, (y, new)), (gradients, grad_x) = jax.value_and_grad(run, (0, 2), has_aux=True)(params, statistics, x, True)
    close(y, g["y"], 1e-5)
    close(grad_x, g["grad_x"], 1e-5)
    close(gradients["last_layer"]["v"].T, g["grad|last_layer.weight_v"], 1e-5)
    if h["use_bn"]:
        np.testing.assert_allclose(gradients["mlp1"]["bias"], 0, atol=1e-5)  # A norm follows: only rounding is left.
        for name, wanted in after.items():
            close(new[name]["mean"], wanted, 1e-5)
    else:
        close(gradients["mlp1"]["bias"], g["grad|mlp.0.bias"], 1e-5)
        close(run(params, new, x, False)[1][0], g["y_eval"], 1e-5)
    if not h["norm_last_layer"]:
        close(gradients["last_layer"]["g"].T, g["grad|last_layer.weight_g"], 1e-5)
