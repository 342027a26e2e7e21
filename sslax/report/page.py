"""A run's report: one HTML file that needs nothing but itself, for a browser, a mail or a phone.

Accuracies are in [0, 1] where they come in and per cent where they are shown.
"""

import html
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from sslax.report import figures
from sslax.report.figures import Metrics, Result

_MOST_EXAMPLES = 12
_ROWS = {"raw_pixels": "raw pixels", "untrained": "untrained network"}
_COLUMNS = {"knn1": "kNN, k\u00a0=\u00a01", "knn20": "kNN, k\u00a0=\u00a020", "linear": "linear probe"}

# Figures and their legends stand on white in the dark too: their colours are made for it.
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #59636e; --rule: #e1e4e8; --page: #fff; --card: 0 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --faint: #a0a8b2; --rule: #353b43; --page: #17191d; --card: .75rem }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink); background: var(--page);
  font: 1rem/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere;
  -webkit-text-size-adjust: 100% }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.25 }
h2 { margin: 2.75rem 0 .75rem; font-size: 1.2rem; line-height: 1.3 }
p { margin: .5rem 0; max-width: 42rem; color: var(--faint); font-size: .9375rem }
.summary { color: var(--ink); font-size: 1.0625rem }
figure { margin: 0; padding: var(--card); background: #fff; color: #1f2328; border-radius: 6px }
.map { max-width: 46rem }
.drawn { display: block; width: 100%; height: auto }
.pair { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)) }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: .5rem 0 0; padding: 0; list-style: none }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { font-weight: inherit; text-align: left }
th, td { padding: .3rem 1.25rem .3rem 0; vertical-align: baseline }
tr { border-bottom: 1px solid var(--rule) }
thead th, .views th, .pairs th { color: var(--faint) }
thead, .views, .pairs, .legend { font-size: .875rem }
.result, .views { overflow-wrap: normal }
.number { text-align: right; padding: .3rem 0 .3rem 1.5rem }
.views tr { border: 0 }
.views td { padding: 0 .25rem .125rem 0 }
.views th { position: sticky; left: 0; padding: 0 .75rem 0 0; background: var(--page); vertical-align: middle;
  min-width: 4.75rem; max-width: 9rem; overflow-wrap: anywhere }
.view { display: block; width: var(--width); max-width: none; height: auto }
.crisp { image-rendering: pixelated }
.columns { columns: 2 24rem; column-gap: 2.5rem }
.columns .scroll { break-inside: avoid; margin-bottom: 1rem }
.pairs { width: 100%; max-width: 42rem }
.pairs th { overflow-wrap: break-word }
@media (max-width: 40rem) { .view { width: min(var(--width), 3.5rem) } .number { padding-left: .9rem } }
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What a run's report shows; whatever is None or empty is left out, and the page says so.

    Attributes:
      title: name of the run.
      summary: one sentence: what was trained, on what, how long.
      method_name: name of the row of the pretrained network, such as "SimCLR".
      views: what the network saw: a row an image, a column a view.
      view_names: names of the columns of `views`.
      metrics: lines of metrics.jsonl; `epoch` with any of `loss`, `lr`, `images_per_s`, `knn1`, `knn20` is drawn.
      result: accuracies of "raw_pixels", "untrained" and "pretrained", in [0, 1], by name of the evaluation.
      embedding: features in the plane, as `project_2d` gives them.
      embedding_labels: class of each point.
      thumbnails: image of each point.
      classes: names of the classes.
      config: nested configuration.
      environment: versions, devices, command, date.
      notes: sentences that a reader of the numbers must know.

    Raises:
      ValueError: where lengths do not agree, a label has no class, or the embedding is not finite.
    """

    title: str
    summary: str
    method_name: str = "pretrained network"
    views: UInt8[np.ndarray, "rows columns h w 3"] | None = None
    view_names: tuple[str, ...] = ()
    metrics: Metrics = ()
    result: Result | None = None
    embedding: Float[np.ndarray, "n 2"] | None = None
    embedding_labels: Int[np.ndarray, "n"] | None = None
    thumbnails: UInt8[np.ndarray, "n ht wt 3"] | None = None
    classes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.views is not None and self.views.shape[1] != len(self.view_names):
            raise ValueError(
                f"views has {self.views.shape[1]} columns, but view_names has {len(self.view_names)} names."
            )
        if self.embedding is None:
            return
        if not np.isfinite(self.embedding).all():
            raise ValueError("embedding has values that are not finite.")
        for name, array in (("embedding_labels", self.embedding_labels), ("thumbnails", self.thumbnails)):
            if array is not None and len(array) != len(self.embedding):
                raise ValueError(f"{name} has {len(array)} rows, but embedding has {len(self.embedding)}.")
        labels = self.embedding_labels
        if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise ValueError(
                f"embedding_labels has {labels.min()} to {labels.max()}, but classes has {len(self.classes)} names."
            )


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Write `report` as one self-contained HTML file.

    The page is drawn before anything is written, then written beside `path` and moved there, so that `path` is at any
    time either what it was or the whole new page.

    Raises:
      OSError: where the folder is missing or cannot be written.
    """
    # Names of files may hold bytes that are no UTF-8; they are shown as an escape.
    page = _page(report).encode("utf-8", "backslashreplace")
    path = pathlib.Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(page)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def environment() -> dict[str, str]:
    """What this process runs on: versions, devices as "8 × cpu", and the operating system; starts JAX's backend."""
    versions = {"python": platform.python_version()}
    for package in ("sslax", "jax", "jaxlib", "flax", "optax"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    kinds = Counter(device.device_kind for device in jax.devices())
    devices = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
    return {**versions, "devices": devices, "backend": jax.default_backend(), "platform": platform.platform()}


def _text(value: object) -> str:
    """Any text so that it is nothing but text in HTML; control characters, which HTML has no way to write, become �."""
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", str(value)))


def _page(report: Report) -> str:
    notes = "".join(f"<p>{_text(note)}</p>" for note in report.notes)
    sections = [
        ("Accuracy", _result(report.result, report.method_name)),
        ("Training", _training(report.metrics, report.result)),
        ("Features of the test images", _embedding(report)),
        ("What the network saw", _views(report)),
        ("Configuration", _config(report.config)),
        ("Environment", _pairs(report.environment) or _paragraph("No environment was recorded.")),
    ]
    body = "".join(f"<section><h2>{heading}</h2>{content}</section>" for heading, content in sections)
    # The policy forbids the page to load anything, whatever may have slipped into it.
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{_text(report.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{_text(report.title)}</h1><p class="summary">{_text(report.summary)}</p>{notes}</header>
<main>{body}</main>
</body>
</html>
"""


def _paragraph(*sentences: str) -> str:
    return f"<p>{' '.join(sentences)}</p>"


def _table(rows: Iterable[str], of: str, head: str = "") -> str:
    return f'<div class="scroll"><table class="{of}">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _figure(uri: str, alt: str, of: str, caption: str = "") -> str:
    caption = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="{of}"><img class="drawn" src="{uri}" alt="{alt}">{caption}</figure>'


def _result(result: Result | None, method_name: str) -> str:
    if not result or not any(result.values()):
        return _paragraph("Accuracies were not measured for this run; measuring them takes labelled images.")
    names = {name for row in result.values() for name in row}
    columns = [name for name in _COLUMNS if name in names] + sorted(names - {*_COLUMNS})
    known = {**_ROWS, "pretrained": method_name}
    rows = [name for name in known if name in result] + [name for name in result if name not in known]
    per_cent = {(row, name): 100 * result[row].get(name, math.nan) for row in rows for name in columns}
    # What is shown decides what is best: two accuracies that read the same are both in bold, or neither.
    shown = {cell: round(value, 1) for cell, value in per_cent.items() if math.isfinite(value)}
    best = {name: max((value for (_, of), value in shown.items() if of == name), default=None) for name in columns}

    def cell(row: str, name: str) -> str:
        value = shown.get((row, name))
        if value is None:
            return '<td class="number">–</td>'
        return f'<td class="number">{f"<b>{value:.1f}</b>" if value == best[name] else f"{value:.1f}"}</td>'

    head = "".join(f'<th scope="col" class="number">{_text(_COLUMNS.get(name, name))}</th>' for name in columns)
    lines = (
        f'<tr><th scope="row">{_text(known.get(row, row))}</th>{"".join(cell(row, name) for name in columns)}</tr>'
        for row in rows
    )
    table = _table(lines, "result", f'<thead><tr><th scope="col">features</th>{head}</tr></thead>')
    return f"{table}<p>Per cent of the test images; the best of each column in bold.</p>"


def _training(metrics: Metrics, result: Result | None) -> str:
    if not metrics:
        return _paragraph("No metrics were logged.")
    drawn, sentences = [], []
    loss, knn = figures.loss_figure(metrics), figures.knn_figure(metrics, result)
    if loss is None:
        sentences.append("No finite loss was logged.")
    else:
        epochs, values = figures.series(metrics, "loss")
        sentences.append(f"Loss {values[0]:.4g} at first, {values[-1]:.4g} at epoch {epochs[-1]:.4g}.")
        drawn.append(_figure(figures.encode(loss), f"Curve of the loss over epochs. {sentences[0]}", "curve"))
        if len(values) > figures.CURVE_POINTS:
            sentences.append("The line is the mean of neighbouring values, the band around it their range.")
        if lost := sum(not math.isfinite(line.get("loss", 0)) for line in metrics):
            sentences.append(f"{lost} logged {'loss is' if lost == 1 else 'losses are'} not finite and not drawn.")
    if knn is None:
        sentences.append("No kNN accuracy was logged while training, so there is no curve of it.")
    else:
        drawn.append(_figure(figures.encode(knn), "Curves of the kNN accuracy over epochs.", "curve"))
    _, speed = figures.series(metrics, "images_per_s")
    if len(speed):
        sentences.append(f"Median speed {np.median(speed):,.0f} images/s.")
    return f'<div class="pair">{"".join(drawn)}</div>{_paragraph(*sentences)}'


def _embedding(report: Report) -> str:
    points, labels, classes = report.embedding, report.embedding_labels, report.classes
    if points is None or not len(points):
        return _paragraph("No features were projected, so there is no map of them.")
    legend = ""
    sentences = [
        f"{len(points)} test images in two dimensions: neighbours are alike, distances between groups mean little."
    ]
    if labels is None:
        sentences.append("There are no labels, so the points are not coloured by class.")
    else:
        marks = "Colour is" if len(classes) <= len(figures.COLORS) else "Colour and shape are"
        sentences.append(f"{marks} the class, which training did not see.")
        if len(classes) > figures.MOST_MARKS:
            sentences.append(
                f"There are {len(classes)} classes and {figures.MOST_MARKS} marks, "
                "so a mark stands for several classes and there is no legend."
            )
        else:
            legend = f'<ul class="legend">{"".join(_legend_entry(*entry) for entry in enumerate(classes))}</ul>'
    if report.thumbnails is None:
        sentences.append("There are no images to show at their points.")
    drawn = figures.encode(figures.embedding_figure(points, labels, report.thumbnails))
    return _figure(drawn, "Scatter of the test images' features.", "map", legend) + _paragraph(*sentences)


def _legend_entry(label: int, name: str) -> str:
    color, _, shape = figures.class_mark(label)
    mark = f'<svg viewBox="-1 -1 2 2" width="11" height="11" fill="{color}" aria-hidden="true">{shape}</svg>'
    return f"<li>{mark} {_text(name)}</li>"


def _views(report: Report) -> str:
    if report.views is None or not report.views.size:
        return _paragraph("No views were kept for this report.")

    def image(pixels: np.ndarray, name: str) -> str:
        uri, width, small = figures.encode_image(pixels)
        crisp = "crisp " if small else ""
        return f'<td><img class="{crisp}view" style="--width:{width}px" src="{uri}" alt="{_text(name)}"></td>'

    # A view a line, although the array has a view a column: a few views of many images lie across a page better.
    lines = []
    for column, name in enumerate(report.view_names):
        cells = "".join(image(pixels, name) for pixels in report.views[:_MOST_EXAMPLES, column])
        lines.append(f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>')
    caption = "An image a column, and below it the views that were made of it."
    if len(report.views) > _MOST_EXAMPLES:
        caption += f" The first {_MOST_EXAMPLES} of {len(report.views)} images are shown."
    return _table(lines, "views") + _paragraph(caption)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as text by dotted name; what JSON can write is written as JSON, text without its quotes."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            flat[f"{prefix}{key}"] = text
    return flat


def _pairs(values: Mapping[str, str]) -> str:
    lines = (f'<tr><th scope="row">{_text(key)}</th><td>{_text(value)}</td></tr>' for key, value in values.items())
    return _table(lines, "pairs") if values else ""


def _config(config: Mapping[str, Any]) -> str:
    if not config:
        return _paragraph("No configuration was recorded.")
    # What is not nested first, then a table for each group, which a wide page sets beside each other.
    groups = [{key: value for key, value in config.items() if not isinstance(value, Mapping)}]
    groups += [{key: value} for key, value in config.items() if isinstance(value, Mapping)]
    return f'<div class="columns">{"".join(_pairs(_flatten(group)) for group in groups)}</div>'
