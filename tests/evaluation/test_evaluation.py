"""kNN and the collapse metrics against the original code; properties that a linear probe must have."""

import inspect
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.evaluation import effective_rank, feature_std, knn_scores, knn_votes, linear_probe
from sslax.evaluation.knn import knn_accuracies


@pytest.mark.parametrize("case", [0, 1])
def test_knn_golden(golden, case):
    """Each number of neighbours separately, and all in one call."""
    g = golden(f"knn_{case}")
    classes, temperature = g["hyper"]["num_classes"], g["hyper"]["temperature"]
    arrays = tuple(jnp.asarray(g[name]) for name in ("test", "train", "train_labels"))
    together = knn_votes(*arrays, num_classes=classes, settings=[(k, temperature) for k in g["hyper"]["k"]])
    for index, k in enumerate(g["hyper"]["k"]):
        votes = knn_scores(*arrays, num_classes=classes, k=k, temperature=temperature)
        for found in (votes, together[index]):
            np.testing.assert_array_equal(found.argmax(1), g["pred"][index])
            np.testing.assert_allclose(found, g["votes"][index], atol=2e-5 * g["votes"][index].max())


def test_knn_accuracies_by_protocol():
    """Each name has its k and temperature; a protocol with too large a k is skipped."""
    x = np.asarray(jax.random.normal(jax.random.key(0), (230, 6)))
    labels = (x[:, 0] > 0).astype(np.int32)
    found = knn_accuracies(x[:210], labels[:210], x[210:], labels[210:], num_classes=2)
    arrays = jnp.asarray(x[210:]), jnp.asarray(x[:210]), jnp.asarray(labels[:210])
    for name, (k, temperature) in {"knn1": (1, 0.07), "knn20": (20, 0.07), "knn200": (200, 0.1)}.items():
        votes = knn_scores(*arrays, num_classes=2, k=k, temperature=temperature)
        assert found[name] == np.mean(np.asarray(votes).argmax(1) == labels[210:])
    assert knn_accuracies(x[:50], labels[:50], x[210:], labels[210:], num_classes=2).keys() == {"knn1", "knn20"}
    with pytest.raises(ValueError, match="protocols is 'knn5'"):
        knn_accuracies(x[:50], labels[:50], x[210:], labels[210:], num_classes=2, protocols=["knn5"])


def test_knn_at_a_tiny_temperature_is_the_nearest_neighbour():
    x = jax.random.normal(jax.random.key(0), (30, 6))
    labels = jnp.arange(30) % 3
    votes = knn_scores(x[:10] + 0.1, x, labels, num_classes=3, k=20, temperature=1e-3)
    assert np.isfinite(votes).all()
    nearest = knn_scores(x[:10] + 0.1, x, labels, num_classes=3, k=1)
    np.testing.assert_array_equal(votes.argmax(1), nearest.argmax(1))


def test_knn_blocks_do_not_change_the_scores(monkeypatch):
    knn = sys.modules["sslax.evaluation.knn"]
    queries, features = jax.random.normal(jax.random.key(0), (2, 37, 8))
    labels = jnp.arange(37) % 5
    whole = knn_scores(queries, features, labels, num_classes=5, k=7)
    monkeypatch.setattr(knn, "_BLOCK_SIMILARITIES", {"cpu": 37 * 4})
    knn._scores.clear_cache()
    np.testing.assert_allclose(knn_scores(queries, features, labels, num_classes=5, k=7), whole, rtol=1e-5)
    knn._scores.clear_cache()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_knn_accepts_features_of_any_magnitude(scale):
    x = jax.random.normal(jax.random.key(0), (20, 4)).at[3].set(0)
    labels = jnp.arange(20) % 2
    expected = knn_scores(x, x, labels, num_classes=2, k=3)
    actual = knn_scores(x * scale, x, labels, num_classes=2, k=3)
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 21}, "k is 21.*which is 20"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"labels": jnp.zeros(3, jnp.int32)}, "one for each of 20"),
        ({"features": jnp.zeros((20, 5))}, r"\(20, 5\)"),
    ],
)
def test_knn_errors_name_the_argument(change, says):
    arguments = {"queries": jnp.ones((2, 4)), "features": jnp.ones((20, 4)), "labels": jnp.zeros(20, jnp.int32)}
    arguments |= {"num_classes": 2, "k": 3} | change
    with pytest.raises(ValueError, match=says):
        inspect.unwrap(knn_scores)(**arguments)


@pytest.mark.parametrize("case", range(4))
def test_collapse_numbers_golden(golden, case):
    g = golden(f"metrics_{case}")
    np.testing.assert_allclose(feature_std(jnp.asarray(g["z"])), g["std_l2"], rtol=1e-5)
    np.testing.assert_allclose(effective_rank(jnp.asarray(g["z"])), g["rankme"], rtol=1e-4)


def test_collapse_numbers_of_collapsed_features():
    constant = jnp.broadcast_to(jnp.arange(1.0, 9.0)[None, :], (16, 8))
    assert float(feature_std(constant)) < 1e-6
    np.testing.assert_allclose(effective_rank(constant), 1.0, atol=1e-4)
    assert np.isfinite(effective_rank(jnp.zeros((4, 3))))
    with pytest.raises(ValueError, match=r"\(1, 8\)"):
        feature_std(constant[:1])


def _blobs(key, n, scale=1.0):
    """Three classes on a line of the plane plus ten dimensions of noise: linearly separable except for a small overlap."""
    labels = np.arange(n) % 3
    noise = np.array(jax.random.normal(key, (n, 12)))
    noise[:, 0] += 5 * (labels == 0)
    noise[:, 1] += 5 * (labels == 1)
    return (noise * scale).astype(np.float32), labels


@pytest.fixture(scope="module")
def blobs():
    return (*_blobs(jax.random.key(1), 300), *_blobs(jax.random.key(2), 300))


def test_probe_separates_separable_classes(blobs):
    probe = linear_probe(jax.random.key(0), *blobs, num_classes=3, steps=100)
    assert probe.accuracy > 0.95
    assert probe.held_out_accuracy > 0.9


def test_probe_does_not_depend_on_the_features_scale_or_offset(blobs):
    x, y, test_x, test_y = blobs
    reference = linear_probe(jax.random.key(0), *blobs, num_classes=3, steps=100)
    moved = linear_probe(jax.random.key(0), x * 64 + 32, y, test_x * 64 + 32, test_y, num_classes=3, steps=100)
    np.testing.assert_allclose(moved[:4], reference[:4], atol=0.01)
    assert (moved.predictions == reference.predictions).mean() > 0.98


def test_probe_never_looks_at_the_test_labels(blobs):
    x, y, test_x, test_y = blobs
    right = linear_probe(jax.random.key(0), x, y, test_x, test_y, num_classes=3, steps=100)
    wrong = linear_probe(jax.random.key(0), x, y, test_x, (test_y + 1) % 3, num_classes=3, steps=100)
    assert (right.learning_rate, right.held_out_accuracy) == (wrong.learning_rate, wrong.held_out_accuracy)
    assert wrong.accuracy < 0.1


def test_probe_ignores_dimensions_that_never_vary(blobs):
    x, y, test_x, test_y = blobs
    constant = np.full((300, 2), 7.0, np.float32)
    probe = linear_probe(
        jax.random.key(0),
        np.hstack([x, constant]),
        y,
        np.hstack([test_x, constant + 1]),
        test_y,
        num_classes=3,
        steps=100,
    )
    assert probe.accuracy > 0.95


def test_probe_errors_name_the_argument(blobs):
    x, y, test_x, test_y = blobs
    with pytest.raises(ValueError, match=r"train_labels has shape \(5,\)"):
        inspect.unwrap(linear_probe)(jax.random.key(0), x, y[:5], test_x, test_y, num_classes=3)
