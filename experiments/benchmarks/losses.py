"""NT-Xent, forward and backward: seconds and memory beside optax's and PyTorch's dense forms, in the same run.

`python -m experiments.benchmarks.losses [--pairs N …]`. PyTorch is compared where it is installed, in two dense forms: one
similarity matrix with its diagonal masked, the fastest that plain PyTorch offers, and four matrices with the diagonals cut
out, as a large framework writes it.
"""

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from experiments.benchmarks.timing import alternate, report
from sslax.losses import nt_xent

_TEMPERATURE = 0.1


@dataclasses.dataclass(frozen=True)
class Options:
    """Speed and memory of NT-Xent beside its rivals."""

    pairs: tuple[int, ...] = (4096,)
    """Sizes to time, pairs of views."""
    memory: tuple[int, ...] = (8192, 32768)
    """Sizes to give the compiled program's temporary memory of."""
    dimensions: int = 128
    """Width of the embeddings."""
    rounds: int = 9
    """Timed calls of each, in turn; the median counts."""


def ours(n: int, d: int):
    """The compiled value and gradients for n pairs."""
    z = jax.ShapeDtypeStruct((n, d), jnp.float32)
    step = jax.value_and_grad(lambda z1, z2: nt_xent(z1, z2, temperature=_TEMPERATURE).mean(), (0, 1))
    return jax.jit(step).lower(z, z).compile()


def with_optax(n: int, d: int):
    """optax's ntxent, compiled; it wants both views in one array, with labels."""
    z, labels = jax.ShapeDtypeStruct((n, d), jnp.float32), jnp.tile(jnp.arange(n), 2)

    def loss(z1, z2):
        return optax.losses.ntxent(jnp.concatenate([z1, z2]), labels, _TEMPERATURE)

    return jax.jit(jax.value_and_grad(loss, (0, 1))).lower(z, z).compile()


def torch_one_matrix(z1, z2):
    """Value and gradients by one masked matrix."""
    import torch
    from torch.nn import functional

    z1, z2 = z1.clone().requires_grad_(), z2.clone().requires_grad_()
    z = functional.normalize(torch.cat([z1, z2]))
    n = len(z1)
    logits = z @ z.T / _TEMPERATURE
    logits.fill_diagonal_(-torch.inf)
    loss = functional.cross_entropy(logits, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))
    loss.backward()
    return loss, z1.grad, z2.grad


def torch_four_matrices(z1, z2):
    """Value and gradients by a matrix for each pair of views, the diagonals cut out of two."""
    import torch
    from torch.nn import functional

    z1, z2 = z1.clone().requires_grad_(), z2.clone().requires_grad_()
    u1, u2 = functional.normalize(z1), functional.normalize(z2)
    n = len(z1)
    others = ~torch.eye(n, dtype=torch.bool)
    rows = []
    for a, b in ((u1, u2), (u2, u1)):
        negatives = (a @ a.T / _TEMPERATURE)[others].view(n, n - 1)
        rows.append(torch.cat([a @ b.T / _TEMPERATURE, negatives], dim=1))
    loss = functional.cross_entropy(torch.cat(rows), torch.arange(n).repeat(2))
    loss.backward()
    return loss, z1.grad, z2.grad


def run(options: Options) -> None:
    """Print a line for each size and rival."""
    d = options.dimensions
    for n in options.memory:
        bytes_used = ours(n, d).memory_analysis().temp_size_in_bytes
        rival = with_optax(n, d).memory_analysis().temp_size_in_bytes
        report(
            f"nt_xent memory, {n} pairs", bytes_used / 1e6, "MB", rival="optax.losses.ntxent", rival_figure=rival / 1e6
        )

    for n in options.pairs:
        z1, z2 = np.random.default_rng(0).standard_normal((2, n, d), np.float32)
        compiled = ours(n, d)
        arrays = jax.device_put((z1, z2))
        functions = {"ours": functools.partial(compiled, *arrays)}
        try:
            import torch
        except ImportError:
            print("PyTorch is not installed; only optax is compared.", file=sys.stderr)
        else:
            tensors = torch.from_numpy(z1), torch.from_numpy(z2)
            functions["torch, one matrix"] = functools.partial(torch_one_matrix, *tensors)
            functions["torch, four matrices"] = functools.partial(torch_four_matrices, *tensors)
            np.testing.assert_allclose(
                torch_one_matrix(*tensors)[1].numpy(), compiled(*arrays)[1][0], atol=1e-8, rtol=1e-3
            )
        # optax's form takes 4 n² d bytes several times over; beyond this it would not fit.
        if n <= 1024:
            functions["optax.losses.ntxent"] = functools.partial(with_optax(n, d), *arrays)
        seconds = alternate(functions, rounds=options.rounds)
        for rival in functions:
            if rival != "ours":
                name = f"nt_xent forward and backward, {n} pairs"
                report(name, 1 / seconds["ours"], "calls/s", rival=rival, rival_figure=1 / seconds[rival])


if __name__ == "__main__":
    run(tyro.cli(Options, prog="python -m experiments.benchmarks.losses"))
