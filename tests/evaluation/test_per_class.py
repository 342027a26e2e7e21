"""Per-class metrics equal scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from sslax.evaluation import confusion_matrix, per_class


def test_metrics_equal_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    predicted = np.where(rng.random(200) < 0.6, labels, rng.integers(0, 5, 200))
    # Class 4 has no images but predictions, class 5 has neither, class 6 has images but no predictions.
    labels[:5], predicted[:5] = 6, 0
    matrix = confusion_matrix(labels, predicted, num_classes=7)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(labels, predicted, labels=range(7)))
    found = per_class(matrix)
    wanted = metrics.precision_recall_fscore_support(labels, predicted, labels=range(7), zero_division=np.nan)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs)
    assert np.isnan(found.recall[4])
    assert np.isnan(found.precision[6])
    assert found.f1[6] == 0


def test_labels_out_of_range():
    with pytest.raises(ValueError, match=r"predicted has 0 to 2; it must lie in \[0, 2\)"):
        confusion_matrix(np.array([0, 1]), np.array([0, 2]), num_classes=2)
