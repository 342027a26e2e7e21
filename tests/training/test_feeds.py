"""Runs on streamed images: stopped and resumed runs, comparison with resident runs, and changed data."""

import dataclasses
import json
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from sslax.config import to_dict
from sslax.data import Dataset, LazyDataset, LazySplit
from sslax.errors import InputError
from sslax.runs import RunDir
from sslax.runs.run_dir import facts
from sslax.training import Interrupted, build, feed_of, fit, measure, open_images, pretrain, raw_pixels
from tests import tiny
from tests.data.images import write_folder
from tests.data.photographs import encoded, scene
from tests.training.test_training import same


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    spec = write_folder(tmp_path_factory.mktemp("images"), {"train/a": 32, "train/b": 32, "test/a": 16, "test/b": 16})
    return tiny.config(data=spec, canvas=8, feed="streamed")


def train(path, config, follow=lambda line: None):
    data = open_images(config)
    run = RunDir(path, to_dict(config))
    # As many images as tiny.dataset() has.
    return fit(config, tiny.alone(config), data, run, follow=follow), run


def lines(run):
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_s")} for line in run.metrics()]


@pytest.fixture(scope="module")
def straight(config, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "straight", config)


def test_streamed_stopped_killed_and_resumed_equals_uninterrupted(config, straight, tmp_path):
    class Killed(Exception):
        pass

    def kill(line):
        if line["step"] == 6:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "run", config, follow=kill)
    state, run = train(tmp_path / "run", config)
    assert same(state, straight[0])
    assert lines(run) == lines(straight[1])
    assert [line["step"] for line in lines(run)] == [2, 4, 6, 8, 10, 12]


def test_a_run_stopped_within_an_epoch_resumes_with_the_next_batch(config, straight, tmp_path):
    def stop(line):
        if line.get("step") == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="step 3 of 12"):
        train(tmp_path / "run", config, follow=stop)
    # The feed may change between the two parts, because the batches are the same.
    state, run = train(tmp_path / "run", dataclasses.replace(config, cache=str(tmp_path / "cache")))
    assert same(state, straight[0])
    assert lines(run) == lines(straight[1])


def test_the_resident_run_equals_the_streamed_run(config, straight, tmp_path):
    own = dataclasses.replace(config, feed="resident")
    data = open_images(own)
    assert isinstance(data, Dataset)
    assert feed_of(own, data, build(own, data).mesh) == "resident"
    state, run = train(tmp_path / "run", own)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(straight[0].params), strict=True):
        # These are two programs: Adam turns rounding differences of a nearly zero gradient into a full step.
        np.testing.assert_allclose(a, b, atol=1e-4)
    for ours, theirs in zip(lines(run), lines(straight[1]), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_accuracies_of_a_listed_set_equal_those_of_the_set_in_memory(config, monkeypatch):
    listed, data = open_images(config), open_images(dataclasses.replace(config, feed="resident"))
    assert isinstance(listed, LazyDataset)
    assert measure(raw_pixels, listed) == measure(raw_pixels, data)
    monkeypatch.setattr("sslax.training.quality.MOST", 10)
    read = []
    monkeypatch.setattr(LazySplit, "read", lambda self, index, of=LazySplit.read: read.extend(index) or of(self, index))
    # Fewer than 20 neighbours remain.
    assert set(measure(raw_pixels, listed)) == {"knn1"}
    assert len(read) == 20
    assert read[:10] == [0, 7, 14, 21, 28, 35, 42, 49, 56, 63]


def test_streamed_data_that_has_changed_since_the_run_began(tmp_path):
    spec = write_folder(tmp_path / "images", {"train/a": 16, "train/b": 16, "test/a": 2})
    config = tiny.config(data=spec, canvas=8, feed="streamed", epochs=1)
    RunDir(tmp_path / "run", to_dict(config)).begin(facts(open_images(config)))
    (tmp_path / "images" / "train" / "a" / "00.png").unlink()
    with pytest.raises(InputError, match=r"changed since this run began \(images: 32 there, 31 here\)"):
        train(tmp_path / "run", config)


def test_the_feed_decides_how_images_are_opened(config, tmp_path, monkeypatch):
    auto = dataclasses.replace(config, feed="auto")
    assert isinstance(open_images(auto), Dataset)
    monkeypatch.setattr("sslax.data.memory.host_memory", lambda: 10_000)
    assert isinstance(open_images(auto), LazyDataset)
    with pytest.raises(InputError, match=r"canvas is None, .* are streamed and .* --canvas 8, which fits the first"):
        open_images(dataclasses.replace(auto, canvas=None))
    with pytest.raises(
        InputError, match=r"feed is resident, but the images of folder:.* need 0\.0 MiB and only 0\.0 MiB"
    ):
        open_images(dataclasses.replace(auto, feed="resident"))
    with pytest.raises(InputError, match=r"cache is .*, but digits needs no decoding"):
        open_images(dataclasses.replace(auto, data="digits", cache=str(tmp_path)))
    with pytest.raises(InputError, match="but images are given"):
        pretrain(dataclasses.replace(auto, cache=str(tmp_path)), images=np.zeros((20, 8, 8, 3), np.uint8))
    cached = open_images(dataclasses.replace(auto, cache=str(tmp_path / "cache")))
    assert isinstance(cached, Dataset)
    assert feed_of(auto, cached, build(auto, cached).mesh) == "streamed"


def test_decoding_options_belong_to_a_run(config, tmp_path):
    run = RunDir(tmp_path / "run", to_dict(config))
    run.begin({"name": "x", "images": 1, "canvas": 8, "classes": []})
    with pytest.raises(InputError, match=r"another configuration .*exif: True there, False here"):
        RunDir(tmp_path / "run", to_dict(dataclasses.replace(config, exif=False)))
    with pytest.raises(InputError, match="background: 255,255,255 there, 0,0,0 here"):
        RunDir(tmp_path / "run", to_dict(dataclasses.replace(config, background="0,0,0")))
    # A run from before these options existed resumes, and so does its fine-tuning.
    fields = json.loads((tmp_path / "run" / "config.json").read_text())
    del fields["exif"], fields["background"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(fields))
    RunDir(tmp_path / "run", to_dict(config))
    (tmp_path / "run" / "config.json").write_text(json.dumps({"epochs": 3, "pretraining": fields}))
    RunDir(tmp_path / "run", {"epochs": 3, "pretraining": to_dict(config)})


def test_images_are_opened_with_the_configurations_options(config, tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(scene(), 6))
    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(tmp_path / "b.png")
    for exif, background, cache in ((True, "255,255,255", None), (False, "9,8,7", None), (False, "9,8,7", "cache")):
        told = {"exif": exif, "background": background, "cache": cache and str(tmp_path.with_name("cache"))}
        opened = open_images(dataclasses.replace(config, data=f"folder:{tmp_path}", canvas=8, feed="auto", **told))
        np.testing.assert_allclose(opened.train.aspects, [160 / 96 if exif else 96 / 160, 2], rtol=1e-6)
        assert opened.train.images[1, 0, 0].tolist() == [int(level) for level in background.split(",")]


def test_a_run_can_resume_with_another_feed():
    fields = to_dict(tiny.config(feed="resident", workers=3, cache="here"))
    assert fields == to_dict(tiny.config())
