"""Parallel work: each item runs once, on its own cores, and failures are reported."""

import os
import signal
import time

import pytest

from experiments.ablations.parallel import side_by_side
from sslax.errors import InputError
from sslax.training import Interrupted


def cores_of(item):
    time.sleep(0.2)
    return os.sched_getaffinity(0)


def refuse(item):
    if item == 1:
        raise InputError("item is 1; it must be another.")
    return item


def die(item):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is not shared out")
def test_each_item_runs_once_on_its_own_cores():
    found = dict(side_by_side(cores_of, range(6), 2))
    assert set(found) == set(range(6))
    one, *others = sorted(set(map(frozenset, found.values())), key=min)
    assert all(not one & other for other in others)


def test_an_items_exception_reaches_the_caller():
    with pytest.raises(InputError, match="item is 1"):
        list(side_by_side(refuse, [0, 1, 2], 1))


def stop_when_asked(item):
    """Like a run: it handles the signal itself, saves, and reports that it was stopped."""
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    if item == 0:
        raise Interrupted("Stopped at step 3.")
    while not asked:
        time.sleep(0.05)
    raise Interrupted("Stopped at step 4.")


def test_a_stopped_process_starts_no_further_item():
    """One process was stopped; the other is asked to stop and saves; neither starts another item."""
    begun = time.monotonic()
    with pytest.raises(Interrupted, match="Stopped at step 3"):
        list(side_by_side(stop_when_asked, range(6), 2))
    assert time.monotonic() - begun < 60


def test_a_dead_process_is_reported():
    with pytest.raises(Interrupted, match="has ended by itself, with code -9"):
        list(side_by_side(die, [0], 1))
