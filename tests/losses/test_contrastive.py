"""nt_xent against the original code's values, a naive float64 loop, finite differences, and itself on eight devices."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from sslax.losses import blocks, nt_xent
from tests.losses.gradients import check_gradients


@functools.partial(jax.jit, static_argnames=("normalize", "block_size"))
def losses_and_gradients(z1, z2, temperature, *, normalize=True, block_size=None):
    """One loss a pair, and the gradients of their mean. The temperature is traced, so that all share a program."""

    def mean(z1, z2):
        losses = nt_xent(z1, z2, temperature=temperature, normalize=normalize, block_size=block_size)
        return losses.mean(), losses

    gradients, losses = jax.grad(mean, (0, 1), has_aux=True)(z1, z2)
    return losses, gradients


# Without the tests' shape checker, as users have it: the errors are then the function's own.
unchecked = inspect.unwrap(nt_xent)


def naive(z1, z2, temperature, normalize=True):
    """Algorithm 1 of the SimCLR paper, a view at a time, in float64; one value a pair."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    if normalize:
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
    n = len(z1)
    losses = np.zeros(2 * n)
    for i in range(2 * n):
        others = [np.dot(z[i], z[k]) / temperature for k in range(2 * n) if k != i]
        peak = max(others)
        partner = np.dot(z[i], z[(i + n) % (2 * n)]) / temperature
        losses[i] = peak + np.log(sum(np.exp(s - peak) for s in others)) - partner
    return (losses[:n] + losses[n:]) / 2


def naive_gradient(z1, z2, temperature):
    """The written-out gradient of `naive(...).mean()`, in float64: softmax less one-hot, then the normalisation's."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    u = z / norms
    n2 = len(z)
    g = np.zeros_like(u)
    for i in range(n2):
        s = u @ u[i] / temperature
        s[i] = -np.inf
        p = np.exp(s - s.max())
        p /= p.sum()
        p[(i + n2 // 2) % n2] -= 1
        for k in range(n2):
            if k != i:
                g[i] += p[k] * u[k] / temperature / n2
                g[k] += p[k] * u[i] / temperature / n2
    g = (g - (g * u).sum(1, keepdims=True) * u) / norms
    return g[: n2 // 2], g[n2 // 2 :]


def close(actual, expected, tolerance):
    """Within `tolerance` of the expected array's largest magnitude."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def pairs(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n, d)).astype(np.float32)


@pytest.mark.parametrize(("case", "block_size"), [(0, 16), (1, None), (2, 16), (3, None)])
def test_golden(golden, case, block_size):
    g = golden(f"nt_xent_{case}")
    losses, gradients = losses_and_gradients(g["z1"], g["z2"], g["hyper"]["temperature"], block_size=block_size)
    value = np.mean(losses)
    close(value, g["loss"], 3e-5)
    close(2 * value, g["loss_simclr_tf"], 3e-5)
    close(gradients[0], g["grad_z1"], 2e-4)
    close(gradients[1], g["grad_z2"], 2e-4)


@pytest.mark.parametrize("block_size", [None, 8])
def test_naive_loop(block_size):
    z1, z2 = pairs(13, 6)
    for temperature in (0.07, 0.5, 5.0):
        per_pair, gradients = losses_and_gradients(z1, z2, temperature, block_size=block_size)
        close(per_pair, naive(z1, z2, temperature), 2e-6)
        for actual, expected in zip(gradients, naive_gradient(z1, z2, temperature), strict=True):
            close(actual, expected, 1e-5)


@pytest.mark.parametrize("block_size", [None, 7])
def test_without_normalisation(block_size):
    z1, z2 = pairs(9, 5)
    losses = jax.jit(functools.partial(nt_xent, normalize=False, block_size=block_size))(z1, z2, temperature=2.0)
    close(losses, naive(z1, z2, 2.0, normalize=False), 2e-6)


@pytest.mark.parametrize("block_size", [None, 5])
def test_float64_and_finite_differences(block_size):
    """The dense form can be differentiated twice; the blocked one has a gradient of its own."""
    weights = np.arange(1.0, 9.0)

    def loss(z1, z2, temperature):
        return jnp.sum(weights * nt_xent(z1, z2, temperature=temperature, block_size=block_size))

    with jax.enable_x64(True):
        z1, z2 = pairs(8, 4).astype(np.float64)
        np.testing.assert_allclose(jax.jit(loss)(z1, z2, 0.3), weights @ naive(z1, z2, 0.3), rtol=1e-12)
        # The temperature is traced, and its gradient is checked with the others.
        order = 1 if block_size else 2
        check_gradients(loss, (z1, z2, np.float64(0.3)), order=order, rtol=1e-6, atol=1e-6)


def test_equals_optax():
    def both(z1, z2):
        stacked, labels = jnp.concatenate([z1, z2]), np.tile(np.arange(12), 2)
        return nt_xent(z1, z2, temperature=0.2).mean(), optax.losses.ntxent(stacked, labels, 0.2)

    close(*jax.jit(both)(*pairs(12, 7)), 1e-5)


_N, _D, _DEVICES = 24, 6, 8


def _model(parameters, x):
    """A layer whose parameters are replicated: their gradient is what a user would all-reduce."""
    return jnp.tanh(x @ parameters)


@pytest.fixture(scope="module")
def one_device():
    x1, x2 = pairs(_N, 5, seed=3)
    parameters = np.random.default_rng(4).standard_normal((5, _D)).astype(np.float32)

    def loss(parameters, temperature):
        return nt_xent(_model(parameters, x1), _model(parameters, x2), temperature=temperature).mean()

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(parameters, 0.2)
    return (x1, x2, parameters), value, gradients


# Dense logits without replication checks are pmap's, below.
@pytest.mark.parametrize(("block_size", "check_vma"), [(None, True), (4, True), (4, False)])
def test_shard_map_equals_one_device(one_device, block_size, check_vma):
    (x1, x2, parameters), value, gradients = one_device
    mesh = jax.make_mesh((_DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    rows, everywhere = PartitionSpec("data"), PartitionSpec()

    def local(parameters, temperature, x1, x2):
        def loss(parameters, temperature):
            losses = nt_xent(
                _model(parameters, x1),
                _model(parameters, x2),
                temperature=temperature,
                axis_name="data",
                block_size=block_size,
            )
            return jax.lax.pmean(losses.mean(), "data") if check_vma else losses.mean()

        value, gradient = jax.value_and_grad(loss, (0, 1))(parameters, temperature)
        return (value, gradient) if check_vma else jax.lax.pmean((value, gradient), "data")

    sharded = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(everywhere, everywhere, rows, rows),
        out_specs=(everywhere, everywhere),
        check_vma=check_vma,
    )
    sharded_value, sharded_gradients = jax.jit(sharded)(parameters, np.float32(0.2), x1, x2)
    close(sharded_value, value, 5e-6)
    close(sharded_gradients[0], gradients[0], 5e-6)
    close(sharded_gradients[1], gradients[1], 5e-6)


def test_pmap_equals_one_device(one_device):
    (x1, x2, parameters), value, gradients = one_device

    def local(parameters, temperature, x1, x2):
        def loss(parameters, temperature):
            z1, z2 = _model(parameters, x1), _model(parameters, x2)
            return nt_xent(z1, z2, temperature=temperature, axis_name="data").mean()

        return jax.lax.pmean(jax.value_and_grad(loss, (0, 1))(parameters, temperature), "data")

    def split(x):
        return x.reshape(_DEVICES, -1, x.shape[-1])

    mapped = jax.pmap(local, axis_name="data", in_axes=(None, None, 0, 0))
    mapped_value, mapped_gradients = jax.device_get(mapped(parameters, np.float32(0.2), split(x1), split(x2)))
    close(mapped_value[0], value, 5e-6)
    close(mapped_gradients[0][0], gradients[0], 5e-6)
    close(mapped_gradients[1][0], gradients[1], 5e-6)


def test_blocks_without_axis_name_inside_shard_map():
    """Local negatives on purpose: the blocked form must compile where its arrays differ between devices."""
    z = pairs(32, 4)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    rows = PartitionSpec(None, "data")
    gradient = jax.jit(jax.grad(lambda z: nt_xent(z[0], z[1], block_size=8).sum()))
    sharded = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=rows, out_specs=rows))
    close(sharded(z), np.concatenate([gradient(z[:, :16]), gradient(z[:, 16:])], axis=1), 5e-6)


def test_memory_is_linear_in_the_batch():
    def temporaries(n):
        z = jax.ShapeDtypeStruct((n, 128), jnp.float32)
        step = jax.jit(jax.value_and_grad(lambda z1, z2: nt_xent(z1, z2).mean(), (0, 1)))
        return step.lower(z, z).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(8192) < 64e6
    assert temporaries(32768) < 400e6


def test_accelerators_take_dense_logits_and_large_row_blocks(monkeypatch):
    """The forms of other backends give what the CPU's tiles do; a dense form has no loop, neither forward nor backward."""
    z = pairs(600, 4)

    def traced():
        program = jax.jit(jax.value_and_grad(lambda z: nt_xent(z[0], z[1]).mean())).trace(z)
        return program, str(program.jaxpr)

    program, text = traced()
    value, gradient = program.lower().compile()(z)
    assert text.count("scan[") == 2
    for dense, block, loops in ((2**27, 2**26, 0), (2**20, 2**19, 2)):
        monkeypatch.setattr(blocks, "_DENSE_ELSEWHERE", dense)
        monkeypatch.setattr(blocks, "_BLOCK_ELSEWHERE", block)
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        program, text = traced()
        assert text.count("scan[") == loops
        monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
        assert traced()[1].count("scan[") == loops
        monkeypatch.undo()
        found, found_gradient = program.lower().compile()(z)
        close(found, value, 1e-6)
        close(found_gradient, gradient, 1e-5)


def test_blocks_of_each_backend(monkeypatch):
    sizes = {
        # rows, keys, tiled: what CPU and GPU hold of them.
        (1024, 1024, True): (1024, 1024),
        (8192, 8192, True): (512, 8192),
        (1024, 8192, False): (512, 1024),
        (2 * 5792, 2 * 5792, False): (360, 2 * 5792),
        (32768, 32768, False): (128, 2048),
    }
    for (rows, keys, tiled), (cpu, gpu) in sizes.items():
        assert blocks.rows_at_a_time(rows, keys, tiled=tiled) == cpu
        with monkeypatch.context() as patch:
            patch.setattr(jax, "default_backend", lambda: "gpu")
            assert blocks.rows_at_a_time(rows, keys) == gpu


def test_half_precision_is_computed_in_float32():
    @jax.jit
    def run(halves):
        return [(nt_xent(*half), nt_xent(*half.astype(jnp.float32))) for half in halves]

    z = pairs(16, 8)
    for half, exact in run([z.astype(jnp.bfloat16), z.astype(np.float16)]):
        assert half.dtype == jnp.float32
        np.testing.assert_array_equal(half, exact)


@settings(max_examples=25, deadline=None)
@given(
    scale1=st.sampled_from([1e-30, 1e-10, 1.0, 1e10, 1e30]),
    scale2=st.sampled_from([1e-30, 1.0, 1e30]),
    temperature=st.sampled_from([1e-3, 0.1, 1.0, 1e3]),
    zeros=st.integers(0, 2),
    block_size=st.sampled_from([None, 3]),
)
def test_extreme_inputs_stay_finite(scale1, scale2, temperature, zeros, block_size):
    z1, z2 = pairs(4, 3)
    expected = None if zeros else naive(z1, z2, temperature)
    z1, z2 = z1 * np.float32(scale1), z2 * np.float32(scale2)
    z1[:zeros] = 0
    loss, gradients = losses_and_gradients(z1, z2, temperature, block_size=block_size)
    assert np.isfinite(loss).all()
    assert (np.asarray(loss) >= 0).all()
    if expected is not None:
        np.testing.assert_allclose(loss, expected, rtol=2e-5, atol=2e-5 / temperature)
    # The true gradient with respect to a row of 1e-30 exceeds float32 at small temperatures, so it is not asked there.
    if scale1 >= 1 and scale2 >= 1:
        assert all(np.isfinite(g).all() for g in gradients)


def test_zero_rows_get_no_gradient():
    z1, z2 = pairs(4, 3)
    z1[1] = 0
    _, (gradient, _) = losses_and_gradients(z1, z2, 0.1)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.asarray(gradient)[1], 0)


def test_one_pair_has_nothing_to_be_confused_with():
    z1, z2 = pairs(1, 3)
    np.testing.assert_allclose(jax.jit(nt_xent)(z1, z2), [0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        ((np.zeros((4, 3)), np.zeros((5, 3))), {}, ValueError, r"z1 has shape \(4, 3\) and z2 has shape \(5, 3\)"),
        ((np.zeros((4, 3)), np.zeros((4, 3))), {"temperature": 0.0}, ValueError, "temperature is 0"),
        ((np.zeros((4, 3)), np.zeros((4, 3))), {"temperature": -0.5}, ValueError, "temperature is -0.5"),
        ((np.zeros((4, 3)), np.zeros((4, 3))), {"temperature": float("nan")}, ValueError, "temperature is nan"),
        ((np.zeros((4, 3)), np.zeros((4, 3))), {"block_size": 0}, ValueError, "block_size is 0"),
        ((np.zeros((0, 3)), np.zeros((0, 3))), {}, ValueError, r"z1 has shape \(0, 3\)"),
    ],
)
def test_bad_input_is_named(arguments, options, error, says):
    with pytest.raises(error, match=says):
        unchecked(*(a.astype(np.float32) for a in arguments), **options)


def test_integers_and_wrong_ranks_are_refused():
    with pytest.raises(TypeError, match="int32"):
        unchecked(np.ones((4, 3), np.int32), np.ones((4, 3), np.int32))
    with pytest.raises(ValueError, match="2 dimensions"):
        unchecked(np.ones(4, np.float32), np.ones(4, np.float32))
