"""Fixtures of the losses' tests."""

import jaxtyping
import pytest


@pytest.fixture
def as_users_have_it():
    """Without the shape checker of the tests, so that the errors are the functions' own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
