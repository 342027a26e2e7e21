"""The benchmark of the feeds: its lines, and its errors."""

import json

import pytest

from experiments.benchmarks.feed import Options, run
from sslax.cli import terminal
from tests.data.images import write_folder


def test_each_feed_is_compared_with_decoding_alone(tmp_path, capsys):
    spec = write_folder(tmp_path, {"a": 30, "b": 30}, sides=((24, 20),))
    options = Options(spec, canvas=8, images=40, batch_size=16, rounds=1, threads=2)
    assert terminal.exit_code(lambda: run(options)) == terminal.DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == ["streamed feed", "cached feed"]
    for line in lines:
        assert line["ratio"] == pytest.approx(line["figure"] / line["rival_figure"])
        assert (line["images"], line["canvas"], line["threads"], line["unit"]) == (40, 8, 2, "images/s")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "digits"}, "data is digits, which needs no decoding"),
        ({"data": "folder:/no/such"}, "there is no such folder"),
        ({"data": "digits", "rounds": 0}, "rounds is 0; it must be at least 1"),
    ],
)
def test_bad_options_give_one_sentence(changes, said, capsys):
    assert terminal.exit_code(lambda: run(Options(**changes))) == terminal.INPUT
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
