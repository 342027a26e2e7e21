"""The values that users hand over: right ones of every type and magnitude, and wrong ones of every kind.

Shapes come from small pools, since each costs a compilation.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

NAN, INF = float("nan"), float("inf")
KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Case:
    """A public function, what it takes and what it promises.

    `arguments` draws a call that has to be right; `wrong` has, for the name of an argument, what makes of a right call the
    values that have to be refused with the argument's name; `check` is given the right arguments and the result.
    `compiled` is False for a function that works on the host, and for a call that compiles its own program.
    """

    call: Callable[..., Any]
    arguments: st.SearchStrategy[dict[str, Any]]
    check: Callable[[dict[str, Any], Any], None]
    wrong: Mapping[str, Callable[[dict[str, Any]], list[Any]]] = dataclasses.field(default_factory=dict)
    compiled: bool = True


def exact(x: Any) -> np.ndarray:
    """What was handed over, in float64."""
    return np.asarray(jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float64), x))


def held(x: np.ndarray, dtype: Any) -> np.ndarray:
    """What is left of float64 values in another type: what float16 cannot hold is infinite there."""
    with np.errstate(over="ignore"):
        return x.astype(dtype).astype(np.float64)


def finite(*arrays: Any, dtype: Any = None, shape: tuple[int, ...] | None = None) -> None:
    """Assert that all are finite, and of a dtype and a shape where these are given."""
    for array in arrays:
        assert np.isfinite(np.asarray(array).astype(np.float64)).all()
        assert dtype is None or array.dtype == dtype, array.dtype
        assert shape is None or np.shape(array) == shape, np.shape(array)


def wide(array: Any) -> None:
    """Assert float32 or wider."""
    assert array.dtype in (jnp.float32, jnp.float64)


@st.composite
def arrays(draw, *shapes, scales=(1e-30, 1.0, 1e4, 1e30), low=None, high=None):
    """One array for each shape: every float type, NumPy, JAX or lists; magnitudes of `scales` or in [low, high]; zero rows."""
    rng = np.random.default_rng(draw(st.integers(0, 30)))
    made = []
    for shape in shapes:
        kind = draw(st.sampled_from(["float32", "float64", "float16", "bfloat16", "jax", "list"]))
        if low is None:
            scale = draw(st.sampled_from(scales))
            # float16 ends at 65504.
            x = rng.standard_normal(shape) * (min(max(scale, 1e-4), 1e3) if kind == "float16" else scale)
            if draw(st.integers(0, 3)) == 0:
                x[0] = 0
        else:
            x = draw(st.sampled_from([rng.uniform(low, high, shape), np.full(shape, low), np.full(shape, high)]))
        made.append(_as(kind, x))
    return made[0] if len(made) == 1 else tuple(made)


def _as(kind: str, x: np.ndarray) -> Any:
    if kind == "jax":
        return jnp.asarray(x, jnp.float32)
    if kind == "list":
        return x.tolist()
    return x.astype(jnp.bfloat16 if kind == "bfloat16" else kind)


def labels(count: int, num_classes: int) -> st.SearchStrategy[Any]:
    """Classes in any integer type or as a list."""
    made = st.lists(st.integers(0, num_classes - 1), min_size=count, max_size=count)
    kinds = st.sampled_from(
        [list, np.array, jnp.asarray, lambda x: np.array(x, np.uint8), lambda x: np.array(x, np.int64)]
    )
    return st.builds(lambda kind, x: kind(x), kinds, made)


def scalars(*values: float) -> st.SearchStrategy[Any]:
    """One of the values, as a number of Python's, NumPy's or JAX's."""
    return st.builds(
        lambda kind, value: kind(value),
        st.sampled_from([float, np.float64, np.float32, jnp.float32]),
        st.sampled_from(values),
    )


NOT_ARRAYS = [None, "text", [[1.0], [1.0, 2.0]], [["a"]], {"a": 1.0}]


def bad_array(name: str, *, ints: bool = False) -> Callable[[dict[str, Any]], list[Any]]:
    """What is no floating array (of integers: no integer array) of the shape that the argument has."""

    def make(arguments: dict[str, Any]) -> list[Any]:
        x = np.asarray(arguments[name]).astype(np.int64 if ints else np.float64)
        other = (
            [x + 0.5] if ints else [np.ones(x.shape, np.int32), np.full_like(x, 1e300), np.full(x.shape, -(10.0**39))]
        )
        return [*NOT_ARRAYS, *other, x[None], x[0], x[:0], x + 1j, x > 0, x.astype(str), x.astype(object)]

    return make


def bad_shape(name: str) -> Callable[[dict[str, Any]], list[Any]]:
    """One row or one column where there are more, and one more where there is one: what would broadcast in silence."""

    def make(arguments: dict[str, Any]) -> list[Any]:
        x = np.asarray(arguments[name])
        other = [x[:1] if len(x) > 1 else np.concatenate([x, x])]
        if x.ndim > 1:
            other.append(x[..., :1] if x.shape[-1] > 1 else np.concatenate([x, x], axis=-1))
        return [*other, x[..., None]]

    return make


def both(*makers: Callable[[dict[str, Any]], list[Any]]) -> Callable[[dict[str, Any]], list[Any]]:
    """The wrong values of all of them."""
    return lambda arguments: [value for maker in makers for value in maker(arguments)]


def values(*wrong: Any) -> Callable[[dict[str, Any]], list[Any]]:
    """These, whatever the other arguments are."""
    return lambda arguments: list(wrong)


_NO_NUMBERS = (NAN, INF, -INF, "0.1", None, [0.1], np.ones(1), np.ones((2, 1)), 1j, np.complex64(1), jnp.ones((1,)))
bad_finite = values(*_NO_NUMBERS)
bad_positive = values(*_NO_NUMBERS, 0.0, -1.0, 1e-46, 10**400, jnp.float32(0), np.float32(-1))
bad_at_least_0 = values(*_NO_NUMBERS, -1e-9, -1, jnp.float32(-2))
bad_probability = values(*_NO_NUMBERS, -1e-9, 1.0000001, 2, np.float32(-1), jnp.float32(1.5))
bad_count = values(0, -1, 2.5, "3", None, NAN, np.ones(2), jnp.float32(2))
bad_range = values(
    (0.0, 1.0), (0.9, 0.1), (NAN, 1.0), (0.1, NAN), (-1.0, 1.0), (0.5,), (0.1, 0.2, 0.3), 0.5, None, ("a", "b")
)
bad_choice = values("", "nonsense", None, 3)
