"""SimCLR's options: the losses that the paper compares, inner products, the head's outputs, and ops on one branch."""

import contextlib
import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from sslax.config import check
from sslax.errors import InputError
from sslax.losses import margin_triplet, nt_logistic, nt_xent
from sslax.methods import Batch, SimCLR
from sslax.networks import SimCLRProjector
from sslax.training import build
from tests import tiny
from tests.compiled import forward

OTHERS = {
    "nt-logistic": lambda z1, z2, **mined: nt_logistic(z1, z2, temperature=0.5, **mined),
    "margin": lambda z1, z2, **mined: margin_triplet(z1, z2, margin=0.4, **mined),
}


def options(**changes):
    return dataclasses.replace(tiny.OPTIONS["simclr"], margin=0.4, **changes)


def built(devices=1, **changes):
    return build(tiny.config(method=options(**changes)), tiny.dataset(), devices=jax.devices()[:devices])


@pytest.fixture(scope="module")
def start():
    """Parameters, statistics and views that all options share."""
    b = built()
    params, aux = tiny.start(b.method)
    return params, aux, tiny.views(b.method)


def evaluated(b, start):
    params, aux, views = start
    rows = jax.NamedSharding(b.mesh, jax.P("data"))
    views = tuple(jax.device_put(view, rows) for view in views)
    function = jax.jit(jax.value_and_grad(b.method.loss, has_aux=True))
    (loss, output), gradients = function(params, aux, Batch(views), jax.random.key(2), 0)
    return loss, output.metrics, gradients


def projections(start):
    """The head's outputs in training, of both views in one batch."""
    return _projections(*start)


@jax.jit
def _projections(params, aux, views):
    view1, view2 = views
    x = jnp.stack([view1, view2], axis=1).reshape(-1, *view1.shape[1:])
    h, _ = forward(tiny.backbone("simclr"), params["encoder"], aux["encoder"], x, train=True)
    head = SimCLRProjector(layers=2, features=8)
    z, _ = forward(head, params["projector"], aux["projector"], h, train=True)
    return z[0::2], z[1::2]


@pytest.mark.parametrize(
    ("loss", "semi_hard"),
    [
        ("nt-logistic", False),
        ("margin", True),
        pytest.param("nt-logistic", True, marks=pytest.mark.slow),
        pytest.param("margin", False, marks=pytest.mark.slow),
    ],
)
def test_the_other_losses_are_theirs_on_one_device_and_on_eight(loss, semi_hard, start):
    value, metrics, gradients = evaluated(built(loss=loss, semi_hard=semi_hard), start)
    np.testing.assert_allclose(value, OTHERS[loss](*projections(start), semi_hard=semi_hard).mean(), rtol=1e-5)
    assert set(metrics) == {"projection_std"}
    many, _, gradients8 = evaluated(built(8, loss=loss, semi_hard=semi_hard), start)
    np.testing.assert_allclose(many, value, rtol=1e-5)
    largest = max(np.abs(x).max() for x in jax.tree.leaves(gradients))
    assert largest > 0
    for a, b in zip(jax.tree.leaves(gradients8), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * largest)


def test_without_the_norm(start):
    value, metrics, _ = evaluated(built(normalize=False), start)
    wanted = nt_xent(*projections(start), temperature=0.5, normalize=False).mean()
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(metrics["chance_loss"], np.log(31), rtol=1e-6)
    margin = margin_triplet(*projections(start), margin=0.4, normalize=False).mean()
    np.testing.assert_allclose(evaluated(built(loss="margin", normalize=False), start)[0], margin, rtol=1e-5)


def test_the_heads_outputs_are_of_the_features(start):
    params, aux, _ = start
    method = built().method
    images, aspects = tiny.dataset().test.images[:6], jnp.linspace(0.5, 2.0, 6)
    project, embed = jax.jit(method.project), jax.jit(method.embed)
    z, h = project(params, aux, images, aspects), embed(params, aux, images, aspects)
    wanted, _ = forward(SimCLRProjector(layers=2, features=8), params["projector"], aux["projector"], h, train=False)
    np.testing.assert_allclose(z, wanted, atol=1e-6)
    assert z.shape == (6, 8)
    assert np.abs(z - project(params, aux, images)).max() > 0
    # Each image alone, by the running statistics.
    np.testing.assert_allclose(project(params, aux, images[::-1], aspects[::-1])[::-1], z, atol=1e-5)


def test_methods_without_a_head_to_show():
    assert build(tiny.config("dino"), tiny.dataset(), devices=jax.devices()[:1]).method.project is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"semi_hard": True}, "method.semi_hard is True, but nt-xent takes all negatives"),
        ({"loss": "triplet"}, "method.loss is triplet; it must be one of nt-xent, nt-logistic, margin."),
        ({"margin": -0.1}, "method.margin is -0.1; it must be a finite number of at least 0."),
        ({"margin": float("nan")}, "method.margin is nan"),
    ],
)
def test_options_that_cannot_work(changes, said):
    method = dataclasses.replace(tiny.OPTIONS["simclr"])
    for name, value in changes.items():
        object.__setattr__(method, name, value)  # As a configuration read from a file may have it.
    with pytest.raises(InputError, match=said):
        check(tiny.config(method=method))


def test_one_branch_on_the_command_line_and_through_a_step():
    config = tyro.cli(
        type(tiny.config()),
        default=tiny.config(),
        args=["--method.views.one-branch", "crop", "color", "--method.loss", "margin", "--method.semi-hard"],
    )
    assert config.method.views.one_branch == ("crop", "color")
    assert (config.method.loss, config.method.semi_hard) == ("margin", True)
    check(config)
    b = build(config, tiny.dataset(), devices=jax.devices()[:1])
    params, aux = tiny.start(b.method)
    views = jax.jit(b.method.views)(jax.random.key(1), tiny.dataset().train.images[:16])
    loss, _, gradients = evaluated(b, (params, aux, views))
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    with contextlib.redirect_stderr(io.StringIO()) as said, pytest.raises(SystemExit):
        tyro.cli(SimCLR, args=["--views.one-branch", "zoom"])
    assert "zoom" in said.getvalue()
