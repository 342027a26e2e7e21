"""BYOL's own choices: what the target starts from, a constant decay, and its options for ablations: depths and norms of the
heads, no target network, negatives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.config import NetworkConfig, check
from sslax.errors import InputError
from sslax.losses import nt_xent
from sslax.methods import Batch
from sslax.methods.byol import cosines
from sslax.networks import BYOLMLP, with_views
from sslax.training import accumulation_note, build
from tests import tiny
from tests.compiled import forward


def configured(network=None, **options):
    changes = {} if network is None else {"network": network}
    return tiny.config("byol", method=dataclasses.replace(tiny.OPTIONS["byol"], **options), **changes)


def built(*, devices=1, **options):
    return build(configured(**options), tiny.dataset(), devices=jax.devices()[:devices])


def paths(tree):
    return {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(tree)}


@pytest.mark.parametrize(("start", "same"), [("own", False), ("online", True)])
def test_the_target_starts_from_weights_of_its_own_or_a_copy(start, same):
    params, aux = tiny.start(built(target_start=start).method)
    kernels = [tree["encoder"]["stem_conv"]["kernel"] for tree in (params, aux["target"]["params"])]
    assert np.array_equal(*kernels) == same


def test_a_constant_decay_stays(tmp_path):
    b = built(decay=0.5, decay_schedule="constant")
    params, aux = tiny.start(b.method)
    kernel = lambda tree: np.asarray(tree["encoder"]["stem_conv"]["kernel"])  # noqa: E731
    _, after = jax.jit(b.method.after_update)(params, aux, jnp.asarray(11))
    wanted = (kernel(params) + kernel(aux["target"]["params"])) / 2
    np.testing.assert_allclose(kernel(after["target"]["params"]), wanted, atol=1e-7)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("decay", 1.5, r"method.decay is 1.5; it must lie in \[0, 1\]"),
        ("projector_dim", 0, "method.projector_dim is 0"),
        ("projector_layers", 0, "method.projector_layers is 0; it must be at least 1"),
        ("predictor_layers", -1, "method.predictor_layers is -1; it must be at least 1"),
        ("negatives", 1.5, r"method.negatives is 1.5; it must lie in \[0, 1\]"),
        ("negatives", float("nan"), "method.negatives is nan"),
        ("temperature", 0.0, "method.temperature is 0.0; it must be a finite number above 0"),
    ],
)
def test_options_that_cannot_work(field, value, said):
    config = tiny.config("byol", method=dataclasses.replace(tiny.OPTIONS["byol"], **{field: value}))
    with pytest.raises(InputError, match=said):
        check(config)


def test_the_norms_of_resnets_are_not_for_vits():
    network = dataclasses.replace(tiny.NETWORKS["dino"], norm="group")
    with pytest.raises(
        InputError, match=r"network.norm is group, which is of ResNets; vit-micro has LayerNorms, so it"
    ):
        check(configured(network))


def test_default_parameters_have_the_names_that_they_had():
    params, aux = jax.eval_shape(lambda: (b := built()).method.init(jax.random.key(0), b.image_shape))
    head = {"Dense_0/kernel", "Dense_0/bias", "BatchNorm_0/scale", "BatchNorm_0/bias", "Dense_1/kernel"}
    assert set(params) == {"encoder", "projector", "predictor"}
    assert paths(params["projector"]) == paths(params["predictor"]) == head
    assert {name: set(part) for name, part in aux.items()} == {
        "online": {"encoder", "projector", "predictor"},
        "target": {"params", "statistics"},
    }
    assert paths(aux["target"]["params"]["projector"]) == head


GROUP = NetworkConfig(name="patch-resnet", width=4, patch_size=2, norm="group")
VARIANTS = {
    "negatives": {
        "projector_layers": 1,
        "predictor_layers": 3,
        "predictor_norm": "layer",
        "negatives": 0.5,
        "temperature": 0.3,
    },
    "nothing crosses the batch": {"network": GROUP, "projector_norm": "none", "predictor_norm": "none"},
    "no target": {"network": dataclasses.replace(GROUP, norm="none"), "projector_norm": "none", "target": "online"},
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request):
    """A step of plain gradient descent: its method, what it started from, what it gave."""
    b = built(**VARIANTS[request.param])
    views = tuple(jax.random.uniform(jax.random.key(1), (2, 16, tiny.SIZE, tiny.SIZE, 3)))
    params, aux = tiny.start(b.method)

    @jax.jit
    def step(params, aux):
        (loss, output), gradient = jax.value_and_grad(b.method.loss, has_aux=True)(
            params, aux, Batch(views), jax.random.key(2), 0
        )
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
        return loss, output, gradient, b.method.after_update(moved, output.aux, 0)

    return request.param, b, aux, step(params, aux)


def test_a_step_of_every_variant_is_finite(variant):
    _, _, aux, (loss, output, gradient, after) = variant
    assert loss.shape == ()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((loss, output, gradient, after)))
    # Kernels: a bias before BatchNorm has no gradient.
    heads = [leaf for head in ("projector", "predictor") for leaf in jax.tree.leaves(gradient[head]) if leaf.ndim > 1]
    assert all(np.abs(kernel).max() > 0 for kernel in heads)
    for now in (output.aux, after[1]):
        assert jax.tree.structure(now) == jax.tree.structure(aux)
    for name in ("positive_cosine", "negative_cosine"):
        assert output.metrics[name].dtype == jnp.float32
        assert -1 <= output.metrics[name] <= 1


def test_variants_have_the_state_that_they_need(variant):
    name, b, aux, (_, output, gradient, _) = variant
    projector, predictor = (paths(gradient[head]) for head in ("projector", "predictor"))
    note = accumulation_note(dataclasses.replace(configured(), accumulate=4), b.method, b.image_shape)
    assert ("target" in aux) == ("decay" in output.metrics) == (name != "no target")
    bare = {"Dense_0/kernel", "Dense_0/bias", "Dense_1/kernel"}
    if name == "negatives":
        assert projector == {"Dense_0/kernel"}
        assert {"LayerNorm_0/scale", "LayerNorm_1/scale", "Dense_2/kernel"} < predictor
        assert aux["online"]["projector"] == aux["online"]["predictor"] == {}
        assert "the negatives of an image and BatchNorm's statistics (with 4 updates" in note
    elif name == "nothing crosses the batch":
        assert projector == predictor == bare
        assert not jax.tree.leaves((aux["online"], aux["target"]["statistics"]))
        assert note is None
    else:
        assert projector == bare < predictor
        assert paths(aux["online"]) == {"predictor/BatchNorm_0/mean", "predictor/BatchNorm_0/var"}


def contrastive(devices=1):
    """Views and their loss with gradient, without predictor and target network and with negatives."""
    b = built(devices=devices, target="online", negatives=1.0, predictor_hidden=0, temperature=0.2)
    rows = jax.NamedSharding(b.mesh, jax.P("data"))
    params, aux = tiny.start(b.method)

    @jax.jit
    def step(params, aux, images):
        views = b.method.views(jax.random.key(1), images)
        loss = jax.value_and_grad(b.method.loss, has_aux=True)
        return views, loss(params, aux, Batch(views), jax.random.key(2), 0)

    return params, aux, step(params, aux, jax.device_put(tiny.dataset().train.images[:16], rows))


@pytest.fixture(scope="module")
def one_device():
    return contrastive()


def close(actual, wanted):
    largest = max(np.abs(x).max() for x in jax.tree.leaves(wanted))
    for a, w in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, w, atol=1e-5 * largest)


def test_without_predictor_and_target_and_with_negatives_it_is_simclr(one_device):
    """The loss is 4 + 4α·nt_xent of the projections, and the gradient flows through both sides of every cosine."""
    params, aux, (views, ((loss, _), gradient)) = one_device
    options = tiny.OPTIONS["byol"]
    encoder = with_views(tiny.backbone("byol"), 2)
    projector = BYOLMLP(hidden=options.projector_hidden, features=options.projector_dim, views=2)

    @jax.jit
    @jax.value_and_grad
    def simclr(params):
        x = jnp.stack(views, axis=1).reshape(-1, *views[0].shape[1:])
        h, _ = forward(encoder, params["encoder"], aux["online"]["encoder"], x, train=True)
        z, _ = forward(projector, params["projector"], aux["online"]["projector"], h, train=True)
        return 4 + 0.8 * nt_xent(z[0::2], z[1::2], temperature=0.2).mean()

    wanted, wanted_gradient = simclr(params)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    close(gradient, wanted_gradient)
    assert gradient["predictor"] == {}


@pytest.mark.slow
def test_negatives_of_eight_devices_are_those_of_one(one_device):
    _, _, (_, (one, one_gradient)) = one_device
    _, _, (_, (eight, eight_gradient)) = contrastive(8)
    np.testing.assert_allclose(eight[0], one[0], rtol=1e-5)
    close(eight_gradient, one_gradient)
    close(eight[1].metrics, one[1].metrics)


def test_cosines_are_the_means_over_pairs():
    p, t = jax.random.normal(jax.random.key(0), (2, 2, 5, 3))
    unit = lambda x: np.asarray(x, np.float64) / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    matrices = [unit(p[i]) @ unit(t[1 - i]).T for i in (0, 1)]
    found = cosines(tuple(p), tuple(t))
    np.testing.assert_allclose(found["positive_cosine"], np.mean([np.diag(m).mean() for m in matrices]), atol=1e-6)
    others = [m[~np.eye(5, dtype=bool)].mean() for m in matrices]
    np.testing.assert_allclose(found["negative_cosine"], np.mean(others), atol=1e-6)
    assert (np.asarray(jax.grad(lambda p: sum(cosines(tuple(p), tuple(t)).values()))(p)) == 0).all()
    # A micro-batch may be a single image.
    assert float(cosines(tuple(p[:, :1]), tuple(t[:, :1]))["negative_cosine"]) == 0


def test_collapsed_outputs_have_cosines_of_one():
    same = jnp.ones((2, 8, 3)) * jnp.arange(1.0, 9.0)[None, :, None]
    for value in cosines(tuple(same), tuple(same)).values():
        np.testing.assert_allclose(value, 1, atol=1e-6)
