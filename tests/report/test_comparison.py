"""Comparing groups: means and deviations, curves of the logged metrics, and escaped names."""

import statistics

import numpy as np
import pytest
from matplotlib.text import Text

from sslax.report import comparison, write_page
from sslax.report.comparison import CURVES, Group, Run
from sslax.report.figures import CURVE_POINTS
from tests.report.pages import Page

HOSTILE = '<script>alert("1")</script> $x^2$ & {b}'


def run(name, scale=1.0, finished=True, epochs=5):
    metrics = [
        {"step": 10 * e, "epoch": e, "loss": scale / e, "knn20": 0.5 * scale, "images_per_s": 100 * scale, "seconds": e}
        for e in range(1, epochs + 1)
    ]
    result = {"pretrained": {"knn1": 0.9 * scale, "knn20": 0.8 * scale}, "raw_pixels": {"knn1": 0.5}}
    return Run(name=name, metrics=metrics, result=result if finished else None)


def group(name, *runs, **settings):
    return Group(name=name, settings={"data": "digits", "epochs": 5, **settings}, runs=runs)


GROUPS = [
    group("one", run("a"), run("b", 0.5), run("c", 0.25, finished=False, epochs=3), method={"temperature": 0.1}),
    group(HOSTILE, run("d", 0.75), method={"temperature": 0.5, "views": {"size": 8}}),
]


def page(tmp_path, html):
    path = tmp_path / "page.html"
    write_page(path, "title", "summary", [("part", html)])
    return Page(path.read_text("utf-8"))


def test_accuracies_are_means_and_deviations_of_finished_runs(tmp_path):
    rows = page(tmp_path, comparison.accuracy(GROUPS)).table("result")
    texts = [[text.replace("\u00a0", " ") for text, _ in row] for row in rows]
    knn1, knn20 = [90.0, 45.0], [80.0, 40.0]
    assert texts[0] == ["group", "features", "kNN, k = 1", "kNN, k = 20", "n"]
    assert texts[1] == [
        "one",
        "pretrained",
        f"{statistics.mean(knn1):.1f} ± {statistics.stdev(knn1):.1f}",
        f"{statistics.mean(knn20):.1f} ± {statistics.stdev(knn20):.1f}",
        "2",
    ]
    assert texts[2] == ["raw pixels", "50.0 ± 0.0", "–", "2"]
    assert texts[3][1:] == ["pretrained", "67.5", "60.0", "1"]


def test_a_note_replaces_missing_accuracies():
    groups = [group("one", run("a", finished=False))]
    assert "No run has accuracies" in comparison.accuracy(groups)
    assert comparison.columns_of(groups) == []


def test_groups_on_different_images_get_a_note():
    said = "The groups use different images"
    assert said not in comparison.accuracy(GROUPS)
    assert said in comparison.accuracy([GROUPS[0], group("two", run("e"), data="folder:x")])


def test_only_differing_settings_are_shown(tmp_path):
    rows = page(tmp_path, comparison.settings(GROUPS)).table("result")
    assert [[text for text, _ in row] for row in rows[1:]] == [
        ["method.temperature", "0.1", "0.5"],
        ["method.views.size", "–", "8"],
    ]
    assert "only the seeds differ" in comparison.settings(GROUPS[:1])


def test_curves_equal_the_logged_metrics():
    (axes,) = comparison.curve_figure(GROUPS, "knn20").axes
    # Three runs and their mean, and a single run.
    assert len(axes.lines) == 5
    assert len({line.get_color() for line in axes.lines[:4]}) == 1
    assert axes.lines[4].get_color() != axes.lines[0].get_color()
    np.testing.assert_allclose(axes.lines[1].get_ydata(), 25.0)
    mean_x, mean_y = axes.lines[3].get_data()
    # One run has reached only the third epoch.
    np.testing.assert_allclose(mean_x, [1, 2, 3])
    np.testing.assert_allclose(mean_y, 100 * statistics.mean([0.5, 0.25, 0.125]))
    assert comparison.curve_figure(GROUPS, "knn1") is None
    assert set(CURVES) == {"loss", "knn20", "knn1", "probe"}


def test_long_curves_are_thinned_to_means():
    count = 3 * CURVE_POINTS
    metrics = [{"step": i, "epoch": float(i), "loss": float(i % 3)} for i in range(count)]
    (axes,) = comparison.curve_figure([group("long", Run(name="a", metrics=metrics, result=None))], "loss").axes
    x, y = axes.lines[0].get_data()
    assert len(x) == CURVE_POINTS
    np.testing.assert_allclose(y, 1.0)
    np.testing.assert_allclose(x, np.arange(CURVE_POINTS) * 3 + 1)


def test_all_groups_have_different_marks():
    assert len({str(comparison._mark(place)) for place in range(comparison.MOST_GROUPS)}) == comparison.MOST_GROUPS


def test_names_are_escaped_in_the_legend_and_absent_from_the_figure(tmp_path):
    found = page(tmp_path, comparison.curves(GROUPS) + comparison.speed(GROUPS))
    assert not found.all("script")
    # Two figures, of loss and kNN at 20, below the legend.
    assert len(found.all("img", "drawn")) == 2
    assert [text.strip() for text in found.texts("li")] == ["one (3 runs)", HOSTILE]
    for name in CURVES:
        figure = comparison.curve_figure(GROUPS, name)
        drawn = [] if figure is None else [text.get_text() for text in figure.findobj(Text)]
        assert not any(name in text for text in drawn for name in ("one", "script", "$"))
    assert "their losses may not be comparable" in found.source
    assert "No metrics were logged" in comparison.curves([group("e", Run(name="e", metrics=[], result=None))])


def test_speed_uses_medians_and_time_uses_finished_runs(tmp_path):
    rows = page(tmp_path, comparison.speed(GROUPS)).table("result")
    first = [text.replace("\u00a0", " ") for text, _ in rows[1]]
    rates = [100.0, 50.0, 25.0]
    assert first == [
        "one",
        f"{statistics.mean(rates):.0f} ± {statistics.stdev(rates):.0f}",
        "5.0 ± 0.0",
        "3",
        "a, b, c",
    ]


@pytest.mark.parametrize(("numbers", "said"), [([], ""), ([1234.5], "1,234.5"), ([1.0, 3.0], "2.0\u00a0±\u00a01.4")])
def test_spread_as_text(numbers, said):
    assert comparison.spread(numbers, 1) == said
