"""Projection of features to two dimensions, for the report's map of the features."""

import numpy as np
from jaxtyping import Float

MAX_POINTS = 1000  # the time of the projection grows faster than the number of points


def project_2d(features: Float[np.ndarray, "n d"], *, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Project features to two dimensions and keep neighbours close, by t-SNE (van der Maaten and Hinton 2008) from a PCA start.

    Args:
      features: one row per point, of any finite magnitude. At most `MAX_POINTS` rows; choose a subset if you have more.
      seed: seed of the optimiser. The same features and seed give the same picture on one machine.

    Returns:
      One finite float32 position per point. Fewer than five points have too few neighbours for t-SNE and are placed by their
      principal components. Identical points are all placed at the origin.

    Raises:
      ValueError: if there are more than `MAX_POINTS` rows, or values that are not finite.
    """
    n = len(features)
    if n > MAX_POINTS:
        raise ValueError(f"features has {n} rows; it must have at most {MAX_POINTS}, so choose a subset.")
    x = np.asarray(features, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("features has values that are not finite; all must be finite.")
    # Scaling before and after the subtraction keeps differences and squares from overflow and underflow. The first row is
    # subtracted, not the mean, because the rounded mean of constant features may differ from them.
    x = x / (np.abs(x).max(initial=0) or 1.0)
    x = x - x[:1]
    largest = np.abs(x).max(initial=0)
    if largest == 0:
        return np.zeros((n, 2), np.float32)
    x = x / largest
    if x.shape[1] < 2:
        x = np.pad(x, ((0, 0), (0, 1)))
    if n < 5:
        left, scales, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        return (left[:, :2] * scales[:2]).astype(np.float32)
    # Imported here because the import takes seconds and only the end of a run needs it.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    tsne = TSNE(init="pca", perplexity=min(30.0, (n - 1) / 3), max_iter=500, random_state=seed)
    # For so few points one thread is several times faster than threads that wait for each other.
    with threadpool_limits(limits=1):
        return tsne.fit_transform(x)
