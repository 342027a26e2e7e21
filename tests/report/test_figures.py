"""The curves show the logged metrics."""

import math

import numpy as np
import pytest

from sslax.report import figures, images
from sslax.report.figures import CURVE_POINTS
from tests.report.pages import RESULT, metrics, watched


def test_series_keeps_the_last_line_of_a_step_and_finite_numbers():
    lines = [
        {"step": 1, "epoch": 0.5, "loss": 9.0},
        {"step": 2, "epoch": 1.0, "loss": float("nan")},
        {"step": 3, "epoch": 1.5, "knn1": 0.5},
        {"step": 4, "epoch": 2, "loss": 3},
        {"step": 1, "epoch": 0.5, "loss": 4.0},
    ]
    epochs, losses = figures.series(lines, "loss")
    assert epochs.tolist() == [0.5, 2.0]
    assert losses.tolist() == [4.0, 3.0]


def test_loss_curve_equals_the_logged_losses():
    figure = figures.loss_figure(metrics(30))
    loss, rate = figure.axes
    x, y = loss.lines[0].get_data()
    np.testing.assert_allclose(x, np.arange(10, 310, 10) / 6)
    np.testing.assert_allclose(y, 3 + 2 / np.arange(10, 310, 10))
    np.testing.assert_allclose(rate.lines[0].get_ydata(), 1 / np.arange(10, 310, 10))
    assert rate.get_position().height < loss.get_position().height / 2
    assert len(figures.loss_figure([{"step": 1, "epoch": 1.0, "loss": 1.0}]).axes) == 1


def test_a_long_curve_is_averaged_within_its_range():
    values = np.random.default_rng(0).normal(size=10 * CURVE_POINTS + 7)
    lines = [{"step": i, "epoch": i, "loss": v} for i, v in enumerate(values.tolist())]
    (axes,) = figures.loss_figure(lines).axes
    x, y = axes.lines[0].get_data()
    assert len(y) == CURVE_POINTS
    np.testing.assert_allclose(y[0], values[:10].mean())
    np.testing.assert_allclose(x[0], 4.5)
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (values.min(), values.max())


def test_knn_curves_and_their_reference_lines():
    figure = figures.knn_figure(metrics(), RESULT)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {
        "kNN, k = 20: 95.0 at the end",
        "kNN, k = 1: 90.0 at the end",
        "raw pixels, k = 20: 97.2",
        "untrained, k = 20: 92.5",
    }
    for label, level in (("raw pixels, k = 20: 97.2", 97.222), ("untrained, k = 20: 92.5", 92.5)):
        np.testing.assert_allclose(lines[label].get_ydata(), level)
        assert lines[label].is_dashed()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)
    assert len(figures.knn_figure(metrics(), None).axes[0].lines) == 2
    assert figures.knn_figure([{"step": 1, "epoch": 1.0, "loss": 1.0}], RESULT) is None


_CHANCE = "loss of outputs without information"


def _losses(values, chance, **more):
    return [{"step": i, "epoch": i, "loss": v, "chance_loss": chance, **more} for i, v in enumerate(values)]


def _dotted(axes):
    return {line.get_label(): line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"}


@pytest.mark.parametrize("lr", [{}, {"lr": 0.1}])
def test_chance_loss_is_drawn_and_labelled(lr):
    figure = figures.loss_figure(_losses([6.0, 4.0, 2.0], 5.0, **lr))
    assert _dotted(figure.axes[0]) == {_CHANCE: 5.0}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [_CHANCE]
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == _CHANCE]
    assert line.get_linewidth() < figure.axes[0].lines[0].get_linewidth()


@pytest.mark.parametrize(
    ("losses", "chance", "drawn"),
    [
        # matplotlib draws 10 to 20 as 9.5 to 20.5, and 1.3 times that range ends 3.3 beyond it.
        ([10.0, 20.0], 23.7, True),
        ([10.0, 20.0], 23.9, False),
        ([10.0, 20.0], 6.3, True),
        ([10.0, 20.0], 6.1, False),
        ([10.0, 20.0], math.nan, False),
        ([10.0, 20.0], math.inf, False),
        ([-1.0, -0.9], 0.0, False),
        # A loss that is stuck at the chance loss, with almost no range.
        ([11.0901, 11.0902], 11.0904, True),
        ([11.0904, 11.0904], 11.0904, True),
        ([0.0, 0.0], 0.0, True),
    ],
)
def test_chance_loss_is_left_out_if_it_would_compress_the_curve(losses, chance, drawn):
    figure = figures.loss_figure(_losses(losses, chance))
    assert bool(_dotted(figure.axes[0])) == bool(figure.legends) == drawn
    low, high = figure.axes[0].get_ylim()
    assert not drawn or low <= chance <= high
    if losses[0] == losses[1]:
        # A curve without any range.
        assert images.encode(figure)


def test_entropy_and_kl_are_drawn_with_ln_k():
    lines = watched(metrics())
    figure = figures.entropy_figure(lines)
    (axes,) = figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(drawn) == ["target entropy: 1.03 at the end", "KL: 0.0167 at the end", "ln K = 3.25"]
    for values, name in zip(drawn.values(), ("target_entropy", "kl"), strict=False):
        np.testing.assert_allclose(values, [line[name] for line in lines])
    assert _dotted(axes) == {"ln K = 3.25": 3.25}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(drawn)
    assert axes.get_ylim()[0] == 0


def test_entropy_without_kl_or_chance_and_kl_without_entropy():
    lines = [{"epoch": 1.0, "target_entropy": 2.0}, {"epoch": 2.0, "target_entropy": math.nan}]
    (line,) = figures.entropy_figure(lines).axes[0].lines
    assert line.get_xydata().tolist() == [[1.0, 2.0]]
    assert figures.entropy_figure([{"epoch": 1.0, "kl": 2.0, "chance_loss": 3.0}]) is None
    assert figures.entropy_figure([{"epoch": 1.0, "target_entropy": math.nan}]) is None


@pytest.mark.parametrize("kl", [0.0, -1e-7, 1e-12])
def test_collapsed_entropy_and_kl_are_inside_the_axes(kl):
    lines = [{"epoch": i, "target_entropy": 0.0, "kl": kl} for i in range(3)]
    figure = figures.entropy_figure(lines)
    assert figure.axes[0].get_ylim()[0] <= kl < figure.axes[0].get_ylim()[1]
    assert images.encode(figure)


@pytest.mark.parametrize(("values", "top"), [([0.0, 0.0], 1.1), ([0.2, 0.9], 1.1), ([0.5, 2.0], 2.16)])
def test_feature_spread_is_drawn_from_zero_with_a_line_at_one(values, top):
    figure = figures.feature_std_figure([{"epoch": i, "feature_std": v} for i, v in enumerate(values)])
    (axes,) = figure.axes
    assert axes.get_title("left") == "Feature spread"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), values)
    assert _dotted(axes) == {"1: spread evenly over the sphere": 1}
    np.testing.assert_allclose(axes.get_ylim(), (0, top))
    assert any(values) or images.encode(figure)
    assert figures.feature_std_figure(metrics()) is None


def test_validation_accuracy_with_a_line_at_the_kept_weights():
    lines = [
        {"step": 10, "epoch": 1.0, "validation": 0.5, "best": True},
        {"step": 20, "epoch": 2.0, "validation": 0.75, "best": True},
        {"step": 30, "epoch": 3.0, "validation": 0.625, "best": False},
    ]
    (axes,) = figures.validation_figure(lines).axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 50], [2, 75], [3, 62.5]])
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [2.0]
    assert axes.lines[1].get_label() == "weights kept: 75.0"
    assert figures.validation_figure(metrics()) is None
