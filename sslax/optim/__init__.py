"""Optimisers, schedules and the moving average, as pure functions on optax.

Steps are counted from 0; learning rates are per step; decay is per step and unitless. Each function names the source of its
convention.
"""

from sslax.optim.average import ema_update
from sslax.optim.groups import HoldState, freeze, hold, kernels_only, named, scale_rates, vit_rates
from sslax.optim.optimizers import adamw, clip_each, clip_parts, lars, sgd
from sslax.optim.schedules import Number as Number
from sslax.optim.schedules import Schedule as Schedule
from sslax.optim.schedules import cosine_ema_decay, scaled_learning_rate, warmup_cosine

__all__ = [
    "HoldState",
    "adamw",
    "clip_each",
    "clip_parts",
    "cosine_ema_decay",
    "ema_update",
    "freeze",
    "hold",
    "kernels_only",
    "lars",
    "named",
    "scale_rates",
    "scaled_learning_rate",
    "sgd",
    "vit_rates",
    "warmup_cosine",
]
