"""The step's benchmark: its line, and what a profile tells of the host's share."""

import json
import time

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks.step import Options, outside, run
from experiments.terminal import DONE, INPUT, exit_code
from tests import tiny


@pytest.mark.slow
def test_a_step_is_beside_a_plain_loop(capsys):
    options = Options(configs=("tiny",), images=32, steps=2, rounds=1, traced=0)
    assert exit_code(lambda: run(options, {"tiny": tiny.config()})) == DONE
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["name"], line["unit"], line["rival"]) == ("training step, tiny", "images/s", "plain Python loop")
    assert line["ratio"] == pytest.approx(line["figure"] / line["rival_figure"])
    assert line["utilisation"] == pytest.approx(
        line["gflops"] * line["figure"] / line["batch"] / line["peak_gflops_per_s"] / 8
    )
    assert line["memory_mb"] > 0
    assert (line["host_share"], line["accumulate"], line["remat"]) == (None, 1, False)


def test_time_without_a_program_is_the_hosts(tmp_path):
    x = jax.device_put(jnp.ones((256, 256)), jax.devices()[0])
    product = jax.jit(jnp.dot)
    product(x, x).block_until_ready()
    with jax.profiler.trace(tmp_path), jax.profiler.TraceAnnotation("traced steps"):
        start = time.perf_counter()
        for _ in range(4):
            time.sleep(0.05)
            product(x, x).block_until_ready()
        wall = time.perf_counter() - start
    share = outside(next(tmp_path.rglob("*.xplane.pb")))
    assert 0.19 / wall < share < 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"configs": ("simclr",)}, "configs has simclr, which does not exist"),
        ({"rounds": 0}, "rounds is 0; it must be at least 1"),
        ({"accumulate": 3}, "accumulate is 3; it must divide batch_size, which is 256"),
    ],
)
def test_bad_options_are_one_sentence(changes, said, capsys):
    assert exit_code(lambda: run(Options(**changes))) == INPUT
    assert said in capsys.readouterr().err
