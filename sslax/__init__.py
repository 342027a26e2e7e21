"""Self-supervised visual representation learning in JAX and Flax: pure losses, methods as their papers define them, training.

`sslax.pretrain` trains a network on your images and `sslax.load` opens a finished run. The other parts are subpackages, such
as `sslax.losses`. Each subpackage is imported at its first use, so that a loss alone imports little more than JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslax.training.api import pretrain as pretrain
    from sslax.training.load import load as load

__version__ = "0.1.0"

_PARTS = (
    "augment",
    "data",
    "evaluation",
    "finetuning",
    "losses",
    "methods",
    "networks",
    "optim",
    "recipes",
    "training",
)

__all__ = ["__version__", "load", "pretrain"]


def __getattr__(name: str) -> Any:
    if name in ("load", "pretrain"):
        return getattr(importlib.import_module("sslax.training"), name)
    if name in _PARTS:
        return importlib.import_module(f"sslax.{name}")
    raise AttributeError(f"module 'sslax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "load", "pretrain", *_PARTS})
