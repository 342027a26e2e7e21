"""What XLA is told in the tests: to compile quickly, which is most of the suite's time, and to keep what it compiled."""

import importlib.metadata
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "jax"

# LLVM is not to optimise programs that run for milliseconds: that halves it.
QUICK = "--xla_backend_optimization_level=0"
# The old code generator of fusions takes a third off it once more; later releases have the new one alone.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    QUICK += " --xla_cpu_use_fusion_emitters=false"


def flags(devices: int) -> str:
    """XLA_FLAGS of a process that has so many devices."""
    return f"--xla_force_host_platform_device_count={devices} {QUICK}"


def environment(devices: int = 1, **changes: str) -> dict[str, str]:
    """The environment of a process of its own: the project can be imported, and programs are compiled and kept as here."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": flags(devices),
        "JAX_COMPILATION_CACHE_DIR": str(CACHE),
        # jax's own limit of a second leaves out most of them.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.0",
        **changes,
    }
