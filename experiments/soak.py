"""Kill runs at random moments and resume them until they end: `python -m experiments.soak [--runs 50] [--out runs/soak]`.

Each result must equal that of the same run without interruption: a bitwise equal final state, and every line of metrics
exactly once, except for the times. The runs alternate between three methods and two feeds, on small digits.
"""

import dataclasses
import json
import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from rich.table import Table

import sslax
from sslax.cli import terminal
from sslax.config import Config, NetworkConfig, to_dict
from sslax.errors import InputError
from sslax.files import expanded, write_atomically
from sslax.recipes import CONFIGS
from sslax.runs import RunDir
from sslax.training import build, fit, open_images

ROOT = pathlib.Path(__file__).resolve().parents[1]
METHODS, FEEDS = ("simclr", "byol", "dino"), ("resident", "streamed")
MOMENTS = ("checkpoint", "time", "line")
# Metrics that differ between two equal runs.
TIMES = ("seconds", "images_per_s")
_PATIENCE = 600.0


@dataclasses.dataclass(frozen=True)
class Options:
    """Number of runs, and of kills per run."""

    runs: int = 50
    """Number of runs to kill and resume."""
    kills: int = 3
    """Number of kills per run; fewer if it ends before."""
    seed: int = 0
    """Seed of the random moments."""
    out: str = "runs/soak"
    """Folder for the runs and for soak.json; must be new or empty."""


class Outcome(NamedTuple):
    """The outcome of one run; `half_written` counts the kills that left a partial checkpoint."""

    run: int
    method: str
    feed: str
    kills: list[str]
    half_written: int
    different: list[str]
    seconds: float


def config_of(method: str, feed: Any) -> Config:
    """The configuration of a run of a few seconds: 40 steps, with a checkpoint every fourth step and a line every step."""
    named = CONFIGS[f"{method}-digits"]
    network = named.network if method == "dino" else NetworkConfig(name="patch-resnet", width=4, patch_size=2)
    return dataclasses.replace(
        named,
        network=network,
        optim=dataclasses.replace(named.optim, warmup_epochs=2.0),
        limit=256,
        batch_size=64,
        epochs=10,
        log_every=1,
        eval_every=5,
        checkpoint_every=1,
        on_collapse="ignore",
        feed=feed,
    )


def train(method: str, feed: str, folder: str) -> None:
    """Train one run to its end from its last checkpoint. The soak test kills this process."""
    config = config_of(method, feed)
    data = open_images(config)
    run = RunDir(pathlib.Path(folder), to_dict(config))
    fit(config, build(config, data), data, run)
    run.write_result({})


def start(method: str, feed: str, folder: pathlib.Path) -> subprocess.Popen[bytes]:
    """Start `train` in a separate process; its output goes to FOLDER.log."""
    code = "from experiments import soak; from sslax.cli import terminal; "
    code += f"terminal.run_script(lambda: soak.train{method, feed, str(folder)})"
    with open(folder.with_suffix(".log"), "ab") as log:
        return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=log, stderr=log)


def finish(process: subprocess.Popen[bytes], folder: pathlib.Path) -> float:
    """Wait until a run ends, and return its seconds.

    Raises:
      InputError: if the run fails.
    """
    begun = time.monotonic()
    code = process.wait(_PATIENCE)
    if code != terminal.DONE:
        raise InputError(f"The run in {folder} ended with exit code {code}; see {folder.with_suffix('.log')}.")
    return time.monotonic() - begun


def kill(process: subprocess.Popen[bytes], folder: pathlib.Path, moment: str, lasts: float, rng: random.Random) -> bool:
    """Kill a run at a moment of the given kind; return False if the run ended before.

    Args:
      process: the process of the run.
      folder: the folder of the run.
      moment: "time", at a random time; "checkpoint", while a checkpoint is being written; "line", at a line of metrics.
      lasts: seconds that such a run takes.
      rng: random generator for the moment.
    """
    begun = time.monotonic()
    after, nth, delay = rng.uniform(0, 0.8 * lasts), rng.randint(1, 8), rng.uniform(0, 0.03)
    seen: Callable[[], Any] = {
        "time": lambda: time.monotonic() - begun > after,
        "checkpoint": lambda: frozenset(path.name for path in (folder / "checkpoints").glob("*.partial*")),
        "line": lambda: _size(folder / "metrics.jsonl"),
    }[moment]
    before, changes = seen(), 0
    while changes < nth and process.poll() is None and time.monotonic() - begun < _PATIENCE:
        now = seen()
        # A checkpoint changes its name while it is written. The "time" moment occurs only once.
        changes += nth if moment == "time" and now else int(bool(now) and now != before)
        before = now
        time.sleep(0.0005)
    if moment != "time":
        time.sleep(delay)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    return not ended


def _size(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def lines(folder: pathlib.Path) -> list[dict[str, Any]]:
    """A run's metrics without its times."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in found]


def differences(folder: pathlib.Path, alone: pathlib.Path) -> list[str]:
    """The differences between the run in `folder` and the uninterrupted run: names of arrays, and "metrics"."""
    states = []
    for path in (folder, alone):
        state = sslax.load(path).state
        plain = state._replace(key=jax.random.key_data(state.key))
        states.append({jax.tree_util.keystr(k): np.asarray(x) for k, x in jax.tree_util.tree_leaves_with_path(plain)})
    ours, theirs = states
    found = [
        name
        for name in sorted(ours.keys() | theirs.keys())
        if name not in ours or name not in theirs or ours[name].tobytes() != theirs[name].tobytes()
    ]
    steps = [line["step"] for line in lines(folder)]
    complete = steps == list(range(1, len(steps) + 1)) and lines(folder) == lines(alone)
    return found if complete else [*found, "metrics"]


def soak(number: int, options: Options, alone: tuple[pathlib.Path, float], method: str, feed: str) -> Outcome:
    """Kill and resume one run until it ends, and compare it with the uninterrupted run."""
    rng = random.Random(f"{options.seed} {number}")
    folder, begun = expanded(options.out).absolute() / f"run{number:03d}", time.monotonic()
    kills, half_written = [], 0
    for count in range(options.kills):
        moment = MOMENTS[(number + count) % len(MOMENTS)]
        if not kill(start(method, feed, folder), folder, moment, alone[1], rng):
            break
        at = [line["step"] for line in lines(folder)[-1:]] if (folder / "metrics.jsonl").exists() else []
        kills.append(f"{moment} at {at[0] if at else 0}")
        half_written += any((folder / "checkpoints").glob("*.partial*"))
    finish(start(method, feed, folder), folder)
    different = differences(folder, alone[0])
    return Outcome(number, method, feed, kills, half_written, different, time.monotonic() - begun)


def check(options: Options) -> None:
    """Raise InputError on invalid options."""
    for name, lowest in (("runs", 1), ("kills", 0)):
        if getattr(options, name) < lowest:
            raise InputError(f"{name} is {getattr(options, name)}; it must be at least {lowest}.")
    out = expanded(options.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"out is {out}, which already exists; it must be a new or an empty folder.")


def run(options: Options) -> bool:
    """Run the soak test, print the table and write soak.json; return whether every run matches its uninterrupted run."""
    check(options)
    out = expanded(options.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    alone: dict[tuple[str, str], tuple[pathlib.Path, float]] = {}
    for number in range(options.runs):
        method, feed = METHODS[number % 3], FEEDS[number // 3 % 2]
        if (method, feed) not in alone:
            folder = out / f"alone-{method}-{feed}"
            alone[method, feed] = folder, finish(start(method, feed, folder), folder)
        outcome = soak(number, options, alone[method, feed], method, feed)
        outcomes.append(outcome)
        said = "the same" if not outcome.different else f"different: {', '.join(outcome.different[:5])}"
        killed = ", ".join(outcome.kills) or "never"
        terminal.say(f"{number + 1}/{options.runs} {method} {feed}: killed ({killed}), {said}")
        same = sum(not other.different for other in outcomes)
        summary = {"same": same, "of": len(outcomes), "runs": [other._asdict() for other in outcomes]}
        write_atomically(out / "soak.json", json.dumps(summary, indent=2) + "\n")
    terminal.console.print(table(outcomes))
    return all(not outcome.different for outcome in outcomes)


def table(outcomes: list[Outcome]) -> Table:
    """A table of runs, kills by kind and matching results, by method and feed."""
    shown = Table(title="kills of runs, and their results")
    for name in ("method", "feed", "runs", *(f"at a {moment}" for moment in MOMENTS), "half written", "the same"):
        shown.add_column(name, justify="left" if name in ("method", "feed") else "right")
    for method, feed in dict.fromkeys((outcome.method, outcome.feed) for outcome in outcomes):
        own = [outcome for outcome in outcomes if (outcome.method, outcome.feed) == (method, feed)]
        counts = [sum(kill.startswith(moment) for outcome in own for kill in outcome.kills) for moment in MOMENTS]
        same = sum(not outcome.different for outcome in own)
        half = sum(outcome.half_written for outcome in own)
        shown.add_row(method, feed, *map(str, (len(own), *counts, half)), f"{same} of {len(own)}")
    return shown


def main() -> None:
    """The command line."""

    def script() -> None:
        if not run(tyro.cli(Options, description=__doc__)):
            sys.exit(1)

    terminal.run_script(script)


if __name__ == "__main__":
    main()
