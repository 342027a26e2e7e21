"""kNN votes: seconds and memory compared with PyTorch in the same run.

`python -m experiments.benchmarks.knn [--queries N … --features N …]`. If PyTorch is installed for the same device, it uses one
similarity matrix, `topk` and a one-hot vote, as large frameworks do.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.benchmarks.timing import alternate, finished, report, temporary_mb, torch_device
from sslax.evaluation import knn_scores

_CLASSES, _TEMPERATURE = 10, 0.1


@dataclasses.dataclass(frozen=True)
class Options:
    """Speed and memory of kNN, compared with PyTorch."""

    queries: tuple[int, ...] = (1000, 10000)
    """Numbers of features to classify."""
    features: tuple[int, ...] = (50000,)
    """Numbers of labelled features."""
    dimensions: int = 512
    """Width of the features."""
    k: int = 200
    """Number of neighbours that vote."""
    rounds: int = 7
    """Timed calls of each, alternating; the median counts."""


def ours(m: int, n: int, options: Options):
    """The compiled votes of n features on m queries."""
    shapes = [jax.ShapeDtypeStruct((rows, options.dimensions), jnp.float32) for rows in (m, n)]
    votes = functools.partial(knn_scores, num_classes=_CLASSES, k=options.k, temperature=_TEMPERATURE)
    return jax.jit(votes).lower(*shapes, jax.ShapeDtypeStruct((n,), jnp.int32)).compile()


def with_torch(queries, features, labels, k: int):
    """The same votes from one similarity matrix."""
    from torch.nn import functional

    cosines = functional.normalize(queries) @ functional.normalize(features).T
    nearest, index = cosines.topk(k, dim=1)
    votes = functional.one_hot(labels[index], _CLASSES) * (nearest / _TEMPERATURE).exp().unsqueeze(2)
    return votes.sum(dim=1)


def run(options: Options) -> None:
    """Print a line for each size."""
    device = torch_device()
    if device is None:
        print("PyTorch is not installed for this device; there is nothing to compare with.", file=sys.stderr)
    for m in options.queries:
        for n in options.features:
            rng = np.random.default_rng(0)
            queries, features = (rng.standard_normal((rows, options.dimensions), np.float32) for rows in (m, n))
            labels = rng.integers(0, _CLASSES, n).astype(np.int32)
            compiled = ours(m, n, options)
            arrays = jax.device_put((queries, features, labels))
            functions: dict[str, Callable[[], Any]] = {"ours": functools.partial(compiled, *arrays)}
            if device is not None:
                import torch

                tensors = [torch.from_numpy(x).to(device) for x in (queries, features, labels.astype(np.int64))]
                functions["torch, one matrix"] = finished(with_torch, *tensors, options.k)
                theirs = functions["torch, one matrix"]().cpu().numpy().argmax(1)
                assert (theirs == np.asarray(compiled(*arrays)).argmax(1)).mean() > 0.999
            seconds = alternate(functions, rounds=options.rounds)
            rival = seconds.get("torch, one matrix")
            report(
                f"kNN, k={options.k}, {m} queries x {n} features of {options.dimensions}",
                1 / seconds["ours"],
                "calls/s",
                rival="torch, one matrix",
                rival_figure=None if rival is None else 1 / rival,
                memory_mb=temporary_mb(compiled),
            )


if __name__ == "__main__":
    run(tyro.cli(Options, prog="python -m experiments.benchmarks.knn"))
