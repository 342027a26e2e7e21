"""Saving and loading a classifier: equal probabilities, and a layout that torch can load."""

import dataclasses
import functools
import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.data import open_dataset
from sslax.data.picture import Reading
from sslax.errors import InputError
from sslax.export import load_safetensors, save_safetensors
from sslax.finetuning import Classifier, LoadedClassifier, load_classifier, save_classifier
from sslax.finetuning.classifier import Predictor
from sslax.networks import ClassifierHead, forward, init
from sslax.training import make_backbone
from tests import tiny
from tests.data.photographs import encoded, scene

KEY = jax.random.key(3)
CLASSES = ("a $b$", "c")


def made(name, hidden):
    """A configuration, and a classifier with random weights, including the head's."""
    config = tiny.config(name)
    if name == "dino":
        config = dataclasses.replace(config, network=dataclasses.replace(config.network, depth=1))

    @jax.jit
    def start():
        image, features = jnp.zeros((1, tiny.SIZE, tiny.SIZE, 3)), jnp.zeros((1, 8))
        return init(make_backbone(config), KEY, image), init(ClassifierHead(2, hidden), KEY, features)[0]

    (params, statistics), head = jax.device_get(start())
    statistics = jax.tree.map(lambda s: s + np.float32(0.1), statistics)
    # Small enough that no class takes the whole probability.
    rng = np.random.default_rng(3)
    head = jax.tree.map(lambda p: np.float32(0.3) * rng.standard_normal(p.shape, np.float32), head)
    return config, Classifier(params, statistics, head)


@pytest.fixture(scope="module", params=[("simclr", False), ("dino", True)], ids=["linear", "mlp"])
def saved(request, tmp_path_factory):
    config, classifier = made(*request.param)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_classifier(path, config, classifier, CLASSES)
    return path, config, classifier


@pytest.fixture(scope="module")
def network(saved):
    return load_classifier(saved[0])


def test_a_loaded_classifier_gives_classes_and_probabilities(saved, network):
    _, config, classifier = saved
    split = tiny.dataset().test
    hidden = "Dense_1" in classifier.head
    predictor = Predictor(make_backbone(config), ClassifierHead(2, hidden), config.method.views)
    logits = predictor(classifier, split.images, split.aspects)

    jax.tree.map(np.testing.assert_array_equal, network.weights, classifier)
    found = network.probabilities(split.images)
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=1e-5)
    assert network.classes == CLASSES
    assert network(split.images) == [CLASSES[index] for index in found.argmax(1)]
    # One image of a different size, as floats.
    assert network(np.zeros((1, 20, 30, 3), np.float32)) in ([CLASSES[0]], [CLASSES[1]])
    assert network.accuracy(dataclasses.replace(tiny.dataset(), classes=CLASSES)) == pytest.approx(
        (found.argmax(1) == split.labels).mean()
    )


def test_the_stored_head_equals_torch_linear_layers_on_normalised_features(saved, network):
    path, config, classifier = saved
    split = tiny.dataset().test
    tensors, metadata = load_safetensors(path)
    assert not any(name.startswith(("module.", "backbone.")) for name in tensors)
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert (metadata["method"], json.loads(metadata["image_size"])) == (config.method.NAME, tiny.SIZE)
    mean, std = (json.loads(metadata[name]) for name in ("mean", "std"))
    x = split.images / 255.0
    x = x if mean is None else (x - mean) / std
    backbone = functools.partial(forward, make_backbone(config), train=False)
    h = np.asarray(jax.jit(backbone)(classifier.params, classifier.statistics, np.asarray(x, np.float32))[0])
    # torch.nn.LayerNorm(d, eps=1e-6, elementwise_affine=False).
    h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-6)
    if metadata["head"] == "mlp":
        h = np.maximum(h @ tensors["head.0.weight"].T + tensors["head.0.bias"], 0)
        logits = h @ tensors["head.2.weight"].T + tensors["head.2.bias"]
    else:
        logits = h @ tensors["head.weight"].T + tensors["head.bias"]
    np.testing.assert_allclose(network.probabilities(split.images), jax.nn.softmax(logits), atol=1e-4)


def test_aspect_ratios_restore_the_shape_of_resized_images(network):
    images = tiny.dataset().test.images
    wide = np.full(len(images), 2.0, np.float32)
    assert np.abs(network.probabilities(images, wide) - network.probabilities(images)).max() > 1e-3
    np.testing.assert_array_equal(network.probabilities(images, wide / 2), network.probabilities(images))


def test_image_files_are_read_like_the_training_images(saved, network, tmp_path):
    _, config, classifier = saved
    for orientation in (1, 6):
        (tmp_path / f"{orientation}.jpg").write_bytes(encoded(scene(), orientation))
    files = [str(tmp_path / "1.jpg"), tmp_path / "6.jpg"]
    found = network.probabilities(files)
    np.testing.assert_allclose(found[0], found[1], atol=0.02)
    data = open_dataset(f"folder:{tmp_path}", canvas=256)
    np.testing.assert_allclose(network.probabilities(data.train.images, data.train.aspects), found, atol=1e-6)
    assert len(network(files)) == 2

    other = tmp_path / "other.safetensors"
    save_classifier(other, config, classifier, CLASSES, canvas=32, reading=Reading(exif=False))
    lying = open_dataset(f"folder:{tmp_path}", canvas=32, exif=False)
    network = load_classifier(other)
    np.testing.assert_allclose(
        network.probabilities(lying.train.images, lying.train.aspects), network.probabilities(files), atol=1e-6
    )
    with pytest.raises(InputError, match=r"images has .*none.jpg', which cannot be read as an image: No such file"):
        network([tmp_path / "none.jpg"])


def test_accuracy_refuses_data_with_other_classes_or_no_labels(network):
    with pytest.raises(
        InputError, match=r"data is tiny, but its classes \(a, b\) differ from the classifier's \(a \$b"
    ):
        network.accuracy(tiny.dataset())
    with pytest.raises(InputError, match="no labels or no test split"):
        network.accuracy(tiny.dataset(labelled=False))


def test_options_of_the_network_without_tensors_are_stored(tmp_path):
    """Without the stem's ReLU the weights are the same, and the probabilities are not."""
    config, classifier = made("simclr", False)
    # Initially each block is the identity with a ReLU.
    noise = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + noise.normal(0, 0.3, p.shape).astype(np.float32), classifier.params)
    classifier = classifier._replace(params=params)
    split = tiny.dataset().test
    found = {}
    for relu in (True, False):
        network = dataclasses.replace(config.network, stem_relu=relu)
        save_classifier(tmp_path / "w.safetensors", dataclasses.replace(config, network=network), classifier, CLASSES)
        found[relu] = load_classifier(tmp_path / "w.safetensors").probabilities(split.images)
    backbone = make_backbone(dataclasses.replace(config, network=network))
    predictor = Predictor(backbone, ClassifierHead(2, False), config.method.views)
    logits = predictor(classifier, split.images, split.aspects)
    np.testing.assert_allclose(found[False], jax.nn.softmax(logits), atol=1e-5)
    assert np.abs(found[True] - found[False]).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, m: m.pop("kind"), "is not a classifier; it must be a weights.safetensors that sslax finetune"),
        (lambda t, m: m.pop("network"), "has incomplete metadata"),
        (lambda t, m: m.update(network="{"), "has incomplete metadata"),
        (lambda t, m: m.update(head="deep"), "has incomplete metadata"),
        (
            lambda t, m: m.update(classes='["a", "b", "c"]'),
            r"is for 3 classes on 8 features, but its head\S+ has shape",
        ),
        (
            lambda t, m: [t.pop(name) for name in list(t) if name.startswith("head")],
            r"its head\S*.weight is missing; its shape must be \[",
        ),
        (
            lambda t, m: t.pop(next(name for name in t if not name.startswith("head"))),
            "names .* as its network, but its weights do not fit: tensors are not those of this .*: missing",
        ),
        (
            lambda t, m: m.update(network=json.dumps({**json.loads(m["network"]), "width": 16})),
            "names .* as its network, but its weights do not fit: .* of another shape",
        ),
    ],
)
def test_damaged_classifier_files_are_input_errors(saved, tmp_path, change, said):
    tensors, metadata = load_safetensors(saved[0])
    change(tensors, metadata)
    path = tmp_path / "changed.safetensors"
    save_safetensors(path, tensors, metadata)
    with pytest.raises(InputError, match=said) as raised:
        load_classifier(path)
    assert str(raised.value).startswith(str(path))


def test_invalid_images_raise(network):
    # Bypass the shape checker, which users do not have.
    with pytest.raises(ValueError, match="images have shape"):
        inspect.unwrap(LoadedClassifier.probabilities)(network, np.zeros((8, 8, 3), np.uint8))
