"""The resident and the streamed feed: the same images in the same order, and the transfers between devices."""

import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sslax.data import Split, open_dataset, open_lazily
from sslax.data.feed import Resident, epoch_order, resident, take
from sslax.data.memory import RESIDENT_SHARE, choose_feed, device_memory, host_memory
from sslax.data.stream import Once, read_batches, stream
from sslax.errors import InputError
from sslax.training import data_mesh
from tests.data.images import write_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]
N, BATCH = 61, 16
STEPS = N // BATCH


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    # Alternately square and twice as wide, so that the aspect identifies the image.
    counts = {"train/a": 31, "train/b": 30, "test/a": 2, "test/b": 2}
    return write_folder(tmp_path_factory.mktemp("images"), counts, sides=((8, 8), (12, 6)))


@pytest.fixture(scope="module")
def split(spec):
    return open_dataset(spec, canvas=8).train


@pytest.fixture(scope="module")
def taker():
    return jax.jit(lambda data, index: take(data, index, data_mesh()))


def test_a_sharded_set_gives_the_same_images(split, taker):
    mesh = data_mesh()
    data = resident(split.images, split.aspects, split.labels, mesh)
    # 61 images on 8 devices: 8 on each, and 5 on the last.
    assert {part.data.shape for part in data.images.addressable_shards} == {(8, 8, 8, 3)}
    index = epoch_order(jax.random.key(0), 0, N)[:BATCH]
    batch = taker(data, index)
    one = data_mesh(jax.devices()[:1])
    alone = resident(split.images, split.aspects, split.labels, one)
    on_one = jax.jit(lambda data, index: take(data, index, one))(alone, jax.device_put(index, jax.devices()[0]))
    rows = np.asarray(index)
    for spread, whole, expected in zip(batch, on_one, split.read(rows), strict=True):
        np.testing.assert_array_equal(spread, expected)
        np.testing.assert_array_equal(whole, expected)
        assert spread.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec("data")), spread.ndim)


def test_a_step_transfers_one_batch_and_not_the_set(split, taker):
    data = resident(split.images, split.aspects, None, data_mesh())
    text = taker.lower(data, epoch_order(jax.random.key(0), 0, N)[:BATCH]).compile().as_text()
    collective = re.compile(r" = (\w+)\[([\d,]*)\][^=]*? (all-\w+|reduce-scatter|collective-\w+)\(")
    sent = {kind: 0 for kind in ("u8", "other")}
    for kind, shape, _ in collective.findall(text):
        size = np.prod([int(side) for side in shape.split(",") if side])
        sent["u8" if kind == "u8" else "other"] += int(size) * (1 if kind == "u8" else 4)
    # The result on one device: its share of the batch. The numbers are the batch's indices.
    assert sent["u8"] == BATCH // 8 * 8 * 8 * 3
    assert sent["other"] <= 4 * BATCH


def _streamed(split, start=0, epochs=2, **options):
    key = jax.random.key(3)
    sizes = {"batch_size": BATCH, "steps_per_epoch": STEPS, "steps": epochs * STEPS}
    return list(stream(split, key, data_mesh(), start=start, **sizes, **options))


def _same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for a, b in zip(batch, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_streamed_batches_equal_resident_batches(spec, split, taker):
    key = jax.random.key(3)
    data = resident(split.images, split.aspects, split.labels, data_mesh())
    expected = [
        taker(data, epoch_order(key, epoch, N)[step * BATCH : (step + 1) * BATCH])
        for epoch in range(2)
        for step in range(STEPS)
    ]
    lazy = open_lazily(spec, canvas=8).train
    streamed = _streamed(lazy)
    _same(streamed, expected)
    assert {part.data.shape for part in streamed[0].images.addressable_shards} == {(2, 8, 8, 3)}
    # They are the same from any step, and from an array.
    _same(_streamed(lazy, start=4), expected[4:])
    _same(_streamed(split, start=2), expected[2:])
    assert _streamed(lazy, start=2 * STEPS) == []


def test_worker_processes_read_the_same(spec):
    """Also while they get the signals that SLURM and a terminal send to all processes, from their start on."""
    lazy = open_lazily(spec, canvas=8).train
    expected, done, signalled = _streamed(lazy, start=2), threading.Event(), set()

    def disturb():
        while not done.wait(0.02):
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGTERM)
                os.kill(child.pid, signal.SIGINT)
                signalled.add(child.pid)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        _same(_streamed(lazy, start=2, workers=2), expected)
    finally:
        done.set()
        thread.join()
    assert len(signalled) == 2
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}


def runs(process):
    """Whether it is there, and not just not waited for by whoever has inherited it."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_worker_ends_with_a_process_that_is_killed(spec, tmp_path):
    (tmp_path / "reads.py").write_text(f"""
import multiprocessing, numpy, time
from sslax.data import open_lazily
from sslax.data.stream import Once, read_batches
if __name__ == "__main__":
    split = open_lazily({spec!r}, canvas=8).train
    batches = read_batches(split, Once(numpy.tile(numpy.arange({N}), 100), 4), workers=1)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
""")
    command, environment = [sys.executable, str(tmp_path / "reads.py")], dict(os.environ, PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as reader:
        (worker,) = reader.stdout.readline().split()
        assert runs(worker)
        reader.kill()
    deadline = time.monotonic() + 20
    while runs(worker):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_split_in_memory_is_not_sent_to_workers(split):
    batches = read_batches(split, Once(np.arange(N), 20), workers=2)
    assert len(next(batches).images) == 20
    assert not multiprocessing.active_children()
    batches.close()


def test_every_image_once(spec, split):
    lazy = open_lazily(spec, canvas=8).train
    index = np.arange(1, 60, 2)
    batches = list(read_batches(lazy, Once(index, 20)))
    assert [len(batch.images) for batch in batches] == [20, 10]
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in batches]), split.images[index])
    np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), split.labels[index])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_decoded_is_named(tmp_path, workers):
    spec = write_folder(tmp_path, {"": 40})
    (tmp_path / "07.png").write_bytes(b"no image")
    lazy = open_lazily(spec, canvas=8).train
    with pytest.raises(InputError, match=r"'07.png' cannot be decoded \(not an image\); .* --cache to a folder"):
        list(read_batches(lazy, Once(np.arange(40), 20), workers=workers))


def test_threads_end_with_the_stream(split):
    before = set(threading.enumerate())
    batches = read_batches(split, Once(np.arange(N), 4))
    next(batches)
    batches.close()
    left = [thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("Dummy")]
    for thread in left:
        thread.join(timeout=5)
    assert not [thread.name for thread in left if thread.is_alive()]


def test_choice_of_the_feed(monkeypatch):
    mesh = data_mesh()
    assert device_memory(mesh) is None
    assert host_memory() > 2**20
    monkeypatch.setattr("sslax.data.memory.host_memory", lambda: 1000)
    fits = int(1000 * RESIDENT_SHARE)
    assert choose_feed("auto", "set", fits, mesh) == "resident"
    assert choose_feed("auto", "set", fits + 1, mesh) == "streamed"
    assert choose_feed("streamed", "set", 1, mesh) == "streamed"
    assert choose_feed("resident", "set", 1000, mesh) == "resident"
    with pytest.raises(
        InputError, match=r"feed is resident, but the images of set need 3\.0 MiB and only 0\.0 MiB are free"
    ):
        choose_feed("resident", "set", 3 * 2**20, mesh)
    # Reading the set does not change the choice: 400 of 1000 bytes, or 400 besides the 600 that are still free.
    monkeypatch.setattr("sslax.data.memory.host_memory", lambda: 600)
    assert choose_feed("auto", "set", 400, mesh, held="memory") == "resident"
    # The memory of a device with its own memory decides; for a set on disk, the host's memory does not matter.
    monkeypatch.setattr("sslax.data.memory.device_memory", lambda mesh: 10_000)
    assert choose_feed("auto", "set", 4000, mesh, held="disk") == "resident"
    assert choose_feed("auto", "set", 4001, mesh, held="disk") == "streamed"
    assert choose_feed("auto", "set", 4000, mesh) == "streamed"


def test_resident_reads_from_a_mapped_file(tmp_path, split):
    np.save(tmp_path / "images.npy", split.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = resident(mapped, split.aspects, None, data_mesh())
    assert isinstance(data, Resident)
    np.testing.assert_array_equal(np.asarray(data.images)[:N], split.images)
    assert not np.asarray(data.images)[N:].any()
    assert Split(mapped, None, split.aspects, split.names).canvas == 8
