"""The methods, one file each, and the table that the scripts look them up in."""

from collections.abc import Callable
from typing import Any

from sslax.methods.base import Batch, Method, Output, Setup
from sslax.methods.simclr import SimCLR, simclr

__all__ = ["METHODS", "Batch", "Method", "Output", "Setup", "SimCLR", "simclr"]

METHODS: dict[str, Callable[[Any, Setup], Method]] = {
    SimCLR.NAME: simclr,
}
