"""Count the floating-point operations of a traced program in its jaxpr; the number is the same on every backend.

It counts matrix products (`dot_general`), convolutions and cuDNN's fused attention, also inside Pallas kernels. A
multiplication and an addition are two operations. Elementwise operations, reductions, FFTs and decompositions are left out, as
in model FLOPs utilisation (Chowdhery et al. 2022, "PaLM", appendix B).

Conventions:

- **Padding.** By default every position of a convolution's kernel counts, also on padding, as in papers and in counts by hand.
  `padding=False` leaves out the positions on padding, as XLA's `cost_analysis` does. Zeros between the entries of a dilated
  operand never count. So each gradient of a convolution with "SAME" padding counts as much as its forward pass.
- **Recomputation.** Model FLOPs leave out what is computed a second time to save memory. The jaxpr of a program with
  `jax.checkpoint` holds both computations and both count, so trace the program without it to get model FLOPs. The backward pass
  of the fused attention counts as two forward passes; `recomputation=True` adds the scores that the kernel computes again,
  which makes it 2.5 forward passes.
- **Devices.** The jaxpr under `jit` belongs to all devices together. The body of `shard_map` belongs to one device and counts
  once for each device along its manual axes.
- **Unused results.** Operations that no result needs do not count, because no backend runs them.
- **Branches and loops.** `cond` counts its largest branch. `scan` counts its body `length` times. `while` counts its body once
  a trip if the program holds the number of trips: a counter with a known start, step and end. Otherwise `trips` gives it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

Known = Mapping[Any, int]


class _Rules(NamedTuple):
    padding: bool
    recomputation: bool
    trips: int | None


def count_flops(
    jaxpr: ClosedJaxpr, *, padding: bool = True, recomputation: bool = False, trips: int | None = None
) -> int:
    """Floating-point operations of the matrix products and convolutions of one call, on all devices together.

    Args:
      jaxpr: the jaxpr of the program, from `jax.make_jaxpr`.
      padding: count the positions of a convolution's kernel that lie on padding.
      recomputation: count the attention scores that the backward pass of the fused attention computes again.
      trips: number of trips of each `while` loop for which the program does not contain it; only loops with products need it.

    Raises:
      ValueError: if the number of trips of a loop with products is unknown and `trips` is None, or a Pallas grid is unknown.
    """
    return _count(jaxpr.jaxpr, {}, _Rules(padding, recomputation, trips))


def _count(jaxpr: Jaxpr, known: Known, rules: _Rules, wanted: Sequence[bool] | None = None) -> int:
    """Operations of a jaxpr.

    Args:
      jaxpr: the program.
      known: integer variables with known values, which determine the trips of a loop.
      rules: the counting rules.
      wanted: a flag for each result that is used; None means all of them.
    """
    results = jaxpr.outvars if wanted is None else itertools.compress(jaxpr.outvars, wanted)
    used = {atom for atom in results if not isinstance(atom, Literal)}
    total = 0
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not used.isdisjoint(equation.outvars):
            used.update(atom for atom in equation.invars if not isinstance(atom, Literal))
            total += _equation(equation, known, rules, [var in used for var in equation.outvars])
    return total


def _equation(equation: Any, known: Known, rules: _Rules, wanted: Sequence[bool]) -> int:
    params = equation.params
    match equation.primitive.name:
        case "dot_general":
            return _dot_general(equation)
        case "conv_general_dilated":
            return _convolution(equation, padding=rules.padding)
        case "scan":
            return params["length"] * _count(params["jaxpr"].jaxpr, {}, rules)
        case "while":
            return _while(equation, known, rules)
        case "cond":
            inner = equation.invars[1:]
            return max(_inner(branch, inner, known, rules, wanted) for branch in params["branches"])
        case "shard_map":
            axes = params.get("newly_manual_axes", params.get("manual_axes", params["mesh"].axis_names))
            devices = math.prod(params["mesh"].shape[axis] for axis in axes)
            return devices * _inner(params["jaxpr"], equation.invars, known, rules, wanted)
        case "pallas_call":
            return _pallas(equation, rules)
        case "dot_product_attention_fwd" | "dot_product_attention_fwd_wrapper":
            return _attention(equation)
        case "dot_product_attention_bwd" | "dot_product_attention_bwd_wrapper":
            return _attention(equation) * 5 // 2 if rules.recomputation else 2 * _attention(equation)
    # jit, remat, custom_jvp, custom_vjp and similar primitives call the jaxprs among their parameters.
    return sum(_inner(held, equation.invars, known, rules, wanted) for held in _held(params))


def _held(params: Mapping[str, Any]) -> list[Any]:
    """The jaxprs among an equation's parameters."""
    return [value for value in params.values() if isinstance(value, Jaxpr | ClosedJaxpr)]


def _inner(held: Any, inputs: Sequence[Any], known: Known, rules: _Rules, wanted: Sequence[bool]) -> int:
    """Operations of a called jaxpr, given the known values of its inputs."""
    jaxpr = held.jaxpr if isinstance(held, ClosedJaxpr) else held
    values = [_integer(atom, known) for atom in inputs] if len(inputs) == len(jaxpr.invars) else []
    seen = {var: value for var, value in zip(jaxpr.invars, values, strict=False) if value is not None}
    return _count(jaxpr, seen, rules, wanted if len(wanted) == len(jaxpr.outvars) else None)


def _integer(atom: Any, known: Known) -> int | None:
    """The value of an integer constant of the program; None for anything else."""
    if not isinstance(atom, Literal):
        return known.get(atom)
    aval: Any = atom.aval
    whole = aval.shape == () and aval.dtype.kind in "iu"
    return int(atom.val) if whole else None


def _dot_general(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    lhs = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(lhs[axis] for axis in contracted)


def _convolution(equation: Any, *, padding: bool) -> int:
    params = equation.params
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    lhs, rhs, out = (atom.aval.shape for atom in (*equation.invars, *equation.outvars))
    # The kernel's input channels are already those of one group; batch groups divide the batch.
    channels = rhs[rhs_spec[1]] * out[out_spec[1]]
    batch = lhs[lhs_spec[0]] // params["batch_group_count"]
    positions = 1
    for axis, (low, _) in enumerate(params["padding"]):
        positions *= _positions(
            lhs[lhs_spec[2 + axis]],
            rhs[rhs_spec[2 + axis]],
            out[out_spec[2 + axis]],
            stride=params["window_strides"][axis],
            low=low,
            lhs_dilation=params["lhs_dilation"][axis],
            rhs_dilation=params["rhs_dilation"][axis],
            padding=padding,
        )
    return 2 * batch * channels * positions


def _positions(
    size: int, kernel: int, out: int, *, stride: int, low: int, lhs_dilation: int, rhs_dilation: int, padding: bool
) -> int:
    """Pairs of an output and a kernel entry along one axis that read an entry of the input, or of its padding."""
    found = 0
    for tap in range(kernel):
        for place in range(out):
            at, between = divmod(place * stride + tap * rhs_dilation - low, lhs_dilation)
            found += between == 0 and (padding or 0 <= at < size)
    return found


def _while(equation: Any, known: Known, rules: _Rules) -> int:
    params = equation.params
    condition, body = (_count(params[name].jaxpr, {}, rules) for name in ("cond_jaxpr", "body_jaxpr"))
    if condition == body == 0:
        return 0
    trips = _trips(equation, known)
    trips = rules.trips if trips is None else trips
    if trips is None:
        raise ValueError("a while loop with matrix products has no known number of trips; set trips to that number.")
    return trips * body + (trips + 1) * condition


def _trips(equation: Any, known: Known) -> int | None:
    """Trips of a loop `while counter < bound: counter += step` with known integers; None for any other loop."""
    params = equation.params
    condition, body = params["cond_jaxpr"].jaxpr, params["body_jaxpr"].jaxpr
    of_condition, of_body = params["cond_nconsts"], params["body_nconsts"]
    start = equation.invars[of_condition + of_body :]
    if len(condition.eqns) != 1 or condition.eqns[0].primitive.name != "lt":
        return None
    counter, bound = condition.eqns[0].invars
    carried = condition.invars[of_condition:]
    if counter not in carried:
        return None
    place = carried.index(counter)
    begins, ends = _integer(start[place], known), _bound(bound, equation, known)
    step = _step(body, body.invars[of_body + place], body.outvars[place])
    if begins is None or ends is None or step is None:
        return None
    return max(0, -(-(ends - begins) // step))


def _bound(bound: Any, equation: Any, known: Known) -> int | None:
    """The counter's bound: a literal, a constant of the condition, or a carried value that the body does not change."""
    params = equation.params
    condition, body = params["cond_jaxpr"].jaxpr, params["body_jaxpr"].jaxpr
    constants = params["cond_nconsts"]
    if isinstance(bound, Literal):
        return _integer(bound, {})
    if bound not in condition.invars:
        return None
    place = condition.invars.index(bound)
    if place < constants:
        return _integer(equation.invars[place], known)
    place += params["body_nconsts"] - constants
    unchanged = body.invars[place] is body.outvars[place - params["body_nconsts"]]
    return _integer(equation.invars[place + constants], known) if unchanged else None


def _step(body: Jaxpr, before: Any, after: Any) -> int | None:
    """The increment of the counter per trip; None unless it is a positive integer constant of the program."""
    for equation in body.eqns:
        if after in equation.outvars and equation.primitive.name == "add" and before in equation.invars:
            added = [_integer(atom, {}) for atom in equation.invars if atom is not before]
            return added[0] if added and added[0] is not None and added[0] > 0 else None
    return None


def _attention(equation: Any) -> int:
    """The two products of the forward pass; a mask does not make them smaller."""
    query, key = (atom.aval.shape for atom in equation.invars[:2])
    # Layout 0 is [batch, time, heads, width], layout 1 is [batch, heads, time, width].
    time, heads = (2, 1) if equation.params["layout"] else (1, 2)
    return 4 * query[0] * query[heads] * query[time] * key[time] * query[3]


def _pallas(equation: Any, rules: _Rules) -> int:
    grid = equation.params["grid_mapping"].grid
    body = _count(equation.params["jaxpr"], {}, rules)
    if body and not all(isinstance(size, int) for size in grid):
        raise ValueError(f"a Pallas kernel with matrix products has the grid {grid}; its sizes must be known integers.")
    return math.prod(grid) * body if body else 0
