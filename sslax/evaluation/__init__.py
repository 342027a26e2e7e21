"""Evaluation of features: kNN, linear probe, collapse and per-class metrics, principal components, as functions of arrays."""

from sslax.evaluation.classes import PerClass, confusion_matrix, per_class
from sslax.evaluation.collapse import effective_rank, feature_std
from sslax.evaluation.components import PrincipalComponents, principal_components
from sslax.evaluation.knn import PROTOCOLS, knn_scores, knn_votes
from sslax.evaluation.linear import LinearProbe, linear_probe
from sslax.evaluation.subsets import balanced_subset

__all__ = [
    "PROTOCOLS",
    "LinearProbe",
    "PerClass",
    "PrincipalComponents",
    "balanced_subset",
    "confusion_matrix",
    "effective_rank",
    "feature_std",
    "knn_scores",
    "knn_votes",
    "linear_probe",
    "per_class",
    "principal_components",
]
