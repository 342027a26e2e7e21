"""The commands on a weights file in place of a run: features, classifiers, tables, continued pretraining, wrong options."""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sslax
from sslax.cli import compare, embed, evaluate, evaluation_report, export, finetune, pretrain, terminal
from sslax.cli.pretrain import parse
from sslax.config import NetworkConfig
from sslax.data import open_dataset
from sslax.errors import InputError
from sslax.export import load_safetensors, save_safetensors, to_torch
from sslax.finetuning import load_classifier
from sslax.networks import build_backbone, forward, init
from sslax.recipes import CONFIGS
from sslax.report import Report
from sslax.report.sections import accuracy
from sslax.training import WeightsOptions, open_weights
from sslax.training.build import weights_of
from tests import tiny
from tests.cli import finished

SIZE = tiny.SIZE
NETWORK = NetworkConfig("vit-micro", width=128, depth=1, patch_size=2, heads=2, positions="antialiased")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as releases ship them, without metadata, and its backbone with its parameters."""
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    backbone = build_backbone(image_size=SIZE, **dataclasses.asdict(NETWORK) | {"drop_path": 0.0})
    params, _ = jax.jit(functools.partial(init, backbone))(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)))
    tensors = {f"teacher.backbone.{name}": x for name, x in to_torch(backbone, params, {}).items()}
    save_safetensors(path, tensors | {"teacher.head.weight": np.zeros((2, 2), np.float32)}, {"format": "pt"})
    return str(path), backbone, params


def run(command, **options):
    start = command.finetune if command is finetune else command.run
    return terminal.exit_code(lambda: start(command.Options(**options)))


def test_embed_normalises_as_released_networks_expect(weights, tmp_path, capsys):
    path, backbone, params = weights
    out = tmp_path / "f.npz"
    assert run(embed, weights=path, data="digits", limit=20, out=str(out)) == terminal.DONE
    assert f"{path}: vit-micro, 1 blocks of 128 channels and 2 heads, patches of 2 pixels" in capsys.readouterr().out
    data = open_dataset("digits", limit=20)
    images = np.concatenate([data.train.images, data.test.images]) / np.float32(255)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    wanted, _ = jax.jit(functools.partial(forward, backbone, train=False))(params, {}, (images - mean) / std)
    with np.load(out) as file:
        np.testing.assert_allclose(file["features"], wanted, atol=1e-5)


def test_finetune_saves_a_classifier_and_what_the_options_told(weights, tmp_path, monkeypatch):
    path, _, params = weights
    monkeypatch.setattr(finetune, "write_finetune_report", lambda path, *rest: path.write_text("page"))
    out = tmp_path / "out"
    training = finetune.FinetuneOptions(steps=2, batch_size=16, freeze=True)
    told = WeightsOptions(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    options = {"weights": path, "data": "digits", "out": str(out), "epochs": 1, "labels": 0.02, "told": told}
    assert run(finetune, **options, training=training) == terminal.DONE
    saved = json.loads((out / "config.json").read_text())
    assert (saved["weights"], saved["told"]["mean"], saved["pretraining"]["method"]["name"]) == (
        path,
        [0.5] * 3,
        "weights",
    )
    _, said = load_safetensors(out / "weights.safetensors")
    assert (said["mean"], json.loads(said["network"])["heads"]) == ("[0.5, 0.5, 0.5]", 2)
    classifier = load_classifier(out / "weights.safetensors")
    jax.tree.map(np.testing.assert_array_equal, classifier.weights.params, params)
    # The classifier's file is a weights file itself, whose metadata tells all.
    again = open_weights(out / "weights.safetensors")
    assert again.config.network == dataclasses.replace(NETWORK, drop_path=0.1)
    assert again.config.method.views.mean == (0.5, 0.5, 0.5)
    # The same command again shows the result.
    assert run(finetune, **options, training=training) == terminal.DONE


def test_evaluate_and_compare_measure_a_weights_file(weights, tmp_path, monkeypatch, capsys):
    path, _, params = weights
    monkeypatch.chdir(tmp_path)
    seen = []

    def look(network):
        """Features of the pretrained and of the untrained network, instead of probes on them."""
        untrained = network.untrained()
        assert jax.tree.structure(untrained.params["encoder"]) == jax.tree.structure(params)
        images = np.random.default_rng(0).integers(0, 255, (4, SIZE, SIZE, 3), np.uint8)
        for state in (network.state, untrained):
            seen.append(network.embedder(state, images, np.ones(4, np.float32)))

    def evaluated(options, network, data):
        look(network)
        return evaluation_report.Evaluation(
            {"10 %": {"chance": {"linear": [0.1]}}}, {"10 %": 1}, seen, np.eye(10, dtype=int)
        )

    monkeypatch.setattr(evaluate, "evaluate", evaluated)
    monkeypatch.setattr(evaluate, "write_evaluation_report", lambda path, *rest: path.write_text("page"))
    assert run(evaluate, weights=path, data="digits", labels=(0.1,)) == terminal.DONE
    assert np.abs(seen[0] - seen[1]).max() > 0.1
    # The name of the folder is the file's.
    assert {p.name for p in (tmp_path / "runs" / "weights-vit").iterdir()} == {"evaluation.json", "evaluation.html"}

    def measured(features, data, **options):
        shown = features(data.test.images[:4], data.test.aspects[:4])
        return {"knn1": float(np.abs(shown).max() > 0), "linear": 0.25}

    monkeypatch.setattr(compare, "measure", measured)
    capsys.readouterr()
    assert run(compare, weights=(path,), data="digits", out="c.html") == terminal.DONE
    said = capsys.readouterr().out
    for row in ("pretrained", "untrained", "raw pixels"):
        line = next(line for line in said.splitlines() if row in line)
        assert "100.0" in line
        assert "25.0" in line
    assert "vit" in (tmp_path / "c.html").read_text("utf-8")


@pytest.mark.parametrize(("init_from", "row"), [(None, "untrained network"), ("w.safetensors", "initial weights")])
def test_the_row_before_training_says_where_its_weights_come_from(monkeypatch, init_from, row):
    monkeypatch.setattr(pretrain, "measure", lambda features, data, **options: {"knn1": 0.5})
    monkeypatch.setattr(pretrain, "start_state", lambda config, built: None)
    config = tiny.config(init_from=init_from)
    result = pretrain.measure_all(config, tiny.built(tiny.config()), tiny.dataset(), None)
    titles = list(terminal.result_table(result, "SimCLR").columns[0].cells)
    assert titles == ["raw pixels", row, "SimCLR"]
    assert f">{row}<" in accuracy(Report(title="run", summary="", method_name="SimCLR", result=result))


def test_export_writes_the_backbone_alone(weights, tmp_path):
    path, backbone, params = weights
    out = tmp_path / "w.safetensors"
    assert run(export, weights=path, out=str(out)) == terminal.DONE
    tensors, said = load_safetensors(out)
    wanted = to_torch(backbone, params, {})
    assert tensors.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(tensors[name], array)
    assert NetworkConfig(**json.loads(said["network_options"])) == dataclasses.replace(NETWORK, drop_path=0.1)
    assert (said["method"], said["image_size"]) == ("weights", "8")
    assert "epochs" not in said


def test_pretrain_takes_the_network_from_the_file_and_flags_change_it(weights):
    path, _, _ = weights
    usual = CONFIGS["dino-digits"]
    for flags in (["--weights", path], [f"--init-from={path}"]):
        _, config = parse(["dino-digits", *flags])
        assert config == dataclasses.replace(usual, init_from=path, network=dataclasses.replace(NETWORK, drop_path=0.0))
    _, config = parse(["dino-digits", "--weights", path, "--network.heads", "4", "--network.drop-path", "0.3"])
    assert (config.network.heads, config.network.drop_path, config.network.width) == (4, 0.3, 128)


def test_positions_are_resized_and_another_network_names_the_options_that_fit(weights):
    path, backbone, params = weights
    start, _ = weights_of(path, backbone.clone(image_size=16), (16, 16, 3))(None, None)
    assert start["pos_embed"].shape == (1, 65, 128)
    np.testing.assert_array_equal(start["pos_embed"][:, 0], params["pos_embed"][:, 0])
    # The mean of a position does not depend on the size of the grid.
    means = (start["pos_embed"][0, 1:].mean(0), params["pos_embed"][0, 1:].mean(0))
    assert np.corrcoef(*means)[0, 1] > 0.9
    with pytest.raises(InputError) as error:
        weights_of(path, backbone.clone(depth=2), (8, 8, 3))
    said = str(error.value)
    assert said.startswith(f"init_from is {path}; its tensors are not those of this ViT: missing ")
    assert said.endswith(
        "; this file fits --network.name vit-micro --network.width 128 --network.depth 1 --network.patch-size 2 "
        "--network.heads 2 --network.positions antialiased."
    )


def test_a_finished_run_does_not_need_the_file_that_it_started_from(weights, tmp_path):
    path, _, params = weights
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(pathlib.Path(path).read_bytes())
    network = dataclasses.replace(NETWORK, drop_path=0.0)
    finished.make(tmp_path / "run", "dino", network=network, init_from=str(copy))
    loaded = sslax.load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, loaded.untrained().params["encoder"], params)
    copy.unlink()
    loaded = sslax.load(tmp_path / "run")
    with pytest.raises(InputError, match=r"copy\.safetensors cannot be read"):
        loaded.untrained()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run": "a", "weights": "b"}, "RUN is a and weights are b; give only one of the two."),
        ({}, "RUN is missing; give the folder of a finished run, or a weights file with --weights."),
        ({"run": "a", "told": WeightsOptions(size=8)}, "size is given, but RUN tells it; leave it out"),
        ({"weights": "FILE"}, "data is missing, and a weights file names no images; name them with --data."),
        ({"weights": "FILE", "told": WeightsOptions(size=9)}, "size is 9, which the patches of 2 pixels do not divide"),
        ({"weights": "FILE", "told": WeightsOptions(heads=3)}, "network.width is 128; it must be a multiple of"),
        ({"weights": "FILE.none"}, "FILE.none cannot be read: No such file or directory."),
        ({"weights": "DAMAGED"}, "is not a complete safetensors file"),
        ({"weights": "OTHER"}, "their tensors are neither those of a ViT nor of a ResNet: they begin with a"),
        ({"weights": "MORE"}, "their tensors are not those of this ViT: left over dist_token"),
    ],
)
def test_wrong_options_and_files_are_input_errors(weights, tmp_path, capsys, options, said):
    path = weights[0]
    (tmp_path / "damaged.bin").write_bytes(b"nothing")
    save_safetensors(tmp_path / "other", {"a": np.zeros(2)}, {})
    tensors = load_safetensors(path)[0]
    save_safetensors(tmp_path / "more", tensors | {"teacher.backbone.dist_token": np.zeros((1, 1, 128))}, {})
    files = {"FILE": path, "FILE.none": f"{path}.none", "DAMAGED": "damaged.bin", "OTHER": "other", "MORE": "more"}
    if "weights" in options:
        options = options | {"weights": str(tmp_path / files.get(options["weights"], options["weights"]))}
    if options.get("weights") == str(tmp_path / "b"):
        options["weights"] = "b"
    assert run(embed, out=str(tmp_path / "f.npz"), **options) == terminal.INPUT
    found = capsys.readouterr().err.strip()
    assert said.replace("FILE", path) in found
    assert "\n" not in found
