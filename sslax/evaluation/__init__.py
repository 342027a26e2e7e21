"""What features are worth, as functions of feature arrays."""

from sslax.evaluation.classes import PerClass as PerClass
from sslax.evaluation.classes import confusion_matrix as confusion_matrix
from sslax.evaluation.classes import per_class as per_class
from sslax.evaluation.collapse import effective_rank, feature_std
from sslax.evaluation.knn import knn_scores
from sslax.evaluation.linear import LinearProbe, linear_probe

__all__ = ["LinearProbe", "effective_rank", "feature_std", "knn_scores", "linear_probe"]
from sslax.evaluation.subsets import balanced_subset as balanced_subset
