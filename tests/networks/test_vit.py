"""Properties of the ViT: fused attention, stochastic depth, masks, sizes and initial weights."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.networks import BACKBONES, ViT, build_backbone, vit_micro
from sslax.networks.attention import attend, fused_attention
from tests.compiled import forward, init


def test_fused_attention_equals_the_explicit_form():
    """Features, and gradients of all parameters, with and without the attention maps, in float32."""
    vit = vit_micro(image_size=8, width=16, depth=1)
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((3, 8, 8, 3), np.float32), rng.standard_normal((3, 16), np.float32)
    params, _ = init(vit, jax.random.key(1), x)

    def value(params, outputs):
        found = forward(vit, params, {}, x, train=False, outputs=outputs)[0]
        return jnp.sum((found.features if outputs else found) * v)

    (plain, plain_gradient), (maps, maps_gradient) = (
        jax.jit(jax.value_and_grad(value), static_argnums=1)(params, outputs) for outputs in (False, True)
    )
    np.testing.assert_allclose(plain, maps, rtol=1e-5)
    largest = max(np.abs(g).max() for g in jax.tree.leaves(maps_gradient))
    for a, b in zip(jax.tree.leaves(plain_gradient), jax.tree.leaves(maps_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * largest)


@pytest.mark.parametrize(
    ("width", "dtype", "backend", "capability", "chosen"),
    [
        (64, "bfloat16", "gpu", "9.0", "cudnn"),
        (64, "float16", "gpu", "8.0", "cudnn"),
        (64, "bfloat16", "gpu", "7.0", "xla"),
        (64, "bfloat16", "gpu", "gfx90a", "xla"),
        (64, "float32", "gpu", "9.0", "xla"),
        (12, "bfloat16", "gpu", "9.0", "xla"),
        (136, "bfloat16", "gpu", "9.0", "xla"),
        (64, "bfloat16", "tpu", "", "xla"),
        (64, "bfloat16", "cpu", "", "xla"),
    ],
)
def test_the_fused_kernel_is_used_if_available(monkeypatch, width, dtype, backend, capability, chosen):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "devices", lambda: [types.SimpleNamespace(compute_capability=capability)])
    assert fused_attention(width, dtype) == chosen


@pytest.mark.parametrize("tokens", [5, 6])
def test_cudnn_gets_an_even_number_of_tokens(monkeypatch, tokens):
    """jax refuses cuDNN's gradient for an odd number. jax's own arithmetic stands in for the kernel."""
    qkv = tuple(np.random.default_rng(0).standard_normal((3, 2, tokens, 2, 8), np.float32))
    plain, seen = jax.nn.dot_product_attention, []

    def kernel(q, k, v, *, implementation, **options):
        assert implementation == "cudnn"
        seen.append(q.shape[1])
        return plain(q, k, v, **options)

    def outcome(implementation):
        def loss(qkv):
            output = attend(*qkv, implementation)
            return jnp.square(output[..., :3]).sum(), output

        return jax.jit(jax.grad(loss, has_aux=True))(qkv)

    wanted = outcome("xla")
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), outcome("cudnn"), wanted)
    assert set(seen) == {6}


def test_jax_accepts_cudnns_gradient_of_an_odd_number_of_tokens(monkeypatch):
    """Traced, not run: the patches replace the checks of the kernel's version, which need a GPU."""
    cudnn = "jax._src.cudnn.fused_attention_stablehlo"
    monkeypatch.setattr(f"{cudnn}.check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(f"{cudnn}.check_compute_capability", lambda *_, **__: None)
    q = jax.ShapeDtypeStruct((2, 197, 6, 64), jnp.bfloat16)

    def traced(attention):
        return str(jax.make_jaxpr(jax.grad(lambda x: attention(x, x, x).sum()))(q))

    assert "dot_product_attention_bwd" in traced(functools.partial(attend, implementation="cudnn"))
    with pytest.raises(NotImplementedError, match="197"):
        traced(functools.partial(jax.nn.dot_product_attention, implementation="cudnn"))


def test_drop_path_applies_only_to_the_trained_network():
    model = ViT(image_size=8, patch_size=4, width=8, depth=3, heads=2, drop_path=0.5)
    x = np.random.default_rng(0).random((64, 8, 8, 3), np.float32)
    params, _ = init(model, jax.random.key(0), x)
    run = jax.jit(lambda key: forward(model, params, {}, x, train=True, key=key)[0])
    still = forward(model, params, {}, x, train=False)[0]
    first, again, other = (np.asarray(run(jax.random.key(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    # The first block is never dropped, the others half the time and a quarter: a few images lose no block, most lose some.
    assert 0.3 < (np.abs(first - other).max(1) > 1e-6).mean() <= 1
    whole = forward(model.clone(drop_path=0.0), params, {}, x, train=True)[0]
    np.testing.assert_allclose(whole, still, atol=1e-6)
    assert (np.abs(first - still).max(1) > 1e-6).mean() > 0.3


def test_attention_biases_are_one_dimensional():
    """Masks use the number of dimensions: biases and norms have one; [CLS] and positions have more, and get weight decay."""
    model = build_backbone("vit-micro", image_size=8, depth=1)
    params, _ = jax.eval_shape(lambda key: init(model, key, jnp.zeros((1, 8, 8, 3))), jax.random.key(0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = path[-1].key
        assert (leaf.ndim == 1) == (name in ("bias", "scale")), path


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vit-tiny", 5_524_416),
        ("vit-small", 21_665_664),
        ("vit-base", 85_798_656),
        ("vit-large", 303_301_632),
        ("vit-huge", 630_764_800),
    ],
)
def test_backbones_have_the_released_parameter_counts(name, count):
    """timm's counts for vit_{tiny,small,base,large}_patch16_224 and vit_huge_patch14_224 without a classifier."""

    def parameters(depth):
        start = functools.partial(init, BACKBONES[name](depth=depth))
        shapes, _ = jax.eval_shape(start, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
        return sum(np.prod(p.shape) for p in jax.tree.leaves(shapes))

    # All blocks are alike, and tracing one is quicker than tracing 32.
    one = parameters(1)
    assert one + (BACKBONES[name]().depth - 1) * (parameters(2) - one) == count


def test_initialisation_has_the_released_standard_deviation():
    model = ViT(image_size=32, patch_size=4, width=96, depth=1, heads=3)
    params, _ = init(model, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    for leaf in (params["pos_embed"], params["block1"]["fc1"]["kernel"], params["block1"]["attn"]["qkv"]["kernel"]):
        assert np.std(leaf) == pytest.approx(0.02, rel=0.05)
    patch = np.asarray(params["patch_embed"]["kernel"])
    assert np.abs(patch).max() == pytest.approx(48**-0.5, rel=0.01)
    assert patch.std() == pytest.approx(48**-0.5 / 3**0.5, rel=0.05)


@pytest.fixture(scope="module")
def masked():
    """A small ViT with registers and a mask token, its parameters, images of 2 x 4 patches, and its program."""
    model = ViT(image_size=8, patch_size=4, width=8, depth=1, heads=2, registers=2, mask_token=True, drop_path=0.0)
    rng = np.random.default_rng(0)
    x = rng.random((3, 8, 16, 3), np.float32)
    shapes, _ = jax.eval_shape(lambda key: init(model, key, x), jax.random.key(0))
    params = jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape, np.float32), shapes)

    @jax.jit
    def tokens(x, mask=None, keep=None):
        return forward(model, params, {}, x, train=False, outputs=True, mask=mask, keep=keep)[0].tokens

    def on_the_host(x, **chosen):
        return np.asarray(tokens(x, **chosen))

    return model, params, x, on_the_host


def test_a_masked_patch_is_not_seen(masked):
    model, _, x, tokens = masked
    mask = np.zeros((3, 8), bool)
    np.testing.assert_allclose(tokens(x, mask=mask), tokens(x), atol=1e-6)
    # The second patch of the first row, in the first image.
    mask[0, 1] = True
    changed = x.copy()
    changed[0, :4, 4:8] += 1.0
    hidden = tokens(x, mask=mask)
    np.testing.assert_array_equal(tokens(changed, mask=mask), hidden)
    assert np.abs((hidden - tokens(x))[0]).max() > 1e-3
    np.testing.assert_allclose(hidden[1:], tokens(x)[1:], atol=1e-6)
    with pytest.raises(ValueError, match="mask is given, but mask_token is False"):
        forward(model.clone(mask_token=False), {}, {}, x, train=False, mask=jnp.asarray(mask))


def test_kept_patches_have_their_positions_and_the_given_order(masked):
    model, _, x, tokens = masked
    order = np.stack([np.random.default_rng(i).permutation(8) for i in range(3)])
    whole, shuffled = tokens(x), tokens(x, keep=order)
    np.testing.assert_allclose(shuffled[:, : model.prefix], whole[:, : model.prefix], atol=1e-5)
    for image in range(3):
        np.testing.assert_allclose(
            shuffled[image, model.prefix :], whole[image, model.prefix :][order[image]], atol=1e-5
        )
    few = tokens(x, keep=order[:, :2])
    assert few.shape[1] == model.prefix + 2
    with pytest.raises(ValueError, match='keep is given, but positions is "rope"'):
        forward(model.clone(positions="rope"), {}, {}, x, train=False, keep=jnp.asarray(order))
