"""Fine-tuning: learning, reuse of compiled programs, frozen backbones, validation, and options."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from sslax.errors import InputError
from sslax.evaluation import balanced_subset
from sslax.export import to_torch
from sslax.finetuning import FinetuneOptions, Finetuner, held_out
from sslax.finetuning.techniques import layers_above, mix
from sslax.networks import init
from sslax.training import NonFinite
from tests import tiny

OPTIONS = FinetuneOptions(steps=40, batch_size=16, lr=1e-2, eval_every=10, crop_area=(0.8, 1.0))
KEY = jax.random.key(0)


def tuner(name="simclr", backbone=None, **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    recipe = tiny.OPTIONS[name].views
    return Finetuner(backbone or tiny.backbone(name), recipe, tiny.dataset().train, num_classes=2, options=options)


@functools.cache
def weights(backbone=None):
    """The first weights of a network, by default that of SimCLR."""
    start = jax.jit(functools.partial(init, backbone or tiny.backbone("simclr")))
    return start(KEY, np.zeros((1, tiny.SIZE, tiny.SIZE, 3), np.float32))


@pytest.fixture(scope="module")
def simclr():
    return tuner()


def test_it_learns_two_colours_from_a_few_labels(simclr):
    data = tiny.dataset()
    index = balanced_subset(data.train.labels, per_class=4)
    classifier = simclr.train(KEY, *weights(), index)
    assert simclr.accuracy(classifier, data.test) > 0.9
    assert simclr.predict(classifier, data.test).shape == (32,)
    # The same key and labels give the same weights, and the initial weights are not consumed.
    again = simclr.train(KEY, *weights(), index)
    jax.tree.map(np.testing.assert_array_equal, classifier, again)
    # Neither other labels nor weights as a run leaves them, on its mesh, compile another program.
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    simclr.train(KEY, *jax.device_put(weights(), jax.NamedSharding(mesh, jax.P())), index[:5])
    assert simclr._step._cache_size() == 1


def test_validation_keeps_the_best_weights(simclr):
    data, seen = tiny.dataset(), []
    classifier = simclr.train(KEY, *weights(), np.arange(64), validation=data.test, follow=seen.append)
    assert [line["step"] for line in seen] == [10, 20, 30, 40][: len(seen)]
    assert simclr.accuracy(classifier, data.test) == max(line["validation"] for line in seen)
    # Between equal accuracies the lower loss is kept and marked as best.
    scores = [(line["validation"], -line["validation_loss"]) for line in seen]
    assert [line["best"] for line in seen] == [score > max(scores[:i], default=(-1,)) for i, score in enumerate(scores)]
    assert seen[0]["epoch"] == 10 * 16 / 64
    assert seen[-1]["loss"] < seen[0]["loss"]


def test_training_stops_early_without_validation_gain(simclr):
    data, seen = tiny.dataset(), []
    # Wrong validation labels: training makes the accuracy worse.
    wrong = dataclasses.replace(data.test, labels=1 - data.test.labels)
    impatient = tuner(patience=1, eval_every=2)
    impatient.train(KEY, *weights(), np.arange(64), validation=wrong, follow=seen.append)
    assert seen[-1]["step"] < 40
    assert not seen[-1]["best"]


def test_metrics_without_validation_have_loss_and_learning_rate(simclr):
    seen = []
    simclr.train(KEY, *weights(), np.arange(64), follow=seen.append)
    assert [line["step"] for line in seen] == [10, 20, 30, 40]
    assert all(set(line) == {"step", "epoch", "loss", "lr"} for line in seen)
    # The learning rate increases for a tenth of the steps, then decreases.
    assert seen[0]["lr"] > seen[1]["lr"] > seen[2]["lr"] > seen[3]["lr"] > 0


def test_a_non_finite_loss_stops_the_training(simclr):
    params, statistics = weights()
    broken = jax.tree.map(lambda p: p * np.nan, params)
    with pytest.raises(NonFinite, match=r"The loss is nan at step 10 of fine-tuning; a lower lr"):
        simclr.train(KEY, broken, statistics, np.arange(64))


def test_a_frozen_backbone_keeps_its_weights_and_statistics():
    frozen = tuner(freeze=True)
    params, statistics = weights()
    classifier = frozen.train(KEY, params, statistics, np.arange(64))
    jax.tree.map(np.testing.assert_array_equal, classifier.params, params)
    jax.tree.map(np.testing.assert_array_equal, classifier.statistics, statistics)
    assert any(np.abs(x).max() > 0 for x in jax.tree.leaves(classifier.head))


def test_layer_decay_slows_down_lower_layers():
    # With a decay factor near 0, only the head moves noticeably.
    vit = tiny.backbone("dino").clone(depth=1)
    slow = tuner("dino", vit, layer_decay=1e-4, steps=3, weight_decay=0.0)
    params, statistics = weights(vit)
    classifier = slow.train(KEY, params, statistics, np.arange(64))

    def moved(name):
        pairs = zip(jax.tree.leaves(classifier.params[name]), jax.tree.leaves(params[name]), strict=True)
        return max(float(np.abs(a - b).max()) for a, b in pairs)

    # The last norm is above the blocks, like the head.
    assert moved("norm") > 1e-4
    assert 0 < moved("block1") < 1e-5
    assert moved("patch_embed") <= 1e-7
    assert max(float(np.abs(x).max()) for x in jax.tree.leaves(classifier.head)) > 1e-3


def test_layer_decay_follows_the_rule_of_beit_and_mae():
    vit = tiny.backbone("dino").clone(depth=2)
    params, statistics = weights(vit)

    def of_mae(name):
        """`get_layer_id_for_vit` of MAE's `util/lr_decay.py`, and of BEiT's `optim_factory.py`."""
        layers = vit.depth + 1
        if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
            return 0
        return int(name.split(".")[1]) + 1 if name.startswith("blocks") else layers

    # Fill each leaf with its own exponent, and read it under the release's names, which the release's rule needs.
    above = {name: layers_above(name, vit.depth) for name in params}
    filled = {
        name: jax.tree.map(functools.partial(np.full_like, fill_value=above[name]), params[name]) for name in params
    }
    found = {name: set(tensor.ravel().tolist()) for name, tensor in to_torch(vit, filled, statistics).items()}
    assert found == {name: {vit.depth + 1 - of_mae(name)} for name in found}
    assert {0, 1, 2, 3} == set().union(*found.values())


def test_mixup_mixes_images_and_targets_alike():
    x, targets = np.random.default_rng(0).random((3, 2, 2, 3), np.float32), np.eye(3, dtype=np.float32)
    mixed, mixed_targets = jax.jit(mix)(x, targets, np.float32(0.75))
    np.testing.assert_allclose(mixed_targets, [[0.75, 0, 0.25], [0, 1, 0], [0.25, 0, 0.75]])
    # With one class per image, the targets show which images were mixed.
    np.testing.assert_allclose(mixed, np.einsum("nm,mhwc->nhwc", mixed_targets, x), rtol=1e-6)


def test_mixup_and_smoothing_learn_too():
    rich = tuner(mixup=0.2, label_smoothing=0.2, grayscale=0.1, head="mlp", steps=60)
    data, seen = tiny.dataset(), []
    classifier = rich.train(KEY, *weights(), np.arange(64), follow=seen.append)
    assert rich.accuracy(classifier, data.test) > 0.9
    # No loss goes below the entropy of the smoothed targets, (0.9, 0.1).
    assert min(line["loss"] for line in seen) > 0.325
    assert rich.probabilities(classifier, data.test).max() < 0.99


def test_views_follow_pretraining_except_for_the_given_options():
    recipe = tiny.OPTIONS["dino"].views
    branch = tuner("dino", crop_area=None)._branch()
    assert (branch.crop_area, branch.flip, branch.size) == (recipe.global_area, recipe.flip, recipe.size)
    assert (branch.mean, branch.std) == (recipe.mean, recipe.std)
    assert (branch.jitter, branch.blur, branch.solarize, branch.grayscale) == (0, 0, 0, 0)
    own = tuner("dino", crop_area=(0.2, 0.3), flip=0.0, jitter=0.5, strength=1.0)._branch()
    assert (own.crop_area, own.flip, own.jitter, own.brightness, own.hue) == ((0.2, 0.3), 0.0, 0.5, 0.8, 0.2)


def test_operations_on_one_branch_are_used_in_pretraining_only():
    recipe = dataclasses.replace(tiny.OPTIONS["simclr"].views, one_branch=("rotate", "noise"))
    own = Finetuner(tiny.backbone("simclr"), recipe, tiny.dataset().train, num_classes=2, options=OPTIONS)._branch()
    assert own.composed is None
    assert (own.flip, own.crop_area) == (recipe.flip, OPTIONS.crop_area)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"layer_decay": 0.0}, r"layer_decay is 0.0; it must lie in \(0, 1\]"),
        ({"crop_area": (0.5, 0.1)}, "crop_area is"),
        ({"flip": 2.0}, "flip is 2.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"jitter": -0.1}, "jitter is -0.1; it must be a probability"),
        ({"strength": 3.0}, r"strength is 3.0; it must lie in \[0, 2.5\]"),
        ({"mixup": float("inf")}, "mixup is inf; it must be a finite number of at least 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing is 1.0; it must lie in \[0, 1\)"),
        ({"layer_decay": 0.7}, "layer_decay is 0.7, but the network is a ResNet; layer_decay must be 1"),
        ({"layer_decay": 0.7, "freeze": True}, "layer_decay is 0.7, but freeze trains no layer"),
    ],
)
def test_wrong_options_are_input_errors(changes, said):
    with pytest.raises(InputError, match=said):
        tuner(**changes)


def test_images_without_labels_are_an_input_error():
    with pytest.raises(InputError, match="data has no labels"):
        Finetuner(
            tiny.backbone("simclr"),
            tiny.OPTIONS["simclr"].views,
            tiny.dataset(labelled=False).train,
            num_classes=2,
            options=OPTIONS,
        )


def test_balanced_subsets():
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    for kept, wanted in (
        ({"fraction": 0.1}, [10, 5, 1]),
        ({"per_class": 5}, [5, 5, 3]),
        ({"fraction": 1.0}, [100, 50, 3]),
    ):
        index = balanced_subset(labels, **kept)
        assert (np.diff(index) > 0).all()
        np.testing.assert_array_equal(np.bincount(labels[index]), wanted)
    assert (balanced_subset(labels, fraction=0.1) == balanced_subset(labels, fraction=0.1)).all()
    assert (balanced_subset(labels, fraction=0.1) != balanced_subset(labels, fraction=0.1, seed=1)).any()
    for wrong in (
        {},
        {"fraction": 0.0},
        {"per_class": 0},
        {"fraction": 0.5, "per_class": 2},
        {"fraction": float("nan")},
    ):
        with pytest.raises(ValueError, match=r"fraction|per_class"):
            balanced_subset(labels, **wrong)


def test_held_out_images_leave_one_of_each_class():
    labels = np.repeat([0, 1, 2], [10, 2, 1])
    mask = held_out(labels, np.arange(13), fraction=0.5, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[~mask]), [5, 1, 1])
