"""Weights files: safetensors; `load_weights` also reads PyTorch's pickles, and files of the Hugging Face Hub."""

import json
import os
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from sslax.errors import InputError
from sslax.export.hub import download, on_hub
from sslax.export.pickled import is_pickled, load_pickled
from sslax.files import expanded, write_atomically

# The safetensors types that can be read, little-endian. Only recent versions of the package's own reader support bfloat16.
_SIZES = {"F": (8, 4, 2), "I": (8, 4, 2, 1), "U": (8, 4, 2, 1)}
_DTYPES = {f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind, sizes in _SIZES.items() for size in sizes}
_DTYPES |= {"BF16": np.dtype(jnp.bfloat16), "BOOL": np.dtype(np.bool_)}


def load_weights(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and the metadata of a weights file; its content, and not its name, tells the format.

    Args:
      path: a safetensors file; a PyTorch pickle (.pth, .pt, .bin), for which torch must be installed, without metadata; or
        hf:OWNER/NAME[@REVISION][/FILE], a file of the Hugging Face Hub (see `sslax.export.hub`).

    Raises:
      InputError: if the file cannot be read, or is not a complete weights file; if torch or huggingface_hub are needed and not
        installed.
    """
    name = os.fspath(path)
    local = download(name) if on_hub(name) else expanded(path)
    try:
        with open(local, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"{local} cannot be read: {error.strerror}.") from error
    return (load_pickled(local), {}) if is_pickled(start) else load_safetensors(local)


def save_safetensors(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write arrays to a safetensors file in one step. A reader, or a crash, finds the old or the new file, both complete.

    Args:
      path: path of the file, in an existing folder; an existing file is replaced.
      tensors: a dict from name to array.
      metadata: texts by name, stored in the file's header.

    Raises:
      InputError: if the file cannot be written, for example because the disk is full, or the format does not support the
        type of an array.
    """
    path = expanded(path)
    # The package writes an array's memory as it is laid out, so a transposed array would be read back scrambled.
    dense = {name: np.array(tensor, order="C") for name, tensor in tensors.items()}
    try:
        data = safetensors.numpy.save(dense, metadata=metadata)
    except safetensors.SafetensorError as error:
        raise InputError(f"tensors cannot be written to {path} as safetensors: {_plain(error)}.") from error
    try:
        write_atomically(path, data)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error


def load_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file. float16 and bfloat16 arrays are converted to float32.

    Raises:
      InputError: if the file cannot be read, is not a safetensors file, is truncated, or has arrays of 8-bit floats or of
        types smaller than 8 bits.
    """
    path = expanded(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        stored = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path} is not a complete safetensors file ({_plain(error)}); copy it again, or, for a PyTorch pickle (.pth, "
            ".pt, .bin), save its tensors with safetensors.torch.save_file first."
        ) from error
    tensors = {}
    for name, entry in stored:
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"{path} holds {name} as {entry['dtype']}, which is not supported; it must be one of {', '.join(_DTYPES)}."
            )
        tensor = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = tensor.astype(np.float32) if entry["dtype"] in ("F16", "BF16") else tensor
    # Eight bytes give the length of the JSON header after them; safetensors.deserialize has validated it above.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__") or {}


def _plain(error: Exception) -> str:
    """The safetensors package's message without its prefix and final dot, to use inside a sentence."""
    return str(error).split(": ", 1)[-1].rstrip(".")
