"""The count in the jaxpr equals XLA's count on CPU and a count by hand."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from sslax.data.feed import Placed
from sslax.recipes import CONFIGS
from sslax.training import build_for, make_update
from sslax.training.estimate import step_flops
from sslax.training.flops import count_flops
from sslax.training.state import initial_state
from tests import tiny

X = jnp.ones((4, 4))
PRODUCT = 2 * 4**3


def counted(function, *args, **rules):
    return count_flops(jax.make_jaxpr(function)(*args), **rules)


def xla(function, *args) -> float:
    return jax.jit(function).lower(*args).cost_analysis()["flops"]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_convolutions_and_their_gradients_equal_xlas_count(groups, stride, dilation, padding):
    def convolve(x, w):
        layout = ("NHWC", "HWIO", "NHWC")
        options = {"feature_group_count": groups, "rhs_dilation": (dilation, 1), "dimension_numbers": layout}
        return jax.lax.conv_general_dilated(x, w, (stride, 1), padding, **options)

    # Shapes alone: nothing is compiled.
    x, w = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((3, 9, 8, 4), (3, 2, 4 // groups, 8)))
    y = jax.eval_shape(convolve, x, w)
    forward = counted(convolve, x, w, padding=False)
    assert forward == xla(convolve, x, w)
    for index in (0, 1):
        # A convolution is linear: one gradient needs neither the forward pass nor the other gradient.
        gradient = lambda x, w, y, index=index: jax.vjp(convolve, x, w)[1](y)[index]  # noqa: E731
        assert counted(gradient, x, w, y, padding=False) == forward == xla(gradient, x, w, y)
    whole = counted(convolve, x, w)
    assert whole == 2 * math.prod(y.shape) * 3 * 2 * 4 // groups
    if padding == "SAME" and stride != 2:
        assert counted(lambda x, w, y: jax.vjp(convolve, x, w)[1](y), x, w, y) == 2 * whole


def test_products_equal_xlas_count():
    def products(x, y):
        return jnp.einsum("nqhc,nkhc->nhqk", x, y), x[0, 0] @ y[0, 0].T

    x, y = jnp.ones((2, 5, 3, 7)), jnp.ones((2, 4, 3, 7))
    assert counted(products, x, y) == xla(products, x, y) == 2 * 2 * 3 * 5 * 4 * 7 + 2 * 3 * 3 * 7


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (jax.jit(lambda x: x @ x), 1),
        (lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=5)[0], 5),
        (lambda x: jax.lax.fori_loop(0, 7, lambda _, c: c @ x, x), 7),
        (lambda x: jax.lax.while_loop(lambda c: c[0] < 8, lambda c: (c[0] + 3, c[1] @ x), (1, x))[1], 3),
        (lambda x: jax.lax.while_loop(lambda c: c[0] < 8, lambda c: (3 + c[0], c[1] @ x), (9, x))[1], 0),
        # The bound is a carried value, passed through a call.
        (lambda x: jax.jit(lambda n, x: jax.lax.fori_loop(0, n, lambda _, c: c @ x, x))(6, x), 6),
        (lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x), 2),
        (jax.value_and_grad(lambda x: jax.checkpoint(lambda x: jnp.sin(x @ x) @ x)(x).sum()), 2 + 1 + 4),
        (jax.value_and_grad(lambda x: (jnp.sin(x @ x) @ x).sum()), 2 + 4),
        (lambda x: jax.jit(lambda x: (x @ x, x @ x @ x))(x)[0], 1),
    ],
    ids=["jit", "scan", "fori", "while", "no trip", "carried bound", "cond", "remat", "gradient", "unused"],
)
def test_products_in_calls_and_loops(function, products):
    assert counted(function, X) == products * PRODUCT


def test_custom_gradients():
    @jax.custom_vjp
    def doubled(x):
        return x @ x

    doubled.defvjp(lambda x: (x @ x @ x, x), lambda x, g: (g @ x,))

    @jax.custom_jvp
    def tripled(x):
        return x @ x

    tripled.defjvp(lambda x, t: (x[0] @ x[0] @ x[0], t[0] @ x[0]))
    assert counted(doubled, X) == counted(tripled, X) == PRODUCT
    assert counted(jax.value_and_grad(lambda x: doubled(x).sum()), X) == 3 * PRODUCT
    assert counted(jax.value_and_grad(lambda x: tripled(x).sum()), X) == 3 * PRODUCT


def test_shard_map_counts_once_per_device():
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    rows = jax.P("data")
    product = lambda x: x @ x.T  # noqa: E731
    every = jax.shard_map(product, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)
    assert counted(every, X) == 8 * 2 * 2 * 2 * 4
    some = jax.shard_map(product, mesh=mesh, in_specs=rows, out_specs=rows, axis_names={"data"})
    assert counted(jax.jit(some), X) == 2 * 2 * 2 * 2 * 4


def test_a_loop_of_unknown_length():
    def until(x):
        return jax.lax.while_loop(lambda x: x[0, 0] < 100, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="no known number of trips; set trips to that number"):
        counted(until, X)
    assert counted(until, X, trips=4) == 4 * PRODUCT
    # A loop without products needs no number of trips; a counter that is doubled, or a bound that moves, gives none.
    assert counted(lambda x: jax.lax.while_loop(lambda x: x < 1, lambda x: 2 * x, x), 0.1) == 0
    double = lambda c: (2 * c[0], c[1] @ c[1])  # noqa: E731
    with pytest.raises(ValueError, match="trips"):
        counted(lambda x: jax.lax.while_loop(lambda c: c[0] < 8, double, (1, x)), X)
    moving = lambda c: (c[0] + 1, c[1] - 1, c[2] @ c[2])  # noqa: E731
    with pytest.raises(ValueError, match="trips"):
        counted(lambda x: jax.lax.while_loop(lambda c: c[0] < c[1], moving, (1, 9, x)), X)


def test_a_pallas_kernel_counts_once_per_grid_cell():
    def kernel(x, y, out):
        out[...] = x[...] @ y[...]

    blocks = pl.BlockSpec((4, 4), lambda i: (i, 0)), pl.BlockSpec((4, 4), lambda i: (0, 0))
    rows = jnp.ones((12, 4))
    call = pl.pallas_call(kernel, grid=3, in_specs=blocks, out_specs=blocks[0], out_shape=rows)
    assert counted(call, rows, X) == 3 * PRODUCT


def test_fused_attention_counts_its_products(monkeypatch):
    cudnn = "jax._src.cudnn.fused_attention_stablehlo"
    # The kernel is only traced, not run; the patches replace the checks of its version, which need a GPU.
    monkeypatch.setattr(f"{cudnn}.check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(f"{cudnn}.check_compute_capability", lambda *_, **__: None)
    q = jax.ShapeDtypeStruct((2, 8, 3, 64), jnp.bfloat16)
    k = v = jax.ShapeDtypeStruct((2, 16, 3, 64), jnp.bfloat16)
    products = 4 * 2 * 3 * 8 * 16 * 64

    def attention(implementation):
        return lambda *args: jax.nn.dot_product_attention(*args, implementation=implementation).sum()

    def gradient(implementation):
        return jax.value_and_grad(attention(implementation), (0, 1, 2))

    for implementation in ("xla", "cudnn"):
        assert counted(attention(implementation), q, k, v) == products
        assert counted(gradient(implementation), q, k, v) == 3 * products
    assert counted(gradient("cudnn"), q, k, v, recomputation=True) == 3.5 * products
    named = str(jax.make_jaxpr(gradient("cudnn"))(q, k, v))
    assert "dot_product_attention_bwd" in named
    assert "dot_general" not in named


def step(config, batch_size: int):
    """The jaxpr of a training step on one device."""
    config = dataclasses.replace(config, batch_size=batch_size)
    side = config.canvas or config.method.views.size
    built = build_for(config, images=batch_size, canvas=side, devices=jax.devices()[:1])
    start = initial_state(built.method, built.tx, built.image_shape, built.mesh)
    images = jax.ShapeDtypeStruct((batch_size, side, side, 3), np.uint8)
    batch = Placed(images, jax.ShapeDtypeStruct((batch_size,), np.float32), None)
    state = start.eval_shape(jax.random.key(0))
    return jax.make_jaxpr(make_update(built.method, built.tx, accumulate=config.accumulate))(state, batch)


def lowered_flops(jaxpr: ClosedJaxpr) -> float:
    """XLA's count of a program, elementwise operations included."""
    return xla(jaxpr_as_fun(jaxpr), *[jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype) for x in jaxpr.jaxpr.invars])


def without_products(jaxpr: Any) -> Any:
    """The program with each product replaced by an operation on the same operands that XLA counts as zero."""
    # In newer releases of jax both are one class, which is its own jaxpr.
    if isinstance(jaxpr, ClosedJaxpr) and jaxpr.jaxpr is not jaxpr:
        return jaxpr.replace(jaxpr=without_products(jaxpr.jaxpr))
    if type(jaxpr) is tuple:
        return tuple(map(without_products, jaxpr))
    if not isinstance(jaxpr, Jaxpr):
        return jaxpr

    def replaced(equation):
        if equation.primitive.name not in ("dot_general", "conv_general_dilated"):
            return equation.replace(params={name: without_products(x) for name, x in equation.params.items()})
        out = equation.outvars[0].aval

        def free(*operands):
            first = [jax.lax.slice(x, (0,) * x.ndim, (1,) * x.ndim).reshape(1).astype(out.dtype) for x in operands]
            return jnp.broadcast_to(jnp.concatenate(first)[0], out.shape)

        shapes = [jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype) for x in equation.invars]
        (call,) = jax.make_jaxpr(jax.jit(free))(*shapes).eqns
        return call.replace(invars=equation.invars, outvars=equation.outvars)

    return jaxpr.replace(eqns=list(map(replaced, jaxpr.eqns)))


def smaller(config):
    """DINO with one block and one local crop, as further ones repeat their products, and without colours, which have few."""
    views = dataclasses.replace(config.method.views, local_crops=1, jitter=0.0, grayscale=0.0)
    network = dataclasses.replace(config.network, depth=1)
    return dataclasses.replace(config, network=network, method=dataclasses.replace(config.method, views=views))


@pytest.mark.parametrize(
    "name", ["simclr-digits", *(pytest.param(f"{name}-digits", marks=pytest.mark.slow) for name in ("byol", "dino"))]
)
def test_digits_steps_equal_xlas_count(name):
    # XLA also counts elementwise operations, up to a tenth in networks so small. The difference to the same program without
    # products is XLA's count of the products alone.
    jaxpr = step(smaller(CONFIGS[name]) if name == "dino-digits" else CONFIGS[name], 16)
    products = lowered_flops(jaxpr) - lowered_flops(without_products(jaxpr))
    assert count_flops(jaxpr, padding=False) == pytest.approx(products, rel=0.001)


def test_resnet_18_equals_xlas_count_and_a_count_by_hand():
    jaxpr = step(CONFIGS["simclr-cifar10"], 8)
    # XLA's count includes elementwise operations, which are below 3 % at these widths.
    assert count_flops(jaxpr, padding=False) == pytest.approx(lowered_flops(jaxpr), rel=0.03)
    # Two views, forward and backward, each 555.4 million multiply-adds of the network and 0.3 million of its head.
    assert count_flops(jaxpr) / 8 == pytest.approx(2 * 3 * 2 * 0.5567e9, rel=0.005)
    assert count_flops(jaxpr) / 8 == pytest.approx(6.68e9, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr-imagenet", "dino-imagenet"])
def test_vit_s_equals_a_count_by_hand(name):
    jaxpr = step(dataclasses.replace(CONFIGS[name], network=CONFIGS["dino-imagenet"].network), 2)
    assert count_flops(jaxpr, padding=False) == pytest.approx(lowered_flops(jaxpr), rel=0.03)
    if name == "simclr-imagenet":
        # Each of 197 tokens of two views takes 12 blocks of 12 d^2 + 2 t d multiply-adds, three times; t tokens, width d = 384.
        multiply_adds = 3 * 2 * 197 * 12 * (12 * 384**2 + 2 * 197 * 384)
        assert count_flops(jaxpr) / 2 == pytest.approx(2 * multiply_adds, rel=0.03)


def test_recomputation_does_not_count_as_model_flops():
    views = dataclasses.replace(tiny.OPTIONS["simclr"].views, jitter=0.0, grayscale=0.0)
    config = tiny.config(method=dataclasses.replace(tiny.OPTIONS["simclr"], views=views))
    images = tiny.dataset().train.read(np.arange(config.batch_size))

    def flops(config):
        built = build_for(config, images=64, canvas=tiny.SIZE)
        start = initial_state(built.method, built.tx, built.image_shape, built.mesh)
        state = start.eval_shape(jax.random.key(0))
        executed = jax.make_jaxpr(make_update(built.method, built.tx))(state, Placed(*images))
        return step_flops(config, built, state, images), count_flops(executed)

    plain, again = flops(config), flops(dataclasses.replace(config, remat=True))
    assert again[0] == plain[0] == plain[1] < again[1]
