"""The optional sections: alarms, attention, and the curves of the collapse watch."""

import itertools
import math
import re

import numpy as np
import pytest

from sslax.report import sections
from tests.report.pages import decode, full_report, metrics, watched, write


@pytest.fixture
def undrawn(monkeypatch):
    """Pages whose figures are empty, because drawing them takes longest; tests/report/test_page.py draws them."""
    monkeypatch.setattr(sections, "encode", lambda figure: "data:,")


def test_alarms_follow_the_summary_at_the_top(tmp_path, undrawn):
    page = write(tmp_path, **full_report())
    header = re.search("<header>.*</header>", page.source, re.DOTALL).group()
    places = [header.index(text) for text in ("SimCLR on digits.", 'role="alert"', "Outputs are", "Features", "Held")]
    assert places == sorted(places)
    ((attributes, text),) = [(a, text) for a, text in page.all("div") if a.get("role") == "alert"]
    assert attributes["class"] == "alarm"
    assert text == "Collapse watchOutputs are uniform.Features are constant."


def test_alarms_have_enough_contrast_in_light_and_dark_mode(tmp_path):
    page = write(tmp_path, alarms=("Outputs are uniform.",))
    (css,) = page.texts("style")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)

    def luminance(scheme, name):
        (color,) = re.findall(rf"--{name}: #(\w+)", scheme)
        color = color if len(color) == 6 else "".join(2 * digit for digit in color)
        levels = np.array([int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)])
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return linear @ np.array([0.2126, 0.7152, 0.0722])

    # The contrasts that WCAG 2 requires: 4.5 for text, 3 for graphics.
    for scheme in (light, dark):
        for front, back, least in (("ink", "alarm-page", 4.5), ("alarm", "alarm-page", 4.5), ("alarm", "page", 3)):
            one, other = sorted((luminance(scheme, front), luminance(scheme, back)))
            assert (other + 0.05) / (one + 0.05) >= least, (front, back)


def test_attention_has_one_row_per_head(tmp_path):
    fields = full_report()
    page = write(tmp_path, attention=fields["attention"], attention_names=fields["attention_names"])
    assert page.texts("h2").index("Attention of the [CLS] token") == page.texts("h2").index("What the network saw") + 1
    images = page.all("img", "view")
    for (attributes, _), (column, row) in zip(images, itertools.product(range(3), range(3)), strict=True):
        np.testing.assert_array_equal(decode(attributes["src"]), fields["attention"][row, column])
        assert attributes["alt"] == ("image", "head 1", "head 2")[column]
    assert [row[0][0] for row in page.table("views")] == ["image", "head 1", "head 2"]
    caption = "Attention of the [CLS] token in the last block, one row per head: brighter means more attention."
    assert page.texts("p").count(caption) == 1


def test_patch_features_have_the_images_above_their_colours(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 2, 64, 64, 3), dtype=np.uint8)
    page = write(tmp_path, patches=pictures)
    assert page.texts("h2").index("Patch features") == page.texts("h2").index("What the network saw") + 1
    images = page.all("img", "view")
    for (attributes, _), (column, row) in zip(images, itertools.product(range(2), range(3)), strict=True):
        np.testing.assert_array_equal(decode(attributes["src"]), pictures[row, column])
    assert [row[0][0] for row in page.table("views")] == ["image", "patches"]


def test_too_many_attention_images_are_cut_with_a_note(tmp_path):
    page = write(tmp_path, attention=np.zeros((13, 2, 64, 64, 3), np.uint8), attention_names=("image", "head 1"))
    assert len(page.all("img", "view")) == 2 * 12
    assert any(text.endswith("The first 12 of 13 images are shown.") for text in page.texts("p"))


@pytest.mark.parametrize(
    "fields",
    [
        {"attention": None, "alarms": ()},
        {"attention": np.zeros((0, 1, 64, 64, 3), np.uint8), "attention_names": ("image",)},
        {"attention": np.zeros((2, 0, 64, 64, 3), np.uint8), "patches": np.zeros((0, 2, 64, 64, 3), np.uint8)},
    ],
)
def test_missing_attention_patches_and_alarms_are_not_mentioned(tmp_path, fields):
    body = write(tmp_path, **fields).source.split("</style>")[1]
    assert body == write(tmp_path).source.split("</style>")[1]
    assert not re.search(r"attention|alert|collapse|patch", body.lower())


def test_collapse_metrics_are_drawn_and_explained(tmp_path, undrawn):
    page = write(tmp_path, metrics=watched(metrics()))
    assert [a["alt"].split(" over")[0] for a, _ in page.all("img", "drawn")] == [
        "Curve of the loss",
        "Curves of the kNN accuracy",
        "Curves of the targets' entropy and of the KL divergence",
        "Curve of the spread of the features",
    ]
    (said,) = [text for text in page.texts("p") if "effective rank" in text]
    assert said == (
        "A KL that stays at 0 means collapse: to uniform outputs if the entropy is ln\u00a0K, to one dimension if it is 0. "
        "A feature spread of 1 means that directions are spread evenly over the sphere; 0 means the same direction for every "
        "image. The effective rank of the features is 10 at first and 69 at epoch 100."
    )


@pytest.mark.parametrize(
    ("found", "figures", "said"),
    [
        ({}, 1, None),
        ({"chance_loss": 2.0}, 1, None),
        ({"kl": 1.0}, 1, None),
        ({"target_entropy": 1.0}, 2, None),
        ({"target_entropy": 1.0, "kl": 0.0}, 2, "A KL that stays"),
        ({"feature_std": 0.0}, 2, "A feature spread of 1 means"),
        ({"effective_rank": 8}, 1, "The effective rank of the features is 8 at first and 8 at epoch 1."),
        ({"feature_std": math.nan}, 1, "1 logged value of feature_std is not finite and left out."),
        ({"kl": math.inf, "target_entropy": 1.0}, 2, "1 logged value of kl is not finite and left out."),
    ],
)
def test_only_what_was_logged_is_drawn(tmp_path, undrawn, found, figures, said):
    page = write(tmp_path, metrics=[{"step": 1, "epoch": 1.0, "loss": 2.0, **found}])
    assert len(page.all("figure")) == figures
    (section,) = re.findall(r"<h2>Training</h2>(.*?)</section>", page.source, re.DOTALL)
    loss, *watch = re.findall("<p>(.*?)</p>", section)
    assert loss.startswith("The loss is 2 at first")
    assert len(watch) == (said is not None)
    assert all(text.startswith(said) for text in watch)
