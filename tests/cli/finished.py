"""A finished run for the tests of commands; its weights are noise, so it needs no training."""

import dataclasses
import functools

import jax
import numpy as np

from sslax.config import to_dict
from sslax.data import open_dataset
from sslax.runs import RunDir
from sslax.runs.checkpoints import Checkpoints
from sslax.runs.run_dir import facts
from sslax.training import build, start_state
from tests import tiny

RESULT = {
    "raw_pixels": {"knn1": 0.9, "knn20": 0.8, "linear": 0.7},
    "untrained": {"knn1": 0.5, "knn20": 0.4, "linear": 0.3},
    "pretrained": {"knn1": 0.95, "knn20": 0.85, "linear": 0.75},
}


def make(path, name="simclr", **changes):
    """Make a run on 64 digits in the folder `path`, with the accuracies above; returns its configuration."""
    config = dataclasses.replace(tiny.config(name, epochs=1, data="digits", limit=64), **changes)
    run = RunDir(path, to_dict(config))
    run.begin({**facts(open_dataset("digits", limit=config.limit)), "name": config.data})
    checkpoints = Checkpoints(run.checkpoints)
    # The weights do not depend on the images.
    checkpoints.save(_state(dataclasses.replace(config, data="digits", limit=64)))
    checkpoints.close()
    run.write_result(RESULT)
    return config


@functools.cache
def _state(config):
    """Weights of noise after four steps, drawn once for all runs of one configuration."""
    built = build(config, open_dataset("digits", limit=config.limit), devices=jax.devices()[:1])
    state = start_state(config, built)
    rng = np.random.default_rng(0)

    def noise(x):
        if not np.issubdtype(x.dtype, np.floating):
            return x
        # Positive, because some leaves are variances.
        return jax.device_put(np.asarray(x) + rng.uniform(0, 0.2, x.shape).astype(x.dtype), x.sharding)

    params, aux = jax.tree.map(noise, state.params), jax.tree.map(noise, state.aux)
    step = jax.device_put(np.asarray(state.step) + 4, state.step.sharding)
    return state._replace(step=step, params=params, aux=aux)
