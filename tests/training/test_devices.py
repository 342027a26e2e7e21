"""Any number of devices and processes gives one device's results; run slow tests with `python -m pytest -m slow`."""

import json
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from sslax.config import OptimizerConfig
from sslax.data.feed import epoch_order, resident
from sslax.methods import METHODS
from sslax.training import build, compile_steps, make_step, start_state
from tests import compilation, tiny


def begin(folder, devices, *arguments):
    """`tests.training.devices` in a process with this number of devices."""
    flags = compilation.flags(devices)
    if "--small" not in arguments:
        # With the old code generator for fusions the float32 views would differ by rounding between one device and eight.
        flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = compilation.environment(devices, JAX_ENABLE_X64="1", XLA_FLAGS=flags)
    command = [sys.executable, "-m", "tests.training.devices", str(folder), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=compilation.ROOT, env=environment, **pipes)


def begin_two(folder, devices, *arguments):
    """The same in two processes with this number of devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [begin(folder, devices, *arguments, "--coordinator", address, "--process", str(i)) for i in range(2)]


def ended(process):
    """The output of a process."""
    said, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors[-3000:]
    return said


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def compare(one, other):
    """Compare the losses of two runs, to 1e-10, and the accuracies of their features."""
    assert [line["step"] for line in one] == [line["step"] for line in other]
    np.testing.assert_allclose([line["loss"] for line in other], [line["loss"] for line in one], rtol=0, atol=1e-10)
    assert other[-1]["knn1"] == one[-1]["knn1"]
    # The probe uses float32 features.
    np.testing.assert_allclose(other[-1]["probe_loss"], one[-1]["probe_loss"], rtol=1e-5)


def test_two_processes_of_two_devices_are_one_device(tmp_path):
    """Losses to 1e-10; one process was asked to stop at step 5, both stopped after the next and saved."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    two = begin_two(shared, 2, "simclr:4", "--small", "--term-at", "5")
    ended(begin(alone, 1, "simclr:1", "--small"))
    for process in two:
        assert "Stopped after step 6 of 8; its state is saved." in ended(process)
    compare(lines(alone / "simclr-1"), lines(shared / "simclr-4"))
    assert (shared / "simclr-4" / "checkpoints" / "8" / "digest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_fifty_steps_in_float64(name, tmp_path):
    """On 1, 2, 4 and 8 devices, spread over 8, and in two processes of four, which stop on the way and go on."""
    specs = [f"{name}:{devices}" for devices in (1, 2, 4, 8)] + [f"{name}:8:fsdp"]
    said = ended(begin(tmp_path, 8, *specs, "--epochs", "13")).splitlines()
    assert len({line.split("views ")[1] for line in said}) == 1
    # With all the state spread over the devices there is one copy of it; other methods have arrays that eight does not divide.
    assert name != "simclr" or float(re.search("copies ([0-9.]+)", said[-1])[1]) < 1.3
    one = lines(tmp_path / f"{name}-1")
    assert len(one) == 52
    for other in (f"{name}-2", f"{name}-4", f"{name}-8", f"{name}-8-fsdp"):
        compare(one, lines(tmp_path / other))
    shared = tmp_path / "shared"
    shared.mkdir()
    for process in begin_two(shared, 4, f"{name}:8", f"{name}:8:fsdp", "--epochs", "13", "--term-at", "25"):
        assert ended(process).count("Stopped after step 26 of 52") == 2
    for other in (f"{name}-8", f"{name}-8-fsdp"):
        compare(one, lines(shared / other))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_each_of_fifty_steps_in_float32(name):
    """A step on 2, 4 and 8 devices from the one-device state: loss, parameters and the method's state to 1e-5."""
    data = tiny.dataset()
    # A plain step: Adam would turn the rounding of a zero gradient into a whole one.
    config = tiny.config(name, epochs=13, optim=OptimizerConfig(name="sgd", lr=0.05, warmup_epochs=1.0))
    steps, built = {}, {}
    for devices in (1, 2, 4, 8):
        b = built[devices] = build(config, data, devices=jax.devices()[:devices])
        take = make_step(b.method, b.tx, b.mesh, batch_size=config.batch_size, steps_per_epoch=b.steps_per_epoch)
        images = resident(data.train.images, data.train.aspects, data.train.labels, b.mesh)
        run = compile_steps(take, b.mesh)
        steps[devices] = lambda state, order, run=run, images=images: run(state, images, order, 1)
    state = start_state(config, built[1])
    for step in range(50):
        order = np.asarray(epoch_order(state.key, step // built[1].steps_per_epoch, len(data.train)))
        plain = jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))
        results = {}
        for devices, take in steps.items():
            everywhere = jax.NamedSharding(built[devices].mesh, jax.P())
            placed = jax.device_put(plain._replace(key=jax.random.wrap_key_data(plain.key)), everywhere)
            new, metrics, _ = take(placed, jax.device_put(order, everywhere))
            parts = {"params": new.params, "aux": new.aux, "opt_state": new.opt_state}
            results[devices] = float(metrics["loss"]), jax.tree.map(np.asarray, parts)
            state = new if devices == 1 else state
        for devices in (2, 4, 8):
            # A mean of cosines, as SimSiam's loss, may be as good as 0.
            np.testing.assert_allclose(results[devices][0], results[1][0], rtol=1e-5, atol=1e-6)
            for part, tree in results[1][1].items():
                largest = max(np.abs(x).max() for x in jax.tree.leaves(tree))
                for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(results[devices][1][part]), strict=True):
                    np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * max(1.0, largest))
