"""The collapse watch: an observer of features and metrics that says which way a run has collapsed, and what helps.

It reads what the step gives anyway, in a program of its own, so a run with it trains to the same bits as one without.
What it concludes is a function of the lines of metrics alone: a resumed run goes on watching where it stopped.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.evaluation import effective_rank, feature_std

Mode = Literal["uniform output", "one dimension dominating", "constant features", "loss stuck"]

# A sign has to hold in every line over this many steps, and in this many lines.
WINDOW, LINES = 100, 3
# Signs; what healthy and collapsed runs showed stands in results/collapse-digits.json.
CONSTANT = {"feature_std": 0.05, "projection_std": 0.15}
"""Spread (deviation times √d; even directions have 1) below which they are constant; healthy runs had .2 and .7 at least."""
FLAT = 0.02
"""Share of ln K: a target entropy this near to ln K and a KL this near to 0 are a uniform output."""
DOMINANT = 0.9
"""Share of the target that falls to one dimension."""
STUCK = 0.002
"""Share of the chance loss within which a loss is stuck at it."""
# The singular values of more rows take longer than a step.
_ROWS = 256


class Alarm(NamedTuple):
    """What the watch found: the mode, and one sentence on what was seen and what the literature would try."""

    mode: Mode
    sentence: str


@functools.partial(jax.jit, static_argnames="rank")
def observe(features: Float[Array, "n d"], *, rank: bool = False) -> dict[str, Float[Array, ""]]:
    """The numbers of a batch's features that tell of collapse.

    Returns:
      `feature_std`, the mean deviation of the ℓ2-normalised features times √d: 1 for directions spread evenly, 0 for constant
      ones; `largest_share`, the share of the features' energy in their largest dimension, 1/d to 1; with `rank`
      `effective_rank`, in 1 to d, of up to 256 of them.
    """
    features = features.astype(jnp.float32)
    energy = jnp.mean((features / jnp.maximum(jnp.abs(features).max(), 1e-30)) ** 2, axis=0)
    seen = {
        "feature_std": feature_std(features) * features.shape[1] ** 0.5,
        "largest_share": energy.max() / jnp.maximum(energy.sum(), 1e-30),
    }
    return seen | ({"effective_rank": effective_rank(features[:_ROWS])} if rank else {})


def collapse(lines: Sequence[Mapping[str, Any]], *, warmup_steps: int) -> Alarm | None:
    """What the newest lines of metrics say, or None for a healthy run.

    Args:
      lines: of metrics, oldest first.
      warmup_steps: of the learning rate; before its end outputs that are still alike are no sign.
    """
    if not lines or lines[-1]["step"] < WINDOW:
        return None
    recent = [line for line in lines if line["step"] > lines[-1]["step"] - WINDOW]
    if len(recent) < LINES:
        recent = list(lines[-LINES:])
    settled = recent[0]["step"] > warmup_steps
    last = recent[-1]

    def always(sign) -> bool:
        return len(recent) >= LINES and all(sign(line) for line in recent)

    if always(lambda line: line.get("target_largest", 0) > DOMINANT):
        return Alarm(
            "one dimension dominating",
            f"one of the target's dimensions takes {last['target_largest']:.1%} of it, with an entropy of "
            f"{last['target_entropy']:.2g} and a KL of {last['kl']:.2g}. Centring the teacher's output prevents it: "
            "see method.centering and a method.center_momentum of 0.9 to 0.99.",
        )
    if settled and always(_flat):
        return Alarm(
            "uniform output",
            f"the target's entropy is {last['target_entropy']:.4g}, that of a uniform output {last['chance_loss']:.4g}, and "
            f"the KL {last['kl']:.2g}. Sharpening prevents it: a lower method.teacher_temperature (0.04 to 0.07) or a longer "
            "rise to it; more steps, or a faster teacher, where the run is short.",
        )
    for name, what in (("feature_std", "features"), ("projection_std", "projections")):
        if always(lambda line, name=name: line.get(name, 1) < CONSTANT[name]):
            return Alarm(
                "constant features",
                f"the {what} of all images are nearly the same: their spread is {last[name]:.2g}, where 1 is even. A predictor "
                "and a slowly moving target (decay 0.99 or more), BatchNorm in the heads, a lower optim.lr and a longer warmup "
                "prevent it.",
            )
    if settled and always(_stuck):
        return Alarm(
            "loss stuck",
            f"the loss has stayed at {last['loss']:.4g}, which outputs that say nothing have as well. Another optim.lr, "
            "a longer warmup, or views that have more in common would be tried.",
        )
    return None


def _stuck(line: Mapping[str, Any]) -> bool:
    chance = line.get("chance_loss")
    return chance is not None and abs(line["loss"] - chance) < STUCK * chance


def _flat(line: Mapping[str, Any]) -> bool:
    # A loss that does not look at the targets' entropy, as a squared distance, has no chance loss of ln K.
    top = line.get("chance_loss")
    if top is None or "target_entropy" not in line:
        return False
    return line["target_entropy"] > (1 - FLAT) * top and line["kl"] < FLAT * top / 10


class Watch:
    """The watch over one run: adds the numbers to its lines and speaks once.

    Args:
      lines: of metrics so far, where a run goes on.
      warmup_steps: of the learning rate.
    """

    def __init__(self, lines: Sequence[Mapping[str, Any]], *, warmup_steps: int):
        # A number that was not finite is null in the file.
        self._lines = [{k: math.nan if v is None else v for k, v in line.items()} for line in lines]
        self._warmup_steps = warmup_steps
        self._spoken = any("collapse" in line for line in lines)

    def __call__(self, line: dict[str, Any], features: Float[Array, "n d"], *, rank: bool = False) -> Alarm | None:
        """The alarm that this line completes, if any; `line` gains what `observe` tells."""
        line |= {name: float(value) for name, value in jax.device_get(observe(features, rank=rank)).items()}
        self._lines.append(line)
        alarm = None if self._spoken else collapse(self._lines, warmup_steps=self._warmup_steps)
        self._spoken |= alarm is not None
        return alarm
