"""kNN and the collapse metrics against the original code; properties that a linear probe must have."""

import inspect
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.evaluation import effective_rank, feature_std, knn_scores, knn_votes, linear_probe
from sslax.evaluation.knn import knn_accuracies


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def votes_of(*arrays, **options):
    """`knn_scores` of NumPy's arrays, as one."""
    return np.asarray(knn_scores(*map(jnp.asarray, arrays), **options))


@pytest.mark.parametrize("case", [0, 1])
def test_knn_golden(golden, case):
    """All numbers of neighbours in one call, and one of them separately."""
    g = golden(f"knn_{case}")
    classes, temperature = g["hyper"]["num_classes"], g["hyper"]["temperature"]
    arrays = tuple(jnp.asarray(g[name]) for name in ("test", "train", "train_labels"))
    together = knn_votes(*arrays, num_classes=classes, settings=[(k, temperature) for k in g["hyper"]["k"]])
    alone = votes_of(*arrays, num_classes=classes, k=g["hyper"]["k"][-case], temperature=temperature)
    for index, found in [*enumerate(map(np.asarray, together)), (-case, alone)]:
        np.testing.assert_array_equal(found.argmax(1), g["pred"][index])
        np.testing.assert_allclose(found, g["votes"][index], atol=2e-5 * g["votes"][index].max())


def test_knn_accuracies_by_protocol():
    """Each name has its k and temperature; a protocol with too large a k is skipped."""
    x = normal(230, 6)
    labels = (x[:, 0] > 0).astype(np.int32)
    found = knn_accuracies(x[:210], labels[:210], x[210:], labels[210:], num_classes=2)
    arrays = jnp.asarray(x[210:]), jnp.asarray(x[:210]), jnp.asarray(labels[:210])
    settings = {"knn1": (1, 0.07), "knn20": (20, 0.07), "knn200": (200, 0.1)}
    votes = knn_votes(*arrays, num_classes=2, settings=list(settings.values()))
    for name, scores in zip(settings, votes, strict=True):
        assert found[name] == np.mean(np.asarray(scores).argmax(1) == labels[210:])
    assert knn_accuracies(x[:50], labels[:50], x[210:], labels[210:], num_classes=2).keys() == {"knn1", "knn20"}
    with pytest.raises(ValueError, match="protocols is 'knn5'"):
        knn_accuracies(x[:50], labels[:50], x[210:], labels[210:], num_classes=2, protocols=["knn5"])


def test_knn_at_a_tiny_temperature_is_the_nearest_neighbour():
    x, labels = normal(30, 6), np.arange(30) % 3
    votes = votes_of(x[:10] + 0.1, x, labels, num_classes=3, k=20, temperature=1e-3)
    assert np.isfinite(votes).all()
    nearest = votes_of(x[:10] + 0.1, x, labels, num_classes=3, k=1)
    np.testing.assert_array_equal(votes.argmax(1), nearest.argmax(1))


def test_knn_blocks_do_not_change_the_scores(monkeypatch):
    knn = sys.modules["sslax.evaluation.knn"]
    queries, features = normal(2, 37, 8)
    labels = np.arange(37) % 5
    whole = votes_of(queries, features, labels, num_classes=5, k=7)
    monkeypatch.setattr(knn, "_BLOCK_SIMILARITIES", {"cpu": 37 * 4})
    knn._scores.clear_cache()
    np.testing.assert_allclose(votes_of(queries, features, labels, num_classes=5, k=7), whole, rtol=1e-5)
    knn._scores.clear_cache()


def test_knn_accepts_features_of_any_magnitude():
    x, labels = normal(20, 4), np.arange(20) % 2
    x[3] = 0
    expected = votes_of(x, x, labels, num_classes=2, k=3)
    for scale in (1e-30, 1e30):
        actual = votes_of(x * np.float32(scale), x, labels, num_classes=2, k=3)
        assert np.isfinite(actual).all()
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 21}, "k is 21.*which is 20"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"labels": np.zeros(3, np.int32)}, "one for each of 20"),
        ({"features": np.zeros((20, 5), np.float32)}, r"\(20, 5\)"),
    ],
)
def test_knn_errors_name_the_argument(change, says):
    arguments = {"queries": np.ones((2, 4)), "features": np.ones((20, 4)), "labels": np.zeros(20, np.int32)}
    arguments |= {"num_classes": 2, "k": 3} | change
    with pytest.raises(ValueError, match=says):
        inspect.unwrap(knn_scores)(**arguments)


@jax.jit
def collapse_numbers(features):
    return feature_std(features), effective_rank(features)


@pytest.mark.parametrize("case", range(4))
def test_collapse_numbers_golden(golden, case):
    g = golden(f"metrics_{case}")
    std, rank = collapse_numbers(g["z"])
    np.testing.assert_allclose(std, g["std_l2"], rtol=1e-5)
    np.testing.assert_allclose(rank, g["rankme"], rtol=1e-4)


def test_collapse_numbers_of_collapsed_features():
    constant = np.tile(np.arange(1.0, 9.0, dtype=np.float32), (16, 1))
    std, rank = collapse_numbers(constant)
    assert std < 1e-6
    np.testing.assert_allclose(rank, 1.0, atol=1e-4)
    assert np.isfinite(collapse_numbers(np.zeros_like(constant))).all()
    with pytest.raises(ValueError, match=r"\(1, 8\)"):
        feature_std(jnp.asarray(constant[:1]))


def _blobs(seed, n):
    """Three classes on a line of the plane plus ten dimensions of noise: linearly separable except for a small overlap."""
    labels = np.arange(n) % 3
    noise = normal(n, 12, seed=seed)
    noise[:, 0] += 5 * (labels == 0)
    noise[:, 1] += 5 * (labels == 1)
    return noise, labels


@pytest.fixture(scope="module")
def blobs():
    return (*_blobs(1, 300), *_blobs(2, 300))


@pytest.fixture(scope="module")
def reference(blobs):
    return linear_probe(jax.random.key(0), *blobs, num_classes=3, steps=100)


def test_probe_separates_separable_classes(reference):
    assert reference.accuracy > 0.95
    assert reference.held_out_accuracy > 0.9


def test_probe_does_not_depend_on_the_features_scale_or_offset(blobs, reference):
    x, y, test_x, test_y = blobs
    moved = linear_probe(jax.random.key(0), x * 64 + 32, y, test_x * 64 + 32, test_y, num_classes=3, steps=100)
    np.testing.assert_allclose(moved[:4], reference[:4], atol=0.01)
    assert (moved.predictions == reference.predictions).mean() > 0.98


def test_probe_never_looks_at_the_test_labels(blobs, reference):
    x, y, test_x, test_y = blobs
    wrong = linear_probe(jax.random.key(0), x, y, test_x, (test_y + 1) % 3, num_classes=3, steps=100)
    assert (reference.learning_rate, reference.held_out_accuracy) == (wrong.learning_rate, wrong.held_out_accuracy)
    assert wrong.accuracy < 0.1


def test_probe_ignores_dimensions_that_never_vary(blobs):
    x, y, test_x, test_y = blobs
    x, test_x = x.copy(), test_x.copy()
    # The two classes' dimensions stay; as many as before share the other tests' program.
    x[:, -2:], test_x[:, -2:] = 7.0, 8.0
    probe = linear_probe(jax.random.key(0), x, y, test_x, test_y, num_classes=3, steps=100)
    assert probe.accuracy > 0.95


def test_probe_errors_name_the_argument(blobs):
    x, y, test_x, test_y = blobs
    with pytest.raises(ValueError, match=r"train_labels has shape \(5,\)"):
        inspect.unwrap(linear_probe)(jax.random.key(0), x, y[:5], test_x, test_y, num_classes=3)
