"""Training a method: state, step, loop, checkpoints; knows a method only as `Method`."""

from sslax.training.build import Built, build
from sslax.training.loop import Interrupted, NonFinite, fit, start_state
from sslax.training.quality import can_measure, measure, raw_pixels
from sslax.training.run_dir import RunDir
from sslax.training.state import TrainState, init_state
from sslax.training.step import Embedder, compile_steps, data_mesh, make_step

__all__ = [
    "Built",
    "Embedder",
    "Interrupted",
    "NonFinite",
    "RunDir",
    "TrainState",
    "build",
    "can_measure",
    "compile_steps",
    "data_mesh",
    "fit",
    "init_state",
    "make_step",
    "measure",
    "raw_pixels",
    "start_state",
]
