"""The benchmark of the step: its line, and the host's share from a profile."""

import json
import time

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks import timing
from experiments.benchmarks.peaks import data_sheet
from experiments.benchmarks.step import Options, run
from experiments.benchmarks.trace import largest_kernels, outside, own_times
from sslax.cli.terminal import DONE, INPUT, exit_code
from tests import tiny


@pytest.mark.slow
def test_a_step_is_compared_with_a_plain_loop(capsys):
    options = Options(configs=("tiny",), images=32, steps=2, rounds=1, traced=0, parts=True, kernels=3)
    assert exit_code(lambda: run(options, {"tiny": tiny.config()})) == DONE
    shown = capsys.readouterr()
    (line,) = [json.loads(line) for line in shown.out.splitlines()]
    assert (line["name"], line["unit"], line["rival"]) == ("training step, tiny", "images/s", "plain Python loop")
    assert line["ratio"] == pytest.approx(line["figure"] / line["rival_figure"])
    assert line["utilisation"] == pytest.approx(
        line["gflops"] * line["figure"] / line["batch"] / line["peak_gflops_per_s"] / 8
    )
    assert line["memory_mb"] > 0
    assert (line["host_share"], line["accumulate"], line["remat"]) == (None, 1, False)
    assert line["step_ms"] == pytest.approx(1e3 * line["batch"] / line["figure"])
    assert min(line[part] for part in ("views_ms", "gradient_ms", "update_ms", "compile_s", "busy_ms")) > 0
    assert [kernel["name"] for kernel in line["kernels"]] == [row.split()[-1] for row in shown.err.splitlines()]
    shares = [kernel["share"] for kernel in line["kernels"]]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1


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


def test_the_largest_kernels_belong_to_the_program():
    x = jax.device_put(jnp.ones((512, 512)), jax.devices()[0])
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    (kernel,), whole = largest_kernels(lambda: [product(x) for _ in range(4)], steps=4, most=1)
    assert kernel.calls == 1
    assert kernel.ms == pytest.approx(kernel.share * whole)
    assert 0.5 < kernel.share <= 1


def test_a_loops_time_excludes_its_operations():
    spans = [("after", 30, 32), ("loop", 0, 30), ("dot", 5, 15), ("dot", 15, 20), ("add", 6, 7), ("loop", 40, 41)]
    assert list(own_times(spans)) == [("after", 2), ("loop", 15), ("dot", 9), ("dot", 5), ("add", 1), ("loop", 1)]


def test_data_sheets_by_jaxs_device_names():
    peaks = {
        "NVIDIA H200": 989,
        "NVIDIA H100 80GB HBM3": 989,
        "NVIDIA H100 PCIe": 756,
        "NVIDIA A100-SXM4-40GB": 312,
        "NVIDIA GeForce RTX 4090": 165.2,
        "Tesla V100-SXM2-16GB": 125,
        "TPU v5 lite": 197,
        "TPU v5": 459,
    }
    assert {kind: data_sheet(kind) / 1e12 for kind in peaks} == peaks
    unknown = ["NVIDIA GB200", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA L40", "Radeon"]
    assert [data_sheet(kind) for kind in unknown] == [None] * 4


def test_a_line_has_null_for_non_finite_numbers(capsys):
    timing.report("x", 1.0, "s", rival="y", rival_figure=float("inf"), a=float("nan"), b=[{"c": float("nan")}, 2.0])
    line = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (line["rival_figure"], line["a"], line["b"]) == (None, None, [{"c": None}, 2.0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"configs": ("simclr",)}, "configs has simclr, which does not exist"),
        ({"rounds": 0}, "rounds is 0; it must be at least 1"),
        ({"kernels": -1}, "kernels is -1; it must be at least 0"),
        ({"accumulate": 3}, "accumulate is 3; it must divide batch_size, which is 256"),
    ],
)
def test_bad_options_give_one_sentence(changes, said, capsys):
    assert exit_code(lambda: run(Options(**changes))) == INPUT
    assert said in capsys.readouterr().err
