"""A table of tiny runs: done once, gone on with where it stopped, shared out, saved, shown."""

import json
import pathlib
import signal

import pytest

from experiments import terminal
from experiments.ablations import engine, figures, page
from experiments.ablations.engine import Options, grid, run_table, share
from experiments.ablations.scales import SCALES
from experiments.ablations.table import Setting, Table
from experiments.terminal import DONE, INPUT, INTERRUPTED, exit_code
from sslax.errors import InputError
from sslax.training import NonFinite

TINY = {"limit": 64, "batch_size": 32, "network.width": 4}


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
    seeds=2,
    metrics=("loss",),
    curves=("loss", "projection_std"),
)


def options(folder, **more):
    return Options(**({"out": str(folder), "epochs": 2, "jobs": 1} | more))


def lines(folder):
    return {path: path.read_text() for path in sorted(pathlib.Path(folder).rglob("metrics.jsonl"))}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a table that was run whole, and what is saved of it."""
    folder = tmp_path_factory.mktemp("table")
    assert exit_code(lambda: run_table(TABLE, options(folder, publish=str(folder / "published")))) == DONE
    return folder, json.loads((folder / "published" / "tiny-digits.json").read_text())


def test_what_is_saved(done):
    folder, summary = done
    assert (folder / "tiny-digits.json").read_text() == (folder / "published" / "tiny-digits.json").read_text()
    assert {len(alike) for alike in summary["runs"].values()} == {2}
    assert len(summary["runs"]) == 2
    (base,) = (alike for name, alike in summary["runs"].items() if "temperature" not in name)
    assert {"pretrained", "projection", "untrained", "raw_pixels", "seconds", "last", "curves"} <= base["0"].keys()
    assert base["0"]["curves"]["step"] == [4]
    assert base["0"]["last"]["loss"] == pytest.approx(base["0"]["curves"]["loss"][-1], rel=1e-4)
    assert summary["base"]["simclr"]["epochs"] == 2
    # The weights are not kept.
    assert not list(folder.rglob("checkpoints"))


def test_what_is_done_is_not_done_again(done, monkeypatch, capsys):
    folder, _ = done
    monkeypatch.setattr(engine, "fit", None)
    before = lines(folder)
    assert exit_code(lambda: run_table(TABLE, options(folder))) == DONE
    assert lines(folder) == before
    said = capsys.readouterr().out
    assert "the head's outputs" in said
    assert "not applicable" in said
    assert "For comparison: raw pixels" in said


def test_it_goes_on_where_it_stopped(done, tmp_path, monkeypatch):
    """Ctrl-C in the second run, between two steps: what comes out is what came out of the table left alone."""
    whole, summary = done
    fit, calls = engine.fit, []

    def interrupted(*args, **more):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT) if False else None
            more["follow"] = lambda line: signal.raise_signal(signal.SIGINT)
        return fit(*args, **more)

    monkeypatch.setattr(engine, "fit", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = exit_code(lambda: run_table(TABLE, options(tmp_path, epochs=2)))
    finally:
        signal.signal(signal.SIGINT, before)
    # The line comes with the last step, so the run was whole; the next did not begin.
    assert code in (DONE, INTERRUPTED)
    monkeypatch.undo()
    assert exit_code(lambda: run_table(TABLE, options(tmp_path))) == DONE
    again = json.loads((tmp_path / "tiny-digits.json").read_text())
    for name, alike in summary["runs"].items():
        for seed, run in alike.items():
            assert again["runs"][name][seed]["pretrained"] == run["pretrained"]


def test_shards_are_all_of_it_once():
    runs = grid(TABLE, SCALES["digits"], Options(seeds=5))
    parts = [share(runs, f"{i}/3") for i in (1, 2, 3)]
    assert [run for part in parts for run in part] == runs
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0"):
        with pytest.raises(InputError, match=f"shard is {wrong}; it must be I/N"):
            share(runs, wrong)


def test_what_is_not_finite_is_told(tmp_path, monkeypatch, capsys):
    def broken(*args, **more):
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
        ({"data": "folder:nowhere"}, "data is folder:nowhere"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, wrong, said):
    assert exit_code(lambda: run_table(TABLE, options(tmp_path, **wrong))) == INPUT
    assert said in capsys.readouterr().err


def test_a_run_with_other_epochs_is_not_mixed_in(done, capsys):
    folder, _ = done
    assert exit_code(lambda: run_table(TABLE, options(folder, epochs=3))) == INPUT
    assert "epochs: 2 there, 3 here" in capsys.readouterr().err


@pytest.mark.parametrize("figure", ["dots", "lines", "heatmap", "curves"])
def test_figures_show_what_is_saved(done, figure):
    drawn = Table(**{**vars(TABLE), "figure": figure, "x": "x"})
    numbered = [Setting(**{**vars(s), "at": (place + 1,)}) for place, s in enumerate(settings("digits"))]
    if figure == "lines":
        drawn = Table(**{**vars(drawn), "settings": lambda scale: numbered})
    image = page.drawn(figures.draw(drawn, "digits", done[1]))
    assert image.startswith(b"<?xml")


def test_two_processes_do_what_one_does(done, tmp_path):
    """Each on its own core, over runs that are pickled."""
    _, summary = done
    runs = grid(TABLE, SCALES["digits"], options(tmp_path, seeds=1))
    work = engine.functools.partial(engine.execute, out=tmp_path, scale=SCALES["digits"])
    found = dict(engine.parallel.side_by_side(work, runs, 2))
    assert {run.slug for run in found} == set(summary["runs"])
    for run, result in found.items():
        alone = summary["runs"][run.slug]["0"]["pretrained"]
        # By the same steps with other threads, and XLA's own optimisation.
        assert result["pretrained"]["linear"] == pytest.approx(alone["linear"], abs=0.25)
    assert terminal.DONE == 0
