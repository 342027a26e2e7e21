"""sslax's side of `experiments.benchmarks.peers`: `python -m experiments.benchmarks.peer_sslax probe|run CONFIG FLAGS...`.

CONFIG and FLAGS are those of `sslax pretrain`, and it runs the same training. Of the final evaluation it runs only kNN, as
lightly's side does, and it writes no report. The last line on stdout is a JSON object: for `probe`, the devices and the number
of trained parameters; for `run`, the accuracies and the seconds of training.
"""

import functools
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax

from sslax.cli import terminal
from sslax.cli.pretrain import parse
from sslax.config import Config, check, to_dict
from sslax.data import Dataset, LazyDataset
from sslax.runs import RunDir
from sslax.training import Embedder, build, build_for, fit, measure, open_images, raw_pixels, start_state


def run(config: Config) -> dict[str, Any]:
    """Train and evaluate a configuration."""
    return trained_on(open_images(config), config)


def trained_on(data: Dataset | LazyDataset, config: Config) -> dict[str, Any]:
    """Train on these images, and evaluate raw pixels, the untrained and the trained network."""
    built = build(config, data)
    embedder = Embedder(built.method, built.mesh)

    def accuracy(features: Callable[..., Any]) -> float:
        return measure(features, data, workers=config.workers)["knn20"]

    lines: list[dict[str, Any]] = []
    result = {"raw_pixels": accuracy(raw_pixels)}
    result["untrained"] = accuracy(functools.partial(embedder, start_state(config, built)))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        state = fit(config, built, data, RunDir(pathlib.Path(folder) / "run", to_dict(config)), follow=lines.append)
    result["training_seconds"] = time.perf_counter() - start
    result["loss"] = lines[-1]["loss"]
    result["trained"] = accuracy(functools.partial(embedder, state))
    return result


def probe(config: Config) -> dict[str, Any]:
    """The devices, and the number of parameters that the configuration trains; compiles nothing."""
    size = config.method.views.size
    built = build_for(config, images=config.batch_size, canvas=size)
    params, _ = jax.eval_shape(lambda key: built.method.init(key, built.image_shape), jax.random.key(0))
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "platform": jax.default_backend(),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
    }


def main() -> None:
    """The command line."""

    def script() -> None:
        asked, *arguments = sys.argv[1:]
        _, config = parse(arguments)
        check(config)
        print(json.dumps({"probe": probe, "run": run}[asked](config)))

    sys.exit(terminal.exit_code(script))


if __name__ == "__main__":
    main()
