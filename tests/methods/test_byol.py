"""BYOL's own choices: what the target starts from, how its decay goes on, and that each view is a forward of its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.config import check
from sslax.errors import InputError
from sslax.methods import Batch
from sslax.networks import BYOLMLP, forward
from sslax.training import build
from tests import tiny


def built(**options):
    config = tiny.config("byol", method=dataclasses.replace(tiny.OPTIONS["byol"], **options))
    return build(config, tiny.dataset(), devices=jax.devices()[:1])


@pytest.mark.parametrize(("start", "same"), [("own", False), ("online", True)])
def test_the_target_starts_from_weights_of_its_own_or_a_copy(start, same):
    params, aux = built(target_start=start).method.init(jax.random.key(0), (tiny.SIZE, tiny.SIZE, 3))
    kernels = [tree["encoder"]["stem_conv"]["kernel"] for tree in (params, aux["target"]["params"])]
    assert np.array_equal(*kernels) == same


def test_a_constant_decay_stays(tmp_path):
    b = built(decay=0.5, decay_schedule="constant")
    params, aux = b.method.init(jax.random.key(0), b.image_shape)
    kernel = lambda tree: np.asarray(tree["encoder"]["stem_conv"]["kernel"])  # noqa: E731
    _, after = jax.jit(b.method.after_update)(params, aux, jnp.asarray(11))
    wanted = (kernel(params) + kernel(aux["target"]["params"])) / 2
    np.testing.assert_allclose(kernel(after["target"]["params"]), wanted, atol=1e-7)


def test_the_loss_is_both_directions_of_views_forwarded_one_by_one():
    b = built()
    params, aux = b.method.init(jax.random.key(0), b.image_shape)
    views = jax.jit(b.method.views)(jax.random.key(1), tiny.dataset().train.images[:16])
    loss, output = jax.jit(b.method.loss)(params, aux, Batch(views), jax.random.key(2), 0)

    options = tiny.OPTIONS["byol"]
    encoder = tiny.backbone("byol")
    projector = BYOLMLP(hidden=options.projector_hidden, features=options.projector_dim)
    predictor = BYOLMLP(hidden=options.predictor_hidden, features=options.projector_dim)
    online, target = aux["online"], aux["target"]

    def project(params, statistics, view):
        h, encoder_aux = forward(encoder, params["encoder"], statistics["encoder"], view, train=True)
        z, projector_aux = forward(projector, params["projector"], statistics["projector"], h, train=True)
        return z, {"encoder": encoder_aux, "projector": projector_aux}

    unit = lambda x: np.asarray(x, np.float64) / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    # Statistics of the running averages do not matter in training: each forward normalises by its own batch.
    p = [
        unit(forward(predictor, params["predictor"], online["predictor"], project(params, online, v)[0], train=True)[0])
        for v in views
    ]
    t = [unit(project(target["params"], target["statistics"], v)[0]) for v in views]
    wanted = sum(((p[i] - t[1 - i]) ** 2).sum(1).mean() for i in (0, 1))
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    # The running statistics have seen one view, then the other.
    _, first = project(params, online, views[0])
    _, both = project(params, first, views[1])
    for a, w in zip(jax.tree.leaves(output.aux["online"]["encoder"]), jax.tree.leaves(both["encoder"]), strict=True):
        np.testing.assert_allclose(a, w, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("decay", 1.5, r"method.decay is 1.5; it must lie in \[0, 1\]"),
        ("projector_dim", 0, "method.projector_dim is 0"),
    ],
)
def test_options_that_cannot_work(field, value, said):
    config = tiny.config("byol", method=dataclasses.replace(tiny.OPTIONS["byol"], **{field: value}))
    with pytest.raises(InputError, match=said):
        check(config)
