"""The benchmark against lightly, with fake sides: its lines, its order, the recipes for both sides, and its errors."""

import json
import pathlib
import sys

import pytest

from experiments.benchmarks import peer_sslax
from experiments.benchmarks.peer_recipe import Options, flags
from experiments.benchmarks.peers import run
from sslax.cli import terminal
from sslax.cli.pretrain import parse
from sslax.config import check
from tests import tiny
from tests.data.images import write_folder

# A side that records its call and prints an answer.
SIDE = """#!{python}
import json, os, sys, time
here, name = {here!r}, {name!r}
words = sys.argv[1:]
asked = next(word for word in words if word in ("probe", "run"))
told = {{"side": name, "asked": asked, "words": words}}
told |= {{key: os.environ.get(key) for key in ("PYTHONPATH", "JAX_ENABLE_COMPILATION_CACHE")}}
if words[-1].endswith(".json"):
    told["recipe"] = json.load(open(words[-1]))
with open(here + "/calls.jsonl", "a") as file:
    file.write(json.dumps(told) + "\\n")
print("words that are no result")
print(json.dumps({answers!r}[asked]))
"""
RESULT = {"raw_pixels": 0.25, "untrained": 0.5, "training_seconds": 3.0, "loss": 4.0}
OURS = {
    "probe": {"device": "some device", "devices": 1, "platform": "cpu", "parameters": 7},
    "run": {**RESULT, "trained": 0.75},
}
THEIRS = {
    "probe": {"versions": {"lightly": "1", "torch": "2"}, "gpu": False, "parameters": 7},
    "run": {**RESULT, "trained": 0.6},
}


def side(folder: pathlib.Path, name: str, answers: dict) -> str:
    """A fake program for one side."""
    path = folder / name
    path.write_text(SIDE.format(python=sys.executable, here=str(folder), name=name, answers=answers))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def images(tmp_path):
    counts = {f"{split}/{name}": 12 for split in ("train", "test") for name in ("a", "b")}
    return write_folder(tmp_path / "images", counts, sides=((32, 32),))


def ended(tmp_path, options: Options, ours: dict = OURS) -> int:
    return terminal.exit_code(lambda: run(options, (side(tmp_path, "ours", ours),)))


def test_both_sides_alternate_on_the_same_files(images, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    python = side(tmp_path, "theirs", THEIRS)
    options = Options(images, limit=20, batch_size=16, epochs=5, seeds=(3, 4), peer_python=python)
    assert ended(tmp_path, options) == terminal.DONE
    *kept, whole = [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    assert [(line["name"], line["seed"]) for line in kept] == [("SimCLR, patch-resnet, kNN k=20", s) for s in (3, 4)]
    for line in kept:
        assert (line["figure"], line["rival_figure"], line["unit"]) == (75, 60, "%")
        assert (line["raw_pixels"], line["rival_untrained"], line["training_seconds"]) == (25, 50, 3)
        assert (line["device"], line["parameters"], line["images"]) == ("some device", 7, 20)
        assert line["peer_versions"] == {"lightly": "1", "torch": "2"}
    ratios = [line["seconds"] / line["rival_seconds"] for line in kept]
    assert whole["unit"] == "s"
    assert whole["ratios"] == ratios
    assert whole["ratio"] == pytest.approx(sum(ratios) / 2)

    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [(call["side"], call["asked"]) for call in calls] == [
        ("theirs", "probe"),
        ("ours", "probe"),
        *[("ours", "run"), ("theirs", "run")] * 2,
    ]
    assert {call["JAX_ENABLE_COMPILATION_CACHE"] for call in calls} == {"false"}
    assert all((call["PYTHONPATH"] is None) == (call["side"] == "theirs") for call in calls)
    first, second = (call["recipe"] for call in calls if call["side"] == "theirs" and call["asked"] == "run")
    assert (first["seed"], second["seed"], first["device"], first["precision"]) == (3, 4, "cpu", "float32")
    root = images.removeprefix("folder:")
    assert first["train"] == [[f"{root}/train/{c}/{i:02d}.png", int(c == "b")] for c in "ab" for i in range(10)]
    assert len(first["test"]) == 20
    assert (first["batch_size"], first["epochs"], first["warmup_epochs"], first["classes"]) == (16, 5, 0.5, 2)
    ours = [call["words"][1:] for call in calls if call["side"] == "ours" and call["asked"] == "run"]
    assert ours == [flags(options, seed, "float32") for seed in (3, 4)]


def test_the_flags_are_lightlys_pipeline():
    name, config = parse(flags(Options("folder:PATH"), 5))
    check(config)
    assert (name, config.seed, config.limit, config.epochs, config.batch_size) == ("simclr-cifar10", 5, 10_000, 20, 256)
    # lightly's `SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0)`, jitter 0.8, 0.8, 0.8, 0.2 times 0.5.
    branch = config.method.views.branch()
    assert (branch.brightness, branch.contrast, branch.saturation, branch.hue) == (0.4, 0.4, 0.4, 0.1)
    assert (branch.crop_area, branch.crop_sampling, branch.interpolation) == ((0.08, 1.0), "torchvision", "bilinear")
    assert (branch.flip, branch.jitter, branch.grayscale, branch.blur) == (0.5, 0.8, 0.2, 0.0)
    assert (branch.semantics, branch.mean, branch.std) == (
        "torchvision",
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )
    optim = config.optim
    assert (optim.name, optim.lr, optim.warmup_epochs, optim.weight_decay) == ("adamw", 3e-3, 2, 1e-4)
    assert (optim.lr_scaling, optim.decay_all, optim.end_lr) == ("none", False, 0)
    _, large = parse(flags(Options("folder:PATH", limit=None, network="resnet18", epochs=200), 0))
    check(large)
    assert (large.network.name, large.limit, large.optim.warmup_epochs) == ("resnet18", None, 2)


def test_without_lightly_the_error_is_one_sentence(images, tmp_path, capfd):
    # Without site-packages, this python has no torch, even if it is installed.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    assert ended(tmp_path, Options(images, batch_size=16, peer_python=str(python))) == terminal.INPUT
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f'error: lightly is not installed for {python}; install it with pip install "lightly>=1.5" torch torchvision, '
        "or set --peer-python to the python of an environment that has it.\n"
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({}, {"parameters": 8}, "sslax would train 7 parameters and lightly's side 8; the networks must be the same"),
        ({"platform": "gpu"}, {}, "sslax runs on some device, but torch finds no GPU"),
        ({"devices": 2}, {}, "sslax would run on 2 devices of cpu; lightly's side runs on a CPU or on one GPU"),
    ],
)
def test_different_sides_give_one_sentence(ours, theirs, said, images, tmp_path, capfd):
    python = side(tmp_path, "theirs", {**THEIRS, "probe": {**THEIRS["probe"], **theirs}})
    options = Options(images, batch_size=16, peer_python=python)
    assert ended(tmp_path, options, {**OURS, "probe": {**OURS["probe"], **ours}}) == terminal.INPUT
    printed = capfd.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert said in printed.err


def test_a_failing_side_gives_one_sentence(images, tmp_path, capfd):
    python = side(tmp_path, "theirs", {"probe": THEIRS["probe"]})
    options = Options(images, batch_size=16, seeds=(0,), peer_python=python)
    assert ended(tmp_path, options) == terminal.INPUT
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.endswith(
        "error: lightly's side ended with exit code 1 and without a result; its output is above.\n"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "digits"}, "data is digits; it must be folder:PATH"),
        ({"data": "folder:/no/such"}, "there is no such folder"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"network": "resnet19"}, "network is resnet19; it must be one of patch-resnet, resnet18"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (0, -1)}, "seed is -1"),
        ({"limit": 10}, "which has 10 training images; it must have at least 20"),
        ({"batch_size": 25}, "it must be at most 24"),
        ({"peer_python": "/no/such/python"}, "peer_python is /no/such/python, which is not a program"),
    ],
)
def test_bad_options_give_one_sentence(changes, said, images, tmp_path, capfd):
    values = {"data": images, "batch_size": 16, "peer_python": side(tmp_path, "theirs", THEIRS)} | changes
    assert ended(tmp_path, Options(**values)) == terminal.INPUT
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "calls.jsonl").exists()


@pytest.mark.parametrize(
    ("counts", "side_", "said"),
    [
        ({"train/a": 30, "test/a": 2}, (40, 32), "00.png is 40x32 pixels; all images must be 32x32"),
        ({".": 30}, (32, 32), "which has no class folders or no test images"),
    ],
)
def test_images_of_another_form_give_one_sentence(counts, side_, said, tmp_path, capfd):
    spec = write_folder(tmp_path / "images", counts, sides=(side_,))
    assert ended(tmp_path, Options(spec, peer_python=sys.executable)) == terminal.INPUT
    assert said in capfd.readouterr().err


@pytest.mark.slow
def test_sslax_side_trains_and_evaluates():
    config = tiny.config(method=tiny.PLAIN, eval_every=0, epochs=1)
    result = peer_sslax.trained_on(tiny.dataset(), config)
    assert result.keys() == RESULT.keys() | {"trained"}
    # The classes differ in colour.
    assert result["raw_pixels"] > 0.9
    assert 0 <= result["trained"] <= 1
    assert result["training_seconds"] > 0


def test_sslax_side_counts_parameters():
    _, config = parse(flags(Options("folder:PATH"), 0))
    stem, first, second = 48 * 32 + 64, 2 * (9 * 32**2 + 64), 9 * 32 * 64 + 9 * 64**2 + 32 * 64 + 3 * 128
    head = 64 * 64 + 2 * 64 + 64 * 128 + 128 * (2 if getattr(config.method, "projector_offset", False) else 1)
    assert peer_sslax.probe(config)["parameters"] == stem + first + second + head
