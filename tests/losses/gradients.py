"""jax's check_grads at a fraction of its cost: a loss's derivatives are one or two programs, which it only calls."""

import jax
import numpy as np
from jax.test_util import check_grads


def check_gradients(loss, arguments, *, order=1, **tolerances):
    """Compare the gradients of a scalar loss by all its arguments with finite differences.

    Order 1 is reverse mode. Order 2 compares the gradient's own derivatives as well, in forward and in reverse mode.
    check_grads itself would trace and compile the loss three times, and for order 2 run its operations one by one.
    """
    both = jax.value_and_grad(loss, tuple(range(len(arguments))))
    first = jax.jit(both)

    @jax.custom_vjp
    def value(*arguments):
        return first(*arguments)[0]

    value.defvjp(first, lambda gradient, by: jax.tree.map(lambda g: np.asarray(g) * np.asarray(by), gradient))
    check_grads(value, arguments, order=1, modes=["rev"], **tolerances)
    if order == 2:
        _check_second(both, first, arguments, **tolerances)


def _check_second(both, first, arguments, **tolerances):
    @jax.jit
    def derivatives(arguments, tangents, cotangents):
        return *jax.jvp(both, arguments, tangents), jax.vjp(both, *arguments)[1](cotangents)

    @jax.custom_vjp
    def reverse(*arguments):
        return first(*arguments)

    @jax.custom_jvp
    def forward(*arguments):
        return first(*arguments)

    def zeros(tree):
        return jax.tree.map(np.zeros_like, tree)

    found = jax.device_get(first(*arguments))
    reverse.defvjp(
        lambda *a: (first(*a), a), lambda a, cotangents: derivatives(a, zeros(jax.device_get(a)), cotangents)[-1]
    )
    forward.defjvp(lambda a, tangents: derivatives(a, tangents, zeros(found))[:2])
    check_grads(reverse, arguments, order=1, modes=["rev"], **tolerances)
    check_grads(forward, arguments, order=1, modes=["fwd"], **tolerances)
