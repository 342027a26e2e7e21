"""Right and wrong calls of sslax.evaluation, against float64 NumPy."""

import numpy as np
from hypothesis import strategies as st

from sslax import evaluation
from tests.hostile.losses import unit
from tests.hostile.pools import (
    KEY,
    Case,
    arrays,
    bad_array,
    bad_count,
    bad_positive,
    bad_shape,
    both,
    exact,
    finite,
    labels,
    scalars,
    values,
    wide,
)

CLASSES = 3


@st.composite
def _knn(draw):
    m, n, d = draw(st.sampled_from([(1, 1, 1), (2, 5, 3)]))
    queries, features = draw(arrays((m, d), (n, d)))
    options = {
        "num_classes": CLASSES,
        "k": draw(st.integers(1, n)),
        "temperature": draw(scalars(1e-9, 1e-3, 0.07, 1e3)),
    }
    return {"queries": queries, "features": features, "labels": draw(labels(n, CLASSES)), **options}


def _check_knn(a, result):
    cosines = unit(exact(a["queries"])) @ unit(exact(a["features"])).T
    k, temperature = a["k"], float(a["temperature"])
    wide(result)
    finite(result, shape=(len(cosines), CLASSES))
    if temperature < 0.01:
        # A cosine's last bit decides these votes.
        return
    order = np.argsort(-cosines, axis=1, kind="stable")
    nearest = np.take_along_axis(cosines, order, axis=1)
    if k < len(order[0]) and (nearest[:, k - 1] - nearest[:, k] < 1e-6).any():
        return
    wanted = np.zeros((len(cosines), CLASSES))
    for row in range(len(cosines)):
        for place in order[row, :k]:
            wanted[row, np.asarray(a["labels"])[place]] += np.exp(cosines[row, place] / temperature)
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-30)


def _bad_labels(name):
    def make(a):
        x = np.asarray(a[name]).astype(np.int64)
        wrong = [x + CLASSES, x - CLASSES, x + 2**40, x[:, None], x[None], x.astype(float)]
        return [*wrong, np.concatenate([x, x]), x.astype(str), None, "text", 1j * x]

    return make


@st.composite
def _rows(draw):
    return {"features": draw(arrays(draw(st.sampled_from([(2, 1), (5, 3)]))))}


def _check_std(a, result):
    wide(result)
    finite(result, shape=())
    wanted = unit(exact(a["features"])).std(axis=0, ddof=1).mean()
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-6)


def _check_rank(a, result):
    wide(result)
    finite(result, shape=())
    features = exact(a["features"])
    assert 1 - 1e-4 <= float(result) <= min(features.shape) + 1e-4
    largest = np.abs(features).max()
    singular = np.linalg.svd(features / (largest or 1), compute_uv=False)
    shares = singular / (singular.sum() or 1) + 1e-7
    np.testing.assert_allclose(result, np.exp(-(shares * np.log(shares)).sum()), rtol=1e-4)


@st.composite
def _components(draw):
    n, d = draw(st.sampled_from([(2, 1), (5, 3)]))
    return {"features": draw(arrays((n, d))), "count": draw(st.integers(1, min(n, d)))}


def _check_components(a, result):
    features = exact(a["features"])
    count, d = a["count"], features.shape[1]
    wide(result.components)
    finite(result.mean, shape=(d,))
    finite(result.std, shape=(count,))
    finite(result.components, shape=(count, d))
    scale = np.abs(features).max() or 1
    centred = (features - features.mean(0)) / scale
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    wanted = singular / (len(features) - 1) ** 0.5
    np.testing.assert_allclose(result.mean / scale, features.mean(0) / scale, atol=1e-6)
    np.testing.assert_allclose(result.std / scale, wanted[:count], atol=1e-6)
    components = exact(result.components)
    np.testing.assert_allclose(components @ components.T, np.eye(count), atol=1e-5)
    for component, row, own, others in zip(
        components, rows, wanted, (np.delete(wanted, i) for i in range(count)), strict=False
    ):
        assert component[np.abs(component).argmax()] > 0
        # Directions of nearly equal variance are arbitrary.
        if np.abs(own - others).min(initial=1) > 0.05:
            np.testing.assert_allclose(abs(component @ row), 1, atol=1e-5)


_bad_rows = both(bad_array("features"), lambda a: [np.asarray(a["features"])[:1]])


@st.composite
def _probe(draw):
    n, m, d = draw(st.sampled_from([(2, 1, 1), (12, 4, 3)]))
    scale = draw(st.sampled_from([1e-30, 1.0, 1e4, 1e30]))
    train, test = draw(arrays((n, d), (m, d), scales=(scale,)))
    found = {"train_labels": draw(labels(n, CLASSES)), "test_labels": draw(labels(m, CLASSES))}
    return {
        "key": KEY,
        "train_features": train,
        "test_features": test,
        **found,
        "num_classes": CLASSES,
        "steps": 2,
        "batch_size": 4,
        "learning_rates": draw(st.sampled_from([(0.1,), (1e-3, 1e3)])),
        "weight_decays": (0.0, 0.1),
    }


def _check_probe(a, probe):
    assert 0 <= probe.accuracy <= 1
    assert 0 <= probe.held_out_accuracy <= 1
    assert np.float32(probe.learning_rate) in np.float32(a["learning_rates"])
    assert np.float32(probe.weight_decay) in np.float32(a["weight_decays"])
    truth = np.asarray(a["test_labels"])
    assert probe.predictions.shape == truth.shape
    assert set(probe.predictions) <= set(range(CLASSES))
    np.testing.assert_allclose(probe.accuracy, np.mean(probe.predictions == truth), rtol=1e-6)


@st.composite
def _confusion(draw):
    n = draw(st.sampled_from([1, 6]))
    kinds = st.lists(st.integers(0, CLASSES - 1), min_size=n, max_size=n)
    kind = draw(st.sampled_from([list, np.array, lambda x: np.array(x, np.uint8)]))
    return {"labels": kind(draw(kinds)), "predicted": kind(draw(kinds)), "num_classes": CLASSES}


def _check_confusion(a, result):
    wanted = np.zeros((CLASSES, CLASSES), int)
    for truth, taken in zip(np.asarray(a["labels"]), np.asarray(a["predicted"]), strict=True):
        wanted[truth, taken] += 1
    np.testing.assert_array_equal(result, wanted)


def _check_per_class(a, figures):
    confusion = np.asarray(a["confusion"]).astype(float)
    right, taken, support = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    for found, part, whole in (
        (figures.precision, right, taken),
        (figures.recall, right, support),
        (figures.f1, 2 * right, taken + support),
    ):
        # Not a number exactly where there is nothing to divide by, as the figures' own description says.
        np.testing.assert_array_equal(np.isnan(found), whole == 0)
        np.testing.assert_allclose(found[whole > 0], part[whole > 0] / whole[whole > 0])
    np.testing.assert_array_equal(figures.support, support)


@st.composite
def _per_class(draw):
    counts = draw(st.lists(st.integers(0, 5), min_size=CLASSES**2, max_size=CLASSES**2))
    matrix = np.array(counts).reshape(CLASSES, CLASSES)
    return {"confusion": draw(st.sampled_from([matrix, matrix.tolist(), matrix.astype(np.uint8)]))}


def _bad_confusion(a):
    x = np.asarray(a["confusion"]).astype(int)
    return [x[0], x[:2], x[:0], x - 10, x + 0.5, x.astype(str), None, "text", x[None]]


@st.composite
def _subset(draw):
    wanted = draw(
        st.sampled_from(
            [{"fraction": f} for f in (1e-9, 0.5, 1.0)] + [{"per_class": k} for k in (1, np.int64(2), 10**6)]
        )
    )
    return {"labels": draw(labels(draw(st.sampled_from([1, 9])), CLASSES)), "seed": draw(st.integers(0, 3)), **wanted}


def _check_subset(a, result):
    truth = np.asarray(a["labels"])
    assert result.dtype == np.int32
    assert (np.diff(result) > 0).all()
    counts, kept = np.bincount(truth, minlength=CLASSES), np.bincount(truth[result], minlength=CLASSES)
    if "fraction" in a:
        wanted = np.where(counts > 0, np.maximum(1, np.round(counts * a["fraction"])), 0)
    else:
        wanted = np.minimum(counts, a["per_class"])
    np.testing.assert_array_equal(kept, wanted)


def _subset_call(**options):
    return evaluation.balanced_subset(options.pop("labels"), **options)


def _votes_call(**options):
    setting = options.pop("k"), options.pop("temperature")
    return evaluation.knn_votes(
        options.pop("queries"), options.pop("features"), options.pop("labels"), **options, settings=[setting]
    )[0]


_BAD_KNN = {
    "queries": bad_array("queries"),
    "features": both(bad_array("features"), bad_shape("features")),
    "labels": _bad_labels("labels"),
    "num_classes": bad_count,
    "k": lambda a: [*bad_count(a), len(a["features"]) + 1],
    "temperature": bad_positive,
}

CASES = {
    "evaluation.knn_scores": Case(evaluation.knn_scores, _knn(), _check_knn, _BAD_KNN),
    "evaluation.knn_votes": Case(_votes_call, _knn(), _check_knn, _BAD_KNN),
    "evaluation.feature_std": Case(evaluation.feature_std, _rows(), _check_std, {"features": _bad_rows}),
    "evaluation.effective_rank": Case(evaluation.effective_rank, _rows(), _check_rank, {"features": _bad_rows}),
    "evaluation.principal_components": Case(
        evaluation.principal_components,
        _components(),
        _check_components,
        {"features": _bad_rows, "count": lambda a: [*bad_count(a), min(np.shape(a["features"])) + 1]},
    ),
    "evaluation.linear_probe": Case(
        evaluation.linear_probe,
        _probe(),
        _check_probe,
        {
            "train_features": both(
                bad_array("train_features"),
                bad_shape("train_features"),
                lambda a: [np.asarray(a["train_features"])[:1]],
            ),
            "test_features": both(bad_array("test_features"), bad_shape("test_features")),
            "train_labels": _bad_labels("train_labels"),
            "test_labels": _bad_labels("test_labels"),
            **dict.fromkeys(("num_classes", "steps", "batch_size"), bad_count),
            "learning_rates": values((), (0.0,), (float("nan"),), (-1.0, 1.0), ("a",)),
            "weight_decays": values((), (float("inf"),), (-1.0, 1.0), (None,)),
        },
        compiled=False,
    ),
    "evaluation.confusion_matrix": Case(
        evaluation.confusion_matrix,
        _confusion(),
        _check_confusion,
        {"labels": _bad_labels("labels"), "predicted": _bad_labels("predicted"), "num_classes": bad_count},
        compiled=False,
    ),
    "evaluation.per_class": Case(
        evaluation.per_class, _per_class(), _check_per_class, {"confusion": _bad_confusion}, compiled=False
    ),
    "evaluation.balanced_subset": Case(
        _subset_call,
        _subset(),
        _check_subset,
        {
            "labels": values([], [0.5], [[1]], 1, None, ["a"], np.ones((2, 2), int), np.zeros(0, int)),
            "seed": values(-1, 0.5, "1"),
        },
        compiled=False,
    ),
}
