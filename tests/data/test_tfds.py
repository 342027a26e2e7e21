"""Sets prepared by TensorFlow Datasets, which the tests write to disk, and errors of sets that cannot be opened."""

import importlib.util
import io
import shutil
import sys

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from sslax.data import LazyDataset, open_dataset, open_lazily
from sslax.data.known import KNOWN
from sslax.errors import InputError
from tests.data.photographs import encoded, scene

tfds = pytest.importorskip("tensorflow_datasets")

CLASSES = ("cat", "dog")
# Number -> stored file, for images that are not generated from their number.
KEPT: dict[int, bytes] = {}
SIZES = [(12, 12), (20, 12), (9, 30), (64, 48)]


def _encoded(index):
    """A distinct image, alternately JPEG or PNG, in one of four sizes."""
    if index in KEPT:
        return KEPT[index]
    width, height = SIZES[index % 4]
    rng = np.random.default_rng(index)
    pixels = rng.integers(0, 256, (height // 3, width // 3, 3), np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "png" if index % 3 == 0 else "jpeg")
    return buffer.getvalue()


# Split -> the images in it; "unlabelled" as in stl10, with labels of -1.
SPLITS = {"train": range(64), "validation": range(64, 80), "unlabelled": range(80, 90)}


def _prepare(folder, name, splits, *, label=True, config=None):
    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    if label:
        features["label"] = tfds.features.ClassLabel(names=CLASSES)

    def examples(split, indices):
        for index in indices:
            classed = {"label": -1 if split == "unlabelled" else index % 2} if label else {}
            yield index, {"image": io.BytesIO(_encoded(index)), **classed}

    members = {
        "VERSION": tfds.core.Version("1.0.0"),
        "name": name,
        "_info": lambda self: tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features)),
        "_split_generators": lambda self, manager: {s: examples(s, indices) for s, indices in splits.items()},
        "_generate_examples": lambda self: iter(()),
    }
    if config:
        members["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=config, version="1.0.0", description="one of two")]
    with tfds.core.registered.skip_registration():
        builder = type(name.title(), (tfds.core.GeneratorBasedBuilder,), members)
    builder(data_dir=str(folder), file_format="array_record").download_and_prepare()


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    _prepare(folder, "tiny", SPLITS)
    _prepare(folder, "plain", {"train": range(8)}, label=False)
    _prepare(folder, "alone", {"train": range(20)})
    for config in ("large", "small"):
        _prepare(folder, "several", {"train": range(2)}, config=config)
    return folder


@pytest.fixture(autouse=True)
def _there(sets, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(sets))


def _numbers(split):
    """The images that the records hold, identified by their stored bytes, because tfds shuffles when it prepares a set."""
    known = {_encoded(index): index for index in range(90)}
    return [known[split.fetch(position).file] for position in range(len(split))]


def test_a_set_and_its_folder_give_the_same_arrays(tmp_path):
    lazy = open_lazily("tfds:tiny", canvas=16)
    assert isinstance(lazy, LazyDataset)
    order = {"train": _numbers(lazy.train), "val": _numbers(lazy.test)}
    assert sorted(order["train"]) == list(range(64))
    assert sorted(order["val"]) == list(range(64, 80))
    for split, numbers in order.items():
        for label in range(2):
            (tmp_path / split / CLASSES[label]).mkdir(parents=True)
        for number in numbers:
            (tmp_path / split / CLASSES[number % 2] / f"{number:02d}.jpg").write_bytes(_encoded(number))

    ours, theirs = open_dataset("tfds:tiny", canvas=16), open_dataset(f"folder:{tmp_path}", canvas=16)
    assert ours.classes == theirs.classes == CLASSES
    assert ours.notes == ("The test split is validation.",)
    for a, b, numbers in ((ours.train, theirs.train, order["train"]), (ours.test, theirs.test, order["val"])):
        place = {int(name.rpartition("/")[2][:2]): index for index, name in enumerate(b.names)}
        index = [place[number] for number in numbers]
        np.testing.assert_array_equal(a.images, b.images[index])
        np.testing.assert_array_equal(a.aspects, b.aspects[index])
        np.testing.assert_array_equal(a.labels, b.labels[index])
    assert ours.train.names[:2] == ("train/00000000", "train/00000001")
    # They are also the same when read one by one.
    some = np.array([5, 0, 63])
    for whole, single in zip(ours.train.read(some), lazy.train.read(some), strict=True):
        np.testing.assert_array_equal(whole, single)


def test_photographs_are_turned_upright(sets, monkeypatch):
    image = scene()
    for orientation in range(1, 9):
        monkeypatch.setitem(KEPT, 100 + orientation, encoded(image, orientation))
    _prepare(sets, "turned", {"train": range(101, 109)}, label=False)
    data = open_dataset("tfds:turned", canvas=16)
    assert data.notes == ("7 images were turned upright by their EXIF orientation.",)
    np.testing.assert_allclose(data.train.aspects, 160 / 96, rtol=1e-6)
    assert np.abs(data.train.images.astype(int) - data.train.images[0]).mean() < 1
    lazy = open_lazily("tfds:turned", canvas=16, exif=False).train.read(np.arange(8))
    assert sorted(lazy.aspects < 1) == [False] * 4 + [True] * 4


def test_other_training_splits():
    data = open_dataset("tfds:tiny:unlabelled", canvas=8)
    assert (len(data.train), data.train.labels, data.classes) == (10, None, ())
    assert data.test.labels is not None
    assert "The images of unlabelled have no labels." in data.notes
    assert len(open_dataset("tfds:tiny:train[:25%]", canvas=8).train) == 16
    mixed = open_dataset("tfds:tiny:train+unlabelled", canvas=8)
    assert (len(mixed.train), mixed.train.labels) == (74, None)


def test_sets_without_labels_or_without_a_test_split():
    plain = open_dataset("tfds:plain", canvas=8)
    assert (len(plain.train), plain.train.labels, plain.test, plain.classes) == (8, None, None, ())
    alone = open_dataset("tfds:alone", canvas=8)
    assert (np.bincount(alone.train.labels).tolist(), np.bincount(alone.test.labels).tolist()) == ([8, 8], [2, 2])
    assert not set(alone.train.names) & set(alone.test.names)
    assert open_dataset("tfds:alone", canvas=8, split_seed=1).test.names != alone.test.names


def test_limit_takes_the_same_number_of_each_class():
    whole, data = open_dataset("tfds:tiny", canvas=8), open_dataset("tfds:tiny", canvas=8, limit=6)
    assert np.bincount(data.train.labels).tolist() == np.bincount(data.test.labels).tolist() == [3, 3]
    place = {name: index for index, name in enumerate(whole.train.names)}
    np.testing.assert_array_equal(data.train.images, whole.train.images[[place[name] for name in data.train.names]])


def test_a_configuration_by_name():
    assert len(open_dataset("tfds:several/small", canvas=8).train) == 2


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("tfds:", ["does not say where the images are", "--data tfds:NAME"]),
        ("tfds:tinny", ["has no 'tinny'", "did you mean tiny"]),
        ("tfds:cifar11", ["has no 'cifar11'", "cifar10"]),
        ("tfds:xyzzyxyzzy", ["has no 'xyzzyxyzzy'", "holds alone, plain, several, tiny"]),
        ("tfds:tiny:test", ["no split 'test'", "it has", "train", "validation", "unlabelled"]),
        ("tfds:tiny:train+tets[:3]", ["no split 'tets'", "validation"]),
        ("tfds:several", ["several configurations", "tfds:several/large or tfds:several/small"]),
        ("tfds:imagenette/320", ["imagenette has no configuration '320'", "320px-v2"]),
        ("tfds:tiny:train[:x]", ["'train[:x]' cannot be read"]),
    ],
)
def test_sets_that_cannot_be_opened(spec, words):
    with pytest.raises(InputError) as error:
        open_lazily(spec)
    message = str(error.value)
    assert message.startswith(f"data={spec!r}")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is there and would download")
def test_a_set_that_is_not_prepared_needs_tensorflow(sets):
    with pytest.raises(InputError) as error:
        open_lazily("tfds:stl10:unlabelled")
    assert str(error.value) == (
        f"data='tfds:stl10:unlabelled': STL-10 (5,000 training images of 10 classes and 100,000 unlabelled ones) is not "
        f"prepared in {sets}, and preparing it needs TensorFlow: pip install tensorflow-cpu (the extra tfds-prepare), then "
        'python -c "import tensorflow_datasets as tfds; '
        "tfds.builder('stl10', file_format='array_record').download_and_prepare()\"."
    )


def test_a_split_can_be_sent_to_another_process():
    split = open_lazily("tfds:tiny", canvas=8, limit=20).train
    sent = cloudpickle.loads(cloudpickle.dumps(split))
    for ours, theirs in zip(sent.read(np.arange(20)), split.read(np.arange(20)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_sets_prepared_in_another_format(sets, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    shutil.copytree(sets / "tiny", tmp_path / "tiny")
    info = tmp_path / "tiny" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"fileFormat": "array_record"', '"fileFormat": "tfrecord"'))
    for records in info.parent.glob("*array_record*"):
        records.rename(str(records).replace("array_record", "tfrecord"))
    with pytest.raises(
        InputError, match=r"split 'train' cannot be read from .*; the set must be prepared as array_record"
    ):
        open_lazily("tfds:tiny")
    info.write_text("{")
    with pytest.raises(InputError, match=r"1\.0\.0 cannot be read \(.*\); prepare the set again"):
        open_lazily("tfds:tiny")


def test_without_tfds_the_error_has_an_install_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(
        InputError, match=r"pip install tensorflow-datasets array-record importlib-resources \(the extra tfds"
    ):
        open_lazily("tfds:tiny")


def test_known_sets_have_tfds_names():
    there = tfds.list_builders(with_community_datasets=False)
    # tfds does not have Tiny ImageNet; users prepare it themselves.
    assert set(KNOWN) - set(there) == {"tiny_imagenet"}
    assert all(0 < value < 1 for known in KNOWN.values() for value in (*known.mean, *known.std))
