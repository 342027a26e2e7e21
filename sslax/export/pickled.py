"""Weights in PyTorch's pickles (.pth, .pt, .bin), read by torch's own reader of weights, which executes nothing in a file."""

import argparse
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from sslax.errors import InputError

# torch.load with weights_only=True could be made to execute code before this version (CVE-2025-32434).
_TORCH = (2, 6)
# Deeper than any checkpoint; a dict may contain itself.
_DEPTH = 8


def is_pickled(start: bytes) -> bool:
    """Whether a file with these first bytes is a pickle, alone (torch before 1.6) or in a zip archive."""
    return start.startswith((b"PK\x03\x04", b"\x80\x02"))


def load_pickled(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch pickle, with the names of nested dicts joined by dots: "teacher.backbone.norm.weight".

    float16 and bfloat16 tensors are converted to float32.

    Raises:
      InputError: if torch is not installed or too old; if the file is damaged or holds something else than weights.
    """
    try:
        import torch
    except ImportError as error:
        new = path.with_suffix(".safetensors").name
        raise InputError(
            f'{path} is a PyTorch pickle, which only torch reads; run pip install "torch>=2.6", or convert it where torch is '
            f'installed: `import torch, safetensors.torch; tensors = torch.load("{path.name}", "cpu", weights_only=True)` and '
            f'`safetensors.torch.save_file(tensors, "{new}")`, with tensors["model"] or the like for a nested one.'
        ) from error
    if tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2]) < _TORCH:
        raise InputError(
            f"{path} is a PyTorch pickle, and torch is {torch.__version__}, which a pickle can make execute code; "
            'run pip install "torch>=2.6".'
        )
    try:
        # DINO's and MAE's checkpoints hold the options of their training, an inert Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    # Damaged archives and hostile pickles raise nearly any exception.
    except Exception as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"{path} is a pickle that holds more than weights (it calls {found[1].rstrip('.,')}); nothing in it was "
                "executed; save the state_dict of the network, a dict of tensors."
            ) from error
        reason = re.split(r"[.:\n] ?", str(error).strip())[0][:80]
        raise InputError(f"{path} is not a complete PyTorch file ({reason}); copy it again.") from error
    tensors = dict(_tensors(stored, torch.Tensor))
    if not tensors:
        raise InputError(f"{path} holds no named tensors; it must be a state_dict, or a dict that contains one.")
    return {name: _array(torch, tensor) for name, tensor in tensors.items()}


def _tensors(stored: Any, kind: type, prefix: str = "", depth: int = 0):
    """The tensors in nested dicts, with their names."""
    if not isinstance(stored, Mapping) or depth > _DEPTH:
        return
    for name, value in stored.items():
        if isinstance(value, kind):
            yield f"{prefix}{name}", value
        # Optimisers hold moments as large as the weights, and no network.
        elif name != "optimizer":
            yield from _tensors(value, kind, f"{prefix}{name}.", depth + 1)


def _array(torch: Any, tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return tensor.numpy()
