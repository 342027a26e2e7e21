"""info_nce against the original code's values, a naive float64 loop, finite differences, and itself on eight devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from sslax.losses import info_nce, nt_xent
from tests.losses.gradients import check_gradients
from tests.losses.naive import naive_info_nce


@functools.partial(jax.jit, static_argnames="block_size")
def losses_and_gradients(query, key, negatives, temperature, block_size=None):
    """One loss a query, and the gradients of their mean; compiled once for each shape."""

    def loss(*a):
        losses = info_nce(a[0], a[1], negatives=a[2], temperature=a[3], block_size=block_size)
        return losses.mean(), losses

    argnums = (0, 1, 3) if negatives is None else (0, 1, 2, 3)
    gradients, losses = jax.grad(loss, argnums, has_aux=True)(query, key, negatives, temperature)
    return losses, gradients


def draw(n, d, m=None, seed=0):
    """Queries, keys and, where m is given, negatives."""
    rng = np.random.default_rng(seed)
    shapes = [(n, d), (n, d)] + ([] if m is None else [(m, d)])
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return (*arrays, None) if m is None else tuple(arrays)


def as_jax(g):
    return {name: jnp.asarray(x) if isinstance(x, np.ndarray) else x for name, x in g.items()}


def close(actual, expected, tolerance):
    """Within `tolerance` of the expected array's largest magnitude."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize(("case", "block_size"), [(0, None), (1, None), (2, 3), (3, 4)])
def test_golden_moco_v3(golden, case, block_size):
    g = as_jax(golden(f"moco_v3_{case}"))
    t = g["hyper"]["temperature"]

    def loss(q1, q2):
        directions = [(q1, g["k2"]), (q2, g["k1"])]
        return 2 * t * sum(info_nce(q, k, temperature=t, block_size=block_size).mean() for q, k in directions)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(g["q1"], g["q2"])
    close(value, g["loss"], 1e-5)
    close(gradients[0], g["grad_q1"], 1e-5)
    close(gradients[1], g["grad_q2"], 1e-5)


@pytest.mark.parametrize("case", range(4))
def test_golden_nnclr(golden, case):
    """The paper's loss by info_nce, and lightly's, which is another, by nt_xent."""
    g = golden(f"nnclr_{case}")
    t, (nn1, nn2) = g["hyper"]["temperature"], map(jnp.asarray, g["bank"][g["nn_index"]])

    def step(distance):
        def loss(p1, p2):
            return (distance(nn1, p2, temperature=t).mean() + distance(nn2, p1, temperature=t).mean()) / 2

        return jax.value_and_grad(loss, (0, 1))

    forms = {"": info_nce, "_lightly": nt_xent}
    found = jax.jit(lambda p1, p2: {end: step(distance)(p1, p2) for end, distance in forms.items()})(g["p1"], g["p2"])
    for end, (value, gradients) in found.items():
        close(value, g[f"loss{end}"], 5e-6)
        close(gradients[0], g[f"grad_p1{end}"], 5e-6)
        close(gradients[1], g[f"grad_p2{end}"], 5e-6)


@pytest.mark.parametrize(("block_size", "m"), [(None, None), (4, 6)])
def test_naive_loop(block_size, m):
    query, key, negatives = draw(13, 5, m)
    for temperature in (0.07, 0.5, 5.0):
        losses, _ = losses_and_gradients(query, key, negatives, temperature, block_size)
        close(losses, naive_info_nce(query, key, temperature, negatives), 2e-6)


@pytest.mark.parametrize(("block_size", "m"), [(None, 4), (3, 4), (3, None)])
def test_float64_and_finite_differences(block_size, m):
    """Gradients of queries, keys, the queue and the temperature, which is traced; the dense form's gradient has its own."""
    arrays = [x.astype(np.float64) for x in draw(7, 3, m) if x is not None]
    weights = np.arange(1.0, 8.0)

    def loss(temperature, query, key, negatives=None):
        options = {"temperature": temperature, "negatives": negatives, "block_size": block_size}
        return weights @ info_nce(query, key, **options)

    with jax.enable_x64(True):
        naive = naive_info_nce(*arrays[:2], 0.3, *arrays[2:])
        np.testing.assert_allclose(jax.jit(loss)(0.3, *arrays), weights @ naive, rtol=1e-12)
        order = 1 if block_size else 2
        check_gradients(loss, (np.float64(0.3), *arrays), order=order, rtol=1e-6, atol=1e-6)


_N, _D, _DEVICES = 24, 6, 8


def model(parameters, x):
    """A layer whose parameters are replicated: their gradient is what a user would all-reduce."""
    return jnp.tanh(x @ parameters)


def mean_loss(parameters, temperature, negatives, x1, x2, **options):
    query, key = model(parameters, x1), model(parameters, x2)
    return info_nce(query, key, temperature=temperature, negatives=negatives, **options).mean()


@pytest.fixture(scope="module")
def one_device():
    x1, x2, negatives = draw(_N, 5, 10, seed=3)
    parameters = np.random.default_rng(4).standard_normal((5, _D)).astype(np.float32)
    arguments = parameters, np.float32(0.2), np.pad(negatives, ((0, 0), (0, 1)), constant_values=0.5), x1, x2
    return arguments, jax.jit(jax.value_and_grad(mean_loss, (0, 1, 2)))(*arguments)


def all_close(found, wanted):
    for actual, expected in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        close(actual, expected, 5e-6)


@pytest.mark.parametrize(("block_size", "check_vma"), [(None, True), (2, True), (2, False)])
def test_shard_map_equals_one_device(one_device, block_size, check_vma):
    """Value, and gradients of parameters, temperature and negatives, all of which every device has the same."""
    arguments, wanted = one_device
    mesh = jax.make_mesh((_DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    rows, everywhere = PartitionSpec("data"), PartitionSpec()

    def local(*arguments):
        def loss(*arguments):
            value = mean_loss(*arguments, axis_name="data", block_size=block_size)
            return jax.lax.pmean(value, "data") if check_vma else value

        found = jax.value_and_grad(loss, (0, 1, 2))(*arguments)
        return found if check_vma else jax.lax.pmean(found, "data")

    in_specs = (everywhere, everywhere, everywhere, rows, rows)
    sharded = jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=everywhere, check_vma=check_vma)
    all_close(jax.jit(sharded)(*arguments), wanted)


def test_pmap_equals_one_device(one_device):
    (*shared, x1, x2), wanted = one_device

    def local(*arguments):
        loss = functools.partial(mean_loss, axis_name="data", block_size=2)
        return jax.lax.pmean(jax.value_and_grad(loss, (0, 1, 2))(*arguments), "data")

    mapped = jax.pmap(local, axis_name="data", in_axes=(None, None, None, 0, 0))
    found = mapped(*shared, *(x.reshape(_DEVICES, -1, x.shape[-1]) for x in (x1, x2)))
    all_close(jax.tree.map(lambda x: x[0], jax.device_get(found)), wanted)


def test_blocks_without_axis_name_inside_shard_map():
    """Local negatives on purpose: the blocked form must compile where its arrays differ between devices."""
    z = np.stack(draw(32, 4)[:2])
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    rows = PartitionSpec(None, "data")
    gradient = jax.jit(jax.grad(lambda z: info_nce(z[0], z[1], temperature=0.1, block_size=8).sum()))
    sharded = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=rows, out_specs=rows))
    close(sharded(z), np.concatenate([gradient(z[:, :16]), gradient(z[:, 16:])], axis=1), 5e-6)


@pytest.mark.parametrize("m", [None, 65536])
def test_memory_is_linear_in_the_batch(m):
    def temporaries(n):
        z = jax.ShapeDtypeStruct((n, 128), jnp.float32)
        queue = None if m is None else jax.ShapeDtypeStruct((m, 128), jnp.float32)

        def loss(query, key, negatives):
            return info_nce(query, key, temperature=0.1, negatives=negatives).mean()

        step = jax.jit(jax.value_and_grad(loss, (0, 1)))
        return step.lower(z, z, queue).compile().memory_analysis().temp_size_in_bytes

    # One matrix of all logits would be 4.3 GB, and 12.9 GB with the queue.
    assert temporaries(32768) < (200e6 if m is None else 400e6)


def test_half_precision_is_computed_in_float32():
    half = [x.astype(jnp.bfloat16) for x in draw(4, 3, 2)]
    found, _ = losses_and_gradients(*half, 0.1)
    np.testing.assert_array_equal(found, losses_and_gradients(*(x.astype(np.float32) for x in half), 0.1)[0])
    # The type is that of the batch, whatever the queue is kept in.
    for dtype, queue in ((jnp.bfloat16, jnp.float16), (jnp.float16, jnp.bfloat16), (jnp.float32, jnp.bfloat16)):
        z, negatives = jax.ShapeDtypeStruct((4, 3), dtype), jax.ShapeDtypeStruct((2, 3), queue)
        assert jax.eval_shape(losses_and_gradients, z, z, negatives, 0.1)[0].dtype == jnp.float32


@given(
    scales=st.tuples(*3 * [st.sampled_from([1e-40, 1e-30, 1.0, 1e30])]),
    temperature=st.sampled_from([1e-3, 0.1, 1.0, 1e3]),
    zeros=st.integers(0, 4),
    block_size=st.sampled_from([None, 3]),
)
def test_extreme_inputs_stay_finite(scales, temperature, zeros, block_size):
    query, key, negatives = draw(4, 3, 2)
    expected = naive_info_nce(query, key, temperature, negatives)
    query, key, negatives = (x * np.float32(s) for x, s in zip((query, key, negatives), scales, strict=True))
    query[:zeros] = 0
    loss, gradients = losses_and_gradients(query, key, negatives, temperature, block_size)
    assert np.isfinite(loss).all()
    assert (np.asarray(loss) >= 0).all()
    if not zeros and min(scales) > 1e-40:
        np.testing.assert_allclose(loss, expected, rtol=2e-5, atol=2e-5 / temperature)
    # The true gradient with respect to a row of 1e-30 exceeds float32 at small temperatures, so it is not asked there.
    assert not any(np.isnan(g).any() for g in gradients)
    if min(scales) >= 1:
        assert all(np.isfinite(g).all() for g in gradients)
        np.testing.assert_array_equal(np.asarray(gradients[0])[:zeros], 0)


def test_one_pair_and_equal_rows():
    query, key, _ = draw(1, 3)
    np.testing.assert_array_equal(losses_and_gradients(query, key, None, 0.01)[0], [0.0])
    same = np.ones((4, 3), np.float32)
    losses, gradients = losses_and_gradients(same, same, same[:2], 0.1)
    np.testing.assert_allclose(losses, np.full(4, np.log(6)), rtol=1e-6)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        (((4, 3), (5, 3)), {}, ValueError, r"query has shape \(4, 3\) and key has shape \(5, 3\)"),
        (((4, 3), (4, 3)), {"temperature": 0.0}, ValueError, "temperature is 0"),
        (((4, 3), (4, 3)), {"temperature": float("nan")}, ValueError, "temperature is nan"),
        (((4, 3), (4, 3)), {"block_size": 0}, ValueError, "block_size is 0; it must be at least 1, or None"),
        (((0, 3), (0, 3)), {}, ValueError, r"query has shape \(0, 3\)"),
        (((4,), (4,)), {}, ValueError, r"query has shape \(4,\); it must have 2 dimensions"),
        (((4, 3), (4, 3)), {"negatives": np.zeros((2, 4))}, ValueError, r"negatives has shape \(2, 4\); .* 3 columns"),
        (((4, 3), (4, 3)), {"negatives": np.zeros((0, 3))}, ValueError, r"negatives has shape \(0, 3\)"),
        (((4, 3), (4, 3)), {"negatives": np.zeros((2, 3), np.int32)}, TypeError, "negatives has dtype int32"),
    ],
)
def test_bad_input_is_named(as_users_have_it, arguments, options, error, says):
    with pytest.raises(error, match=says) as raised:
        info_nce(*map(np.zeros, arguments), **{"temperature": 0.1, **options})
    assert str(raised.value).endswith(".")


def test_integers_are_refused(as_users_have_it):
    with pytest.raises(TypeError, match="query has dtype int32"):
        info_nce(np.ones((4, 3), np.int32), np.ones((4, 3)), temperature=0.1)
