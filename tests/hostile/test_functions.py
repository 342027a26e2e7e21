"""Every public function of losses, augment, optim and evaluation on right and on wrong values of every kind.

Right values give a finite answer, in the promised shape and type and equal to float64 where that is cheap; wrong ones a
ValueError or a TypeError whose one sentence names the argument. `--hypothesis-profile soak` draws twenty times as many.
"""

import importlib
import inspect

import jax
import jaxtyping
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from tests.hostile import augment_ops, augment_views, evaluation, losses, losses_masked, losses_siamese, optim

CASES = (
    losses.CASES
    | losses_masked.CASES
    | losses_siamese.CASES
    | augment_ops.CASES
    | augment_views.CASES
    | optim.CASES
    | evaluation.CASES
)


# What is public but no function.
NO_FUNCTIONS = {
    "losses.BarlowTwinsTerms": "a record of a loss's terms",
    "losses.VICRegTerms": "a record of a loss's terms",
    "augment.Branch": "a record of a branch's numbers, which sample_view and the ops check",
    "augment.View": "a record of what was drawn",
    "augment.Jitter": "a record of what was drawn",
    "augment.SimCLRViews": "a recipe, which check_views checks and make_views takes",
    "augment.BYOLViews": "a recipe, which check_views checks and make_views takes",
    "augment.DINOViews": "a recipe, which check_views checks and make_views takes",
    "augment.MAEViews": "a recipe, which check_views checks and make_views takes",
    "augment.LeJEPAViews": "a recipe, which check_views checks and make_views takes",
    "evaluation.LinearProbe": "a record of results",
    "evaluation.PerClass": "a record of results",
    "evaluation.PrincipalComponents": "a record of results",
    "optim.HoldState": "the state of hold",
}


def public(name):
    """The public names of a package: what it lists, or what a module defines itself."""
    module = importlib.import_module(f"sslax.{name}")
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return {f"{name}.{key}": getattr(module, key) for key in listed if not key.startswith("_")}


def test_no_public_function_is_left_out():
    found = {key: value for name in ("losses", "augment", "optim", "evaluation") for key, value in public(name).items()}
    # A constant, such as the channels' mean, takes no values.
    found = {key: value for key, value in found.items() if callable(value)}
    assert set(CASES) | set(NO_FUNCTIONS) == set(found)
    assert {key for key, value in found.items() if inspect.isfunction(value)} == set(CASES)
    assert all(inspect.isclass(found[key]) for key in NO_FUNCTIONS)


@pytest.fixture(autouse=True)
def _as_users_have_it():
    """Without the shape checker of the tests: the errors are the functions' own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def answer(case, arguments):
    """What the function answers; as one program, not one for every op, where it computes with JAX alone.

    It is traced without arguments: what it is given keeps its values, which it checks as it does outside jit. What of them
    enters the computation are then the program's inputs, as XLA would compute with constants in another order.
    """
    if not case.compiled:
        return case.call(**arguments)
    closed, shapes = jax.make_jaxpr(lambda: case.call(**arguments), return_shape=True)()

    def run(inputs):
        return jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, inputs))()

    assert closed.jaxpr.eqns
    program = PROGRAMS.setdefault(str(closed.jaxpr), jax.jit(run))
    return jax.tree.unflatten(jax.tree.structure(shapes), program(closed.consts))


PROGRAMS = {}


@pytest.mark.parametrize("name", CASES)
def test_right_values_are_answered_and_wrong_ones_named(name):
    case = CASES[name]

    @given(st.data())
    def run(data):
        arguments = data.draw(case.arguments)
        if not case.wrong or data.draw(st.booleans()):
            case.check(arguments, answer(case, arguments))
            return
        field = data.draw(st.sampled_from(sorted(case.wrong)))
        arguments[field] = data.draw(st.sampled_from(case.wrong[field](arguments)))
        with pytest.raises((ValueError, TypeError)) as error:
            case.call(**arguments)
        message = str(error.value)
        named = next(iter(set(arguments[field]) - {"size"}), "size") if field == "options" else field
        assert named in message, message
        assert message.endswith("."), message

    run()
