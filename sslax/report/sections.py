"""The sections of a report's page, each as HTML.

Arguments have accuracies in [0, 1]; the page shows per cent.
"""

import math

import numpy as np
from jaxtyping import UInt8

from sslax.report import figures, scatter, style
from sslax.report.contents import Report
from sslax.report.elements import escape, pairs, paragraph, picture, settings, table
from sslax.report.figures import Metrics
from sslax.report.images import encode, encode_image

_MOST_EXAMPLES = 12
_ROWS = {"raw_pixels": "raw pixels", "untrained": "untrained network", "initial": "initial weights"}
_COLUMNS = {"knn1": "kNN, k\u00a0=\u00a01", "knn20": "kNN, k\u00a0=\u00a020", "linear": "linear probe"}
_WATCHED = ("target_entropy", "kl", "feature_std", "effective_rank")


def alarms(report: Report) -> str:
    """The messages of the collapse watch; empty if there are none."""
    if not report.alarms:
        return ""
    said = "".join(f"<p>{escape(alarm)}</p>" for alarm in report.alarms)
    return f'<div class="alarm" role="alert"><p><strong>Collapse watch</strong></p>{said}</div>'


def accuracy(report: Report) -> str:
    """A table of the accuracies, with a row per network and a column per evaluation."""
    result = report.result
    if not result or not any(result.values()):
        return paragraph("Accuracies were not measured for this run; measuring them takes labelled images.")
    names = {name for row in result.values() for name in row}
    columns = [name for name in _COLUMNS if name in names] + sorted(names - {*_COLUMNS})
    known = {**_ROWS, "pretrained": report.method_name}
    rows = [name for name in known if name in result] + [name for name in result if name not in known]
    per_cent = {(row, name): 100 * result[row].get(name, math.nan) for row in rows for name in columns}
    # The best is chosen among the rounded values: accuracies that look the same are either all bold or all not.
    shown = {cell: round(value, 1) for cell, value in per_cent.items() if math.isfinite(value)}
    best = {name: max((value for (_, of), value in shown.items() if of == name), default=None) for name in columns}

    def cell(row: str, name: str) -> str:
        value = shown.get((row, name))
        if value is None:
            return '<td class="number">–</td>'
        return f'<td class="number">{f"<b>{value:.1f}</b>" if value == best[name] else f"{value:.1f}"}</td>'

    head = "".join(f'<th scope="col" class="number">{escape(_COLUMNS.get(name, name))}</th>' for name in columns)
    lines = (
        f'<tr><th scope="row">{escape(known.get(row, row))}</th>{"".join(cell(row, name) for name in columns)}</tr>'
        for row in rows
    )
    accuracies = table(lines, "result", f'<thead><tr><th scope="col">features</th>{head}</tr></thead>')
    return f"{accuracies}<p>Per cent of the test images; the best of each column is in bold.</p>"


def training(report: Report) -> str:
    """Curves of the metrics that were logged during training."""
    metrics = report.metrics
    if not metrics:
        return paragraph("No metrics were logged.")
    sentences = _loss_sentences(metrics)
    drawn = [
        (figures.loss_figure(metrics), f"Curve of the loss over epochs. {sentences[0]}"),
        (figures.knn_figure(metrics, report.result), "Curves of the kNN accuracy over epochs."),
        (figures.entropy_figure(metrics), "Curves of the targets' entropy and of the KL divergence over epochs."),
        (figures.feature_std_figure(metrics), "Curve of the spread of the features over epochs."),
    ]
    if drawn[1][0] is None:
        sentences.append("No kNN accuracy was logged during training, so there is no kNN curve.")
    _, speed = figures.series(metrics, "images_per_s")
    if len(speed):
        sentences.append(f"Median speed {np.median(speed):,.0f} images/s.")
    pictures = "".join(picture(encode(figure), alt, "curve") for figure, alt in drawn if figure is not None)
    watched = _collapse_sentences(metrics)
    return f'<div class="pair">{pictures}</div>{paragraph(*sentences)}{paragraph(*watched) if watched else ""}'


def _loss_sentences(metrics: Metrics) -> list[str]:
    epochs, values = figures.series(metrics, "loss")
    if not len(values):
        return ["No finite loss was logged."]
    sentences = [f"The loss is {values[0]:.4g} at first and {values[-1]:.4g} at epoch {epochs[-1]:.4g}."]
    if len(values) > figures.CURVE_POINTS:
        sentences.append("The line is the mean of neighbouring values; the band around it is their range.")
    if lost := _not_finite(metrics, "loss"):
        sentences.append(
            f"{lost} logged {'loss is' if lost == 1 else 'losses are'} not finite and therefore not drawn."
        )
    return sentences


def _collapse_sentences(metrics: Metrics) -> list[str]:
    """How to interpret the collapse metrics that were logged."""
    sentences = []
    found = {name: figures.series(metrics, name) for name in _WATCHED}
    if len(found["target_entropy"][1]) and len(found["kl"][1]):
        # Caron et al. 2021, figure 7.
        sentences.append(
            "A KL that stays at 0 means collapse: "
            "to uniform outputs if the entropy is ln\u00a0K, to one dimension if it is 0."
        )
    if len(found["feature_std"][1]):
        sentences.append(
            "A feature spread of 1 means that directions are spread evenly over the sphere; 0 means the same direction for "
            "every image."
        )
    epochs, ranks = found["effective_rank"]
    if len(ranks):
        sentences.append(
            f"The effective rank of the features is {ranks[0]:.4g} at first and {ranks[-1]:.4g} at epoch {epochs[-1]:.4g}."
        )
    for name in _WATCHED:
        if lost := _not_finite(metrics, name):
            values = f"value of {name} is" if lost == 1 else f"values of {name} are"
            sentences.append(f"{lost} logged {values} not finite and left out.")
    return sentences


def _not_finite(metrics: Metrics, name: str) -> int:
    return sum(not math.isfinite(line.get(name, 0)) for line in metrics)


def features(report: Report) -> str:
    """The map of the features of the test images, with its legend."""
    points, labels, classes = report.embedding, report.embedding_labels, report.classes
    if points is None or not len(points):
        return paragraph("No features were projected, so there is no map of them.")
    legend = ""
    sentences = [
        f"{len(points)} test images in two dimensions. Neighbours have similar features; distances between groups mean little."
    ]
    if labels is None:
        sentences.append("There are no labels, so the points are not coloured by class.")
    else:
        marks = "Colour is" if len(classes) <= len(style.COLORS) else "Colour and shape are"
        sentences.append(f"{marks} the class, which pretraining did not use.")
        if len(classes) > scatter.MOST_MARKS:
            sentences.append(
                f"There are {len(classes)} classes and {scatter.MOST_MARKS} marks, "
                "so a mark stands for several classes and there is no legend."
            )
        else:
            legend = f'<ul class="legend">{"".join(_legend_entry(*entry) for entry in enumerate(classes))}</ul>'
    if report.thumbnails is None:
        sentences.append("There are no images, so all are shown as points.")
    drawn = encode(scatter.embedding_figure(points, labels, report.thumbnails))
    return picture(drawn, "Scatter of the test images' features.", "map", legend) + paragraph(*sentences)


def _legend_entry(label: int, name: str) -> str:
    color, _, shape = scatter.class_mark(label)
    mark = f'<svg viewBox="-1 -1 2 2" width="11" height="11" fill="{color}" aria-hidden="true">{shape}</svg>'
    return f"<li>{mark} {escape(name)}</li>"


def views(report: Report) -> str:
    """Training images and views of them."""
    if report.views is None or not report.views.size:
        return paragraph("No views were kept for this report.")
    caption = "Each column shows an image and, below it, its views."
    return examples(report.views, report.view_names, caption)


def attention(report: Report) -> str:
    """Attention maps of the [CLS] token in some images; empty if they were not recorded."""
    if report.attention is None or not report.attention.size:
        return ""
    caption = "Attention of the [CLS] token in the last block, one row per head: brighter means more attention."
    return examples(report.attention, report.attention_names, caption)


def patches(report: Report) -> str:
    """Principal components of the patch features of some images, as colours; empty if they were not recorded."""
    if report.patches is None or not report.patches.size:
        return ""
    caption = (
        "The first three principal components of the patch features as red, green and blue, computed over the patches of all "
        "these images together: patches of one colour have similar features, also in different images."
    )
    return examples(report.patches, ("image", "patches"), caption)


def examples(shown: UInt8[np.ndarray, "rows columns h w 3"], names: tuple[str, ...], caption: str) -> str:
    """A table of pictures with a caption of HTML. Each column of `shown` becomes a row, because images outnumber views."""

    def image(pixels: np.ndarray, name: str) -> str:
        uri, width, small = encode_image(pixels)
        crisp = "crisp " if small else ""
        return f'<td><img class="{crisp}view" style="--width:{width}px" src="{uri}" alt="{escape(name)}"></td>'

    lines = []
    for column, name in enumerate(names):
        cells = "".join(image(pixels, name) for pixels in shown[:_MOST_EXAMPLES, column])
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    if len(shown) > _MOST_EXAMPLES:
        caption += f" The first {_MOST_EXAMPLES} of {len(shown)} images are shown."
    return table(lines, "views") + paragraph(caption)


def configuration(report: Report) -> str:
    """The configuration, by dotted name."""
    return settings(report.config) or paragraph("No configuration was recorded.")


def environment(report: Report) -> str:
    """The versions, devices and command of the run."""
    return pairs(report.environment) or paragraph("No environment was recorded.")
