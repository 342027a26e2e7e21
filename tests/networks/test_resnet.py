"""ResNets against torchvision's own forward pass (tests/golden), and what the backbones promise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.export import from_torch
from sslax.networks import BACKBONES, ResNet, build_backbone, forward, init
from sslax.networks.resnet import BasicBlock, Bottleneck


def test_zero_init_makes_blocks_the_identity():
    model = ResNet(stages=(1,), width=4, stem="small")
    x = jnp.ones((2, 8, 8, 3))
    params, _ = init(model, jax.random.key(0), x)
    np.testing.assert_array_equal(params["stage1_block1"]["BatchNorm_1"]["scale"], 0)
    np.testing.assert_array_equal(params["stage1_block1"]["BatchNorm_0"]["scale"], 1)


@pytest.mark.parametrize(
    ("image_size", "stem", "side"), [(32, "auto", 32), (33, "auto", 9), (32, "imagenet", 8), (64, "small", 64)]
)
def test_stem_follows_the_image_size(image_size, stem, side):
    backbone = build_backbone("resnet18", image_size=image_size, stem=stem, width=4)
    x = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda key, x: backbone.init_with_output(key, x, capture_intermediates=True)[1]["intermediates"],
        jax.random.key(0),
        x,
    )
    assert shapes["stage1_block1"]["__call__"][0].shape[1] == side


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_have_torchvisions_size(name):
    backbone = build_backbone(name, image_size=224)
    params, _ = jax.eval_shape(lambda key: init(backbone, key, jnp.zeros((1, 224, 224, 3))), jax.random.key(0))
    count = sum(np.prod(p.shape) for p in jax.tree.leaves(params))
    # torchvision's counts without the classifier.
    expected = {"resnet18": 11_176_512, "resnet34": 21_284_672, "resnet50": 23_508_032}
    if name in expected:
        assert count == expected[name]


def test_features_are_float32_and_statistics_move_with_momentum():
    model = ResNet(stages=(1,), width=4, stem="small", dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    params, statistics = init(model, jax.random.key(1), x)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    features, moved = forward(model, params, statistics, x, train=True)
    assert features.dtype == jnp.float32
    stem = np.asarray(
        jax.lax.conv(
            x.transpose(0, 3, 1, 2).astype(jnp.bfloat16),
            params["stem_conv"]["kernel"].transpose(3, 2, 0, 1).astype(jnp.bfloat16),
            (1, 1),
            "SAME",
        ).astype(jnp.float32)
    )
    np.testing.assert_allclose(moved["stem_norm"]["mean"], 0.1 * stem.mean((0, 2, 3)), atol=2e-3)
    np.testing.assert_allclose(moved["stem_norm"]["var"], 0.9 + 0.1 * stem.var((0, 2, 3)), atol=2e-3)


@pytest.mark.parametrize("case", [0, 1])
def test_golden(golden, case):
    g = golden(f"resnet_{case}")
    hyper = g["hyper"]
    state = {k.removeprefix("state|"): v for k, v in g.items() if k.startswith("state|")}
    after = {k.removeprefix("state_after|"): v for k, v in g.items() if k.startswith("state_after|")}
    block = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[hyper["block"]]
    model = ResNet(
        stages=hyper["layers"], widths=hyper["widths"], block=block, stem="small" if hyper["cifar_stem"] else "imagenet"
    )
    run = jax.jit(lambda p, s, x, train: forward(model, p, s, x, train=train), static_argnums=3)

    like_params, like_stats = jax.eval_shape(lambda x: init(model, jax.random.key(0), x), jnp.asarray(g["x"]))
    load = partial(from_torch, model, like_params=like_params, like_stats=like_stats)
    params, statistics = load(state)
    features, moved = run(params, statistics, g["x"], True)
    np.testing.assert_allclose(features, g["features"], atol=5e-5 * np.abs(g["features"]).max())

    # Torch keeps the unbiased running variance, flax the biased one: the means agree, the variances after that correction.
    _, torch_after = load(state | after)
    for (path, actual), expected in zip(
        jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(torch_after), strict=True
    ):
        if "mean" in jax.tree_util.keystr(path):
            np.testing.assert_allclose(actual, expected, atol=5e-5 * np.abs(expected).max() + 1e-7)
    evaluated, _ = run(params, torch_after, g["x"], False)
    np.testing.assert_allclose(evaluated, g["features_eval"], atol=5e-5 * np.abs(g["features_eval"]).max())
