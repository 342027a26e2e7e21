"""The report page: read back as a browser would, with hostile text, missing parts, and failures while it is drawn."""

import base64
import html.parser
import io
import itertools
import os
import platform
import re
from importlib.metadata import version

import jax
import jaxtyping
import matplotlib
import numpy as np
import pytest
from PIL import Image

from sslax.report import Report, environment, figures, project_2d, write_report
from sslax.report.figures import COLORS, CURVE_POINTS, MAX_POINTS, MOST_MARKS

_VOID = {"meta", "link", "img", "br", "hr", "input"}
_RESULT = {
    "pretrained": {"linear": 0.97222, "knn1": 0.98061, "knn20": 0.97778},
    "untrained": {"knn1": 0.94167, "knn20": 0.925, "linear": 0.94444},
    "raw_pixels": {"knn1": 0.98611, "knn20": 0.97222, "linear": 0.97218},
}


class Page(html.parser.HTMLParser):
    """Elements with their attributes and texts; closing tags must match what is open."""

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
        """[(attributes, text)] of the elements of a name, and of a class."""
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


def _write(tmp_path, **fields):
    path = tmp_path / "report.html"
    write_report(path, Report(**{"title": "run", "summary": "A run.", **fields}))
    return Page(path.read_text("utf-8"))


def _metrics(lines=60):
    steps = range(10, 10 * lines + 10, 10)
    return [
        {"step": s, "epoch": s / 6, "loss": 3 + 2 / s, "lr": 1 / s, "images_per_s": 4321.0}
        | ({"knn1": 0.9, "knn20": 0.95} if s % 60 == 0 else {})
        for s in steps
    ]


def _full():
    rng = np.random.default_rng(0)
    return {
        "title": "simclr-digits",
        "summary": "SimCLR on digits.",
        "method_name": "SimCLR",
        "views": rng.integers(0, 256, (4, 3, 8, 8, 3), dtype=np.uint8),
        "view_names": ("image", "view 1", "view 2"),
        "metrics": _metrics(),
        "result": _RESULT,
        "embedding": rng.normal(size=(50, 2)).astype(np.float32),
        "embedding_labels": rng.integers(0, 12, 50),
        "thumbnails": rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8),
        "classes": tuple(f"class {i}" for i in range(12)),
        "config": {"seed": 3, "method": {"views": {"crop": [0.2, 1.0]}, "blur": None}, "data": "digits"},
        "environment": {"python": "3.11.7", "devices": "1 × cpu"},
        "notes": ("Held out.",),
    }


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("full"), **_full())


def _decode(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_page_stands_alone(full):
    addresses = [(t, a[name]) for t, a, _ in full.elements for name in ("src", "href", "srcset", "data") if name in a]
    assert len(addresses) == 1 + 3 + 12
    for tag, address in addresses:
        assert address.startswith("data:"), (tag, address)
    assert not full.all("script")
    assert not full.all("iframe")
    (style,) = full.texts("style")
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [a["content"] for a, _ in full.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert any(a.get("name") == "viewport" for a, _ in full.all("meta"))
    assert all(a.get("alt") for a, _ in full.all("img"))


def test_everything_is_shown(full):
    assert full.texts("title") == full.texts("h1") == ["simclr-digits"]
    assert "SimCLR on digits." in full.texts("p")
    assert "Held out." in full.texts("p")
    assert [text.strip() for text in full.texts("li")] == [f"class {i}" for i in range(12)]
    assert len(full.all("figure")) == 3
    (said,) = [text for text in full.texts("p") if text.startswith("Loss ")]
    assert said == "Loss 3.2 at first, 3.003 at epoch 100. Median speed 4,321 images/s."
    assert not any(re.search(r"\bno\b|not (measured|drawn)", text.lower()) for text in full.texts("p"))


def test_config_is_dotted(full):
    pairs = re.findall(r'<tr><th scope="row">([^<]*)</th><td>([^<]*)</td></tr>', full.source)
    assert pairs == [
        ("seed", "3"),
        ("data", "digits"),
        ("method.views.crop", "[0.2, 1.0]"),
        ("method.blur", "null"),
        ("python", "3.11.7"),
        ("devices", "1 × cpu"),
    ]


def test_views_are_shown_pixel_by_pixel(full):
    views = _full()["views"]
    images = full.all("img", "view")
    # A view a line: the array's columns come first.
    for (attributes, _), (column, row) in zip(images, itertools.product(range(3), range(4)), strict=True):
        np.testing.assert_array_equal(_decode(attributes["src"]), views[row, column])
        assert "crisp" in attributes["class"]
        assert attributes["style"] == "--width:80px"
        assert attributes["alt"] == ("image", "view 1", "view 2")[column]
    assert "pixelated" in re.search(r"\.crisp \{(.*?)\}", full.source).group(1)


def test_too_many_views_are_cut_and_said(tmp_path):
    page = _write(tmp_path, views=np.zeros((30, 1, 4, 4, 3), np.uint8), view_names=("image",))
    assert len(page.all("img", "view")) == 12
    assert any("The first 12 of 30 images" in text for text in page.texts("p"))


def test_table_numbers_and_bold(full):
    assert full.table("result") == [
        [
            ("features", False),
            ("kNN, k\u00a0=\u00a01", False),
            ("kNN, k\u00a0=\u00a020", False),
            ("linear probe", False),
        ],
        # 97.218 and 97.222 % read the same, so both are the best.
        [("raw pixels", False), ("98.6", True), ("97.2", False), ("97.2", True)],
        [("untrained network", False), ("94.2", False), ("92.5", False), ("94.4", False)],
        [("SimCLR", False), ("98.1", False), ("97.8", True), ("97.2", True)],
    ]
    assert all("number" in a["class"] for a, text in full.all("td") if re.fullmatch(r"\d+\.\d", text))
    number = re.search(r"\.number \{(.*?)\}", full.source).group(1)
    assert "text-align: right" in number
    assert "tabular-nums" in full.source


def test_table_with_holes_and_other_columns(tmp_path):
    result = {
        "pretrained": {"knn1": 1.0, "fine-tuned": 0.5},
        "raw_pixels": {"knn1": float("nan")},
        "other": {"knn1": 0},
    }
    assert _write(tmp_path, result=result).table("result") == [
        [("features", False), ("kNN, k\u00a0=\u00a01", False), ("fine-tuned", False)],
        [("raw pixels", False), ("–", False), ("–", False)],
        [("pretrained network", False), ("100.0", True), ("50.0", True)],
        [("other", False), ("0.0", False), ("–", False)],
    ]


def test_what_is_missing_is_left_out_and_said(tmp_path):
    page = _write(tmp_path)
    assert not page.all("img")
    assert not page.all("table")
    assert not page.all("figure")
    sections = re.findall(r"<h2>(.*?)</h2><p>(.*?)</p></section>", page.source)
    assert [heading for heading, _ in sections] == [
        "Accuracy",
        "Training",
        "Features of the test images",
        "What the network saw",
        "Configuration",
        "Environment",
    ]
    for _, sentence in sections:
        assert re.match(r"(No |Accuracies were not measured).*\.$", sentence)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"metrics": [{"step": 1, "epoch": 0.1, "loss": 2.0}]}, "No kNN accuracy was logged"),
        ({"metrics": [{"step": 1, "epoch": 0.1, "knn20": 0.5}]}, "No finite loss was logged"),
        ({"metrics": [{"step": 1, "epoch": 0.1, "loss": float("nan")}]}, "No finite loss was logged"),
        (
            {"metrics": [{"step": i, "epoch": i, "loss": i if i else float("inf")} for i in range(3)]},
            "1 logged loss is not finite",
        ),
        ({"embedding": np.ones((3, 2))}, "not coloured by class"),
        ({"embedding": np.ones((3, 2))}, "no images to show"),
        ({"embedding": np.zeros((0, 2))}, "No features were projected"),
        ({"result": {"pretrained": {}}}, "Accuracies were not measured"),
        ({"views": np.zeros((0, 0, 8, 8, 3), np.uint8)}, "No views were kept"),
    ],
)
def test_each_missing_part_is_said(tmp_path, fields, said):
    assert sum(said in text for text in _write(tmp_path, **fields).texts("p")) == 1


def test_many_classes_have_no_legend(tmp_path):
    labels = np.arange(MOST_MARKS + 1)
    fields = {"embedding": np.random.default_rng(0).normal(size=(MOST_MARKS + 1, 2)), "embedding_labels": labels}
    page = _write(tmp_path, classes=tuple(map(str, labels)), **fields)
    assert not page.all("li")
    assert any(f"There are {MOST_MARKS + 1} classes" in text for text in page.texts("p"))


def test_hostile_text_is_text(tmp_path):
    bad = itertools.count()
    used = []

    def hostile():
        used.append(f"<script>alert({next(bad)})</script>\"'><img src=x onerror=y> &lt; $x$ %s {{}}")
        return used[-1]

    names = (hostile(), hostile())
    page = _write(
        tmp_path,
        title=hostile(),
        summary=hostile(),
        method_name=hostile(),
        views=np.zeros((1, 2, 4, 4, 3), np.uint8),
        view_names=names,
        metrics=[{hostile(): 1.0, "epoch": 1.0, "loss": 2.0}],
        result={"pretrained": {hostile(): 0.5}, hostile(): {"knn1": 0.5}},
        embedding=np.eye(2),
        embedding_labels=np.array([0, 1]),
        classes=(hostile(), hostile()),
        config={hostile(): {hostile(): hostile()}, "list": [hostile()]},
        environment={hostile(): hostile()},
        notes=(hostile(),),
    )
    tags = {tag for tag, _, _ in page.elements}
    assert "script" not in tags
    for _, attributes, _ in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
    assert [a["alt"] for a, _ in page.all("img", "view")] == list(names)
    shown = "".join(text for tag, _, text in page.elements if tag == "html")
    never_shown = used.index(next(text for text in used if "alert(5)" in text))
    for number, text in enumerate(used):
        # In a list the value is JSON, with its quotes escaped.
        assert (text in shown or text.replace('"', '\\"') in shown) == (number != never_shown), text


def test_text_that_is_no_unicode(tmp_path):
    page = _write(tmp_path, title="caf\udce9\x00\x1b[31m", notes=("tab\tand\nline",))
    assert page.texts("h1") == ["caf\\udce9\ufffd\ufffd[31m"]
    assert "tab\tand\nline" in page.texts("p")


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    fields = {"title": "run", "summary": "A run.", "embedding": np.eye(2)}
    for owner, name in ((figures, "embedding_figure"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            with pytest.raises(OSError, match="disk full"):
                write_report(path, Report(**fields))
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["report.html"]
    write_report(str(path), Report(**fields))
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert os.listdir(tmp_path) == ["report.html"]
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path / "nowhere" / "report.html", Report(title="run", summary="A run."))


def test_size_of_a_page_of_photographs(tmp_path):
    # Smooth colours with the noise of a camera: neither flat nor impossible to compress.
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:224, :224] / 224
    waves = [
        127 + 90 * np.stack([np.sin(a * x), np.cos(b * y), np.sin(a * x * y)], -1)
        for a, b in rng.uniform(3, 20, (8, 2))
    ]
    photos = np.stack([np.clip(wave + rng.normal(size=wave.shape) * 8, 0, 255).astype(np.uint8) for wave in waves])
    n = 1000
    steps = np.arange(20_000)
    losses = (3 + rng.normal(size=len(steps))).tolist()
    page = _write(
        tmp_path,
        views=np.broadcast_to(photos[:, None], (8, 10, 224, 224, 3)),
        view_names=tuple(f"view {i}" for i in range(10)),
        metrics=[{"step": s, "epoch": s / 100, "loss": loss} for s, loss in zip(steps.tolist(), losses, strict=True)],
        embedding=rng.uniform(size=(n, 2)),
        embedding_labels=np.arange(n) % 40,
        # The same photographs many times without the memory.
        thumbnails=np.broadcast_to(photos[0], (n, *photos.shape[1:])),
        classes=tuple(map(str, range(40))),
    )
    assert 100_000 < len(page.source) < 2_000_000
    sizes = {_decode(a["src"]).shape for a, _ in page.all("img", "view")}
    assert sizes == {(96, 96, 3)}
    assert not page.all("img", "crisp")


def test_the_same_report_is_the_same_bytes_whatever_matplotlibrc_says(tmp_path):
    fields = {"metrics": _metrics(6), "result": _RESULT}
    plain = _write(tmp_path, **fields).source
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.facecolor": "red", "axes.grid": False}):
        assert _write(tmp_path, **fields).source == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"views": np.zeros((1, 2, 4, 4, 3), np.uint8), "view_names": ("image",)}, "views has 2 columns"),
        ({"embedding": np.array([[0, np.nan]])}, "embedding has values that are not finite"),
        ({"embedding": np.eye(2), "thumbnails": np.zeros((3, 4, 4, 3), np.uint8)}, "thumbnails has 3 rows"),
        ({"embedding": np.eye(2), "embedding_labels": np.array([0])}, "embedding_labels has 1 rows"),
        ({"embedding": np.eye(2), "embedding_labels": np.array([0, 1]), "classes": ("a",)}, "classes has 1 names"),
        ({"embedding": np.eye(2), "embedding_labels": np.array([0, -1]), "classes": ("a",)}, "has -1 to 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields, message, monkeypatch):
    # The shapes in the annotations are checked in the tests only; a user meets these messages.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        Report(title="run", summary="A run.", **fields)


def test_series_takes_the_last_of_a_step_and_only_finite_numbers():
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


def test_loss_curve_is_what_was_logged():
    figure = figures.loss_figure(_metrics(30))
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


def test_knn_curves_with_their_references():
    figure = figures.knn_figure(_metrics(), _RESULT)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {
        "k = 20: 95.0 at the end",
        "k = 1: 90.0 at the end",
        "raw pixels, k = 20: 97.2",
        "untrained, k = 20: 92.5",
    }
    for label, level in (("raw pixels, k = 20: 97.2", 97.222), ("untrained, k = 20: 92.5", 92.5)):
        np.testing.assert_allclose(lines[label].get_ydata(), level)
        assert lines[label].is_dashed()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)
    assert len(figures.knn_figure(_metrics(), None).axes[0].lines) == 2
    assert figures.knn_figure([{"step": 1, "epoch": 1.0, "loss": 1.0}], _RESULT) is None


def test_marks_are_all_different():
    marks = {figures.class_mark(i)[:2] for i in range(MOST_MARKS)}
    assert len(marks) == MOST_MARKS
    assert len({figures.class_mark(i)[2] for i in range(MOST_MARKS)}) == MOST_MARKS // len(COLORS)
    assert figures.class_mark(MOST_MARKS) == figures.class_mark(0)


def test_scatter_has_every_point_in_its_colour_and_thumbnails_apart():
    fields = _full()
    embedding, labels, thumbnails = fields["embedding"], fields["embedding_labels"], fields["thumbnails"]
    (axes,) = figures.embedding_figure(embedding, labels, thumbnails).axes
    drawn = {}
    for points, label in zip(axes.collections, np.unique(labels).tolist(), strict=True):
        assert len(points.get_offsets()) == (labels == label).sum()
        assert matplotlib.colors.to_hex(points.get_facecolor()[0]) == figures.class_mark(label)[0]
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
        assert matplotlib.colors.to_hex(frame.get_edgecolor()) == figures.class_mark(int(labels[index]))[0]
        assert axes.get_xlim()[0] < left < right < axes.get_xlim()[1]
        assert axes.get_ylim()[0] < bottom < top < axes.get_ylim()[1]


def test_spread_leaves_out_only_what_would_overlap():
    points = np.random.default_rng(1).uniform(size=(200, 2))
    chosen = figures.spread(points, 0.1, 1000)
    apart = np.abs(points[:, None] - points[None, chosen]).max(axis=-1)
    assert (np.sort(apart[chosen], axis=1)[:, 1] >= 0.1).all()
    others = np.setdiff1d(np.arange(200), chosen)
    assert (apart[others].min(axis=1) < 0.1).all()
    assert figures.spread(points, 0.1, 5) == chosen[:5]
    assert len(figures.spread(np.zeros((9, 2)), 0.1, 5)) == 1


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 20), (1, 64)])
def test_small_images_keep_their_pixels(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    uri, shown, small = figures.encode_image(image)
    np.testing.assert_array_equal(_decode(uri), image)
    assert small
    assert shown % width == 0
    enlarged = figures.fit(image, 200)
    factor = 200 // max(height, width)
    np.testing.assert_array_equal(enlarged[::factor, ::factor], image)
    assert enlarged.shape == (factor * height, factor * width, 3)


@pytest.mark.parametrize(("height", "width", "stored"), [(65, 65, (65, 65)), (300, 200, (96, 64)), (1000, 1, (96, 1))])
def test_large_images_are_reduced(height, width, stored):
    uri, shown, small = figures.encode_image(np.full((height, width, 3), 77, np.uint8))
    assert _decode(uri).shape[:2] == stored
    assert np.abs(_decode(uri).astype(int) - 77).max() <= 2
    assert (shown, small) == (stored[1], False)


def _hostile_features():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(20, 4))
    yield from (rng.normal(size=(n, 3)) for n in range(9))
    yield from (normal[:, :0], normal[:, :1], normal.astype(np.float16), normal * 1e307, normal * 1e-310, normal + 1e9)
    yield from (np.full((30, 5), 0.1), np.zeros((30, 5)), np.repeat(normal[:2], 20, axis=0), np.eye(12))
    yield np.concatenate([np.ones((29, 4)), np.full((1, 4), -1e308)])


def test_project_2d_is_finite_whatever_comes():
    for features in _hostile_features():
        projected = project_2d(features)
        assert projected.shape == (len(features), 2)
        assert np.isfinite(projected).all()


def test_project_2d_of_constant_and_of_few_points():
    assert not project_2d(np.full((30, 5), 0.1, np.float32)).any()
    assert not project_2d(np.ones((1, 5))).any()
    # Few points keep their distances, up to a scale, where two dimensions are enough for them.
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
def test_project_2d_refuses_what_is_not_finite(value):
    features = np.ones((10, 3))
    features[4, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        project_2d(features)


def test_project_2d_refuses_too_many_points():
    with pytest.raises(ValueError, match=f"at most {MAX_POINTS}"):
        project_2d(np.zeros((MAX_POINTS + 1, 2)))


def test_environment_names_versions_and_devices():
    found = environment()
    assert found["python"] == platform.python_version()
    assert {name: found[name] for name in ("jax", "jaxlib", "flax", "optax")} == {
        name: version(name) for name in ("jax", "jaxlib", "flax", "optax")
    }
    assert found["devices"] == f"{len(jax.devices())} × cpu"
    assert "sslax" in found
    assert "platform" in found
