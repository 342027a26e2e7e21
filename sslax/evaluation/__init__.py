"""What features are worth, as functions of feature arrays."""

from sslax.evaluation.classes import PerClass, confusion_matrix, per_class
from sslax.evaluation.collapse import effective_rank, feature_std
from sslax.evaluation.knn import knn_scores
from sslax.evaluation.linear import LinearProbe, linear_probe
from sslax.evaluation.subsets import balanced_subset

__all__ = [
    "LinearProbe",
    "PerClass",
    "balanced_subset",
    "confusion_matrix",
    "effective_rank",
    "feature_std",
    "knn_scores",
    "linear_probe",
    "per_class",
]
