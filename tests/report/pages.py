"""Reports for the tests, and a parser that reads their pages as a browser does."""

import base64
import html.parser
import io
import re

import numpy as np
from PIL import Image

from sslax.report import Report, write_report

_VOID = {"meta", "link", "img", "br", "hr", "input"}
RESULT = {
    "pretrained": {"linear": 0.97222, "knn1": 0.98061, "knn20": 0.97778},
    "untrained": {"knn1": 0.94167, "knn20": 0.925, "linear": 0.94444},
    "raw_pixels": {"knn1": 0.98611, "knn20": 0.97222, "linear": 0.97218},
}


class Page(html.parser.HTMLParser):
    """The elements of a page with attributes and texts. Fails if a closing tag does not match the open element."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.source, self.open, self.elements = text, [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), attrs
        element = [tag, dict(attrs), ""]
        self.elements.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, tag, of=None):
        """[(attributes, text)] of the elements with a tag name, and optionally a class."""
        return [
            (a, text) for t, a, text in self.elements if t == tag and (of is None or of in a.get("class", "").split())
        ]

    def texts(self, tag, of=None):
        return [text for _, text in self.all(tag, of)]

    def table(self, of):
        """Rows of cells [(text, whether it holds bold text)] of the first table of a class."""
        source = re.search(rf'<table class="{of}">.*?</table>', self.source, re.DOTALL).group()
        rows = re.findall(r"<tr>(.*?)</tr>", source, re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
        return [[(re.sub("<.*?>", "", cell), "<b>" in cell) for cell in row] for row in cells]


def write(tmp_path, **fields):
    path = tmp_path / "report.html"
    write_report(path, Report(**{"title": "run", "summary": "A run.", **fields}))
    return Page(path.read_text("utf-8"))


def metrics(lines=60):
    steps = range(10, 10 * lines + 10, 10)
    return [
        {"step": s, "epoch": s / 6, "loss": 3 + 2 / s, "lr": 1 / s, "images_per_s": 4321.0}
        | ({"knn1": 0.9, "knn20": 0.95} if s % 60 == 0 else {})
        for s in steps
    ]


def watched(lines):
    """The same lines with the metrics of the collapse watch."""
    return [
        line
        | {"feature_std": 0.2 + i / 100, "effective_rank": 10.0 + i}
        | {"target_entropy": 3 - i / 30, "kl": 1 / (1 + i), "chance_loss": 3.25}
        for i, line in enumerate(lines)
    ]


def full_report():
    rng = np.random.default_rng(0)
    return {
        "title": "simclr-digits",
        "summary": "SimCLR on digits.",
        "method_name": "SimCLR",
        "views": rng.integers(0, 256, (4, 3, 8, 8, 3), dtype=np.uint8),
        "view_names": ("image", "view 1", "view 2"),
        "attention": rng.integers(0, 256, (3, 3, 64, 64, 3), dtype=np.uint8),
        "attention_names": ("image", "head 1", "head 2"),
        "alarms": ("Outputs are uniform.", "Features are constant."),
        "metrics": watched(metrics()),
        "result": RESULT,
        "embedding": rng.normal(size=(50, 2)).astype(np.float32),
        "embedding_labels": rng.integers(0, 12, 50),
        "thumbnails": rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8),
        "classes": tuple(f"class {i}" for i in range(12)),
        "config": {"seed": 3, "method": {"views": {"crop": [0.2, 1.0]}, "blur": None}, "data": "digits"},
        "environment": {"python": "3.11.7", "devices": "1 × cpu"},
        "notes": ("Held out.",),
    }


def decode(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))
