"""Fine-tuning: it learns, its programs serve any subset, what is frozen stays, and validation keeps the best weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.errors import InputError
from sslax.evaluation import balanced_subset
from sslax.networks import init
from sslax.training import FinetuneOptions, Finetuner, held_out
from tests import tiny

OPTIONS = FinetuneOptions(steps=40, batch_size=16, lr=1e-2, eval_every=10, crop_area=(0.8, 1.0))
KEY = jax.random.key(0)


def tuner(name="simclr", **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    recipe = tiny.OPTIONS[name].views
    return Finetuner(tiny.backbone(name), recipe, tiny.dataset().train, num_classes=2, options=options)


def weights(name="simclr"):
    return init(tiny.backbone(name), KEY, jnp.zeros((1, tiny.SIZE, tiny.SIZE, 3)))


@pytest.fixture(scope="module")
def simclr():
    return tuner()


def test_it_learns_two_colours_from_a_few_labels(simclr):
    data = tiny.dataset()
    index = balanced_subset(data.train.labels, per_class=4)
    classifier = simclr.train(KEY, *weights(), index)
    assert simclr.accuracy(classifier, data.test) > 0.9
    assert simclr.predict(classifier, data.test).shape == (32,)
    # The same key and labels are the same weights; the start that was given is still there.
    again = simclr.train(KEY, *weights(), index)
    jax.tree.map(np.testing.assert_array_equal, classifier, again)
    # Other labels need no other program.
    simclr.train(KEY, *weights(), index[:5])
    assert simclr._step._cache_size() == 1


def test_validation_keeps_the_best_weights(simclr):
    data, seen = tiny.dataset(), []
    classifier = simclr.train(KEY, *weights(), np.arange(64), validation=data.test, follow=seen.append)
    assert [line["step"] for line in seen] == [10, 20, 30, 40][: len(seen)]
    assert simclr.accuracy(classifier, data.test) == max(line["validation"] for line in seen)


def test_a_frozen_backbone_stays_and_its_statistics_too():
    frozen = tuner(freeze=True)
    params, statistics = weights()
    classifier = frozen.train(KEY, params, statistics, np.arange(64))
    jax.tree.map(np.testing.assert_array_equal, classifier.params, params)
    jax.tree.map(np.testing.assert_array_equal, classifier.statistics, statistics)
    assert any(np.abs(x).max() > 0 for x in jax.tree.leaves(classifier.head))


def test_layers_below_learn_more_slowly():
    # With a decay of nearly nothing only the head moves noticeably.
    slow = tuner("dino", layer_decay=1e-4, steps=3, weight_decay=0.0)
    params, statistics = weights("dino")
    classifier = slow.train(KEY, params, statistics, np.arange(64))

    def moved(name):
        pairs = zip(jax.tree.leaves(classifier.params[name]), jax.tree.leaves(params[name]), strict=True)
        return max(float(np.abs(a - b).max()) for a, b in pairs)

    assert 0 < moved("norm") < 1e-5
    assert moved("block2") < 1e-5
    assert moved("patch_embed") <= 1e-7
    assert max(float(np.abs(x).max()) for x in jax.tree.leaves(classifier.head)) > 1e-3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"layer_decay": 0.0}, r"layer_decay is 0.0; it must lie in \(0, 1\]"),
        ({"crop_area": (0.5, 0.1)}, "crop_area is"),
        ({"flip": 2.0}, "flip is 2.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
    ],
)
def test_options_that_cannot_work(changes, said):
    with pytest.raises(InputError, match=said):
        tuner(**changes)


def test_images_without_labels():
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
