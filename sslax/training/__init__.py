"""Training: state, step, loop and checkpoints of a run; it uses methods only through the `Method` interface."""

from sslax.training.accumulate import accumulation_note, loss_and_gradient
from sslax.training.api import pretrain
from sslax.training.build import Built, Programs, build, build_for, make_backbone
from sslax.training.estimate import Estimate, Program, estimate, step_seconds, training_program
from sslax.training.images import feed_of, open_images
from sslax.training.load import DamagedCheckpoint, Loaded, config_from, load
from sslax.training.loop import Collapsed, Interrupted, asked_to_stop, fit, start_state
from sslax.training.nonfinite import NonFinite
from sslax.training.pretrained import WeightsOptions, network_from, open_weights
from sslax.training.probe import OnlineProbe, ProbeState, init_probe, update_probe
from sslax.training.quality import can_measure, looked_at_note, measure, raw_pixels
from sslax.training.shared import NUMBERS, build_shared
from sslax.training.state import Faults, TrainState, init_state
from sslax.training.step import Embedder, Seen, compile_steps, compile_update, data_mesh, make_step, make_update
from sslax.training.watch import Alarm, Watch, collapse, observe

__all__ = [
    "NUMBERS",
    "Alarm",
    "Built",
    "Collapsed",
    "DamagedCheckpoint",
    "Embedder",
    "Estimate",
    "Faults",
    "Interrupted",
    "Loaded",
    "NonFinite",
    "OnlineProbe",
    "ProbeState",
    "Program",
    "Programs",
    "Seen",
    "TrainState",
    "Watch",
    "WeightsOptions",
    "accumulation_note",
    "asked_to_stop",
    "build",
    "build_for",
    "build_shared",
    "can_measure",
    "collapse",
    "compile_steps",
    "compile_update",
    "config_from",
    "data_mesh",
    "estimate",
    "feed_of",
    "fit",
    "init_probe",
    "init_state",
    "load",
    "looked_at_note",
    "loss_and_gradient",
    "make_backbone",
    "make_step",
    "make_update",
    "measure",
    "network_from",
    "observe",
    "open_images",
    "open_weights",
    "pretrain",
    "raw_pixels",
    "start_state",
    "step_seconds",
    "training_program",
    "update_probe",
]
