"""A run on disk: its folder, its checkpoints, its stored configuration, and its TensorBoard files."""

from sslax.runs.checkpoints import Checkpoints
from sslax.runs.run_dir import RunDir, facts
from sslax.runs.tensorboard import scalars, write_scalars

__all__ = ["Checkpoints", "RunDir", "facts", "scalars", "write_scalars"]
