"""Reproducing a published result at a tiny size: listed, stopped by the budget, resumed, and written to its row."""

import dataclasses
import functools
import json
import time

import jax
import numpy as np
import pytest

from experiments import reproduce, results_page
from experiments.linear_protocol import LinearProtocol, linear_evaluation
from experiments.reproduce import Budget, Options, run
from sslax.data.feed import Placed
from sslax.data.known import Known
from sslax.errors import InputError
from sslax.recipes import CONFIGS
from sslax.recipes.published import PUBLISHED, Figure, Published
from sslax.runs.run_dir import facts
from sslax.training import Interrupted, Loaded, build, build_for, make_update, open_images, start_state
from sslax.training.estimate import flops_of
from sslax.training.state import initial_state
from tests import tiny

DIGITS = Known("Digits", 320, 320, 10, 8, (0, 0, 0), (1, 1, 1))
FIGURES = (
    Figure("knn200-best", 0.9),
    Figure("linear", 0.95, "simclr"),
)
TINY = {"tiny": Published("tiny", "nobody", DIGITS, FIGURES, 0.001)}
CONFIG = {"tiny": tiny.config(method=tiny.PLAIN, data="digits", limit=320, epochs=3, batch_size=64, checkpoint_every=1)}


@functools.cache
def built(config):
    """The programs of the runs below, compiled once."""
    return tiny.with_programs(config, build(config, open_images(config)))


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "build", lambda config, data: built(config))
    short = LinearProtocol(epochs=3, batch_size=64, learning_rates=(2.0,), nesterov=True)
    monkeypatch.setitem(reproduce.LINEAR, "simclr", short)
    return Options(
        names=("tiny",),
        runs=str(tmp_path / "runs"),
        results=str(tmp_path / "results"),
        page=str(tmp_path / "results.md"),
    )


def test_stopped_by_the_budget_resumed_and_written(options, monkeypatch, tmp_path):
    asked = iter([False] * 7)
    with monkeypatch.context() as patch:
        patch.setattr(Budget, "over", lambda self: next(asked, True))
        with pytest.raises(Interrupted):
            run(options, TINY, CONFIG)
    path = tmp_path / "results" / "tiny-cpu.json"
    stopped = json.loads(path.read_text())["seeds"]["0"]
    assert stopped["epochs"] == 1.6
    assert stopped["knn_epochs"] == [1]
    assert "finished" not in stopped
    assert "| not finished |" in (tmp_path / "results.md").read_text()

    run(options, TINY, CONFIG, arguments=["tiny"])
    content = json.loads(path.read_text())
    found = content["seeds"]["0"]
    assert (found["epochs"], found["finished"], found["knn_epochs"]) == (3, True, [1, 2, 3])
    assert found["knn200_best"] == pytest.approx(max(found["knn200_curve"]), abs=1e-5)
    assert found["knn20_curve"][0] == stopped["knn20_curve"][0]
    assert (found["linear_lr"], found["linear"] > 0.1) == (2.0, True)
    assert found["seconds"] > stopped["seconds"]
    page = (tmp_path / "results.md").read_text()
    assert f"| 90.0 | {100 * found['knn200_best']:.1f} | {100 * found['knn20']:.1f} | 3 |" in page
    assert f"| 95.0 | {100 * found['linear']:.1f} |" in page
    assert "`python -m experiments.reproduce tiny`" in page

    def nothing(*_, **__):
        raise AssertionError("done runs are not run again")

    monkeypatch.setattr(reproduce, "reproduce", nothing)
    run(options, TINY, CONFIG)


def test_linear_protocol_separates_two_colours():
    """Held-out images select the learning rate with which the classifier learns."""
    data, config = tiny.dataset(), tiny.config()
    built = build(config, data, devices=jax.devices()[:1])
    network = Loaded(config, facts(data), built, start_state(config, built))
    protocol = LinearProtocol(epochs=12, batch_size=32, learning_rates=(1e-9, 8.0))
    found = linear_evaluation(jax.random.key(0), network, data, protocol)
    assert found == (1.0, 8.0)


def test_a_budget_that_ends_before_the_first_epoch(options, monkeypatch):
    asked = iter([False] * 2)
    monkeypatch.setattr(Budget, "over", lambda self: next(asked, True))
    with pytest.raises(InputError, match="budget is 5 s, but tiny did not finish one epoch of 5 steps"):
        run(dataclasses.replace(options, budget=5), TINY, CONFIG)


def test_a_budget_leaves_time_for_the_longest_gap(monkeypatch):
    times = iter([100.0, 101.0, 104.0, 125.0, 140.0, 150.0, 151.0, 152.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    budget = Budget(60)
    # An evaluation took 21 s, so one that starts at 40 s might not end in time.
    assert [budget.over() for _ in range(4)] == [False, False, False, True]
    with pytest.raises(Interrupted, match="budget of 60 s"):
        budget.check()
    assert not Budget(None).over()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"names": ("simclr-cifar1",)},
            "NAME is simclr-cifar1, which is not a published result; did you mean simclr-cifar10 or",
        ),
        ({"budget": 0.0}, "budget is 0; it must be above 0"),
        ({"seeds": ()}, "seeds is empty"),
        ({"epochs": 0}, "epochs is 0"),
        (
            {"data": "digits"},
            "data is digits, with 10 classes, 1,438 training and 359 test images; simclr-cifar10 needs",
        ),
    ],
)
def test_invalid_requests(options, change, says):
    with pytest.raises(InputError, match=says):
        run(dataclasses.replace(options, **{"names": ("simclr-cifar10",)} | change))


def test_without_names_results_are_listed(options, capsys):
    run(dataclasses.replace(options, names=()))
    said = capsys.readouterr().out
    # 6.66 GFLOP x 50,000 images x 200 epochs at 30 % of 989 TFLOP/s are 3.7 minutes.
    assert "simclr-cifar10" in said
    assert "about 4" in said


def test_every_result_has_a_configuration_and_its_images():
    for name, entry in PUBLISHED.items():
        assert entry.config == name
        assert name in CONFIGS
        assert all(
            0 < figure.value < 1 and (figure.protocol == "linear") == (figure.linear is not None)
            for figure in entry.figures
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_flops_equal_those_of_the_step(name):
    config = dataclasses.replace(CONFIGS[name], batch_size=8)
    side = config.canvas or config.method.views.size
    built = build_for(config, images=64, canvas=side, devices=jax.devices()[:1])
    state = jax.eval_shape(initial_state(built.method, built.tx, built.image_shape, built.mesh), jax.random.key(0))
    batch = Placed(jax.ShapeDtypeStruct((8, side, side, 3), np.uint8), jax.ShapeDtypeStruct((8,), np.float32), None)
    flops = flops_of(make_update(built.method, built.tx), state, batch)
    assert flops / 8e9 == pytest.approx(PUBLISHED[name].gflops, rel=0.01)


def test_the_page_is_up_to_date(tmp_path):
    """docs/results.md matches the files in results/reproduced."""
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    results_page.write(tmp_path / "results.md", root / "results" / "reproduced")
    assert (tmp_path / "results.md").read_text() == (root / "docs" / "results.md").read_text()


def test_what_was_reached_is_what_the_files_say():
    """`sslax configs` shows it where there is no folder of results."""
    from pathlib import Path

    results = results_page.read(Path(__file__).resolve().parents[2] / "results" / "reproduced")
    for entry in PUBLISHED.values():
        assert entry.reached == results_page.reached(entry, results), entry.config


def test_seeds_have_a_mean_and_a_deviation():
    assert results_page.spread([0.8, 0.9]) == f"85.0 ± {100 * np.std([0.8, 0.9], ddof=1):.1f}"
    assert results_page.spread([]) == "–"
