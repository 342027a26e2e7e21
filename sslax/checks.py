"""Checks of the arguments of public functions, before anything is computed.

Each check raises TypeError for a wrong type and ValueError for a wrong value or shape, with one sentence that names the
argument. Types and shapes are always checked. Values are checked only if they are concrete: a tracer, under jit, grad or
vmap, has no value yet.
"""

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sslax.errors import InputError

_TINY, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_FEW = 2**16


def is_concrete(x: Any) -> bool:
    """Whether this process knows the values of `x`: False for a tracer, and for an array that is partly on other hosts."""
    return not isinstance(x, jax.core.Tracer) and getattr(x, "is_fully_addressable", True)


def value_range(x: Array | np.ndarray) -> tuple[float, float]:
    """The smallest and the largest value of a concrete array; both are NaN if the array contains a NaN."""
    # Reading a few values costs far less than compiling two reductions for every shape.
    if x.size <= _FEW:
        x = np.asarray(x)
    # A traced function may close over a concrete array. Without this, min and max of it would be tracers.
    with jax.ensure_compile_time_eval():
        return float(x.min()), float(x.max())


def parse_colour(name: str, text: str) -> tuple[int, int, int]:
    """Read a colour that an option gives as `R,G,B`.

    Raises:
      InputError: if the text is not three whole numbers from 0 to 255.
    """
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) <= 255 for part in parts):
        raise InputError(f"{name} is {text}; it must be R,G,B, three whole numbers from 0 to 255, such as 255,255,255.")
    red, green, blue = map(int, parts)
    return red, green, blue


def as_array(name: str, x: Any) -> Array:
    """Convert `x` to a JAX array. NumPy's 64-bit types and Python lists become JAX's types if these can hold the values.

    The check is needed because JAX itself silently turns large float64 values into infinities and wraps large int64 values.
    """
    if isinstance(x, jax.Array):
        return x
    try:
        if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(x)):
            return jnp.asarray(x)
        given = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be converted to an array; all its parts must have the same shape and type."
        ) from error
    if not (jnp.issubdtype(given.dtype, jnp.number) or given.dtype == bool):
        raise TypeError(f"{name} has dtype {given.dtype}; it must be an array of numbers.")
    dtype = jax.dtypes.canonicalize_dtype(given.dtype)
    with np.errstate(over="ignore"):
        held = given.astype(dtype)
    lost = np.isfinite(given) & ~np.isfinite(held) if jnp.issubdtype(given.dtype, jnp.inexact) else given != held
    if lost.any():
        raise ValueError(f"{name} has the value {given[lost].flat[0]}, which {dtype} cannot hold.")
    # Under jit the array would otherwise be a tracer, and its values could not be checked. `jnp.asarray` would compile a
    # program for every shape.
    with jax.ensure_compile_time_eval():
        return jax.device_put(held)


def check_floating(name: str, x: Array, ndim: int) -> None:
    """Raise unless `x` is a real floating-point array with `ndim` dimensions, all of them at least 1."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{name} has dtype {x.dtype}; it must be a floating-point array.")
    _check_shape(name, x, ndim)


def check_pair(name1: str, x1: Array, name2: str, x2: Array, ndim: int = 2) -> None:
    """Raise unless both are real floating-point arrays with `ndim` dimensions and the same shape."""
    check_floating(name1, x1, ndim)
    check_floating(name2, x2, ndim)
    if x1.shape != x2.shape:
        raise ValueError(f"{name1} has shape {x1.shape} and {name2} has shape {x2.shape}; they must be the same.")


def check_labels(
    name: str, labels: Array | np.ndarray, *, count: int | None = None, of: str = "", num_classes: int
) -> None:
    """Raise unless `labels` are integers [count] in [0, num_classes). With `count` None any number is accepted, also 0."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name} has dtype {labels.dtype}; it must be an array of integers.")
    if labels.ndim != 1 or count not in (None, labels.shape[0]):
        wanted = "one dimension" if count is None else f"shape ({count},), one for each of {count} {of}"
        raise ValueError(f"{name} has shape {labels.shape}; it must have {wanted}.")
    if is_concrete(labels) and labels.size:
        low, high = value_range(labels)
        if not 0 <= low <= high < num_classes:
            raise ValueError(f"{name} has {low:.0f} to {high:.0f}; it must lie in [0, {num_classes}).")


def as_images(
    name: str, x: Any, *, ndim: int = 3, rgb: bool = False, unit: bool = False, levels: bool = False
) -> Array:
    """Check images [h, w, c], or [n, h, w, c] for `ndim` 4, and convert them to float32 or wider.

    Args:
      name: name of the argument.
      x: the images.
      ndim: number of dimensions.
      rgb: require c to be 3.
      unit: require floating-point values in [0, 1].
      levels: also accept uint8, which is returned as uint8.
    """
    images = as_array(name, x)
    if not (levels and images.dtype == jnp.uint8):
        if not jnp.issubdtype(images.dtype, jnp.floating):
            wanted = "a floating-point or uint8 array" if levels else "a floating-point array in [0, 1]"
            raise TypeError(f"{name} has dtype {images.dtype}; it must be {wanted}.")
        if images.dtype.itemsize < 4:
            images = images.astype(jnp.float32)
    _check_shape(name, images, ndim)
    if rgb and images.shape[-1] != 3:
        raise ValueError(
            f"{name} has shape {images.shape}; its last dimension must be the 3 channels red, green, blue."
        )
    if unit and images.dtype != jnp.uint8 and is_concrete(images):
        low, high = value_range(images)
        if not 0 <= low <= high <= 1:
            raise ValueError(f"{name} has values from {low:g} to {high:g}; they must lie in [0, 1].")
    return images


def check_finite(name: str, value: Any) -> None:
    """Raise unless `value` is a single finite number."""
    if (number := _number(name, value)) is not None and not math.isfinite(number):
        raise ValueError(f"{name} is {value}; it must be a finite number.")


def check_positive(name: str, value: Any) -> None:
    """Raise unless `value` is a single positive number that float32 can hold: 1e-46 would become 0, and dividing by it NaN."""
    if (number := _number(name, value)) is not None and not _TINY <= number <= _LARGEST:
        raise ValueError(f"{name} is {value}; it must be a finite number above 0 that float32 can hold.")


def check_at_least(name: str, value: Any, least: float = 0.0) -> None:
    """Raise unless `value` is a single finite number of at least `least`."""
    if (number := _number(name, value)) is not None and not least <= number < math.inf:
        raise ValueError(f"{name} is {value}; it must be a finite number of at least {least:g}.")


def check_probability(name: str, value: Any, *, below_one: bool = False) -> None:
    """Raise unless `value` is a single number in [0, 1], or in [0, 1) with `below_one`."""
    if (number := _number(name, value)) is None:
        return
    if not 0 <= number <= 1 or (below_one and number == 1):
        raise ValueError(f"{name} is {value}; it must lie in [0, 1{')' if below_one else ']'}.")


def check_count(name: str, value: Any, *, least: int = 1, what: str = "") -> None:
    """Raise unless `value` is a whole number of at least `least`; it must be known at compile time, so not a tracer."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} is {value}; it must be a whole number.") from error
    if number < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}{what}.")


def check_range(name: str, value: Any, *, most: float = math.inf) -> None:
    """Raise unless `value` is two positive finite numbers, the lower first and the higher at most `most`."""
    pair: list[Any] = (
        [number for number in value if isinstance(number, numbers.Real)] if isinstance(value, Sequence) else []
    )
    if not (len(pair) == 2 == len(value) and 0 < pair[0] <= pair[1] <= most and math.isfinite(pair[1])):
        limit = f" and at most {most:g}" if math.isfinite(most) else ""
        raise ValueError(f"{name} is {value}; it must be two positive finite numbers, the lower first{limit}.")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}.")


def _check_shape(name: str, x: Array, ndim: int) -> None:
    if x.ndim != ndim:
        raise ValueError(f"{name} has shape {x.shape}; it must have {ndim} dimension{'s' if ndim > 1 else ''}.")
    if 0 in x.shape:
        raise ValueError(f"{name} has shape {x.shape}; every dimension must be at least 1.")


def _number(name: str, value: Any) -> float | None:
    """The real number in `value`, or None if `value` is traced."""
    if not isinstance(value, numbers.Real | np.generic | np.ndarray | jax.Array):
        raise TypeError(f"{name} is {value!r}; it must be a number.")
    shape = getattr(value, "shape", ())
    if shape != ():
        raise ValueError(f"{name} has shape {shape}; it must be one number.")
    if not isinstance(value, numbers.Real) and not any(
        jnp.issubdtype(value.dtype, kind) for kind in (jnp.floating, jnp.integer)
    ):
        raise TypeError(f"{name} has dtype {value.dtype}; it must be a real number.")
    if not is_concrete(value):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
