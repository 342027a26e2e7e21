"""A table of tiny runs: run once, resumed after a stop, sharded, saved and shown."""

import dataclasses
import json
import pathlib
import signal

import pytest

from experiments.ablations import engine, figures, page
from experiments.ablations.engine import run_table
from experiments.ablations.grid import Options, chosen, grid, share
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table
from sslax.cli.terminal import DONE, INPUT, INTERRUPTED, exit_code
from sslax.errors import InputError
from sslax.runs.run_dir import facts
from sslax.training import NonFinite, quality
from tests import tiny

TINY = {"limit": 64, "batch_size": 32, "network.width": 4, "log_every": 1, "method.views.jitter": 0.0}


def settings(scale):
    cold = {"method.temperature": 0.05, **TINY}
    return [
        Setting("base", TINY, paper=64.4, baseline=True, at=("a", "a")),
        Setting("cold", cold, paper=59.7, at=("a", "b")),
        Setting("the head's outputs", TINY, paper_sign=-1, features="projection", at=("b", "b")),
        Setting("colours", {"method.views.strength": 1.0}, paper=1.0, photographs=True, at=("a", "c")),
    ]


TABLE = Table(
    name="tiny",
    title="Tiny",
    source="nobody",
    claim="Nothing.",
    settings=settings,
    seeds=1,
    metrics=("loss",),
    curves=("loss", "projection_std"),
)


def options(folder, **more):
    return Options(**({"out": str(folder), "epochs": 2, "jobs": 1} | more))


def lines(folder):
    return {path: path.read_text() for path in sorted(pathlib.Path(folder).rglob("metrics.jsonl"))}


@pytest.fixture(scope="module", autouse=True)
def quick_probe():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "linear_probe", tiny.mean_probe)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a complete table, and its saved data."""
    folder = tmp_path_factory.mktemp("table")
    assert exit_code(lambda: run_table(TABLE, options(folder, publish=str(folder / "published")))) == DONE
    return folder, json.loads((folder / "published" / "tiny-digits.json").read_text())


def test_the_saved_data(done):
    folder, summary = done
    assert (folder / "tiny-digits.json").read_text() == (folder / "published" / "tiny-digits.json").read_text()
    assert len(summary["runs"]) == 2
    (base,) = (alike for name, alike in summary["runs"].items() if "temperature" not in name)
    assert {"pretrained", "projection", "untrained", "raw_pixels", "seconds", "last", "curves"} <= base["0"].keys()
    assert base["0"]["curves"]["step"] == [1, 2, 3, 4]
    assert base["0"]["last"]["loss"] == pytest.approx(base["0"]["curves"]["loss"][-1], rel=1e-4)
    assert summary["base"]["simclr"]["epochs"] == 2
    # The weights are not stored.
    assert not list(folder.rglob("checkpoints"))


def test_finished_runs_are_not_repeated(done, monkeypatch, capsys):
    folder, _ = done
    monkeypatch.setattr(engine, "fit", None)
    before = lines(folder)
    assert exit_code(lambda: run_table(TABLE, options(folder))) == DONE
    assert lines(folder) == before
    said = capsys.readouterr().out
    assert "the head's outputs" in said
    assert "not applicable" in said
    assert "For comparison: raw pixels" in said


def test_a_stopped_table_is_resumed(done, tmp_path, monkeypatch):
    """Ctrl-C between two steps: the result equals that of the uninterrupted run."""
    _, summary = done
    fit = engine.fit

    def interrupted(*args):
        return fit(*args, follow=lambda line: signal.raise_signal(signal.SIGINT))

    first = dataclasses.replace(TABLE, settings=lambda scale: settings(scale)[:1])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "fit", interrupted)
        assert exit_code(lambda: run_table(first, options(tmp_path, seeds=1))) == INTERRUPTED
    signal.signal(signal.SIGINT, before)
    (metrics,) = lines(tmp_path).values()
    assert len(metrics.splitlines()) < 4
    assert exit_code(lambda: run_table(first, options(tmp_path, seeds=1))) == DONE
    (again,) = json.loads((tmp_path / "tiny-digits.json").read_text())["runs"].items()
    for features in ("pretrained", "projection", "untrained"):
        assert again[1]["0"][features] == summary["runs"][again[0]]["0"][features]


def test_shards_cover_every_run_once():
    runs = grid(TABLE, SCALES["digits"], Options(seeds=5))
    parts = [share(runs, f"{i}/3") for i in (1, 2, 3)]
    assert [run for part in parts for run in part] == runs
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0"):
        with pytest.raises(InputError, match=f"shard is {wrong}; it must be I/N"):
            share(runs, wrong)


def test_selected_rows_only(done, capsys):
    folder, _ = done
    scale = SCALES["digits"]
    runs = grid(TABLE, scale, Options(seeds=2))
    (slug,) = {run.slug for run in chosen(TABLE, scale, runs, ["cold"])}
    assert "temperature" in slug
    assert chosen(TABLE, scale, runs, []) == runs
    assert exit_code(lambda: run_table(TABLE, options(folder, only=("warm",)))) == INPUT
    assert (
        "only is warm, which is not a row; it must be one of base, cold, the head's outputs." in capsys.readouterr().err
    )


def test_non_finite_runs_are_reported(tmp_path, monkeypatch, capsys):
    def broken(config, built, data, run):
        run.begin(facts(data))
        raise NonFinite("the loss is NaN at step 3")

    monkeypatch.setattr(engine, "fit", broken)
    assert exit_code(lambda: run_table(TABLE, options(tmp_path, seeds=1))) == DONE
    assert "1 x not finite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seeds": 0}, "seeds is 0; it must be at least 1."),
        ({"epochs": 0}, "epochs is 0; it must be at least 1."),
        ({"jobs": 0}, "jobs is 0; it must be at least 1."),
        ({"data": "folder:nowhere"}, "data='folder:nowhere': there is no such folder"),
    ],
)
def test_bad_input_gives_one_sentence(tmp_path, capsys, wrong, said):
    assert exit_code(lambda: run_table(TABLE, options(tmp_path, **wrong))) == INPUT
    assert said in capsys.readouterr().err


def test_a_run_with_other_epochs_is_not_mixed_in(done, capsys):
    folder, _ = done
    assert exit_code(lambda: run_table(TABLE, options(folder, epochs=3))) == INPUT
    assert "epochs: 2 there, 3 here" in capsys.readouterr().err


@pytest.mark.parametrize("figure", ["dots", "lines", "heatmap", "curves"])
def test_figures_show_the_saved_data(done, figure):
    drawn = Table(**{**vars(TABLE), "figure": figure, "x": "x"})
    numbered = [Setting(**{**vars(s), "at": (place + 1,)}) for place, s in enumerate(settings("digits"))]
    if figure == "lines":
        drawn = Table(**{**vars(drawn), "settings": lambda scale: numbered})
    image = page.drawn(figures.draw(drawn, "digits", done[1]))
    assert image.startswith(b"<?xml")
