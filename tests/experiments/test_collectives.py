"""The bytes that a step communicates: counted correctly, and no more than necessary."""

import sys

import jax
import pytest

from experiments.benchmarks.collectives import Options, collective_bytes, run, step_bytes
from sslax.cli.terminal import INPUT, exit_code
from sslax.training import build, training_program
from tests import tiny

PROGRAM = """
%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %all-reduce.1 = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce(%x, %y), channel_id=1, to_apply=%sum
  ROOT %t = (s32[], f32[8]{0}) tuple(%i, %x)
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %p.1 = (s32[], f32[8]{0}) parameter(0)
  ROOT %less = pred[] compare(%a, %b), direction=LT
}

ENTRY %main (a: u8[16,2]) -> f32[8] {
  %a = u8[16,2]{1,0} parameter(0)
  %scattered = u8[4,2]{1,0} reduce-scatter(%a), dimensions={0}, to_apply=%sum
  %b.1 = f32[4]{0} constant({1, 2, 3, 4})
  %start = (f32[4]{0}, f32[16]{0}) all-gather-start(%b.1), dimensions={0}
  %all-gather-done = f32[16]{0} all-gather-done(%start)
  ROOT %while.1 = (s32[], f32[8]{0}) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""


def test_bytes_are_those_of_whole_arrays_and_loops_count_each_trip():
    assert collective_bytes(PROGRAM) == {
        "reduce-scatter u8": 32,
        "all-gather f32": 64,
        "all-reduce bf16+f32": 5 * (32 + 12),
    }
    with pytest.raises(ValueError, match="body communicates in a loop with an unknown number of trips"):
        collective_bytes(PROGRAM.replace("known_trip_count", "unknown"))


def test_a_run_moves_the_gathered_images_beside_its_step(monkeypatch):
    """What a step of each method communicates is tested with the methods."""
    # Counting them traces the step once more.
    monkeypatch.setattr(sys.modules[training_program.__module__], "step_flops", lambda *arguments: 0)
    config = tiny.config("barlow-twins")
    kinds, gradient = step_bytes(config, images=64, canvas=8, devices=8)
    images = config.batch_size * 8 * 8 * 3
    assert kinds["reduce-scatter u8"] == images
    built = build(config, tiny.dataset(), devices=jax.devices()[:1])
    _, aux = jax.eval_shape(lambda: built.method.init(jax.random.key(0), built.image_shape))
    means = [x.size for path, x in jax.tree_util.tree_leaves_with_path(aux) if getattr(path[-1], "key", "") == "mean"]
    # Each norm has two sums over the batch in the forward and two in the backward pass.
    statistics = 2 * 4 * 4 * sum(means)
    # The indices of the batch, and the sums for a dozen metrics.
    slack = 4 * config.batch_size + 4 * 24 * 12
    assert sum(kinds.values()) <= gradient + statistics + images + slack


@pytest.mark.slow
def test_bytes_do_not_grow_with_the_devices():
    config = tiny.config()
    one, two, eight = (sum(step_bytes(config, images=64, canvas=8, devices=n)[0].values()) for n in (1, 2, 8))
    assert one == 0
    # The set itself is never transferred, and no block of the loss gathers again.
    assert two == eight


def test_wrong_options(capsys):
    assert exit_code(lambda: run(Options(configs=("simclr",)))) == INPUT
    assert "configs has simclr, which does not exist" in capsys.readouterr().err
    assert exit_code(lambda: run(Options(devices=(16,)))) == INPUT
    assert "each must lie between 1 and 8" in capsys.readouterr().err
