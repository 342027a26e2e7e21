"""Evaluation of features: kNN, linear probe, collapse metrics and per-class metrics, as functions of arrays."""

from sslax.evaluation.classes import PerClass, confusion_matrix, per_class
from sslax.evaluation.collapse import effective_rank, feature_std
from sslax.evaluation.knn import PROTOCOLS, knn_scores, knn_votes
from sslax.evaluation.linear import LinearProbe, linear_probe
from sslax.evaluation.subsets import balanced_subset

__all__ = [
    "PROTOCOLS",
    "LinearProbe",
    "PerClass",
    "balanced_subset",
    "confusion_matrix",
    "effective_rank",
    "feature_std",
    "knn_scores",
    "knn_votes",
    "linear_probe",
    "per_class",
]
