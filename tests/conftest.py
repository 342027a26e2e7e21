"""Strict settings for every test: eight CPU devices, shapes checked at run time, rank promotion and warnings are errors."""

import gc
import os
import pathlib

from tests import compilation

# Set before jax starts: several devices, so that sharding is tested on a machine without accelerators.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{compilation.flags(8)} {os.environ.get('XLA_FLAGS', '')}"

import hypothesis
import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

import tests.checker  # noqa: F401  (the hook looks it up by name)

_ROOT = pathlib.Path(__file__).resolve().parent.parent

jax.config.update("jax_numpy_rank_promotion", "raise")
# Compiled programs are cached, for the other test process and for the next run.
jax.config.update("jax_compilation_cache_dir", str(compilation.CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# Tracing makes objects by the million, none of them in cycles: with Python's own thresholds a tenth of the time is collection.
gc.set_threshold(100_000, 50, 100)

# The default number of examples of a property test: few and the same in every run, or, with `--hypothesis-profile soak`,
# many and different in every run.
hypothesis.settings.register_profile("quick", max_examples=5, deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("soak", max_examples=250, deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("quick")

# In the tests, beartype checks every annotated shape in the package, except in the commands, whose options have no arrays.
_PARTS = sorted(
    {path.relative_to(_ROOT / "sslax").with_suffix("").parts[0] for path in (_ROOT / "sslax").rglob("*.py")}
)
install_import_hook(
    [f"sslax.{part}" for part in _PARTS if part not in ("__init__", "__main__", "cli")], "tests.checker.check"
)


# Files with few but long tests. They run first, so that no process still runs one alone at the end.
_LONG = (
    "test_devices",
    "test_methods",
    "test_pretrain",
    "test_reference",
    "test_source_options",
    "test_collectives",
    "test_flops",
    "test_engine",
    "test_evaluate",
    "test_nonfinite",
    "test_extension",
    "test_stops",
    "test_training",
)


def pytest_collection_modifyitems(items):
    place = {name: index for index, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(_LONG)))


@pytest.fixture(scope="session")
def golden():
    """golden("nt_xent_0") returns the arrays of tests/golden/nt_xent_0.npz as a dict, including `hyper`."""
    import json

    def load(name):
        with np.load(_ROOT / "tests" / "golden" / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        arrays["hyper"] = json.loads(str(arrays.pop("meta")))["hyper"]
        return arrays

    return load
