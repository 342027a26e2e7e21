"""The functions that limit and split a set, and the errors of invalid requests."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslax.data import open_dataset
from sslax.data.dataset import hold_out, keep_first, limit_note
from sslax.errors import InputError

labels_of = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(lambda x: np.array(x, dtype=np.int32))


@given(labels_of, st.integers(1, 80))
def test_keep_first_is_balanced_and_keeps_the_first(labels, limit):
    kept = keep_first(labels, limit)
    assert len(kept) == min(limit, len(labels))
    assert (np.diff(kept) > 0).all()
    available = np.bincount(labels, minlength=7)
    taken = np.bincount(labels[kept], minlength=7)
    for label in range(7):
        # The first images of each class; a class that has more images gets at most one fewer than any other.
        assert np.flatnonzero(labels == label)[: taken[label]].tolist() == kept[labels[kept] == label].tolist()
        if taken[label] < available[label]:
            assert taken[label] >= taken.max() - 1


@pytest.mark.parametrize(
    ("counts", "limit", "expected"),
    [
        ([5, 5, 5], 6, [2, 2, 2]),
        ([5, 5, 5], 7, [3, 2, 2]),
        ([1, 9, 9], 9, [1, 4, 4]),
        ([1, 9, 2], 8, [1, 5, 2]),
        ([4, 4, 4], 2, [1, 1, 0]),
        ([2, 2], 100, [2, 2]),
        ([0, 3, 3], 2, [0, 1, 1]),
    ],
)
def test_keep_first_counts(counts, limit, expected):
    labels = np.repeat(np.arange(len(counts)), counts)
    assert np.bincount(labels[keep_first(labels, limit)], minlength=len(counts)).tolist() == expected


@given(labels_of, st.integers(0, 5))
def test_hold_out_is_stratified(labels, seed):
    names = [f"{index}.png" for index in range(len(labels))]
    train, test = hold_out(names, labels, seed)
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label, count in enumerate(np.bincount(labels)):
        expected = min(max(round(0.2 * count), 1), count - 1) if count else 0
        assert (labels[test] == label).sum() == expected
        assert (labels[train] == label).sum() == count - expected


def test_hold_out_depends_on_seed_and_names_only():
    names = [f"{index}.png" for index in range(100)]
    labels = np.zeros(100, dtype=np.int32)
    _, test = hold_out(names, labels, 0)
    # Stored values: if the split changed between versions, a resumed run would train on its test images.
    assert test[:6].tolist() == [1, 15, 16, 18, 20, 24]
    assert hold_out(names, labels, 0)[1].tolist() == test.tolist()
    assert hold_out(names, labels, 1)[1].tolist() != test.tolist()
    _, of_reversed = hold_out(names[::-1], labels, 0)
    assert {names[::-1][index] for index in of_reversed} == {names[index] for index in test}


def test_limit_note():
    assert limit_note(np.array([0, 0, 2]), ("a", "b", "c", "d")) == (
        "The limit left 2 of 4 classes without a training image."
    )
    assert limit_note(np.array([1, 0]), ("a", "b")) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spec": "digit"}, ["data='digit'", "did you mean 'digits'?", "--data", "folder:PATH"]),
        ({"spec": "folders:/x/y"}, ["data='folders:/x/y'", "did you mean 'folder:/x/y'?"]),
        ({"spec": "Folder:/x/y"}, ["data='Folder:/x/y'", "did you mean 'folder:/x/y'?"]),
        ({"spec": "xyzzy"}, ["data='xyzzy'", "digits or folder:PATH"]),
        ({"spec": ""}, ["data=''", "digits or folder:PATH"]),
        ({"spec": "folder"}, ["data='folder'", "--data folder:PATH"]),
        ({"spec": "folder:"}, ["data='folder:'", "--data folder:PATH"]),
        ({"spec": "digits:8"}, ["data='digits:8'", "--data digits."]),
        ({"spec": "digits", "canvas": 0}, ["canvas=0", "--canvas", "1 to 4096"]),
        ({"spec": "digits", "canvas": -8}, ["canvas=-8", "--canvas", "1 to 4096"]),
        ({"spec": "digits", "canvas": 4097}, ["canvas=4097", "--canvas", "1 to 4096"]),
        ({"spec": "digits", "limit": 0}, ["limit=0", "--limit", "at least 1"]),
        ({"spec": "digits", "limit": -1}, ["limit=-1", "--limit", "at least 1"]),
        ({"spec": "digits", "split_seed": -1}, ["split_seed=-1", "--split-seed", "0 or more"]),
    ],
)
def test_wrong_requests(arguments, words):
    with pytest.raises(InputError) as error:
        open_dataset(**arguments)
    for word in words:
        assert word in str(error.value)


def test_a_bare_path_gets_a_hint_with_its_prefix(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"did you mean 'folder:{tmp_path}'?")):
        open_dataset(str(tmp_path))
