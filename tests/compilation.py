"""XLA's flags and cache for the tests: the number of devices, and fast compilation, which takes most of the suite's time."""

import importlib.metadata
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "jax"

# Without LLVM's optimisations, which programs of milliseconds do not need, compilation takes half the time.
QUICK = "--xla_backend_optimization_level=0"
# The old code generator for fusions saves another third; later releases have only the new one.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    QUICK += " --xla_cpu_use_fusion_emitters=false"
    # Splitting a small program for parallel compilation costs a fifth more.
    QUICK += " --xla_cpu_parallel_codegen_split_count=1"


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
