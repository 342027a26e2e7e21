"""The class sections of a page: the drawn matrix equals the given one, and names are escaped."""

import itertools
import re

import numpy as np
import pytest

from sslax.evaluation import per_class
from sslax.report import classes, confusion_figure
from sslax.report.classes import confusion, mistakes, per_class_table
from tests.report.pages import Page, decode

NAMES = ("$x^2$", "<b>bold</b>", "plain")
MATRIX = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]])


def _numbers(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_cells_are_shaded_by_their_share_of_the_row_and_show_counts():
    axes, bar = confusion_figure(MATRIX).axes
    (drawn,) = axes.images
    np.testing.assert_allclose(drawn.get_array(), [[80, 20, 0], [0, 100, 0], [0, 0, 0]])
    assert (drawn.norm.vmin, drawn.norm.vmax) == (0, 100)
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "8", (1, 0): "2", (1, 1): "5"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert _numbers(axes.xaxis) == _numbers(axes.yaxis) == ["0", "1", "2"]
    assert "%" in bar.get_ylabel()
    with pytest.raises(ValueError, match="matrix has a count of -1"):
        confusion_figure(np.array([[1, -1], [0, 1]]))


@pytest.mark.parametrize("count", [2, 10, 40, 200])
def test_class_numbers_do_not_overlap(count):
    figure = confusion_figure(np.full((count, count), 123))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    cell = axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0]
    assert all(text.get_window_extent().width < cell for text in axes.texts)
    assert bool(axes.texts) == (count <= 10)
    # The axis labels are inside the figure.
    assert axes.yaxis.label.get_window_extent().x0 >= 0
    assert axes.xaxis.label.get_window_extent().y0 >= 0


def test_the_legend_names_the_classes_and_the_figure_does_not(monkeypatch):
    page = Page(confusion(MATRIX, NAMES))
    assert page.texts("li") == [f"{i}\u2002{name}" for i, name in enumerate(NAMES)]
    ((attributes, _),) = page.all("img", "drawn")
    assert attributes["alt"] == "Confusion matrix of 3 classes, 13 of 15 images on its diagonal."
    assert not any("too many classes" in text for text in page.texts("p"))
    monkeypatch.setattr(classes, "encode", lambda figure: "data:,")
    many = Page(confusion(np.full((60, 60), 5), [str(i) for i in range(60)]))
    assert any("too many classes to show counts" in text for text in many.texts("p"))


def test_per_class_table_values_and_dashes():
    html = per_class_table(NAMES, per_class(MATRIX))
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    assert cells == [
        ["class", "precision", "recall", "F1", "test images"],
        ["$x^2$", "100.0", "80.0", "88.9", "10"],
        ["&lt;b&gt;bold&lt;/b&gt;", "71.4", "100.0", "83.3", "5"],
        ["plain", "–", "–", "–", "0"],
    ]
    assert "A dash means that" in html


def test_mistakes_are_sorted_by_confidence():
    pictures = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((4, 8, 8, 3), np.uint8)
    labels = np.array([0, 1, 2, 0])
    probabilities = np.array([[0.2, 0.6, 0.2], [0.0, 1.0, 0.0], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])
    page = Page(mistakes(pictures, labels, probabilities, NAMES, most=2))
    assert page.texts("figcaption") == ["plainpredicted $x^2$, 90\u00a0%", "$x^2$predicted plain, 80\u00a0%"]
    assert [decode(attributes["src"]).max() for attributes, _ in page.all("img")] == [2, 3]
    assert any(text.startswith("The 2 of 3 mistakes in 4 test images") for text in page.texts("p"))
    right = mistakes(pictures[:1], np.array([1]), probabilities[:1], NAMES)
    assert right == "<p>All 1 test images were classified correctly.</p>"
