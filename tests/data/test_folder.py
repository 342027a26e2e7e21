"""Folders of images: their forms, their order, skipped files, and error messages."""

import os
import zlib

import numpy as np
import pytest
from PIL import Image

from sslax.data import open_dataset
from sslax.errors import InputError


@pytest.fixture
def tree(tmp_path):
    """tree("a/1.png", ...) writes images of 4 x 4 pixels, the k-th of red k, and gives the spec of their folder."""

    def write(*names, size=(4, 4)):
        for index, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, (index % 256, 0, 0)).save(path)
        return f"folder:{tmp_path}"

    return write


def _fails(spec, *words, **options):
    with pytest.raises(InputError) as error:
        open_dataset(spec, **options)
    message = str(error.value)
    assert message.startswith(f"data={spec!r}")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_class_folders_with_a_split_held_out(tree):
    spec = tree(*[f"{name}/{index}.png" for name in ("cat", "dog") for index in range(10)])
    dataset = open_dataset(spec)
    assert dataset.name == spec
    assert dataset.classes == ("cat", "dog")
    assert np.bincount(dataset.train.labels).tolist() == [8, 8]
    assert np.bincount(dataset.test.labels).tolist() == [2, 2]
    assert set(dataset.train.names) | set(dataset.test.names) == {
        f"{n}/{i}.png" for n in ("cat", "dog") for i in range(10)
    }
    for split in (dataset.train, dataset.test):
        assert (split.images.dtype, split.labels.dtype, split.aspects.dtype) == (np.uint8, np.int32, np.float32)
        for image, label, name in zip(split.images, split.labels, split.names, strict=True):
            folder, number = name.removesuffix(".png").split("/")
            assert dataset.classes[label] == folder
            # The images of `tree` are numbered consecutively: cat 0 to 9, dog 10 to 19.
            assert (image == [10 * label + int(number), 0, 0]).all()
    assert dataset.notes == ("20% of each class is held out as the test split (split seed 0).",)
    assert open_dataset(spec, split_seed=1).test.names != dataset.test.names


def test_small_classes_are_in_both_splits_if_possible(tree):
    dataset = open_dataset(tree("one/1.png", "two/1.png", "two/2.png", "three/1.png", "three/2.png", "three/3.png"))
    assert dataset.classes == ("one", "three", "two")
    assert np.bincount(dataset.train.labels).tolist() == [1, 2, 1]
    assert np.bincount(dataset.test.labels, minlength=3).tolist() == [0, 1, 1]
    assert "Classes with only one image keep it in the train split: one." in dataset.notes


def test_classes_of_one_image_only_give_no_test_split(tree):
    dataset = open_dataset(tree("a/1.png", "b/1.png"))
    assert dataset.test is None
    assert dataset.train.labels.tolist() == [0, 1]
    assert "no test split" in " ".join(dataset.notes)


def test_a_flat_folder_is_unlabelled(tree):
    dataset = open_dataset(tree("b.png", "a.PNG", "c.jpeg"))
    assert dataset.classes == ()
    assert dataset.train.labels is None
    assert dataset.test is None
    assert dataset.train.names == ("a.PNG", "b.png", "c.jpeg")
    assert dataset.train.images[:2, 0, 0, 0].tolist() == [1, 0]
    assert dataset.notes == ()


@pytest.mark.parametrize("test", ["test", "val", "validation", "Test"])
@pytest.mark.parametrize("labelled", [True, False])
def test_existing_splits_are_used(tree, test, labelled):
    inside = "dog/" if labelled else ""
    also = ["train/cat/9.png"] if labelled else []
    dataset = open_dataset(tree(f"train/{inside}1.png", f"{test}/{inside}2.png", f"train/{inside}3.png", *also))
    assert dataset.train.names == (*also, f"train/{inside}1.png", f"train/{inside}3.png")
    assert dataset.test.names == (f"{test}/{inside}2.png",)
    assert dataset.notes == (f"The test split is {test}/.",)
    if labelled:
        assert dataset.classes == ("cat", "dog")
        assert dataset.train.labels.tolist() == [0, 1, 1]
        assert dataset.test.labels.tolist() == [1]
    else:
        assert dataset.classes == ()
        assert dataset.test.labels is None


def test_test_is_preferred_to_val_unless_only_val_has_classes(tree):
    spec = tree("train/a/1.png", "val/a/2.png", "test/a/3.png")
    dataset = open_dataset(spec)
    assert dataset.test.names == ("test/a/3.png",)
    assert "val/ was not read." in dataset.notes


def test_labelled_val_is_preferred_to_unlabelled_test(tree):
    dataset = open_dataset(tree("train/a/1.png", "val/a/2.png", "test/3.png"))
    assert dataset.test.names == ("val/a/2.png",)
    assert "test/ was not read." in dataset.notes


def test_train_alone_is_split(tree):
    dataset = open_dataset(tree(*[f"train/a/{index}.png" for index in range(5)]))
    assert (len(dataset.train), len(dataset.test)) == (4, 1)
    assert dataset.train.names[0].startswith("train/a/")


def test_deeper_files_belong_to_their_top_folder(tree):
    dataset = open_dataset(tree("a/x/y/1.png", "a/x.png", "b/0/1.png", "b/2.png", "train_it/1.png"), limit=9)
    assert dataset.classes == ("a", "b", "train_it")
    labels = dict(
        zip(dataset.train.names + dataset.test.names, [*dataset.train.labels, *dataset.test.labels], strict=True)
    )
    assert labels == {"a/x/y/1.png": 0, "a/x.png": 0, "b/0/1.png": 1, "b/2.png": 1, "train_it/1.png": 2}


def test_order_is_by_name_and_independent_of_the_file_system(tree, monkeypatch):
    spec = tree(
        *[f"{name}/{index}.png" for name in ("a", "a-b", "B") for index in range(7)], "a/sub/1.png", "a/sub-1.png"
    )
    first, second = open_dataset(spec), open_dataset(spec)
    scandir = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: sorted(scandir(path), key=lambda entry: entry.name[::-1], reverse=True)
    )
    for other in (second, open_dataset(spec)):
        for split, of in ((first.train, other.train), (first.test, other.test)):
            assert split.names == of.names
            np.testing.assert_array_equal(split.images, of.images)
            np.testing.assert_array_equal(split.labels, of.labels)
            np.testing.assert_array_equal(split.aspects, of.aspects)
    assert first.classes == ("B", "a", "a-b")
    assert list(first.train.names) == sorted(first.train.names, key=lambda name: name.split("/"))


def test_order_is_folder_by_folder(tree):
    dataset = open_dataset(tree("train/a-b/1.png", "train/a/sub-1.png", "train/a/sub/1.png", "test/a/1.png"))
    assert dataset.train.names == ("train/a/sub/1.png", "train/a/sub-1.png", "train/a-b/1.png")
    assert dataset.train.images[:, 0, 0, 0].tolist() == [2, 1, 0]
    assert dataset.train.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("canvas", [16, 100])
def test_canvas_and_aspect(tmp_path, canvas):
    rng = np.random.default_rng(0)
    sizes = [(40, 20), (20, 40), (33, 32)]
    images = [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]
    for index, image in enumerate(images):
        image.save(tmp_path / f"{index}.png")
    dataset = open_dataset(f"folder:{tmp_path}", canvas=canvas)
    expected = [np.asarray(image.resize((canvas, canvas), Image.Resampling.BICUBIC)) for image in images]
    np.testing.assert_array_equal(dataset.train.images, expected)
    np.testing.assert_allclose(dataset.train.aspects, [2, 0.5, 33 / 32], rtol=1e-6)
    assert dataset.notes == ()


def test_the_default_canvas_is_noted(tree, tmp_path):
    spec = tree("a.png", "b.png", size=(6, 6))
    assert open_dataset(spec).train.images.shape == (2, 6, 6, 3)
    tree("c.png", size=(6, 5))
    dataset = open_dataset(spec)
    assert dataset.train.images.shape == (3, 256, 256, 3)
    assert "squashed to 256 x 256" in dataset.notes[0]
    assert "--canvas" in dataset.notes[0]


def test_limit_is_balanced_and_comes_before_decoding(tree, tmp_path):
    spec = tree(*[f"train/{name}/{index}.png" for name in "abc" for index in range(5)], "train/d/0.png", "test/b/0.png")
    (tmp_path / "train/a/4.png").write_bytes(b"")  # Never read.
    done = []
    dataset = open_dataset(spec, limit=9, progress=lambda now, total: done.append((now, total)))
    assert np.bincount(dataset.train.labels).tolist() == [3, 3, 2, 1]
    assert dataset.train.names[:3] == ("train/a/0.png", "train/a/1.png", "train/a/2.png")
    assert len(dataset.test) == 1
    assert done == [(10, 10)]
    assert len(open_dataset(spec, limit=2).train) == 2
    assert "The limit left 2 of 4 classes without a training image." in open_dataset(spec, limit=2).notes


def test_limit_of_unlabelled_images(tree):
    assert open_dataset(tree("a.png", "b.png", "c.png"), limit=2).train.names == ("a.png", "b.png")


def test_ignored_files_are_counted(tree, tmp_path):
    spec = tree("a/1.png", "a/2.png", "a/.hidden.png", ".thumbs/1.png")
    for name in ("a/notes.txt", "a/more.TXT", "README"):
        (tmp_path / name).write_text("text")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "a" / "pipe.png")
    dataset = open_dataset(spec)
    assert sorted(dataset.train.names + dataset.test.names) == ["a/1.png", "a/2.png"]
    notes = " ".join(dataset.notes)
    assert "6 other files or folders were ignored (" in notes
    for kind in ("2 hidden", "2 .txt", "1 no extension", "1 .png"):
        assert kind in notes
    assert "Folders without images do not count as classes: empty/." in notes


def test_links_are_followed_and_circles_end(tree, tmp_path):
    spec = tree("data/a/1.png", "data/b/1.png", "elsewhere/2.png", "elsewhere/deep/3.png")
    spec = f"{spec}/data"
    data = tmp_path / "data"
    (data / "a" / "linked.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    (data / "c").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for place in ("a/up", "b/self", "loop"):
        (data / place).symlink_to(data, target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere" / "deep", target_is_directory=True)
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (data / "a" / "endless").symlink_to(data / "a" / "endless")
    dataset = open_dataset(spec)
    names = dataset.train.names + dataset.test.names
    assert sorted(names) == ["a/1.png", "a/linked.png", "b/1.png", "c/2.png", "c/back/3.png"]
    assert "5 links to folders already read were not followed." in dataset.notes


def _hundred(tree, tmp_path, bad):
    spec = tree(*[f"{name}/{index:02d}.png" for name in "ab" for index in range(50)])
    contents = [b"", b"not an image", (tmp_path / "a" / "00.png").read_bytes()[:-30]]
    for index, name in enumerate(bad):
        (tmp_path / name).write_bytes(contents[index % 3])
    return spec


def test_one_unreadable_file_in_a_hundred_is_named_and_skipped(tree, tmp_path):
    for bad in ("a/07.png", "b/49.png"):
        spec = _hundred(tree, tmp_path, [bad])
        dataset = open_dataset(spec)
        assert len(dataset.train) + len(dataset.test) == 99
        assert bad not in dataset.train.names + dataset.test.names
        assert f"1 of 100 image files cannot be decoded and were skipped: '{bad}' (empty file)." in dataset.notes
        for split in (dataset.train, dataset.test):
            for image, label, name in zip(split.images, split.labels, split.names, strict=True):
                assert image[0, 0, 0] == 50 * label + int(name[2:4])


def test_a_truncated_jpeg_among_good_ones(tree, tmp_path):
    spec = tree(*[f"{index:03d}.jpg" for index in range(100)], size=(64, 64))
    path = tmp_path / "042.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    dataset = open_dataset(spec)
    assert len(dataset.train) == 99
    assert "042.jpg" not in dataset.train.names
    assert "1 of 100" in dataset.notes[0]
    assert "'042.jpg' (image file is truncated" in dataset.notes[0]


def test_more_unreadable_files_raise_unless_allowed(tree, tmp_path):
    bad = [f"a/{index:02d}.png" for index in range(7)]
    spec = _hundred(tree, tmp_path, bad)
    _fails(
        spec,
        "7 of 100",
        "1%",
        "'a/00.png' (empty file)",
        "'a/01.png' (not an image)",
        "and 2 more",
        "--allow-unreadable",
    )
    dataset = open_dataset(spec, allow_unreadable=True)
    assert len(dataset.train) + len(dataset.test) == 93
    assert "7 of 100" in dataset.notes[-1]
    assert np.bincount(np.concatenate([dataset.train.labels, dataset.test.labels])).tolist() == [43, 50]


def test_a_pixel_bomb_is_unreadable_and_silent(tree, tmp_path):
    spec = tree(*[f"{index:03d}.png" for index in range(100)])
    path = tmp_path / "003.png"
    content = bytearray(path.read_bytes())
    content[16:24] = (12_000).to_bytes(4, "big") * 2
    # The header's checksum covers its type and its fields.
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    assert "'003.png' (12000 x 12000 pixels" in open_dataset(spec).notes[0]


def test_nothing_readable(tree, tmp_path):
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    _fails(f"folder:{tmp_path}", "2 of 2", "'a.png' (empty file)", "intact", allow_unreadable=True)


def test_a_split_without_a_readable_image(tree, tmp_path):
    spec = tree("train/1.png", "train/2.png", "test/3.png")
    (tmp_path / "test/3.png").write_bytes(b"")
    _fails(spec, "no image of the test split", allow_unreadable=True)


def test_paths_that_cannot_be_opened(tree, tmp_path):
    tree("photos/1.png")
    _fails(f"folder:{tmp_path}/photo", "no such folder", f"did you mean '{tmp_path}/photos'?")
    _fails(f"folder:{tmp_path}/nothing/like/it", "no such folder", "give the folder")
    _fails(f"folder:{tmp_path}/photos/1.png", "a file, not a folder")
    (tmp_path / "empty").mkdir()
    _fails(f"folder:{tmp_path}/empty", "no image files", ".jpeg")
    (tmp_path / "empty" / "photo.nef").write_bytes(b"x")
    _fails(f"folder:{tmp_path}/empty", "no image files", "only 1 .nef", ".jpeg")


def test_home_is_expanded(tree, tmp_path, monkeypatch):
    tree("photos/1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_dataset("folder:~/photos").train.names == ("1.png",)


def test_errors_show_relative_paths_as_absolute(tree, tmp_path, monkeypatch):
    tree("photos/1.png")
    monkeypatch.chdir(tmp_path)
    _fails("folder:photo", f"no such folder as {tmp_path}/photo;", "did you mean 'photos'?")
    _fails("folder:photos/1.png", f"{tmp_path}/photos/1.png is a file, not a folder")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["test/a/1.png", "other/1.png"], ["'test'", "no folder 'train'"]),
        (
            ["train/a/1.png", "test/b/1.png"],
            ["test/ has classes that the train split lacks (b)", "must also be a train class"],
        ),
        (["train/a/1.png", "test/1.png"], ["the train split has class folders but test/ has none", "same form"]),
        (["train/1.png", "test/a/1.png"], ["test/ has class folders but the train split has none", "same form"]),
        (["a/1.png", "preview.png"], ["both images ('preview.png')", "('a/1.png')", "move"]),
        (["bus/1.png", "train/1.png"], ["'train' may be a split or, like 'bus', a class", "move"]),
        (["train/a/1.png", "Train/a/1.png"], ["both 'Train' and 'train'", "keep one"]),
    ],
)
def test_forms_that_cannot_be_read(tree, names, words):
    _fails(tree(*names), *words)


def test_an_empty_split(tree, tmp_path):
    (tmp_path / "test").mkdir()
    _fails(tree("train/1.png"), "test/ holds no image files")


def test_folders_beside_the_splits_are_named(tree):
    dataset = open_dataset(tree("train/a/1.png", "train/a/2.png", "extra/1.png", "preview.png"))
    assert dataset.classes == ("a",)
    assert "Only the splits' folders were read, not extra/, preview.png beside them." in dataset.notes


def test_one_folder_too_high(tree, tmp_path):
    _fails(tree("birds/train/a/1.png", "birds/test/a/1.png"), f"'folder:{tmp_path}/birds'")


def test_too_little_memory(tree, monkeypatch):
    spec = tree("a.png", "b.png")
    monkeypatch.setattr(os, "sysconf", lambda name: 1)
    _fails(spec, "2 images need 0.1 GiB", "--canvas", canvas=4096)


def test_names_that_are_not_unicode_can_be_printed(tree, tmp_path):
    spec = tree("a/1.png", "a/2.png")
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    except OSError:
        pytest.skip("the file system takes Unicode names only")
    notes = open_dataset(spec).notes
    assert "\\udcff/" in notes[-1]
    "".join(notes).encode()
