"""A run whose checkpoints need no training, and the state from which a run in its folder would resume."""

import jax
import numpy as np

from sslax.config import to_dict
from sslax.runs import RunDir
from sslax.runs.checkpoints import Checkpoints
from sslax.runs.run_dir import facts
from sslax.training import build, start_state
from sslax.training.resume import resume
from tests import tiny

STEPS = (4, 8, 12)


def moved(state, step):
    """A different state with the same shapes."""
    scaled = jax.tree.map(lambda x: jax.device_put(np.asarray(x) * np.float32(step), x.sharding), state.params)
    return state._replace(step=state.step + step, params=scaled)


def make(path):
    """Make a finished run with three checkpoints of untrained weights; returns folder, configuration, build and first state."""
    config, data = tiny.config(), tiny.dataset()
    run = RunDir(path, to_dict(config))
    run.begin(facts(data))
    built = build(config, data, devices=jax.devices()[:1])
    state = start_state(config, built)
    checkpoints = Checkpoints(run.checkpoints, keep=3)
    for step in STEPS:
        checkpoints.save(moved(state, step))
        run.append({"step": step, "loss": 1.0, "seconds": 1.0})
    checkpoints.close()
    run.write_result({})
    return path, config, built, state


def goes_on(path, made, told=None):
    """The state from which the run in `path` would resume."""
    _, config, built, state = made
    run = RunDir(path, to_dict(config))
    checkpoints = Checkpoints(run.checkpoints)
    try:
        return resume(config, built, run, checkpoints, state, None, (told if told is not None else []).append)
    finally:
        checkpoints.close()


def data_file(step):
    """The largest data file of a checkpoint."""
    return max((step / "state" / "ocdbt.process_0" / "d").iterdir(), key=lambda file: file.stat().st_size)
