"""scikit-learn's digits as a source."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from sslax.data import open_dataset


def _number(name):
    return int(name.removeprefix("digits/"))


def test_digits_are_scikit_learns():
    values, digits = load_digits(return_X_y=True)
    dataset = open_dataset("digits")
    assert dataset.name == "digits"
    assert dataset.classes == tuple("0123456789")
    for split in (dataset.train, dataset.test):
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), 8, 8, 3)
        assert split.labels.dtype == np.int32
        assert split.aspects.dtype == np.float32
        assert (split.aspects == 1).all()
        of = [_number(name) for name in split.names]
        np.testing.assert_array_equal(split.labels, digits[of])
        expected = np.rint(values[of].reshape(-1, 8, 8) / 16 * 255)
        np.testing.assert_array_equal(split.images, np.repeat(expected[..., None], 3, axis=3))
        assert split.images.max() == 255


def test_split_is_stratified_disjoint_and_reproducible():
    dataset, again, other = open_dataset("digits"), open_dataset("digits"), open_dataset("digits", split_seed=1)
    names = dataset.train.names + dataset.test.names
    assert sorted(names) == [f"digits/{index:04d}" for index in range(1797)]
    for label in range(10):
        train, test = (np.sum(split.labels == label) for split in (dataset.train, dataset.test))
        assert test == round(0.2 * (train + test))
    assert again.test.names == dataset.test.names
    np.testing.assert_array_equal(again.train.images, dataset.train.images)
    assert other.test.names != dataset.test.names
    assert dataset.notes == ("20% of each class is held out as the test split (split seed 0).",)
    assert "split seed 1" in other.notes[0]


def test_canvas_enlarges_bicubically():
    small, large = open_dataset("digits", limit=20), open_dataset("digits", limit=20, canvas=16)
    assert large.train.images.shape == (20, 16, 16, 3)
    for image, canvas in zip(small.train.images, large.train.images, strict=True):
        expected = Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(canvas, np.asarray(expected))
    np.testing.assert_array_equal(open_dataset("digits", limit=20, canvas=8).train.images, small.train.images)


def test_limit_is_balanced_in_both_splits():
    whole, dataset = open_dataset("digits"), open_dataset("digits", limit=25)
    for split, of in ((dataset.train, whole.train), (dataset.test, whole.test)):
        assert np.bincount(split.labels).tolist() == [3] * 5 + [2] * 5
        for label in range(10):
            first = [name for name, other in zip(of.names, of.labels, strict=True) if other == label]
            kept = [name for name, other in zip(split.names, split.labels, strict=True) if other == label]
            assert kept == first[: len(kept)]
    assert len(dataset.notes) == 1
    assert "7 of 10 classes without" in open_dataset("digits", limit=3).notes[1]
