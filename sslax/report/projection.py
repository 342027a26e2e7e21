"""Features in the plane, for the report's map of them."""

import numpy as np
from jaxtyping import Float

MAX_POINTS = 1000  # of the projection: its time grows faster than the number of points


def project_2d(features: Float[np.ndarray, "n d"], *, seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Features in the plane, neighbours kept near each other: t-SNE (van der Maaten and Hinton 2008) from a PCA start.

    Args:
      features: one row a point, of any finite magnitude; at most `MAX_POINTS` rows, because the time grows faster
        than their number: choose a subset.
      seed: of the optimiser; the same features and seed give the same picture on one machine.

    Returns:
      One finite position a point, float32. Fewer than five points have too few neighbours and are placed by their
      principal components; points that are all the same are all at the origin.

    Raises:
      ValueError: on more than `MAX_POINTS` rows, or values that are not finite.
    """
    n = len(features)
    if n > MAX_POINTS:
        raise ValueError(f"features has {n} rows; it must have at most {MAX_POINTS}: choose a subset.")
    x = np.asarray(features, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("features has values that are not finite.")
    # Scaled before and after a row is taken off, so that neither a difference nor a square overflows or vanishes, and
    # with a row rather than the mean, whose rounding would make constant features differ from themselves.
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
    # Imported here because it takes seconds, which only the end of a run needs.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    tsne = TSNE(init="pca", perplexity=min(30.0, (n - 1) / 3), max_iter=500, random_state=seed)
    # So few points are several times faster in one thread than in threads that wait for each other.
    with threadpool_limits(limits=1):
        return tsne.fit_transform(x)
