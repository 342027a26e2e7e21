"""Projection to two dimensions: finite, reproducible, and neighbours stay close."""

import numpy as np
import pytest

from sslax.report import project_2d
from sslax.report.projection import MAX_POINTS


def _hostile_features():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(20, 4))
    yield from (rng.normal(size=(n, 3)) for n in range(9))
    yield from (normal[:, :0], normal[:, :1], normal.astype(np.float16), normal * 1e307, normal * 1e-310, normal + 1e9)
    yield from (np.full((30, 5), 0.1), np.zeros((30, 5)), np.repeat(normal[:2], 20, axis=0), np.eye(12))
    yield np.concatenate([np.ones((29, 4)), np.full((1, 4), -1e308)])


def test_project_2d_is_finite_for_extreme_features():
    for features in _hostile_features():
        projected = project_2d(features)
        assert projected.shape == (len(features), 2)
        assert np.isfinite(projected).all()


def test_project_2d_of_constant_and_of_few_points():
    assert not project_2d(np.full((30, 5), 0.1, np.float32)).any()
    assert not project_2d(np.ones((1, 5))).any()
    # Few points in two dimensions keep their distances, up to a scale.
    square = np.array([[0, 0, 5], [0, 1, 5], [1, 0, 5], [1, 1, 5]], np.float32)
    projected = project_2d(square)
    distances = np.linalg.norm(projected[:, None] - projected[None], axis=-1)
    np.testing.assert_allclose(distances, np.linalg.norm(square[:, None] - square[None], axis=-1), atol=1e-6)


def test_project_2d_keeps_neighbours_and_is_reproducible():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    features = (10 * np.eye(16)[labels] + rng.normal(size=(60, 16))).astype(np.float32)
    projected = project_2d(features, seed=1)
    distances = np.linalg.norm(projected[:, None] - projected[None], axis=-1) + np.diag(np.full(60, np.inf))
    assert (labels[distances.argmin(axis=1)] == labels).all()
    np.testing.assert_array_equal(project_2d(features, seed=1), projected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_project_2d_refuses_non_finite_features(value):
    features = np.ones((10, 3))
    features[4, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        project_2d(features)


def test_project_2d_refuses_too_many_points():
    with pytest.raises(ValueError, match=f"at most {MAX_POINTS}"):
        project_2d(np.zeros((MAX_POINTS + 1, 2)))
