"""The collapse watch: an observer of features and metrics that detects how a run collapses, and suggests remedies.

It reads outputs that the step computes anyway, in a separate program, so training is bitwise equal with and without it. Its
result depends only on the lines of metrics, so a resumed run continues the watch.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sslax.evaluation import effective_rank, feature_std

Mode = Literal[
    "uniform output",
    "one dimension dominating",
    "constant features",
    "redundant dimensions",
    "one neighbour",
    "loss stuck",
]

# A sign must hold in every line over this many steps, and in at least this many lines.
WINDOW, LINES = 100, 3
# Thresholds of the signs; results/collapse-digits.json has the values of healthy and collapsed runs.
CONSTANT = {"feature_std": 0.05, "projection_std": 0.15}
"""Spread (standard deviation times √d; 1 for uniform directions) below which outputs count as constant; healthy runs had at
least .2 and .7."""
FLAT = 0.02
"""Share of ln K: with a target entropy within FLAT · ln K of ln K and a KL below a tenth of that, the output is uniform."""
DOMINANT = 0.9
"""Share of the target in one dimension, or of a batch with one nearest neighbour, above which it dominates."""
STUCK = 0.002
"""Share of the chance loss: a loss this close to the chance loss counts as stuck."""
_TARGETS = {"": "the target", "patch_": "the patches' target"}
# The singular values of more rows would take longer than a step.
_ROWS = 256


class Alarm(NamedTuple):
    """An alarm of the watch: the mode of collapse, and sentences with the observed values and the literature's remedies."""

    mode: Mode
    sentence: str


class Sign(NamedTuple):
    """A metric of a method whose value alone shows collapse, once the warmup has ended.

    Attributes:
      metric: its name in the lines of metrics.
      bound: the metric is a sign above this value.
      mode: the mode of collapse that it shows.
      sentence: of the alarm; `{}` stands for the value.
    """

    metric: str
    bound: float
    mode: Mode
    sentence: str


# results/collapse-siamese-digits.json has the values of healthy and collapsed runs.
SIGNS = (
    Sign(
        "shared_direction",
        0.5,
        "constant features",
        "the projections of most images have the same direction: the mean of their unit vectors has length {:.2g}, and even "
        "directions have 0. A predictor together with a stop-gradient at the projections prevents this.",
    ),
    Sign(
        "variance",
        0.9,
        "constant features",
        "the projections hardly differ between images: the variance term is {:.2g}; 0 means a standard deviation of 1 in every "
        "dimension, and 1 a constant. A method.variance as large as method.invariance prevents this.",
    ),
    Sign(
        "off_diagonal",
        0.3,
        "redundant dimensions",
        "the projections repeat each other: the mean squared correlation of two dimensions is {:.2g}; 0 means independent "
        "dimensions, and 1 identical ones. A larger method.off_diagonal prevents this.",
    ),
    Sign(
        "sigreg_share",
        0.5,
        "constant features",
        "the projections are far from a normal distribution: SIGReg is {:.2g} times that of constant projections, and normal "
        "ones have nearly 0. A larger method.sigreg prevents this.",
    ),
)


@functools.partial(jax.jit, static_argnames="rank")
def observe(features: Float[Array, "n d"], *, rank: bool = False) -> dict[str, Float[Array, ""]]:
    """Statistics of a batch's features that show collapse.

    Returns:
      `feature_std`, the mean standard deviation of the ℓ2-normalised features times √d: 1 for uniform directions, 0 for
      constant features; `largest_share`, the share of the features' energy in their largest dimension, 1/d to 1; with `rank`
      also `effective_rank`, 1 to d, of at most 256 of the features.
    """
    features = features.astype(jnp.float32)
    energy = jnp.mean((features / jnp.maximum(jnp.abs(features).max(), 1e-30)) ** 2, axis=0)
    seen = {
        "feature_std": feature_std(features) * features.shape[1] ** 0.5,
        "largest_share": energy.max() / jnp.maximum(energy.sum(), 1e-30),
    }
    return seen | ({"effective_rank": effective_rank(features[:_ROWS])} if rank else {})


def collapse(lines: Sequence[Mapping[str, Any]], *, warmup_steps: int) -> Alarm | None:
    """The alarm for the newest lines of metrics, or None for a healthy run.

    Args:
      lines: the lines of metrics, oldest first.
      warmup_steps: steps of the learning-rate warmup; until it ends, uniform outputs and a stuck loss are not signs.
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

    # Of [CLS], and of masked patches.
    for of in ("", "patch_"):
        if always(lambda line, of=of: line.get(f"{of}target_largest", 0) > DOMINANT):
            return Alarm("one dimension dominating", _dominant(last, of))
        if settled and always(functools.partial(_flat, of=of)):
            return Alarm("uniform output", _uniform(last, of))
    for sign in SIGNS:
        if settled and always(lambda line, sign=sign: line.get(sign.metric, 0) > sign.bound):
            return Alarm(sign.mode, sign.sentence.format(last[sign.metric]))
    for name, what in (("feature_std", "features"), ("projection_std", "projections")):
        if always(lambda line, name=name: line.get(name, 1) < CONSTANT[name]):
            return Alarm(
                "constant features",
                f"the {what} of all images are nearly the same: their spread is {last[name]:.2g}, and uniform directions have "
                "1. A predictor and a slowly moving target (decay 0.99 or more), BatchNorm in the heads, a lower optim.lr and "
                "a longer warmup prevent this.",
            )
    if always(lambda line: line.get("neighbour_share", 0) > DOMINANT):
        return Alarm(
            "one neighbour",
            f"{last['neighbour_share']:.1%} of the batch have the same nearest neighbour in the queue, so all images have the "
            "same positive. BatchNorm in the heads, a longer queue, a lower optim.lr and a longer warmup prevent this.",
        )
    if settled and always(_stuck):
        return Alarm(
            "loss stuck",
            f"the loss has stayed at {last['loss']:.4g}, the loss of uninformative outputs. Try another optim.lr, a longer "
            "warmup, or views that overlap more.",
        )
    return None


def _dominant(line: Mapping[str, Any], of: str) -> str:
    if "prototype_usage" in line:
        return (
            f"one prototype has {line['target_largest']:.1%} of the assignments. Sinkhorn-Knopp, which assigns all prototypes "
            "equally often, prevents this: use a method.sinkhorn_iterations of 3."
        )
    return (
        f"one dimension has {line[f'{of}target_largest']:.1%} of the probability of {_TARGETS[of]}; its entropy is "
        f"{line[f'{of}target_entropy']:.2g} and the KL {line[f'{of}kl']:.2g}. Centring the teacher's output prevents this: use "
        "method.centering and a method.center_momentum of 0.9 to 0.99."
    )


def _uniform(line: Mapping[str, Any], of: str) -> str:
    return (
        f"the entropy of {_TARGETS[of]} is {line[f'{of}target_entropy']:.4g} (a uniform output has {_top(line, of):.4g}) and "
        f"the KL {line[f'{of}kl']:.2g}. Sharpening prevents this: use a lower method.teacher_temperature (0.04 to 0.07) or a "
        "longer temperature warmup; for a short run, more steps or a lower teacher decay."
    )


def _top(line: Mapping[str, Any], of: str) -> float | None:
    """The entropy of a uniform target; where the target's is the only loss, this is the chance loss."""
    return line.get(f"{of}uniform_entropy", None if of else line.get("chance_loss"))


def _stuck(line: Mapping[str, Any]) -> bool:
    chance = line.get("chance_loss")
    return chance is not None and abs(line["loss"] - chance) < STUCK * chance


def _flat(line: Mapping[str, Any], *, of: str) -> bool:
    # A loss without a target distribution, such as a squared distance, has no chance loss of ln K.
    top = _top(line, of)
    if top is None or f"{of}target_entropy" not in line:
        return False
    return line[f"{of}target_entropy"] > (1 - FLAT) * top and line[f"{of}kl"] < FLAT * top / 10


class Watch:
    """The watch over one run: it adds its statistics to the lines of metrics, and raises at most one alarm.

    Args:
      lines: the earlier lines of metrics of a resumed run.
      warmup_steps: steps of the learning-rate warmup.
    """

    def __init__(self, lines: Sequence[Mapping[str, Any]], *, warmup_steps: int):
        # The file stores non-finite numbers as null.
        self._lines = [{k: math.nan if v is None else v for k, v in line.items()} for line in lines]
        self._warmup_steps = warmup_steps
        self._spoken = any("collapse" in line for line in lines)

    def __call__(self, line: dict[str, Any], features: Float[Array, "n d"], *, rank: bool = False) -> Alarm | None:
        """Add the statistics of `observe` to `line`, and return a new alarm, if any."""
        line |= {name: float(value) for name, value in jax.device_get(observe(features, rank=rank)).items()}
        self._lines.append(line)
        alarm = None if self._spoken else collapse(self._lines, warmup_steps=self._warmup_steps)
        self._spoken |= alarm is not None
        return alarm
