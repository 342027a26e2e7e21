"""The finetune command on a short run and a folder of coloured images: its output, wrong options, and stopping."""

import dataclasses
import functools
import json
import signal
import sys

import numpy as np
import pytest
from PIL import Image

from sslax.cli import finetune, terminal
from sslax.cli.finetune import Options
from sslax.data import open_dataset
from sslax.errors import InputError
from sslax.export import load_safetensors
from sslax.finetuning import FinetuneOptions, load_classifier
from sslax.runs import RunDir
from sslax.training import estimate
from tests.cli.finished import make

# Names that could be interpreted as markup, mathematics or a tag; the last class has a single training image.
COLOURS = {"$x^2$": (200, 30, 30), "[red]": (30, 200, 30), "<b>": (30, 30, 200), "rare": (200, 200, 30)}
TRAINING = FinetuneOptions(steps=20, batch_size=16, lr=1e-2, eval_every=5, crop_area=(0.8, 1.0))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    make(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def opened_once():
    """The run is loaded once for all commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "open_network", functools.cache(finetune.open_network))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "colours"
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 6)):
        for name, colour in COLOURS.items():
            (path / split / name).mkdir(parents=True)
            for i in range(1 if (split, name) == ("train", "rare") else count):
                pixels = np.clip(np.array(colour) + rng.integers(-30, 30, (8, 8, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(path / split / name / f"{i}.png")
    return path


def options(finished, folder, **changes):
    own = {"run": str(finished), "data": f"folder:{folder}", "epochs": 1, "validation": 0.25, "training": TRAINING}
    return Options(**{**own, **changes})


@pytest.fixture(scope="module")
def done(finished, folder):
    """The folder of a fine-tuning, and its exit code."""
    return finished / "finetuned", terminal.exit_code(lambda: finetune.finetune(options(finished, folder), command="x"))


def test_the_output_folder_is_complete(done, folder):
    out, code = done
    assert code == terminal.DONE
    names = {"config.json", "data.json", "metrics.jsonl", "weights.safetensors", "result.json", "report.html"}
    assert {path.name for path in out.iterdir()} == names
    config = json.loads((out / "config.json").read_text())
    assert (config["data"], config["validation"], config["training"]["steps"]) == (f"folder:{folder}", 0.25, 20)
    assert config["pretraining"]["method"]["name"] == "simclr"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20]

    result = json.loads((out / "result.json").read_text())
    assert result["classes"] == sorted(COLOURS)
    # A quarter of sixteen images for each of three classes; the single image stays in training.
    assert result["images"] == {"training": 37, "validation": 12, "test": 24}
    best = [line for line in lines if line["best"]][-1]
    assert (result["validation"], result["kept_step"]) == (best["validation"], best["step"])
    confusion = np.array(result["confusion"])
    assert confusion.sum(1).tolist() == [6, 6, 6, 6]
    assert result["test"] == np.trace(confusion) / 24
    for label, row in enumerate(result["per_class"]):
        assert row["recall"] == confusion[label, label] / 6
    # Three colours are easy to classify.
    assert result["test"] >= 0.7

    page = (out / "report.html").read_text()
    for said in (f"{100 * result['test']:.1f} % of the test images", "Confusion", "Mistakes", "&lt;b&gt;", "$x^2$"):
        assert said in page
    assert "too few images to hold one out, so validation has none of them: rare." in page


def test_the_weights_file_alone_is_a_complete_classifier(done, folder):
    out, _ = done
    result = json.loads((out / "result.json").read_text())
    classifier = load_classifier(out / "weights.safetensors")
    data = open_dataset(f"folder:{folder}")
    assert classifier.accuracy(data) == pytest.approx(result["test"])
    assert set(classifier(data.test.images)) <= set(COLOURS)
    _, metadata = load_safetensors(out / "weights.safetensors")
    assert metadata["method"] == "simclr"
    with pytest.raises(InputError, match="data is digits, but its classes"):
        classifier.accuracy(open_dataset("digits", limit=20))


def test_a_second_run_shows_the_result_and_other_options_are_refused(done, finished, folder, capsys):
    before = (done[0] / "weights.safetensors").read_bytes()
    assert terminal.exit_code(lambda: finetune.finetune(options(finished, folder))) == terminal.DONE
    said = capsys.readouterr().out
    assert "finetuned is done; to train again, give another --out." in said
    # The table is shown again, with unescaped names.
    assert all(name in said for name in COLOURS)
    other = options(finished, folder, labels=0.5)
    assert terminal.exit_code(lambda: finetune.finetune(other)) == terminal.INPUT
    said = capsys.readouterr().err
    assert "out is" in said
    assert "labels: 1.0 there, 0.5 here); give the same values, or another --out." in said
    assert (done[0] / "weights.safetensors").read_bytes() == before


def test_ctrl_c_leaves_no_files(finished, folder, tmp_path, monkeypatch, capsys):
    append = RunDir.append

    def interrupted(self, line):
        append(self, line)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(RunDir, "append", interrupted)
        mine = options(finished, folder, out=str(tmp_path / "mine"))
        assert terminal.exit_code(lambda: finetune.finetune(mine)) == terminal.INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Nothing of this fine-tuning was kept; run the same command to start again." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_training_from_scratch_without_validation_images(finished, capsys):
    # The data of the run (digits), with too few labels for validation.
    few = Options(run=str(finished), labels=0.01, epochs=1, from_scratch=True, training=TRAINING)
    assert terminal.exit_code(lambda: finetune.finetune(few)) == terminal.DONE
    said = capsys.readouterr().out
    assert "No validation images are held out, because no class has enough images" in said
    result = json.loads((finished / "from-scratch" / "result.json").read_text())
    assert (result["validation"], result["kept_step"]) == (None, 20)
    assert "No validation images were held out" in (finished / "from-scratch" / "report.html").read_text()


def _training(**changes):
    return {"training": dataclasses.replace(TRAINING, **changes)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": 0.0}, "labels is 0.0; it must lie in (0, 1]."),
        ({"validation": 1.0}, "validation is 1.0; it must lie in [0, 1)."),
        ({"epochs": 0}, "epochs is 0; it must be at least 1."),
        ({"seed": -1}, "seed is -1; it must be at least 0."),
        (_training(lr=0.0), "training.lr is 0.0; it must be a finite number above 0."),
        (_training(flip=2.0), "training.flip is 2.0; it must be a probability in [0, 1]."),
        (
            _training(layer_decay=0.7),
            "training.layer_decay is 0.7, but the network is a ResNet; training.layer_decay must",
        ),
        ({"run": "no/such"}, "RUN is no/such, which is not a run; it must be a folder that sslax pretrain wrote."),
        ({"data": "folder:{tmp}/flat"}, "no labels or no test split; both are needed"),
        ({"data": "folder:{tmp}/one"}, "which has one class (only); there must be at least 2."),
        ({"out": "{tmp}/one"}, "out is {tmp}/one, which holds files but no run; it must be a new or an empty folder."),
    ],
)
def test_wrong_options_are_input_errors(finished, folder, tmp_path, changes, said, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("flat", "one/only"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(tmp_path / name / f"{i}.png")
    changes = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in changes.items()}
    wrong = options(finished, folder, **{"out": "out", **changes})
    assert terminal.exit_code(lambda: finetune.finetune(wrong)) == terminal.INPUT
    error = capsys.readouterr().err
    assert said.format(tmp=tmp_path) in error
    assert error.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_a_class_without_training_images_is_an_input_error(monkeypatch):
    data = open_dataset("digits", limit=20)
    keep = np.flatnonzero(data.train.labels != 3)
    lacking = dataclasses.replace(data, train=finetune.part(data.train, keep))
    monkeypatch.setattr(finetune, "open_labelled", lambda network, spec, **options: lacking)
    with pytest.raises(InputError, match="data is digits, which has no training image of 3; each class must have"):
        finetune.open_classes(None, finetune.Options(run="run", data="digits"))


def test_with_many_classes_only_the_worst_are_shown(capsys):
    classes = [f"class {i}" for i in range(30)]
    rows = [
        {"class": name, "precision": 0.5, "recall": 0.5, "f1": i / 30 if i else None, "support": 3}
        for i, name in enumerate(classes)
    ]
    result = {"per_class": rows, "last_step": 5, "kept_step": 3, "steps": 9, "validation": 0.5, "test": 0.25}
    result |= {"images": {"validation": 4, "test": 90}, "most_frequent_class": 0.1}
    finetune.show(result)
    said = capsys.readouterr().out
    assert "the 10 classes of 30 with the lowest F1" in said
    assert [name for name in classes if f"{name} " in said] == classes[1:11]
    assert (
        "Kept the weights of step 3, with 50.0 % accuracy on the 4 validation images; training stopped early, after step 5."
        in said
    )


def test_epochs_give_the_number_of_steps_but_not_fewer_than_training_steps():
    few = Options(run="", epochs=3, training=FinetuneOptions(steps=10, batch_size=8))
    assert finetune.steps_of(few, 100) == 38
    assert finetune.steps_of(few, 4) == 10


def test_a_dry_run_shows_the_estimate_and_writes_nothing(finished, folder, tmp_path, capsys, monkeypatch):
    # Three steps instead of as many as fit into a time.
    monkeypatch.setattr(sys.modules[estimate.__module__], "_SECONDS", 0.0)
    dry = options(finished, folder, out=str(tmp_path / "out"), dry_run=True)
    assert terminal.exit_code(lambda: finetune.finetune(dry)) == terminal.DONE
    said = capsys.readouterr().out
    for word in ("parameters, head", "parameters, backbone", "memory, temporaries", "images/s, step", "disk"):
        assert word in said
    assert not list(tmp_path.iterdir())
