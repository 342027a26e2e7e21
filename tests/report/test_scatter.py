"""The map of the features: points in their class colours, and images that do not overlap."""

import itertools

import matplotlib
import numpy as np

from sslax.report import scatter
from sslax.report.scatter import MOST_MARKS
from sslax.report.style import COLORS
from tests.report.pages import full_report


def test_all_class_marks_are_different():
    marks = {scatter.class_mark(i)[:2] for i in range(MOST_MARKS)}
    assert len(marks) == MOST_MARKS
    assert len({scatter.class_mark(i)[2] for i in range(MOST_MARKS)}) == MOST_MARKS // len(COLORS)
    assert scatter.class_mark(MOST_MARKS) == scatter.class_mark(0)


def test_every_point_has_its_class_colour_and_thumbnails_do_not_overlap():
    fields = full_report()
    embedding, labels, thumbnails = fields["embedding"], fields["embedding_labels"], fields["thumbnails"]
    (axes,) = scatter.embedding_figure(embedding, labels, thumbnails).axes
    drawn = {}
    for points, label in zip(axes.collections, np.unique(labels).tolist(), strict=True):
        assert len(points.get_offsets()) == (labels == label).sum()
        assert matplotlib.colors.to_hex(points.get_facecolor()[0]) == scatter.class_mark(label)[0]
        drawn |= {index: at for index, at in zip(np.flatnonzero(labels == label), points.get_offsets(), strict=True)}
    extents = [image.get_extent() for image in axes.images]
    assert len(extents) > 10
    for one, other in itertools.combinations(extents, 2):
        assert one[0] >= other[1] or other[0] >= one[1] or one[2] >= other[3] or other[2] >= one[3]
    for image, frame in zip(axes.images, axes.patches, strict=True):
        left, right, bottom, top = image.get_extent()
        centre = ((left + right) / 2, (bottom + top) / 2)
        (index,) = [index for index, at in drawn.items() if np.allclose(at, centre)]
        np.testing.assert_array_equal(image.get_array()[::5, ::5], thumbnails[index])
        assert matplotlib.colors.to_hex(frame.get_edgecolor()) == scatter.class_mark(int(labels[index]))[0]
        assert axes.get_xlim()[0] < left < right < axes.get_xlim()[1]
        assert axes.get_ylim()[0] < bottom < top < axes.get_ylim()[1]


def test_spread_leaves_out_only_what_would_overlap():
    points = np.random.default_rng(1).uniform(size=(200, 2))
    chosen = scatter.spread(points, 0.1, 1000)
    apart = np.abs(points[:, None] - points[None, chosen]).max(axis=-1)
    assert (np.sort(apart[chosen], axis=1)[:, 1] >= 0.1).all()
    others = np.setdiff1d(np.arange(200), chosen)
    assert (apart[others].min(axis=1) < 0.1).all()
    assert scatter.spread(points, 0.1, 5) == chosen[:5]
    assert len(scatter.spread(np.zeros((9, 2)), 0.1, 5)) == 1
