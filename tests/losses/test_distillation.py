"""byol, dino, dino_mse and update_center against the original code, naive float64 loops, finite differences, poison."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from sslax.losses import byol, dino, dino_mse, update_center
from tests.losses.gradients import check_gradients
from tests.losses.naive import naive_dino


def draw(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("case", range(4))
def test_byol_golden(golden, case):
    g = golden(f"byol_{case}")
    t1, t2 = jnp.asarray(g["t1"]), jnp.asarray(g["t2"])

    def both(p1, p2):
        per_sample = byol(p1, t2) + byol(p2, t1)
        return per_sample.mean(), per_sample

    (loss, per_sample), gradients = jax.jit(jax.value_and_grad(both, (0, 1), has_aux=True))(g["p1"], g["p2"])
    np.testing.assert_allclose(loss, g["loss"], rtol=5e-6)
    np.testing.assert_allclose(per_sample, g["per_sample"], atol=5e-6 * g["per_sample"].max())
    for gradient, name in zip(gradients, ("grad_p1", "grad_p2"), strict=True):
        np.testing.assert_allclose(gradient, g[name], atol=5e-6 * np.abs(g[name]).max())


@pytest.mark.parametrize("case", range(4))
def test_dino_golden(golden, case):
    """Eight iterations: the loss with the centre so far, its gradient, then the next centre; a temperature an epoch."""
    g = golden(f"dino_{case}")
    h = g["hyper"]
    crops, k = h["n_global"] + h["n_local"], h["out_dim"]

    @jax.jit
    def step(student, teacher, center, temperature):
        def loss(student):
            temperatures = {"student_temperature": h["student_temp"], "teacher_temperature": temperature}
            return dino(student, teacher, center, **temperatures).mean()

        return jax.value_and_grad(loss)(student), update_center(center, teacher, momentum=h["center_momentum"])

    center = np.zeros(k, np.float32)
    for i in range(len(g["loss"])):
        student = g["student"][i].reshape(crops, h["n"], k)
        teacher = g["teacher"][i].reshape(h["n_global"], h["n"], k)
        temperature = np.float32(g["teacher_temp_schedule"][g["epoch"][i]])
        np.testing.assert_allclose(temperature, g["teacher_temp"][i], rtol=1e-6)
        (loss, gradient), center = step(student, teacher, center, temperature)
        np.testing.assert_allclose(loss, g["loss"][i], rtol=5e-6)
        wanted = g["grad_student"][i]
        np.testing.assert_allclose(np.reshape(gradient, wanted.shape), wanted, atol=5e-6 * np.abs(wanted).max())
        np.testing.assert_allclose(center, g["center"][i], atol=5e-6 * np.abs(g["center"]).max())


@pytest.mark.parametrize(("s", "t"), [(2, 2), (5, 2), (4, 1), (3, 3)])
def test_they_are_the_mean_over_pairs(s, t):
    student, teacher, center = draw(s, 3, 7), draw(t, 3, 7, seed=1), draw(7, seed=2)

    @jax.jit
    def both(*arrays):
        return dino(*arrays, student_temperature=0.2, teacher_temperature=0.1), dino_mse(*arrays)

    entropy, distance = both(student, teacher, center)
    np.testing.assert_allclose(entropy, naive_dino(student, teacher, center, 0.2, 0.1), rtol=5e-6)
    u, v = (
        x / np.linalg.norm(x, axis=-1, keepdims=True)
        for x in (student.astype(np.float64), teacher.astype(np.float64) - center)
    )
    wanted = [
        np.mean([((u[j, i] - v[k, i]) ** 2).sum() for k in range(t) for j in range(s) if j != k]) for i in range(3)
    ]
    np.testing.assert_allclose(distance, wanted, rtol=5e-6)


def test_dino_mse_of_two_crops_is_byols_loss():
    """Without a centre, and as a mean of the two directions where BYOL takes their sum."""

    @jax.jit
    def both(student, teacher):
        wanted = (byol(student[0], teacher[1]) + byol(student[1], teacher[0])) / 2
        return dino_mse(student, teacher, jnp.zeros(5)), wanted

    np.testing.assert_allclose(*both(draw(2, 4, 5), draw(2, 4, 5, seed=1)), rtol=1e-6)


def test_gradients_are_those_of_finite_differences():
    """Of all three losses at once; the second derivatives too, and that by the student's temperature."""
    p, student = draw(4, 5).astype(np.float64), draw(4, 3, 6, seed=4).astype(np.float64)
    held = draw(4, 5, seed=1).astype(np.float64), draw(2, 3, 6, seed=2).astype(np.float64), np.linspace(-1.0, 1.0, 6)
    weights = np.arange(1.0, 5.0)

    def loss(p, student, temperature):
        t, teacher, center = map(jnp.asarray, held)
        distances = byol(p, t) @ weights + dino_mse(student, teacher, center) @ weights[:3]
        return distances + dino(student, teacher, center, student_temperature=temperature) @ weights[:3]

    with jax.enable_x64(True):
        check_gradients(loss, (p, student, np.float64(0.3)), order=2)


def test_nothing_but_the_learner_gets_a_gradient():
    p, t, student, teacher, center = (
        draw(4, 5),
        draw(4, 5, seed=1),
        draw(4, 3, 6),
        draw(2, 3, 6, seed=1),
        draw(6, seed=2),
    )

    @jax.jit
    def held(p, t, student, teacher, center):
        distillation = jax.grad(lambda *held: dino(student, *held).sum(), (0, 1))(teacher, center)
        distance = jax.grad(lambda *held: dino_mse(student, *held).sum(), (0, 1))(teacher, center)
        moved = jax.grad(lambda teacher, center: update_center(center, teacher).sum(), (0, 1))(teacher, center)
        return jax.grad(lambda t: byol(p, t).sum())(t), distillation, distance, moved

    assert not any(np.any(g) for g in jax.tree.leaves(held(p, t, student, teacher, center)))


@jax.jit
def loss_and_gradient(student, teacher, center, temperatures):
    """DINO's loss and its gradient, and BYOL's loss of the first crops."""
    loss, pull = jax.vjp(lambda student: dino(student, teacher, center, **temperatures), student)
    return loss, pull(jnp.ones_like(loss))[0], byol(student[0], teacher[0])


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(
    st.sampled_from([jnp.float32, jnp.bfloat16]),
    st.floats(-3, 4),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.integers(0, 99),
)
def test_any_scale_and_temperature_is_finite(dtype, exponent, student_temperature, teacher_temperature, seed):
    """Logits up to 1e4, temperatures from 1e-3 to 1e3, half precision: loss and gradient are numbers, and right."""
    temperatures = {"student_temperature": 10**student_temperature, "teacher_temperature": 10**teacher_temperature}
    student = draw(3, 2, 5, seed=seed, scale=10**exponent).astype(dtype)
    teacher = draw(2, 2, 5, seed=seed + 1, scale=10**exponent).astype(dtype)
    center = draw(5, seed=seed + 2)
    loss, gradient, distance = loss_and_gradient(student, teacher, center, temperatures)
    wanted = naive_dino(*(np.asarray(x, np.float32) for x in (student, teacher, center)), *temperatures.values())
    assert np.isfinite(np.asarray(gradient, np.float32)).all()
    # A loss is a difference of logits over temperature: rounding is of their size.
    scale = 1 + 10**exponent / min(temperatures.values())
    np.testing.assert_allclose(loss, wanted, rtol=2e-5, atol=1e-6 * scale * 10)
    prediction, target = student[0], teacher[0]
    cosines = [
        np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(np.asarray(prediction, np.float64), np.asarray(target, np.float64), strict=True)
    ]
    np.testing.assert_allclose(distance, 2 - 2 * np.array(cosines), atol=2e-6)


def test_byol_of_extreme_rows():
    rows = np.array([[3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0], [1.0, 1e-4]], np.float32)
    target = np.array([[0.6, 0.8], [0.6, 0.8], [0.6, 0.8], [1.0, 0.0]], np.float32)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_and_losses(rows, target):
        losses = byol(rows, target)
        return losses.sum(), losses

    gradient, losses = gradient_and_losses(rows, target)
    np.testing.assert_allclose(losses, [0, 0, 1, 0], atol=1e-6)
    assert np.isfinite(gradient).all()
    # Near agreement the distance is exact to its own size, not to that of 2.
    np.testing.assert_allclose(losses[3], 1e-8, rtol=1e-3)


@pytest.mark.parametrize("mapped", ["shard_map", "pmap"])
def test_center_over_eight_devices_is_that_of_one(mapped):
    teacher, center = draw(2, 16, 6), draw(6, seed=1)
    wanted = jax.jit(update_center)(center, teacher)
    update = functools.partial(update_center, axis_name="data")
    if mapped == "pmap":
        parts = teacher.reshape(2, 8, 2, 6).swapaxes(0, 1)
        actual = jax.device_get(jax.pmap(update, axis_name="data", in_axes=(None, 0))(center, parts))[0]
    else:
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        specs = (PartitionSpec(), PartitionSpec(None, "data"))
        actual = jax.jit(jax.shard_map(update, mesh=mesh, in_specs=specs, out_specs=PartitionSpec()))(center, teacher)
    np.testing.assert_allclose(actual, wanted, atol=1e-6)


def test_center_after_k_steps_is_its_closed_form():
    teachers = [draw(2, 4, 3, seed=s) for s in range(5)]
    center, move = np.zeros(3, np.float32), jax.jit(functools.partial(update_center, momentum=0.8))
    for teacher in teachers:
        center = move(center, teacher)
    wanted = sum(0.2 * 0.8 ** (4 - i) * np.asarray(t, np.float64).mean((0, 1)) for i, t in enumerate(teachers))
    np.testing.assert_allclose(center, wanted, rtol=1e-5)


S, T, C = draw(4, 3, 6), draw(2, 3, 6), draw(6)


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: byol(S[0], T[0, :2]),
            ValueError,
            r"prediction has shape \(3, 6\) and target has shape \(2, 6\)",
        ),
        (lambda: byol(S[0].astype(int), T[0]), TypeError, "prediction has dtype int32"),
        (
            lambda: byol(S[0, 0], T[0, 0]),
            ValueError,
            r"prediction has shape \(6,\); it must have 2 dimensions",
        ),
        (lambda: byol(S[0, :0], T[0, :0]), ValueError, r"every dimension must be at least 1"),
        (lambda: dino(S, T, C[:5]), ValueError, r"center has shape \(5,\); it must be \(6,\)"),
        (lambda: dino(S[..., :5], T, C), ValueError, "both must have as many images and logits"),
        (lambda: dino(S[:1], T, C), ValueError, "student has 1 crops and teacher 2"),
        (lambda: dino(S[:1], T[:1], C), ValueError, "one more be left"),
        (lambda: dino(S, T, C, student_temperature=0), ValueError, "student_temperature is 0; it must be a"),
        (lambda: dino(S, T, C, teacher_temperature=-0.1), ValueError, "teacher_temperature is -0.1"),
        (lambda: dino(S, T, C, teacher_temperature=float("nan")), ValueError, "teacher_temperature is nan"),
        (lambda: dino(S, T[0], C), ValueError, "teacher has shape"),
        (lambda: dino_mse(S, T, C[:5]), ValueError, r"center has shape \(5,\); it must be \(6,\)"),
        (lambda: dino_mse(S[:1], T, C), ValueError, "student has 1 crops and teacher 2"),
        (lambda: dino_mse(S.astype(int), T, C), TypeError, "student has dtype int32"),
        (lambda: update_center(C, T, momentum=1.5), ValueError, r"momentum is 1\.5; it must lie in \[0, 1\]"),
        (lambda: update_center(C[:1], T), ValueError, r"center has shape \(1,\)"),
    ],
)
def test_what_is_wrong_is_named(call, error, says):
    with pytest.raises(error, match=says) as raised:
        call()
    assert str(raised.value).endswith(".")
