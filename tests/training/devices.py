"""Tiny runs in float64, in a separate process: `python -m tests.training.devices FOLDER METHOD[:DEVICES[:fsdp]] …`.

Each run's folder is FOLDER/METHOD-DEVICES[-fsdp]. Views, schedules and the inputs of observers stay float32; parameters,
networks and losses are float64. Views are bitwise equal for any number of devices; their digest is printed.
With `--small` the network has one block, and images with noise, in float64, take the place of the views; it compiles in a
third of the time.
"""

import argparse
import dataclasses
import hashlib
import os
import pathlib
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np

from sslax import processes
from sslax.config import NetworkConfig, to_dict
from sslax.methods import METHODS, Setup
from sslax.processes import DistributedConfig
from sslax.runs import RunDir
from sslax.training import Interrupted, build, fit, sharding
from sslax.training.build import make_optimizer
from tests import tiny

ONE_BLOCK = NetworkConfig(name="vit-micro", width=8, depth=1, patch_size=4)


def wide(tree):
    """The tree with floating-point arrays cast to float64."""
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def build_wide(config, data, devices, small):
    """`build`, with parameters, networks and losses in float64."""
    built = build(config, data, devices=devices)
    setup = Setup(built.backbone.clone(dtype=jnp.float64), built.steps, built.steps_per_epoch, built.mesh)
    method = METHODS[config.method.NAME](config.method, setup)
    init = method.init
    method = method._replace(init=lambda key, shape: wide(init(key, shape)))
    if config.fsdp:
        method = sharding.gathering(method, built.mesh)
    tx = method.optimizer(make_optimizer(config, built.schedule, built.steps, method.constant_rate))
    built = built._replace(method=method, tx=tx)
    # A run that is resumed uses its programs again.
    return tiny.with_programs(config, built._replace(method=method._replace(views=tiny.noisy))) if small else built


def digest_of_views(built, data):
    """The hash of the views of a batch that is sharded over the devices."""
    rows, everywhere = (jax.NamedSharding(built.mesh, jax.P(*axes)) for axes in (("data",), ()))
    images, aspects = (
        jax.make_array_from_callback(x[:16].shape, rows, x[:16].__getitem__)
        for x in (data.train.images, data.train.aspects)
    )
    views = jax.jit(built.method.views, out_shardings=everywhere)(jax.random.key(1), images, aspects)
    digest = hashlib.sha256()
    for view in jax.tree.leaves(views):
        digest.update(np.asarray(view).tobytes())
    return digest.hexdigest()


def train(folder, spec, epochs, term_at, small):
    """One run; at step `term_at` the last process requests a stop, and the run is resumed."""
    name, devices, *rest = [*spec.split(":"), str(jax.device_count())][: max(2, spec.count(":") + 1)]
    # Numbers of channels that are divisible by eight devices.
    network = ONE_BLOCK if small else dataclasses.replace(tiny.config(name).network, width=8)
    lengths = {"epochs": epochs, "eval_every": epochs, "log_every": 1}
    config = tiny.config(name, network=network, online_probe=True, fsdp="fsdp" in rest, **lengths)
    data = tiny.dataset()
    built = build_wide(config, data, jax.devices()[: int(devices)], small)
    path = folder / "-".join([name, devices, *rest])
    told = [] if small or processes.several() else ["views", digest_of_views(built, data)]
    last = jax.process_index() == jax.process_count() - 1

    def follow(line):
        if last and line.get("step") == term_at and not path.with_suffix(".asked").exists():
            path.with_suffix(".asked").touch()
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        state = fit(config, built, data, RunDir(path, to_dict(config)), follow=follow)
    except Interrupted as stopped:
        told.append(f"{stopped}")
        state = fit(config, built, data, RunDir(path, to_dict(config)), follow=follow)
    assert all(x.dtype == jnp.float64 for x in jax.tree.leaves(state.params))
    here = sum(shard.data.size for x in jax.tree.leaves(state.params) for shard in x.addressable_shards)
    copies = here / sum(x.size for x in jax.tree.leaves(state.params))
    print(path.name, f"copies {copies:.2f}", *told, flush=True)


def main():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--term-at", type=int, default=0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--coordinator")
    parser.add_argument("--process", type=int)
    options = parser.parse_args()
    # In a network this tiny, every array is small.
    sharding.SMALL = 32
    if options.coordinator:
        processes.connect(DistributedConfig(options.coordinator, 2, options.process))
    for spec in options.specs:
        train(options.folder, spec, options.epochs, options.term_at, options.small)


if __name__ == "__main__":
    sys.exit(main())
