"""The checks of arguments: what the values of an array are, read on the host or reduced on its device."""

import types

import jax
import numpy as np
import pytest

from sslax import checks


@pytest.mark.parametrize("few", [2**16, 0])
def test_the_range_of_an_array_is_that_of_its_values(monkeypatch, few):
    monkeypatch.setattr(checks, "_FEW", few)
    values = np.array([[3.0, -2.0], [0.5, 7.0]], np.float32)

    @jax.jit
    def traced():
        # What a traced function closes over is known while it is traced.
        assert checks.value_range(array) == (-2.0, 7.0)
        return 0

    array = jax.device_put(values)
    assert checks.value_range(array) == (-2.0, 7.0)
    traced()
    values[1, 0] = np.nan
    assert np.isnan(checks.value_range(jax.device_put(values))).all()


def test_values_on_other_hosts_are_not_known():
    here, elsewhere = (types.SimpleNamespace(is_fully_addressable=whole) for whole in (True, False))
    assert checks.is_concrete(here)
    assert checks.is_concrete(np.zeros(2))
    assert not checks.is_concrete(elsewhere)
