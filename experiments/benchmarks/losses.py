"""NT-Xent, forward and backward: seconds and memory compared with dense forms in optax and PyTorch, in the same run.

`python -m experiments.benchmarks.losses [--pairs N …]`. PyTorch is included if it is installed for the same device, in two
dense forms: one similarity matrix with a masked diagonal, the fastest form in plain PyTorch, and four matrices with the
diagonals removed, as in a large framework.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from experiments.benchmarks.timing import alternate, finished, report, temporary_mb, torch_device
from sslax.losses import nt_xent

_TEMPERATURE = 0.1


@dataclasses.dataclass(frozen=True)
class Options:
    """Speed and memory of NT-Xent, compared with other libraries."""

    pairs: tuple[int, ...] | None = None
    """Numbers of pairs to time; None is 4096, or 512, 4096 and 16384 on GPU and TPU."""
    memory: tuple[int, ...] = (8192, 32768)
    """Numbers of pairs for which to report the temporary memory of the compiled program."""
    dimensions: int = 128
    """Width of the embeddings."""
    rounds: int = 9
    """Timed calls of each, alternating; the median counts."""


def ours(n: int, d: int):
    """The compiled value and gradients for n pairs."""
    z = jax.ShapeDtypeStruct((n, d), jnp.float32)
    step = jax.value_and_grad(lambda z1, z2: nt_xent(z1, z2, temperature=_TEMPERATURE).mean(), (0, 1))
    return jax.jit(step).lower(z, z).compile()


def with_optax(n: int, d: int):
    """optax's ntxent, compiled; it takes both views in one array, with labels."""
    z, labels = jax.ShapeDtypeStruct((n, d), jnp.float32), jnp.tile(jnp.arange(n), 2)

    def loss(z1, z2):
        return optax.losses.ntxent(jnp.concatenate([z1, z2]), labels, _TEMPERATURE)

    return jax.jit(jax.value_and_grad(loss, (0, 1))).lower(z, z).compile()


def optax_memory(n: int, d: int) -> float | None:
    """Temporary memory of optax's form in MB; None if the device has too little memory to compile it."""
    try:
        return temporary_mb(with_optax(n, d))
    except jax.errors.JaxRuntimeError as error:
        print(f"optax.losses.ntxent of {n} pairs: {str(error).splitlines()[0]}", file=sys.stderr)
        return None


def torch_one_matrix(z1, z2):
    """Value and gradients from one masked matrix."""
    import torch
    from torch.nn import functional

    z1, z2 = z1.clone().requires_grad_(), z2.clone().requires_grad_()
    z = functional.normalize(torch.cat([z1, z2]))
    n = len(z1)
    logits = z @ z.T / _TEMPERATURE
    logits.fill_diagonal_(-torch.inf)
    loss = functional.cross_entropy(logits, torch.arange(2 * n, device=z.device).roll(n))
    loss.backward()
    return loss, z1.grad, z2.grad


def torch_four_matrices(z1, z2):
    """Value and gradients from one matrix per pair of views, with the diagonals of two removed."""
    import torch
    from torch.nn import functional

    z1, z2 = z1.clone().requires_grad_(), z2.clone().requires_grad_()
    u1, u2 = functional.normalize(z1), functional.normalize(z2)
    n = len(z1)
    others = ~torch.eye(n, dtype=torch.bool, device=z1.device)
    rows = []
    for a, b in ((u1, u2), (u2, u1)):
        negatives = (a @ a.T / _TEMPERATURE)[others].view(n, n - 1)
        rows.append(torch.cat([a @ b.T / _TEMPERATURE, negatives], dim=1))
    loss = functional.cross_entropy(torch.cat(rows), torch.arange(n, device=z1.device).repeat(2))
    loss.backward()
    return loss, z1.grad, z2.grad


def run(options: Options) -> None:
    """Print a line for each size and library."""
    d = options.dimensions
    for n in options.memory:
        report(
            f"nt_xent memory, {n} pairs",
            temporary_mb(ours(n, d)),
            "MB",
            rival="optax.losses.ntxent",
            rival_figure=optax_memory(n, d),
        )

    on_cpu, device = jax.default_backend() == "cpu", torch_device()
    if device is None:
        print("PyTorch is not installed for this device; it is left out.", file=sys.stderr)
    for n in options.pairs or ((4096,) if on_cpu else (512, 4096, 16384)):
        z1, z2 = np.random.default_rng(0).standard_normal((2, n, d), np.float32)
        compiled = ours(n, d)
        arrays = jax.device_put((z1, z2))
        functions: dict[str, Callable[[], object]] = {"ours": functools.partial(compiled, *arrays)}
        if device is not None:
            import torch

            tensors = [torch.from_numpy(z).to(device) for z in (z1, z2)]
            functions["torch, one matrix"] = finished(torch_one_matrix, *tensors)
            functions["torch, four matrices"] = finished(torch_four_matrices, *tensors)
            theirs = torch_one_matrix(*tensors)[1].cpu().numpy()
            np.testing.assert_allclose(theirs, compiled(*arrays)[1][0], atol=1e-8, rtol=1e-3)
        # optax's form needs several times 16 n² d bytes; larger sizes would not fit.
        if n <= 1024:
            functions["optax.losses.ntxent"] = functools.partial(with_optax(n, d), *arrays)
        seconds = alternate(functions, rounds=options.rounds)
        # Print a line even without another library.
        for rival in [name for name in functions if name != "ours"] or ["torch, one matrix"]:
            name = f"nt_xent forward and backward, {n} pairs"
            theirs = 1 / seconds[rival] if rival in seconds else None
            report(name, 1 / seconds["ours"], "calls/s", rival=rival, rival_figure=theirs)


if __name__ == "__main__":
    run(tyro.cli(Options, prog="python -m experiments.benchmarks.losses"))
