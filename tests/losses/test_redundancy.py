"""barlow_twins and vicreg against the original code's values, a naive float64 loop, finite differences, and eight devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from sslax.losses import barlow_twins, barlow_twins_terms, vicreg, vicreg_terms
from tests.losses.gradients import check_gradients
from tests.losses.naive import naive_barlow_twins, naive_vicreg

LOSSES = {"barlow_twins": barlow_twins, "vicreg": vicreg}


@functools.partial(jax.jit, static_argnames="name")
def value_and_gradients(z1, z2, weights, *, name):
    return jax.value_and_grad(lambda z1, z2: LOSSES[name](z1, z2, **weights), (0, 1))(z1, z2)


@jax.jit
def all_values(z1, z2):
    """Terms and losses of both; VICReg's in both scalings."""
    return {
        "barlow_twins": (*barlow_twins_terms(z1, z2), barlow_twins(z1, z2, off_diagonal=0.01)),
        "vicreg": (*vicreg_terms(z1, z2), vicreg(z1, z2), vicreg(z1, z2, halved=False)),
    }


def naive_values(z1, z2):
    terms = naive_vicreg(z1, z2)
    vicreg = (*terms, np.dot([25, 25, 1], terms), np.dot([25, 50, 1], terms))
    return {"barlow_twins": naive_barlow_twins(z1, z2, 0.01), "vicreg": vicreg}


def draw(n, d, seed=0):
    """Two correlated views, some features of which vary less than 1."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) * 0.4
    return tuple((shared + 0.3 * rng.standard_normal((n, d))).astype(np.float32) for _ in range(2))


def close(actual, expected, tolerance):
    """Within `tolerance` of the expected array's largest magnitude."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("case", range(4))
def test_golden_barlow_twins(golden, case):
    g = golden(f"barlow_twins_{case}")
    weights = {"off_diagonal": g["hyper"]["lambd"]}
    value, gradients = value_and_gradients(g["z1"], g["z2"], weights, name="barlow_twins")
    close(value, g["loss"], 5e-6)
    close(gradients[0], g["grad_z1"], 5e-6)
    close(gradients[1], g["grad_z2"], 5e-6)


@pytest.mark.parametrize("case", range(4))
def test_golden_vicreg(golden, case):
    g = golden(f"vicreg_{case}")
    h = g["hyper"]
    weights = {"invariance": h["sim"], "variance": h["std"], "covariance": h["cov"]}

    @jax.jit
    def step(z1, z2):
        found = jax.value_and_grad(lambda z1, z2: vicreg(z1, z2, **weights), (0, 1))(z1, z2)
        return found, vicreg_terms(z1, z2), vicreg(z1, z2, **weights, halved=False)

    (value, gradients), terms, paper = step(g["z1"], g["z2"])
    close(value, g["loss"], 5e-6)
    close(gradients[0], g["grad_z1"], 5e-6)
    close(gradients[1], g["grad_z2"], 5e-6)
    for term, part in zip(terms, g["parts"], strict=True):
        close(term, part, 5e-6)
    close(paper, g["loss_paper"], 5e-6)


@pytest.mark.parametrize("offset", [0, 4096])
def test_naive_loops(offset):
    """Also far from 0, where a variance that takes the mean's square off would lose its digits."""
    z1, z2 = (z + offset for z in draw(6, 3))
    wanted, found = naive_values(z1, z2), all_values(z1, z2)
    assert min(wanted["vicreg"]) > 0.01
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)


def test_float64_and_finite_differences():
    z1, z2 = (z.astype(np.float64) for z in draw(6, 3))

    # The weights are traced here, and their gradients are checked with the others.
    def both(z1, z2, weights):
        a, b, c, d = weights
        return barlow_twins(z1, z2, off_diagonal=a) + 0.3 * vicreg(z1, z2, invariance=b, variance=c, covariance=d)

    with jax.enable_x64(True):
        found = all_values(z1, z2)
        for name, values in naive_values(z1, z2).items():
            np.testing.assert_allclose(found[name], values, rtol=1e-12)
        check_gradients(both, (z1, z2, np.array([0.1, 2.0, 3.0, 1.5])), rtol=1e-6, atol=1e-6)


_N, _D, _DEVICES = 24, 6, 8
mesh = functools.partial(jax.make_mesh, (_DEVICES,), ("data",), axis_types=(AxisType.Auto,))


def model(parameters, x):
    """A layer whose parameters are replicated: their gradient is what a user would all-reduce."""
    return jnp.tanh(x @ parameters)


@functools.cache
def one_device(name):
    x1, x2 = draw(_N, 5, seed=3)
    parameters = np.random.default_rng(4).standard_normal((5, _D)).astype(np.float32)
    loss = jax.value_and_grad(lambda parameters: LOSSES[name](model(parameters, x1), model(parameters, x2)))
    return (parameters, x1, x2), jax.jit(loss)(parameters)


def local(name, differentiated):
    """The value and the gradient on one of several devices, the loss or its mean differentiated, by the docstring's rule."""

    def run(parameters, x1, x2):
        def loss(parameters):
            value = LOSSES[name](model(parameters, x1), model(parameters, x2), axis_name="data")
            return jax.lax.pmean(value, "data") if differentiated == "mean" else value

        found = jax.value_and_grad(loss)(parameters)
        return jax.lax.pmean(found, "data") if differentiated == "local" else found

    return run


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("check_vma", "differentiated"), [(True, "mean"), (True, "loss"), (False, "local")])
def test_shard_map_equals_one_device(name, check_vma, differentiated):
    arguments, (value, gradient) = one_device(name)
    rows, everywhere = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(
        local(name, differentiated),
        mesh=mesh(),
        in_specs=(everywhere, rows, rows),
        out_specs=everywhere,
        check_vma=check_vma,
    )
    sharded_value, sharded_gradient = jax.jit(sharded)(*arguments)
    close(sharded_value, value, 5e-6)
    close(sharded_gradient, gradient, 1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_pmap_equals_one_device(name):
    (parameters, x1, x2), (value, gradient) = one_device(name)
    mapped = jax.pmap(local(name, "local"), axis_name="data", in_axes=(None, 0, 0))
    found = mapped(parameters, *(x.reshape(_DEVICES, -1, x.shape[-1]) for x in (x1, x2)))
    found = jax.device_get(found)
    close(found[0][0], value, 5e-6)
    close(found[1][0], gradient, 1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_float32(name):
    half = [z.astype(jnp.bfloat16) for z in draw(6, 3)]
    found, _ = value_and_gradients(*half, {}, name=name)
    exact, _ = value_and_gradients(*(z.astype(np.float32) for z in half), {}, name=name)
    np.testing.assert_array_equal(found, exact)
    for dtype in (jnp.bfloat16, jnp.float16):
        assert jax.eval_shape(LOSSES[name], *2 * [jax.ShapeDtypeStruct((6, 3), dtype)]).dtype == jnp.float32


@given(
    scale=st.sampled_from([0.0, 1e-40, 1e-30, 1e-3, 1e3, 1e30, 1e38]),
    offset=st.sampled_from([0.0, 1e-30, 1.0, 1e5, -1e30]),
    constant=st.booleans(),
)
def test_barlow_twins_of_extreme_features(scale, offset, constant):
    """One feature of any magnitude and offset, or the same in all rows; the other two are plain."""
    z1, z2 = (np.array(z) for z in draw(6, 3))
    # As float32 holds it: what the sum loses is not the loss's to find again.
    z1[:, 0] = np.float32(offset) + np.float32(scale) * (z1[0, 0] if constant else z1[:, 0])
    value, gradients = value_and_gradients(z1, z2, {}, name="barlow_twins")
    np.testing.assert_allclose(value, naive_barlow_twins(z1, z2, 0.0051)[-1], rtol=1e-4)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e6])
def test_vicreg_of_equal_and_of_tiny_rows(offset):
    """No feature varies: the hinge is at its largest, and the other terms and all gradients are finite."""
    z = np.full((6, 3), offset, np.float32)
    value, gradients = value_and_gradients(z, z, {}, name="vicreg")
    np.testing.assert_allclose(value, 25 * 0.99, rtol=1e-6)
    assert all(np.array_equal(g, np.zeros_like(g)) for g in gradients)
    for scale in (1e-40, 1e-30):
        z1, z2 = draw(6, 3)
        value, gradients = value_and_gradients(z1 * np.float32(scale), z2 * np.float32(scale), {}, name="vicreg")
        np.testing.assert_allclose(value, 25 * 0.99, rtol=1e-6)
        assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("shapes", "weight", "says"),
    [
        (((4, 3), (5, 3)), 1.0, r"z1 has shape \(4, 3\) and z2 has shape \(5, 3\); they must be the same"),
        (((4,), (4,)), 1.0, r"z1 has shape \(4,\); it must have 2 dimensions"),
        (((0, 3), (0, 3)), 1.0, "every dimension must be at least 1"),
        (((1, 3), (1, 3)), 1.0, r"z1 has shape \(1, 3\); statistics of a batch need at least 2 rows"),
        (((4, 3), (4, 3)), -1.0, "is -1.0; it must be a finite number of at least 0"),
    ],
)
def test_what_is_wrong_is_named(name, shapes, weight, says):
    options = {"off_diagonal" if name == "barlow_twins" else "variance": weight}
    with pytest.raises(ValueError, match=says) as raised:
        LOSSES[name](*map(np.zeros, shapes), **options)
    assert str(raised.value).endswith(".")


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize("name", LOSSES)
def test_integers_are_refused(name):
    with pytest.raises(TypeError, match="z1 has dtype int32"):
        LOSSES[name](np.ones((4, 3), np.int32), np.ones((4, 3), np.int32))


def test_covariances_that_overflow_are_refused(as_users_have_it):
    z = np.full((6, 3), 1e10, np.float32)
    with pytest.raises(
        ValueError, match=r"z1 and z2 have values up to 1e\+10, whose squared covariances float32 cannot"
    ):
        vicreg(z, z)
    # The values are known when the program is traced, and are not refused.
    assert np.isfinite(jax.jit(lambda: vicreg(z / 1e3, -z / 1e3))())


def test_one_row_a_device_is_a_batch():
    for loss in LOSSES.values():
        z = np.ones((1, 3), np.float32)
        (shape,) = jax.make_jaxpr(functools.partial(loss, axis_name="data"), axis_env=[("data", 8)])(z, z).out_avals
        assert shape.shape == ()
