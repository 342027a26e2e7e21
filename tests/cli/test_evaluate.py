"""The evaluate command on a finished run: its table and page, and wrong options."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from sslax.cli import evaluate, terminal
from sslax.training import build
from tests import tiny
from tests.cli.finished import make


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    make(path, limit=256)
    return path


def test_the_whole_table(finished, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "linear_probe", tiny.mean_probe)
    options = evaluate.Options(run=str(finished), labels=(0.1, 1.0), seeds=2, steps=5)
    assert terminal.exit_code(lambda: evaluate.run(options)) == 0
    saved = json.loads((finished / "evaluation.json").read_text())
    found = saved["accuracies"]
    assert list(found) == ["10 %", "100 %"]
    for rows in found.values():
        assert list(rows) == ["pretrained", "untrained", "raw_pixels", "chance"]
        assert all(0 <= value <= 1 for row in rows.values() for values in row.values() for value in values)
        assert [len(rows[name]["finetuned"]) for name in ("pretrained", "untrained")] == [2, 2]
        assert "finetuned" not in rows["raw_pixels"]
    # A tenth of 256 is 26 labels, so there is no kNN with 200 neighbours.
    assert "knn200" not in found["10 %"]["pretrained"]
    assert "knn200" in found["100 %"]["pretrained"]
    # With all labels, every seed uses the same labels.
    assert np.ptp(found["100 %"]["pretrained"]["knn20"]) == 0
    assert "raw pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": (1.5,)}, "labels has 1.5; every fraction must lie in (0, 1]."),
        ({"labels_per_class": (0,)}, "labels_per_class has 0; every number must be at least 1."),
        ({"seeds": 0}, "seeds is 0; it must be at least 1."),
        ({"steps": 0}, "steps is 0; it must be at least 1."),
        ({"run": "no/such"}, "RUN is no/such, which is not a run; it must be a folder that sslax pretrain wrote."),
    ],
)
def test_wrong_options_are_input_errors(finished, changes, said, capsys):
    options = evaluate.Options(**{"run": str(finished), **changes})
    assert terminal.exit_code(lambda: evaluate.run(options)) == 2
    assert said in capsys.readouterr().err


def test_images_without_labels_are_an_input_error(finished, tmp_path, capsys):
    from PIL import Image

    for i in range(4):
        Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    options = evaluate.Options(run=str(finished), data=f"folder:{tmp_path}")
    assert terminal.exit_code(lambda: evaluate.run(options)) == 2
    assert "no labels or no test split" in capsys.readouterr().err


def test_the_page_shows_the_accuracies_in_the_json_file(finished):
    page = (finished / "evaluation.html").read_text()
    saved = json.loads((finished / "evaluation.json").read_text())
    values = saved["accuracies"]["100 %"]["raw_pixels"]["linear"]
    assert f"{100 * np.mean(values):.1f}±{100 * np.std(values, ddof=1):.1f}" in page
    assert saved["labels"]["100 %"] == 256
    for heading in ("Accuracy over the number of labels", "Confusion matrix", "Nearest neighbours"):
        assert f"<h2>{heading}</h2>" in page


def test_last_blocks_concatenates_cls_tokens_of_a_vit_only(tmp_path, capsys, finished):
    options = evaluate.Options(run=str(finished), last_blocks=4)
    assert terminal.exit_code(lambda: evaluate.run(options)) == 2
    assert "last_blocks is 4, but the network is patch-resnet, which has no [CLS] tokens" in capsys.readouterr().err

    config = tiny.config("dino", network=dataclasses.replace(tiny.NETWORKS["dino"], depth=2))
    method = build(config, tiny.dataset(), devices=jax.devices()[:1]).method

    @jax.jit
    def embedded(key, images):
        state = method.init(key, (tiny.SIZE, tiny.SIZE, 3))
        return method.embed(*state, images), method.embed(*state, images, last_blocks=2)

    last, both = map(np.asarray, embedded(jax.random.key(0), tiny.dataset().test.images[:3]))
    assert both.shape == (3, 2 * last.shape[1])
    np.testing.assert_allclose(both[:, last.shape[1] :], last, atol=1e-6)
    assert np.abs(both[:, : last.shape[1]] - last).max() > 1e-3


def test_a_run_on_arrays_needs_a_data_option(tmp_path, capsys):
    # As `sslax.pretrain` writes it.
    make(tmp_path / "run", data="arrays")
    assert terminal.exit_code(lambda: evaluate.run(evaluate.Options(run=str(tmp_path / "run")))) == 2
    assert (
        "data is missing, and RUN was trained on arrays, which are not stored; name images with --data."
        in capsys.readouterr().err
    )
