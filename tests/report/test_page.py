"""The report page, parsed as by a browser: hostile text, missing parts, and failures while drawing."""

import itertools
import os
import platform
import re
from importlib.metadata import version

import jax
import matplotlib
import numpy as np
import pytest

from sslax.report import Report, environment, scatter, write_report
from sslax.report.scatter import MOST_MARKS
from tests.report.pages import RESULT, decode, full_report, metrics, write


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return write(tmp_path_factory.mktemp("full"), **full_report())


def test_the_page_is_self_contained(full):
    addresses = [(t, a[name]) for t, a, _ in full.elements for name in ("src", "href", "srcset", "data") if name in a]
    assert len(addresses) == 1 + 5 + 12 + 9
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
    assert len(full.all("figure")) == 5
    (said,) = [text for text in full.texts("p") if text.startswith("The loss ")]
    assert said == "The loss is 3.2 at first and 3.003 at epoch 100. Median speed 4,321 images/s."
    assert not any(re.search(r"\bno\b|not (measured|drawn)", text.lower()) for text in full.texts("p"))


def test_configuration_fields_have_dotted_names(full):
    pairs = re.findall(r'<tr><th scope="row">([^<]*)</th><td>([^<]*)</td></tr>', full.source)
    assert pairs == [
        ("seed", "3"),
        ("data", "digits"),
        ("method.views.crop", "[0.2, 1.0]"),
        ("method.blur", "null"),
        ("python", "3.11.7"),
        ("devices", "1 × cpu"),
    ]


def test_small_views_are_stored_without_loss(full):
    views = full_report()["views"]
    images = full.all("img", "view")
    assert len(images) == 12 + 9
    # One row per view: the pictures come column by column of the array.
    for (attributes, _), (column, row) in zip(images[:12], itertools.product(range(3), range(4)), strict=True):
        np.testing.assert_array_equal(decode(attributes["src"]), views[row, column])
        assert "crisp" in attributes["class"]
        assert attributes["style"] == "--width:80px"
        assert attributes["alt"] == ("image", "view 1", "view 2")[column]
    assert "pixelated" in re.search(r"\.crisp \{(.*?)\}", full.source).group(1)


def test_too_many_views_are_cut_with_a_note(tmp_path):
    page = write(tmp_path, views=np.zeros((30, 1, 4, 4, 3), np.uint8), view_names=("image",))
    assert len(page.all("img", "view")) == 12
    assert any("The first 12 of 30 images" in text for text in page.texts("p"))


def test_accuracies_are_rounded_and_the_best_are_bold(full):
    assert full.table("result") == [
        [
            ("features", False),
            ("kNN, k\u00a0=\u00a01", False),
            ("kNN, k\u00a0=\u00a020", False),
            ("linear probe", False),
        ],
        # 97.218 and 97.222 % are shown as the same number, so both are bold.
        [("raw pixels", False), ("98.6", True), ("97.2", False), ("97.2", True)],
        [("untrained network", False), ("94.2", False), ("92.5", False), ("94.4", False)],
        [("SimCLR", False), ("98.1", False), ("97.8", True), ("97.2", True)],
    ]
    assert all("number" in a["class"] for a, text in full.all("td") if re.fullmatch(r"\d+\.\d", text))
    number = re.search(r"\.number \{(.*?)\}", full.source).group(1)
    assert "text-align: right" in number
    assert "tabular-nums" in full.source


def test_table_with_missing_values_and_unknown_columns(tmp_path):
    result = {
        "pretrained": {"knn1": 1.0, "fine-tuned": 0.5},
        "raw_pixels": {"knn1": float("nan")},
        "other": {"knn1": 0},
    }
    assert write(tmp_path, result=result).table("result") == [
        [("features", False), ("kNN, k\u00a0=\u00a01", False), ("fine-tuned", False)],
        [("raw pixels", False), ("–", False), ("–", False)],
        [("pretrained network", False), ("100.0", True), ("50.0", True)],
        [("other", False), ("0.0", False), ("–", False)],
    ]


def test_an_empty_report_says_what_is_missing(tmp_path):
    page = write(tmp_path)
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
        ({"embedding": np.ones((3, 2))}, "There are no images"),
        ({"embedding": np.zeros((0, 2))}, "No features were projected"),
        ({"result": {"pretrained": {}}}, "Accuracies were not measured"),
        ({"views": np.zeros((0, 0, 8, 8, 3), np.uint8)}, "No views were kept"),
    ],
)
def test_each_missing_part_is_mentioned(tmp_path, fields, said):
    assert sum(said in text for text in write(tmp_path, **fields).texts("p")) == 1


def test_many_classes_have_no_legend(tmp_path):
    labels = np.arange(MOST_MARKS + 1)
    fields = {"embedding": np.random.default_rng(0).normal(size=(MOST_MARKS + 1, 2)), "embedding_labels": labels}
    page = write(tmp_path, classes=tuple(map(str, labels)), **fields)
    assert not page.all("li")
    assert any(f"There are {MOST_MARKS + 1} classes" in text for text in page.texts("p"))


def test_hostile_text_is_escaped(tmp_path):
    bad = itertools.count()
    used = []

    def hostile():
        used.append(f"<script>alert({next(bad)})</script>\"'><img src=x onerror=y> &lt; $x$ %s {{}}")
        return used[-1]

    names, heads = (hostile(), hostile()), (hostile(), hostile())
    page_metrics = [{hostile(): 1.0, "epoch": 1.0, "loss": 2.0}]
    page = write(
        tmp_path,
        title=hostile(),
        summary=hostile(),
        method_name=hostile(),
        views=np.zeros((1, 2, 4, 4, 3), np.uint8),
        view_names=names,
        attention=np.zeros((1, 2, 64, 64, 3), np.uint8),
        attention_names=heads,
        alarms=(hostile(), hostile()),
        metrics=page_metrics,
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
    assert [a["alt"] for a, _ in page.all("img", "view")] == [*names, *heads]
    shown = "".join(text for tag, _, text in page.elements if tag == "html")
    # The name of a metric that is not drawn.
    never_shown = next(name for name in page_metrics[0] if name not in ("epoch", "loss"))
    for text in used:
        # In a list the value is JSON, with its quotes escaped.
        assert (text in shown or text.replace('"', '\\"') in shown) == (text != never_shown), text


def test_text_that_is_not_unicode_is_escaped(tmp_path):
    page = write(tmp_path, title="caf\udce9\x00\x1b[31m", notes=("tab\tand\nline",))
    assert page.texts("h1") == ["caf\\udce9\ufffd\ufffd[31m"]
    assert "tab\tand\nline" in page.texts("p")


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    fields = {"title": "run", "summary": "A run.", "embedding": np.eye(2)}
    for owner, name in ((scatter, "embedding_figure"), (os, "replace")):
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


def test_a_page_of_photographs_is_small_enough_to_mail(tmp_path):
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
    page = write(
        tmp_path,
        views=np.broadcast_to(photos[:, None], (8, 10, 224, 224, 3)),
        view_names=tuple(f"view {i}" for i in range(10)),
        metrics=[{"step": s, "epoch": s / 100, "loss": loss} for s, loss in zip(steps.tolist(), losses, strict=True)],
        embedding=rng.uniform(size=(n, 2)),
        embedding_labels=np.arange(n) % 40,
        # Many copies of one photograph without using memory.
        thumbnails=np.broadcast_to(photos[0], (n, *photos.shape[1:])),
        classes=tuple(map(str, range(40))),
    )
    assert 100_000 < len(page.source) < 2_000_000
    sizes = {decode(a["src"]).shape for a, _ in page.all("img", "view")}
    assert sizes == {(96, 96, 3)}
    assert not page.all("img", "crisp")


def test_the_same_report_is_the_same_bytes_whatever_matplotlibrc_says(tmp_path):
    fields = {"metrics": metrics(6), "result": RESULT}
    plain = write(tmp_path, **fields).source
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.facecolor": "red", "axes.grid": False}):
        assert write(tmp_path, **fields).source == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_environment_names_versions_and_devices():
    found = environment()
    assert found["python"] == platform.python_version()
    assert {name: found[name] for name in ("jax", "jaxlib", "flax", "optax")} == {
        name: version(name) for name in ("jax", "jaxlib", "flax", "optax")
    }
    assert found["devices"] == f"{len(jax.devices())} × cpu"
    assert "sslax" in found
    assert "platform" in found
