"""Complete SimCLR runs compared with lightly: kNN and seconds of both, with the same files, network, recipe and device.

`python -m experiments.benchmarks.peers --data folder:PATH [--peer-python PYTHON]`. PATH holds train/CLASS/*.jpg and
test/CLASS/*.jpg of 32 pixels, like CIFAR-10. PYTHON is the python of an environment with lightly and torch, if it differs.

Each side runs in its own process, because torch and JAX would share threads; the sides alternate, seed by seed. The seconds of
a side are those of its process: start, decoding, compiling, training and the three kNN evaluations. The compilation cache is
not used. The views of sslax are those of lightly's transform: torchvision's crops and colours, bilinear, ImageNet's
normalisation. Remaining differences: sslax resizes and jitters in floating point, lightly on 8-bit images; sslax also
evaluates kNN with k=1.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import tyro

from experiments.benchmarks.peer_recipe import NEIGHBOURS, SIZE, WIDTHS, Options, flags, listed, recipe_of
from experiments.benchmarks.timing import report
from sslax.cli import terminal
from sslax.cli.pretrain import parse
from sslax.config import check, check_against_data
from sslax.errors import InputError

_PEER = pathlib.Path(__file__).with_name("peer_lightly.py")
_INSTALL = 'pip install "lightly>=1.5" torch torchvision'
# Exit code of lightly's script if a module is missing.
_MISSING = 2
_Done = subprocess.CompletedProcess[str]


def python_of(options: Options) -> str:
    """The python program for lightly's side.

    Raises:
      InputError: if there is no such program.
    """
    named = options.peer_python or sys.executable
    found = shutil.which(os.path.expanduser(named))
    if found is None:
        raise InputError(
            f"peer_python is {named}, which is not a program; it must be the python of an environment with lightly."
        )
    return found


def answer(command: Sequence[str], *, whole: bool = True, own: bool = False) -> tuple[_Done, float]:
    """Run one side; return the finished process and its seconds. With `whole`, its stderr goes to this process's stderr."""
    # Each run compiles its programs, like a user's first run.
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    if not own:
        environment.pop("PYTHONPATH", None)
        # Otherwise modules in the script's folder, such as trace.py, would shadow modules that torch imports.
        environment["PYTHONSAFEPATH"] = "1"
    start = time.perf_counter()
    stderr = None if whole else subprocess.PIPE
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
    return done, time.perf_counter() - start


def last_line(done: _Done, side: str) -> dict[str, Any]:
    """The JSON object on the last line of a side's output.

    Raises:
      InputError: if the side failed.
    """
    try:
        if done.returncode == 0:
            return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        pass
    said = f": {done.stderr.strip().splitlines()[-1]}" if (done.stderr or "").strip() else "; its output is above"
    raise InputError(f"{side} ended with exit code {done.returncode} and without a result{said}.")


class Sides:
    """Both sides of the comparison, as commands.

    Args:
      options: options of the benchmark.
      own: the command of sslax's side.

    Attributes:
      gpu: whether both run on a GPU.
      device: name of the GPU or CPU.
      versions: versions of lightly, torch and torchvision.
      parameters: number of trained parameters of each side.

    Raises:
      InputError: if a side cannot run, or the two would train different networks.
    """

    def __init__(self, options: Options, own: Sequence[str], folder: pathlib.Path):
        self._options, self._own, self._file = options, own, folder / "recipe.json"
        self._python = python_of(options)
        for seed in options.seeds:
            _, config = parse(flags(options, seed))
            check(config)
        data = listed(options)
        assert data.test is not None, "listed() has seen to it"
        check_against_data(config, images=len(data.train), canvas=SIZE, devices=1)
        self.images, self.test_images = len(data.train), len(data.test)
        self._recipe = recipe_of(config, data)
        peer, mine = self._probe_peer(), self._probe_own()
        if mine["platform"] == "gpu" and not peer["gpu"]:
            raise InputError(
                f"sslax runs on {mine['device']}, but torch finds no GPU; both sides must run on the same device."
            )
        if mine["parameters"] != peer["parameters"]:
            raise InputError(
                f"sslax would train {mine['parameters']} parameters and lightly's side {peer['parameters']}; "
                "the networks must be the same."
            )
        self.gpu, self.device = mine["platform"] == "gpu", mine["device"]
        self.versions, self.parameters = peer["versions"], peer["parameters"]

    def _probe_peer(self) -> dict[str, Any]:
        self._file.write_text(json.dumps(self._recipe), encoding="utf-8")
        done, _ = answer([self._python, str(_PEER), "probe", str(self._file)], whole=False)
        if done.returncode == _MISSING:
            raise InputError(
                f"lightly is not installed for {self._python}; install it with {_INSTALL}, or set --peer-python to the python "
                "of an environment that has it."
            )
        return last_line(done, "lightly's side")

    def _probe_own(self) -> dict[str, Any]:
        done, _ = answer([*self._own, "probe", *flags(self._options, 0)], whole=False, own=True)
        found = last_line(done, "sslax's side")
        if found["platform"] not in ("cpu", "gpu") or found["devices"] != 1:
            raise InputError(
                f"sslax would run on {found['devices']} devices of {found['platform']}; lightly's side runs on a CPU or on one "
                "GPU, so sslax must too (CUDA_VISIBLE_DEVICES=0)."
            )
        return found

    def ours(self, seed: int) -> dict[str, Any]:
        """sslax's result with this seed, and its `seconds`."""
        done, seconds = answer([*self._own, "run", *flags(self._options, seed, self._precision())], own=True)
        return last_line(done, "sslax's side") | {"seconds": seconds}

    def lightlys(self, seed: int) -> dict[str, Any]:
        """lightly's result with this seed, and its `seconds`."""
        more = {"seed": seed, "device": "cuda" if self.gpu else "cpu", "precision": self._precision()}
        self._file.write_text(json.dumps(self._recipe | more), encoding="utf-8")
        done, seconds = answer([self._python, str(_PEER), "run", str(self._file)])
        return last_line(done, "lightly's side") | {"seconds": seconds}

    def _precision(self) -> str:
        return "bfloat16" if self.gpu else "float32"


def run(options: Options, own: Sequence[str] = (sys.executable, "-m", "experiments.benchmarks.peer_sslax")) -> None:
    """Print a line of kNN accuracies for each seed, and a line with the seconds of all seeds."""
    if options.network not in WIDTHS:
        raise InputError(f"network is {options.network}; it must be one of {', '.join(WIDTHS)}.")
    if not options.seeds:
        raise InputError("seeds is empty; it must name at least one.")
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(options, own, pathlib.Path(folder))
        told = {
            "network": options.network,
            "parameters": sides.parameters,
            "images": sides.images,
            "test_images": sides.test_images,
            "epochs": options.epochs,
            "batch": options.batch_size,
            "lr": options.lr,
            "peer_versions": sides.versions,
            "device": sides.device,
        }
        seconds = []
        for seed in options.seeds:
            print(f"seed {seed}: sslax", file=sys.stderr, flush=True)
            ours = sides.ours(seed)
            print(f"seed {seed}: lightly", file=sys.stderr, flush=True)
            theirs = sides.lightlys(seed)
            report_seed(options, seed, ours, theirs, told)
            seconds.append((ours["seconds"], theirs["seconds"]))
    medians = [statistics.median(side) for side in zip(*seconds, strict=True)]
    ratios = [mine / theirs for mine, theirs in seconds]
    # The two runs of a seed see about the same machine load, so their ratio is more reliable than the ratio of medians.
    name, ratio = f"SimCLR, {options.network}, whole run", statistics.median(ratios)
    report(
        name, medians[0], "s", rival="lightly", rival_figure=medians[1], **(told | {"ratio": ratio, "ratios": ratios})
    )


def report_seed(
    options: Options, seed: int, ours: dict[str, Any], theirs: dict[str, Any], told: dict[str, Any]
) -> None:
    """Print the line of a seed: kNN k=20 of both sides in per cent, their baselines, and their seconds."""
    more: dict[str, Any] = {"seed": seed}
    for prefix, side in (("", ours), ("rival_", theirs)):
        more |= {f"{prefix}{name}": 100 * side[name] for name in ("raw_pixels", "untrained")}
        more |= {f"{prefix}{name}": side[name] for name in ("seconds", "training_seconds", "loss")}
    figures = 100 * ours["trained"], 100 * theirs["trained"]
    name = f"SimCLR, {options.network}, kNN k={NEIGHBOURS}"
    report(name, figures[0], "%", rival="lightly", rival_figure=figures[1], **more, **told)


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.benchmarks.peers")
    # The sides use the GPU; this process must not reserve its memory.
    jax.config.update("jax_platforms", "cpu")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
