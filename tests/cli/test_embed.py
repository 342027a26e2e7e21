"""Embedding folders: contents of the file, stopping and resuming to the same bytes, unreadable images, and search."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import sslax
from sslax.cli import embed, patches, search, terminal
from sslax.data import open_dataset
from tests import compilation, tiny
from tests.cli import finished
from tests.data.photographs import encoded, scene


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    finished.make(path)
    return path


@pytest.fixture(scope="module")
def vit_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "vit"
    finished.make(path, network=dataclasses.replace(tiny.NETWORKS["dino"], registers=2))
    return path


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of eight images instead of hundreds."""
    monkeypatch.setattr(embed, "_MOST_IMAGES", 8)


@pytest.fixture(scope="module", autouse=True)
def opened_once():
    """Each run is loaded once, so that all commands share its compiled programs, which take longer than these images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "open_network", functools.cache(embed.open_network))
        patch.setattr(patches, "joint", functools.cache(patches.joint))
        yield


def photos(path, count=10, shape=(8, 8)):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (*shape, 3), np.uint8)).save(path / name / f"{i:03d}.png")
    return path


def run(run_dir, out, **options):
    return terminal.exit_code(lambda: embed.run(embed.Options(run=str(run_dir), out=str(out), **options)))


def contents(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_features_names_and_labels_of_a_folder(run_dir, tmp_path, capsys):
    folder = photos(tmp_path / "photos")
    out = tmp_path / "features.npz"
    assert run(run_dir, out, data=f"folder:{folder}") == terminal.DONE
    data = open_dataset(f"folder:{folder}", canvas=8)
    found = contents(out)
    assert found["names"].tolist() == [*data.train.names, *data.test.names]
    assert found["split"].tolist() == ["train"] * 16 + ["test"] * 4
    assert [found["classes"][label] for label in found["labels"]] == [name.split("/")[0] for name in found["names"]]
    network = sslax.load(run_dir)
    expected = network(np.concatenate([data.train.images, data.test.images]))
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)
    assert found["features"].dtype == np.float32
    metadata = json.loads(str(found["metadata"]))
    assert (metadata["method"], metadata["step"], metadata["images"]) == ("simclr", 4, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.npz", "photos"]

    before = out.stat().st_mtime_ns
    assert run(run_dir, out, data=f"folder:{folder}") == terminal.DONE
    assert "already" in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before


def test_unlabelled_images_and_the_images_of_the_run(run_dir, tmp_path):
    folder = photos(tmp_path / "photos", shape=(9, 12)) / "cat"
    assert run(run_dir, tmp_path / "cats.npz", data=f"folder:{folder}") == terminal.DONE
    assert set(contents(tmp_path / "cats.npz")) == {"features", "names", "split", "metadata"}
    # The run has a limit of 64 per split; the command's limit overrides it.
    assert run(run_dir, tmp_path / "own.npz") == terminal.DONE
    assert len(contents(tmp_path / "own.npz")["features"]) == 128
    assert run(run_dir, tmp_path / "few.npz", limit=3) == terminal.DONE
    assert contents(tmp_path / "few.npz")["names"].shape == (6,)


def test_photographs_are_read_with_the_settings_of_the_run(run_dir, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for orientation in range(1, 9):
        (folder / f"{orientation}.jpg").write_bytes(encoded(scene(), orientation))
    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(folder / "clear.png")
    out, data = tmp_path / "f.npz", f"folder:{folder}"
    assert run(run_dir, out, data=data, search=str(folder / "6.jpg")) == terminal.DONE
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "7 images were turned upright by their EXIF orientation; 1 image with transparency was laid over white." in said
    )
    upright = contents(out)["features"]
    np.testing.assert_allclose(upright[1:8], np.broadcast_to(upright[0], (7, len(upright[0]))), atol=0.05)
    np.testing.assert_allclose(
        sslax.load(run_dir)([folder / "8.jpg", str(folder / "clear.png")]), upright[7:], atol=1e-5
    )

    # Different pixels give different features, so the existing file must not be reused.
    assert run(run_dir, out, data=data, exif=False, background="0,0,0") == terminal.DONE
    said = " ".join(capsys.readouterr().out.split())
    assert "exists with other content" in said
    assert "1 image with transparency was laid over the colour 0,0,0." in said
    assert "upright" not in said
    lying = contents(out)["features"]
    np.testing.assert_array_equal(lying[0], upright[0])
    assert (np.abs(lying[5:] - upright[5:]).max(1) > 0.01).all()

    assert run(run_dir, out, data=data, background="white") == terminal.INPUT
    assert "background is white; it must be R,G,B" in capsys.readouterr().err


def test_a_tilde_works_in_every_path(run_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    photos(tmp_path / "photos", count=2)
    (tmp_path / "run").symlink_to(run_dir)
    assert run("~/run", "~/f.npz", data="folder:~/photos", search="~/photos/cat/000.png") == terminal.DONE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "f.search.png", "photos", "run"]
    assert sslax.load("~/run").data["canvas"] == 8


def test_image_names_of_any_kind_are_stored_but_never_used_as_paths(run_dir, tmp_path, monkeypatch):
    folder, work = tmp_path / "photos", tmp_path / "work"
    work.mkdir()
    classes = ["up\\..\\..", "%2e%2e%2fup", "<script>alert(1)<", "$(touch up)", "new\nline", "-rf"]
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (8, 8)).save(folder / name / f"'; touch up {index}.png")
    monkeypatch.chdir(work)
    assert run(run_dir, work / "features.npz", data=f"folder:{folder}") == terminal.DONE
    found = contents(work / "features.npz")
    assert sorted(found["classes"]) == sorted(classes)
    assert {name.rpartition("/")[0] for name in found["names"].tolist()} == set(classes)
    assert [path.name for path in work.iterdir()] == ["features.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "work"]


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_a_stopped_and_resumed_command_gives_the_same_bytes(run_dir, tmp_path, monkeypatch, capsys, ending):
    folder = photos(tmp_path / "photos", shape=(9, 12))
    (folder / "cat" / "005.png").write_bytes(b"no image")
    options = {"data": f"folder:{folder}", "allow_unreadable": True}
    straight, stopped = tmp_path / f"straight.{ending}", tmp_path / f"stopped.{ending}"
    assert run(run_dir, straight, **options) == terminal.DONE
    stopped.write_bytes(b"what was there before")

    saved = []

    class Stopping(embed.Partial):
        def save(self, *arguments):
            super().save(*arguments)
            saved.append(arguments[0])
            if len(saved) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)

    monkeypatch.setattr(embed, "Partial", Stopping)
    assert run(run_dir, stopped, **options) == terminal.INTERRUPTED
    said = capsys.readouterr()
    assert "Run the same command again" in said.err
    assert stopped.read_bytes() == b"what was there before"
    assert 1 <= len(saved) < 3
    # A command with other options refuses the partial work.
    assert run(run_dir, stopped, **options, limit=3) == terminal.INPUT
    assert (
        f"{stopped.name}.partial holds the partial work of another command (images: 20 there" in capsys.readouterr().err
    )

    assert run(run_dir, stopped, **options) == terminal.DONE
    said = capsys.readouterr().out
    assert "Going on after" in said
    assert "1 of 20 image files cannot be decoded and were skipped: 'cat/005.png' (not an image)" in said
    assert sorted(saved) == [0, 1, 2]
    assert stopped.read_bytes() == straight.read_bytes()
    assert not (tmp_path / f"{stopped.name}.partial").exists()


def test_parquet_has_a_row_per_image(run_dir, tmp_path):
    import pyarrow.parquet as pq

    folder = photos(tmp_path / "photos")
    for ending in ("npz", "parquet"):
        assert run(run_dir, tmp_path / f"f.{ending}", data=f"folder:{folder}") == terminal.DONE
    table, arrays = pq.read_table(tmp_path / "f.parquet"), contents(tmp_path / "f.npz")
    assert table.column_names == ["name", "split", "label", "class", "features"]
    assert table["name"].to_pylist() == arrays["names"].tolist()
    assert table["split"].to_pylist() == arrays["split"].tolist()
    assert table["label"].to_pylist() == arrays["labels"].tolist()
    assert table["class"].to_pylist() == arrays["classes"][arrays["labels"]].tolist()
    np.testing.assert_array_equal(np.array(table["features"].to_pylist(), np.float32), arrays["features"])


def test_more_than_one_per_cent_unreadable_files_is_an_error(run_dir, tmp_path, capsys):
    folder = photos(tmp_path / "photos")
    (folder / "dog" / "002.png").write_bytes(b"")
    options = {"data": f"folder:{folder}"}
    assert run(run_dir, tmp_path / "f.npz", **options) == terminal.INPUT
    said = capsys.readouterr().err
    assert "1 of 20 image files cannot be decoded, more than 1%: 'dog/002.png' (empty file)" in said
    assert "--allow-unreadable" in said
    assert not (tmp_path / "f.npz").exists()
    assert run(run_dir, tmp_path / "f.npz", **options, allow_unreadable=True) == terminal.DONE
    found = contents(tmp_path / "f.npz")
    assert len(found["features"]) == 19
    assert [found["classes"][label] for label in found["labels"]] == [name.split("/")[0] for name in found["names"]]
    assert "dog/002.png" not in found["names"]


def test_search_finds_a_copy_but_not_the_query_file_itself(run_dir, tmp_path, capsys):
    folder = photos(tmp_path / "photos", shape=(8, 8))
    (tmp_path / "query.png").write_bytes((folder / "dog" / "003.png").read_bytes())
    out = tmp_path / "f.npz"
    assert run(run_dir, out, data=f"folder:{folder}", search=str(tmp_path / "query.png")) == terminal.DONE
    lines = [line for line in capsys.readouterr().out.splitlines() if ".png" in line and "│" in line]
    assert len(lines) == 10
    assert "1.000" in lines[0]
    assert "dog/003.png" in lines[0]
    with Image.open(tmp_path / "f.search.png") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture)
    # The nearest image is beside the query; both are enlarged by integer factors.
    query = np.asarray(Image.open(tmp_path / "query.png")).repeat(16, axis=0).repeat(16, axis=1)
    assert any((pixels[12 : 12 + 128, x : x + 128] == query).all() for x in range(pixels.shape[1] - 128))

    before = out.stat().st_mtime_ns
    assert run(run_dir, out, data=f"folder:{folder}", search=str(folder / "dog" / "003.png")) == terminal.DONE
    said = capsys.readouterr().out
    assert "left out" in said
    assert not any("dog/003.png" in line for line in said.splitlines() if "│" in line)
    assert out.stat().st_mtime_ns == before


def test_names_that_are_not_unicode_are_escaped(run_dir, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in (b"a\xff.png", b"[red]b.png"):
        Image.new("RGB", (8, 8), (9, 9, 9)).save(folder / "x.png")
        os.rename(folder / "x.png", os.fsencode(folder) + b"/" + name)
    query = str(folder / "[red]b.png")
    for ending in ("npz", "parquet"):
        out = tmp_path / f"f.{ending}"
        assert run(run_dir, out, data=f"folder:{folder}", search=query) == terminal.DONE
        said = capsys.readouterr().out
        assert "a\\udcff.png" in said
        assert "nearest to [red]b.png" in said
    assert contents(tmp_path / "f.npz")["names"].tolist() == ["[red]b.png", "a\\udcff.png"]


def test_nearest_equals_sorting_all_cosines():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6)).astype(np.float32)
    features[7] = 0
    query = rng.normal(size=6).astype(np.float32)
    lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(query)
    cosines = features @ query / np.where(lengths > 0, lengths, 1)
    found = search.nearest(query, np.array_split(features, 7), 12)
    assert [row for row, _ in found] == np.argsort(-cosines)[:12].tolist()
    np.testing.assert_allclose([cosine for _, cosine in found], np.sort(cosines)[::-1][:12], atol=1e-6)
    assert search.nearest(query, [], 3) == []


def test_wrong_options_are_input_errors(run_dir, tmp_path, capsys, monkeypatch):
    (tmp_path / "taken.npz.partial").write_text("")
    (tmp_path / "others.npz.partial").mkdir()
    (tmp_path / "others.npz.partial" / "mine.txt").write_text("")
    (tmp_path / "text.png").write_text("no image")
    out = tmp_path / "f.npz"
    for options, said in [
        ({"out": tmp_path / "f.csv"}, "its name must end in .npz or .parquet"),
        ({"out": tmp_path / "none" / "f.npz"}, "there is no folder"),
        ({"out": tmp_path / "taken.npz"}, "taken.npz.partial is a file"),
        ({"out": tmp_path / "others.npz"}, "others.npz.partial exists and is not the partial work of sslax embed"),
        ({"out": out, "limit": 0}, "limit is 0; it must be at least 1"),
        ({"out": out, "data": "digitz"}, "did you mean 'digits'"),
        ({"out": out, "data": f"folder:{tmp_path / 'none'}"}, "there is no such folder"),
        ({"out": out, "search": str(tmp_path / "text.png")}, "cannot be read as an image: not an image"),
        ({"out": out, "search": str(tmp_path / "none.png")}, "cannot be read as an image: No such file"),
    ]:
        assert run(run_dir, **options) == terminal.INPUT
        error = capsys.readouterr().err.strip()
        assert said in error
        assert "\n" not in error
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(run_dir, tmp_path / "f.parquet") == terminal.INPUT
    assert 'pip install "pyarrow>=17"' in capsys.readouterr().err
    assert not out.exists()


def test_patch_features_and_the_place_of_each_patch(vit_dir, run_dir, tmp_path, capsys, monkeypatch):
    folder = photos(tmp_path / "photos", count=5, shape=(9, 12))
    (folder / "cat" / "001.png").write_bytes(b"no image")
    # One image without and one with a white pixel, in row 3 and column 9.
    pixels = np.zeros((9, 12, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "dog" / "000.png")
    pixels[3, 9] = 255
    Image.fromarray(pixels).save(folder / "dog" / "001.png")
    options = {"data": f"folder:{folder}", "allow_unreadable": True}
    out, half = tmp_path / "f.npz", tmp_path / "half.npz"
    assert run(vit_dir, out, **options, patches=True) == terminal.DONE
    found = contents(out)
    assert found["patches"].shape == (9, 4, 4, 8)
    assert found["patches"].dtype == found["boxes"].dtype == np.float32
    # The canvas has the side of the view, so the view is the whole height; a canvas of 8 pixels rounds the width to 6.
    np.testing.assert_allclose(found["boxes"], np.tile([0, 1 / 8, 1, 6 / 8], (9, 1)))
    names = found["names"].tolist()
    black, dotted = (found["patches"][names.index(f"dog/00{i}.png")] for i in range(2))
    change = np.linalg.norm(dotted - black, axis=-1)
    row, column = np.unravel_index(change.argmax(), change.shape)
    top, left, height, width = found["boxes"][0]
    assert top + height * row / 4 < 3.5 / 9 < top + height * (row + 1) / 4
    assert left + width * column / 4 < 9.5 / 12 < left + width * (column + 1) / 4
    network = sslax.load(vit_dir)
    expected = network([folder / name for name in names])
    np.testing.assert_allclose(found["features"], expected, atol=1e-4)

    # A file with patch features also serves a command without them, but not one with another type.
    half.write_bytes(out.read_bytes())
    capsys.readouterr()
    assert run(vit_dir, half, **options) == terminal.DONE
    assert "already holds" in capsys.readouterr().out
    with monkeypatch.context() as patched:
        patched.setattr(embed, "asked_to_stop", lambda: contextlib.nullcontext(lambda: True))
        assert run(vit_dir, half, **options, patches=True, patch_dtype="float16") == terminal.INTERRUPTED
    assert "exists with other content" in capsys.readouterr().out
    assert run(vit_dir, half, **options, patches=True, patch_dtype="float16") == terminal.DONE
    assert "Going on after 8 of 10 images" in capsys.readouterr().out
    np.testing.assert_array_equal(contents(half)["patches"], found["patches"].astype(np.float16))
    np.testing.assert_array_equal(contents(half)["features"], found["features"])

    for place, extra, said in [
        (
            run_dir,
            {"out": out, "patches": True},
            "but the network is a patch-resnet, which has no patch features; it must be a ViT.",
        ),
        (run_dir, {"out": "p.png", "pca": ("a.png",)}, "pca is a.png, but the network is a patch-resnet"),
        (vit_dir, {"out": tmp_path / "f.parquet", "patches": True}, "are written only to FILE.npz"),
        (vit_dir, {"out": out, "pca": ("a.png",)}, "its name must end in .png"),
        (vit_dir, {"out": out, "pca_size": 8}, "pca_size is 8, which needs pca"),
        (vit_dir, {"out": "p.png", "pca": ("a.png",)}, "pca has a.png, which cannot be read as an image: No such file"),
        (vit_dir, {"out": "p.png", "pca": ("a.png",), "limit": 3}, "limit is 3, but pca draws"),
        (vit_dir, {"out": "p.png", "pca": ("a.png",), "pca_size": 9}, "a multiple of the patch size, 2, from 2 to 128"),
    ]:
        assert run(place, **extra) == terminal.INPUT
        error = capsys.readouterr().err
        assert said in " ".join(error.split())


def test_the_picture_of_patch_features_shows_the_view_and_its_patches(vit_dir, tmp_path, capsys):
    # The left third is black, with a white patch at the bottom right of the central square.
    pixels = np.full((30, 60, 3), 128, np.uint8)
    pixels[:, :30] = 0
    pixels[15:, 37:] = 255
    files = []
    for i in range(4):
        files.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(np.roll(pixels, i, axis=0)).save(files[-1])
    out = tmp_path / "p.png"
    assert run(vit_dir, out, pca=tuple(files), pca_size=12) == terminal.DONE
    assert "Picture:" in capsys.readouterr().out
    with Image.open(out) as picture:
        shown = np.asarray(picture)
    # Six patches a side, 43 pixels each; three pairs in the first row and one in the second.
    side = 6 * 43
    assert shown.shape == (2 * side + 3 * 12, 3 * (2 * side + 3 * 12) + 12, 3)
    view, colours = shown[12 : 12 + side, 12 : 12 + side], shown[12 : 12 + side, 24 + side : 24 + 2 * side]
    assert (view[20:100, 20:100] < 20).all()
    assert (view[200:240, 225:250] > 235).all()
    squares = colours.reshape(6, 43, 6, 43, 3)
    assert (squares == squares[:, :1, :, :1]).all()
    assert len(np.unique(squares[:, 0, :, 0].reshape(-1, 3), axis=0)) > 6


def test_a_full_disk_is_one_sentence_and_the_work_can_resume(run_dir, tmp_path, capsys, monkeypatch):
    out = tmp_path / "f.npz"

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("numpy.save", full)
        assert run(run_dir, out, limit=4) == terminal.INPUT
    assert "f.npz.partial cannot be written to: No space left on device." in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr("zipfile.ZipFile.open", full)
        assert run(run_dir, out, limit=4) == terminal.INPUT
    assert f"out is {out}, which cannot be written: No space left on device." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz.partial"]
    assert run(run_dir, out, limit=4) == terminal.DONE
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]


@pytest.mark.slow
def test_ctrl_c_in_a_separate_process_saves_and_resumes(run_dir, tmp_path, monkeypatch, capsys):
    # Enough images that the signal arrives before the last one.
    folder = photos(tmp_path / "photos", count=1, shape=(160, 160))
    for name in ("cat", "dog"):
        for i in range(1, 1000):
            os.link(folder / name / "000.png", folder / name / f"{i:03d}.png")
    environment = compilation.environment()
    command = [sys.executable, "-m", "sslax", "embed", str(run_dir), "--data", f"folder:{folder}"]
    command += ["--out", str(tmp_path / "f.npz")]
    # A test suite started in the background ignores SIGINT, and child processes would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("f.npz.partial/chunk-*.npy")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "Run the same command again to go on." in said
    assert "Traceback" not in said
    assert not (tmp_path / "f.npz").exists()
    done = len(list(tmp_path.glob("f.npz.partial/chunk-*.npy")))
    # As many images at a time as that process took.
    monkeypatch.undo()
    assert run(run_dir, tmp_path / "f.npz", data=f"folder:{folder}") == terminal.DONE
    assert f"Going on after {500 * done:,} of 2,000 images." in capsys.readouterr().out
    assert contents(tmp_path / "f.npz")["features"].shape[0] == 2000
