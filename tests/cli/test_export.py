"""Exporting a run's weights and importing them bit for bit; the metadata; runs that cannot be exported."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import sslax
from sslax.cli import export, finetune, terminal
from sslax.config import NetworkConfig
from sslax.data import open_dataset
from sslax.export import load_safetensors
from sslax.methods import METHODS, simclr
from sslax.training import build, start_state
from tests.cli import finished


@pytest.fixture(scope="module", params=["simclr", "dino"])
def network(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / request.param
    finished.make(path, request.param)
    return path


def test_exported_weights_import_into_another_run_bit_for_bit(network, tmp_path, capsys):
    out = tmp_path / "weights.safetensors"
    out.write_bytes(b"what was there before")
    assert terminal.exit_code(lambda: export.run(export.Options(run=str(network), out=str(out)))) == 0
    loaded = sslax.load(network)
    config = dataclasses.replace(loaded.config, init_from=str(out))
    built = build(config, open_dataset("digits", limit=64), devices=jax.devices()[:1])
    state = start_state(config, built)
    # Only the backbone is imported: heads have new weights.
    for new, old in zip(built.method.evaluated(state.params, state.aux), loaded.backbone(), strict=True):
        assert jax.tree.structure(new) == jax.tree.structure(old)
        jax.tree.map(np.testing.assert_array_equal, new, old)

    if loaded.config.method.NAME == "dino":
        # Student and teacher both start there.
        jax.tree.map(np.testing.assert_array_equal, state.params["encoder"], loaded.backbone()[0])

    _, said = load_safetensors(out)
    assert NetworkConfig(**json.loads(said["network_options"])) == loaded.config.network
    assert said["method"] == loaded.config.method.NAME
    assert (said["data"], said["images"], said["epochs"], said["image_size"]) == ("digits", "64", "1", "8")
    assert (said["knn1"], said["knn20"], said["linear"]) == ("0.95", "0.85", "0.75")
    assert said["sslax"]
    if loaded.config.method.NAME == "dino":
        assert (said["network"], said["network.heads"], said["network.depth"]) == ("vit-micro", "4", "1")
        assert said["mean"] == "[0.485, 0.456, 0.406]"
    else:
        assert (said["network"], said["network.stem"], said["network.width"]) == ("patch-resnet", "patch", "4")
        # SimCLR does not normalise.
        assert (said["mean"], said["std"]) == ("[0.0, 0.0, 0.0]", "[1.0, 1.0, 1.0]")
    assert "tensors" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "simclr"
    finished.make(path)
    return path


def fails(capsys, **options):
    assert terminal.exit_code(lambda: export.run(export.Options(**options))) == terminal.INPUT
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ")
    assert "\n" not in said
    return said


def test_wrong_output_paths_are_input_errors(run_dir, tmp_path, capsys):
    assert "its name must end in .safetensors" in fails(capsys, run=str(run_dir), out=str(tmp_path / "weights.pt"))
    assert "which is a folder" in fails(capsys, run=str(run_dir), out=str(_folder(tmp_path / "a.safetensors")))
    assert f"no folder {tmp_path / 'none'}" in fails(
        capsys, run=str(run_dir), out=str(tmp_path / "none" / "w.safetensors")
    )
    assert "is not a run" in fails(capsys, run=str(tmp_path), out=str(tmp_path / "w.safetensors"))


def test_a_network_without_torch_names_is_an_input_error(tmp_path, capsys):
    network = NetworkConfig(name="patch-resnet", width=4, patch_size=2, norm="group")
    finished.make(tmp_path / "run", network=network)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    wanted = "error: network.norm is group; it must be batch, because only ResNets with BatchNorm have names in torch."
    assert fails(capsys, run=str(tmp_path / "run"), out=str(tmp_path / "w.safetensors")) == wanted
    # Fine-tuning saves weights under the same names, so it must fail before training.
    options = finetune.Options(run=str(tmp_path / "run"))
    assert terminal.exit_code(lambda: finetune.finetune(options)) == terminal.INPUT
    assert capsys.readouterr().err.strip() == wanted
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def _folder(path):
    path.mkdir()
    return path


def test_a_full_disk_leaves_the_old_file(run_dir, tmp_path, capsys, monkeypatch):
    out = tmp_path / "w.safetensors"
    out.write_bytes(b"before")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert f"{out} cannot be written: No space left on device." in fails(capsys, run=str(run_dir), out=str(out))
    monkeypatch.undo()
    assert out.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_unfinished_runs_and_methods_without_a_backbone_are_input_errors(run_dir, tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "w.safetensors")
    (run_dir / "result.json").rename(run_dir / "hidden")
    assert "has not finished" in fails(capsys, run=str(run_dir), out=out)
    (run_dir / "hidden").rename(run_dir / "result.json")

    def bare(options: type(finished.tiny.OPTIONS["simclr"]), setup):
        return simclr(options, setup)._replace(evaluated=None)

    monkeypatch.setitem(METHODS, "simclr", bare)
    assert "method is simclr, which defines no backbone to evaluate" in fails(capsys, run=str(run_dir), out=out)
    assert not (tmp_path / "w.safetensors").exists()
