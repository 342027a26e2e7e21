"""What the paper's ablations change of DINO: Sinkhorn-Knopp, the squared distance, the predictor, the head, the teacher."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sslax.config import check
from sslax.errors import InputError
from sslax.methods import Batch
from sslax.networks import DINOHead
from sslax.training import build
from tests import tiny
from tests.compiled import forward
from tests.losses.naive import naive_dino, naive_sinkhorn

OPTIONS = tiny.OPTIONS["dino"]
VARIANTS = {
    "sinkhorn": {"sinkhorn": 3},
    # Without momentum the centre is the mean of the step before.
    "mse": {"loss": "mse", "center_momentum": 0.0},
    "predictor": {"predictor": True, "head_batch_norm": True},
    "no bottleneck": {"head_bottleneck": 0, "centering": False},
}
# Step 4 is in the second of two epochs of rising temperature.
STEP, TEACHER_TEMPERATURE = 4, 0.07


def built(devices=1, **options):
    network = dataclasses.replace(tiny.NETWORKS["dino"], drop_path=0.0)
    config = tiny.config("dino", method=dataclasses.replace(OPTIONS, **options), network=network)
    return build(config, tiny.dataset(), devices=jax.devices()[:devices])


@pytest.fixture(scope="module")
def views():
    return tiny.views(built().method)


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, views):
    """The options, then what a step starts from, and its loss, output and gradients by parameters and aux."""
    options = VARIANTS[request.param]
    method = built(**options).method
    params, aux = tiny.start(method)
    aux["center"] = jnp.linspace(-0.1, 0.1, 24)
    run = jax.jit(jax.value_and_grad(method.loss, (0, 1), has_aux=True))
    (loss, output), gradients = run(params, aux, Batch(views), jax.random.key(2), STEP)
    return options, method, params, aux, loss, output, gradients


def every_crop(options, params, aux, views):
    """Logits [crops, n, k] of student and teacher in float64, by a forward of the backbone for each crop."""
    encoder = tiny.backbone("dino")
    sizes = {"features": 24, "layers": 2, "hidden": 16, "bottleneck": options.get("head_bottleneck", 8)}
    norm = options.get("head_batch_norm", False)

    @jax.jit
    def logits(params, statistics, views):
        h = [forward(encoder, params["encoder"], {}, view, train=False)[0] for view in views]
        predictor = "predictor" in params["head"]
        head = DINOHead(**sizes, batch_norm=norm, predictor=predictor)
        # The head's BatchNorm, where it has one, is over all crops.
        y, _ = forward(head, params["head"], statistics["head"], jnp.concatenate(h), train=True)
        return y.reshape(len(views), *h[0].shape[:1], -1)

    student = logits(params, aux["student"], views)
    teacher = logits(aux["teacher"]["params"], aux["teacher"]["statistics"], views[:2])
    return np.asarray(student, np.float64), np.asarray(teacher, np.float64)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_loss_is_what_the_paper_says(variant, views):
    options, _, params, aux, loss, output, _ = variant
    student, teacher = every_crop(options, params, aux, views)
    centered = teacher - (np.asarray(aux["center"], np.float64) if options.get("centering", True) else 0)
    q = np.exp(centered / TEACHER_TEMPERATURE)
    q /= q.sum(-1, keepdims=True)
    if "sinkhorn" in options:
        # Each crop by itself.
        q = np.stack([naive_sinkhorn(crop, TEACHER_TEMPERATURE, 3) for crop in teacher])
    cross_entropy = naive_dino(student, np.log(q), np.zeros(24), 0.1, 1.0).mean()
    wanted = cross_entropy
    if options.get("loss") == "mse":
        distances = ((unit(student)[None] - unit(centered)[:, None]) ** 2).sum(-1)
        wanted = np.mean([distances[t, s] for t in range(2) for s in range(4) if s != t])
    np.testing.assert_allclose(loss, wanted, rtol=2e-5)

    entropy = -(q * np.log(q)).sum(-1).mean()
    metrics = output.metrics
    np.testing.assert_allclose(metrics["target_entropy"], entropy, rtol=2e-5)
    np.testing.assert_allclose(metrics["kl"], cross_entropy - entropy, atol=5e-5)
    np.testing.assert_allclose(metrics["target_largest"], q.mean((0, 1)).max(), rtol=2e-5)
    assert metrics.get("chance_loss") == (None if options.get("loss") == "mse" else pytest.approx(math.log(24)))
    momentum = options.get("center_momentum", 0.9)
    center = momentum * np.asarray(aux["center"]) + (1 - momentum) * teacher.mean((0, 1))
    np.testing.assert_allclose(output.aux["center"], center, atol=3e-6)


def test_gradients_reach_every_parameter_and_nothing_else(variant):
    options, _, params, _, _, _, (by_params, by_aux) = variant
    assert jax.tree.structure(by_params) == jax.tree.structure(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(by_params):
        assert np.isfinite(gradient).all(), path
        # BatchNorm takes away what a bias before it adds.
        before_norm = ("['mlp1']['bias']", "['fc1']['bias']") if options.get("head_batch_norm") else ()
        if not jax.tree_util.keystr(path).endswith(before_norm):
            assert np.abs(gradient).max() > 0, path
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(by_aux))
    assert ("predictor" in by_params["head"]) == options.get("predictor", False)


def test_the_teacher_has_no_predictor_and_follows_the_student(variant):
    _, method, params, aux, _, output, _ = variant
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), aux)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), output.aux) == shapes
    moved = jax.tree.map(lambda p: p + 1, params)
    _, after = jax.eval_shape(method.after_update, moved, output.aux, 0)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == shapes
    assert "predictor" not in aux["teacher"]["params"]["head"]
    assert "predictor" not in aux["teacher"]["statistics"]["head"]
    teacher = {**params, "head": {name: value for name, value in params["head"].items() if name != "predictor"}}
    for student, copied in zip(jax.tree.leaves(teacher), jax.tree.leaves(aux["teacher"]["params"]), strict=True):
        np.testing.assert_array_equal(student, copied)


def test_parameters_are_named_as_they_were(views):
    """What a checkpoint of the defaults holds."""
    params, aux = tiny.start(built().method)
    assert {name: set(layer) for name, layer in params["head"].items()} == {
        "mlp1": {"kernel", "bias"},
        "mlp2": {"kernel", "bias"},
        "last_layer": {"v"},
    }
    assert set(aux) == {"student", "teacher", "center"}
    assert not aux["center"].any()
    assert jax.tree.structure(aux["teacher"]["params"]) == jax.tree.structure(params)


@pytest.mark.parametrize("variant", ["sinkhorn"], indirect=True)
def test_sinkhorn_over_eight_devices_is_over_all_their_images(variant, views):
    options, _, params, aux, loss, output, (gradients, _) = variant
    b = built(8, **options)
    batch = jax.device_put(Batch(views), jax.NamedSharding(b.mesh, jax.P("data")))
    run = jax.jit(jax.value_and_grad(b.method.loss, has_aux=True))
    (loss8, output8), gradients8 = run(params, aux, batch, jax.random.key(2), STEP)
    np.testing.assert_allclose(loss8, loss, rtol=1e-5)
    np.testing.assert_allclose(output8.metrics["target_entropy"], output.metrics["target_entropy"], rtol=1e-5)
    scale = float(optax.tree.norm(gradients))
    for one, eight in zip(jax.tree.leaves(gradients), jax.tree.leaves(gradients8), strict=True):
        np.testing.assert_allclose(eight, one, atol=1e-5 * scale)


def test_without_momentum_the_teacher_is_the_student_of_now():
    method = built(decay=0.0, decay_schedule="constant").method
    params, aux = tiny.start(method)
    rng = np.random.default_rng(0)
    moved = jax.tree.map(lambda p: p + 0.1 * rng.standard_normal(p.shape, np.float32), params)
    _, after = jax.jit(method.after_update)(moved, aux, jnp.asarray(7))
    for student, teacher in zip(jax.tree.leaves(moved), jax.tree.leaves(after["teacher"]["params"]), strict=True):
        np.testing.assert_allclose(teacher, student, atol=1e-7)
    assert not np.array_equal(after["teacher"]["params"]["head"]["mlp1"]["kernel"], params["head"]["mlp1"]["kernel"])


def test_the_last_layer_without_a_bottleneck_is_held_too():
    params = {
        "head": {"mlp1": {"kernel": jnp.ones((2, 2))}, "last_layer": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    }
    tx = built(head_bottleneck=0).method.optimizer(optax.sgd(0.1))
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    assert all((np.asarray(u) == 0).all() for u in jax.tree.leaves(updates["head"]["last_layer"]))
    assert (np.asarray(updates["head"]["mlp1"]["kernel"]) != 0).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sinkhorn": -1}, "method.sinkhorn is -1; it must be at least 0"),
        ({"head_bottleneck": -1}, "method.head_bottleneck is -1; it must be at least 0"),
        ({"loss": "mse", "sinkhorn": 3}, "method.sinkhorn is 3; with method.loss mse, .* it must be 0"),
        ({"predictor": True, "head_bottleneck": 0}, "method.predictor is True; .*head_bottleneck must be at least 1"),
    ],
)
def test_options_that_cannot_work(options, said):
    with pytest.raises(InputError, match=said):
        check(tiny.config("dino", method=dataclasses.replace(OPTIONS, **options)))


def test_a_loss_that_there_is_not():
    config = tiny.config("dino", method=dataclasses.replace(OPTIONS))
    object.__setattr__(config.method, "loss", "l1")
    with pytest.raises(InputError, match=r"method\.loss is 'l1'; it must be 'cross-entropy' or 'mse'"):
        check(config)


@pytest.mark.parametrize("options", [*VARIANTS.values(), {"decay": 0.0}, {"center_momentum": 1.0}], ids=str)
def test_options_that_work(options):
    check(tiny.config("dino", method=dataclasses.replace(OPTIONS, **options)))
