"""What recipes take from other codebases: the loss's scale, BatchNorm statistics of each view, where networks start, a schedule
by the epoch."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.config import NetworkConfig, OptimizerConfig, check
from sslax.errors import InputError
from sslax.losses import byol as byol_loss
from sslax.losses import nt_xent
from sslax.methods import METHODS, Batch
from sslax.methods.base import scale_gradient
from sslax.methods.stack import apply_to_crops
from sslax.networks import BYOLMLP, DINOHead, ResNet, SimCLRProjector
from sslax.training import build
from sslax.training.build import make_schedule
from tests import tiny
from tests.compiled import forward, init


def configured(name, *, network=None, **options):
    changes = {} if network is None else {"network": network}
    return tiny.config(name, method=dataclasses.replace(tiny.OPTIONS[name], **options), **changes)


def method_of(config):
    return build(config, tiny.dataset(), devices=jax.devices()[:1]).method


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_refused(name, scale):
    with pytest.raises(InputError, match=rf"^method.loss_scale is {scale}; it must be a finite number above 0\.$"):
        check(configured(name, loss_scale=scale))


def test_scaled_losses_have_the_gradients_of_their_sources():
    """lightly's BYOL is ½(-cos - cos), and SimCLR's release adds the means of both directions."""
    p1, p2, t1, t2 = jax.random.normal(jax.random.key(0), (4, 6, 5))

    def cosine(a, b):
        return jnp.mean(jnp.sum(a * b, -1) / jnp.linalg.norm(a, axis=-1) / jnp.linalg.norm(b, axis=-1))

    def directions(a, b):
        a, b = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
        logits = jnp.concatenate([a @ b.T, jnp.where(jnp.eye(6) == 1, -jnp.inf, a @ a.T)], axis=1) / 0.5
        return -jnp.mean(jnp.diag(jax.nn.log_softmax(logits, axis=1)[:, :6]))

    pairs = [
        (
            lambda p: scale_gradient((byol_loss(p[0], t2) + byol_loss(p[1], t1)).mean(), 0.25),
            lambda p: 0.5 * (-cosine(p[0], t2) - cosine(p[1], t1)),
        ),
        (
            lambda p: scale_gradient(nt_xent(p[0], p[1], temperature=0.5).mean(), 2.0),
            lambda p: directions(p[0], p[1]) + directions(p[1], p[0]),
        ),
    ]
    for ours, theirs in pairs:
        at = jnp.stack([p1, p2])
        np.testing.assert_allclose(jax.jit(jax.grad(ours))(at), jax.jit(jax.grad(theirs))(at), atol=1e-6)


def test_separate_views_of_simclr_have_statistics_of_their_own():
    method = method_of(configured("simclr", separate_views=True))
    params, aux = tiny.start(method)
    views = tiny.views(method)
    # Views of unlike brightness, whose joint statistics are far from their own.
    views = (views[0], 0.3 * views[1])
    loss, output = jax.jit(method.loss)(params, aux, Batch(views), jax.random.key(2), 0)

    encoder, head = tiny.backbone("simclr"), SimCLRProjector(features=8)
    projections, statistics = [], dict(aux)
    for view in views:
        h, statistics["encoder"] = forward(encoder, params["encoder"], statistics["encoder"], view, train=True)
        z, statistics["projector"] = forward(head, params["projector"], statistics["projector"], h, train=True)
        projections.append(z)
    np.testing.assert_allclose(loss, nt_xent(*projections, temperature=0.5).mean(), rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), output.aux, statistics)


def test_separate_crops_of_dino_have_statistics_of_their_own():
    encoder = tiny.backbone("simclr")
    head = DINOHead(features=6, layers=2, hidden=8, bottleneck=4, batch_norm=True)
    sizes = (8, 8, 4)
    crops = [jax.random.normal(jax.random.key(i), (10, s, s, 3)) * (i + 1) for i, s in enumerate(sizes)]
    params, statistics = {}, {}
    params["encoder"], statistics["encoder"] = init(encoder, jax.random.key(5), crops[0])
    features, _ = forward(encoder, params["encoder"], statistics["encoder"], crops[0], train=False)
    params["head"], statistics["head"] = init(head, jax.random.key(6), features)

    resolutions = [jnp.stack(crops[:2], axis=1), crops[2][:, None]]
    run = jax.jit(functools.partial(apply_to_crops, {"encoder": encoder, "head": head}, separate=True))
    outputs, after = run(params, statistics, resolutions)
    now = dict(statistics)
    for place, crop in enumerate(crops):
        h, now["encoder"] = forward(encoder, params["encoder"], now["encoder"], crop, train=True)
        y, now["head"] = forward(head, params["head"], now["head"], h, train=True)
        np.testing.assert_allclose(outputs["head"][place], y, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), after, now)


@pytest.mark.parametrize("whose", ["teacher", "student"])
def test_dino_evaluates_the_network_that_is_asked_for(whose):
    method = method_of(configured("dino", evaluate=whose))
    params, aux = tiny.start(method)
    # Of a teacher that is not the student any more.
    aux["teacher"]["params"] = jax.tree.map(lambda x: x + 1, aux["teacher"]["params"])
    student = params["encoder"], aux["student"]["encoder"]
    teacher = aux["teacher"]["params"]["encoder"], aux["teacher"]["statistics"]["encoder"]
    wanted = student if whose == "student" else teacher
    jax.tree.map(np.testing.assert_array_equal, method.evaluated(params, aux), wanted)


def conv_shapes(params):
    """(kernel, fan-in, fan-out) of each convolution."""
    leaves = [x for x in jax.tree.leaves(params) if x.ndim == 4]
    return [(x, math.prod(x.shape[:3]), math.prod(x.shape[:2]) * x.shape[3]) for x in leaves]


@pytest.mark.parametrize("initial", ["release", "torch", "torchvision"])
def test_convolutions_start_as_their_source_has_them(initial):
    network = ResNet(stages=(1, 1), width=32, stem="small", initial=initial, zero_residual=initial == "release")
    params, _ = jax.jit(lambda key: init(network, key, jnp.zeros((1, 8, 8, 3))))(jax.random.key(0))
    for kernel, fan_in, fan_out in conv_shapes(params):
        variance = {"release": 1 / fan_in, "torch": 1 / (3 * fan_in), "torchvision": 2 / fan_out}[initial]
        np.testing.assert_allclose(kernel.std(), variance**0.5, rtol=0.1)
        # A uniform distribution ends at √3 deviations.
        assert (jnp.abs(kernel).max() <= fan_in**-0.5) == (initial == "torch")
    scales = [params[name]["BatchNorm_1"]["scale"] for name in ("stage1_block1", "stage2_block1")]
    assert all((scale == (0 if initial == "release" else 1)).all() for scale in scales)


@pytest.mark.parametrize(
    ("head", "own"),
    [
        (SimCLRProjector(layers=2, features=32), 0.01),
        (BYOLMLP(hidden=64, features=32, output_bias=True), 64**-0.5),
        (DINOHead(features=32, layers=2, hidden=64, bottleneck=32), 0.02),
    ],
    ids=["simclr", "byol", "dino"],
)
def test_heads_start_as_their_release_or_as_torch(head, own):
    for initial, std in (("release", own), ("torch", (3 * 64) ** -0.5), ("torchvision", (3 * 64) ** -0.5)):
        params, _ = init(head.clone(initial=initial), jax.random.key(0), jnp.zeros((2, 64)))
        layers = [params[name] for name in params if "Dense" in name or "mlp" in name]
        assert len(layers) == 2
        for layer in layers:
            np.testing.assert_allclose(layer["kernel"].std(), std, rtol=0.1)
            if "bias" in layer:
                largest = float(jnp.abs(layer["bias"]).max())
                assert largest == 0 if initial == "release" else 0.09 < largest <= 1 / 8


def test_heads_have_the_offsets_that_lightlys_have():
    x = jnp.zeros((2, 6))
    names = {
        name: {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(init(head, jax.random.key(0), x)[0])}
        for name, head in {
            "simclr": SimCLRProjector(features=4),
            "simclr offset": SimCLRProjector(features=4, last_offset=True),
            "byol": BYOLMLP(hidden=4, features=4),
            "byol bias": BYOLMLP(hidden=4, features=4, output_bias=True),
        }.items()
    }
    assert names["simclr offset"] - names["simclr"] == {"['BatchNorm_1']['bias']"}
    assert names["byol bias"] - names["byol"] == {"['Dense_1']['bias']"}


def test_a_stem_without_its_relu_passes_negative_numbers_on():
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    # Without blocks the features are the mean of the stem's map.
    with_relu, without = (ResNet(stages=(), widths=(6,), stem="small", stem_relu=relu) for relu in (True, False))
    params, statistics = init(with_relu, jax.random.key(0), x)
    ours, _ = forward(without, params, statistics, x, train=False)
    rectified, _ = forward(with_relu, params, statistics, x, train=False)
    assert (ours < 0).any()
    assert (rectified > jnp.maximum(ours, 0)).all()


def test_group_norm_is_refused_with_another_start():
    config = configured("simclr", network=NetworkConfig(norm="group", initial="torch"))
    with pytest.raises(
        InputError, match=r"^network.initial is torch; with network.norm group, .* it must be release\.$"
    ):
        check(config)


def test_a_schedule_by_the_epoch_is_torchs_cosine():
    optimizer = OptimizerConfig(lr=0.5, warmup_epochs=0.0, schedule="epoch")
    schedule = make_schedule(tiny.config("simclr", optim=optimizer, epochs=4), 5)
    rates = [float(schedule(step)) for step in range(20)]
    wanted = [0.5 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4) for _ in range(5)]
    np.testing.assert_allclose(rates, wanted, rtol=1e-6)
    traced = jax.jit(jax.vmap(schedule))(jnp.arange(20))
    np.testing.assert_allclose(traced, wanted, rtol=1e-6)
