"""Several processes: the checks of their options, and the behaviour of a single process."""

import dataclasses
import os
import signal
import time

import pytest

from sslax import processes
from sslax.config import Config, check, to_dict
from sslax.errors import InputError
from sslax.processes import DistributedConfig
from tests import tiny


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"coordinator": "host:1"}, "distributed.processes is None, but distributed.coordinator is given"),
        ({"process": 1}, "distributed.coordinator is None, but distributed.process is given"),
        ({"auto": True, "processes": 2}, "distributed.auto is True, which sets distributed.processes automatically"),
        (
            {"coordinator": "host", "processes": 2, "process": 0},
            "distributed.coordinator is host; it must be HOST:PORT",
        ),
        ({"coordinator": "host:99999", "processes": 2, "process": 0}, "it must be HOST:PORT"),
        ({"coordinator": "host:1", "processes": 0, "process": 0}, "distributed.processes is 0; it must be at least 1"),
        ({"coordinator": "host:1", "processes": 2, "process": 2}, "distributed.process is 2; it must lie in 0 to 1"),
        ({"heartbeat": 0}, "distributed.heartbeat is 0; it must be at least 1"),
    ],
)
def test_wrong_options_are_input_errors(options, sentence):
    with pytest.raises(InputError, match=sentence):
        check(dataclasses.replace(tiny.config(), distributed=DistributedConfig(**options)))


def test_a_dry_run_refuses_several_processes():
    several = DistributedConfig("host:1", 2, 0)
    with pytest.raises(InputError, match="dry_run is True, which runs in a single process"):
        check(dataclasses.replace(tiny.config(), dry_run=True, distributed=several))


def test_distribution_options_are_not_stored_in_the_configuration():
    spread = dataclasses.replace(tiny.config(), fsdp=True, distributed=DistributedConfig("host:1", 2, 0))
    assert isinstance(spread, Config)
    assert to_dict(spread) == to_dict(tiny.config())


def test_a_missing_cluster_environment_is_an_input_error(monkeypatch):
    """If the environment describes no cluster, connecting fails before any device is used."""

    def initialize(*args, cluster_detection_method, **rest):
        assert cluster_detection_method is None
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(processes.jax.distributed, "initialize", initialize)
    monkeypatch.setattr(processes.jax.config, "update", lambda *args: None)
    with pytest.raises(
        InputError, match=r"auto is True, but the processes could not connect to each other \(coordinator_address"
    ):
        processes.connect(DistributedConfig(auto=True))


@pytest.mark.parametrize(("backend", "kept"), [("cpu", False), ("gpu", True)])
def test_several_processes_on_cpu_compile_at_the_same_time(monkeypatch, backend, kept):
    """None of them finds its programs in the cache, where only the first would."""
    updates = {}
    monkeypatch.setattr(processes.jax.distributed, "initialize", lambda *args, **rest: None)
    monkeypatch.setattr(processes.jax, "default_backend", lambda: backend)
    monkeypatch.setattr(processes.jax.config, "update", updates.__setitem__)
    monkeypatch.setattr(processes, "several", lambda: True)
    processes.connect(DistributedConfig("host:1", 2, 0))
    assert ("jax_enable_compilation_cache" not in updates) == kept
    assert kept or updates["jax_enable_compilation_cache"] is False


def test_a_single_process_returns_its_own_values():
    processes.connect(DistributedConfig())
    processes.together("nobody else")
    assert processes.first()
    assert not processes.several()
    assert processes.any_of(True)
    assert not processes.any_of(False)
    assert processes.least_of(2.5) == 2.5
    assert processes.from_first(lambda: {"a": (1,)}) == {"a": (1,)}
    with processes.first_before_others("nobody else"):
        pass
    assert not processes.lost(RuntimeError("connection closed by peer"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_does_not_change_the_code_of_a_process_that_leaves(monkeypatch, number):
    before, left_with = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}, []

    def interrupt(*_):
        raise KeyboardInterrupt

    def shutdown():
        os.kill(os.getpid(), number)
        time.sleep(0.2)

    signal.signal(number, interrupt)
    monkeypatch.setattr(processes, "several", lambda: True)
    monkeypatch.setattr(processes.jax.distributed, "shutdown", shutdown)
    monkeypatch.setattr(os, "_exit", left_with.append)
    try:
        with pytest.raises(SystemExit):
            processes.leave(75)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert left_with == [75]
