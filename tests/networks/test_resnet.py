"""ResNets against torchvision's forward pass (tests/golden), and documented properties of the backbones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.export import from_torch
from sslax.networks import ResNet, build_backbone
from sslax.networks.resnet import BasicBlock, Bottleneck, groups_of
from tests.compiled import forward, init


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


@pytest.mark.parametrize(
    ("name", "count"), [("resnet18", 11_176_512), ("resnet34", 21_284_672), ("resnet50", 23_508_032)]
)
def test_backbones_have_torchvisions_parameter_counts(name, count):
    """torchvision's, without the classifier."""
    start = functools.partial(init, build_backbone(name, image_size=224))
    params, _ = jax.eval_shape(start, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert sum(np.prod(p.shape) for p in jax.tree.leaves(params)) == count


def test_features_are_float32_and_statistics_move_with_momentum():
    model = ResNet(stages=(1,), width=4, stem="small", dtype=jnp.bfloat16)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 8, 8, 3), np.float32))
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
        stages=tuple(hyper["layers"]),
        widths=tuple(hyper["widths"]),
        block=block,
        stem="small" if hyper["cifar_stem"] else "imagenet",
    )
    run = jax.jit(lambda p, s, x, train: forward(model, p, s, x, train=train), static_argnums=3)

    like_params, like_stats = jax.eval_shape(lambda x: init(model, jax.random.key(0), x), jnp.asarray(g["x"]))
    load = functools.partial(from_torch, model, like_params=like_params, like_stats=like_stats)
    params, statistics = load(state)
    features, moved = run(params, statistics, g["x"], True)
    np.testing.assert_allclose(features, g["features"], atol=5e-5 * np.abs(g["features"]).max())

    # Torch keeps the unbiased running variance, flax the biased one: the means agree, and the variances after this correction.
    _, torch_after = load(state | after)
    for (path, actual), expected in zip(
        jax.tree_util.tree_leaves_with_path(moved), jax.tree.leaves(torch_after), strict=True
    ):
        if "mean" in jax.tree_util.keystr(path):
            np.testing.assert_allclose(actual, expected, atol=5e-5 * np.abs(expected).max() + 1e-7)
    evaluated, _ = run(params, torch_after, g["x"], False)
    np.testing.assert_allclose(evaluated, g["features_eval"], atol=5e-5 * np.abs(g["features_eval"]).max())


def test_default_parameters_keep_their_names():
    model = ResNet(stages=(1, 1), width=4, stem="small")
    params, statistics = jax.eval_shape(lambda key: init(model, key, jnp.zeros((1, 8, 8, 3))), jax.random.key(0))
    convs, norms = {"Conv_0", "Conv_1"}, {"BatchNorm_0", "BatchNorm_1"}
    shortcut = {"shortcut_conv", "shortcut_norm"}
    assert {name: set(inner) for name, inner in params.items()} == {
        "stem_conv": {"kernel"},
        "stem_norm": {"scale", "bias"},
        "stage1_block1": convs | norms,
        "stage2_block1": convs | norms | shortcut,
    }
    assert set(statistics["stage2_block1"]) == norms | {"shortcut_norm"}


def test_groups_divide_the_channels_and_have_at_least_two():
    assert [groups_of(c) for c in (1, 2, 3, 4, 6, 32, 48, 64, 100, 2048)] == [1, 1, 1, 2, 3, 16, 24, 32, 25, 32]


class Naive:
    """A ResNet of BasicBlocks with a "small" stem in NumPy, float64: loops over kernel positions, and a norm per group."""

    def __init__(self, norm, params):
        self.norm, self.params = norm, jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def conv(self, x, leaves, stride=1):
        kernel = leaves["kernel"]
        if self.norm == "group":
            rows = kernel.reshape(-1, kernel.shape[-1])
            kernel = ((rows - rows.mean(0)) / rows.std(0)).reshape(kernel.shape)
        size, pad = kernel.shape[0], kernel.shape[0] // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        side = (x.shape[1] - size) // stride + 1
        y = sum(
            x[:, i : i + side * stride : stride, j : j + side * stride : stride] @ kernel[i, j]
            for i in range(size)
            for j in range(size)
        )
        return y + leaves.get("bias", 0)

    def normed(self, x, leaves):
        if self.norm == "none":
            return x
        n, h, w, c = x.shape
        groups = x.reshape(n, h, w, c // 2, 2)
        mean, var = (moment(axis=(1, 2, 4), keepdims=True) for moment in (groups.mean, groups.var))
        return ((groups - mean) / np.sqrt(var + 1e-5)).reshape(x.shape) * leaves["scale"] + leaves["bias"]

    def block(self, x, params, stride):
        conv, norm = ("StandardizedConv", "GroupNorm") if self.norm == "group" else ("Conv", "none")
        y = self.conv(x, params[f"{conv}_0"], stride)
        y = np.maximum(self.normed(y, params.get(f"{norm}_0")), 0)
        y = self.normed(self.conv(y, params[f"{conv}_1"]), params.get(f"{norm}_1"))
        if "shortcut_conv" in params:
            x = self.normed(self.conv(x, params["shortcut_conv"], stride), params.get("shortcut_norm"))
        return np.maximum(x + y, 0)

    def __call__(self, x):
        x = self.conv(np.asarray(x, np.float64), self.params["stem_conv"])
        x = np.maximum(self.normed(x, self.params.get("stem_norm")), 0)
        x = self.block(x, self.params["stage1_block1"], 1)
        return self.block(x, self.params["stage2_block1"], 2).mean((1, 2))


@pytest.fixture(scope="module", params=["group", "none"])
def batchless(request):
    """A small ResNet without batch statistics, its parameters away from initial values, and its features in training mode."""
    model = ResNet(stages=(1, 1), width=4, stem="small", norm=request.param)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 8, 8, 3), np.float32)
    params, statistics = init(model, jax.random.key(1), x)
    params = jax.tree.map(lambda p: np.asarray(p) + 0.1 * rng.standard_normal(p.shape, np.float32), params)
    run = jax.jit(lambda params, x: forward(model, params, statistics, x, train=True))
    return model, params, statistics, x, run


def test_without_batch_statistics_it_equals_the_naive_network(batchless):
    model, params, _, x, run = batchless
    features, _ = run(params, x)
    wanted = Naive(model.norm, params)(x)
    np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_features_do_not_depend_on_the_rest_of_the_batch(batchless):
    model, params, statistics, x, run = batchless
    features, after = run(params, x)
    assert statistics == after == {}
    other = np.asarray(run(params, np.concatenate([x[:2], 3 - x[2:]]))[0])
    features = np.asarray(features)
    np.testing.assert_array_equal(other[:2], features[:2])
    assert np.abs(other[2:] - features[2:]).max() > 1e-3
    evaluated, _ = forward(model, params, {}, x[:2], train=False)
    np.testing.assert_allclose(evaluated, features[:2], rtol=1e-5, atol=1e-5)


def test_other_norms_have_their_parameters():
    for norm, conv in (("group", {"kernel"}), ("none", {"kernel", "bias"})):
        model = ResNet(stages=(1,), block=Bottleneck, width=4, stem="small", norm=norm)
        start = functools.partial(init, model, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
        params, statistics = jax.eval_shape(start)
        assert statistics == {}
        block = params["stage1_block1"]
        assert set(block["shortcut_conv"]) == conv
        assert ("shortcut_norm" in block) == ("stem_norm" in params) == (norm == "group")
        if norm == "group":
            drawn = start()[0]["stage1_block1"]
            np.testing.assert_array_equal(drawn["GroupNorm_2"]["scale"], 0)
            np.testing.assert_array_equal(drawn["GroupNorm_1"]["scale"], 1)
