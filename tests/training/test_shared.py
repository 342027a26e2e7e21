"""Shared programs: they do not change a run's result, and other numbers and seeds compile nothing again."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from sslax.config import to_dict
from sslax.methods import METHODS
from sslax.runs import RunDir
from sslax.training import NUMBERS, build, build_shared, data_mesh, fit, shared, start_state
from tests import tiny


@pytest.fixture(scope="module", params=["simclr", pytest.param("dino", marks=pytest.mark.slow)])
def name(request):
    return request.param


@pytest.fixture
def cheap(name, monkeypatch):
    """One device and, for SimCLR, noise for views: the runs compile in a third of the time."""
    shared._programs.cache_clear()
    # The package has a function of the module's name.
    module = sys.modules["sslax.training.build"]
    monkeypatch.setattr(module, "data_mesh", lambda devices: data_mesh(jax.devices()[:1]))
    if name == "simclr":
        make = METHODS[name]
        monkeypatch.setitem(METHODS, name, lambda *args: make(*args)._replace(views=tiny.noisy))
    yield
    shared._programs.cache_clear()


def trained(config, built, folder):
    data = tiny.dataset()
    return fit(config, built(config, data), data, RunDir(folder, to_dict(config)))


def changed(config, **method):
    """Change the seed, and numbers of the optimiser and the method."""
    optim = dataclasses.replace(config.optim, lr=3e-3, weight_decay=0.1)
    return dataclasses.replace(
        config, seed=1, optim=optim, method=dataclasses.replace(config.method, **method), log_every=1
    )


OTHER = {
    "simclr": {"temperature": 0.2},
    "dino": {"decay": 0.5, "center_momentum": 0.5, "teacher_temperature": 0.06},
}


def test_a_run_with_shared_programs_equals_a_run_of_its_own(name, cheap, tmp_path, monkeypatch):
    """Two runs that differ only in numbers share one compilation."""
    traced, make_step = [], shared.make_step
    monkeypatch.setattr(shared, "make_step", lambda *args, **sizes: traced.append(1) or make_step(*args, **sizes))
    config = dataclasses.replace(tiny.config(name), epochs=1)
    other = changed(config, **OTHER[name])
    first, second = (trained(c, build_shared, tmp_path / f"shared{c.seed}") for c in (config, other))
    alone = trained(other, build, tmp_path / "alone")
    for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(second.params), strict=True):
        # An input rounds differently from a folded constant, and Adam's first steps amplify the difference.
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    leaves = zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True)
    assert any(not np.allclose(a, b, atol=1e-3) for a, b in leaves)
    assert len(traced) == 1


def test_the_initial_state_is_the_runs_own(name, cheap):
    config = dataclasses.replace(tiny.config(name), seed=3)
    data = tiny.dataset()
    alone, state = (start_state(config, make(config, data)) for make in (build, build_shared))
    jax.tree.map(np.testing.assert_array_equal, alone.params, state.params)


def test_other_fields_need_another_program():
    config = tiny.config()
    rest = shared._split(config).rest
    assert shared._split(dataclasses.replace(config, seed=9, run_dir="x", log_every=5)).rest == rest
    assert shared._split(dataclasses.replace(config, batch_size=32)).rest != rest
    wider = dataclasses.replace(config.method, projector_dim=9)
    assert shared._split(dataclasses.replace(config, method=wider)).rest != rest
    assert {name.split(".")[0] for name in NUMBERS} == {"method", "optim"}
