"""A run loaded from its folder, and a run on arrays, give the features from the end of training."""

import dataclasses
import inspect
import json

import jax
import numpy as np
import pytest

import sslax
from sslax.config import to_dict
from sslax.errors import InputError
from sslax.methods import METHODS, simclr
from sslax.runs import RunDir
from sslax.training import Embedder, Loaded, build, config_from, fit
from tests import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run's folder, its configuration, and its final features."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    config, data = tiny.config(epochs=1), tiny.dataset()
    run = RunDir(path, to_dict(config))
    built = build(config, data)
    built = built._replace(method=built.method._replace(views=tiny.noisy))
    state = fit(config, built, data, run)
    run.write_result({})
    features = Embedder(built.method, built.mesh)(state, data.test.images, data.test.aspects)
    return path, config, features


@pytest.fixture(scope="module")
def network(finished):
    return sslax.load(finished[0])


def test_two_lines_compute_the_features(finished, network):
    _, config, features = finished
    images = tiny.dataset().test.images
    np.testing.assert_allclose(network(images), features, atol=1e-5)
    assert network.config == config
    assert network.data["images"] == 64
    # Floats in [0, 1] represent the same images.
    np.testing.assert_allclose(network(images.astype(np.float32) / 255), features, atol=1e-5)
    # Images of another size are resized, and need not be square.
    assert network(np.zeros((3, 20, 30, 3), np.uint8)).shape == (3, features.shape[1])
    params, statistics = network.backbone()
    assert set(params) >= {"stem_conv"}
    assert set(statistics) >= {"stem_norm"}


@pytest.mark.parametrize("images", [np.zeros((8, 8, 3)), np.zeros((0, 8, 8, 3)), np.zeros((2, 8, 8, 3), np.int32)])
def test_invalid_images(network, images):
    with pytest.raises(ValueError, match="images"):
        # Bypass the shape checker of the tests, which users do not have.
        inspect.unwrap(Loaded.__call__)(network, images)


@pytest.mark.parametrize("name", METHODS)
def test_a_configuration_survives_json(name):
    config = tiny.config(name)
    assert config_from(json.loads(json.dumps(to_dict(config)))) == config


def test_folders_that_are_not_a_finished_run(finished, tmp_path):
    with pytest.raises(InputError, match=r"which is not a run; it must be a folder that sslax pretrain wrote"):
        sslax.load(tmp_path)
    run = RunDir(tmp_path / "begun", to_dict(tiny.config()))
    run.begin({"images": 64, "canvas": 8, "classes": [], "name": "tiny"})
    with pytest.raises(InputError, match="has not finished"):
        sslax.load(run.path)
    with pytest.raises(InputError, match="holds no checkpoint"):
        sslax.load(run.path, unfinished=True)


def test_configurations_of_another_version_or_method():
    fields = to_dict(tiny.config())
    with pytest.raises(InputError, match=r"optim.colour is in the run's config.json"):
        config_from({**fields, "optim": {**fields["optim"], "colour": 1}})
    with pytest.raises(InputError, match="method is moco, which is not among simclr"):
        config_from({**fields, "method": {"name": "moco"}})


def test_your_own_arrays_and_method_equal_the_command(finished):
    _, config, features = finished
    data = tiny.dataset()
    seen = []
    calls = []

    def mine(options, setup):
        calls.append(options)
        return simclr(options, setup)._replace(views=tiny.noisy)

    network = sslax.pretrain(
        config,
        images=data.train.images,
        labels=data.train.labels,
        test_images=data.test.images,
        test_labels=data.test.labels,
        method=mine,
        follow=seen.append,
    )
    np.testing.assert_allclose(network(data.test.images), features, atol=1e-5)
    assert calls == [config.method]
    assert METHODS["simclr"] is simclr
    assert [line["step"] for line in seen] == [2, 4]
    assert "knn1" in seen[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": np.zeros((20, 8, 9, 3), np.uint8)}, r"images are uint8 of shape \(20, 8, 9, 3\); they must be"),
        ({"images": np.zeros((20, 8, 8, 3), np.uint8), "labels": np.zeros(3, np.int32)}, "labels has 3 rows"),
        ({"images": np.zeros((20, 8, 8, 3), np.uint8), "test_labels": np.zeros(3, np.int32)}, "must be given together"),
        ({"images": np.zeros((3, 8, 8, 3), np.uint8)}, "batch_size is 16, but arrays has 3 training images"),
    ],
)
def test_arrays_that_do_not_fit(changes, said):
    with pytest.raises(InputError, match=said):
        inspect.unwrap(sslax.pretrain)(tiny.config(), **changes)


def test_a_run_can_start_from_exported_weights(network, tmp_path):
    from sslax.export import save_safetensors, to_torch

    tensors = to_torch(network.built.backbone, *network.backbone())
    save_safetensors(tmp_path / "weights.safetensors", tensors, {"method": "simclr"})
    config = dataclasses.replace(network.config, init_from=str(tmp_path / "weights.safetensors"))
    data = tiny.dataset()
    state = sslax.training.start_state(config, build(config, data, devices=jax.devices()[:1]))
    params, statistics = network.backbone()
    for ours, theirs in ((state.params["encoder"], params), (state.aux["encoder"], statistics)):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    with pytest.raises(InputError, match="absent"):
        build(dataclasses.replace(config, init_from="absent.safetensors"), data)
