"""Micro-batches equal the whole batch if images are independent; a note names the changes if they are not."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from sslax.augment import DINOViews
from sslax.config import check, check_against_data, differences, to_dict
from sslax.errors import InputError
from sslax.methods import Batch, Method, Output
from sslax.runs import RunDir
from sslax.training import accumulation_note, build, fit, loss_and_gradient
from tests import tiny

# Stochastic depth draws per row, and a micro-batch has other rows.
VIT = dataclasses.replace(tiny.NETWORKS["dino"], depth=1, drop_path=0.0)
SMALL = {
    "dino": dataclasses.replace(tiny.OPTIONS["dino"], views=DINOViews.small(tiny.SIZE, local_crops=1), head_layers=1),
    "simsiam": tiny.OPTIONS["simsiam"],
}


@functools.cache
def begun(name):
    """The first state of a method on one device, as NumPy arrays, and its build."""
    config = tiny.config(name, method=SMALL[name], **({"network": VIT} if name == "dino" else {}))
    b = build(config, tiny.dataset(), devices=jax.devices()[:1])
    params, aux = jax.device_get(tiny.start(b.method))
    if "center" in aux:
        aux["center"] = np.linspace(-1, 1, len(aux["center"]), dtype=np.float32)
    return config, b, params, aux


def taken(name, accumulate, *, devices=1, **options):
    """Loss, output and gradient of 16 gray and slightly noisy views at the initial state, with a centre that is not 0."""
    config, b, params, aux = begun(name)
    if devices > 1:
        b = build(config, tiny.dataset(), devices=jax.devices()[:devices])
    shapes = jax.eval_shape(b.method.views, jax.random.key(1), tiny.dataset().train.images[:16])
    rng = np.random.default_rng(0)
    views = jax.tree.map(lambda x: 0.5 + 0.01 * rng.standard_normal(x.shape, np.float32), shapes)
    batch = jax.device_put(Batch(views), jax.NamedSharding(b.mesh, jax.P("data")))
    run = jax.jit(loss_and_gradient(b.method, accumulate=accumulate, **options))
    return jax.device_get(run(params, aux, batch, jax.random.key(2), 3))


def close(a, b):
    largest = max(np.abs(x).max() for x in jax.tree.leaves(b))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5 * largest)


@pytest.fixture(scope="module")
def whole():
    return taken("dino", 1)


@pytest.mark.parametrize(("parts", "options"), [(2, {}), (4, {"scan": True, "devices": 4})], ids=str)
def test_dino_on_a_vit_is_exact(whole, parts, options):
    (loss, output), gradient = taken("dino", parts, **options)
    np.testing.assert_allclose(loss, whole[0][0], rtol=1e-5)
    close(gradient, whole[1])
    # The centre is updated once, with the mean of the whole batch; features are in the order of the batch.
    close(output.aux["center"], whole[0][1].aux["center"])
    close(output.features, whole[0][1].features)
    close(output.metrics["kl"], whole[0][1].metrics["kl"])


def test_batch_statistics_are_updated_with_each_micro_batch():
    (_, output), _ = taken("simsiam", 2)
    means = output.aux["encoder"]["stem_norm"]["mean"]
    _, _, params, _ = begun("simsiam")
    gray = (0.5 * params["encoder"]["stem_conv"]["kernel"]).sum((0, 1, 2))
    # Two views of two micro-batches update them four times, starting from 0.
    np.testing.assert_allclose(means, (1 - 0.9**4) * gray, atol=0.01)


def test_micro_batches_have_their_own_keys():
    def loss(params, aux, batch, key, step):
        drawn = jax.random.uniform(key)
        return params * drawn, Output(aux, {"drawn": drawn}, batch.views)

    method = Method(init=None, views=None, loss=loss, embed=None)
    key = jax.random.key(2)
    batch = Batch(np.zeros((4, 1), np.float32))
    (_, output), gradient = jax.jit(loss_and_gradient(method, accumulate=2))(1.0, {}, batch, key, 0)
    wanted = jax.jit(lambda: sum(jax.random.uniform(jax.random.fold_in(key, part)) for part in (0, 1)) / 2)()
    np.testing.assert_allclose(output.metrics["drawn"], wanted, rtol=1e-6)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-6)


@pytest.mark.parametrize("feed", ["resident", "streamed"])
def test_runs_of_both_feeds_accumulate(feed, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def differentiate(method, *, accumulate=1):
        raise Reached(accumulate)

    config, data, built = tiny.config(accumulate=2, feed=feed), tiny.dataset(), tiny.alone(tiny.config())
    monkeypatch.setattr("sslax.training.step.loss_and_gradient", differentiate)
    built = built._replace(programs=built.programs._replace(steps=None, update=None))
    with pytest.raises(Reached, match="2"):
        fit(config, built, data, RunDir(tmp_path / "run", to_dict(config)))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("simclr", {}, "the negatives of an image and BatchNorm's statistics (with 4 updates of the running"),
        ("byol", {}, "16: BatchNorm's statistics (with 4 updates of the running averages per step) come from"),
        ("dino", {}, None),
        ("moco-v3", {}, "the negatives of an image, the keys that enter the queue at once and BatchNorm's statistics"),
        ("swav", {"sinkhorn_iterations": 0, "queue": 0}, "16: BatchNorm's statistics (with 4 updates of the running"),
        ("dino", {"sinkhorn": 3}, "the targets that Sinkhorn-Knopp assigns come from each micro-batch of 4 images"),
    ],
)
def test_the_note_names_the_changes(name, options, said):
    config = tiny.config(name, accumulate=4, method=dataclasses.replace(tiny.OPTIONS[name], **options))
    b = build(config, tiny.dataset(), devices=jax.devices()[:1])
    note = accumulation_note(config, b.method, b.image_shape)
    assert note is None if said is None else said in note
    assert accumulation_note(tiny.config(name), b.method, b.image_shape) is None


def test_numbers_that_do_not_divide():
    with pytest.raises(InputError, match="accumulate is 3; it must divide batch_size, which is 16"):
        check(tiny.config(accumulate=3))
    with pytest.raises(InputError, match="accumulate is 0; it must be at least 1"):
        check(tiny.config(accumulate=0))
    with pytest.raises(InputError, match="accumulate is 4; the micro-batches of 4 images must be a multiple of the 8"):
        check_against_data(tiny.config(accumulate=4), images=64, canvas=8, devices=8)


def test_accumulation_changes_the_run_and_rematerialisation_does_not():
    fields = to_dict(tiny.config())
    assert differences(fields, to_dict(tiny.config(accumulate=2))) == ["accumulate: 1 there, 2 here"]
    assert to_dict(tiny.config(remat=True, dry_run=True)) == fields
